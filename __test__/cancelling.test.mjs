// Cancelling: what has not begun never does, what runs is told so through its signal, and whoever waits hears of it.
// By the client, from anywhere, by a waiter that gives up, or by a message that anybody can publish.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { CancelledError, TimeoutError } from '../index.mjs'
import { bringForward, putOff } from './support/due.mjs'
import { connect, LIMIT_MS, snapshot, waitFor, within, withRedis } from './support/index.mjs'
import { attached, gate, open, outcome, until } from './support/open.mjs'
import { ended, program } from './support/program.mjs'

const redis = await withRedis()
const { raw } = redis

const HOUR = 3_600_000
const whole = (client) => snapshot(raw, client.queue)
const runs = (worker, count = 1) => until(() => worker.health().running === count, `${count} tasks run`)
const hash = (fields) => ({ function: 'run', args: '{}', 'pending-created': '<time>', ...fields })
/** A task that was cancelled; `fields` of one that had begun are its executing-created and options. */
const cancelled = (reason, fields) => ({
  hash: hash({
    state: 'finished',
    result: 'failed',
    cancelled: '1',
    'error-reason': reason === '' ? 'cancelled' : `cancelled: ${reason}`,
    'finished-created': '<time>',
    ...fields,
  }),
  expires: true,
})
const BEGUN = { 'executing-created': '<time>', options: '{}' }
const error = (reason, id = 'x') => ({
  name: 'CancelledError',
  code: 'ERR_CANCELLED',
  taskId: id,
  message: new RegExp(`${id}.* was cancelled${reason === '' ? '' : `: ${reason}`}$`),
})

/** Hears of each task that finishes. */
async function heard(t, client) {
  const listener = await connect(redis.url)
  t.after(() => listener.close())
  const ids = []
  listener.on('message', (key) => ids.push(key.slice(`${client.queue}:task:`.length)))
  await listener.subscribe(`${client.queue}:results`)
  return async () => {
    await listener.send('PING')
    return ids
  }
}

/** A worker whose handler ends when its signal fires, as `end` has it. */
function heeding(client, end, options) {
  const reasons = []
  const worker = client.work(
    {
      async run(_args, { signal }) {
        await once(signal, 'abort')
        reasons.push(signal.reason)
        return end(signal.reason)
      },
      ping: () => 'pong',
    },
    options,
  )
  return { worker, reasons }
}
const rethrow = (reason) => {
  throw reason
}

test('a task that is pending is finished at once, and never runs', async (t) => {
  const client = open(t, redis.url)
  const ids = await heard(t, client)
  const task = await client.enqueue('run', {}, { id: 'x' })
  const wait = outcome(task.result())
  await attached(client, raw, 'x')
  assert.equal(await task.cancel('not needed'), true)
  const found = (await wait).error
  assert.ok(found instanceof CancelledError)
  assert.equal(found.message, 'task "run" (x) was cancelled: not needed')
  assert.deepEqual(await whole(client), { 'task:x': cancelled('not needed') })
  assert.deepEqual(await ids(), ['x'])
  const { state, result, cancelled: was, reason } = await client.get('x')
  assert.deepEqual(
    { state, result, was, reason },
    { state: 'finished', result: 'failed', was: true, reason: 'cancelled: not needed' },
  )

  let ran = 0
  const worker = client.work({ run: () => ran++, ping: () => 'pong' })
  assert.equal(await client.call('ping', {}, { removeOnSuccess: true, id: 'ping' }), 'pong')
  await worker.close()
  assert.equal(ran, 0)
  assert.deepEqual(worker.health().dropped, 0)
  await raw.send('DEL', `${client.queue}:task:ping`)
  assert.deepEqual(await whole(client), { 'task:x': cancelled('not needed') })
})

