// What travels together: counted by Redis itself, never timed.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, withOwnRedis } from './support/index.mjs'
import { gate, open, until } from './support/open.mjs'

// The counters are the server's, so it is this file's own.
const redis = await withOwnRedis()
const { raw } = redis
const BATCH = 64

/** How often Redis was called since the last look, by command. */
async function calls() {
  const info = await raw.send('INFO', 'commandstats')
  await raw.send('CONFIG', 'RESETSTAT')
  const counts = {}
  for (const [, name, count] of info.matchAll(/cmdstat_([\w|]+):calls=(\d+)/g)) counts[name] = Number(count)
  // Not the queue's doing.
  for (const name of ['info', 'config|resetstat', 'ping', 'client|list']) delete counts[name]
  return counts
}

/** The same without what scripts called: what came over the wire. */
const scripts = async () => (await calls()).evalsha ?? 0

// All that is called is slow, and so Redis keeps it: what tells a script from another is the keys that it is given.
await raw.send('CONFIG', 'SET', 'slowlog-log-slower-than', 0)
await raw.send('CONFIG', 'SET', 'slowlog-max-len', 100_000)

/**
 * How often each script was called since the last look, by the list that it is for: `enqueues` and `exchanges`. A
 * worker's heartbeats and its looks at what is due come as time goes, and are left out.
 */
async function steps(client) {
  const log = await raw.send('SLOWLOG', 'GET', -1)
  await raw.send('SLOWLOG', 'RESET')
  const found = log.map(([, , , command]) => command).filter(([name]) => name.toLowerCase() === 'evalsha')
  const count = (key) => found.filter((command) => command.some((part) => part.startsWith(key))).length
  return { enqueues: count(`${client.queue}:sent:`), exchanges: count(`${client.queue}:executing`) }
}

async function forget() {
  await raw.send('CONFIG', 'RESETSTAT')
  await raw.send('SLOWLOG', 'RESET')
}

/** A client that has been used: connected, subscribed, and its scripts known to Redis. */
async function warm(t, handlers) {
  const client = open(t, redis.url)
  const worker = client.work({ ...handlers, warm: () => {} })
  await client.call('warm')
  await worker.close()
  await forget()
  return client
}

const blocked = async () => {
  const list = await raw.send('CLIENT', 'LIST')
  return list.split('\n').filter((line) => / flags=\S*b/.test(line)).length
}

test('enqueues of one tick travel in one script call', async (t) => {
  const client = await warm(t)
  const enqueues = Array.from({ length: BATCH }, (_, n) => client.enqueue('x', { n }))
  await Promise.all(enqueues)
  const found = await calls()
  assert.equal(found.evalsha, 1)
  assert.equal(found.lpush, 1, 'all ids are pushed at once')
})

test('calls, enqueues and the calls of the original share that script call', async (t) => {
  const client = await warm(t)
  client.call('x').catch(() => {})
  client.task('x', {}).catch(() => {})
  await Promise.all([client.enqueue('x'), client.enqueue('x')])
  // A look at what is waited for may come as well, as time goes.
  assert.deepEqual(await steps(client), { enqueues: 1, exchanges: 0 })
})

test('enqueueMany takes one script call for each sixty-four tasks, and at most one more for a long list', async (t) => {
  const client = await warm(t)
  const list = (length) => Array.from({ length }, () => ({ function: 'x' }))
  await client.enqueueMany(list(2 * BATCH))
  assert.equal(await scripts(), 2)
  await forget()
  await client.enqueueMany(list(10 * BATCH))
  const taken = await scripts()
  assert.ok(taken === 10 || taken === 11, `${taken} script calls`)
})

test('a worker takes as many as it has slots for in two exchanges, and finishes them in two', async (t) => {
  const held = gate()
  const client = await warm(t)
  const slots = 2 * BATCH
  const tasks = await client.enqueueMany(Array.from({ length: slots }, () => ({ function: 'slow' })))
  await forget()

  const worker = client.work({ slow: () => held.opened }, { concurrency: slots })
  await until(() => worker.health().running === slots, 'all tasks run')
  const taken = await calls()
  assert.deepEqual(await steps(client), { enqueues: 0, exchanges: 2 })
  assert.equal(taken.ltrim, 2)
  assert.equal(taken.lpush, 2, 'all ids of one are in executing at once')

  const listener = await connect(redis.url)
  t.after(() => listener.close())
  await listener.subscribe(`${client.queue}:results`)
  held.open('done')
  await until(async () => (await blocked()) === 1, 'the worker is idle again')
  const finished = await calls()
  assert.deepEqual(await steps(client), { enqueues: 0, exchanges: 2 })
  assert.equal(finished.publish, slots, 'who listens to results hears of each one')
  assert.equal((await client.get(tasks[0].id)).value, 'done')
})

