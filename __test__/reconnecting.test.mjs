// A connection that is lost, closed or silent, whichever it is and whenever it happens, is opened again: clients and
// workers say so, and nothing is lost or run twice.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { untilConnections } from './support/connections.mjs'
import { waitFor, within, withOwnRedis, withRedis } from './support/index.mjs'
import { gate, open, until } from './support/open.mjs'
import { startProxy } from './support/proxy.mjs'
import { finishedTask, ids, state } from './support/state.mjs'

const redis = await withRedis()

/** A server of the test's own, whose connections are only this test's, and a worker that counts its runs. */
async function start(t, handlers = {}, options = {}) {
  const own = await withOwnRedis(t)
  const client = open(t, own.url)
  const runs = []
  const run = ({ n }, { id }) => {
    runs.push(id)
    return n
  }
  const worker = client.work({ run, ...handlers }, options)
  assert.equal(await client.call('run', { n: 0 }, { id: 'first' }), 0)
  await untilConnections(own.raw, ALL)
  return { raw: own.raw, client, worker, runs }
}

const ALL = ['blocked', 'commands', 'messages']

/** Ends the connections of one kind; gives how many that were. */
const kill = {
  commands: async (raw) => {
    const killed = await listed(raw, (flags) => !flags.includes('P') && !flags.includes('b'))
    return await killIds(raw, killed)
  },
  blocked: async (raw) => await killIds(raw, await listed(raw, (flags) => flags.includes('b'))),
  messages: (raw) => raw.send('CLIENT', 'KILL', 'TYPE', 'pubsub'),
  all: async (raw) => {
    const [normal, pubsub] = await raw.pipeline([
      ['CLIENT', 'KILL', 'TYPE', 'normal'],
      ['CLIENT', 'KILL', 'TYPE', 'pubsub'],
    ])
    return normal + pubsub
  },
}

async function listed(raw, test) {
  const list = (await raw.send('CLIENT', 'LIST')).trim().split('\n')
  const clients = list.map((line) => Object.fromEntries(line.split(' ').map((field) => field.split('='))))
  return clients.filter(({ resp, flags }) => resp === '3' && test(flags)).map(({ id }) => id)
}

async function killIds(raw, found) {
  const killed = await Promise.all(found.map((id) => raw.send('CLIENT', 'KILL', 'ID', id)))
  return killed.reduce((sum, count) => sum + count, 0)
}

for (const kind of Object.keys(kill)) {
  test(`while there is nothing to do (${kind}): the next call is as any other`, async (t) => {
    const { raw, client, runs } = await start(t)
    const killed = await kill[kind](raw)
    assert.equal(killed, kind === 'all' ? 3 : 1)
    assert.equal(await client.call('run', { n: 1 }, { id: 'next' }), 1)
    assert.deepEqual(runs, ['first', 'next'])
    await untilConnections(raw, ALL)
  })

  test(`while tasks run and results are awaited (${kind}): each ran once, and its result arrives`, async (t) => {
    const held = gate()
    const begun = []
    const hold = (_, { id }) => {
      begun.push(id)
      return held.opened
    }
    const { raw, client, worker } = await start(t, { hold }, { concurrency: 4 })
    const names = ['a', 'b', 'c', 'd']
    const results = names.map((id) => client.call('hold', {}, { id }))
    await until(() => worker.health().running === 4, 'all run')
    // With all slots taken nothing waits for more, on a connection of its own or otherwise.
    await kill[kind](raw)
    held.open('done')
    assert.deepEqual(await within(Promise.all(results)), Array(4).fill('done'))
    assert.deepEqual(begun, names)
    await untilConnections(raw, ALL)
    const found = await state(raw, client.queue)
    delete found['task:first']
    const done = finishedTask('hold', { 'result-value': '"done"' })
    assert.deepEqual(found, Object.fromEntries(names.map((id) => [`task:${id}`, done])))
    assert.equal(worker.health().lost, 0)
  })

  test(`again and again under load (${kind}): each call has its own result, and each task ran once`, async (t) => {
    const { raw, client, runs } = await start(t, {}, { concurrency: 20 })
    const results = []
    let killed = 0
    let next = 1
    const caller = async () => {
      while (next <= 1_000) {
        const n = next++
        results[n - 1] = await client.call('run', { n }, { id: `n-${n}` })
        if (n % 100 === 0) killed += await kill[kind](raw)
      }
    }
    await within(Promise.all(Array.from({ length: 50 }, caller)), 25_000)
    assert.deepEqual(
      results,
      results.map((_, index) => index + 1),
    )
    assert.ok(killed > 0 || kind === 'blocked')
    assert.equal(runs.length, 1_001)
    assert.equal(new Set(runs).size, 1_001)
    assert.deepEqual(await ids(raw, client.queue, 'executing'), [])
    await untilConnections(raw, ALL)
  })
}

test('what Redis forgets of scripts is invisible', async (t) => {
  const { raw, client, runs } = await start(t, { fail: () => Promise.reject(new Error('again')) })
  let next = 1
  const results = []
  const caller = async () => {
    while (next <= 600) {
      const n = next++
      if (n % 20 === 0) await raw.send('SCRIPT', 'FLUSH')
      results[n - 1] = await client.call('run', { n })
    }
  }
  await within(Promise.all(Array.from({ length: 20 }, caller)))
  assert.deepEqual(
    results,
    results.map((_, index) => index + 1),
  )
  assert.equal(runs.length, 601)

  // The other steps: a retry, a delay, a cancellation, a look at a task, a worker's end.
  const flush = () => raw.send('SCRIPT', 'FLUSH')
  await flush()
  await assert.rejects(client.call('fail', {}, { attempts: 3, backoff: [1] }), { reason: 'again' })
  const late = await client.enqueue('run', { n: 7 }, { delay: 60_000 })
  await flush()
  assert.equal(await late.cancel(), true)
  await flush()
  await assert.rejects(late.result(), { code: 'ERR_CANCELLED' })
  await flush()
  await client.close()
  assert.deepEqual(await ids(raw, client.queue, 'pending'), [])
})