test('so is one that is put off, or that expires some day', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('run', {}, { id: 'x', delay: HOUR, expires: 2 * HOUR })
  await client.enqueue('run', {}, { id: 'y', expires: 2 * HOUR })
  const due = await raw.send('ZRANGE', `${client.queue}:due`, 0, -1)
  assert.deepEqual(due.toSorted(), ['expire:x', 'expire:y', 'start:x'])
  assert.equal(await client.cancel('x'), true)
  assert.equal(await client.cancel('y'), true)
  await assert.rejects(client.result('x'), error(''))
  await assert.rejects(client.result('y'), error('', 'y'))
  const left = await whole(client)
  const expires = (id) => ({ expires: left[`task:${id}`].hash.expires, options: '{}' })
  assert.deepEqual(left, {
    'task:x': cancelled('', expires('x')),
    'task:y': cancelled('', expires('y')),
  })
})

test('one that waits for its next attempt is not tried again; its errors stay', async (t) => {
  const client = open(t, redis.url)
  let ran = 0
  const run = () => {
    ran++
    throw new Error('no luck')
  }
  const worker = client.work({ run }, { backoff: [HOUR] })
  const call = outcome(client.call('run', {}, { id: 'x', attempts: 3 }))
  await putOff(client, raw, 'x')
  assert.equal(await client.cancel('x', 'hopeless'), true)
  assert.ok((await call).error instanceof CancelledError)
  await worker.close()
  assert.equal(ran, 1)
  assert.deepEqual(await whole(client), {
    'task:x': cancelled('hopeless', {
      options: '{"attempts":3}',
      attempt: '2',
      'error-1': '<time> no luck',
    }),
  })
})

for (const [what, end] of Object.entries({ 'throws that': rethrow, 'returns a value': () => 'late' })) {
  test(`the signal of one that runs fires with a CancelledError; its handler ${what}`, async (t) => {
    const client = open(t, redis.url)
    const ids = await heard(t, client)
    const { worker, reasons } = heeding(client, end)
    const call = outcome(client.call('run', {}, { id: 'x', attempts: 5 }))
    await runs(worker)
    assert.equal(await client.cancel('x', 'too slow'), true)
    const { error: found } = await call
    assert.ok(found instanceof CancelledError)
    assert.equal(found.message, 'task "run" (x) was cancelled: too slow')
    await worker.close()
    assert.equal(reasons.length, 1)
    const [{ name, code, message, taskId, function: of }] = reasons
    assert.deepEqual(
      { name, code, message, taskId, of },
      {
        name: 'CancelledError',
        code: 'ERR_CANCELLED',
        message: 'task "run" (x) was cancelled: too slow',
        taskId: 'x',
        of: 'run',
      },
    )
    assert.deepEqual(await whole(client), {
      'task:x': cancelled('too slow', { ...BEGUN, options: '{"attempts":5}' }),
    })
    assert.deepEqual(await ids(), ['x'])
    assert.deepEqual(worker.health(), { status: 'closed', running: 0, ready: 0, dropped: 0, lost: 0 })
  })
}

test('a handler that ignores its signal loses its slot after the grace, and its task is finished', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const over = gate()
  const worker = client.work(
    {
      run: () => held.opened.finally(over.open),
      ping: () => 'pong',
    },
    { concurrency: 1, grace: 20 },
  )
  const call = outcome(client.call('run', {}, { id: 'x' }))
  await runs(worker)
  const ping = client.call('ping', {}, { id: 'ping' })
  assert.equal(await client.cancel('x'), true)
  assert.ok((await call).error instanceof CancelledError)
  assert.equal(await ping, 'pong')
  const before = (await whole(client))['task:x']
  held.open('late')
  await over.opened
  await worker.close()
  assert.deepEqual(before, cancelled('', BEGUN))
  const { 'task:ping': _, ...left } = await whole(client)
  assert.deepEqual(left, { 'task:x': before })
  assert.equal(worker.health().lost, 0)
})

test('closing a worker in that grace has the task cancelled, and not handed back', async (t) => {
  const client = open(t, redis.url)
  const { worker, reasons } = heeding(client, () => new Promise(() => {}), { grace: HOUR })
  await client.enqueue('run', {}, { id: 'x' })
  await runs(worker)
  await client.cancel('x', 'why')
  await until(() => reasons.length === 1, 'the handler hears of it')
  await worker.close({ timeout: 0 })
  assert.deepEqual(await whole(client), { 'task:x': cancelled('why', BEGUN) })
})

