// What clients and workers note in Redis for themselves: which calls have come, and who lives. It goes by itself.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { snapshot, withRedis } from './support/index.mjs'
import { open, until } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis

const DAY_MS = 24 * 60 * 60 * 1000
/** How many calls of a client may be on their way at a time. */
const PLACES = 32

const whole = (client) => snapshot(raw, client.queue, { books: true })
const aside = async (client) => {
  const { pending: _, ...rest } = await whole(client)
  return Object.fromEntries(Object.entries(rest).filter(([key]) => !key.startsWith('task:')))
}

test('a client notes the latest call of each place that calls have on their way, for a day', async (t) => {
  const client = open(t, redis.url)
  await client.get('none')
  assert.deepEqual(await whole(client), {}, 'what only reads notes nothing')
  await client.enqueue('x', {}, { id: 'one' })
  await client.enqueue('x', {}, { id: 'two' })
  const task = { hash: { function: 'x', state: 'pending', args: '{}', 'pending-created': '<time>' } }
  assert.deepEqual(await whole(client), {
    pending: { list: ['two', 'one'] },
    'sent:<uuid>': { hash: { 0: '<time>' }, expires: true },
    'task:one': task,
    'task:two': task,
  })
  const [key] = await raw.send('KEYS', `${client.queue}:sent:*`)
  const lifetime = await raw.send('PTTL', key)
  assert.ok(lifetime > DAY_MS - 60_000 && lifetime <= DAY_MS, String(lifetime))
  const latest = await raw.send('HGET', key, '0')
  assert.equal(latest, await raw.send('HGET', `${client.queue}:task:two`, 'pending-created'))
})

test('that is one hash, and bounded, however much a client enqueues', async (t) => {
  const client = open(t, redis.url)
  const again = open(t, redis.url, { queue: client.queue })
  const list = Array.from({ length: 10_000 }, () => ({ function: 'x' }))
  await Promise.all([client.enqueueMany(list), again.enqueueMany(list)])
  const keys = await raw.send('KEYS', `${client.queue}:sent:*`)
  for (const key of keys) assert.ok((await raw.send('HLEN', key)) <= PLACES)
  assert.ok(keys.length <= 2, 'one for each client at most')
})

test('workers stand in a set until they are closed, each by when it would count as dead', async (t) => {
  const client = open(t, redis.url)
  const workers = [
    client.work({}, { heartbeatTimeout: 60_000 }),
    client.work({}, { heartbeatTimeout: 90_000 }),
  ]
  const set = `${client.queue}:workers`
  await until(async () => (await raw.send('ZCARD', set)) === 2, 'both are there')
  const now = Date.now()
  const [first, at, second, later] = await raw.send('ZRANGE', set, 0, -1, 'WITHSCORES')
  assert.deepEqual(
    [first, second],
    workers.map(({ id }) => id),
  )
  assert.ok(Math.abs(at - now - 60_000) < 20_000, `${at - now} ms from now`)
  assert.ok(Math.abs(later - now - 90_000) < 20_000, `${later - now} ms from now`)
  await until(async () => Number(await raw.send('ZSCORE', set, first)) > Number(at), 'its time is put off')

  await workers[0].close()
  assert.deepEqual(await raw.send('ZRANGE', set, 0, -1), [second])
  await workers[1].close()
  assert.deepEqual(await aside(client), {})
})

test('a worker that is no longer among the workers, or has lost its hash, is back with its next sign of life', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ ping: () => 'pong' }, { heartbeatTimeout: 1_000 })
  assert.equal(await client.call('ping'), 'pong')
  const both = [`${client.queue}:workers`, `${client.queue}:worker:${worker.id}`]
  for (const lost of [...both.map((key) => [key]), both]) {
    await raw.send('DEL', ...lost)
    await until(async () => (await raw.send('EXISTS', ...both)) === 2, `${lost} are back`)
    assert.equal(await client.call('ping'), 'pong')
  }
})
