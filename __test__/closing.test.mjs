// Closing: what runs gets its time, what has not begun goes back in order, and whoever closes may close again.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import dothis, { ClosedError } from '../index.mjs'
import { untilConnections } from './support/connections.mjs'
import {
  LIMIT_MS,
  snapshot,
  uniqueQueue,
  waitFor,
  within,
  withOwnRedis,
  withRedis,
} from './support/index.mjs'
import { ended, program } from './support/program.mjs'
import { takeOver } from './support/state.mjs'

const redis = await withRedis()

function connected(t) {
  const client = dothis(redis.url, uniqueQueue())
  t.after(() => client.close({ timeout: 0 }))
  return client
}

function gate() {
  let open
  const opened = new Promise((resolve) => {
    open = resolve
  })
  return { open, opened }
}

const pending = (name = 'hold') => ({
  hash: { function: name, state: 'pending', args: '{}', 'pending-created': '<time>' },
})

const finished = (value) => ({
  hash: {
    function: 'hold',
    state: 'finished',
    args: '{}',
    'pending-created': '<time>',
    'executing-created': '<time>',
    result: 'successful',
    'result-value': JSON.stringify(value),
    'finished-created': '<time>',
  },
  expires: true,
})

test('close lets what runs finish and takes nothing more', async (t) => {
  const client = connected(t)
  const { open, opened } = gate()
  const begun = []
  const worker = client.work(
    {
      async hold(_, { id }) {
        begun.push(id)
        if (begun.length === 2) worker.emit('both')
        await opened
        return id
      },
    },
    { concurrency: 2 },
  )
  const both = waitFor(worker, 'both')
  await client.enqueueMany(['a', 'b', 'c', 'd'].map((id) => ({ function: 'hold', id })))
  await both
  const closing = worker.close()
  assert.equal(worker.health().status, 'closing')
  open()
  await closing
  assert.equal(worker.health().status, 'closed')
  assert.deepEqual(begun, ['a', 'b'])
  assert.deepEqual(await snapshot(redis.raw, client.queue), {
    pending: { list: ['d', 'c'] },
    'task:a': finished('a'),
    'task:b': finished('b'),
    'task:c': pending(),
    'task:d': pending(),
  })
})

test('close gives back what was taken and has not begun, first in line and in order', async (t) => {
  const client = connected(t)
  const count = 500 // More than the first fetch and three batches behind it, however late that was.
  const ids = Array.from({ length: count }, (_, n) => String(n).padStart(3, '0'))
  await client.enqueueMany(ids.map((id) => ({ function: 'hold', id })))
  // In the middle of the first handler nothing else in this process runs, except the worker's other thread.
  const length = (list) => {
    return Number(execFileSync('redis-cli', ['-u', redis.url, 'LLEN', `${client.queue}:${list}`]))
  }
  const spinUntil = (reached) => {
    const deadline = Date.now() + LIMIT_MS
    while (!reached()) assert.ok(Date.now() < deadline)
  }
  const begun = []
  let closing
  const worker = client.work(
    {
      hold(_, { id }) {
        begun.push(id)
        if (begun.length > 1) return id
        // Three batches wait for JavaScript, which has what runs.
        const { running } = worker.health()
        spinUntil(() => length('executing') === running + 3 * 64)
        closing = worker.close()
        spinUntil(() => length('pending') === count - running)
        return id
      },
    },
    { concurrency: count },
  )
  await within(once(worker, 'closed'))
  await closing
  const left = ids.slice(begun.length)
  assert.ok(left.length > 0)
  assert.deepEqual(begun, ids.slice(0, begun.length))
  const expected = { pending: { list: [...left].reverse() } }
  for (const id of begun) expected[`task:${id}`] = finished(id)
  for (const id of left) expected[`task:${id}`] = pending()
  assert.deepEqual(await snapshot(redis.raw, client.queue), expected)
})