test('one that a worker has taken and not begun never begins', async (t) => {
  const client = open(t, redis.url)
  const redisCli = (...command) =>
    execFileSync('redis-cli', ['-u', redis.url, ...command])
      .toString()
      .trim()
  const ran = []
  let state
  const worker = client.work({
    // Keeps the event loop to itself until the other is through.
    run(_args, { id }) {
      ran.push(id)
      if (id !== 'first') return
      const key = `${client.queue}:task:large`
      const deadline = Date.now() + LIMIT_MS
      while (redisCli('HGET', key, 'state') !== 'executing' && Date.now() < deadline);
      while (redisCli('PUBLISH', `${client.queue}:cmd`, `task:kill:${key}`) === '0' && Date.now() < deadline);
      do state = redisCli('HMGET', key, 'state', 'cancelled')
      while (state !== 'finished\n1' && Date.now() < deadline)
    },
  })
  // More bytes than are handed to JavaScript at once.
  const args = { text: 'x'.repeat(200_000) }
  const list = ['first', 'between', 'large'].map((id) => ({
    function: 'run',
    id,
    ...(id !== 'first' && { args }),
  }))
  const tasks = await client.enqueueMany(list)
  const [first, between, large] = await Promise.all(tasks.map((task) => outcome(task.result())))
  assert.equal(state, 'finished\n1')
  assert.deepEqual([first, between], [{ value: undefined }, { value: undefined }])
  assert.ok(large.error instanceof CancelledError)
  await worker.close()
  assert.deepEqual(ran, ['first', 'between'])
  assert.deepEqual(Object.keys(await whole(client)), ['task:between', 'task:first', 'task:large'])
})

test('what has finished is left as it is: it is too late', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: () => 'done' })
  const task = await client.enqueue('run', {}, { id: 'x' })
  assert.equal(await task.result(), 'done')
  await worker.close()
  const unmasked = () => snapshot(raw, client.queue, { mask: (text) => text })
  const before = await unmasked()
  assert.equal(await task.cancel('late'), false)
  assert.deepEqual(await unmasked(), before)
  assert.equal(await task.result(), 'done')
})

test('where there is no such task, or something else, nothing is created', async (t) => {
  const client = open(t, redis.url)
  assert.equal(await client.cancel('none', 'why'), false)
  assert.deepEqual(await whole(client), {})
  await raw.send('SET', `${client.queue}:task:text`, 'mine')
  assert.equal(await client.cancel('text'), false)
  assert.deepEqual(await whole(client), { 'task:text': { string: 'mine' } })
})

test('the first reason counts', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const { worker, reasons } = heeding(client, () => held.opened)
  const call = outcome(client.call('run', {}, { id: 'x' }))
  await runs(worker)
  assert.equal(await client.cancel('x', 'first'), true)
  assert.equal(await client.cancel('x', 'second'), true)
  await until(() => reasons.length === 1, 'the handler hears of it')
  assert.match(reasons[0].message, /: first$/)
  held.open()
  assert.match((await call).error.message, /: first$/)
  assert.equal(await client.cancel('x', 'third'), false)
  await worker.close()
  assert.deepEqual(await whole(client), { 'task:x': cancelled('first', BEGUN) })
})

test('a reason is one line, whatever it is', async (t) => {
  const client = open(t, redis.url)
  const reasons = [
    [undefined, ''],
    [null, ''],
    ['', ''],
    ['two\nlines ', 'two lines'],
    [5, '5'],
    [new RangeError('out of range'), 'RangeError: out of range'],
    ['x'.repeat(2_000), `${'x'.repeat(1_000)}…`],
    ['✓ \ud800', '✓ \ufffd'],
    ['cancelled: twice', 'cancelled: twice'],
  ]
  for (const [given, shown] of reasons) {
    const id = `id ${shown.slice(0, 20)} ${given === undefined}${given === null}`
    const task = await client.enqueue('run', {}, { id })
    const wait = outcome(task.result())
    assert.equal(await task.cancel(given), true)
    const message = `task "run" (${id}) was cancelled${shown === '' ? '' : `: ${shown}`}`
    assert.equal((await wait).error.message, message)
    // And for those who ask only now.
    assert.equal((await outcome(task.result())).error.message, message)
    assert.deepEqual((await whole(client))[`task:${id}`], cancelled(shown))
  }
})

