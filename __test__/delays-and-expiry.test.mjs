// A task may begin later, and may be of no use from some time on. Both go by Redis's clock, and both are seen to by
// whichever worker there is: a task that is put off is in `due`, and in no list.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TaskFailedError } from '../index.mjs'
import { bringForward, clock, putOff } from './support/due.mjs'
import { connect, snapshot, withRedis } from './support/index.mjs'
import { gate, open, outcome, until } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis

const HOUR = 3_600_000
const whole = (client) => snapshot(raw, client.queue)
const runs = (worker, count = 1) => until(() => worker.health().running === count, `${count} tasks run`)
/** Redis's clock has gone past it. */
const past = (time) => until(async () => (await clock(raw)) > time, `it is past ${time}`)
const hash = (fields) => ({
  function: 'run',
  args: '{}',
  state: 'pending',
  'pending-created': '<time>',
  ...fields,
})
const finished = (fields) => ({
  hash: hash({
    state: 'finished',
    result: 'successful',
    'executing-created': '<time>',
    'finished-created': '<time>',
    ...fields,
  }),
  expires: true,
})
/** One that was not begun in time; `which` of its attempts. */
const expired = (expires, fields, which = 'it') => ({
  hash: hash({
    state: 'finished',
    result: 'failed',
    'error-reason': `expired: ${which} had not begun by then`,
    'finished-created': '<time>',
    options: '{}',
    expires,
    ...fields,
  }),
  expires: true,
})
const EXPIRED = 'expired: it had not begun by then'
const expiresOf = (client, id = 'x') => raw.send('HGET', `${client.queue}:task:${id}`, 'expires')

test('a task with a delay is in `due` until then, and in no list', async (t) => {
  const client = open(t, redis.url)
  const before = await clock(raw)
  const task = await client.enqueue('run', {}, { id: 'x', delay: HOUR })
  const at = await putOff(client, raw, 'x')
  assert.ok(at >= before + HOUR && at <= (await clock(raw)) + HOUR)
  const put = { due: { zset: { 'start:x': String(at) } }, 'task:x': { hash: hash() } }
  assert.deepEqual(await whole(client), put)
  assert.equal((await task.get()).state, 'pending')

  const worker = client.work({ run: () => 'done', ping: () => 'pong' })
  assert.equal(await client.call('ping', {}, { removeOnSuccess: true, id: 'ping' }), 'pong')
  const { 'worker:<uuid>': _, 'task:ping': __, ...meanwhile } = await whole(client)
  assert.deepEqual(meanwhile, put)
  await bringForward(client, raw, 'x')
  assert.equal(await task.result(), 'done')
  await worker.close()
  await raw.send('DEL', `${client.queue}:task:ping`)
  assert.deepEqual(await whole(client), { 'task:x': finished({ 'result-value': '"done"' }) })
})

for (const [what, options] of Object.entries({
  'a delay': () => ({ delay: 60 }),
  'a Date': () => ({ runAt: new Date(Date.now() + 60) }),
  'milliseconds since 1970': () => ({ runAt: Date.now() + 60 }),
})) {
  test(`a task begins by itself once its time has come, and not before: ${what}`, async (t) => {
    const client = open(t, redis.url)
    await client.enqueue('run', {}, { id: 'x', ...options() })
    const at = await putOff(client, raw, 'x')
    let begun
    const worker = client.work({
      async run() {
        begun = await clock(raw)
      },
    })
    await client.result('x')
    assert.ok(begun >= at, `${begun - at}`)
    await worker.close()
    assert.deepEqual(await whole(client), { 'task:x': finished() })
  })
}

test('a call with a delay waits as long', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: () => 'done' })
  const call = client.call('run', {}, { id: 'x', delay: HOUR })
  await putOff(client, raw, 'x')
  await bringForward(client, raw, 'x')
  assert.equal(await call, 'done')
  await worker.close()
  assert.deepEqual(await whole(client), { 'task:x': finished({ 'result-value': '"done"' }) })
})

