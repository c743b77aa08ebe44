// What Redis has no room or no place for is refused with an error that says so, the process's own memory is bounded,
// and all goes on once Redis can.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { connections } from './support/connections.mjs'
import { waitFor, within, withOwnRedis } from './support/index.mjs'
import { gate, open, outcome, until } from './support/open.mjs'
import { ids, state } from './support/state.mjs'

/** A worker in the middle of a task, of which two more wait, on a server of its own. */
async function midway(t, options) {
  const redis = await withOwnRedis(t, options)
  const { raw } = redis
  const client = open(t, redis.url)
  const held = gate()
  const ran = []
  const errors = []
  const handlers = {
    hold(_, { id }) {
      ran.push(id)
      return held.opened
    },
    async twice(_, { id, attempt }) {
      ran.push(`${id} ${attempt}`)
      if (attempt === 1) throw new Error('not yet')
      return 'done'
    },
  }
  const worker = client.work(handlers, { concurrency: 1, heartbeatTimeout: 1_000 })
  worker.on('error', (error) => errors.push(error))
  const results = ['a', 'b', 'c'].map((id) => client.call('hold', {}, { id }))
  results.push(client.call('twice', {}, { id: 'd', attempts: 2, expires: 3_600_000 }))
  results.push(client.call('twice', {}, { id: 'e', attempts: 2, backoff: [1] }))
  await until(() => worker.health().running === 1, 'the first one runs')
  await until(async () => (await raw.send('LLEN', `${client.queue}:pending`)) === 4, 'the others wait')
  return { redis, raw, client, worker, held, ran, errors, results }
}

async function assertAllRunOnce({ raw, client, ran, results, worker }) {
  assert.deepEqual(await within(Promise.all(results)), Array(5).fill('done'))
  assert.deepEqual(ran, ['a', 'b', 'c', ...ran.slice(3)])
  assert.deepEqual(ran.slice(3).toSorted(), ['d 1', 'd 2', 'e 1', 'e 2'])
  await until(
    async () => Object.keys(await state(raw, client.queue)).length === 5,
    'nothing but the tasks is left',
  )
  assert.equal(worker.health().lost, 0)
}

const refused = (message) => ({ name: 'RefusedError', code: 'ERR_REFUSED', message })

/** Refuses, by what is done to Redis; afterwards all goes on. */
async function refusing(t, { message, break: break_, mend, client: refuses = true, worker: writes = false }) {
  const all = await midway(t)
  await break_(all.raw, all.client.queue)
  if (refuses)
    await assert.rejects(within(all.client.enqueue('hold', {}, { id: 'refused' })), refused(message))
  all.held.open('done')
  await until(() => all.errors.length > 0, 'the worker says so')
  for (const error of all.errors) {
    assert.ok(error instanceof dothis.RefusedError, String(error))
    assert.match(error.message, message)
  }
  if (writes)
    await until(async () => (await all.client.get('a')).state === 'finished', 'what is not concerned goes on')
  else assert.equal((await all.client.get('a')).state, 'executing')
  await mend(all.raw, all.client.queue)
  await assertAllRunOnce(all)
  if (!refuses) return
  const task = await all.client.enqueue('hold', {}, { id: 'refused' })
  assert.equal(task.created, true)
  assert.equal(await task.result(), 'done')
}

test('out of memory: enqueue is refused, a worker says so, and nothing is lost', (t) =>
  refusing(t, {
    message: /OOM/,
    break: (raw) => raw.send('CONFIG', 'SET', 'maxmemory', '1'),
    mend: (raw) => raw.send('CONFIG', 'SET', 'maxmemory', '0'),
  }))

test('a server that has become a replica: enqueue is refused, a worker says so, and nothing is lost', (t) =>
  refusing(t, {
    message: /READONLY/i,
    break: (raw) => raw.send('REPLICAOF', '127.0.0.1', '1'),
    mend: (raw) => raw.send('REPLICAOF', 'NO', 'ONE'),
  }))

