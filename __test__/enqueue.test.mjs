// What enqueue and enqueueMany leave in Redis, and what they say of it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { snapshot, withRedis } from './support/index.mjs'
import { open } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis
const whole = (client) => snapshot(raw, client.queue)

const pending = (name, args = '{}') => ({
  hash: { function: name, state: 'pending', args, 'pending-created': '<time>' },
})

test('enqueue writes the hash and one id, and nothing else', async (t) => {
  const client = open(t, redis.url)
  const task = await client.enqueue('add', { a: 1, b: 'two' })

  assert.match(task.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.equal(task.function, 'add')
  assert.equal(task.created, true)
  assert.deepEqual(await whole(client), {
    pending: { list: ['<uuid>'] },
    'task:<uuid>': pending('add', '{"a":1,"b":"two"}'),
  })
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), [task.id])
})

test('pending-created is a UTC date with microseconds, of now', async (t) => {
  const client = open(t, redis.url)
  const before = Date.now()
  const { id } = await client.enqueue('x')
  const written = await raw.send('HGET', `${client.queue}:task:${id}`, 'pending-created')
  assert.match(written, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
  const created = Date.parse(written)
  assert.ok(created >= before && created <= Date.now(), written)
})

test('absent args are written as an empty object', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('none', undefined, { id: 'a' })
  await client.enqueue('none', null, { id: 'b' })
  await client.enqueue('none', {}, { id: 'c' })
  assert.deepEqual(await whole(client), {
    pending: { list: ['c', 'b', 'a'] },
    'task:a': pending('none'),
    'task:b': pending('none'),
    'task:c': pending('none'),
  })
})

test('enqueues of one tick are in the queue in the order in which they were made', async (t) => {
  const client = open(t, redis.url)
  const ids = Array.from({ length: 500 }, (_, number) => `n${number}`)
  const tasks = await Promise.all(ids.map((id) => client.enqueue('x', {}, { id })))
  assert.deepEqual(
    tasks.map((task) => task.id),
    ids,
  )
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), ids.toReversed())
})

test('an id that is there already is left as it is, and the handle says so', async (t) => {
  const client = open(t, redis.url)
  const first = await client.enqueue('one', { n: 1 }, { id: 'same' })
  const before = await snapshot(raw, client.queue, { mask: (text) => text })
  const second = await client.enqueue('two', { n: 2 }, { id: 'same' })

  assert.equal(first.created, true)
  assert.equal(second.created, false)
  assert.equal(second.id, 'same')
  assert.deepEqual(await snapshot(raw, client.queue, { mask: (text) => text }), before)
})

test('the same id twice in one tick is created once', async (t) => {
  const client = open(t, redis.url)
  const tasks = await Promise.all([
    client.enqueue('one', {}, { id: 'same' }),
    client.enqueue('two', {}, { id: 'same' }),
    client.enqueue('three', {}, { id: 'other' }),
  ])
  assert.deepEqual(
    tasks.map((task) => task.created),
    [true, false, true],
  )
  assert.deepEqual(await whole(client), {
    pending: { list: ['other', 'same'] },
    'task:other': pending('three'),
    'task:same': pending('one'),
  })
})

test('a finished task is not run again by an enqueue of its id', async (t) => {
  const client = open(t, redis.url)
  const key = `${client.queue}:task:done`
  await raw.send('HSET', key, 'function', 'x', 'state', 'finished', 'result', 'successful')
  const before = await whole(client)
  assert.equal((await client.enqueue('x', {}, { id: 'done' })).created, false)
  assert.deepEqual(await whole(client), before)
})

