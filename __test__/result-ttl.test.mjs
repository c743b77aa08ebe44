// How long a finished task is kept: a day, unless the task or its worker says otherwise. One that is removed at once
// stays for a minute where somebody waits for it, so that its result is not missed.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bringForward, putOff } from './support/due.mjs'
import { connect, snapshot, withRedis } from './support/index.mjs'
import { attached, gate, open, outcome, until } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis

const MINUTE = 60_000
const HOUR = 3_600_000
const DAY = 24 * HOUR
/** What Redis gives for a key that does not expire, and for none. */
const FOR_EVER = -1
const GONE = -2

const whole = (client) => snapshot(raw, client.queue)
const lifetime = (client, id = 'x') => raw.send('PTTL', `${client.queue}:task:${id}`)
/** It was to be kept for so long, a moment ago. */
async function assertKept(client, id, ms) {
  const left = await lifetime(client, id)
  if (ms < 0) return assert.equal(left, ms, id)
  assert.ok(left <= ms && left > ms - 30_000, `${id}: ${left} of ${ms}`)
}
const put = async (client, id, fields) => {
  await raw.send('HSET', `${client.queue}:task:${id}`, ...Object.entries(fields).flat())
  await raw.send('LPUSH', `${client.queue}:pending`, id)
}
const handlers = {
  run: () => 'done',
  fail: () => Promise.reject(new Error('no luck')),
  large: () => 'x'.repeat(100_000),
}

/** Runs tasks for which nobody waits, and gives once they are finished or gone. */
async function runAlone(client, worker, tasks) {
  await client.enqueueMany(tasks)
  await put(client, 'last', { function: 'run', options: '{"resultTtl":null,"removeOnSuccess":false}' })
  const last = `${client.queue}:task:last`
  await until(async () => (await raw.send('HGET', last, 'state')) === 'finished', 'all are through')
  await worker.close()
  await raw.send('DEL', last)
}

test('a finished task is kept for a day, whatever it has come to', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work(handlers)
  await client.call('run', {}, { id: 'successful' })
  await outcome(client.call('fail', {}, { id: 'failed' }))
  await outcome(client.call('nobody', {}, { id: 'unknown' }))
  await put(client, 'unusable', { function: 'run', args: '[]' })
  await outcome(client.result('unusable'))
  await put(client, 'theirs', { function: 'run' })
  await client.result('theirs')
  await outcome(client.call('run', {}, { id: 'expired', expires: 0 }))
  await client.enqueue('run', {}, { id: 'cancelled', delay: HOUR })
  await client.cancel('cancelled')
  await worker.close()
  const left = await whole(client)
  const ids = ['cancelled', 'expired', 'failed', 'successful', 'theirs', 'unknown', 'unusable']
  assert.deepEqual(
    Object.keys(left),
    ids.map((id) => `task:${id}`),
  )
  for (const id of ids) {
    assert.equal(left[`task:${id}`].hash.state, 'finished')
    await assertKept(client, id, DAY)
  }
})

test('until it has finished it does not expire', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const options = { resultTtl: 5, removeOnSuccess: true, attempts: 3, backoff: [HOUR, 0] }
  const worker = client.work({ run: () => held.opened })
  const call = outcome(client.call('run', {}, { id: 'x', ...options, delay: HOUR }))
  await putOff(client, raw, 'x')
  assert.equal(await lifetime(client), FOR_EVER)
  await bringForward(client, raw, 'x')
  await until(() => worker.health().running === 1, 'the task runs')
  assert.equal(await lifetime(client), FOR_EVER)
  held.open(Promise.reject(new Error('no luck')))
  await putOff(client, raw, 'x')
  assert.equal(await lifetime(client), FOR_EVER)
  await bringForward(client, raw, 'x')
  assert.equal((await call).error.reason, 'no luck')
  await until(async () => (await lifetime(client)) === GONE, 'it is gone')
  await worker.close()
  assert.deepEqual(await whole(client), {})
})

test("a task's own resultTtl, and else the worker's", async (t) => {
  const client = open(t, redis.url)
  const worker = client.work(handlers, { resultTtl: 2 * HOUR })
  await client.call('run', {}, { id: 'plain' })
  await client.call('run', {}, { id: 'own', resultTtl: HOUR })
  await outcome(client.call('fail', {}, { id: 'failed', resultTtl: HOUR }))
  await client.call('run', {}, { id: 'null', resultTtl: null })
  await client.call('run', {}, { id: 'endless', resultTtl: Number.POSITIVE_INFINITY })
  await put(client, 'by hand', { function: 'run', options: `{"resultTtl": ${HOUR}}` })
  await client.result('by hand')
  await put(client, 'for ever', { function: 'run', options: '{"resultTtl": null}' })
  await client.result('for ever')
  await worker.close()
  await assertKept(client, 'plain', 2 * HOUR)
  for (const id of ['own', 'failed', 'by hand']) await assertKept(client, id, HOUR)
  for (const id of ['null', 'endless', 'for ever']) await assertKept(client, id, FOR_EVER)
})