test('what is due goes into the queue by its time, behind what waits there', async (t) => {
  const client = open(t, redis.url)
  const times = { third: new Date(3), first: 1, second: 2 }
  const list = Object.entries(times).map(([id, runAt]) => ({ function: 'run', id, runAt }))
  await client.enqueueMany([...list, { function: 'run', id: 'at once' }])
  assert.deepEqual(await whole(client), {
    due: { zset: { 'start:first': '1', 'start:second': '2', 'start:third': '3' } },
    pending: { list: ['at once'] },
    'task:at once': { hash: hash() },
    'task:first': { hash: hash() },
    'task:second': { hash: hash() },
    'task:third': { hash: hash() },
  })
  const ran = []
  const held = gate()
  const worker = client.work(
    {
      async run(_args, { id }) {
        ran.push(id)
        if (id === 'at once') await held.opened
      },
    },
    { concurrency: 1 },
  )
  await until(async () => (await raw.send('LLEN', `${client.queue}:pending`)) === 3, 'all are due')
  held.open()
  for (const id of Object.keys(times)) await client.result(id)
  await worker.close()
  assert.deepEqual(ran, ['at once', 'first', 'second', 'third'])
  assert.deepEqual(
    Object.keys(await whole(client)),
    ['at once', 'first', 'second', 'third'].map((id) => `task:${id}`),
  )
})

test('a delay of nothing is none', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('run', {}, { id: 'x', delay: 0 })
  await client.enqueue('run', {}, { id: 'y', delay: undefined, runAt: undefined, expires: undefined })
  assert.deepEqual(await whole(client), {
    pending: { list: ['y', 'x'] },
    'task:x': { hash: hash() },
    'task:y': { hash: hash() },
  })
})

test('a task that is put off is there: one of its id is left as it is, and so is its time', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('run', {}, { id: 'x', delay: HOUR })
  const before = await whole(client)
  for (const options of [{}, { delay: 1 }, { expires: 1 }, { runAt: 1, attempts: 5 }]) {
    assert.equal((await client.enqueue('other', {}, { id: 'x', ...options })).created, false)
  }
  assert.deepEqual(await whole(client), before)
})

test('hundreds that are due at the same moment all begin', async (t) => {
  const client = open(t, redis.url)
  const ids = Array.from({ length: 350 }, (_, n) => `t${String(n).padStart(3, '0')}`)
  const tasks = await client.enqueueMany(ids.map((id) => ({ function: 'run', id, runAt: 1 })))
  const worker = client.work({ run: (_args, { id }) => id }, { concurrency: 50 })
  assert.deepEqual(await Promise.all(tasks.map((task) => task.result())), ids)
  await worker.close()
  assert.deepEqual(
    Object.keys(await whole(client)),
    ids.map((id) => `task:${id}`),
  )
})

test('workers are told of what is due sooner than was known, and of nothing else', async (t) => {
  const client = open(t, redis.url)
  const listener = await connect(redis.url)
  t.after(() => listener.close())
  const told = []
  listener.on('message', (message) => told.push(message))
  await listener.subscribe(`${client.queue}:wake`)
  const heard = async () => {
    await listener.send('PING')
    return told.splice(0)
  }
  await client.enqueue('run', {}, { delay: HOUR })
  assert.deepEqual(await heard(), ['due'])
  await client.enqueue('run')
  await client.enqueue('run', {}, { delay: 2 * HOUR })
  await client.enqueue('run', {}, { expires: 3 * HOUR })
  assert.deepEqual(await heard(), [])
  await client.enqueue('run', {}, { delay: HOUR / 2 })
  assert.deepEqual(await heard(), ['due'])
})

test('what is in `due` and can be no task does no harm, and goes', async (t) => {
  const client = open(t, redis.url)
  await raw.send('SET', `${client.queue}:task:text`, 'mine')
  await raw.send('HSET', `${client.queue}:task:done`, 'function', 'run', 'state', 'finished')
  const members = [
    'start:none',
    'start:text',
    'start:done',
    'expire:text',
    'expire:none',
    'expire:',
    'other:x',
    '',
  ]
  members.push('start', 'start:', '\u0000', Buffer.from([0xff, 0x3a, 0xfe]))
  for (const member of members) await raw.send('ZADD', `${client.queue}:due`, 1, member)
  const before = await whole(client)
  await client.enqueue('run', {}, { id: 'x', runAt: 2 })
  const worker = client.work({ run: () => 'done' })
  assert.equal(await client.result('x'), 'done')
  await worker.close()
  assert.deepEqual(worker.health().dropped, 0)
  const { due: _, ...left } = before
  assert.deepEqual(await whole(client), { ...left, 'task:x': finished({ 'result-value': '"done"' }) })
})

