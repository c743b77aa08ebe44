// call, result and get: how a task's outcome reaches whoever asks for it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { snapshot, withRedis } from './support/index.mjs'
import { gate, open, outcome, until } from './support/open.mjs'
import { maskTimesAndIds } from './support/snapshot.mjs'

const redis = await withRedis()
const { raw } = redis

const put = async (queue, id, fields) => {
  await raw.send('HSET', `${queue}:task:${id}`, ...Object.entries(fields).flat())
  await raw.send('LPUSH', `${queue}:pending`, id)
}
const handlers = {
  add: ({ a, b }) => a + b,
  nothing: () => {},
  fail: () => {
    throw new TypeError('no such luck')
  },
}

test('call gives what the handler returned, and leaves a finished task', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work(handlers)
  assert.equal(await client.call('add', { a: 1, b: 5 }, { id: 'sum' }), 6)
  await worker.close()
  assert.deepEqual(await snapshot(raw, client.queue), {
    'task:sum': {
      hash: {
        function: 'add',
        args: '{"a":1,"b":5}',
        state: 'finished',
        result: 'successful',
        'result-value': '6',
        'pending-created': '<time>',
        'executing-created': '<time>',
        'finished-created': '<time>',
      },
      expires: true,
    },
  })
})

test('a call adds nothing to the hash: its id says who waits, and no other id does', async (t) => {
  const client = open(t, redis.url)
  const prefix = `${client.queue}:`
  const called = outcome(client.call('add', { a: 1, b: 5 }))
  const enqueued = await client.enqueue('add', { a: 2, b: 5 })
  const ids = await raw.send('LRANGE', `${prefix}pending`, 0, -1)
  assert.deepEqual(ids[0], enqueued.id)
  assert.match(enqueued.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.match(ids[1], /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  const hash = { function: 'add', state: 'pending', args: '{"a":1,"b":5}', 'pending-created': '<time>' }
  const names = {
    mask: (text) => (text.includes(ids[1]) ? text.replace(ids[1], 'called') : maskTimesAndIds(text)),
  }
  assert.deepEqual((await snapshot(raw, client.queue, names))['task:called'], { hash })

  const address = ids[1].slice(-12)
  const hears = async () => (await raw.send('PUBSUB', 'NUMSUB', `${prefix}reply:${address}`))[1] === 1
  await until(hears, 'the process hears what is sent to that address')
  client.work(handlers)
  assert.deepEqual(await called, { value: 6 })
  assert.equal(await enqueued.result(), 7)
})

test('a handler that returns undefined leaves no result-value, and the waiter gets undefined', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work(handlers)
  assert.equal(await client.call('nothing', {}, { id: 'n' }), undefined)
  const task = await client.get('n')
  assert.equal(task.result, 'successful')
  assert.equal('result-value' in (await snapshot(raw, client.queue))['task:n'].hash, false)
  await worker.close()
})

test('0, "", false and null are results like any other', async (t) => {
  const client = open(t, redis.url)
  client.work({ echo: ({ value }) => value })
  for (const value of [0, '', false, null]) {
    const task = await client.enqueue('echo', { value })
    assert.equal(await task.result(), value)
    const written = await raw.send('HGET', `${client.queue}:task:${task.id}`, 'result-value')
    assert.equal(written, JSON.stringify(value))
    // Asked for once it has long finished, it is read from the hash and not from a message.
    assert.equal(await client.result(task.id), value)
  }
})

test('a failed task rejects with a TaskFailedError that says what the worker recorded', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)
  const check = (error) => {
    assert.ok(error instanceof dothis.TaskFailedError)
    assert.ok(error instanceof dothis.DothisError)
    assert.ok(error instanceof Error)
    assert.equal(error.name, 'TaskFailedError')
    assert.equal(error.code, 'ERR_TASK_FAILED')
    assert.equal(error.taskId, 'f')
    assert.equal(error.reason, 'TypeError: no such luck')
    assert.match(error.exception, /^TypeError: no such luck\n {4}at /)
    assert.match(error.message, /no such luck/)
    return true
  }
  const named = (error) => {
    assert.equal(error.function, 'fail')
    assert.match(error.message, /"fail" \(f\)/)
    return check(error)
  }
  await assert.rejects(client.call('fail', {}, { id: 'f' }), named)
  const task = await client.enqueue('fail', {}, { id: 'f' })
  await assert.rejects(task.result(), named)
  await assert.rejects(client.result('f'), check)
  const { hash } = (await snapshot(raw, client.queue))['task:f']
  assert.equal(hash['error-reason'], 'TypeError: no such luck')
  assert.match(hash['error-exception'], /^TypeError: no such luck\n {4}at /)
  assert.equal('result-value' in hash, false)
})

test('a thousand calls at once each get their own answer', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers, { concurrency: 100 })
  const sums = await Promise.all(Array.from({ length: 1_000 }, (_, a) => client.call('add', { a, b: 1 })))
  assert.deepEqual(
    sums,
    Array.from({ length: 1_000 }, (_, a) => a + 1),
  )
})

test("somebody else's task can be waited for that is there before the wait", async (t) => {
  const client = open(t, redis.url)
  await put(client.queue, 'theirs', { function: 'add', state: 'pending', args: '{ "a": 2,\n "b": 3 }' })
  const result = client.result('theirs')
  client.work(handlers)
  assert.equal(await result, 5)
})

test("somebody else's task can be waited for before it is there", async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)
  const result = client.result('later', { timeout: 10_000 })
  assert.equal(await client.get('later'), null)
  await put(client.queue, 'later', { function: 'add', args: '{"a":1,"b":1}' })
  assert.equal(await result, 2)
})

