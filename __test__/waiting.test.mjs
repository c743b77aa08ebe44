// Waits: how they end without a result, and what they leave behind, which is nothing.

import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { snapshot, within, withRedis } from './support/index.mjs'
import { attached, flushed, gate, open, outcome } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis
const listeners = (signal) => getEventListeners(signal, 'abort').length

test('a wait that takes longer than its timeout is a TimeoutError, and the task goes on', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const begun = gate()
  client.work({
    slow(_args, task) {
      begun.open(task)
      return held.opened
    },
  })
  const called = outcome(client.call('slow', {}, { id: 'x', timeout: 50 }))
  const running = await within(begun.opened)
  const { error } = await called
  assert.ok(error instanceof dothis.TimeoutError)
  assert.equal(error.code, 'ERR_TIMEOUT')
  assert.equal(error.taskId, 'x')
  assert.equal(error.function, 'slow')
  assert.match(error.message, /goes on/)
  assert.equal(running.signal.aborted, false)
  assert.equal((await client.get('x')).state, 'executing')

  const again = client.result('x', { timeout: 10_000 })
  held.open('in the end')
  assert.equal(await again, 'in the end')
})

test('a timeout that comes while nobody has taken the task leaves it pending', async (t) => {
  const client = open(t, redis.url)
  await assert.rejects(client.call('x', {}, { id: 'x', timeout: 0 }), { code: 'ERR_TIMEOUT' })
  const task = await client.enqueue('x', {}, { id: 'y' })
  await assert.rejects(task.result({ timeout: 1 }), { code: 'ERR_TIMEOUT', taskId: 'y' })
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), ['y', 'x'])
})

test('a wait with a timeout for a task that never comes ends with it, and creates nothing', async (t) => {
  const client = open(t, redis.url)
  await assert.rejects(client.result('nobody', { timeout: 100 }), { code: 'ERR_TIMEOUT', taskId: 'nobody' })
  assert.deepEqual(await snapshot(raw, client.queue), {})
})

test('many waits with different timeouts each end in their turn', async (t) => {
  const client = open(t, redis.url)
  const order = []
  const timeouts = [500, 100, 300, 200, 400, 0]
  await Promise.all(
    timeouts.map(async (timeout) => {
      await outcome(client.result(`t${timeout}`, { timeout }))
      order.push(timeout)
    }),
  )
  assert.deepEqual(order, [0, 100, 200, 300, 400, 500])
})

test('timeouts that are none are refused, and endless ones never come', async (t) => {
  const client = open(t, redis.url)
  for (const timeout of [-1, Number.NaN, '5', {}, true]) {
    await assert.rejects(client.call('x', {}, { timeout }), { code: 'ERR_ARGS', message: /timeout/ })
    await assert.rejects(client.result('x', { timeout }), { code: 'ERR_ARGS', message: /timeout/ })
  }
  assert.deepEqual(await snapshot(raw, client.queue), {})
  client.work({ x: () => 'ran' })
  for (const timeout of [undefined, null, Number.POSITIVE_INFINITY, Number.MAX_VALUE, 2 ** 31, 1e15]) {
    assert.equal(await client.call('x', {}, { timeout }), 'ran', String(timeout))
  }
})

test("an aborted wait rejects with the signal's reason, and the task goes on", async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const begun = gate()
  client.work({
    slow() {
      begun.open()
      return held.opened
    },
  })
  const abort = new AbortController()
  const reason = { any: 'thing' }
  const called = outcome(client.call('slow', {}, { id: 'x', signal: abort.signal }))
  const waited = outcome(client.result('x', { signal: abort.signal }))
  const kept = client.result('x')
  assert.equal(listeners(abort.signal), 1)
  await within(begun.opened)
  abort.abort(reason)
  assert.equal((await called).error, reason)
  assert.equal((await waited).error, reason)
  assert.equal(listeners(abort.signal), 0)
  assert.equal((await client.get('x')).state, 'executing')
  held.open('done')
  assert.equal(await kept, 'done')
  assert.equal(client.health().pending, 0)
})

