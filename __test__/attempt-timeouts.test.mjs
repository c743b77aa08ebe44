// An attempt may take so long and no longer: then its signal fires, and it has failed, whatever the handler says or
// does afterwards. A handler that goes on regardless keeps its slot for a grace, and no longer.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { TaskFailedError, TimeoutError } from '../index.mjs'
import { bringForward, putOff } from './support/due.mjs'
import { LIMIT_MS, snapshot, within, withRedis } from './support/index.mjs'
import { gate, open, outcome, until } from './support/open.mjs'
import { ended, program } from './support/program.mjs'

const redis = await withRedis()
const { raw } = redis

const HOUR = 3_600_000
const whole = (client) => snapshot(raw, client.queue)
const timedOut = (ms) => `timed out: not through after ${ms} ms`
const hash = (fields) => ({ function: 'run', args: '{}', 'pending-created': '<time>', ...fields })
const finished = (fields) => ({
  hash: hash({
    state: 'finished',
    'executing-created': '<time>',
    'finished-created': '<time>',
    ...fields,
  }),
  expires: true,
})
const failed = (ms, fields) => finished({ result: 'failed', 'error-reason': timedOut(ms), ...fields })

/** A handler that ends when its signal fires, as `end` has it. */
const heeding = (end, seen = []) =>
  async function run(_args, { signal, attempt }) {
    await once(signal, 'abort')
    seen.push([attempt, signal.reason])
    return end(signal.reason)
  }
const rethrow = (reason) => {
  throw reason
}

test('an attempt that takes too long has failed, and its signal has fired', async (t) => {
  const client = open(t, redis.url)
  const seen = []
  const worker = client.work({ run: heeding(rethrow, seen) })
  const task = await client.enqueue('run', {}, { id: 'x', timeout: 20 })
  const { error } = await outcome(task.result())
  assert.ok(error instanceof TaskFailedError)
  assert.equal(error.reason, timedOut(20))
  assert.equal(error.exception, undefined)
  const [[attempt, reason]] = seen
  assert.equal(attempt, 1)
  assert.ok(reason instanceof TimeoutError)
  assert.deepEqual(
    [reason.code, reason.taskId, reason.function, reason.message],
    ['ERR_TIMEOUT', 'x', 'run', 'task "run" (x) was not through after 20 ms'],
  )
  await worker.close()
  assert.deepEqual(await whole(client), { 'task:x': failed(20, { options: '{"timeout":20}' }) })
  assert.deepEqual(worker.health(), { status: 'closed', running: 0, ready: 0, dropped: 0, lost: 0 })
})

for (const [what, end] of Object.entries({
  'a value': () => 'late',
  nothing: () => {},
  'another error': () => rethrow(new RangeError('late')),
})) {
  test(`what comes of it afterwards does not count: ${what}`, async (t) => {
    const client = open(t, redis.url)
    const worker = client.work({ run: heeding(end) })
    const { error } = await outcome(client.call('run', {}, { id: 'x', attemptTimeout: 10 }))
    assert.equal(error.reason, timedOut(10))
    await worker.close()
    assert.deepEqual(await whole(client), { 'task:x': failed(10, { options: '{"timeout":10}' }) })
  })
}

test('it is tried again like any other that failed, and each attempt has the whole time', async (t) => {
  const client = open(t, redis.url)
  const seen = []
  const run = heeding(rethrow, seen)
  const worker = client.work({
    run: (args, task) => (task.attempt < 3 ? run(args, task) : `done in ${task.attempt}`),
  })
  const options = { id: 'x', attempts: 3, attemptTimeout: 20, backoff: [HOUR, 0] }
  const result = client.call('run', {}, options)
  await putOff(client, raw, 'x')
  await bringForward(client, raw, 'x')
  assert.equal(await result, 'done in 3')
  await worker.close()
  assert.deepEqual(
    seen.map(([attempt, { code }]) => [attempt, code]),
    [
      [1, 'ERR_TIMEOUT'],
      [2, 'ERR_TIMEOUT'],
    ],
  )
  assert.deepEqual(await whole(client), {
    'task:x': finished({
      result: 'successful',
      'result-value': '"done in 3"',
      options: `{"attempts":3,"backoff":[${HOUR},0],"timeout":20}`,
      attempt: '3',
      'error-1': `<time> ${timedOut(20)}`,
      'error-2': `<time> ${timedOut(20)}`,
    }),
  })
})