for (const [key, client, worker] of [
  ['pending', true, false],
  ['executing', false, false],
  ['due', false, true],
  ['workers', false, true],
]) {
  test(`a key of another type where ${key} should be: an error says so, and nothing is lost`, (t) =>
    refusing(t, {
      message: /WRONGTYPE/,
      client,
      worker,
      break: async (raw, queue) => {
        if (await raw.send('EXISTS', `${queue}:${key}`))
          await raw.send('RENAME', `${queue}:${key}`, `${queue}:kept`)
        await raw.send('SET', `${queue}:${key}`, 'something else')
      },
      mend: async (raw, queue) => {
        // In one step, so that nothing is written in between.
        if (await raw.send('EXISTS', `${queue}:kept`))
          await raw.send('RENAME', `${queue}:kept`, `${queue}:${key}`)
        else await raw.send('DEL', `${queue}:${key}`)
      },
    }))
}

test("a key of another type where the worker's own should be: it says so, and goes on once it is gone", async (t) => {
  const all = await midway(t)
  const { raw, client, worker } = all
  const key = `${client.queue}:worker:${worker.id}`
  await raw.send('SET', key, 'something else')
  await until(() => all.errors.length > 0, 'the worker says so')
  assert.match(all.errors[0].message, /WRONGTYPE/)
  await raw.send('DEL', key)
  all.held.open('done')
  await assertAllRunOnce(all)
})

test("a key of another type where a task's should be is refused, and the other tasks of that call are not", async (t) => {
  const redis = await withOwnRedis(t)
  const client = open(t, redis.url)
  await redis.raw.send('SET', `${client.queue}:task:b`, 'something else')
  const calls = ['a', 'b', 'c'].map((id) => outcome(client.enqueue('x', {}, { id })))
  const [a, b, c] = await Promise.all(calls)
  assert.equal(a.value.created && c.value.created, true)
  assert.ok(b.error instanceof dothis.RefusedError)
  assert.equal(b.error.taskId, 'b')
  await assert.rejects(client.get('b'), refused(/WRONGTYPE/))
  assert.equal(await client.cancel('b'), false)
  assert.deepEqual(await ids(redis.raw, client.queue, 'pending'), ['a', 'c'])
  assert.equal(await redis.raw.send('GET', `${client.queue}:task:b`), 'something else')
})

test('what is enqueued while Redis is away is bounded: beyond it calls are refused at once, by a clear error', async (t) => {
  const redis = await withOwnRedis(t)
  await redis.kill('SIGKILL')
  const client = open(t, redis.url, { commandTimeout: Number.POSITIVE_INFINITY })
  const args = { text: 'x'.repeat(50 * 1024 * 1024) }
  const refusal = []
  const flood = []
  while (refusal.length === 0 && flood.length < 20) {
    const call = outcome(client.enqueue('x', args))
    call.then(({ error }) => error && refusal.push(error))
    flood.push(call)
    await new Promise(setImmediate)
    await new Promise(setImmediate)
  }
  assert.equal(flood.length, 12, '512 MiB, and what makes it more')
  assert.equal(refusal[0].code, 'ERR_CONNECTION')
  assert.match(refusal[0].message, /536870912 bytes are waiting for Redis already/)
  // A task that waits for its result is refused likewise, and its wait is over.
  await assert.rejects(client.call('x'), { code: 'ERR_CONNECTION', message: /waiting for Redis already/ })
  assert.equal(client.health().pending, 11)
  await client.end()
  const settled = await Promise.all(flood)
  assert.deepEqual(
    settled.map(({ error }) => error.code),
    [...Array(11).fill('ERR_CLOSED'), 'ERR_CONNECTION'],
  )
})

test('however often connections were lost, a process has no more of them than it had', async (t) => {
  const { raw, client, worker, held, results } = await midway(t)
  held.open('done')
  await Promise.all(results)
  const others = Array.from({ length: 4 }, () => client.work({}))
  for (let times = 0; times < 5; times++) {
    const backAgain = ['disconnected', 'connected'].map((event) => waitFor(client, event))
    await raw.send('CLIENT', 'KILL', 'TYPE', 'normal')
    await raw.send('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await Promise.all(backAgain)
  }
  const expected = [...Array(5).fill('blocked'), 'commands', 'messages']
  await until(async () => (await connections(raw)).join() === expected.join(), 'one for each worker, and two')
  for (const other of [...others, worker]) await other.close()
  await until(
    async () => (await connections(raw)).join() === 'commands,messages',
    'those of the workers are closed',
  )
})
