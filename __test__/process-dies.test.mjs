// A process that is told to end in the middle of its tasks hands them back, and ends as it was told to.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { snapshot, uniqueQueue, withOwnRedis, withRedis } from './support/index.mjs'
import { ended, program } from './support/program.mjs'

const redis = await withRedis()

const ids = Array.from({ length: 12 }, (_, n) => `task-${String(n).padStart(2, '0')}`)
const CONCURRENCY = 8

const WORKER = `
  const client = dothis(options.url, options.queue)
  const worker = client.work({
    hold: (_, { id }) => {
      say(id)
      return new Promise((resolve) => process.stdin.once('data', () => resolve('done')))
    },
  }, { concurrency: options.concurrency })
  process.stdin.unref()
`
const ONE_LINER = (timeout) =>
  `process.once('SIGTERM', () => worker.close({ timeout: ${timeout} }).then(() => client.close()))
  process.on('SIGTERM', () => say('closing'))`

/** A process in the middle of the first tasks of a queue of its own; the rest are pending. */
async function midway(t, ending) {
  const client = dothis(redis.url, uniqueQueue())
  t.after(() => client.close())
  await client.enqueueMany(ids.map((id) => ({ function: 'hold', id })))
  const options = { url: redis.url, queue: client.queue, concurrency: CONCURRENCY }
  const child = program(WORKER + ending, options)
  for (const id of ids.slice(0, CONCURRENCY)) await child.waitForLine(id)
  return { client, child }
}

const hash = (fields) => ({ hash: { function: 'hold', args: '{}', 'pending-created': '<time>', ...fields } })
const pending = hash({ state: 'pending' })
const finished = hash({
  state: 'finished',
  result: 'successful',
  'result-value': '"done"',
  'executing-created': '<time>',
  'finished-created': '<time>',
})

async function assertAllPending(client) {
  const expected = { pending: { list: [...ids].reverse() } }
  for (const id of ids) expected[`task:${id}`] = pending
  assert.deepEqual(await snapshot(redis.raw, client.queue), expected)
}

async function assertAnotherWorkerRunsThem(client) {
  const ran = []
  const worker = client.work(
    {
      hold(_, { id }) {
        ran.push(id)
        return 'done'
      },
    },
    { concurrency: 1 },
  )
  await Promise.all(ids.map((id) => client.result(id, { timeout: 10_000 })))
  await worker.close()
  assert.deepEqual(ran, ids)
  const expected = Object.fromEntries(ids.map((id) => [`task:${id}`, finished]))
  assert.deepEqual(await snapshot(redis.raw, client.queue), expected)
}

const came = ids.slice(0, CONCURRENCY)

test('process.exit in the middle of tasks hands them back, in order, and keeps its code', async (t) => {
  const { client, child } = await midway(t, `process.on('SIGUSR2', () => process.exit(7))`)
  child.kill('SIGUSR2')
  assert.deepEqual(await ended(child), { code: 7, signal: null, stderr: '', lines: came })
  await assertAllPending(client)
  await assertAnotherWorkerRunsThem(client)
})

test('process.exit writes what has run by then, and hands back only the rest', async (t) => {
  const client = dothis(redis.url, uniqueQueue())
  t.after(() => client.close())
  await client.enqueueMany(['ran', 'exits'].map((id) => ({ function: 'hold', id })))
  const child = program(
    `dothis(options.url, options.queue).work({
      hold(_, { id }) {
        if (id === 'exits') process.exit(3)
        return 'done'
      },
    })`,
    { url: redis.url, queue: client.queue },
  )
  assert.deepEqual(await ended(child), { code: 3, signal: null, stderr: '', lines: [] })
  assert.deepEqual(await snapshot(redis.raw, client.queue), {
    pending: { list: ['exits'] },
    'task:exits': pending,
    'task:ran': finished,
  })
})

test('process.exit ends the process although Redis does not answer', async (t) => {
  const own = await withOwnRedis(t)
  const child = program(
    `const client = dothis(options.url)
    const worker = client.work({ hold: () => { say('begun'); return new Promise(() => {}) } })
    process.on('SIGUSR2', () => process.exit(7))
    await client.enqueue('hold')`,
    { url: own.url },
  )
  await child.waitForLine('begun')
  await own.kill('SIGSTOP')
  child.kill('SIGUSR2')
  assert.deepEqual(await ended(child), { code: 7, signal: null, stderr: '', lines: ['begun'] })
})

test('an uncaught exception in the middle of tasks hands them back, and ends the process as ever', async (t) => {
  const { client, child } = await midway(t, `process.on('SIGUSR2', () => { throw new Error('on purpose') })`)
  child.kill('SIGUSR2')
  const { code, stderr } = await ended(child)
  assert.equal(code, 1)
  assert.match(stderr, /Error: on purpose/)
  await assertAllPending(client)
})

test('on SIGTERM the documented line lets what runs finish, leaves the rest, and the process ends', async (t) => {
  const { client, child } = await midway(t, ONE_LINER(30_000))
  child.kill('SIGTERM')
  await child.waitForLine('closing')
  child.write('finish')
  assert.deepEqual(await ended(child), { code: 0, signal: null, stderr: '', lines: [...came, 'closing'] })
  const left = ids.slice(CONCURRENCY)
  const expected = { pending: { list: [...left].reverse() } }
  for (const id of came) expected[`task:${id}`] = finished
  for (const id of left) expected[`task:${id}`] = pending
  assert.deepEqual(await snapshot(redis.raw, client.queue), expected)
})

test('on SIGTERM the documented line hands back what does not finish in time, and the process ends', async (t) => {
  const { client, child } = await midway(t, ONE_LINER(1))
  child.kill('SIGTERM')
  assert.deepEqual(await ended(child), { code: 0, signal: null, stderr: '', lines: [...came, 'closing'] })
  await assertAllPending(client)
  await assertAnotherWorkerRunsThem(client)
})

test('SIGTERM without a handler ends the process at once, and Redis still holds every task', async (t) => {
  const { client, child } = await midway(t, '')
  child.kill('SIGTERM')
  assert.deepEqual(await ended(child), { code: null, signal: 'SIGTERM', stderr: '', lines: came })
  const left = await snapshot(redis.raw, client.queue)
  assert.deepEqual(left.pending.list, ids.slice(CONCURRENCY).reverse())
  assert.deepEqual(left.executing.list.toSorted(), came)
  for (const id of came) {
    const { function: name, state, args } = left[`task:${id}`].hash
    assert.deepEqual({ name, state, args }, { name: 'hold', state: 'executing', args: '{}' })
  }
  assert.equal(left['worker:<uuid>'].expires, true)
})
