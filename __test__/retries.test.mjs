// A task whose handler fails is tried again: as often as it says, after the delays that it says, unless trying again
// can't help. Whoever waits hears of the last attempt only; what earlier ones failed of is kept.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import dothis, { NonRetryableError, TaskFailedError } from '../index.mjs'
import { bringForward, clock, putOff } from './support/due.mjs'
import { connect, snapshot, waitFor, withRedis } from './support/index.mjs'
import { attached, gate, open, outcome, until } from './support/open.mjs'
import { ended, program } from './support/program.mjs'
import { maskTimesAndIds } from './support/snapshot.mjs'

const redis = await withRedis()
const { raw } = redis

const HOUR = 3_600_000
const whole = (client) => snapshot(raw, client.queue)
const put = async (queue, id, fields) => {
  await raw.send('HSET', `${queue}:task:${id}`, ...Object.entries(fields).flat())
  await raw.send('LPUSH', `${queue}:pending`, id)
}

/** A handler that fails until its attempt of that number, with what it was given each time. */
function failing(until, seen = []) {
  return (_args, { attempt }) => {
    seen.push(attempt)
    if (attempt < until) throw new Error(`attempt ${attempt} failed`)
    return `done in ${attempt}`
  }
}

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

test('a task is tried again until it succeeds; its errors are kept', async (t) => {
  const client = open(t, redis.url)
  const seen = []
  const worker = client.work({ run: failing(3, seen) })
  assert.equal(await client.call('run', {}, { id: 'x', attempts: 5 }), 'done in 3')
  await worker.close()
  assert.deepEqual(seen, [1, 2, 3])
  assert.deepEqual(await whole(client), {
    'task:x': finished({
      result: 'successful',
      'result-value': '"done in 3"',
      options: '{"attempts":5}',
      attempt: '3',
      'error-1': '<time> attempt 1 failed',
      'error-2': '<time> attempt 2 failed',
    }),
  })
  const { attempt, errors, reason, createdAt, finishedAt } = await client.get('x')
  assert.deepEqual({ attempt, reason }, { attempt: 3, reason: undefined })
  const [first, second] = errors.map(({ at }) => at)
  assert.deepEqual(errors, [
    { attempt: 1, at: first, reason: 'attempt 1 failed' },
    { attempt: 2, at: second, reason: 'attempt 2 failed' },
  ])
  assert.ok(createdAt <= first && first <= second && second <= finishedAt)
})

test("the last attempt's error is the task's; one message says that it has finished", async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: failing(9) })
  const told = []
  const listener = await listen(t, client, told)
  const task = await client.enqueue('run', {}, { id: 'x', attempts: 3 })
  const { error } = await outcome(task.result())
  assert.ok(error instanceof TaskFailedError)
  assert.equal(error.reason, 'attempt 3 failed')
  assert.match(error.exception, /^Error: attempt 3 failed\n/)
  await worker.close()
  await listener.send('PING')
  assert.deepEqual(told, [`${client.queue}:task:x`])
  const left = await whole(client)
  const exception = left['task:x'].hash['error-exception']
  assert.match(exception, /attempt 3 failed/)
  assert.deepEqual(left, {
    'task:x': finished({
      result: 'failed',
      'error-reason': 'attempt 3 failed',
      'error-exception': exception,
      options: '{"attempts":3}',
      attempt: '3',
      'error-1': '<time> attempt 1 failed',
      'error-2': '<time> attempt 2 failed',
    }),
  })
})

async function listen(t, client, told) {
  const listener = await connect(redis.url)
  t.after(() => listener.close())
  listener.on('message', (message) => told.push(message))
  await listener.subscribe(`${client.queue}:results`)
  return listener
}

test('without attempts a task is tried once, and costs no field more', async (t) => {
  const client = open(t, redis.url)
  const seen = []
  const worker = client.work({ run: failing(2, seen) })
  const { error } = await outcome(client.call('run', {}, { id: 'x' }))
  assert.equal(error.reason, 'attempt 1 failed')
  await worker.close()
  assert.deepEqual(seen, [1])
  const left = await whole(client)
  const { 'error-exception': exception } = left['task:x'].hash
  assert.deepEqual(left, {
    'task:x': finished({
      result: 'failed',
      'error-reason': 'attempt 1 failed',
      'error-exception': exception,
    }),
  })
})