test('at its deadline close hands back what still runs, and tells the handler through its signal', async (t) => {
  const client = connected(t)
  const { open, opened } = gate()
  let running
  const first = client.work({
    async hold(_, task) {
      running = task
      first.emit('begun')
      await once(task.signal, 'abort')
      open()
      return 'too late'
    },
  })
  const begun = waitFor(first, 'begun')
  await client.enqueue('hold', {}, { id: 'long' })
  await begun
  await first.close({ timeout: 0 })
  await within(opened)
  assert.ok(running.signal.reason instanceof ClosedError)
  assert.equal(running.signal.reason.taskId, 'long')
  assert.deepEqual(await snapshot(redis.raw, client.queue), {
    pending: { list: ['long'] },
    'task:long': pending(),
  })

  const second = client.work({ hold: () => 'in time' })
  assert.equal(await client.result('long', { timeout: 10_000 }), 'in time')
  await second.close()
  assert.deepEqual(await snapshot(redis.raw, client.queue), { 'task:long': finished('in time') })
})

test('close leaves a task alone that somebody else has by now', async (t) => {
  const client = connected(t)
  const worker = client.work({
    hold() {
      worker.emit('begun')
      return new Promise(() => {})
    },
  })
  const begun = waitFor(worker, 'begun')
  await client.enqueue('hold', {}, { id: 'lost' })
  await begun
  await takeOver(redis.raw, client.queue, 'lost')
  await worker.close({ timeout: 0 })
  assert.deepEqual(await snapshot(redis.raw, client.queue), {
    executing: { list: ['lost'] },
    'task:lost': {
      hash: {
        ...pending().hash,
        state: 'executing',
        'executing-created': '<time>',
        'owner:somebody else': '',
      },
    },
  })
})

test('a worker and a client may be closed twice, at the same time and later', async () => {
  const client = dothis(redis.url, uniqueQueue())
  const worker = client.work({})
  await Promise.all([worker.close(), worker.close({ timeout: 5 })])
  await worker.close()
  await Promise.all([client.close(), client.close(), client.quit(), client.end()])
  await client.close()
  assert.equal(client.health().status, 'closed')
})

test('closing a client closes its workers', async () => {
  const client = dothis(redis.url, uniqueQueue())
  const workers = [client.work({ hold: () => 'done' }), client.work({ hold: () => 'done' })]
  assert.equal(await client.call('hold'), 'done')
  const closed = []
  for (const worker of workers) worker.on('closed', () => closed.push('worker'))
  client.on('closed', () => closed.push('client'))
  await client.close()
  for (const worker of workers) assert.equal(worker.health().status, 'closed')
  await new Promise(setImmediate)
  assert.deepEqual(closed, ['worker', 'worker', 'client'])
  const left = await snapshot(redis.raw, client.queue)
  assert.deepEqual(Object.keys(left), ['task:<uuid>'])
})

test('a handler may still use its client while that is being closed', async (t) => {
  const client = connected(t)
  const { open, opened } = gate()
  const worker = client.work({
    async hold() {
      worker.emit('begun')
      await opened
      await client.enqueue('next', {}, { id: 'follow-up' })
      return 'done'
    },
  })
  const begun = waitFor(worker, 'begun')
  await client.enqueue('hold', {}, { id: 'first' })
  await begun
  const closing = client.close()
  open()
  await closing
  assert.deepEqual(await snapshot(redis.raw, client.queue), {
    pending: { list: ['follow-up'] },
    'task:first': finished('done'),
    'task:follow-up': pending('next'),
  })
})

test('what a closed client is asked fails with a ClosedError', async () => {
  const client = dothis(redis.url, uniqueQueue())
  const task = await client.enqueue('hold', {}, { id: 'left' })
  const refused = { name: 'ClosedError', code: 'ERR_CLOSED' }
  const open = [client.call('hold', {}, { id: 'left' }), task.result(), client.result('other')]
  const asserted = open.map((wait) => assert.rejects(wait, refused))
  await client.close()
  await Promise.all(asserted)
  for (const call of ['enqueue', 'enqueueMany', 'call', 'result', 'get', 'task', 'gettask']) {
    await assert.rejects(async () => await client[call]('hold'), refused, call)
  }
  await assert.rejects(async () => await task.result(), refused)
  assert.throws(() => client.work({}), refused)
  const left = await snapshot(redis.raw, client.queue)
  // The waits may have asked for a reply by then, or not.
  delete left['task:left'].hash['reply-to']
  assert.deepEqual(left, { pending: { list: ['left'] }, 'task:left': { hash: pending().hash } })
})

