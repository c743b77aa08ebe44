// Closing ends in its time also where Redis is away, and a second close can hasten the first.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { snapshot, uniqueQueue, waitFor, within, withOwnRedis } from './support/index.mjs'

const nowhere = 'redis://127.0.0.1:1'

test('a worker that has run nothing closes where Redis never was', async () => {
  const client = dothis(nowhere)
  const worker = client.work({ add: () => {} })
  await within(worker.close({ timeout: 100 }))
  assert.equal(worker.health().status, 'closed')
  await within(client.close())
})

test('end does not wait for a Redis that never was', async () => {
  const client = dothis(nowhere)
  client.work({ add: () => {} })
  const call = assert.rejects(client.call('add'), { code: 'ERR_CLOSED' })
  await within(client.end())
  await call
})

test('a worker that has run nothing closes after Redis went away', async (t) => {
  const redis = await withOwnRedis(t)
  const client = dothis(redis.url, uniqueQueue())
  const worker = client.work({ add: () => 1 })
  await client.call('add')
  const disconnected = waitFor(client, 'disconnected')
  await redis.kill('SIGKILL')
  await disconnected
  await within(worker.close({ timeout: 0 }))
  await within(client.close())
})

test('a shorter close hastens one that waits for a handler, which is aborted and its task handed back', async (t) => {
  const redis = await withOwnRedis(t)
  const client = dothis(redis.url, uniqueQueue())
  let aborted
  const worker = client.work({
    async hang(_, { signal }) {
      aborted = once(signal, 'abort')
      worker.emit('begun')
      await aborted
    },
  })
  const begun = waitFor(worker, 'begun')
  await client.enqueue('hang', {}, { id: 'one' })
  await begun
  const patient = client.close({ timeout: Number.POSITIVE_INFINITY })
  await within(client.end())
  await within(patient)
  await within(aborted)
  assert.deepEqual(await snapshot(redis.raw, client.queue), {
    pending: { list: ['one'] },
    'task:one': { hash: { function: 'hang', state: 'pending', args: '{}', 'pending-created': '<time>' } },
  })
})