test("a worker's attempts are for tasks that don't say themselves, whoever has made them", async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: failing(3) }, { attempts: 3 })
  assert.equal(await client.call('run'), 'done in 3')
  assert.equal((await outcome(client.call('run', {}, { attempts: 1 }))).error.reason, 'attempt 1 failed')
  assert.equal((await outcome(client.call('run', {}, { attempts: 2 }))).error.reason, 'attempt 2 failed')
  assert.equal(await client.task('run', {}), 'done in 3')
  await put(client.queue, 'theirs', { function: 'run' })
  assert.equal(await client.result('theirs'), 'done in 3')
  await worker.close()
  const left = await snapshot(raw, client.queue, { mask: (text) => text })
  assert.deepEqual(Object.keys(left).length, 5)
  for (const { hash } of Object.values(left)) assert.equal(hash.state, 'finished')
  const { 'task:theirs': theirs } = JSON.parse(maskTimesAndIds(JSON.stringify(left)))
  assert.deepEqual(theirs, {
    hash: {
      function: 'run',
      state: 'finished',
      result: 'successful',
      'result-value': '"done in 3"',
      'executing-created': '<time>',
      'finished-created': '<time>',
      options: '{}',
      attempt: '3',
      'error-1': '<time> attempt 1 failed',
      'error-2': '<time> attempt 2 failed',
    },
    expires: true,
  })
})

test('a task that wants no backoff is tried again at once, whatever its worker has for those that say nothing', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: failing(2) }, { attempts: 2, backoff: [HOUR] })
  assert.equal(await client.call('run', {}, { id: 'x', backoff: null }), 'done in 2')
  await worker.close()
  assert.equal(await raw.send('HGET', `${client.queue}:task:x`, 'options'), '{"backoff":null}')
  const plain = client.work({ run: failing(2) }, { attempts: 2, backoff: null })
  assert.equal(await client.call('run'), 'done in 2')
  await plain.close()
})

test('options can be written by hand, as JSON; with ones that can be no options the task fails, and says so', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: failing(2) })
  await put(client.queue, 'good', { function: 'run', options: '{ "attempts": 2, "colour": "red" }' })
  assert.equal(await client.result('good'), 'done in 2')
  for (const options of ['{', '5', '"x"', '{"attempts":"two"}', '{"backoff":{"type":"none","delay":1}}']) {
    const id = `bad ${options}`
    await put(client.queue, id, { function: 'run', options })
    const { error } = await outcome(client.result(id))
    assert.match(error.reason, /^options can't be used: .*attempts, backoff/, options)
  }
  await worker.close()
  assert.deepEqual(
    Object.keys(await whole(client)).filter((key) => !key.startsWith('task:')),
    [],
  )
})

test('each entry of enqueueMany has attempts of its own', async (t) => {
  const client = open(t, redis.url)
  const tasks = await client.enqueueMany([1, 2, 3].map((attempts) => ({ function: 'run', attempts })))
  client.work({ run: failing(3) })
  const ended = await Promise.all(tasks.map((task) => outcome(task.result())))
  assert.deepEqual(
    ended.map(({ value, error }) => value ?? error.reason),
    ['attempt 1 failed', 'attempt 2 failed', 'done in 3'],
  )
})

test('without a backoff a task is tried again at once, behind what waits already', async (t) => {
  const client = open(t, redis.url)
  const ran = []
  await client.enqueueMany(['a', 'b', 'c'].map((id) => ({ function: 'run', id, attempts: 2 })))
  const worker = client.work(
    {
      run(_args, { id, attempt }) {
        ran.push(`${id}${attempt}`)
        if (id === 'a' && attempt === 1) throw new Error('again')
      },
    },
    { concurrency: 1 },
  )
  await client.result('a')
  await worker.close()
  assert.deepEqual(ran, ['a1', 'b1', 'c1', 'a2'])
})