test('closing a worker leaves what is put off where it is', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('run', {}, { id: 'x', delay: HOUR, expires: 2 * HOUR })
  const before = await whole(client)
  const worker = client.work({ run: () => assert.fail('it ran'), ping: () => 'pong' })
  await client.call('ping', {}, { id: 'ping', resultTtl: 0 })
  await worker.close()
  await raw.send('DEL', `${client.queue}:task:ping`)
  assert.deepEqual(await whole(client), before)
})

test('a task that has not begun by the time it expires has failed', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const ran = []
  const worker = client.work(
    {
      run(_args, { id }) {
        ran.push(id)
        return held.opened
      },
    },
    { concurrency: 1 },
  )
  await client.enqueue('run', {}, { id: 'busy' })
  await runs(worker)
  const before = await clock(raw)
  const task = await client.enqueue('run', {}, { id: 'x', expires: 30 })
  const expires = await expiresOf(client)
  assert.ok(expires >= before + 30)
  const { error } = await outcome(task.result())
  assert.ok(error instanceof TaskFailedError)
  assert.equal(error.reason, EXPIRED)
  assert.ok((await clock(raw)) >= expires)
  held.open()
  await client.result('busy')
  await worker.close()
  assert.deepEqual(ran, ['busy'])
  assert.deepEqual(await whole(client), { 'task:busy': finished(), 'task:x': expired(expires) })
})

for (const [what, expires] of Object.entries({
  'a Date': () => new Date(Date.now() + 20),
  'a Date that has been': () => new Date(Date.now() - HOUR),
  'no time at all': () => 0,
})) {
  test(`where no worker was there in time it is not run by the first that comes: ${what}`, async (t) => {
    const client = open(t, redis.url)
    const given = expires()
    const task = await client.enqueue('run', {}, { id: 'x', expires: given })
    const time = await expiresOf(client)
    if (given instanceof Date) assert.equal(Number(time), Number(given))
    assert.deepEqual(await whole(client), {
      due: { zset: { 'expire:x': time } },
      pending: { list: ['x'] },
      'task:x': { hash: hash({ expires: time, options: '{}' }) },
    })
    await past(Number(time))
    const worker = client.work({ run: () => assert.fail('it ran') })
    assert.equal((await outcome(task.result())).error.reason, EXPIRED)
    await worker.close()
    assert.equal(worker.health().dropped, 0)
    assert.deepEqual(await whole(client), { 'task:x': expired(time) })
  })
}

test('whoever takes a task finds out that it has expired, were `due` not to say so', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('run', {}, { id: 'x', expires: 0 })
  await raw.send('DEL', `${client.queue}:due`)
  const time = await expiresOf(client)
  await past(Number(time))
  const worker = client.work({ run: () => assert.fail('it ran') })
  assert.equal((await outcome(client.result('x'))).error.reason, EXPIRED)
  await worker.close()
  assert.deepEqual(await whole(client), { 'task:x': expired(time) })
})

test('the same holds in a queue so long that nobody looks for one id in it', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ run: () => held.opened }, { concurrency: 1 })
  await client.enqueue('run', {}, { id: 'busy' })
  await runs(worker)
  await client.enqueue('run', {}, { id: 'x', expires: HOUR })
  const others = Array.from({ length: 10_001 }, (_, n) => `ghost${n}`)
  for (let at = 0; at < others.length; at += 1_000) {
    await raw.send('LPUSH', `${client.queue}:pending`, ...others.slice(at, at + 1_000))
  }
  await raw.send('HSET', `${client.queue}:task:x`, 'expires', '1')
  await bringForward(client, raw, 'x', 'expire')
  await until(async () => !(await raw.send('EXISTS', `${client.queue}:due`)), 'it is due no more')
  assert.equal((await client.get('x')).state, 'pending')
  await raw.send('LTRIM', `${client.queue}:pending`, -1, -1)
  held.open()
  assert.equal((await outcome(client.result('x'))).error.reason, EXPIRED)
  await worker.close()
  assert.deepEqual(await whole(client), {
    'task:busy': finished(),
    'task:x': expired('1'),
  })
})

