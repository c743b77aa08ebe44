// Calls that are made while Redis is not there: they wait for it, to a limit.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { connect, waitFor, withOwnRedis } from './support/index.mjs'
import { open, outcome, until } from './support/open.mjs'

const redis = await withOwnRedis()

/** What is true of a server that is not there yet: its port is known, and nobody listens. */
async function stopped() {
  await redis.kill()
}

test('calls made before Redis is up wait for it, and then succeed', async (t) => {
  await stopped()
  const client = open(t, redis.url, { commandTimeout: 60_000 })
  const ids = Array.from({ length: 100 }, (_, n) => `n${n}`)
  const enqueued = Promise.all(ids.map((id) => client.enqueue('x', {}, { id })))
  const many = client.enqueueMany([{ function: 'x', id: 'many' }])
  const called = client.call('x', {}, { id: 'called' })
  const read = client.get('nothing')
  assert.equal(client.health().status, 'connecting')
  assert.equal(client.health().pending, 103)

  await redis.restart()
  const tasks = await enqueued
  assert.ok(tasks.every((task) => task.created))
  assert.equal((await many)[0].created, true)
  assert.equal(await read, null)
  const raw = await connect(redis.url)
  t.after(() => raw.close())
  const pending = await raw.send('LRANGE', `${client.queue}:pending`, 0, -1)
  assert.deepEqual(pending.toReversed(), [...ids, 'many', 'called'])
  assert.equal(client.health().status, 'connected')
  assert.equal('reason' in client.health(), false)
  client.work({ x: () => 'ran' })
  assert.equal(await called, 'ran')
})

test('a worker that is started before Redis is up works once it is', async (t) => {
  await stopped()
  const client = open(t, redis.url)
  client.work({ x: () => 'ran' })
  const called = client.call('x', {}, { id: 'called' })
  await redis.restart()
  assert.equal(await called, 'ran')
})

test('past commandTimeout they are ConnectionErrors that say where Redis was sought', async (t) => {
  await stopped()
  const client = open(t, redis.url, { commandTimeout: 100 })
  await until(() => client.health().reason !== undefined, 'it has tried to connect')
  const about = { taskId: 'a', function: 'x' }
  const outcomes = await Promise.all([
    outcome(client.enqueue('x', {}, { id: 'a' })),
    outcome(client.enqueueMany([{ function: 'x', id: 'a' }])),
    outcome(client.call('x', {}, { id: 'a' })),
    outcome(client.task('x', {})),
    outcome(client.get('a')),
    outcome(client.gettask('a')),
  ])
  for (const { error } of outcomes) {
    assert.ok(error instanceof dothis.ConnectionError, String(error))
    assert.equal(error.code, 'ERR_CONNECTION')
    assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${redis.port}`))
  }
  for (const { error } of outcomes.slice(0, 3)) {
    assert.deepEqual({ taskId: error.taskId, function: error.function }, about)
  }
  assert.equal(client.health().pending, 0)
  assert.match(client.health().reason, /refused/i)
  await client.close()
})

test("a client's patience is its own, also where another of the same queue has more", async (t) => {
  await stopped()
  const patient = open(t, redis.url, { commandTimeout: Number.POSITIVE_INFINITY })
  const hasty = open(t, redis.url, { commandTimeout: 100, queue: patient.queue })
  const held = patient.enqueue('x', {}, { id: 'patient' })
  await assert.rejects(hasty.enqueue('x', {}, { id: 'hasty' }), { code: 'ERR_CONNECTION' })
  await redis.restart()
  assert.equal((await held).created, true)
})

test("... also where all that may be on its way to Redis at a time is the other's", async (t) => {
  await stopped()
  const patient = open(t, redis.url, { commandTimeout: Number.POSITIVE_INFINITY })
  const hasty = open(t, redis.url, { commandTimeout: 100, queue: patient.queue })
  const held = []
  // Of many ticks: one call has 64 at most, and 32 calls are on their way.
  for (let n = 0; n < 5_000; n++) {
    held.push(outcome(patient.enqueue('x')))
    await new Promise(setImmediate)
  }
  await assert.rejects(hasty.enqueue('x', {}, { id: 'hasty' }), { code: 'ERR_CONNECTION' })
  await hasty.close()
  assert.equal(patient.health().pending, held.length)
  await redis.restart()
  for (const { error } of await Promise.all(held)) assert.equal(error, undefined)
})

test('a call that was given up is not enqueued later', async (t) => {
  await stopped()
  const client = open(t, redis.url, { commandTimeout: 100 })
  await assert.rejects(client.enqueue('x', {}, { id: 'given up' }), { code: 'ERR_CONNECTION' })
  const connected = waitFor(client, 'connected')
  await redis.restart()
  await connected
  const raw = await connect(redis.url)
  t.after(() => raw.close())
  // A worker's exchange has no limit: by the time that it is answered, all that was sent before is through.
  client.work({ next: () => 'ran' })
  await raw.send('HSET', `${client.queue}:task:next`, 'function', 'next')
  await raw.send('LPUSH', `${client.queue}:pending`, 'next')
  assert.equal(await client.result('next'), 'ran')
  assert.equal(await raw.send('EXISTS', `${client.queue}:task:given up`), 0)
})

test("commandTimeout bounds the way to Redis, not the wait for a task's result", async (t) => {
  await redis.restart()
  const client = open(t, redis.url, { commandTimeout: 1 })
  await waitFor(client, 'connected')
  const waits = ['a', 'b'].map((id) => outcome(client.result(id, { timeout: 60 })))
  for (const { error } of await Promise.all(waits)) assert.equal(error.code, 'ERR_TIMEOUT')
})

test('commandTimeout may be endless, and any number of milliseconds', async (t) => {
  await redis.restart()
  for (const commandTimeout of [Number.POSITIVE_INFINITY, Number.MAX_VALUE, 1e12, 12_345.678]) {
    const client = open(t, redis.url, { commandTimeout })
    assert.equal((await client.enqueue('x')).created, true)
    assert.equal(await client.get('x'), null)
    const worker = client.work({ x: () => 'ran' })
    assert.equal(await client.call('x', {}, { timeout: commandTimeout }), 'ran')
    await worker.close({ timeout: commandTimeout })
  }
  for (const commandTimeout of [-1, Number.NaN, '5s', {}]) {
    assert.throws(() => dothis({ url: redis.url, commandTimeout }), {
      code: 'ERR_ARGS',
      message: /commandTimeout/,
    })
  }
})

test("'connected' and 'disconnected' tell of each change", async (t) => {
  await redis.restart()
  const client = open(t, redis.url)
  await waitFor(client, 'connected')
  const lost = waitFor(client, 'disconnected')
  await stopped()
  const [why] = await lost
  assert.equal(typeof why, 'string')
  assert.equal(client.health().status, 'connecting')
  const back = waitFor(client, 'connected')
  await redis.restart()
  await back
  assert.equal(client.health().status, 'connected')
})

test('a URL that can be none is an ArgsError at once', () => {
  for (const url of ['nonsense', 'http://x', '', 5, 'redis://127.0.0.1:notaport']) {
    assert.throws(() => dothis(url), { code: 'ERR_ARGS', name: 'ArgsError' }, String(url))
  }
  for (const queue of ['', 5, {}]) assert.throws(() => dothis(redis.url, queue), { code: 'ERR_ARGS' })
})