test('until it is tried again a task is pending, and in `due`: nobody has it', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: failing(2) }, { backoff: { type: 'fixed', delay: HOUR } })
  const result = client.call('run', {}, { id: 'x', attempts: 2 })
  const at = await putOff(client, raw, 'x')
  await worker.close()
  const left = await whole(client)
  assert.deepEqual(left, {
    due: { zset: { 'start:x': String(at) } },
    'task:x': {
      hash: hash({
        state: 'pending',
        options: '{"attempts":2}',
        attempt: '2',
        'error-1': '<time> attempt 1 failed',
        'reply-to': '<address>',
      }),
    },
  })
  const { state, attempt, errors, startedAt } = await client.get('x')
  assert.deepEqual({ state, attempt, startedAt }, { state: 'pending', attempt: 2, startedAt: undefined })
  assert.equal(errors.length, 1)

  // Another worker tries it, in another process.
  const child = program(
    `const client = dothis(options.url, options.queue)
    const worker = client.work({ run: (_, { attempt }) => { say('attempt ' + attempt); return attempt } })
    process.stdin.once('data', () => client.close().then(() => process.stdin.destroy()))`,
    { url: redis.url, queue: client.queue },
  )
  await until(async () => (await whole(client))['worker:<uuid>'], 'the other worker')
  await bringForward(client, raw, 'x')
  await child.waitForLine('attempt 2')
  assert.equal(await result, 2)
  child.write('end')
  assert.deepEqual(await ended(child), { code: 0, signal: null, stderr: '', lines: ['attempt 2'] })
  assert.deepEqual(await whole(client), {
    'task:x': finished({
      result: 'successful',
      'result-value': '2',
      options: '{"attempts":2}',
      attempt: '2',
      'error-1': '<time> attempt 1 failed',
    }),
  })
})

// [what, backoff, the delays before each retry as [least, most] in milliseconds]
const between = (...delays) => delays.map((delay) => (Array.isArray(delay) ? delay : [delay, delay]))
const policies = [
  ['a fixed backoff', { type: 'fixed', delay: HOUR }, between(HOUR, HOUR, HOUR)],
  ['an exponential one', { type: 'exponential', delay: 60_000 }, between(60_000, 120_000, 240_000)],
  [
    'an exponential one with an end',
    { type: 'exponential', delay: 60_000, maxDelay: 100_000 },
    between(60_000, 100_000, 100_000),
  ],
  [
    'one with jitter',
    { type: 'exponential', delay: 1_000_000, jitter: 0.5 },
    between([500_000, 1_000_000], [1_000_000, 2_000_000], [1_800_000, 3_600_000]),
  ],
  ['a list, whose last is for all beyond', [30_000, 90_000], between(30_000, 90_000, 90_000)],
]
for (const [what, backoff, delays] of policies) {
  for (const whose of ['task', 'worker']) {
    test(`a ${whose}'s backoff: ${what}`, async (t) => {
      const client = open(t, redis.url)
      const ran = []
      const own = whose === 'task' ? { backoff } : {}
      const byDefault = whose === 'task' ? { backoff: { type: 'fixed', delay: 1 } } : { backoff }
      const worker = client.work(
        {
          run(_args, { attempt }) {
            ran.push(attempt)
            throw new Error('again')
          },
        },
        byDefault,
      )
      const result = outcome(client.call('run', {}, { id: 'x', attempts: delays.length + 1, ...own }))
      for (const [index, [least, most]] of delays.entries()) {
        await until(() => ran.length > index, `attempt ${index + 1}`)
        const at = await putOff(client, raw, 'x')
        const error = await raw.send('HGET', `${client.queue}:task:x`, `error-${index + 1}`)
        const delay = at - Date.parse(error.split(' ')[0])
        // From the failure until Redis has been told of it some time may pass.
        assert.ok(delay >= least - 10 && delay <= most + 15_000, `${delay} is not ${least} to ${most}`)
        await bringForward(client, raw, 'x')
      }
      assert.equal((await result).error.reason, 'again')
      await worker.close()
      assert.deepEqual(
        ran,
        [...delays.keys(), delays.length].map((n) => n + 1),
      )
      assert.deepEqual(Object.keys(await whole(client)), ['task:x'])
    })
  }
}

test('a task whose delay is through is tried by itself', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: failing(4) })
  const options = { id: 'x', attempts: 4, backoff: [1, 20, 60] }
  const before = await clock(raw)
  assert.equal(await client.call('run', {}, options), 'done in 4')
  assert.ok((await clock(raw)) - before >= 81)
  await worker.close()
  assert.deepEqual(Object.keys(await whole(client)), ['task:x'])
})

