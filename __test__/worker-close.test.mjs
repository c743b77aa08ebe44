// Closing a worker: what runs may finish, what has not begun goes back, in order, and nothing is lost.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { snapshot, withRedis } from './support/index.mjs'
import { gate, open, outcome, until } from './support/open.mjs'
import { untilSync } from './support/until.mjs'

const redis = await withRedis()
const { raw } = redis

const pending = async (client) => (await raw.send('LRANGE', `${client.queue}:pending`, 0, -1)).toReversed()
const waiting = (name, args = '{}') => ({
  hash: { function: name, state: 'pending', args, 'pending-created': '<time>' },
})
const runs = (worker, count) => until(() => worker.health().running === count, `${count} tasks run`)

test('close lets what runs finish, takes nothing more, and leaves the rest pending', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const worker = client.work({ slow: () => held.opened }, { concurrency: 2 })
  await client.enqueueMany(['a', 'b', 'c', 'd'].map((id) => ({ function: 'slow', id })))
  await runs(worker, 2)
  const closed = worker.close()
  await client.enqueue('slow', {}, { id: 'e' })
  assert.equal(worker.health().status, 'closing')
  held.open('done')
  await closed

  const done = {
    hash: {
      ...waiting('slow').hash,
      state: 'finished',
      result: 'successful',
      'result-value': '"done"',
      'executing-created': '<time>',
      'finished-created': '<time>',
    },
    expires: true,
  }
  assert.deepEqual(await snapshot(raw, client.queue), {
    pending: { list: ['e', 'd', 'c'] },
    'task:a': done,
    'task:b': done,
    'task:c': waiting('slow'),
    'task:d': waiting('slow'),
    'task:e': waiting('slow'),
  })
  assert.deepEqual(worker.health(), { status: 'closed', running: 0, ready: 0, dropped: 0, lost: 0 })
})

test('what was taken and has not begun goes back first in line, in order, as it was', async (t) => {
  const client = open(t, redis.url)
  const ids = Array.from({ length: 40 }, (_, n) => `n${n}`)
  // So large that not all of what was taken is handed to JavaScript at once.
  const args = { text: 'x'.repeat(30_000) }
  await client.enqueue('first', {}, { id: 'first' })
  await client.enqueueMany(ids.map((id) => ({ function: 'rest', args, id })))
  const before = await snapshot(raw, client.queue)

  const begun = []
  let closed
  let ready
  const worker = client.work(
    {
      first() {
        ready = worker.health().ready
        closed = worker.close()
        // While this handler keeps the loop to itself, whatever has not begun goes back.
        untilSync(redis, ['LLEN', `${client.queue}:executing`], String(worker.health().running))
        return 'done'
      },
      rest: (_args, { id }) => begun.push(id),
    },
    { concurrency: 20 },
  )
  await until(() => closed !== undefined, 'the first task runs')
  await closed

  assert.ok(ready > 0, 'some were taken and had not begun')
  const left = ids.filter((id) => !begun.includes(id))
  assert.deepEqual(await pending(client), left)
  const after = await snapshot(raw, client.queue)
  for (const id of left) assert.deepEqual(after[`task:${id}`], before[`task:${id}`], id)
  assert.deepEqual(
    Object.keys(after),
    Object.keys(before).filter((key) => key !== 'executing' && !key.startsWith('worker:')),
  )
  assert.equal(after['task:first'].hash['result-value'], '"done"')
})

