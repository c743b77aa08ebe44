// The calls of the original client: a program written for it runs unchanged.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { snapshot, waitFor, within, withRedis } from './support/index.mjs'
import { flushed, open, outcome } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis

const handlers = {
  add: ({ a, b }) => a + b,
  nothing: () => {},
  empty: () => '',
  fail() {
    throw new TypeError('no luck')
  },
  failWithText() {
    throw 'just text'
  },
}

/** Makes a call whose last argument is a callback; gives the arguments that it was called with. */
const arguments_ = (call) => within(new Promise((resolve) => call((...args) => resolve(args))))

test('task calls back with (null, result, task), the task by its fields in Redis', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)
  const args = await arguments_((callback) => client.task('add', { a: 1, b: 5 }, callback))
  assert.equal(args.length, 3)
  const [error, result, task] = args
  assert.equal(error, null)
  assert.equal(result, 6)
  assert.ok(task['executing-created'] instanceof Date)
  assert.ok(task['finished-created'] instanceof Date)
  assert.equal(typeof task['pending-created'], 'string')
  assert.deepEqual(task, {
    function: 'add',
    state: 'finished',
    args: { a: 1, b: 5 },
    result: 'successful',
    'result-value': 6,
    'pending-created': task['pending-created'],
    'executing-created': task['executing-created'],
    'finished-created': task['finished-created'],
  })
})

test('a task that returned nothing calls back with (null, undefined, task)', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)
  const [error, result, task] = await arguments_((callback) => client.task('nothing', {}, callback))
  assert.deepEqual(
    [error, result, task.result, 'result-value' in task],
    [null, undefined, 'successful', false],
  )
  const [, text, other] = await arguments_((callback) => client.task('empty', {}, callback))
  assert.deepEqual([text, other['result-value']], ['', ''])
})

test('a failed task calls back with (exception, null, task)', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)
  const args = await arguments_((callback) => client.task('fail', {}, callback))
  assert.equal(args.length, 3)
  const [exception, result, task] = args
  assert.match(exception, /^TypeError: no luck\n {4}at /)
  assert.equal(result, null)
  assert.equal(task.result, 'failed')
  assert.equal(task['error-reason'], 'TypeError: no luck')
  assert.equal(task['error-exception'], exception)
})

test('a failed task without an exception calls back with (task, null, task)', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)
  const [error, result, task] = await arguments_((callback) => client.task('failWithText', {}, callback))
  assert.equal(error, task)
  assert.equal(result, null)
  assert.equal(task['error-reason'], 'just text')
  assert.equal('error-exception' in task, false)
})

test('what Redis refuses calls back with (err) alone', async (t) => {
  const client = open(t, redis.url)
  await raw.send('SET', `${client.queue}:pending`, 'no list')
  const args = await arguments_((callback) => client.task('add', {}, callback))
  assert.equal(args.length, 1)
  assert.equal(args[0].code, 'ERR_REFUSED')
  assert.deepEqual(await snapshot(raw, client.queue), { pending: { string: 'no list' } })
})

test('args that are no object call back with (err) alone, and never throw', async (t) => {
  const client = open(t, redis.url)
  for (const args of [[1], 'text', 5, { n: 1n }]) {
    const [error, ...rest] = await arguments_((callback) => client.task('add', args, callback))
    assert.equal(error.code, 'ERR_ARGS')
    assert.deepEqual(rest, [])
  }
  assert.deepEqual(await snapshot(raw, client.queue), {})
})

test('task without args takes its callback as the second argument', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)
  const [error, , task] = await arguments_((callback) => client.task('nothing', callback))
  assert.equal(error, null)
  assert.deepEqual(task.args, {})
})

test('a callback that is no function is refused at once, and puts nothing in', async (t) => {
  const client = open(t, redis.url)
  for (const callback of [{ timeout: 1_000 }, 'x', 5, true]) {
    const refused = { name: 'ArgsError', message: /^callback must be a function, not / }
    assert.throws(() => client.task('add', {}, callback), refused)
    assert.throws(() => client.taskwithid('x', 'add', {}, callback), refused)
    assert.throws(() => client.gettask('x', callback), refused)
  }
  assert.equal(await client.gettask('x', null), null)
  assert.deepEqual(await snapshot(raw, client.queue), {})
})

test('nobody has to await any of them: what fails is no unhandled rejection', async (t) => {
  const client = open(t, redis.url)
  await client.close()
  client.task('add')
  client.taskwithid('x', 'add')
  client.gettask('x')
  // By then the test would have failed.
  await new Promise(setImmediate)
})

test('task gives a promise of the result as well', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)
  assert.equal(await client.task('add', { a: 1, b: 5 }), 6)
  assert.equal(await client.task('add', { a: 1, b: 6 }, () => {}), 7)
  await assert.rejects(client.task('fail', {}), { code: 'ERR_TASK_FAILED', reason: 'TypeError: no luck' })
})