test("somebody else's finished task gives its result at once, successful or failed", async (t) => {
  const client = open(t, redis.url)
  const task = (id, ...fields) =>
    raw.send('HSET', `${client.queue}:task:${id}`, 'state', 'finished', 'result', ...fields)
  await task('ok', 'successful', 'result-value', '{"n":[1]}')
  await task('none', 'successful')
  await task('bad', 'failed', 'error-reason', 'why', 'error-exception', 'Traceback …')
  await task('bare', 'failed')
  await task('odd', 'successful', 'result-value', 'NaN')

  assert.deepEqual(await client.result('ok'), { n: [1] })
  assert.equal(await client.result('none'), undefined)
  await assert.rejects(client.result('bad'), { reason: 'why', exception: 'Traceback …', taskId: 'bad' })
  await assert.rejects(client.result('bare'), (error) => {
    assert.equal('exception' in error, false)
    return error.code === 'ERR_TASK_FAILED' && /no reason/.test(error.reason)
  })
  await assert.rejects(client.result('odd'), { code: 'ERR_TASK_FAILED', reason: /result-value.*not JSON/ })
})

test('a call with the id of a task that is there waits for that one', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('add', { a: 1, b: 1 }, { id: 'same' })
  const second = client.call('add', { a: 50, b: 50 }, { id: 'same' })
  client.work(handlers)
  assert.equal(await second, 2)
  assert.equal(await client.call('add', { a: 70, b: 70 }, { id: 'same' }), 2)
})

test('a waiter of a running task is told when it ends', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  client.work({ slow: () => held.opened })
  const { id } = await client.enqueue('slow')
  await until(async () => (await client.get(id)).state === 'executing', 'the task runs')
  const waits = [client.result(id), client.result(id)]
  await client.get(id)
  held.open('done')
  assert.deepEqual(await Promise.all(waits), ['done', 'done'])
})

test('get gives the task as it stands: pending, executing, finished', async (t) => {
  const client = open(t, redis.url)
  const task = await client.enqueue('slow', { n: 1 })
  const pending = await client.get(task.id)
  const none = { result: undefined, value: undefined, reason: undefined, exception: undefined }
  assert.ok(pending.createdAt instanceof Date)
  assert.ok(Math.abs(Date.now() - pending.createdAt) < 60_000)
  assert.deepEqual(pending, {
    id: task.id,
    function: 'slow',
    args: { n: 1 },
    state: 'pending',
    ...none,
    cancelled: false,
    attempt: 1,
    errors: [],
    createdAt: pending.createdAt,
    startedAt: undefined,
    finishedAt: undefined,
  })

  const held = gate()
  client.work({ slow: () => held.opened })
  const running = await until(async () => {
    const found = await task.get()
    return found.state === 'executing' && found
  }, 'the task runs')
  assert.deepEqual(running, { ...pending, state: 'executing', startedAt: running.startedAt })
  assert.ok(running.startedAt instanceof Date && running.startedAt >= pending.createdAt)

  held.open({ deep: [1] })
  await task.result()
  const finished = await client.get(task.id)
  assert.ok(finished.finishedAt instanceof Date && finished.finishedAt >= running.startedAt)
  assert.deepEqual(finished, {
    ...running,
    state: 'finished',
    result: 'successful',
    value: { deep: [1] },
    finishedAt: finished.finishedAt,
  })
})

test('get gives reason and exception of a failed task', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)
  await assert.rejects(client.call('fail', {}, { id: 'f' }))
  const task = await client.get('f')
  assert.equal(task.result, 'failed')
  assert.equal(task.reason, 'TypeError: no such luck')
  assert.match(task.exception, /^TypeError/)
  assert.equal(task.value, undefined)
})

test('get gives null where there is no such task, and creates nothing', async (t) => {
  const client = open(t, redis.url)
  assert.equal(await client.get('nothing'), null)
  assert.deepEqual(await snapshot(raw, client.queue), {})
})

test("get reads a foreign task's hash, whatever is in it", async (t) => {
  const client = open(t, redis.url)
  const key = `${client.queue}:task:odd`
  await raw.send('HSET', key, 'colour', 'red', 'args', '{ not json', 'pending-created', 'yesterday')
  assert.deepEqual(await client.get('odd'), {
    id: 'odd',
    function: undefined,
    args: '{ not json',
    state: undefined,
    result: undefined,
    value: undefined,
    reason: undefined,
    exception: undefined,
    cancelled: false,
    attempt: 1,
    errors: [],
    createdAt: undefined,
    startedAt: undefined,
    finishedAt: undefined,
  })
  await raw.send('SET', `${client.queue}:task:text`, 'x')
  await assert.rejects(client.get('text'), { code: 'ERR_REFUSED', message: /WRONGTYPE/, taskId: 'text' })
})

test('ids that can be no id are refused by every call, before Redis is touched', async (t) => {
  const client = open(t, redis.url)
  for (const id of [undefined, null, '', 5, {}, Symbol('x'), 'lone \ud800']) {
    const refused = { code: 'ERR_ARGS', name: 'ArgsError' }
    await assert.rejects(client.result(id), refused, String(id))
    await assert.rejects(client.get(id), refused, String(id))
    await assert.rejects(client.gettask(id), refused, String(id))
    await assert.rejects(client.taskwithid(id, 'f', {}), refused, String(id))
    if (id !== undefined) await assert.rejects(client.enqueue('f', {}, { id }), refused, String(id))
  }
  assert.deepEqual(await snapshot(raw, client.queue), {})
})
