// A worker's concurrency: never more at a time, and as many as that whenever there is work.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { within, withRedis } from './support/index.mjs'
import { gate, open, until } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis

for (const concurrency of [1, 2, 7, 64, 100, 300]) {
  test(`concurrency ${concurrency} is used fully and never exceeded`, async (t) => {
    const client = open(t, redis.url)
    const waiting = []
    const full = []
    let running = 0
    let most = 0
    const handler = async () => {
      running++
      most = Math.max(most, running)
      await new Promise((resolve) => {
        waiting.push(resolve)
        if (waiting.length === concurrency) full.shift()?.()
      })
      running--
    }
    const count = concurrency * 3
    const tasks = await client.enqueueMany(Array.from({ length: count }, () => ({ function: 'slow' })))
    const worker = client.work({ slow: handler }, { concurrency })
    for (let round = 0; round < 3; round++) {
      if (waiting.length < concurrency) await within(new Promise((resolve) => full.push(resolve)))
      assert.equal(running, concurrency)
      assert.equal(worker.health().running, concurrency)
      // What was taken ahead goes back.
      const executing = () => raw.send('LLEN', `${client.queue}:executing`)
      await until(async () => (await executing()) === concurrency, 'as many are executing')
      assert.equal(await raw.send('LLEN', `${client.queue}:pending`), count - (round + 1) * concurrency)
      for (const resolve of waiting.splice(0)) resolve()
    }
    await Promise.all(tasks.map((task) => task.result()))
    assert.equal(most, concurrency)
    await until(() => worker.health().running === 0, 'nothing runs any more')
  })
}

test('a slot that becomes free is used at once, while the others are held', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ slow: () => held.opened, quick: ({ n }) => n }, { concurrency: 3 })
  const slow = [client.call('slow'), client.call('slow')]
  await until(() => worker.health().running === 2, 'two tasks run')
  for (let n = 0; n < 50; n++) assert.equal(await client.call('quick', { n }), n)
  assert.equal(worker.health().running, 2)
  held.open('done')
  assert.deepEqual(await Promise.all(slow), ['done', 'done'])
})

test('at concurrency 1 tasks run one after the other, first in, first out', async (t) => {
  const client = open(t, redis.url)
  const order = []
  let running = 0
  const tasks = await client.enqueueMany(
    Array.from({ length: 200 }, (_, n) => ({ function: 'note', args: { n } })),
  )
  client.work(
    {
      async note({ n }) {
        assert.equal(++running, 1)
        await new Promise((resolve) => setImmediate(resolve))
        running--
        order.push(n)
      },
    },
    { concurrency: 1 },
  )
  await Promise.all(tasks.map((task) => task.result()))
  assert.deepEqual(
    order,
    Array.from({ length: 200 }, (_, n) => n),
  )
})

test('workers share a queue: each task runs once, and none is left', async (t) => {
  const client = open(t, redis.url)
  const seen = new Map()
  const handlers = (name) => ({
    note({ n }) {
      assert.equal(seen.has(n), false)
      seen.set(n, name)
    },
  })
  const workers = ['a', 'b', 'c'].map((name) => client.work(handlers(name), { concurrency: 5 }))
  const tasks = await client.enqueueMany(
    Array.from({ length: 2_000 }, (_, n) => ({ function: 'note', args: { n } })),
  )
  await Promise.all(tasks.map((task) => task.result()))
  assert.equal(seen.size, 2_000)
  for (const worker of workers) await worker.close()
  assert.equal(await raw.send('EXISTS', `${client.queue}:pending`, `${client.queue}:executing`), 0)
})

test('the default concurrency is 10', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ slow: () => held.opened })
  await client.enqueueMany(Array.from({ length: 15 }, () => ({ function: 'slow' })))
  await until(() => worker.health().running === 10, 'ten tasks run')
  assert.equal(await raw.send('LLEN', `${client.queue}:pending`), 5)
  held.open()
})