test('from another process, wherever it runs: worker, waiters and canceller need not know each other', async (t) => {
  const client = open(t, redis.url)
  const source = `const client = dothis(options.url, options.queue)
  const worker = client.work({
    run: (_, { signal }) => new Promise((resolve) => {
      say('runs')
      signal.addEventListener('abort', () => { say(signal.reason.message); resolve() })
    }),
  }, { concurrency: 1 })
  process.stdin.once('data', () => client.close().then(() => process.stdin.destroy()))`
  const options = { url: redis.url, queue: client.queue }
  const runner = program(source, options)
  const wait = outcome(client.call('run', {}, { id: 'x' }))
  await runner.waitForLine('runs')
  await client.enqueue('run', {}, { id: 'y' })
  const canceller = program(
    `const client = dothis(options.url, options.queue)
    const wait = client.result('y').catch((error) => error)
    say([await client.cancel('y', 'me first'), await client.cancel('x', 'from elsewhere')])
    say([(await wait).code, (await wait).message])
    await client.close()`,
    options,
  )
  assert.deepEqual(await canceller.nextJson(), [true, true])
  assert.deepEqual(await canceller.nextJson(), ['ERR_CANCELLED', 'task y was cancelled: me first'])
  await runner.waitForLine('task "run" (x) was cancelled: from elsewhere')
  assert.ok((await wait).error instanceof CancelledError)
  runner.write('end')
  for (const child of [runner, canceller]) assert.equal((await ended(child)).code, 0)
  assert.deepEqual(await whole(client), {
    'task:x': cancelled('from elsewhere', BEGUN),
    'task:y': cancelled('me first'),
  })
})

test('a handler may cancel its own task', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({
    async run(_args, { id, signal }) {
      const aborted = once(signal, 'abort')
      assert.equal(await client.cancel(id, 'by itself'), true)
      await aborted
    },
  })
  await assert.rejects(client.call('run', {}, { id: 'x' }), error('by itself'))
  await worker.close()
  assert.deepEqual(await whole(client), { 'task:x': cancelled('by itself', BEGUN) })
})

test('a worker that has missed the message finds out with its heartbeat', async (t) => {
  const client = open(t, redis.url)
  const { worker, reasons } = heeding(client, rethrow, { heartbeatTimeout: 1_000 })
  const call = outcome(client.call('run', {}, { id: 'x' }))
  await runs(worker)
  // What `cancel` writes, and no message.
  await raw.send('HSET', `${client.queue}:task:x`, 'cancel', 'unheard', 'options', '{}')
  // In time: when a test takes too long its client is closed, and that hands the task back, which cancels it, too.
  assert.equal((await within(call)).error.message, 'task "run" (x) was cancelled: unheard')
  await worker.close()
  assert.deepEqual(
    reasons.map(({ message }) => message),
    ['task "run" (x) was cancelled: unheard'],
  )
  assert.deepEqual(await whole(client), { 'task:x': cancelled('unheard', BEGUN) })
})

test('one that goes back to the queue, or that fails, is cancelled then, though its worker has heard nothing', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ run: (_, { id }) => (id === 'fails' ? held.opened : new Promise(() => {})) })
  const calls = ['back', 'fails'].map((id) => outcome(client.call('run', {}, { id, attempts: 2 })))
  await runs(worker, 2)
  for (const id of ['back', 'fails'])
    await raw.send('HSET', `${client.queue}:task:${id}`, 'cancel', 'unheard')
  held.open(Promise.reject(new Error('no luck')))
  assert.match((await calls[1]).error.message, /cancelled: unheard/)
  await worker.close({ timeout: 0 })
  assert.match((await calls[0]).error.message, /cancelled: unheard/)
  const expected = cancelled('unheard', { ...BEGUN, options: '{"attempts":2}' })
  assert.deepEqual(await whole(client), { 'task:back': expected, 'task:fails': expected })
})

