// Workers are replaced under load, as a deployment does it, with README's one line: nothing is lost, nothing runs
// twice, nothing counts as failed, and what had not begun stands where it stood.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { within, withRedis } from './support/index.mjs'
import { open, until } from './support/open.mjs'
import { ended, program } from './support/program.mjs'
import { finishedTask, ids, pendingTask, state } from './support/state.mjs'

const redis = await withRedis()
const { raw } = redis

const README = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
const LINE = /^process\.once\('SIGTERM', .*$/m.exec(README)[0]

/** A worker of the deployment: says which tasks it has run to their end. */
const WORKER = `
  const client = dothis(options.url, options.queue)
  const turns = async (count) => {
    while (count-- > 0) await new Promise(setImmediate)
  }
  const told = new Promise((resolve) => process.once('SIGTERM', resolve))
  const worker = client.work({
    async run({ n }, { id }) {
      await turns(n % 7)
      if (n >= options.last) await told
      say(id)
      return n
    },
    async fail() {
      throw new Error('not yet')
    },
    stuck(_, { signal }) {
      say('stuck')
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    },
  }, { concurrency: 8 })
  worker.on('lost', ({ id }) => say('lost ' + id))
  worker.on('recovered', (what) => say(what))
  ${LINE}
`

const deploy = (queue, options) => program(WORKER, { url: redis.url, queue, ...options })
const names = (count) => Array.from({ length: count }, (_, n) => `n-${String(n).padStart(4, '0')}`)

test('SIGTERM under load: the process ends by itself, what it has begun is finished, the rest is in order', async (t) => {
  const client = open(t, redis.url)
  const all = names(3_000)
  await client.enqueueMany(all.map((id, n) => ({ function: 'run', args: { n }, id })))
  // Not to the end, however late it is told.
  const child = deploy(client.queue, { last: 1_000 })
  await child.waitForLine(all[50])
  child.kill('SIGTERM')
  const { code, signal, stderr, lines } = await ended(child)
  assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
  const left = await ids(raw, client.queue, 'pending')
  assert.ok(left.length > 0, 'it was in the middle')
  assert.deepEqual(lines.toSorted(), all.slice(0, lines.length))
  assert.deepEqual(left, all.slice(lines.length))

  const expected = { pending: { list: left.toReversed() } }
  all.forEach((id, n) => {
    const args = `{"n":${n}}`
    expected[`task:${id}`] =
      n < lines.length
        ? finishedTask('run', { args, 'result-value': String(n) })
        : pendingTask('run', { args })
  })
  assert.deepEqual(await state(raw, client.queue), expected)
})

test('worker after worker is replaced while calls are made: each call has its result, each task ran once', async (t) => {
  const client = open(t, redis.url)
  const results = []
  const ids = names(1_500)
  let next = 0
  const caller = async () => {
    while (next < ids.length) {
      const n = next++
      results[n] = await client.call('run', { n }, { id: ids[n] })
    }
  }
  let running = deploy(client.queue)
  const gone = []
  const calls = Promise.all(Array.from({ length: 60 }, caller))
  for (const at of [200, 500, 800, 1_100]) {
    await until(() => next >= at, `${at} calls`)
    const following = deploy(client.queue)
    running.kill('SIGTERM')
    gone.push(running)
    running = following
  }
  await within(calls, 20_000)
  running.kill('SIGTERM')
  gone.push(running)
  const ran = []
  for (const child of gone) {
    const { code, signal, stderr, lines } = await ended(child)
    assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
    ran.push(...lines)
  }
  assert.deepEqual(
    results,
    ids.map((_, n) => n),
  )
  assert.deepEqual(ran.sort(), ids)
  const done = (n) => finishedTask('run', { args: `{"n":${n}}`, 'result-value': String(n) })
  const expected = Object.fromEntries(ids.map((id, n) => [`task:${id}`, done(n)]))
  assert.deepEqual(await state(raw, client.queue), expected)
})

test('tasks that wait for their next attempt, or for their time, are not touched', async (t) => {
  const client = open(t, redis.url)
  const { queue } = client
  await client.enqueue('fail', {}, { id: 'retried', attempts: 5, backoff: [3_600_000] })
  await client.enqueue('run', { n: 1 }, { id: 'delayed', delay: 3_600_000 })
  const child = deploy(queue)
  await until(() => raw.send('ZSCORE', `${queue}:due`, 'start:retried'), 'it waits for its second attempt')
  const before = await state(raw, queue)
  child.kill('SIGTERM')
  assert.equal((await ended(child)).code, 0)
  assert.deepEqual(await state(raw, queue), before)
  assert.equal((await client.get('retried')).attempt, 2)
  assert.deepEqual(Object.keys(before), ['due', 'task:delayed', 'task:retried'])
})

test('an attempt that the end of its worker cuts short is neither a failure nor an attempt', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('stuck', {}, { id: 'cut', attempts: 5 })
  const child = program(WORKER.replace('10_000', '1'), { url: redis.url, queue: client.queue })
  await child.waitForLine('stuck')
  child.kill('SIGTERM')
  assert.deepEqual(await ended(child), { code: 0, signal: null, stderr: '', lines: ['stuck'] })
  assert.deepEqual(await state(raw, client.queue), {
    pending: { list: ['cut'] },
    'task:cut': pendingTask('stuck', { options: '{"attempts":5}' }),
  })
})
