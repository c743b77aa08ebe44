// A worker that was frozen for so long that its tasks were taken from it can't finish them any more: it is told, what
// it says is dropped, and the run that took over stands.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { waitFor, withOwnRedis, withRedis } from './support/index.mjs'
import { open, until } from './support/open.mjs'
import { program } from './support/program.mjs'
import { finishedTask, state } from './support/state.mjs'
import { watching } from './support/watching.mjs'

const redis = await withRedis()
const { raw } = redis

/** Holds a task until a line comes in, and says all that it hears of it. */
const WORKER = `
  import { once } from 'node:events'
  const client = dothis(options.url, options.queue)
  const worker = client.work({
    async hold(_, { id, signal }) {
      signal.addEventListener('abort', () => {
        const { name, code, taskId } = signal.reason
        say({ aborted: { name, code, taskId, lost: signal.reason instanceof dothis.LostError } })
      })
      say({ begun: id })
      await once(process.stdin, 'data')
      if (options.throws) throw new Error('from the frozen one')
      return 'from the frozen one'
    },
    next: () => 'it goes on',
    async health() {
      return worker.health()
    },
  }, { heartbeatTimeout: 1000, concurrency: 5, attempts: 5, ...options.worker })
  process.stdin.once('data', async () => {
    // What the handlers have said by now is sent before these are answered.
    await new Promise(setImmediate)
    for (let trips = 0; trips < 3; trips++) await client.get('round trip')
    say('through')
  })
  worker.on('lost', (what) => say({ lost: what }))
  worker.on('error', (error) => say({ error: error.message }))
`

/** A worker that was frozen over its tasks, which have gone back to the queue. */
async function frozen(t, tasks, options = {}) {
  const client = open(t, redis.url)
  const { worker: watch, open: letGo } = await watching(client)
  const children = program(WORKER, { url: redis.url, queue: client.queue, ...options })
  await client.enqueueMany(tasks.map((id) => ({ function: 'hold', id })))
  for (const id of tasks) await children.waitForLine(JSON.stringify({ begun: id }))
  const recovered = waitFor(watch, 'recovered')
  children.kill('SIGSTOP')
  assert.deepEqual(await recovered, [{ tasks: tasks.length, givenUp: 0 }])
  return { client, child: children, letGo }
}

const aborted = (taskId) =>
  JSON.stringify({ aborted: { name: 'LostError', code: 'ERR_LOST', taskId, lost: true } })
const lost = (id) => JSON.stringify({ lost: { id } })

for (const throws of [false, true]) {
  const says = throws ? 'throws' : 'returns'
  test(`its signal fires with a LostError, and what it ${says} then is dropped`, async (t) => {
    const { client, child, letGo } = await frozen(t, ['a', 'b'], { throws })
    letGo()
    assert.deepEqual(await Promise.all(['a', 'b'].map((id) => client.result(id))), ['here', 'here'])
    await client.result('watch')
    const before = await state(raw, client.queue)
    const done = finishedTask('hold', { 'result-value': '"here"', lost: '1' })
    assert.deepEqual([before['task:a'], before['task:b'], before.pending], [done, done, undefined])

    child.kill('SIGCONT')
    const heard = new Set([aborted('a'), aborted('b'), lost('a'), lost('b')])
    await child.waitForLine((line) => heard.delete(line) && heard.size === 0)
    child.write('on')
    await child.waitForLine('through')
    assert.deepEqual(await state(raw, client.queue), before)
    // Each of the two was reported once, whatever the handler did afterwards.
    assert.equal(child.lines.filter((line) => line.includes('"lost":{')).length, 2)
  })
}

test('what it says as soon as it wakes is dropped as well', async (t) => {
  const { client, child, letGo } = await frozen(t, ['a'])
  letGo()
  assert.equal(await client.result('a'), 'here')
  const before = (await state(raw, client.queue))['task:a']
  child.write('it is there to be read when the process wakes')
  child.kill('SIGCONT')
  await child.waitForLine(lost('a'))
  assert.deepEqual((await state(raw, client.queue))['task:a'], before)
})

test('while nobody else has the task, the one that wakes does not finish it either', async (t) => {
  const { client, child } = await frozen(t, ['a'], { worker: { concurrency: 1 } })
  child.kill('SIGCONT')
  await child.waitForLine(lost('a'))
  // Its slot is still held by the first run, whose result counts for nothing; then it gets the task anew.
  child.write('first')
  await child.waitForLine(JSON.stringify({ begun: 'a' }))
  assert.equal((await client.get('a')).state, 'executing')
  child.write('second')
  assert.equal(await client.result('a'), 'from the frozen one')
  assert.deepEqual(
    (await state(raw, client.queue))['task:a'],
    finishedTask('hold', { 'result-value': '"from the frozen one"', lost: '1' }),
  )
})