test('a task that has been written and not pushed yet is cancelled once it is', async (t) => {
  const client = open(t, redis.url)
  await raw.send('HSET', `${client.queue}:task:x`, 'function', 'run', 'state', 'pending')
  assert.equal(await client.cancel('x', 'early'), true)
  await raw.send('LPUSH', `${client.queue}:pending`, 'x')
  let ran = 0
  const worker = client.work({ run: () => ran++ })
  await assert.rejects(client.result('x'), error('early'))
  await worker.close()
  assert.equal(ran, 0)
  const { 'pending-created': _, args: __, ...fields } = cancelled('early', { options: '{}' }).hash
  assert.deepEqual(await whole(client), { 'task:x': { hash: fields, expires: true } })
})

test('where a worker of another kind has the task it is marked, and that one has the last word', async (t) => {
  const client = open(t, redis.url)
  const key = `${client.queue}:task:x`
  await raw.send('HSET', key, 'function', 'run', 'state', 'executing')
  await raw.send('LPUSH', `${client.queue}:executing`, 'x')
  const wait = client.result('x')
  await attached(client, raw, 'x')
  assert.equal(await client.cancel('x', 'please'), true)
  assert.equal(await raw.send('HGET', key, 'cancel'), 'please')
  await raw.send('HSET', key, 'state', 'finished', 'result', 'successful', 'result-value', '"theirs"')
  await raw.send('LREM', `${client.queue}:executing`, 1, 'x')
  await raw.send('PUBLISH', `${client.queue}:results`, key)
  assert.equal(await wait, 'theirs')
  assert.equal(await client.cancel('x'), false)
})

test('whoever cancels while a task finishes hears what came of it, and nothing is left over', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: async () => 'done' }, { concurrency: 5 })
  const ids = Array.from({ length: 500 }, (_, n) => `t${String(n).padStart(3, '0')}`)
  const tasks = await client.enqueueMany(ids.map((id) => ({ function: 'run', id })))
  const pairs = await Promise.all(
    tasks.map(async (task) => [await task.cancel(), await outcome(task.result())]),
  )
  for (const [asked, { value, error }] of pairs) {
    if (!asked) assert.equal(value, 'done')
    else assert.ok(value === 'done' || error instanceof CancelledError)
  }
  await worker.close()
  const left = await whole(client)
  assert.deepEqual(
    Object.keys(left),
    ids.map((id) => `task:${id}`),
  )
  for (const { hash } of Object.values(left)) {
    assert.equal(hash.state, 'finished')
    assert.deepEqual(
      Object.keys(hash).filter((field) => /^(owner|cancel$)/.test(field)),
      [],
    )
  }
})

test('thousands that wait are cancelled at once', async (t) => {
  const client = open(t, redis.url)
  const tasks = await client.enqueueMany(Array.from({ length: 3_000 }, () => ({ function: 'run' })))
  const waits = tasks.map((task) => outcome(task.result()))
  assert.ok((await Promise.all(tasks.map((task) => task.cancel()))).every(Boolean))
  for (const { error } of await Promise.all(waits)) assert.ok(error instanceof CancelledError)
  assert.equal(await raw.send('EXISTS', `${client.queue}:pending`, `${client.queue}:due`), 0)
})

test("a cancelled task is one that failed to those who know the wire only, and to the original's callbacks", async (t) => {
  const client = open(t, redis.url)
  const { worker } = heeding(client, rethrow)
  const failure = waitFor(client, 'failure')
  const callback = new Promise((resolve) => {
    client.taskwithid('x', 'run', {}, (...args) => resolve(args)).catch(() => {})
  })
  await runs(worker)
  await client.cancel('x', 'why')
  const [exception, result, task] = await within(callback)
  assert.equal(result, null)
  assert.equal(exception, task)
  assert.deepEqual(
    [task.state, task.result, task.cancelled, task['error-reason']],
    ['finished', 'failed', '1', 'cancelled: why'],
  )
  assert.deepEqual((await failure)[1], task)
  await worker.close()
  assert.deepEqual(await whole(client), { 'task:x': cancelled('why', BEGUN) })
})