test('of many attempts the last ten errors are kept', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: failing(99) })
  const { error } = await outcome(client.call('run', {}, { id: 'x', attempts: 25 }))
  assert.equal(error.reason, 'attempt 25 failed')
  await worker.close()
  const kept = Array.from({ length: 10 }, (_, n) => 15 + n)
  const left = await whole(client)
  assert.deepEqual(left, {
    'task:x': finished({
      result: 'failed',
      'error-reason': 'attempt 25 failed',
      'error-exception': left['task:x'].hash['error-exception'],
      options: '{"attempts":25}',
      attempt: '25',
      ...Object.fromEntries(kept.map((n) => [`error-${n}`, `<time> attempt ${n} failed`])),
    }),
  })
  const { errors } = await client.get('x')
  assert.deepEqual(
    errors.map(({ attempt, reason }) => [attempt, reason]),
    kept.map((n) => [n, `attempt ${n} failed`]),
  )
})

test('whatever an attempt throws is kept as one line', async (t) => {
  const client = open(t, redis.url)
  const thrown = ['two\nlines', undefined, '', { code: 5 }, new Error('  x '), 'y'.repeat(5_000), '✓ \ud800']
  const worker = client.work({
    run(_args, { attempt }) {
      if (attempt <= thrown.length) throw thrown[attempt - 1]
    },
  })
  await client.call('run', {}, { id: 'x', attempts: 20 })
  await worker.close()
  const { errors } = await client.get('x')
  assert.deepEqual(
    errors.map(({ reason }) => reason),
    [
      'two lines',
      'the handler threw undefined',
      'the handler threw an empty string',
      'the handler threw { code: 5 }',
      'x',
      `${'y'.repeat(1_000)}…`,
      '✓ \ufffd',
    ],
  )
})

test('a NonRetryableError is the last: it is not tried again', async (t) => {
  class Gone extends NonRetryableError {}
  class Named extends NonRetryableError {
    constructor(message) {
      super(message)
      this.name = 'Named'
    }
  }
  const required = createRequire(import.meta.url)('../index.js')
  const handlers = {
    imported: () => Promise.reject(new NonRetryableError('it is no use')),
    required: () => Promise.reject(new required.NonRetryableError('it is no use')),
    of: () => Promise.reject(new dothis.NonRetryableError('it is no use', { cause: 5 })),
    extended: () => Promise.reject(new Gone('it is no use')),
    named: () => Promise.reject(new Named('it is no use')),
  }
  for (const name of Object.keys(handlers)) {
    const client = open(t, redis.url)
    const seen = []
    const run = (args, task) => {
      seen.push(task.attempt)
      return handlers[name](args, task)
    }
    const worker = client.work({ run }, { attempts: 5, retryIf: () => true })
    const { error } = await outcome(client.call('run', {}, { id: 'x', attempts: 5 }))
    assert.match(error.reason, /it is no use$/, name)
    assert.match(error.exception, /it is no use/)
    await worker.close()
    assert.deepEqual(seen, [1])
    const left = await whole(client)
    const { 'error-reason': reason, 'error-exception': exception } = left['task:x'].hash
    assert.deepEqual(left, {
      'task:x': finished({
        result: 'failed',
        'error-reason': reason,
        'error-exception': exception,
        options: '{"attempts":5}',
      }),
    })
  }
})

test('retryIf says whether another attempt may help; it gets what was thrown and the task', async (t) => {
  const client = open(t, redis.url)
  const asked = []
  const thrown = [new TypeError('first'), 'second', new RangeError('third'), new Error('never')]
  const worker = client.work(
    {
      run(_args, { attempt }) {
        throw thrown[attempt - 1]
      },
    },
    {
      attempts: 9,
      retryIf(error, task) {
        asked.push([error, task.id, task.function, task.args, task.attempt])
        return !(error instanceof RangeError)
      },
    },
  )
  const { error } = await outcome(client.call('run', { n: 1 }, { id: 'x' }))
  assert.equal(error.reason, 'RangeError: third')
  await worker.close()
  assert.deepEqual(
    asked,
    [1, 2, 3].map((attempt) => [thrown[attempt - 1], 'x', 'run', { n: 1 }, attempt]),
  )
  assert.equal((await client.get('x')).errors.length, 2)
})