test('one that has begun in time may take as long as it likes', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ run: () => held.opened })
  const call = client.call('run', {}, { id: 'x', expires: HOUR })
  await runs(worker)
  const time = await expiresOf(client)
  assert.equal(await raw.send('EXISTS', `${client.queue}:due`), 0)
  await raw.send('HSET', `${client.queue}:task:x`, 'expires', '1')
  held.open('done')
  assert.equal(await call, 'done')
  await worker.close()
  assert.ok(Number(time) > (await clock(raw)))
  assert.deepEqual(await whole(client), {
    'task:x': finished({ 'result-value': '"done"', expires: '1', options: '{}' }),
  })
})

test('no attempt begins after that: not one that would be tried again at once', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  let ran = 0
  const worker = client.work({
    async run() {
      ran++
      await held.opened
      throw new Error('no luck')
    },
  })
  const call = outcome(client.call('run', {}, { id: 'x', expires: HOUR, attempts: 3 }))
  await runs(worker)
  await raw.send('HSET', `${client.queue}:task:x`, 'expires', '1')
  held.open()
  assert.equal((await call).error.reason, 'expired: attempt 2 had not begun by then')
  await worker.close()
  assert.equal(ran, 1)
  assert.deepEqual(await whole(client), {
    'task:x': expired(
      '1',
      { options: '{"attempts":3}', attempt: '2', 'error-1': '<time> no luck' },
      'attempt 2',
    ),
  })
})

test('nor one that is put off', async (t) => {
  const client = open(t, redis.url)
  let ran = 0
  const run = () => {
    ran++
    throw new Error('no luck')
  }
  const worker = client.work({ run }, { backoff: [2 * HOUR] })
  const call = outcome(client.call('run', {}, { id: 'x', expires: HOUR, attempts: 3 }))
  const start = await putOff(client, raw, 'x')
  const expires = await putOff(client, raw, 'x', 'expire')
  assert.equal(expires, Number(await expiresOf(client)))
  assert.ok(start > expires)
  await raw.send('HSET', `${client.queue}:task:x`, 'expires', '1')
  await bringForward(client, raw, 'x', 'expire')
  assert.equal((await call).error.reason, 'expired: attempt 2 had not begun by then')
  await worker.close()
  assert.equal(ran, 1)
  assert.deepEqual(await whole(client), {
    'task:x': expired(
      '1',
      { options: '{"attempts":3}', attempt: '2', 'error-1': '<time> no luck' },
      'attempt 2',
    ),
  })
})

test('a task that expires before its delay is through never begins', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('run', {}, { id: 'x', delay: 2 * HOUR, expires: HOUR })
  const worker = client.work({ run: () => assert.fail('it ran') })
  await raw.send('HSET', `${client.queue}:task:x`, 'expires', '1')
  await bringForward(client, raw, 'x', 'expire')
  assert.equal((await outcome(client.result('x'))).error.reason, EXPIRED)
  await worker.close()
  assert.deepEqual(await whole(client), { 'task:x': expired('1') })
})

test('one that a closing worker hands back expires as it would have', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('run', {}, { id: 'x', expires: HOUR })
  const before = await whole(client)
  const worker = client.work({ run: () => new Promise(() => {}) })
  await runs(worker)
  assert.equal(await raw.send('EXISTS', `${client.queue}:due`), 0)
  await worker.close({ timeout: 0 })
  assert.deepEqual(await whole(client), before)
})

test('each entry of enqueueMany has times of its own', async (t) => {
  const client = open(t, redis.url)
  const before = await clock(raw)
  await client.enqueueMany([
    { function: 'run', id: 'a' },
    { function: 'run', id: 'b', delay: HOUR },
    { function: 'run', id: 'c', expires: HOUR },
    { function: 'run', id: 'd', runAt: before + HOUR, expires: new Date(before + 2 * HOUR) },
  ])
  const left = await whole(client)
  const { due, ...rest } = left
  const expires = (id) => ({ expires: left[`task:${id}`].hash.expires, options: '{}' })
  assert.deepEqual(rest, {
    pending: { list: ['c', 'a'] },
    'task:a': { hash: hash() },
    'task:b': { hash: hash() },
    'task:c': { hash: hash(expires('c')) },
    'task:d': { hash: hash(expires('d')) },
  })
  assert.deepEqual(due.zset, {
    'start:d': String(before + HOUR),
    'start:b': due.zset['start:b'],
    'expire:c': expires('c').expires,
    'expire:d': String(before + 2 * HOUR),
  })
  assert.equal(expires('d').expires, String(before + 2 * HOUR))
})