test('a cancelled task can be run anew by taskwithid', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('run', {}, { id: 'x' })
  assert.equal(await client.cancel('x'), true)
  const worker = client.work({ run: () => 'anew' })
  assert.equal(await client.taskwithid('x', 'run', {}), 'anew')
  await worker.close()
  assert.deepEqual(await whole(client), {
    'task:x': {
      hash: hash({
        state: 'finished',
        result: 'successful',
        'result-value': '"anew"',
        'executing-created': '<time>',
        'finished-created': '<time>',
      }),
      expires: true,
    },
  })
})

test("onTimeout: 'cancel' has the task end with the wait that timed out", async (t) => {
  const client = open(t, redis.url)
  const { error: found } = await outcome(
    client.call('run', {}, { id: 'x', timeout: 100, onTimeout: 'cancel' }),
  )
  assert.ok(found instanceof TimeoutError)
  assert.match(found.message, /It is being cancelled/)
  await assert.rejects(client.result('x'), error('its caller gave up waiting'))
  const { worker, reasons } = heeding(client, rethrow)
  await client.enqueue('run', {}, { id: 'y' })
  await runs(worker)
  await assert.rejects(client.result('y', { timeout: 20, onTimeout: 'cancel' }), TimeoutError)
  await assert.rejects(client.result('y'), error('its caller gave up waiting', 'y'))
  await worker.close()
  assert.deepEqual(
    reasons.map(({ taskId }) => taskId),
    ['y'],
  )
  assert.deepEqual(await whole(client), {
    'task:x': cancelled('its caller gave up waiting'),
    'task:y': cancelled('its caller gave up waiting', BEGUN),
  })
})

test('and with the wait whose signal fired, pending or running', async (t) => {
  const client = open(t, redis.url)
  const reason = new Error('the browser went away')
  const gone = new AbortController()
  const call = outcome(client.call('run', {}, { id: 'x', signal: gone.signal, onTimeout: 'cancel' }))
  await attached(client, raw, 'x')
  gone.abort(reason)
  assert.equal((await call).error, reason)
  await assert.rejects(client.result('x'), error('its caller gave up waiting'))

  const { worker } = heeding(client, rethrow)
  const later = new AbortController()
  const task = await client.enqueue('run', {}, { id: 'y' })
  const wait = outcome(task.result({ signal: later.signal, onTimeout: 'cancel' }))
  await runs(worker)
  later.abort(reason)
  assert.equal((await wait).error, reason)
  await assert.rejects(client.result('y'), error('its caller gave up waiting', 'y'))
  await worker.close()
  assert.deepEqual(await whole(client), {
    'task:x': cancelled('its caller gave up waiting'),
    'task:y': cancelled('its caller gave up waiting', BEGUN),
  })
})

test('a call whose signal has fired already enqueues nothing, and a wait cancels nothing', async (t) => {
  const client = open(t, redis.url)
  const signal = AbortSignal.abort()
  await client.enqueue('run', {}, { id: 'x' })
  const options = { signal, onTimeout: 'cancel' }
  await assert.rejects(client.call('run', {}, { id: 'y', ...options }), { name: 'AbortError' })
  await assert.rejects(client.result('x', options), { name: 'AbortError' })
  await client.get('x')
  assert.deepEqual(await whole(client), {
    pending: { list: ['x'] },
    'task:x': { hash: hash({ state: 'pending' }) },
  })
})