test('it goes on with other tasks, and its health says what it has lost', async (t) => {
  const { client, child, letGo } = await frozen(t, ['a', 'b'])
  letGo()
  await Promise.all(['a', 'b'].map((id) => client.result(id)))
  child.kill('SIGCONT')
  const heard = new Set([lost('a'), lost('b')])
  await child.waitForLine((line) => heard.delete(line) && heard.size === 0)
  child.write('on')
  const others = open(t, redis.url, { queue: client.queue })
  // The watching worker has no handler for these: only the one that was frozen may run them.
  const asked = await until(async () => {
    const health = await others.call('health').catch(() => undefined)
    return health?.running === 1 && health
  }, 'the one that was frozen answers')
  assert.deepEqual({ lost: asked.lost, status: asked.status }, { lost: 2, status: 'connected' })
})

test('what it takes while it is frozen runs elsewhere, and not here when it wakes', async (t) => {
  const own = await withOwnRedis(t) // Where nobody else waits.
  const client = open(t, own.url)
  const { worker: watch, open: letGo, ran } = await watching(client)
  const child = program(WORKER, { url: own.url, queue: client.queue })
  assert.equal((await client.call('health')).status, 'connected')
  const waiting = async () => / flags=b .* cmd=blmove/.test(await own.raw.send('CLIENT', 'LIST'))
  await until(waiting, 'it waits for what comes')
  const recovered = waitFor(watch, 'recovered')
  child.kill('SIGSTOP')
  await client.enqueueMany(['a', 'b'].map((id) => ({ function: 'hold', id })))
  assert.equal((await client.get('a')).state, 'executing', 'its wait was answered')
  assert.deepEqual(await recovered, [{ tasks: 2, givenUp: 0 }])
  letGo()
  assert.deepEqual(await Promise.all(['a', 'b'].map((id) => client.result(id))), ['here', 'here'])
  assert.deepEqual(ran, ['a', 'b'])
  child.kill('SIGCONT')
  const others = open(t, own.url, { queue: client.queue })
  const asked = await until(() => others.call('health').catch(() => undefined), 'it answers')
  assert.deepEqual([asked.lost, child.lines.filter((line) => line.includes('begun'))], [0, []])
})

/** Freezes itself in its first task, while it holds others that JavaScript has, and more that it has not. */
const SELF_FREEZING = `
  const client = dothis(options.url, options.queue)
  let begun
  const worker = client.work({
    large() {
      if (begun !== undefined) begun++
      else if (worker.health().ready > 0) {
        begun = 0
        say({ had: worker.health().running - 1 })
        process.kill(process.pid, 'SIGSTOP')
      }
    },
    last: () => begun,
  }, { heartbeatTimeout: 1000, concurrency: 60 })
  process.stdin.once('data', async () => {
    for (let turns = 0; turns < 100; turns++) await new Promise(setImmediate)
    say('had its turns')
  })
`

test('what JavaScript did not have yet when it was frozen does not begin when it wakes: others have run it', async (t) => {
  const own = await withOwnRedis(t)
  const client = open(t, own.url)
  const { worker: watch, open: letGo } = await watching(client)
  // So large that not all of what is taken is handed to JavaScript at once.
  const args = { text: 'x'.repeat(30_000) }
  const tasks = Array.from({ length: 200 }, (_, n) => ({ function: 'large', args, id: `large-${n}` }))
  await client.enqueueMany(tasks)
  const recovered = waitFor(watch, 'recovered')
  const child = program(SELF_FREEZING, { url: own.url, queue: client.queue })
  const { had } = await child.nextJson()
  await recovered
  const others = client.work({ large: () => {} })
  await Promise.all(tasks.map(({ id }) => client.result(id)))
  await others.close()
  const watchEnds = watch.close()
  letGo()
  await watchEnds

  // It must know by itself: Redis tells it nothing now.
  await own.kill('SIGSTOP')
  child.kill('SIGCONT')
  child.write('on')
  await child.waitForLine('had its turns')
  await own.kill('SIGCONT')
  assert.equal(await client.call('last'), had, 'those that JavaScript had, and no others')
})
