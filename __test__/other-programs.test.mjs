// Programs that know the wire and nothing of this package share a queue with it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { peer, snapshot, waitFor, withRedis } from './support/index.mjs'
import { open } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis
const on = (client) => ({ url: redis.url, queue: client.queue })

test("the seed's lines, typed at redis-cli, run the task and answer as its page shows", async (t) => {
  const client = open(t, redis.url)
  client.work({ echo: ({ text }) => text })
  const id = '11111111-2222-2222-2222-333333333333'
  const key = `${client.queue}:task:${id}`
  const finished = client.result(id)
  await redis.cli('HSET', key, 'function', 'echo')
  await redis.cli('HSET', key, 'state', 'pending')
  await redis.cli('HSET', key, 'args', '{ "text": "ooh yeeah" }')
  await redis.cli('LPUSH', `${client.queue}:pending`, id)

  assert.equal(await finished, 'ooh yeeah')
  const answer = await redis.cli('--no-raw', 'HMGET', key, 'result', 'result-value')
  assert.equal(answer, '1) "successful"\n2) "\\"ooh yeeah\\""')
})

test('a Python producer’s tasks run here, and a Python waiter finds each hash final', async (t) => {
  const client = open(t, redis.url)
  const waiter = peer('wait', { ...on(client), count: 20 })
  await waiter.waitForLine('ready')
  const producer = peer('produce', { ...on(client), function: 'add', count: 20 })
  await producer.waitForLine('ready')
  client.work({ add: ({ a, b }) => a + b })
  for (let n = 0; n < 20; n++) {
    const { result, value, final } = await waiter.nextJson()
    assert.deepEqual({ result, value, final }, { result: 'successful', value: '3', final: true })
  }
  assert.equal((await producer.exited).code, 0)
})

test('a Python worker’s results and failures reach who waits here', async (t) => {
  const client = open(t, redis.url)
  const worker = peer('work', { ...on(client), count: 3 })
  await worker.waitForLine('ready')
  assert.equal(await client.call('add', { a: 2, b: 3 }), 5)
  assert.equal(await client.call('echo', { text: 'x' }), 'x')
  await assert.rejects(client.call('fail', {}), { code: 'ERR_TASK_FAILED' })
  assert.equal((await worker.exited).code, 0)
})

test('a Python worker and ours share a queue: nothing is lost, repeated or left', async (t) => {
  const client = open(t, redis.url)
  const tasks = await client.enqueueMany(
    Array.from({ length: 1_000 }, (_, n) => ({ function: 'add', args: { a: n, b: n }, id: `n${n}` })),
  )
  const foreign = peer('work', on(client))
  await foreign.waitForLine('ready')
  const ran = []
  const worker = client.work({
    add({ a, b }, { id }) {
      ran.push(id)
      return a + b
    },
  })
  const sums = await Promise.all(tasks.map((task) => task.result()))
  assert.deepEqual(
    sums,
    tasks.map((_, n) => n + n),
  )
  assert.equal(new Set(ran).size, ran.length, 'none ran twice here')
  await worker.close()
  assert.equal(worker.health().lost + worker.health().dropped, 0)
  await foreign.kill('SIGTERM')
  const left = Object.keys(await snapshot(raw, client.queue)).filter((key) => !key.startsWith('task:'))
  assert.deepEqual(left, [])
})

test('a task that a Python worker holds is left to it, also when its id comes a second time', async (t) => {
  const client = open(t, redis.url)
  const foreign = peer('work', { ...on(client), count: 1, hold: true })
  await foreign.waitForLine('ready')
  const task = await client.enqueue('add', { a: 1, b: 1 }, { id: 'held' })
  const { taken } = await foreign.nextJson()
  assert.equal(taken, 'held')
  const worker = client.work({ add: () => 'run twice' })
  const dropped = waitFor(worker, 'dropped')
  await raw.send('LPUSH', `${client.queue}:pending`, 'held')
  assert.deepEqual(await dropped, [{ id: 'held', why: 'executing' }])
  foreign.write('')
  assert.equal(await task.result(), 2)
})