test('at the end of its timeout close aborts what runs, and hands it back', async (t) => {
  const client = open(t, redis.url)
  const signals = new Map()
  const worker = client.work(
    {
      stuck(_args, task) {
        signals.set(task.id, task.signal)
        return new Promise(() => {})
      },
      // Never asks for its signal.
      deaf: () => new Promise(() => {}),
    },
    { concurrency: 10 },
  )
  const ids = ['a', 'b', 'c', 'd']
  await client.enqueueMany(ids.map((id) => ({ function: id === 'c' ? 'deaf' : 'stuck', id })))
  await runs(worker, 4)
  const before = Object.fromEntries(ids.map((id) => [`task:${id}`, waiting(id === 'c' ? 'deaf' : 'stuck')]))
  await worker.close({ timeout: 0 })

  assert.deepEqual(await snapshot(raw, client.queue), { pending: { list: ids.toReversed() }, ...before })
  assert.deepEqual([...signals.keys()], ['a', 'b', 'd'])
  for (const [id, signal] of signals) {
    assert.equal(signal.aborted, true)
    assert.ok(signal.reason instanceof dothis.ClosedError)
    assert.equal(signal.reason.taskId, id)
    assert.equal(signal.reason.function, 'stuck')
  }
})

test('a signal that is looked at only after the abort has fired already', async (t) => {
  const client = open(t, redis.url)
  let running
  const worker = client.work({
    late(_args, task) {
      running = task
      return new Promise(() => {})
    },
  })
  await client.enqueue('late')
  await runs(worker, 1)
  await worker.close({ timeout: 0 })
  assert.equal(running.signal.aborted, true)
  assert.ok(running.signal.reason instanceof dothis.ClosedError)
})

test('what a handler says after its task was handed back counts for nothing', async (t) => {
  const client = open(t, redis.url)
  const held = { ok: gate(), bad: gate() }
  const worker = client.work({
    ok: () => held.ok.opened,
    async bad() {
      await held.bad.opened
      throw new Error('late')
    },
  })
  await client.enqueueMany([
    { function: 'ok', id: 'a' },
    { function: 'bad', id: 'b' },
  ])
  await runs(worker, 2)
  await worker.close({ timeout: 0 })
  const before = await snapshot(raw, client.queue)
  held.ok.open('late')
  held.bad.open()
  await client.get('round trip')
  assert.deepEqual(await snapshot(raw, client.queue), before)
  assert.deepEqual(await pending(client), ['a', 'b'])
})

test('what is handed back runs again elsewhere, and who waits for it gets that result', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ job: () => new Promise(() => {}) })
  const result = client.call('job')
  await runs(worker, 1)
  await worker.close({ timeout: 0 })
  client.work({ job: () => 'second' })
  assert.equal(await result, 'second')
})

test('what finishes within the timeout is finished, what does not is handed back', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({
    obedient: (_args, { signal }) =>
      new Promise((resolve) => signal.addEventListener('abort', () => resolve('stopped'))),
    quick: () => 'quick',
  })
  await client.enqueue('obedient', {}, { id: 'o' })
  await client.call('quick', {}, { id: 'q' })
  await runs(worker, 1)
  await worker.close({ timeout: 1 })
  const found = await snapshot(raw, client.queue)
  assert.equal(found['task:q'].hash.state, 'finished')
  assert.deepEqual(found['task:o'], waiting('obedient'))
  assert.deepEqual(found.pending, { list: ['o'] })
})

test('close of an idle worker is through at once, and may be called again', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({})
  await Promise.all([worker.close(), worker.close({ timeout: 5 })])
  await worker.close()
  assert.equal(worker.health().status, 'closed')
})

test('close from within a handler lets that handler finish', async (t) => {
  const client = open(t, redis.url)
  let closed
  const worker = client.work({
    stop() {
      closed = worker.close()
      return 'stopped'
    },
  })
  assert.equal(await client.call('stop'), 'stopped')
  await closed
  assert.equal(await raw.send('EXISTS', `${client.queue}:executing`), 0)
})

test('the other workers of a client go on when one is closed', async (t) => {
  const client = open(t, redis.url)
  const [first, second] = [client.work({ x: () => 1 }), client.work({ x: () => 2 })]
  await first.close()
  assert.equal(await client.call('x'), 2)
  await second.close()
  assert.deepEqual(await outcome(client.get('x')), { value: null })
})