test('a retryIf that throws is an error of the worker, and the task is tried again', async (t) => {
  const client = open(t, redis.url)
  const problem = new Error('retryIf is broken')
  const worker = client.work(
    { run: failing(2) },
    {
      attempts: 2,
      retryIf() {
        throw problem
      },
    },
  )
  const reported = new Promise((resolve) => worker.once('error', resolve))
  assert.equal(await client.call('run'), 'done in 2')
  assert.equal(await reported, problem)
  await worker.close()

  const odd = 'no error'
  const retryIf = () => {
    throw odd
  }
  const other = client.work({ run: failing(2) }, { attempts: 2, retryIf })
  const wrapped = new Promise((resolve) => other.once('error', resolve))
  assert.equal(await client.call('run'), 'done in 2')
  const { message, cause } = await wrapped
  assert.deepEqual([message, cause], ['retryIf threw: no error', odd])
})

test('what another attempt would not change is not tried again', async (t) => {
  const client = open(t, redis.url)
  let ran = 0
  const handlers = {
    cyclic() {
      ran++
      const cycle = {}
      cycle.self = cycle
      return cycle
    },
    long() {
      ran++
      return 'x'.repeat(100)
    },
  }
  const worker = client.work(handlers, { attempts: 5, maxResultBytes: 50 })
  const why = async (result) => (await outcome(result)).error.reason
  assert.match(await why(client.call('nobody')), /no handler for function "nobody"/)
  assert.match(await why(client.call('cyclic')), /can't be written as JSON/)
  assert.match(await why(client.call('long')), /more than the 50 allowed/)
  await put(client.queue, 'list', { function: 'cyclic', args: '[]' })
  assert.match(await why(client.result('list')), /args.*an array/)
  await worker.close()
  assert.equal(ran, 2)
  for (const [key, { hash }] of Object.entries(await snapshot(raw, client.queue, { mask: (text) => text }))) {
    assert.deepEqual([hash.state, hash.attempt, hash['error-1']], ['finished', undefined, undefined], key)
  }
})

test('a run that a closing worker hands back is no attempt', async (t) => {
  const client = open(t, redis.url)
  const seen = []
  const run = (_args, { attempt }) => {
    seen.push(attempt)
    return new Promise(() => {})
  }
  await client.enqueue('run', {}, { id: 'x', attempts: 2 })
  for (let round = 1; round <= 3; round++) {
    const worker = client.work({ run })
    await until(() => seen.length === round, 'the task runs')
    await worker.close({ timeout: 0 })
  }
  assert.deepEqual(seen, [1, 1, 1])
  assert.deepEqual(await whole(client), {
    pending: { list: ['x'] },
    'task:x': { hash: hash({ state: 'pending', options: '{"attempts":2}' }) },
  })
})

test('a task that is deleted while it fails is not brought back by its next attempt', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ run: () => held.opened.then(() => Promise.reject(new Error('too late'))) })
  await client.enqueue('run', {}, { id: 'x', attempts: 2 })
  await until(() => worker.health().running === 1, 'the task runs')
  await raw.send('DEL', `${client.queue}:task:x`)
  const lost = waitFor(worker, 'lost')
  held.open()
  assert.deepEqual(await lost, [{ id: 'x' }])
  await worker.close()
  assert.deepEqual(await whole(client), {})
})

test('a task that is deleted while it waits for its next attempt is forgotten', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: failing(2), ping: () => {} }, { backoff: [HOUR] })
  const result = outcome(client.call('run', {}, { id: 'x', attempts: 2 }))
  await putOff(client, raw, 'x')
  await attached(client, raw, 'x')
  await raw.send('DEL', `${client.queue}:task:x`)
  await bringForward(client, raw, 'x')
  assert.match((await result).error.reason, /vanished/)
  await until(async () => !(await raw.send('EXISTS', `${client.queue}:due`)), 'it is due no more')
  await worker.close()
  assert.deepEqual(await whole(client), {})
})