test('without it the task goes on; and so it does where the client is closed', async (t) => {
  const client = open(t, redis.url)
  await assert.rejects(client.call('run', {}, { id: 'x', timeout: 10 }), TimeoutError)
  const gone = new AbortController()
  const call = client.call('run', {}, { id: 'y', signal: gone.signal })
  gone.abort()
  await assert.rejects(call, { name: 'AbortError' })
  const other = open(t, redis.url, { queue: client.queue })
  const wait = other.call('run', {}, { id: 'z', timeout: HOUR, onTimeout: 'cancel' })
  const closed = assert.rejects(wait, { name: 'ClosedError' })
  await attached(client, raw, 'z')
  await other.close()
  await closed
  await client.get('x')
  const { pending } = await whole(client)
  assert.deepEqual(pending.list.toSorted(), ['x', 'y', 'z'])
})

/** Once it is heard: a worker that runs a task may not have subscribed yet. */
async function kill(client, what) {
  const channel = `${client.queue}:cmd`
  await until(async () => (await raw.send('PUBSUB', 'NUMSUB', channel))[1] > 0, 'commands are heard')
  return await raw.send('PUBLISH', channel, `task:kill:${what}`)
}

const BY_HAND = 'by a command on the queue'

test('a message on {q}:cmd cancels a task: running, pending or put off', async (t) => {
  const client = open(t, redis.url)
  const { worker } = heeding(client, rethrow, { concurrency: 1 })
  await client.enqueue('run', {}, { id: 'runs' })
  await runs(worker)
  await client.enqueue('run', {}, { id: 'waits' })
  await client.enqueue('run', {}, { id: 'later', delay: HOUR })
  const ids = ['runs', 'waits', 'later']
  for (const id of ids.toReversed()) {
    assert.equal(await kill(client, `${client.queue}:task:${id}`), 1)
    await assert.rejects(client.result(id), error(BY_HAND, id))
  }
  await worker.close()
  assert.deepEqual(await whole(client), {
    'task:later': cancelled(BY_HAND),
    'task:runs': cancelled(BY_HAND, BEGUN),
    'task:waits': cancelled(BY_HAND),
  })
})

test('task:kill:all cancels all that run and all that are pending, on all workers, and spares what comes later', async (t) => {
  const client = open(t, redis.url)
  // What runs keeps its slots until nothing waits any more.
  const held = gate()
  const workers = [1, 2].map(() => heeding(client, () => held.opened, { concurrency: 3 }).worker)
  const ids = Array.from({ length: 1_500 }, (_, n) => `t${String(n).padStart(4, '0')}`)
  const tasks = await client.enqueueMany(ids.map((id) => ({ function: 'run', id })))
  for (const worker of workers) await runs(worker, 3)
  await kill(client, 'all')
  for (const task of tasks.slice(6)) await assert.rejects(task.result(), error(BY_HAND, task.id))
  held.open()
  for (const task of tasks.slice(0, 6)) await assert.rejects(task.result(), error(BY_HAND, task.id))
  assert.equal(await client.call('ping', {}, { id: 'ping' }), 'pong')
  await Promise.all(workers.map((worker) => worker.close()))
  const { 'task:ping': _, ...left } = await whole(client)
  const expected = ids.map((id, n) => [`task:${id}`, cancelled(BY_HAND, n < 6 ? BEGUN : {})])
  assert.deepEqual(left, Object.fromEntries(expected))
})

test('task:kill:all leaves nothing to the slots that it frees, and spares nothing that is put off', async (t) => {
  const client = open(t, redis.url)
  let ran = 0
  const { worker } = heeding(
    client,
    (reason) => {
      ran++
      throw reason
    },
    { concurrency: 3 },
  )
  const later = await client.enqueue('run', {}, { id: 'later', delay: HOUR, expires: 2 * HOUR })
  const tasks = await client.enqueueMany(Array.from({ length: 100 }, () => ({ function: 'run' })))
  await runs(worker, 3)
  await kill(client, 'all')
  for (const task of [...tasks, later]) await assert.rejects(task.result(), error(BY_HAND, task.id))
  assert.equal(ran, 3)
  await worker.close()
  assert.equal(await raw.send('EXISTS', `${client.queue}:pending`, `${client.queue}:due`), 0)
})

