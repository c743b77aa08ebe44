// Results that come from elsewhere, and over connections that break: no wait is missed.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { connect, peer, spawnNode, waitFor, withOwnRedis } from './support/index.mjs'
import { gate, open, outcome, until } from './support/open.mjs'

// CLIENT LIST shows every connection of the server, so it is this file's own.
const redis = await withOwnRedis()
const { raw } = redis

/** The connections that are subscribed to something. */
async function subscribers() {
  const list = await raw.send('CLIENT', 'LIST')
  return list
    .split('\n')
    .filter((line) => / sub=[1-9]/.test(line))
    .map((line) => /\bid=(\d+)/.exec(line)[1])
}
const subscribed = (count = 1) =>
  until(async () => (await subscribers()).length >= count && (await subscribers()), `${count} subscribed`)

/** Finishes tasks as somebody who knows nothing of replies, and tells nobody. */
async function finishSilently(queue, ids, value) {
  const commands = ids.map((id) => [
    'HSET',
    `${queue}:task:${id}`,
    'state',
    'finished',
    'result',
    'successful',
  ])
  await raw.pipeline(commands.map((command) => [...command, 'result-value', JSON.stringify(value)]))
}

test('tasks that finish while the subscription is broken are heard of', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ slow: () => held.opened }, { concurrency: 200 })
  const results = Array.from({ length: 200 }, () => client.call('slow'))
  await until(() => worker.health().running === 200, 'all tasks run')
  const [id] = await subscribed()
  // In one step, so that nobody can subscribe again in between.
  const killed = raw.send('CLIENT', 'KILL', 'ID', id)
  held.open('done')
  await killed
  assert.deepEqual(await Promise.all(results), Array(200).fill('done'))
})

test('a subscription that is killed again and again loses no result', async (t) => {
  const client = open(t, redis.url)
  client.work({ echo: ({ n }) => n }, { concurrency: 20 })
  let through = false
  const killing = (async () => {
    while (!through) for (const id of await subscribers()) await raw.send('CLIENT', 'KILL', 'ID', id)
  })()
  const calls = Array.from({ length: 500 }, (_, n) => client.call('echo', { n }))
  const results = await Promise.all(calls).finally(() => {
    through = true
  })
  await killing
  assert.deepEqual(
    results,
    Array.from({ length: 500 }, (_, n) => n),
  )
})

test('every connection killed at once: calls, worker and waits come back by themselves', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ slow: () => held.opened, echo: ({ n }) => n })
  const slow = client.call('slow')
  await until(() => worker.health().running === 1, 'the task runs')
  await subscribed()
  const lost = waitFor(client, 'disconnected')
  await raw.send('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await raw.send('CLIENT', 'KILL', 'TYPE', 'pubsub')
  const echoes = Array.from({ length: 50 }, (_, n) => client.call('echo', { n }))
  held.open('done')
  await lost
  assert.equal(await slow, 'done')
  assert.deepEqual(
    await Promise.all(echoes),
    Array.from({ length: 50 }, (_, n) => n),
  )
})

test('a task that is finished without any message is found all the same', async (t) => {
  const client = open(t, redis.url)
  const ids = Array.from({ length: 40 }, (_, n) => `n${n}`)
  await client.enqueueMany(ids.map((id) => ({ function: 'x', id })))
  const waits = ids.map((id) => client.result(id))
  await client.get('round trip')
  await finishSilently(client.queue, ids, 'quiet')
  assert.deepEqual(await Promise.all(waits), Array(40).fill('quiet'))
})

test('a worker of another language finishes a task that is waited for', async (t) => {
  const client = open(t, redis.url)
  const worker = peer('work', { url: redis.url, queue: client.queue, count: 3 })
  t.after(() => worker.kill())
  await worker.waitForLine('ready')
  assert.equal(await client.call('add', { a: 1, b: 5 }), 6)
  const task = await client.enqueue('echo', { text: 'ooh yeeah' })
  assert.equal(await task.result(), 'ooh yeeah')
  await assert.rejects(client.call('fail', { message: 'not today' }), (error) => {
    assert.equal(error.code, 'ERR_TASK_FAILED')
    assert.equal(error.reason, 'not today')
    assert.match(error.exception, /^Traceback/)
    return true
  })
})

test('a task that a worker of another language holds is heard of the moment it ends', async (t) => {
  const client = open(t, redis.url)
  const worker = peer('work', { url: redis.url, queue: client.queue, count: 1, hold: true })
  t.after(() => worker.kill())
  await worker.waitForLine('ready')
  const result = client.call('add', { a: 1, b: 1 }, { id: 'held' })
  await worker.waitForLine((line) => line.includes('taken'))
  const channel = `${client.queue}:results`
  await until(async () => (await raw.send('PUBSUB', 'NUMSUB', channel))[1] === 1, 'results are heard')
  worker.write()
  assert.equal(await result, 2)
})