test('a key that is no hash is left alone, and only the task that it stands in the way of is refused', async (t) => {
  const client = open(t, redis.url)
  await raw.send('SET', `${client.queue}:task:taken`, 'mine')
  const [refused, made] = await Promise.allSettled([
    client.enqueue('x', {}, { id: 'taken' }),
    client.enqueue('x', {}, { id: 'free' }),
  ])
  assert.ok(refused.reason instanceof dothis.RefusedError)
  assert.equal(refused.reason.code, 'ERR_REFUSED')
  assert.equal(refused.reason.taskId, 'taken')
  assert.equal(refused.reason.function, 'x')
  assert.equal(made.value.created, true)
  assert.deepEqual(await whole(client), {
    pending: { list: ['free'] },
    'task:free': pending('x'),
    'task:taken': { string: 'mine' },
  })
})

test('a pending key that is no list refuses the call before anything is written', async (t) => {
  const client = open(t, redis.url)
  await raw.send('SET', `${client.queue}:pending`, 'mine')
  await assert.rejects(client.enqueue('x'), { code: 'ERR_REFUSED', message: /WRONGTYPE/ })
  assert.deepEqual(await whole(client), { pending: { string: 'mine' } })
})

test('enqueueMany puts a list in, in order, and gives a handle for each', async (t) => {
  const client = open(t, redis.url)
  const tasks = await client.enqueueMany([
    { function: 'add', args: { a: 1 }, id: 'x' },
    { function: 'sub', id: 'y' },
    { function: 'mul', args: { a: 3 }, id: 'x' },
    { function: 'div', args: { a: 4 } },
  ])
  assert.deepEqual(
    tasks.map(({ function: name, created }) => [name, created]),
    [
      ['add', true],
      ['sub', true],
      ['mul', false],
      ['div', true],
    ],
  )
  assert.deepEqual(await whole(client), {
    pending: { list: ['<uuid>', 'y', 'x'] },
    'task:<uuid>': pending('div', '{"a":4}'),
    'task:x': pending('add', '{"a":1}'),
    'task:y': pending('sub'),
  })
})

test('enqueueMany of an empty list does nothing', async (t) => {
  const client = open(t, redis.url)
  assert.deepEqual(await client.enqueueMany([]), [])
  assert.deepEqual(await whole(client), {})
})

test('enqueueMany takes thousands, and keeps their order', async (t) => {
  const client = open(t, redis.url)
  const count = 12_345
  const list = Array.from({ length: count }, (_, n) => ({ function: 'f', args: { n }, id: `n${n}` }))
  const tasks = await client.enqueueMany(list)

  assert.deepEqual(
    tasks.map((task) => task.id),
    list.map((entry) => entry.id),
  )
  assert.ok(tasks.every((task) => task.created))
  const ids = await raw.send('LRANGE', `${client.queue}:pending`, 0, -1)
  assert.deepEqual(
    ids.toReversed(),
    list.map((entry) => entry.id),
  )
  const args = await raw.pipeline(list.map(({ id }) => ['HGET', `${client.queue}:task:${id}`, 'args']))
  assert.deepEqual(
    args,
    list.map(({ args }) => JSON.stringify(args)),
  )
})

test('lists of thousands keep their order, one after the other', async (t) => {
  const client = open(t, redis.url)
  const lists = 6
  const list = Array.from({ length: 12_345 }, (_, n) => ({ function: 'f', args: { n } }))
  const ids = []
  for (let n = 0; n < lists; n++) ids.push(...(await client.enqueueMany(list)).map((task) => task.id))
  const found = await raw.send('LRANGE', `${client.queue}:pending`, 0, -1)
  assert.equal(found.length, ids.length)
  const astray = found.toReversed().findIndex((id, at) => id !== ids[at])
  assert.equal(astray, -1)
})

test('enqueueMany takes any iterable', async (t) => {
  const client = open(t, redis.url)
  function* entries() {
    for (let n = 0; n < 3; n++) yield { function: 'f', id: `g${n}` }
  }
  await client.enqueueMany(entries())
  await client.enqueueMany(new Set([{ function: 'f', id: 's' }]))
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), ['s', 'g2', 'g1', 'g0'])
})