test('task:kill:all finds what is put off behind many times to begin by, and what is pending behind many ids of no task', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const { worker } = heeding(client, () => held.opened, { concurrency: 1 })
  const first = await client.enqueue('run')
  await runs(worker)
  const tasks = [await client.enqueue('run', {}, { delay: 2 * HOUR }), await client.enqueue('run')]
  const none = Array.from({ length: 600 }, (_, n) => `none${n}`)
  const soon = Date.now() + HOUR
  await raw.send('ZADD', `${client.queue}:due`, ...none.flatMap((id) => [soon, `expire:${id}`]))
  await raw.send('RPUSH', `${client.queue}:pending`, ...none)
  await kill(client, 'all')
  for (const task of tasks) await assert.rejects(task.result(), error(BY_HAND, task.id))
  held.open()
  await assert.rejects(first.result(), error(BY_HAND, first.id))
  await worker.close()
})

test('a message that names no task of this queue, or is none, does no harm', async (t) => {
  const client = open(t, redis.url)
  const other = open(t, redis.url)
  const { worker, reasons } = heeding(client, () => 'done')
  await other.enqueue('run', {}, { id: 'x' })
  await client.enqueue('run', {}, { id: 'x' })
  await runs(worker)
  const messages = ['', 'task', 'task:kill', 'task:kill:', 'task:kill:x', 'task:kill:ALL', 'hello', '\u0000']
  messages.push(
    `task:kill:${other.queue}:task:x`,
    `task:kill:${client.queue}:task:`,
    Buffer.from([0xff, 0xfe]),
  )
  messages.push(`task:kill:${client.queue}:task:none`, `task:kill:${client.queue}:task:all`)
  for (const message of messages) await raw.send('PUBLISH', `${client.queue}:cmd`, message)
  assert.equal(await client.call('ping', {}, { id: 'ping' }), 'pong')
  assert.equal(worker.health().running, 1)
  await client.cancel('x', 'now')
  await assert.rejects(client.result('x'), error('now'))
  await worker.close()
  assert.equal(reasons.length, 1)
  assert.deepEqual(Object.keys(await whole(client)), ['task:ping', 'task:x'])
  assert.equal((await other.get('x')).state, 'pending')
})

test('what can be no id, and what else onTimeout may not be, is refused; a closed client cancels nothing', async (t) => {
  const client = open(t, redis.url)
  for (const id of [undefined, null, '', 5, {}, 'lone \ud800']) {
    await assert.rejects(
      client.cancel(id),
      { name: 'ArgsError', code: 'ERR_ARGS', message: /^id / },
      String(id),
    )
  }
  for (const onTimeout of ['', 'abort', true, null]) {
    const refused = { name: 'ArgsError', message: "onTimeout must be 'cancel', or absent" }
    await assert.rejects(client.call('run', {}, { onTimeout }), refused)
    await assert.rejects(client.result('x', { onTimeout }), refused)
  }
  await assert.rejects(client.enqueue('run', {}, { onTimeout: 'cancel' }), {
    message: /no option "onTimeout"/,
  })
  assert.deepEqual(await whole(client), {})
  const task = await client.enqueue('run', {}, { id: 'x' })
  await client.close()
  await assert.rejects(client.cancel('x'), { name: 'ClosedError' })
  await assert.rejects(task.cancel(), { name: 'ClosedError' })
  assert.equal((await whole(client)).pending.list[0], 'x')
})

test('a task that is brought forward after it was cancelled is not started', async (t) => {
  const client = open(t, redis.url)
  await client.enqueue('run', {}, { id: 'x', delay: HOUR })
  assert.equal(await client.cancel('x'), true)
  await raw.send('ZADD', `${client.queue}:due`, 1, 'start:x')
  const worker = client.work({ run: () => assert.fail('it ran') })
  await bringForward(client, raw, 'x')
  await until(async () => !(await raw.send('EXISTS', `${client.queue}:due`)), 'it is due no more')
  await worker.close()
  assert.deepEqual(await whole(client), { 'task:x': cancelled('') })
})