test('a message on results for what nobody waits for, or that is no key, harms nothing', async (t) => {
  const client = open(t, redis.url)
  const channel = `${client.queue}:results`
  const result = client.result('mine')
  await until(async () => (await raw.send('PUBSUB', 'NUMSUB', channel))[1] === 1, 'results are heard')
  for (const message of ['', 'x', `${client.queue}:task:`, 'other:task:mine', Buffer.from([0xff, 0])]) {
    await raw.send('PUBLISH', channel, message)
  }
  // Told too early: it is not finished yet.
  await raw.send('HSET', `${client.queue}:task:mine`, 'state', 'executing', 'function', 'x')
  await raw.send('PUBLISH', channel, `${client.queue}:task:mine`)
  await client.get('round trip')
  assert.equal(client.health().pending, 1)
  await finishSilently(client.queue, ['mine'], 'mine')
  await raw.send('PUBLISH', channel, `${client.queue}:task:mine`)
  assert.equal(await result, 'mine')
})

test('garbage on a reply channel harms nothing', async (t) => {
  const client = open(t, redis.url)
  const result = client.call('echo', { n: 1 })
  const channels = () => raw.send('PUBSUB', 'CHANNELS', `${client.queue}:reply:*`)
  const [channel] = await until(async () => {
    const found = await channels()
    return found.length && found
  }, 'replies are heard')
  for (const message of ['', 'x', '5:abc', '3:abcv99:1', '1:xq', Buffer.from([0xff, 0, 0x3a])]) {
    await raw.send('PUBLISH', channel, message)
  }
  client.work({ echo: ({ n }) => n })
  assert.equal(await result, 1)
})

for (const size of [16 * 1024 - 2, 16 * 1024 - 1, 100_000, 3_000_000]) {
  test(`a result of ${size} characters arrives, in a message or not`, async (t) => {
    const client = open(t, redis.url)
    client.work({ big: ({ size }) => 'x'.repeat(size) })
    const value = await client.call('big', { size })
    assert.equal(value.length, size)
    assert.equal(value, 'x'.repeat(size))
  })
}

test('a long reason and stack arrive, in a message or not', async (t) => {
  const client = open(t, redis.url)
  client.work({
    bad() {
      const error = new Error('why')
      error.stack = `Error: why\n${'é'.repeat(15_000)}`
      throw error
    },
  })
  await assert.rejects(client.call('bad'), (error) => {
    assert.equal(error.reason, 'why')
    assert.equal(error.exception, `Error: why\n${'é'.repeat(15_000)}`)
    return true
  })
})

test('several waiters of one task, in several clients and processes, all hear of it', async (t) => {
  const client = open(t, redis.url)
  const others = [1, 2, 3].map(() => open(t, redis.url, { queue: client.queue }))
  const task = await client.enqueue('slow', {}, { id: 'shared' })
  const program = fileURLToPath(new URL('support/wait.mjs', import.meta.url))
  const children = [1, 2, 3].map(() => spawnNode(program, [redis.url, client.queue, task.id]))
  t.after(() => Promise.all(children.map((child) => child.kill())))
  await Promise.all(children.map((child) => child.waitForLine('waiting')))
  const waits = [client, client, ...others].map((each) => each.result('shared'))
  const missed = outcome(client.result('shared', { timeout: 0 }))
  assert.equal((await missed).error.code, 'ERR_TIMEOUT')

  open(t, redis.url, { queue: client.queue }).work({ slow: () => ({ all: 'of you' }) })
  for (const value of await Promise.all(waits)) assert.deepEqual(value, { all: 'of you' })
  for (const child of children) assert.deepEqual(await child.nextJson(), { all: 'of you' })
})

test('more waiting processes than a task sends replies to: the others hear of it, too', async (t) => {
  const client = open(t, redis.url)
  const key = `${client.queue}:task:x`
  const full = Array.from({ length: 16 }, (_, n) => `address${n}`).join(',')
  await raw.send('HSET', key, 'function', 'x', 'state', 'pending', 'reply-to', full)
  const result = client.result('x')
  await client.get('round trip')
  assert.equal(await raw.send('HGET', key, 'reply-to'), full)
  await raw.send('LPUSH', `${client.queue}:pending`, 'x')
  client.work({ x: () => 'heard' })
  assert.equal(await result, 'heard')
})

test('waits of several queues in one process share one subscribed connection', async (t) => {
  const clients = [1, 2, 3].map(() => open(t, `${redis.url}/0`))
  const results = clients.map((client) => client.call('x'))
  const count = async () => {
    const patterns = clients.map((client) => raw.send('PUBSUB', 'CHANNELS', `${client.queue}:reply:*`))
    return (await Promise.all(patterns)).flat().length
  }
  await until(async () => (await count()) === 3, 'each queue is heard')
  const other = await connect(redis.url)
  const list = await other.send('CLIENT', 'LIST')
  other.close()
  const subs = [...list.matchAll(/ sub=(\d+)/g)].map(([, sub]) => Number(sub))
  assert.ok(subs.includes(3), `subscriptions by connection: ${subs}`)
  for (const client of clients) client.work({ x: () => client.queue })
  assert.deepEqual(
    await Promise.all(results),
    clients.map((client) => client.queue),
  )
})