/** A client, and perhaps a worker, behind a network that fails; the test itself goes straight to Redis. */
async function behindProxy(t) {
  const proxy = await startProxy(redis.url)
  const client = open(t, proxy.url, { commandTimeout: 30_000 })
  const straight = open(t, redis.url, { queue: client.queue })
  t.after(() => proxy.stop())
  return { proxy, client, straight }
}

test('a network that is silent is noticed within seconds, and calls made meanwhile are through after it', async (t) => {
  const { proxy, client, straight } = await behindProxy(t)
  const ran = []
  straight.work({ run: ({ n }, { id }) => ran.push(id) && n })
  const heard = []
  for (const event of ['connected', 'disconnected']) client.on(event, (why) => heard.push([event, why]))
  assert.equal(await client.call('run', { n: 1 }, { id: 'before' }), 1)
  assert.deepEqual(client.health(), { status: 'connected', pending: 0 })

  const disconnected = waitFor(client, 'disconnected')
  proxy.pull()
  const called = client.call('run', { n: 2 }, { id: 'called' })
  const enqueued = client.enqueue('run', { n: 3 }, { id: 'enqueued' })
  await disconnected
  const { status, reason, pending } = client.health()
  assert.deepEqual({ status, pending }, { status: 'connecting', pending: 2 })
  assert.match(reason, /Redis has not answered for/)

  const connected = waitFor(client, 'connected')
  proxy.plug()
  await connected
  assert.equal(await called, 2)
  assert.equal((await enqueued).created, true)
  assert.equal(await straight.result('enqueued'), 3)
  assert.deepEqual(ran, ['before', 'called', 'enqueued'])
  assert.deepEqual(client.health(), { status: 'connected', pending: 0 })
  // A machine that stalls for a second makes such a pair more.
  assert.match(heard.map(([event]) => event).join(), /^connected(,disconnected,connected)+$/)
})

test('a worker behind a network that is silent finishes what it runs, and takes what has come, after it', async (t) => {
  const { proxy, client, straight } = await behindProxy(t)
  const held = gate()
  const ran = []
  const worker = client.work({
    hold(_, { id }) {
      ran.push(id)
      return held.opened
    },
    run: (_, { id }) => ran.push(id),
  })
  const holding = straight.call('hold', {}, { id: 'held' })
  await until(() => worker.health().running === 1, 'it runs')
  const disconnected = waitFor(client, 'disconnected')
  proxy.pull()
  held.open('done')
  await disconnected
  assert.equal(worker.health().status, 'connecting')
  const missed = straight.call('run', {}, { id: 'missed' })
  const connected = waitFor(client, 'connected')
  proxy.plug()
  await connected
  assert.equal(await holding, 'done')
  assert.equal(await missed, 2)
  assert.deepEqual(ran, ['held', 'missed'])
  assert.equal(worker.health().lost, 0)
  assert.equal(worker.health().status, 'connected')
})

test('a call whose time is up while the network is silent fails with an error that says so', async (t) => {
  const { proxy, client } = await behindProxy(t)
  const hasty = open(t, proxy.url, { queue: client.queue, commandTimeout: 500 })
  await hasty.get('none')
  proxy.pull()
  const calls = [hasty.get('none'), hasty.enqueue('run'), hasty.call('run'), hasty.cancel('none')]
  // Redis did get the connection, and may have got these: the errors say so.
  const expected = { code: 'ERR_CONNECTION' }
  // Before a silent connection would be given up by itself.
  await Promise.all(calls.map((call) => assert.rejects(within(call, 5_000), expected)))
})

test('a value that takes longer to come than a sign of life may is not asked for without end', async (t) => {
  const proxy = await startProxy(redis.url)
  t.after(() => proxy.stop())
  const client = open(t, proxy.url)
  const value = 'x'.repeat(12_000_000)
  await redis.raw.send('HSET', `${client.queue}:task:long`, 'function', 'run', 'state', 'finished')
  await redis.raw.send(
    'HSET',
    `${client.queue}:task:long`,
    'result',
    'successful',
    'result-value',
    `"${value}"`,
  )
  assert.equal(await client.get('none'), null)
  proxy.bytesPerSecond = 2_000_000
  assert.equal((await client.result('long')).length, value.length)
})

test('a network that closes every connection, and lets none through, is told at once, and when it is back', async (t) => {
  const { proxy, client, straight } = await behindProxy(t)
  straight.work({ run: ({ n }) => n })
  assert.equal(await client.call('run', { n: 1 }), 1)
  for (let rounds = 0; rounds < 5; rounds++) {
    const disconnected = waitFor(client, 'disconnected')
    proxy.cut()
    const [why] = await disconnected
    assert.ok(why.length > 0)
    assert.equal(client.health().status, 'connecting')
    const called = client.call('run', { n: rounds })
    const connected = waitFor(client, 'connected')
    proxy.plug()
    await connected
    assert.equal(await called, rounds)
  }
})