test('the furthest date there is, and a time between two milliseconds, can be used', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('run', {}, { id: 'x', runAt: new Date(8.64e15), expires: 0.4 })
  await client.enqueue('run', {}, { id: 'y', delay: 0.4 })
  const { due } = await whole(client)
  assert.equal(due.zset['start:x'], '8640000000000000')
  assert.ok(Number.isInteger(Number(due.zset['expire:x'])))
  const worker = client.work({ run: () => 'done' })
  assert.equal((await outcome(client.result('x'))).error.reason, EXPIRED)
  assert.equal(await client.result('y'), 'done')
  await worker.close()
  assert.deepEqual(Object.keys(await whole(client)), ['task:x', 'task:y'])
})

const number = 'must be a number of milliseconds, 0 or more, not'
const endless = 'must be a number of milliseconds that ends some day, not'
const badTimes = {
  'a negative delay': [{ delay: -1 }, `delay ${number} -1`],
  'a delay as text': [{ delay: '5m' }, `delay ${number} a string`],
  'a delay that is a Date': [{ delay: new Date(5) }, `delay ${number} an object`],
  'an endless delay': [{ delay: Number.POSITIVE_INFINITY }, `delay ${endless} Infinity`],
  'a delay of nothing known': [{ delay: null }, `delay ${endless} null`],
  'a delay beyond all dates': [{ delay: 1e16 }, `delay ${endless} 10000000000000000`],
  'delay and runAt': [{ delay: 1, runAt: 1 }, 'delay and runAt say the same in two ways: give one'],
  'a runAt as text': [
    { runAt: '2030-01-01' },
    'runAt must be a Date or milliseconds since 1970, not a string',
  ],
  'a runAt of null': [{ runAt: null }, 'runAt must be a Date or milliseconds since 1970, not null'],
  'a runAt that is no date': [{ runAt: new Date('never') }, 'runAt is no date'],
  'a runAt that is no number': [{ runAt: Number.NaN }, 'runAt is no date'],
  'an expires that is no date': [{ expires: new Date(Number.NaN) }, 'expires is no date'],
  'a negative expires': [{ expires: -1 }, `expires ${number} -1`],
  'an expires as text': [{ expires: 'soon' }, `expires ${number} a string`],
  'an expires beyond all dates': [{ expires: 1e16 }, `expires ${endless} 10000000000000000`],
}
for (const [what, [options, message]] of Object.entries(badTimes)) {
  test(`${what}: refused everywhere, with its place`, async (t) => {
    const client = open(t, redis.url)
    const refused = (text) => ({ name: 'ArgsError', code: 'ERR_ARGS', message: text })
    await assert.rejects(client.enqueue('run', {}, options), refused(message))
    await assert.rejects(client.call('run', {}, options), refused(message))
    const list = [{ function: 'run' }, { function: 'run' }, { function: 'run', ...options }]
    await assert.rejects(client.enqueueMany(list), refused(`entry 2: ${message}`))
    assert.deepEqual(await whole(client), {})
  })
}

test('when a task begins and expires is no option of a worker or a wait', async (t) => {
  const client = open(t, redis.url)
  for (const name of ['delay', 'runAt', 'expires']) {
    const refused = { name: 'ArgsError', message: new RegExp(`there is no option "${name}"`) }
    assert.throws(() => client.work({}, { [name]: 1 }), refused)
    await assert.rejects(client.result('x', { [name]: 1 }), refused)
  }
})

test('an endless time until a task expires is none', async (t) => {
  const client = open(t, redis.url)
  for (const expires of [null, undefined, Number.POSITIVE_INFINITY]) {
    await client.enqueue('run', {}, { id: 'x', expires })
    assert.deepEqual(await whole(client), { pending: { list: ['x'] }, 'task:x': { hash: hash() } })
    await raw.send('DEL', `${client.queue}:task:x`, `${client.queue}:pending`)
  }
})
