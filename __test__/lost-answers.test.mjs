// A call that was carried out although its answer was lost is made again, and does nothing twice.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, within, withRedis } from './support/index.mjs'
import { gate, open, until } from './support/open.mjs'
import { startProxy } from './support/proxy.mjs'
import { finishedTask, ids, pendingTask, state } from './support/state.mjs'

const redis = await withRedis()
const { raw } = redis

/** Two clients of one queue: one goes through a network that fails, the other straight to Redis. */
async function two(t) {
  const proxy = await startProxy(redis.url)
  const behind = open(t, proxy.url, { commandTimeout: 20_000 })
  const { queue } = behind
  const straight = open(t, redis.url, { queue })
  t.after(() => proxy.stop())
  /** The next request that names all of these gets no answer. */
  const lose = (...names) => within(proxy.loseAnswer((text) => names.every((name) => text.includes(name))))
  return { proxy, queue, behind, straight, lose }
}

/** A worker behind the proxy, which has run something already. */
async function busy(t, handlers, options) {
  // With one slot, which is taken while its task runs, the next exchange is the one that brings the outcome.
  const network = await two(t)
  const worker = network.behind.work({ warm: () => 'up', ...handlers }, options)
  assert.equal(await network.straight.call('warm', {}, { id: 'warm' }), 'up')
  await raw.send('DEL', `${network.queue}:task:warm`)
  const lost = []
  worker.on('lost', (what) => lost.push(what))
  const loseExchange = () => network.lose(`${network.queue}:executing`, `:worker:${worker.id}\r\n`)
  return { ...network, worker, lost, loseExchange }
}

test('enqueue: the tasks are there once, in order, and count as created', async (t) => {
  const { proxy, queue, behind, lose } = await two(t)
  await behind.enqueue('x', {}, { id: 'before' })
  const lost = lose(`${queue}:task:`, 'the one')
  const tasks = ['a', 'b', 'a'].map((id) => behind.enqueue('x', { which: 'the one' }, { id }))
  await lost
  const args = '{"which":"the one"}'
  const carriedOut = await state(raw, queue)
  assert.deepEqual(carriedOut, {
    pending: { list: ['b', 'a', 'before'] },
    'task:a': pendingTask('x', { args }),
    'task:b': pendingTask('x', { args }),
    'task:before': pendingTask('x'),
  })
  proxy.plug()
  assert.deepEqual(
    (await Promise.all(tasks)).map(({ created }) => created),
    [true, true, false],
  )
  assert.deepEqual(await state(raw, queue), carriedOut)
})

test('enqueue: a task that has run and was removed by then is not put in again', async (t) => {
  const { proxy, queue, behind, straight, lose } = await two(t)
  await behind.enqueue('x', {}, { id: 'before' })
  const lost = lose(`${queue}:task:`, 'the one')
  const task = behind.enqueue('x', { which: 'the one' }, { id: 'once', removeOnSuccess: true })
  await lost
  const ran = []
  straight.work({ x: (_, { id }) => ran.push(id) })
  await straight.result('before')
  await until(async () => !(await raw.send('EXISTS', `${queue}:task:once`)), 'it has run and is removed')
  proxy.plug()
  assert.equal((await task).created, true)
  await straight.call('x', {}, { id: 'after' })
  assert.deepEqual(ran, ['before', 'once', 'after'])
  assert.equal(await raw.send('EXISTS', `${queue}:task:once`), 0)
})

test('enqueue: a delayed task starts once', async (t) => {
  const { proxy, queue, behind, straight, lose } = await two(t)
  await behind.enqueue('x', {}, { id: 'before' })
  const lost = lose(`${queue}:task:`, 'the one')
  const task = behind.enqueue('x', { which: 'the one' }, { id: 'late', delay: 100, expires: 60_000 })
  await lost
  const ran = []
  straight.work({ x: (_, { id }) => ran.push(id) })
  await straight.result('late')
  proxy.plug()
  assert.equal((await task).created, true)
  assert.equal(await raw.send('EXISTS', `${queue}:due`), 0)
  await straight.call('x', {}, { id: 'after' })
  assert.deepEqual(ran, ['before', 'late', 'after'])
})

