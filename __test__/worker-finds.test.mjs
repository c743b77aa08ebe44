// What a worker does with what it finds in the queue, row by row of the wire's table, with all of Redis before
// and after.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { snapshot, waitFor, within, withRedis } from './support/index.mjs'
import { gate, open, outcome, until } from './support/open.mjs'
import { takeOver } from './support/state.mjs'

const redis = await withRedis()
const { raw } = redis

const hset = (queue, id, fields) => raw.send('HSET', `${queue}:task:${id}`, ...Object.entries(fields).flat())
const lpush = (queue, ...ids) => raw.send('LPUSH', `${queue}:pending`, ...ids)

/**
 * Has a worker take all that is pending, and then one task more, which shows that it has gone past the others.
 * Gives what is then in Redis, and the ids that were dropped.
 */
async function workThrough(client, handlers = { echo: ({ text }) => text }) {
  const dropped = []
  const worker = client.work({ ...handlers, last: () => {} })
  worker.on('dropped', (what) => dropped.push(what))
  await client.call('last', {}, { id: 'last' })
  await worker.close()
  await raw.send('DEL', `${client.queue}:task:last`)
  assert.equal(worker.health().dropped, dropped.length)
  return { after: await snapshot(raw, client.queue), dropped }
}

const finished = (fields) => ({
  hash: { ...fields, state: 'finished', 'executing-created': '<time>', 'finished-created': '<time>' },
  expires: true,
})

test("the README's redis-cli task is run, and its result is as the page shows it", async (t) => {
  const client = open(t, redis.url)
  const id = '11111111-2222-2222-2222-333333333333'
  const key = `${client.queue}:task:${id}`
  await raw.send('HSET', key, 'function', 'echo')
  await raw.send('HSET', key, 'state', 'pending')
  await raw.send('HSET', key, 'args', '{ "text": "ooh yeeah" }')
  await lpush(client.queue, id)
  const { after, dropped } = await workThrough(client)
  assert.deepEqual(await raw.send('HMGET', key, 'result', 'result-value'), ['successful', '"ooh yeeah"'])
  assert.deepEqual(dropped, [])
  assert.deepEqual(after, {
    'task:<uuid>': finished({
      function: 'echo',
      args: '{ "text": "ooh yeeah" }',
      result: 'successful',
      'result-value': '"ooh yeeah"',
    }),
  })
})

for (const [what, fields] of Object.entries({
  'no function': { args: '{}', state: 'pending' },
  'an empty function': { function: '', args: '{}', state: 'pending' },
})) {
  test(`a task with ${what} is finished as failed, and says so`, async (t) => {
    const client = open(t, redis.url)
    await hset(client.queue, 'x', fields)
    await lpush(client.queue, 'x')
    const { after, dropped } = await workThrough(client)
    const reason = after['task:x'].hash['error-reason']
    assert.match(reason, /no function was given/)
    assert.deepEqual(dropped, [])
    assert.deepEqual(after, { 'task:x': finished({ ...fields, result: 'failed', 'error-reason': reason }) })
  })
}

test('a task whose function has no handler is finished as failed, naming those there are', async (t) => {
  const client = open(t, redis.url)
  await hset(client.queue, 'x', { function: 'nobody', state: 'pending' })
  await lpush(client.queue, 'x')
  const { after } = await workThrough(client)
  assert.deepEqual(after, {
    'task:x': finished({
      function: 'nobody',
      result: 'failed',
      'error-reason': 'no handler for function "nobody" is registered here; registered: echo, last',
    }),
  })
})

const badArgs = {
  'an array': ['[1, 2]', /args.*an array.*object/],
  'a string': ['"text"', /args.*a single value.*object/],
  'a number': ['5', /args.*a single value/],
  null: ['null', /args.*a single value/],
  'broken JSON': ['{"a":\n 1,}', /args.*not JSON.*line 2 column 4/],
  'two objects': ['{} {}', /args.*not JSON.*column 4/],
  "Python's NaN": ['{"a": NaN}', /args.*not JSON.*column/],
  'single quotes': ["{'a': 1}", /args.*not JSON.*column 2/],
  'a byte that is no UTF-8': [Buffer.from('{"a":"\xff"}', 'latin1'), /args.*not UTF-8 at byte 6/],
  'a control character in a string': ['{"a":"\n"}', /args.*not JSON/],
}
for (const [what, [args, reason]] of Object.entries(badArgs)) {
  test(`a task whose args are ${what} is finished as failed, and its neighbours run`, async (t) => {
    const client = open(t, redis.url)
    await hset(client.queue, 'before', { function: 'echo', args: '{"text":1}' })
    await hset(client.queue, 'bad', { function: 'echo', args })
    await hset(client.queue, 'after', { function: 'echo', args: '{"text":2}' })
    await lpush(client.queue, 'before', 'bad', 'after')
    const { after } = await workThrough(client)
    const { 'error-reason': why, args: kept } = after['task:bad'].hash
    assert.match(why, reason)
    const good = (n) =>
      finished({ function: 'echo', args: `{"text":${n}}`, result: 'successful', 'result-value': String(n) })
    assert.deepEqual(after, {
      'task:after': good(2),
      'task:bad': finished({ function: 'echo', args: kept, result: 'failed', 'error-reason': why }),
      'task:before': good(1),
    })
  })
}