test('a signal that is aborted already rejects before anything is sent', async (t) => {
  const client = open(t, redis.url)
  const signal = AbortSignal.abort()
  for (const call of [client.call('x', {}, { signal }), client.result('x', { signal })]) {
    const { error } = await outcome(call)
    assert.equal(error, signal.reason)
    assert.equal(error.name, 'AbortError')
  }
  assert.equal(listeners(signal), 0)
  await flushed(client, raw)
  assert.deepEqual(await snapshot(raw, client.queue), {})
})

test('an abort in the tick of the call gives up the wait; the task is in the queue', async (t) => {
  const client = open(t, redis.url)
  const abort = new AbortController()
  const called = outcome(client.call('x', {}, { id: 'x', signal: abort.signal }))
  abort.abort('at once')
  assert.equal((await called).error, 'at once')
  await flushed(client, raw)
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), ['x'])
  assert.equal(client.health().pending, 0)
})

test('an abort after the end changes nothing, and no listener is left', async (t) => {
  const client = open(t, redis.url)
  client.work({
    good: () => 'good',
    bad() {
      throw new Error('bad')
    },
  })
  const abort = new AbortController()
  const { signal } = abort
  for (let n = 0; n < 20; n++) {
    assert.equal(await client.call('good', {}, { signal }), 'good')
    await assert.rejects(client.call('bad', {}, { signal }), { reason: 'bad' })
    await assert.rejects(client.call('good', [], { signal }), { code: 'ERR_ARGS' })
  }
  await assert.rejects(client.result('never', { signal, timeout: 1 }), { code: 'ERR_TIMEOUT' })
  assert.equal(listeners(signal), 0)
  abort.abort()
  assert.equal(await client.call('good'), 'good')
})

test('what is no AbortSignal, but something like it, harms nobody but its own call', async (t) => {
  const client = open(t, redis.url)
  client.work({ good: () => 'good' })
  const like = (fields) => ({ aborted: false, addEventListener() {}, removeEventListener() {}, ...fields })
  const refused = { name: 'ArgsError', message: /signal must be an AbortSignal/ }
  for (const signal of [{ aborted: false, addEventListener() {} }, 'abort', 5, {}]) {
    await assert.rejects(client.call('good', {}, { signal }), refused)
  }
  const fails = () => {
    throw new Error('mine')
  }
  await assert.rejects(client.call('good', {}, { signal: like({ addEventListener: fails }) }), {
    message: 'mine',
  })
  assert.equal(client.health().pending, 0)
  const odd = client.call('good', {}, { signal: like({ removeEventListener: fails }) })
  const others = Array.from({ length: 10 }, () => client.call('good'))
  assert.deepEqual(new Set(await Promise.all([odd, ...others])), new Set(['good']))
  assert.equal(client.health().pending, 0)
})

test('timeout and signal together: whichever comes first', async (t) => {
  const client = open(t, redis.url)
  const abort = new AbortController()
  const { signal } = abort
  await assert.rejects(client.result('x', { timeout: 1, signal }), { code: 'ERR_TIMEOUT' })
  const waited = outcome(client.result('x', { timeout: 60_000, signal }))
  abort.abort('first')
  assert.equal((await waited).error, 'first')
})

test('a signal may be given to any number of calls: that is no leak, and no warning', async (t) => {
  const client = open(t, redis.url)
  const other = open(t, redis.url)
  const warnings = []
  const warn = (warning) => warnings.push(warning)
  process.on('warning', warn)
  t.after(() => process.off('warning', warn))
  const abort = new AbortController()
  const { signal } = abort
  const waits = Array.from({ length: 100 }, (_, n) =>
    outcome((n % 2 ? client : other).result(`n${n}`, { signal, timeout: n < 50 ? 5 : 60_000 })),
  )
  const early = await Promise.all(waits.slice(0, 50))
  assert.ok(early.every(({ error }) => error.code === 'ERR_TIMEOUT'))
  assert.ok(listeners(signal) > 0)
  abort.abort('all of them')
  const late = await Promise.all(waits.slice(50))
  assert.ok(late.every(({ error }) => error === 'all of them'))
  assert.equal(listeners(signal), 0)
  assert.deepEqual(warnings, [])
})