test('close lets an enqueue through that was made before', async () => {
  const client = dothis(redis.url, uniqueQueue())
  const ids = Array.from({ length: 6_000 }, (_, n) => `task-${n}`)
  const one = client.enqueue('hold', {}, { id: 'one' })
  const many = client.enqueueMany(ids.map((id) => ({ function: 'hold', id })))
  await client.close()
  assert.equal((await one).created, true)
  assert.equal((await many).length, ids.length)
  const expected = { pending: { list: ['one', ...ids].reverse() } }
  for (const id of ['one', ...ids]) expected[`task:${id}`] = pending()
  assert.deepEqual(await snapshot(redis.raw, client.queue), expected)
})

test('end gives up what is under way, and its callers hear of it', async () => {
  const client = dothis({ url: 'redis://127.0.0.1:1', queue: uniqueQueue() })
  const calls = [
    client.enqueue('hold'),
    client.call('hold'),
    client.get('none'),
    client.enqueueMany([{ function: 'hold' }]),
  ]
  const asserted = calls.map((call) => assert.rejects(call, ClosedError))
  await within(client.end())
  await Promise.all(asserted)
})

test("quit waits for the original's callbacks, which come before its promise, and then the process ends", async (t) => {
  const client = connected(t)
  client.work({ add: ({ a, b }) => a + b })
  const child = program(
    `const client = dothis(options.url, options.queue)
    client.on('success', (value) => say({ success: value }))
    client.task('add', { a: 1, b: 5 }, (error, value, task) => say({ error, value, state: task.state }))
    client.quit().then(() => say('quit'))`,
    { url: redis.url, queue: client.queue },
  )
  assert.deepEqual(await ended(child), {
    code: 0,
    signal: null,
    stderr: '',
    lines: ['{"error":null,"value":6,"state":"finished"}', '{"success":6}', 'quit'],
  })
})

test('Symbol.asyncDispose closes a worker and a client', { skip: !Symbol.asyncDispose }, async () => {
  const client = dothis(redis.url, uniqueQueue())
  const worker = client.work({})
  await worker[Symbol.asyncDispose]()
  assert.equal(worker.health().status, 'closed')
  assert.notEqual(client.health().status, 'closed')
  await client[Symbol.asyncDispose]()
  assert.equal(client.health().status, 'closed')
})

test('await using closes both at the end of its block', { skip: !understandsAwaitUsing() }, async () => {
  const child = program(
    `let kept
    {
      await using client = dothis(options.url, options.queue)
      await using worker = client.work({ add: ({ a, b }) => a + b })
      say(await client.call('add', { a: 1, b: 2 }))
      kept = [client, worker]
    }
    for (const closed of kept) say(closed.health().status)`,
    { url: redis.url, queue: uniqueQueue() },
  )
  assert.deepEqual(await ended(child), {
    code: 0,
    signal: null,
    stderr: '',
    lines: ['3', 'closed', 'closed'],
  })
})

test('closing ends the connections, without a wait for the garbage collector', async (t) => {
  const own = await withOwnRedis(t)
  const client = dothis(own.url)
  const worker = client.work({ hold: () => 'done' })
  await client.call('hold')
  await untilConnections(own.raw, ['blocked', 'commands', 'messages'])
  await worker.close()
  await untilConnections(own.raw, ['commands', 'messages'])
  await client.close()
  await untilConnections(own.raw, [])
})

function understandsAwaitUsing() {
  try {
    const AsyncFunction = (async () => {}).constructor
    return Boolean(new AsyncFunction('await using nothing = null'))
  } catch {
    return false
  }
}