for (const [what, fields] of Object.entries({
  'absent args': {},
  'empty args': { args: '' },
  'args of white space': { args: ' \n ' },
  'args over several lines': { args: '\n{\n  "x": 1\n}\n' },
})) {
  test(`a task with ${what} is run`, async (t) => {
    const client = open(t, redis.url)
    await hset(client.queue, 'x', { function: 'look', ...fields })
    await lpush(client.queue, 'x')
    const seen = []
    const { after } = await workThrough(client, { look: (args) => seen.push(args) })
    assert.deepEqual(seen, [fields.args?.includes('x') ? { x: 1 } : {}])
    assert.deepEqual(after['task:x'].hash.result, 'successful')
    assert.deepEqual(after['task:x'].hash.args, fields.args)
  })
}

test('an id whose task is finished is dropped, and the hash left as it is', async (t) => {
  const client = open(t, redis.url)
  const fields = {
    function: 'echo',
    state: 'finished',
    result: 'successful',
    'result-value': '1',
    extra: 'x',
  }
  await hset(client.queue, 'done', fields)
  await lpush(client.queue, 'done')
  const { after, dropped } = await workThrough(client)
  assert.deepEqual(dropped, [{ id: 'done', why: 'finished' }])
  assert.deepEqual(after, { 'task:done': { hash: fields } })
})

test('an id that was pushed twice runs once; the other is dropped', async (t) => {
  const client = open(t, redis.url)
  await hset(client.queue, 'twice', { function: 'count' })
  await lpush(client.queue, 'twice', 'twice', 'twice')
  let runs = 0
  const { after, dropped } = await workThrough(client, { count: () => ++runs })
  assert.equal(runs, 1)
  assert.equal(dropped.length, 2)
  for (const { id, why } of dropped) assert.ok(id === 'twice' && (why === 'executing' || why === 'finished'))
  assert.deepEqual(after, {
    'task:twice': finished({ function: 'count', result: 'successful', 'result-value': '1' }),
  })
})

test('an id whose task runs on a live worker is dropped, and that run is left in peace', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ slow: () => held.opened })
  const task = await client.enqueue('slow', {}, { id: 'slow' })
  await until(() => worker.health().running === 1, 'the task runs')
  const before = await snapshot(raw, client.queue, { mask: (text) => text })

  const other = open(t, redis.url, { queue: client.queue })
  await lpush(client.queue, 'slow')
  await until(async () => (await raw.send('LLEN', `${client.queue}:pending`)) === 0, 'the id is dropped')
  assert.deepEqual(await snapshot(raw, client.queue, { mask: (text) => text }), before)
  await until(() => worker.health().dropped === 1, 'the drop is counted')
  held.open('once')
  assert.equal(await task.result(), 'once')
  assert.equal(await other.result('slow'), 'once')
})

test('a task that a worker of another language runs is left to it, though it shows no sign of life', async (t) => {
  const client = open(t, redis.url)
  await hset(client.queue, 'theirs', { function: 'echo', state: 'executing' })
  await raw.send('LPUSH', `${client.queue}:executing`, 'theirs')
  await lpush(client.queue, 'theirs')
  const { after, dropped } = await workThrough(client)
  assert.deepEqual(dropped, [{ id: 'theirs', why: 'executing' }])
  assert.deepEqual(after, {
    executing: { list: ['theirs'] },
    'task:theirs': { hash: { function: 'echo', state: 'executing' } },
  })
})

test('an id without a task is dropped, and no hash is created', async (t) => {
  const client = open(t, redis.url)
  await lpush(client.queue, 'ghost', 'ghost', 'ghost\u0000two\n')
  const { after, dropped } = await workThrough(client)
  assert.deepEqual(dropped, [
    { id: 'ghost', why: 'missing' },
    { id: 'ghost', why: 'missing' },
    { id: 'ghost\u0000two\n', why: 'missing' },
  ])
  assert.deepEqual(after, {})
})

test('an id whose key is no hash is dropped, and the key left as it is', async (t) => {
  const client = open(t, redis.url)
  await raw.send('SET', `${client.queue}:task:text`, 'mine')
  await lpush(client.queue, 'text')
  const { after, dropped } = await workThrough(client)
  assert.deepEqual(dropped, [{ id: 'text', why: 'not a hash' }])
  assert.deepEqual(after, { 'task:text': { string: 'mine' } })
})

test('thousands of ids without a task do not keep a worker from the one that has one', async (t) => {
  const client = open(t, redis.url)
  const ids = Array.from({ length: 3_000 }, (_, n) => `ghost${n}`)
  for (let at = 0; at < ids.length; at += 500) await lpush(client.queue, ...ids.slice(at, at + 500))
  const { after, dropped } = await workThrough(client)
  assert.deepEqual(
    dropped.map(({ id }) => id),
    ids,
  )
  assert.deepEqual(after, {})
})