test('what is no AbortSignal is refused', async (t) => {
  const client = open(t, redis.url)
  for (const signal of [5, {}, 'abort', new AbortController()]) {
    await assert.rejects(client.call('x', {}, { signal }), { code: 'ERR_ARGS', message: /AbortSignal/ })
    await assert.rejects(client.result('x', { signal }), { code: 'ERR_ARGS', message: /AbortSignal/ })
  }
})

test('a finished wait leaves nothing behind, however it ended', async (t) => {
  const client = open(t, redis.url)
  client.work({
    good: () => 1,
    bad() {
      throw new Error('bad')
    },
  })
  const abort = new AbortController()
  const all = Promise.allSettled([
    ...Array.from({ length: 100 }, () => client.call('good')),
    ...Array.from({ length: 100 }, () => client.call('bad')),
    ...Array.from({ length: 100 }, () => client.call('nobody')),
    ...Array.from({ length: 100 }, (_, n) => client.result(`never${n}`, { timeout: 5 })),
    ...Array.from({ length: 100 }, (_, n) => client.result(`aborted${n}`, { signal: abort.signal })),
    ...Array.from({ length: 100 }, () => client.enqueue('good')),
    ...Array.from({ length: 100 }, () => client.get('nothing')),
    ...Array.from({ length: 100 }, () => client.call('good', [])),
  ])
  assert.equal(client.health().pending, 700)
  abort.abort()
  const fulfilled = (await all).filter(({ status }) => status === 'fulfilled')
  assert.equal(fulfilled.length, 300)
  assert.equal(client.health().pending, 0)
  assert.equal(listeners(abort.signal), 0)
})

test('ten thousand open waits take no timer each, and all are settled', async (t) => {
  const client = open(t, redis.url)
  // Whatever an open client needs, it has by now.
  const first = outcome(client.result('first', { timeout: 60_000 }))
  await client.get('round trip')
  const before = process.getActiveResourcesInfo().length

  const ids = Array.from({ length: 10_000 }, (_, n) => `n${n}`)
  const waits = ids.map((id) => client.result(id, { timeout: 60_000 }))
  assert.equal(client.health().pending, 10_001)
  const after = process.getActiveResourcesInfo().length
  assert.ok(after <= before + 2, `${before} active resources before, ${after} after`)

  client.work({ n: ({ n }) => n }, { concurrency: 100 })
  await client.enqueueMany(ids.map((id, n) => ({ function: 'n', args: { n }, id })))
  assert.deepEqual(
    await Promise.all(waits),
    ids.map((_, n) => n),
  )
  assert.equal(client.health().pending, 1)
  await client.close()
  await first
})

test('a task that is deleted while it is waited for ends the wait', async (t) => {
  const client = open(t, redis.url)
  const task = await client.enqueue('x', {}, { id: 'gone' })
  const waits = [outcome(task.result()), outcome(client.result('gone', { timeout: 60_000 }))]
  const called = outcome(client.call('x', {}, { id: 'called' }))
  for (const id of ['gone', 'called']) await attached(client, raw, id)
  await raw.send('DEL', `${client.queue}:task:gone`, `${client.queue}:task:called`)
  for (const { error } of await Promise.all([...waits, called])) {
    assert.equal(error.code, 'ERR_TASK_FAILED')
    assert.match(error.reason, /deleted|expired/)
  }
  assert.equal(client.health().pending, 0)
})

test('a task that expires while it is waited for ends the wait', async (t) => {
  const client = open(t, redis.url)
  const task = await client.enqueue('x', {}, { id: 'gone' })
  const waited = outcome(task.result())
  await attached(client, raw, 'gone')
  await raw.send('PEXPIRE', `${client.queue}:task:gone`, 1)
  assert.match((await waited).error.reason, /deleted|expired/)
})

test('a wait for what is no task but another key goes on to its timeout, and leaves the key alone', async (t) => {
  const client = open(t, redis.url)
  await raw.send('SET', `${client.queue}:task:text`, 'mine')
  await assert.rejects(client.result('text', { timeout: 100 }), { code: 'ERR_TIMEOUT' })
  assert.deepEqual(await snapshot(raw, client.queue), { 'task:text': { string: 'mine' } })
})