test('task writes the hash and pushes a version 4 UUID', async (t) => {
  const client = open(t, redis.url)
  const ended = outcome(client.task('add', { a: 1, b: 5 }))
  await flushed(client, raw)
  const [id] = await raw.send('LRANGE', `${client.queue}:pending`, 0, -1)
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  const found = await snapshot(raw, client.queue)
  const { hash } = found['task:<uuid>']
  assert.deepEqual(found.pending, { list: ['<uuid>'] })
  assert.equal(hash.function, 'add')
  assert.equal(hash.state, 'pending')
  assert.deepEqual(JSON.parse(hash.args), { a: 1, b: 5 })
  await client.end()
  await ended
})

test('taskwithid uses the id it is given', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)
  const [error, result] = await arguments_((done) => client.taskwithid('mine', 'add', { a: 1, b: 1 }, done))
  assert.deepEqual([error, result], [null, 2])
  assert.equal(await raw.send('HGET', `${client.queue}:task:mine`, 'result-value'), '2')
})

test('taskwithid of a finished task runs it again, and never gives the earlier result', async (t) => {
  const keys = ['function', 'args', 'state', 'result', 'result-value', 'pending-created']
  for (let round = 0; round < 40; round++) {
    // A client of its own each time: its first call races with its first subscription.
    const client = open(t, redis.url)
    const old = {
      function: 'add',
      state: 'finished',
      result: 'failed',
      'error-reason': 'old',
      extra: 'field',
    }
    await raw.send('HSET', `${client.queue}:task:same`, ...Object.entries(old).flat())
    client.work(handlers)
    assert.equal(await client.taskwithid('same', 'add', { a: round, b: 1 }), round + 1)
    const { hash } = (await snapshot(raw, client.queue))['task:same']
    assert.deepEqual(
      Object.keys(hash).sort(),
      [...keys, 'executing-created', 'finished-created'].sort(),
      'nothing of the earlier run is left',
    )
    await client.close()
  }
})

test('taskwithid of a task that is pending or running waits for that one', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('add', { a: 1, b: 1 }, { id: 'same' })
  const second = client.taskwithid('same', 'add', { a: 5, b: 5 })
  await flushed(client, raw)
  client.work(handlers)
  assert.equal(await second, 2)
})

test('gettask calls back with (null, task), and (null, null) where there is none', async (t) => {
  const client = open(t, redis.url)
  assert.deepEqual(await arguments_((callback) => client.gettask('none', callback)), [null, null])
  assert.equal(await client.gettask('none'), null)

  await client.enqueue('add', { a: 1 }, { id: 'there' })
  const expected = { function: 'add', args: { a: 1 }, state: 'pending' }
  const [error, task] = await arguments_((callback) => client.gettask('there', callback))
  assert.equal(error, null)
  assert.deepEqual(task, { ...expected, 'pending-created': task['pending-created'] })
  assert.deepEqual(await client.gettask('there'), task)

  await raw.send('SET', `${client.queue}:task:text`, 'no hash')
  const args = await arguments_((callback) => client.gettask('text', callback))
  assert.equal(args.length, 1)
  assert.equal(args[0].code, 'ERR_REFUSED')
})

test('gettask reads what cannot be parsed as it stands', async (t) => {
  const client = open(t, redis.url)
  await raw.send('HSET', `${client.queue}:task:odd`, 'args', '{broken', 'finished-created', 'never', 'x', 'y')
  assert.deepEqual(await client.gettask('odd'), { args: '{broken', 'finished-created': undefined, x: 'y' })
})

test("events: 'success' with (result, task), 'failure' with (exception, task), 'error' with (err)", async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)

  const success = waitFor(client, 'success')
  client.task('add', { a: 1, b: 5 })
  const [result, task, ...more] = await success
  assert.deepEqual([result, task['result-value'], more], [6, 6, []])

  const failure = waitFor(client, 'failure')
  client.task('fail', {})
  const [exception, failed, ...others] = await failure
  assert.match(exception, /^TypeError: no luck\n/)
  assert.deepEqual([failed.result, others], ['failed', []])

  const bare = waitFor(client, 'failure')
  client.task('failWithText', {})
  const [instead, whole] = await bare
  assert.equal(instead, whole)

  const error = new Promise((resolve) => client.once('error', (...args) => resolve(args)))
  client.task('add', [])
  const args = await within(error)
  assert.deepEqual([args.length, args[0].code], [1, 'ERR_ARGS'])
})

test('call and enqueue emit no events: their promises tell', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers)
  const heard = []
  for (const event of ['success', 'failure', 'error']) client.on(event, () => heard.push(event))
  await client.call('add', { a: 1, b: 1 })
  await outcome(client.call('fail'))
  await outcome(client.enqueue('add', []))
  // By the time that an event of a later call comes, one of these would have come.
  const success = waitFor(client, 'success')
  await client.task('add', {})
  await success
  assert.deepEqual(heard, ['success'])
})

test('ten thousand callbacks leave nothing open behind them', async (t) => {
  const client = open(t, redis.url)
  client.work(handlers, { concurrency: 200 })
  const all = Array.from({ length: 10_000 }, (_, a) =>
    arguments_((callback) => client.task('add', { a, b: 1 }, callback)),
  )
  for (const [a, [error, result]] of (await Promise.all(all)).entries()) {
    assert.equal(error, null)
    assert.equal(result, a + 1)
  }
  assert.equal(client.health().pending, 0)
})