test('a worker can keep all for ever', async (t) => {
  const client = open(t, redis.url)
  for (const [id, resultTtl] of Object.entries({ null: null, endless: Number.POSITIVE_INFINITY })) {
    const worker = client.work(handlers, { resultTtl })
    await client.call('run', {}, { id })
    await client.call('run', {}, { id: `${id}, an hour`, resultTtl: HOUR })
    await worker.close()
    await assertKept(client, id, FOR_EVER)
    await assertKept(client, `${id}, an hour`, HOUR)
  }
})

test('what ends without a worker is kept as long as it says itself', async (t) => {
  const client = open(t, redis.url)
  await client.enqueueMany([
    { function: 'run', id: 'hour', resultTtl: HOUR },
    { function: 'run', id: 'ever', resultTtl: null },
    { function: 'run', id: 'gone', resultTtl: 0 },
    { function: 'run', id: 'success', removeOnSuccess: true },
  ])
  for (const id of ['hour', 'ever', 'gone', 'success']) assert.equal(await client.cancel(id), true)
  await assertKept(client, 'hour', HOUR)
  await assertKept(client, 'ever', FOR_EVER)
  await assertKept(client, 'gone', GONE)
  await assertKept(client, 'success', DAY)
  const expired = { function: 'run', expires: 0 }
  await client.enqueueMany([
    { ...expired, id: 'hour2', resultTtl: HOUR },
    { ...expired, id: 'ever2', resultTtl: null },
  ])
  const worker = client.work(handlers, { resultTtl: 5 * HOUR })
  for (const id of ['hour2', 'ever2'])
    assert.match((await outcome(client.result(id))).error.reason, /^expired/)
  await worker.close()
  await assertKept(client, 'hour2', HOUR)
  await assertKept(client, 'ever2', FOR_EVER)
  assert.equal((await whole(client)).due, undefined)
})

test('what its options say that can be no time is as if it said nothing', async (t) => {
  const client = open(t, redis.url)
  for (const [n, options] of [
    '{',
    '5',
    '{"resultTtl":"1h"}',
    '{"resultTtl":-5}',
    '{"resultTtl":1e300}',
  ].entries()) {
    await put(client, `t${n}`, { function: 'run', options })
    assert.equal(await client.cancel(`t${n}`), true)
    await assertKept(client, `t${n}`, DAY)
  }
})

test('once its time is over it is gone, and its id can be used again', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work(handlers)
  await client.enqueue('run', {}, { id: 'x', resultTtl: 1 })
  await until(async () => (await client.get('x')) === null, 'it is gone')
  const again = await client.enqueue('run', {}, { id: 'x', resultTtl: HOUR })
  assert.equal(again.created, true)
  assert.equal(await again.result(), 'done')
  await worker.close()
  await assertKept(client, 'x', HOUR)
})

for (const [what, byTask, byWorker] of [
  ['removeOnSuccess', { removeOnSuccess: true }, {}],
  ["a worker's removeOnSuccess", {}, { removeOnSuccess: true }],
  ['a resultTtl of 0', { resultTtl: 0 }, {}],
  ["a worker's resultTtl of 0", {}, { resultTtl: 0 }],
]) {
  test(`with ${what} a successful task that nobody waits for is removed in the step that finishes it`, async (t) => {
    const client = open(t, redis.url)
    const listener = await connect(redis.url)
    t.after(() => listener.close())
    const told = []
    // By the time that the message is out there is nothing to be read.
    listener.on('message', (key) => told.push(key))
    await listener.subscribe(`${client.queue}:results`)
    const worker = client.work(handlers, byWorker)
    await runAlone(client, worker, [{ function: 'run', id: 'x', ...byTask }])
    await listener.send('PING')
    // In no order: a worker that has just begun may ask over two connections, and hear of the second task first.
    assert.deepEqual(told.sort(), [`${client.queue}:task:last`, `${client.queue}:task:x`])
    assert.deepEqual(await whole(client), {})
    assert.equal(worker.health().lost, 0)
  })

  test(`with ${what} one that somebody waits for stays for a minute`, async (t) => {
    const client = open(t, redis.url)
    const worker = client.work(handlers, byWorker)
    assert.equal(await client.call('run', {}, { id: 'x', ...byTask }), 'done')
    // Too long for a message: it is read.
    assert.equal((await client.call('large', {}, { id: 'y', ...byTask })).length, 100_000)
    const other = open(t, redis.url, { queue: client.queue })
    assert.equal(await other.result('x'), 'done')
    await worker.close()
    for (const id of ['x', 'y']) await assertKept(client, id, MINUTE)
    const left = await whole(client)
    assert.deepEqual(Object.keys(left), ['task:x', 'task:y'])
    assert.equal(left['task:x'].hash['reply-to'], undefined)
  })
}

