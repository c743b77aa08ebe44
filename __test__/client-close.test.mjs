// close, quit and end: what they wait for, and what calls get that come too late.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { snapshot, waitFor, withRedis } from './support/index.mjs'
import { gate, open, outcome, until } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis
const closedError = (error) => {
  assert.ok(error instanceof dothis.ClosedError)
  assert.equal(error.code, 'ERR_CLOSED')
  return true
}

test('close may be called any number of times, before and after it is through', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('x')
  await Promise.all([client.close(), client.close(), client.quit(), client.end()])
  await client.close()
  await client.end()
  assert.equal(client.health().status, 'closed')
})

test('a client that was never used closes', async (t) => {
  await open(t, redis.url).close()
  await open(t, 'redis://127.0.0.1:1').close()
})

test('every call after close is a ClosedError, and touches nothing', async (t) => {
  const client = open(t, redis.url)
  await client.close()
  await assert.rejects(client.enqueue('x'), closedError)
  await assert.rejects(client.enqueueMany([{ function: 'x' }]), closedError)
  await assert.rejects(client.enqueueMany([]), closedError)
  await assert.rejects(client.call('x'), closedError)
  await assert.rejects(client.result('x'), closedError)
  await assert.rejects(client.get('x'), closedError)
  await assert.rejects(client.task('x', {}), closedError)
  await assert.rejects(client.taskwithid('x', 'x', {}), closedError)
  await assert.rejects(client.gettask('x'), closedError)
  assert.throws(() => client.work({}), closedError)
  assert.deepEqual(await snapshot(raw, client.queue), {})
})

test('a client that is being closed starts no worker, while what runs may still call', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({
    async run() {
      await held.opened
      return (await client.enqueue('later')).function
    },
  })
  const wait = client.call('run')
  await until(() => worker.health().running === 1, 'the task runs')
  const closed = client.close({ timeout: Number.POSITIVE_INFINITY })
  assert.throws(() => client.work({}), closedError)
  held.open()
  assert.equal(await wait, 'later')
  await closed
})

test('a handle that outlives its client gives a ClosedError', async (t) => {
  const client = open(t, redis.url)
  const task = await client.enqueue('x')
  await client.close()
  await assert.rejects(task.result(), closedError)
  await assert.rejects(task.get(), closedError)
})

test('close ends however many waits are open', async (t) => {
  const client = open(t, redis.url)
  const waits = Array.from({ length: 10_000 }, (_, n) => outcome(client.result(`task-${n}`)))
  await client.close()
  for (const { error } of await Promise.all(waits)) assert.equal(error?.code, 'ERR_CLOSED')
  assert.equal(client.health().pending, 0)
})

test('of waits that are over nothing is left to end, however many were open', async (t) => {
  const client = open(t, redis.url)
  const waits = Array.from({ length: 10_000 }, (_, n) => outcome(client.result(`task-${n}`, { timeout: 50 })))
  for (const { error } of await Promise.all(waits)) assert.equal(error?.code, 'ERR_TIMEOUT')
  assert.equal(client.health().pending, 0)
  await client.close()
  assert.equal(client.health().pending, 0)
})

test('what was enqueued before close is in Redis after it; what was waited for is a ClosedError', async (t) => {
  const client = open(t, redis.url)
  const enqueued = client.enqueue('x', {}, { id: 'a' })
  const called = outcome(client.call('x', {}, { id: 'b' }))
  const waited = outcome(client.result('a'))
  const read = client.get('nothing')
  await client.close()

  assert.equal((await enqueued).created, true)
  assert.equal(await read, null)
  const { error } = await called
  closedError(error)
  assert.equal(client.health().pending, 0)
  closedError((await waited).error)
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), ['b', 'a'])
})

test('close of one client leaves the waits of another, on the same queue, as they are', async (t) => {
  const first = open(t, redis.url)
  const second = open(t, redis.url, { queue: first.queue })
  const { id } = await first.enqueue('x')
  const ended = outcome(first.result(id))
  const kept = second.result(id)
  await second.get(id)
  await first.close()
  closedError((await ended).error)
  second.work({ x: () => 'still' })
  assert.equal(await kept, 'still')
})

test('close lets its workers finish what runs, and who waits for it hears of it', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ slow: () => held.opened })
  const result = client.call('slow')
  await until(() => worker.health().running === 1, 'the task runs')
  const closed = client.close()
  held.open('done')
  assert.equal(await result, 'done')
  await closed
  assert.equal(worker.health().status, 'closed')
})

test('a handler that runs while its client closes can still use it', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({
    async slow() {
      await held.opened
      return (await client.enqueue('next', {}, { id: 'next' })).created
    },
  })
  const result = client.call('slow')
  await until(() => worker.health().running === 1, 'the task runs')
  const closed = client.close()
  held.open()
  assert.equal(await result, true)
  await closed
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), ['next'])
})

test('close passes its timeout on to its workers', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ stuck: () => new Promise(() => {}) })
  const { id } = await client.enqueue('stuck')
  await until(() => worker.health().running === 1, 'the task runs')
  await client.close({ timeout: 0 })
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), [id])
})

test('close with wrong options says so, and closes nothing', async (t) => {
  const client = open(t, redis.url)
  await assert.rejects(client.close({ timeuot: 5 }), { code: 'ERR_ARGS' })
  await assert.rejects(client.close({ timeout: -1 }), { code: 'ERR_ARGS' })
  const worker = client.work({ x: () => 1 })
  await assert.rejects(worker.close({ timeout: 'soon' }), { code: 'ERR_ARGS' })
  assert.equal(await client.call('x'), 1)
  await worker.close()
  await client.close()
})

test("'closed' is emitted once", async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({})
  const counts = { client: 0, worker: 0 }
  client.on('closed', () => counts.client++)
  worker.on('closed', () => counts.worker++)
  const both = Promise.all([waitFor(client, 'closed'), waitFor(worker, 'closed')])
  await worker.close()
  await client.close()
  await both
  await client.close()
  assert.deepEqual(counts, { client: 1, worker: 1 })
})

test('quit waits for the calls that are in flight', async (t) => {
  const client = open(t, redis.url)
  const other = open(t, redis.url, { queue: client.queue })
  const result = client.task('add', { a: 1, b: 5 })
  let through = false
  const quit = client.quit().then(() => {
    through = true
  })
  await other.get('round trip')
  assert.equal(through, false)
  await assert.rejects(client.task('add', {}), closedError)

  other.work({ add: ({ a, b }) => a + b })
  assert.equal(await result, 6)
  await quit
})

test('end gives up at once what is in flight, and nothing goes unheard', async (t) => {
  const client = open(t, redis.url)
  const result = outcome(client.task('never', {}))
  await client.get('round trip')
  await client.end()
  closedError((await result).error)
})

test('end ends a quit that waits for what never comes; so does close', async (t) => {
  for (const how of ['end', 'close']) {
    const client = open(t, redis.url)
    const result = outcome(client.task('never', {}))
    await client.get('round trip')
    const quit = client.quit()
    await client[how]()
    await quit
    closedError((await result).error)
  }
})

test('close does not wait for Redis to come back for what only waits', async (t) => {
  const client = open(t, 'redis://127.0.0.1:1')
  const result = outcome(client.result('x'))
  await client.close()
  closedError((await result).error)
})

test('client and worker can be disposed of', { skip: !Symbol.asyncDispose }, async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({})
  await worker[Symbol.asyncDispose]()
  assert.equal(worker.health().status, 'closed')
  await client[Symbol.asyncDispose]()
  assert.equal(client.health().status, 'closed')
})