test("a call's timeout is its wait's, and attemptTimeout the attempt's", async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ run: (_args, { signal }) => held.opened.then(() => signal.aborted) })
  const { error } = await outcome(client.call('run', {}, { id: 'x', timeout: 10 }))
  assert.ok(error instanceof TimeoutError)
  assert.match(error.message, /The task goes on/)
  held.open()
  assert.equal(await client.result('x'), false)
  await worker.close()
  assert.deepEqual(await whole(client), {
    'task:x': finished({ result: 'successful', 'result-value': 'false' }),
  })
})

test('where there is a time for both, each ends what is its own', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: heeding(rethrow) })
  const wait = await outcome(client.call('run', {}, { timeout: 10, attemptTimeout: HOUR }))
  assert.equal(wait.error.code, 'ERR_TIMEOUT')
  const attempt = await outcome(client.call('run', {}, { timeout: HOUR, attemptTimeout: 10 }))
  assert.equal(attempt.error.code, 'ERR_TASK_FAILED')
  await worker.close({ timeout: 0 })
})

test("a worker's timeout is for tasks that don't say themselves", async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const run = heeding(rethrow)
  const worker = client.work(
    {
      run: (args, task) =>
        task.id === 'own' ? held.opened.then(() => task.signal.aborted) : run(args, task),
    },
    { timeout: 20 },
  )
  const own = client.call('run', {}, { id: 'own', attemptTimeout: HOUR })
  await until(() => worker.health().running === 1, 'the task runs')
  assert.equal((await outcome(client.call('run', {}, { id: 'x' }))).error.reason, timedOut(20))
  await raw.send('HSET', `${client.queue}:task:theirs`, 'function', 'run', 'options', '{"timeout": 5}')
  await raw.send('LPUSH', `${client.queue}:pending`, 'theirs')
  assert.equal((await outcome(client.result('theirs'))).error.reason, timedOut(5))
  held.open()
  assert.equal(await own, false)
  await worker.close()
  const left = await whole(client)
  assert.deepEqual(Object.keys(left), ['task:own', 'task:theirs', 'task:x'])
  assert.deepEqual(left['task:x'], failed(20))
})

test('a handler that is through in time hears of no timeout', async (t) => {
  const client = open(t, redis.url)
  const signals = []
  const worker = client.work(
    {
      run(_args, { signal }) {
        signals.push(signal)
        return 'in time'
      },
      late: heeding(rethrow),
    },
    { timeout: 4_000 },
  )
  assert.equal(await client.call('run'), 'in time')
  // Which takes as long as the first might have.
  assert.equal((await outcome(client.call('late'))).error.reason, timedOut(4_000))
  assert.equal(signals[0].aborted, false)
  await worker.close()
})

test('a handler that ignores its signal has its slot taken away after the grace, and is heard no more', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const over = gate()
  let signal
  const worker = client.work(
    {
      async run(_args, task) {
        signal = task.signal
        try {
          return await held.opened
        } finally {
          over.open()
        }
      },
      ping: () => 'pong',
    },
    { concurrency: 1, grace: 30 },
  )
  const stuck = outcome(client.call('run', {}, { id: 'x', attemptTimeout: 10 }))
  const ping = client.call('ping', {}, { id: 'ping' })
  assert.equal((await stuck).error.reason, timedOut(10))
  assert.equal(await ping, 'pong', "its slot is another's")
  assert.equal(signal.aborted, true)
  await until(() => worker.health().running === 0, 'nothing counts as running')
  const before = await whole(client)
  held.open('late')
  await over.opened
  assert.equal(await client.call('ping', {}, { id: 'ping' }), 'pong')
  await worker.close()
  const { 'worker:<uuid>': _, ...left } = before
  assert.deepEqual(await whole(client), left)
  assert.deepEqual(left['task:x'], failed(10, { options: '{"timeout":10}' }))
  assert.equal(worker.health().lost, 0)
})