test('one that failed is kept all the same: removeOnSuccess says nothing of it', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work(handlers, { removeOnSuccess: true })
  await runAlone(client, worker, [
    { function: 'fail', id: 'plain' },
    { function: 'fail', id: 'own', removeOnSuccess: true, resultTtl: HOUR },
    { function: 'fail', id: 'ever', removeOnSuccess: true, resultTtl: null },
    { function: 'run', id: 'not', removeOnSuccess: false },
  ])
  await assertKept(client, 'plain', DAY)
  await assertKept(client, 'own', HOUR)
  await assertKept(client, 'ever', FOR_EVER)
  await assertKept(client, 'not', DAY)
  assert.deepEqual(Object.keys(await whole(client)), ['task:ever', 'task:not', 'task:own', 'task:plain'])
})

test('one that succeeds in a later attempt is removed as well, with all its errors', async (t) => {
  const client = open(t, redis.url)
  const run = (_args, { attempt }) => {
    if (attempt < 3) throw new Error('again')
  }
  const worker = client.work({ run })
  const options = { attempts: 3, removeOnSuccess: true }
  await client.enqueue('run', {}, { id: 'x', ...options })
  await until(async () => (await raw.send('EXISTS', `${client.queue}:task:x`)) === 0, 'it is through')
  await worker.close()
  assert.deepEqual(await whole(client), {})
})

test('thousands that are removed leave nothing at all', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work(handlers, { removeOnSuccess: true, concurrency: 100 })
  const tasks = Array.from({ length: 3_000 }, () => ({ function: 'run' }))
  await client.enqueueMany(tasks)
  const empty = async () =>
    (await raw.send('EXISTS', `${client.queue}:pending`, `${client.queue}:executing`)) === 0
  await until(empty, 'all have run')
  await worker.close()
  assert.deepEqual(await whole(client), {})
  assert.deepEqual(worker.health(), { status: 'closed', running: 0, ready: 0, dropped: 0, lost: 0 })
})

test('a task that runs anew does not expire as the one before would have', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ run: () => held.opened })
  await put(client, 'x', { function: 'run', state: 'finished' })
  await raw.send('PEXPIRE', `${client.queue}:task:x`, HOUR)
  const again = client.taskwithid('x', 'run', {})
  await until(() => worker.health().running === 1, 'the task runs')
  assert.equal(await lifetime(client), FOR_EVER)
  held.open('anew')
  assert.equal(await again, 'anew')
  await worker.close()
  await assertKept(client, 'x', DAY)
})

test('a wait for a task that has expired meanwhile hears that it has vanished', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('run', {}, { id: 'x' })
  const wait = outcome(client.result('x'))
  await attached(client, raw, 'x')
  await raw.send('DEL', `${client.queue}:pending`)
  await raw.send('PEXPIRE', `${client.queue}:task:x`, 1)
  const { error } = await wait
  assert.equal(error.code, 'ERR_TASK_FAILED')
  assert.match(error.reason, /vanished from Redis: it was deleted, or it expired/)
})

const badOptions = {
  'a negative time': [{ resultTtl: -1 }, 'resultTtl must be a number of milliseconds, 0 or more, not -1'],
  'a time as text': [
    { resultTtl: '1d' },
    'resultTtl must be a number of milliseconds, 0 or more, not a string',
  ],
  'no number': [{ resultTtl: Number.NaN }, 'resultTtl must be a number of milliseconds, 0 or more, not NaN'],
  'removal as a number': [{ removeOnSuccess: 1 }, 'removeOnSuccess must be true or false, not 1'],
  'removal of nothing known': [{ removeOnSuccess: null }, 'removeOnSuccess must be true or false, not null'],
}
for (const [what, [options, message]] of Object.entries(badOptions)) {
  test(`${what}: refused everywhere, with its place`, async (t) => {
    const client = open(t, redis.url)
    const refused = (text) => ({ name: 'ArgsError', code: 'ERR_ARGS', message: text })
    await assert.rejects(client.enqueue('run', {}, options), refused(message))
    await assert.rejects(client.call('run', {}, options), refused(message))
    await assert.rejects(
      client.enqueueMany([{ function: 'run', ...options }]),
      refused(`entry 0: ${message}`),
    )
    assert.throws(() => client.work({}, options), refused(message))
    assert.deepEqual(await whole(client), {})
  })
}