test('taskwithid runs a task anew from its first attempt, with no error of the one before', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ run: failing(2) })
  await client.enqueue('run', {}, { id: 'x', attempts: 2 })
  await until(async () => (await client.get('x')).value === 'done in 2', 'it has finished')
  worker.handle('run', (_args, { attempt }) => attempt)
  assert.equal(await client.taskwithid('x', 'run', {}), 1)
  await worker.close()
  assert.deepEqual(await whole(client), { 'task:x': finished({ result: 'successful', 'result-value': '1' }) })
})

const badOptions = {
  'attempts 0': [{ attempts: 0 }, 'attempts must be a whole number from 1 to 1000000, not 0'],
  'attempts 1.5': [{ attempts: 1.5 }, 'attempts must be a whole number from 1 to 1000000, not 1.5'],
  'attempts as text': [{ attempts: '3' }, 'attempts must be a whole number from 1 to 1000000, not a string'],
  'endless attempts': [
    { attempts: Number.POSITIVE_INFINITY },
    'attempts must be a whole number from 1 to 1000000, not Infinity',
  ],
  'a backoff that is a number': [
    { backoff: 1_000 },
    'backoff must be an object or a list of delays, not 1000',
  ],
  'a backoff without a type': [{ backoff: { delay: 1 } }, "backoff.type must be 'fixed' or 'exponential'"],
  'a backoff of another type': [
    { backoff: { type: 'linear', delay: 1 } },
    "backoff.type must be 'fixed' or 'exponential'",
  ],
  'a backoff without a delay': [
    { backoff: { type: 'fixed' } },
    'backoff.delay must be a number of milliseconds that ends some day, not undefined',
  ],
  'a negative delay': [
    { backoff: { type: 'fixed', delay: -1 } },
    'backoff.delay must be a number of milliseconds, 0 or more, not -1',
  ],
  'an endless delay': [
    { backoff: { type: 'fixed', delay: Number.POSITIVE_INFINITY } },
    'backoff.delay must be a number of milliseconds that ends some day, not Infinity',
  ],
  'a maxDelay that is none': [
    { backoff: { type: 'exponential', delay: 1, maxDelay: Number.NaN } },
    'backoff.maxDelay must be a number of milliseconds, 0 or more, not NaN',
  ],
  'too much jitter': [
    { backoff: { type: 'fixed', delay: 1, jitter: 2 } },
    'backoff.jitter must be a number from 0 to 1, not 2',
  ],
  'an unknown part of a backoff': [
    { backoff: { type: 'fixed', delay: 1, factor: 2 } },
    'backoff: there is no option "factor". Known are type, delay, maxDelay, jitter',
  ],
  'an empty list': [{ backoff: [] }, 'backoff must be a list of 1 to 1,000 delays, not of 0'],
  'a list that is too long': [
    { backoff: Array(1_001).fill(1) },
    'backoff must be a list of 1 to 1,000 delays, not of 1001',
  ],
  'a list with a hole in it': [
    // biome-ignore lint/suspicious/noSparseArray: that is the point.
    { backoff: [1, , 3] },
    'backoff[1] must be a number of milliseconds that ends some day, not undefined',
  ],
  'a list with text in it': [
    { backoff: [1, 'soon'] },
    'backoff[1] must be a number of milliseconds, 0 or more, not a string',
  ],
}
for (const [what, [options, message]] of Object.entries(badOptions)) {
  test(`${what}: refused everywhere, with its place`, async (t) => {
    const client = open(t, redis.url)
    const refused = (text) => ({ name: 'ArgsError', code: 'ERR_ARGS', message: text })
    await assert.rejects(client.enqueue('run', {}, options), refused(message))
    await assert.rejects(client.call('run', {}, options), refused(message))
    const entries = [
      { function: 'run' },
      { function: 'run' },
      { function: 'run' },
      { function: 'run', ...options },
    ]
    await assert.rejects(client.enqueueMany(entries), refused(`entry 3: ${message}`))
    assert.throws(() => client.work({}, options), refused(message))
    assert.deepEqual(await whole(client), {})
  })
}

test('retryIf is a function, and a worker has no other retry options', async (t) => {
  const client = open(t, redis.url)
  const refused = { name: 'ArgsError', message: 'retryIf must be a function, not a boolean' }
  assert.throws(() => client.work({}, { retryIf: true }), refused)
  await assert.rejects(client.enqueue('run', {}, { retryIf: () => true }), { name: 'ArgsError' })
  assert.deepEqual(await whole(client), {})
})