test('until the grace is over a handler may still tidy up: the task is its own so long', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const aborted = gate()
  const worker = client.work(
    {
      async run(_args, { signal }) {
        await once(signal, 'abort')
        aborted.open()
        await held.opened
      },
    },
    { concurrency: 1, grace: Number.POSITIVE_INFINITY },
  )
  const result = outcome(client.call('run', {}, { id: 'x', attemptTimeout: 10 }))
  await client.enqueue('other', {}, { id: 'next' })
  await within(aborted.opened)
  // One round trip of the worker's after another: it has had every occasion to take the next.
  await client.get('x')
  assert.equal(worker.health().running, 1)
  const { pending, executing } = await whole(client)
  assert.deepEqual([pending, executing], [{ list: ['next'] }, { list: ['x'] }])
  held.open()
  assert.equal((await result).error.reason, timedOut(10))
})

test('its time is up also while a handler blocks the event loop', async (t) => {
  const client = open(t, redis.url)
  let found
  const state = () =>
    execFileSync('redis-cli', ['-u', redis.url, 'HGET', `${client.queue}:task:x`, 'state'])
      .toString()
      .trim()
  const worker = client.work(
    {
      run() {
        const deadline = Date.now() + LIMIT_MS
        do found = state()
        while (found !== 'finished' && Date.now() < deadline)
        return 'late'
      },
    },
    { grace: 10 },
  )
  const { error } = await outcome(client.call('run', {}, { id: 'x', attemptTimeout: 10 }))
  assert.equal(error.reason, timedOut(10))
  assert.equal(found, 'finished', 'it was finished while the handler blocked')
  await worker.close()
  assert.deepEqual(await whole(client), { 'task:x': failed(10, { options: '{"timeout":10}' }) })
})

test('closing a worker in the grace of a handler has the task failed, and not handed back', async (t) => {
  const client = open(t, redis.url)
  const aborted = gate()
  const worker = client.work(
    {
      async run(_args, { signal }) {
        await once(signal, 'abort')
        aborted.open()
        await new Promise(() => {})
      },
    },
    { grace: HOUR },
  )
  await client.enqueue('run', {}, { id: 'x', timeout: 10 })
  await within(aborted.opened)
  await worker.close({ timeout: 0 })
  assert.deepEqual(await whole(client), { 'task:x': failed(10, { options: '{"timeout":10}' }) })
})

test('so has the end of its process', async (t) => {
  const client = open(t, redis.url)
  const child = program(
    `dothis(options.url, options.queue).work({
      run: (_, { signal }) => new Promise(() => signal.addEventListener('abort', () => process.exit(3))),
    }, { grace: 3_600_000 })`,
    { url: redis.url, queue: client.queue },
  )
  await client.enqueue('run', {}, { id: 'x', timeout: 10 })
  assert.deepEqual(await ended(child), { code: 3, signal: null, stderr: '', lines: [] })
  assert.deepEqual(await whole(client), { 'task:x': failed(10, { options: '{"timeout":10}' }) })
})

test('a close waits for the rest of an attempt that has a time, and for no more', async (t) => {
  const client = open(t, redis.url)
  const begun = gate()
  const run = () => {
    begun.open()
    return new Promise(() => {})
  }
  const worker = client.work({ run }, { grace: 0 })
  await client.enqueue('run', {}, { id: 'x', timeout: 200 })
  await within(begun.opened)
  await worker.close({ timeout: Number.POSITIVE_INFINITY })
  assert.deepEqual(await whole(client), { 'task:x': failed(200, { options: '{"timeout":200}' }) })
})