test('one exchange finishes what has run and takes what comes next', async (t) => {
  const client = await warm(t)
  const slots = 2 * BATCH
  await client.enqueueMany(Array.from({ length: 2 * slots }, () => ({ function: 'slow' })))
  await raw.send('CONFIG', 'RESETSTAT')
  const gates = [gate(), gate()]
  let begun = 0
  const handler = () => gates[Math.floor(begun++ / slots)].opened
  const worker = client.work({ slow: handler }, { concurrency: slots })
  await until(() => begun === slots, 'the first half runs')
  await forget()
  gates[0].open()
  await until(() => begun === 2 * slots, 'the second half runs')
  assert.deepEqual(await steps(client), { enqueues: 0, exchanges: 2 }, 'each has a batch')
  gates[1].open()
  await worker.close()
})

test('a drain of thousands takes few calls', async (t) => {
  const client = await warm(t)
  const count = 100 * BATCH
  const tasks = await client.enqueueMany(Array.from({ length: count }, () => ({ function: 'x' })))
  await raw.send('CONFIG', 'RESETSTAT')
  const worker = client.work({ x: async () => {} }, { concurrency: BATCH })
  await until(async () => (await blocked()) === 1, 'the worker is idle')
  await worker.close()
  const found = await calls()
  assert.equal((await client.get(tasks.at(-1).id)).state, 'finished')
  assert.ok(found.evalsha <= count / 8, `${found.evalsha} script calls for ${count} tasks`)
  assert.ok(found.blmove <= 5, `${found.blmove} blocking pops for ${count} tasks`)
})

test('outcomes are sent to a waiting process together', async (t) => {
  const held = gate()
  const client = await warm(t)
  const worker = client.work({ slow: () => held.opened }, { concurrency: 2 * BATCH })
  const results = Array.from({ length: BATCH }, () => client.call('slow'))
  await until(() => worker.health().running === BATCH, 'all tasks run')
  await raw.send('CONFIG', 'RESETSTAT')
  held.open('done')
  await Promise.all(results)
  const { publish } = await calls()
  assert.equal(publish, 1, 'one reply for all of them, and no messages where nobody hears them')
})

test('a blocking pop is used only while idle: not while all slots are taken', async (t) => {
  const held = gate()
  const client = await warm(t)
  const worker = client.work({ slow: () => held.opened }, { concurrency: 2 })
  await until(async () => (await blocked()) === 1, 'the idle worker waits')
  const idle = await calls()
  assert.equal(idle.blmove, 1)
  assert.deepEqual(await steps(client), { enqueues: 0, exchanges: 1 }, 'it asked once, and found nothing')

  await client.enqueueMany([{ function: 'slow' }, { function: 'slow' }, { function: 'slow' }])
  await until(() => worker.health().running === 2, 'both slots are taken')
  assert.equal(await blocked(), 0)
  await forget()
  await client.enqueue('slow')
  const busy = await calls()
  assert.equal(busy.blmove ?? 0, 0)
  assert.deepEqual(await steps(client), { enqueues: 1, exchanges: 0 })
  held.open()
  await until(async () => (await blocked()) === 1, 'the idle worker waits again')
})

test('what an idle worker is woken by is left where it is: nothing is claimed before it is asked for', async (t) => {
  const client = await warm(t)
  const worker = client.work({ x: () => 'ran' })
  await until(async () => (await blocked()) === 1, 'the idle worker waits')
  await client.call('x')
  const info = await raw.send('INFO', 'commandstats')
  for (const command of ['brpoplpush', 'brpop', 'blpop', 'rpoplpush', 'lmove']) {
    assert.equal(info.includes(`cmdstat_${command}:`), false, command)
  }
  await worker.close()
})

test('what ends a wait has begun when it was taken, and not when the wait began', async (t) => {
  const client = await warm(t)
  client.work({ x: () => 'ran' })
  await until(async () => (await blocked()) === 1, 'the idle worker waits')
  // A second wait begins before this, and the third one's task comes some time after.
  for (let n = 0; n < 3; n++) {
    const before = Date.now()
    await client.call('x', {}, { id: `x${n}` })
    const { startedAt, finishedAt } = await client.get(`x${n}`)
    assert.ok(startedAt >= before && startedAt <= finishedAt, `${before} ${+startedAt} ${+finishedAt}`)
  }
})
