// A worker's hash: it is there while the worker lives, and expires by itself when its process dies.

import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { test } from 'node:test'
import { LIMIT_MS, snapshot, withRedis } from './support/index.mjs'
import { open, until } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis

const keyOf = (client, worker) => `${client.queue}:worker:${worker.id}`
const appears = (key) => until(async () => (await raw.send('EXISTS', key)) === 1, 'the hash appears')

test("a worker's hash appears with its fields and expires by itself, and goes on close", async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({}, { heartbeatTimeout: 60_000 })
  assert.match(worker.id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
  await appears(keyOf(client, worker))
  assert.deepEqual(await snapshot(raw, client.queue), {
    'worker:<uuid>': {
      hash: {
        queue: client.queue,
        hostname: hostname(),
        pid: String(process.pid),
        registered: '<time>',
        repeated: '0',
      },
      expires: true,
    },
  })
  const lifetime = await raw.send('PTTL', keyOf(client, worker))
  assert.ok(lifetime > 20_000 && lifetime <= 60_000, String(lifetime))
  await worker.close()
  assert.deepEqual(await snapshot(raw, client.queue), {})
})

test("a worker's hash is refreshed: it outlives its time, and comes back when it is taken away", async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({}, { heartbeatTimeout: 1_000 })
  const key = keyOf(client, worker)
  await appears(key)
  const fields = await raw.send('HGETALL', key)

  await raw.send('DEL', key)
  await appears(key)
  assert.deepEqual(await raw.send('HGETALL', key), fields)

  await raw.send('PERSIST', key)
  await until(async () => (await raw.send('PTTL', key)) > 0, 'the hash expires again')

  await raw.send('PEXPIRE', key, 400)
  await until(async () => (await raw.send('PTTL', key)) > 500, 'its time is prolonged')
})

test('the hash is refreshed while a handler blocks the event loop', async (t) => {
  const client = open(t, redis.url)
  const shared = new Int32Array(new SharedArrayBuffer(8))
  const { Worker } = await import('node:worker_threads')
  const worker = client.work(
    {
      // Until the other thread has seen the hash come back.
      block() {
        Atomics.store(shared, 1, 1)
        return Atomics.wait(shared, 0, 0, LIMIT_MS)
      },
    },
    { heartbeatTimeout: 1_000 },
  )
  const key = keyOf(client, worker)
  await appears(key)
  const looker = new Worker(new URL('support/see-key-return.mjs', import.meta.url), {
    workerData: { url: redis.url, key, shared },
  })
  t.after(() => looker.terminate())
  assert.equal(await client.call('block'), 'ok')
})

test('several workers of one client have a hash each', async (t) => {
  const client = open(t, redis.url)
  const workers = [client.work({}), client.work({})]
  for (const worker of workers) await appears(keyOf(client, worker))
  await workers[0].close()
  assert.equal(await raw.send('EXISTS', keyOf(client, workers[0])), 0)
  assert.equal(await raw.send('EXISTS', keyOf(client, workers[1])), 1)
})

test('close takes the hash away although it has just been refreshed', async (t) => {
  const client = open(t, redis.url)
  for (let round = 0; round < 20; round++) {
    const worker = client.work({}, { heartbeatTimeout: 1_000 })
    await worker.close()
  }
  assert.deepEqual(await snapshot(raw, client.queue), {})
})