test('of a thousand attempts at a time each that takes too long is ended, and no other', async (t) => {
  const client = open(t, redis.url)
  const ids = Array.from({ length: 1_000 }, (_, n) => `t${String(n).padStart(3, '0')}`)
  const worker = client.work(
    { run: heeding(rethrow), fine: async () => 'fine' },
    { concurrency: 1_000, timeout: 100 },
  )
  const call = (id, n) => outcome(client.call(n % 2 ? 'run' : 'fine', {}, { id }))
  const outcomes = await Promise.all(ids.map(call))
  for (const [n, { value, error }] of outcomes.entries()) {
    // One that was fine may have come too late on a machine that is busy: then it says so.
    if (n % 2) assert.equal(error.reason, timedOut(100))
    else assert.equal(value ?? error.reason, error ? timedOut(100) : 'fine')
  }
  await worker.close()
  assert.deepEqual(
    Object.keys(await whole(client)),
    ids.map((id) => `task:${id}`),
  )
})

const bad = {
  'a negative one': [-1, 'must be a number of milliseconds, 0 or more, not -1'],
  'one that is no number': [Number.NaN, 'must be a number of milliseconds, 0 or more, not NaN'],
  'one that is text': ['5s', 'must be a number of milliseconds, 0 or more, not a string'],
}
for (const [what, [value, message]] of Object.entries(bad)) {
  test(`as a time ${what} is refused everywhere, with its place`, async (t) => {
    const client = open(t, redis.url)
    const refused = (name) => ({ name: 'ArgsError', code: 'ERR_ARGS', message: `${name} ${message}` })
    await assert.rejects(client.enqueue('run', {}, { timeout: value }), refused('timeout'))
    await assert.rejects(client.call('run', {}, { attemptTimeout: value }), refused('attemptTimeout'))
    const list = [{ function: 'run' }, { function: 'run', timeout: value }]
    await assert.rejects(client.enqueueMany(list), refused('entry 1: timeout'))
    assert.throws(() => client.work({}, { timeout: value }), refused('timeout'))
    assert.throws(() => client.work({}, { grace: value }), refused('grace'))
    assert.deepEqual(await whole(client), {})
  })
}

test('attemptTimeout is an option of call alone', async (t) => {
  const client = open(t, redis.url)
  const refused = { name: 'ArgsError', message: /there is no option "attemptTimeout"/ }
  await assert.rejects(client.enqueue('run', {}, { attemptTimeout: 1 }), refused)
  await assert.rejects(client.enqueueMany([{ function: 'run', attemptTimeout: 1 }]), refused)
  await assert.rejects(client.result('x', { attemptTimeout: 1 }), refused)
  assert.throws(() => client.work({}, { attemptTimeout: 1 }), refused)
  assert.deepEqual(await whole(client), {})
})

test('an endless time is none, whatever the worker has for tasks that say nothing', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const bounded = heeding(rethrow)
  const run = (args, task) =>
    task.id === 'bounded' ? bounded(args, task) : held.opened.then(() => task.signal.aborted)
  for (const timeout of [null, Number.POSITIVE_INFINITY]) {
    await client.enqueue('run', {}, { id: `x${timeout}`, timeout })
  }
  const endless = { hash: hash({ state: 'pending', options: '{"timeout":null}' }) }
  assert.deepEqual(await whole(client), {
    pending: { list: ['xInfinity', 'xnull'] },
    'task:xInfinity': endless,
    'task:xnull': endless,
  })
  const worker = client.work({ run }, { timeout: 20 })
  await until(() => worker.health().running === 2, 'both run')
  assert.equal((await outcome(client.call('run', {}, { id: 'bounded' }))).error.reason, timedOut(20))
  held.open()
  assert.deepEqual(await Promise.all([client.result('xnull'), client.result('xInfinity')]), [false, false])
  await worker.close()

  for (const timeout of [null, Number.POSITIVE_INFINITY]) {
    const patient = client.work({ run: () => 'done' }, { timeout })
    assert.equal(await client.call('run'), 'done')
    await patient.close()
  }
})