test('call: its result comes although both answers were lost', async (t) => {
  const { proxy, queue, behind, straight, lose } = await two(t)
  await behind.enqueue('x', {}, { id: 'before' })
  const lost = lose(`${queue}:task:`, 'the one')
  const called = behind.call('x', { which: 'the one' }, { id: 'called' })
  await lost
  let runs = 0
  straight.work({ x: () => ++runs })
  await until(async () => (await straight.get('called')).state === 'finished', 'it has run, unheard')
  proxy.plug()
  assert.equal(await called, 2)
  assert.equal(runs, 2)
})

test('cancel: it was this call that ended the task', async (t) => {
  const { proxy, queue, behind, lose } = await two(t)
  await behind.enqueue('x', {}, { id: 'unwanted' })
  await behind.cancel('another') // From here on Redis knows the script.
  const lost = lose(`${queue}:cmd`)
  const cancelled = behind.cancel('unwanted', 'not needed')
  await lost
  const carriedOut = await state(raw, queue)
  proxy.plug()
  assert.equal(await cancelled, true)
  assert.deepEqual(await state(raw, queue), carriedOut)
  assert.equal((await behind.get('unwanted')).reason, 'cancelled: not needed')
  assert.equal(await behind.cancel('unwanted'), false)
})

test('cancel: a task that runs is aborted once, for the reason that was given', async (t) => {
  const { proxy, queue, behind, straight, lose } = await two(t)
  const aborted = []
  const held = gate()
  straight.work({
    x(_, { signal }) {
      signal.addEventListener('abort', () => aborted.push(signal.reason.message))
      return held.opened
    },
  })
  await behind.enqueue('x', {}, { id: 'running' })
  await until(async () => (await straight.get('running')).state === 'executing', 'it runs')
  await behind.cancel('another')
  const lost = lose(`${queue}:cmd`)
  const cancelled = behind.cancel('running', 'not needed')
  await lost
  await until(() => aborted.length > 0, 'it is aborted')
  proxy.plug()
  assert.equal(await cancelled, true)
  held.open()
  await assert.rejects(straight.result('running'), { code: 'ERR_CANCELLED', message: /not needed/ })
  assert.equal(aborted.length, 1)
  assert.match(aborted[0], /not needed/)
})

test('exchange: what was taken is handed out once, and first', async (t) => {
  const ran = []
  const { proxy, queue, straight, lost } = await busy(t, { x: (_, { id }) => ran.push(id) })
  // It has been asked for already: the exchange follows a wait.
  const cut = within(proxy.dropAnswer((answer) => answer.includes('$1\r\na\r\n')))
  await straight.enqueueMany(['a', 'b', 'c'].map((id) => ({ function: 'x', id })))
  await cut
  // All of them, or the one that came first: whatever it was is executing, and nobody knows.
  const executing = await ids(raw, queue, 'executing')
  assert.equal(executing[0], 'a')
  assert.deepEqual(ran, [])
  proxy.plug()
  await Promise.all(['a', 'b', 'c'].map((id) => straight.result(id)))
  assert.deepEqual(ran, ['a', 'b', 'c'])
  assert.deepEqual(lost, [])
  assert.deepEqual(Object.keys(await state(raw, queue)), ['task:a', 'task:b', 'task:c'])
})