test('enqueueMany with args that are too long or too deep names them, and puts nothing in', async (t) => {
  const client = open(t, redis.url, { maxArgsBytes: 10_000 })
  const list = Array.from({ length: 300 }, () => ({ function: 'f' }))
  const deep = JSON.parse(`${'{"a":'.repeat(1_001)}1${'}'.repeat(1_001)}`)
  const bad = {
    'entry 250: args are 10001 bytes': { a: 'x'.repeat(9_993) },
    'entry 250: args are 10002 bytes': { a: 'é'.repeat(4_997) },
    'entry 250: args are nested deeper': deep,
  }
  for (const [message, args] of Object.entries(bad)) {
    const entries = list.with(250, { function: 'g', id: 'mine', args })
    await assert.rejects(client.enqueueMany(entries), (error) => {
      assert.ok(error instanceof dothis.ArgsError)
      assert.ok(error.message.includes(message), error.message)
      assert.deepEqual([error.taskId, error.function], ['mine', 'g'])
      return true
    })
  }
  const longest = { function: 'f', id: 'longest', args: { a: 'x'.repeat(9_992) } }
  await client.enqueueMany([longest])
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), ['longest'])
})

test('enqueueMany with one bad entry names it, and puts nothing in', async (t) => {
  const client = open(t, redis.url)
  const good = { function: 'f' }
  const bad = {
    'entry 1: function must': { args: {} },
    'entry 1: args must be an object': { function: 'f', args: [1] },
    "entry 1: args can't be written as JSON": { function: 'f', args: { n: 1n } },
    'entry 1: args must become a JSON object': { function: 'f', args: new Date() },
    'entry 1: id must': { function: 'f', id: '' },
    'entry 1: there is no option "name"': { name: 'f' },
    'entry 1 must be an object': 'f',
  }
  for (const [message, entry] of Object.entries(bad)) {
    await assert.rejects(client.enqueueMany([good, entry, good]), (error) => {
      assert.ok(error instanceof dothis.ArgsError)
      assert.ok(error.message.includes(message), error.message)
      return true
    })
  }
  for (const list of [undefined, null, 5, {}]) {
    await assert.rejects(client.enqueueMany(list), { code: 'ERR_ARGS', message: /list/ })
  }
  // A call that is through after them shows that none was still on its way.
  await client.enqueue('last', {}, { id: 'last' })
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), ['last'])
})

test('an iterable that throws is thrown, and puts nothing in', async (t) => {
  const client = open(t, redis.url)
  function* entries() {
    yield { function: 'f' }
    throw new RangeError('enough')
  }
  await assert.rejects(client.enqueueMany(entries()), RangeError)
  await client.enqueue('last', {}, { id: 'last' })
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), ['last'])
})

test('options that do not exist are refused, and what there is is named', async (t) => {
  const client = open(t, redis.url)
  const refused = { code: 'ERR_ARGS', message: /no option "timeuot".*timeout/ }
  await assert.rejects(client.call('x', {}, { timeuot: 5 }), refused)
  await assert.rejects(client.result('x', { timeuot: 5 }), refused)
  await assert.rejects(client.enqueue('x', {}, { onTimeout: 'cancel' }), { code: 'ERR_ARGS' })
  assert.throws(() => client.work({}, { concurency: 5 }), { code: 'ERR_ARGS', message: /concurrency/ })
  assert.throws(() => dothis({ urll: redis.url }), { code: 'ERR_ARGS', message: /url, queue/ })
  assert.deepEqual(await whole(client), {})
})

test('several clients of one queue in one process put tasks into the same queue', async (t) => {
  const first = open(t, redis.url)
  const second = open(t, redis.url, { queue: first.queue })
  await first.enqueue('x', {}, { id: '1' })
  await second.enqueue('x', {}, { id: '2' })
  assert.deepEqual(await raw.send('LRANGE', `${first.queue}:pending`, 0, -1), ['2', '1'])
})