test('of a finished task that is pushed again, the old end goes, and fields that a producer has added stay', async (t) => {
  const client = open(t, redis.url)
  await hset(client.queue, 'good', {
    function: 'echo',
    args: '{"text":1}',
    colour: 'red',
    state: 'pending',
    result: 'failed',
    'error-reason': 'old',
    'error-exception': 'old',
    'finished-created': 'old',
  })
  await hset(client.queue, 'bad', {
    function: 'nobody',
    colour: 'blue',
    state: 'pending',
    result: 'successful',
    'result-value': '"old"',
    'finished-created': 'old',
  })
  await lpush(client.queue, 'good', 'bad')
  const { after } = await workThrough(client)
  const { 'error-reason': why } = after['task:bad'].hash
  assert.deepEqual(after, {
    'task:bad': finished({ function: 'nobody', colour: 'blue', result: 'failed', 'error-reason': why }),
    'task:good': finished({
      function: 'echo',
      args: '{"text":1}',
      colour: 'red',
      result: 'successful',
      'result-value': '1',
    }),
  })
})

test('a task that is deleted while it runs is not brought back by its result', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ slow: () => held.opened, last: () => {} })
  await client.enqueue('slow', {}, { id: 'gone' })
  await until(() => worker.health().running === 1, 'the task runs')
  await raw.send('DEL', `${client.queue}:task:gone`)
  const lost = waitFor(worker, 'lost')
  held.open('late')
  assert.deepEqual(await lost, [{ id: 'gone' }])
  assert.equal(worker.health().lost, 1)
  await worker.close()
  assert.deepEqual(await snapshot(raw, client.queue), {})
})

test('... and its handler hears of it while it runs', async (t) => {
  const client = open(t, redis.url)
  const heard = gate()
  const run = (_args, { signal }) =>
    new Promise((resolve) => {
      signal.addEventListener('abort', () => {
        heard.open(signal.reason)
        resolve('late')
      })
    })
  const worker = client.work({ run }, { heartbeatTimeout: 1_000 })
  const lost = waitFor(worker, 'lost')
  await client.enqueue('run', {}, { id: 'gone' })
  await until(() => worker.health().running === 1, 'the task runs')
  await raw.send('DEL', `${client.queue}:task:gone`)
  const { name, code, taskId } = await within(heard.opened)
  assert.deepEqual([name, code, taskId], ['LostError', 'ERR_LOST', 'gone'])
  assert.deepEqual(await lost, [{ id: 'gone' }])
  await worker.close()
  assert.equal(await raw.send('EXISTS', `${client.queue}:task:gone`), 0)
})

test('options of a worker that are out of bounds are refused, and say what is allowed', async (t) => {
  const client = open(t, redis.url)
  for (const [name, values, allowed] of [
    ['concurrency', [0, 100_001, 1.5], /from 1 to 100000/],
    ['heartbeatTimeout', [999, 86_400_001, Number.POSITIVE_INFINITY], /from 1000 to 86400000/],
    ['maxDeliveries', [0, 1_000_001], /from 1 to 1000000/],
    ['reclaimForeignAfter', [-1, Number.NaN, '1s'], /milliseconds/],
    ['grace', [-1, '1s'], /milliseconds/],
    ['maxResultBytes', [1, 2 ** 29], /from 2 to 268435456/],
  ]) {
    for (const value of values) {
      const refused = (error) => {
        assert.equal(error.code, 'ERR_ARGS')
        assert.match(error.message, new RegExp(`^${name} must be`))
        assert.match(error.message, allowed)
        return true
      }
      assert.throws(() => client.work({}, { [name]: value }), refused, `${name} ${value}`)
    }
  }
})

test("a task that another has taken over while it ran keeps that one's mark", async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ slow: () => held.opened })
  await client.enqueue('slow', {}, { id: 'x' })
  await until(() => worker.health().running === 1, 'the task runs')
  await takeOver(raw, client.queue, 'x')
  const before = await snapshot(raw, client.queue)
  const lost = waitFor(worker, 'lost')
  held.open('late')
  await lost
  assert.deepEqual(await snapshot(raw, client.queue), before)
})

test('a queue whose lists are something else is an error of the worker, which goes on once they are right', async (t) => {
  const client = open(t, redis.url)
  await raw.send('SET', `${client.queue}:executing`, 'no list')
  await hset(client.queue, 'x', { function: 'echo', args: '{"text":1}' })
  await lpush(client.queue, 'x')
  const before = await snapshot(raw, client.queue)
  const worker = client.work({ echo: ({ text }) => text })
  const error = await within(new Promise((resolve) => worker.once('error', resolve)))
  assert.equal(error.code, 'ERR_REFUSED')
  assert.match(error.message, /WRONGTYPE/)
  const { pending, executing, 'task:x': task } = await snapshot(raw, client.queue)
  assert.deepEqual({ pending, executing, 'task:x': task }, before)
  await raw.send('DEL', `${client.queue}:executing`)
  assert.deepEqual(await outcome(client.result('x')), { value: 1 })
})
