// What was sent over a connection that has been given up may still come through, after it was sent again over another:
// it does nothing then.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TcpProxy } from '../chaos/proxy.mjs'
import { waitFor, withOwnRedis } from './support/index.mjs'
import { flushed, gate, open, until } from './support/open.mjs'

/** Longer than it takes to give a connection up. */
const GIVEN_UP_MS = 15_000

/** A Redis, and a way to it on which connections can come to a standstill. */
async function farRedis(t) {
  const redis = await withOwnRedis(t)
  const proxy = await TcpProxy.before(redis.port)
  t.after(() => proxy.close())
  return { redis, proxy }
}

/** Lets through what was held up, and waits until Redis has seen the end of it. */
async function comesThrough({ redis, proxy }, before) {
  const ids = async () => (await redis.raw.send('CLIENT', 'LIST')).match(/^id=\d+/gm)
  proxy.heal()
  await until(
    async () => (await ids()).filter((id) => before.has(id)).length === 1,
    'the old ones are gone',
    GIVEN_UP_MS,
  )
}

async function connectionsOf({ redis }) {
  return new Set((await redis.raw.send('CLIENT', 'LIST')).match(/^id=\d+/gm))
}

test('an exchange that comes late takes nothing that nobody would run', async (t) => {
  const far = await farRedis(t)
  const client = open(t, far.proxy.url)
  const first = gate()
  const second = gate()
  const handlers = { first: () => first.opened, second: () => second.opened, third: () => 'ran' }
  const worker = client.work(handlers, { concurrency: 1, heartbeatTimeout: 60_000 })
  const ids = ['first', 'second', 'third']
  await client.enqueueMany(ids.map((id) => ({ function: id, id })))
  await until(() => worker.health().running === 1, 'the first runs')

  const before = await connectionsOf(far)
  far.proxy.stall()
  first.open()
  await waitFor(client, 'connected', GIVEN_UP_MS)
  const state = (id) => far.redis.raw.send('HGET', `${client.queue}:task:${id}`, 'state')
  await until(async () => (await state('second')) === 'executing', 'the second runs')
  await comesThrough(far, before)
  assert.equal(await state('third'), 'pending')

  second.open()
  assert.equal(await client.result('third', { timeout: 10_000 }), 'ran')
})

test('a task that comes late is not put in again, even where nothing is left of it', async (t) => {
  const far = await farRedis(t)
  const client = open(t, far.proxy.url, { commandTimeout: 30_000 })
  await flushed(client, far.redis.raw) // The script is loaded by then.

  const before = await connectionsOf(far)
  far.proxy.stall()
  const enqueued = client.enqueue('once', {}, { id: 'task', removeOnSuccess: true })
  await waitFor(client, 'connected', GIVEN_UP_MS)
  assert.equal((await enqueued).created, true)
  const near = open(t, far.redis.url, { queue: client.queue })
  const ran = gate()
  const worker = near.work({ once: () => ran.open() })
  await ran.opened
  await worker.close()

  await comesThrough(far, before)
  assert.equal(await near.get('task'), null)
  assert.equal(await far.redis.raw.send('LLEN', `${client.queue}:pending`), 0)
})