test('exchange: an outcome is written and told once, and what was taken with it is not lost', async (t) => {
  const gates = { a: gate(), b: gate(), c: gate() }
  const ran = []
  const x = (_, { id }) => {
    ran.push(id)
    return gates[id].opened
  }
  // With one delivery only, nothing is taken ahead: how much that would be depends on how quick this machine is.
  const options = { concurrency: 1, maxDeliveries: 1 }
  const { proxy, queue, straight, worker, loseExchange, lost } = await busy(t, { x }, options)
  const told = []
  const listener = await listen(t, `${queue}:results`, told)
  await straight.enqueueMany(['a', 'b', 'c'].map((id) => ({ function: 'x', id })))
  await until(() => worker.health().running === 1, 'the first one runs')
  const cut = loseExchange()
  gates.a.open('the first')
  await cut
  const carriedOut = await state(raw, queue)
  const taken = { state: 'executing', 'executing-created': '<time>', 'owner:<owner>': '' }
  assert.deepEqual(carriedOut, {
    executing: { list: ['b'] },
    pending: { list: ['c'] },
    'task:a': finishedTask('x', { 'result-value': '"the first"' }),
    'task:b': pendingTask('x', taken),
    'task:c': pendingTask('x'),
  })
  const finished = await raw.send('HGET', `${queue}:task:a`, 'finished-created')

  proxy.plug()
  await until(() => ran.length === 2, 'the second one runs')
  assert.deepEqual(await state(raw, queue), carriedOut)
  assert.equal(await raw.send('HGET', `${queue}:task:a`, 'finished-created'), finished)
  for (const id of ['b', 'c']) gates[id].open(id)
  await straight.result('c')
  await listener.send('PING') // All that was published before has arrived with its answer.
  assert.deepEqual(
    told,
    ['a', 'b', 'c'].map((id) => `${queue}:task:${id}`),
  )
  assert.deepEqual(ran, ['a', 'b', 'c'])
  assert.deepEqual(lost, [])
})

test('exchange: a task that is removed with its success does not count as lost', async (t) => {
  const held = gate()
  const { proxy, queue, straight, worker, loseExchange, lost } = await busy(
    t,
    { x: () => held.opened },
    { concurrency: 1 },
  )
  await straight.enqueue('x', {}, { id: 'a', removeOnSuccess: true })
  await until(() => worker.health().running === 1, 'it runs')
  const cut = loseExchange()
  held.open('done')
  await cut
  assert.deepEqual(await state(raw, queue), {})
  proxy.plug()
  assert.equal(await straight.call('warm'), 'up')
  assert.deepEqual([lost, worker.health().lost], [[], 0])
})

test('exchange: an attempt that failed counts once', async (t) => {
  const attempts = []
  const held = gate()
  const x = async (_, { attempt }) => {
    attempts.push(attempt)
    await held.opened
    if (attempt < 3) throw new Error(`failure ${attempt}`)
    return 'at last'
  }
  const { proxy, queue, straight, worker, loseExchange } = await busy(t, { x }, { concurrency: 1 })
  await straight.enqueue('x', {}, { id: 'a', attempts: 3 })
  await until(() => worker.health().running === 1, 'it runs')
  const cut = loseExchange()
  held.open()
  await cut
  proxy.plug()
  assert.equal(await straight.result('a'), 'at last')
  assert.deepEqual(attempts, [1, 2, 3])
  const { errors } = await straight.get('a')
  assert.deepEqual(
    errors.map(({ attempt, reason }) => ({ attempt, reason })),
    [
      { attempt: 1, reason: 'failure 1' },
      { attempt: 2, reason: 'failure 2' },
    ],
  )
  assert.deepEqual(Object.keys(await state(raw, queue)), ['task:a'])
})

test('close: what was handed back is in the queue once', async (t) => {
  const { proxy, queue, straight, worker, lose } = await busy(t, { x: () => new Promise(() => {}) })
  await loadRelease(t)
  await straight.enqueueMany(['a', 'b'].map((id) => ({ function: 'x', id })))
  await until(() => worker.health().running === 2, 'both run')
  const cut = lose(`${queue}:executing`, `:worker:\r\n`)
  const closed = worker.close({ timeout: 0 })
  await cut
  const carriedOut = {
    pending: { list: ['b', 'a'] },
    'task:a': pendingTask('x'),
    'task:b': pendingTask('x'),
  }
  assert.deepEqual(await state(raw, queue), carriedOut)
  proxy.plug()
  await closed
  assert.deepEqual(await state(raw, queue), carriedOut)
})

/** Once a worker has handed something back, Redis knows the script. */
async function loadRelease(t) {
  const client = open(t, redis.url)
  const worker = client.work({ x: () => new Promise(() => {}) })
  await client.enqueue('x')
  await until(() => worker.health().running === 1, 'it runs')
  await worker.close({ timeout: 0 })
}

async function listen(t, channel, told) {
  const listener = await connect(redis.url)
  t.after(() => listener.close())
  listener.on('message', (message) => told.push(message))
  await listener.subscribe(channel)
  return listener
}
