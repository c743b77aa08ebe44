// A request that a network holds back, and delivers after the call was given up there and made again, does nothing.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { waitFor, withRedis } from './support/index.mjs'
import { gate, open, until } from './support/open.mjs'
import { startProxy } from './support/proxy.mjs'
import { ids, pendingTask, state, takeOver } from './support/state.mjs'

const redis = await withRedis()
const { raw } = redis

async function two(t) {
  const proxy = await startProxy(redis.url)
  const behind = open(t, proxy.url, { commandTimeout: 30_000 })
  const straight = open(t, redis.url, { queue: behind.queue })
  t.after(() => proxy.stop())
  return { proxy, behind, straight, queue: behind.queue }
}

/** Delivers what was kept, until Redis has answered all of it. */
async function deliver(proxy, queue) {
  assert.ok(proxy.deliver() > 0)
  const quiet = async () => {
    const list = (await raw.send('CLIENT', 'LIST')).trim().split('\n')
    return list.every((line) => line.includes(' qbuf=0 ') || line.includes('cmd=client'))
  }
  await raw.send('EXISTS', queue)
  await until(quiet, 'Redis has read all')
}

test('an enqueue that arrives late does not put in again what has run and was removed', async (t) => {
  const { proxy, behind, straight, queue } = await two(t)
  await behind.enqueue('run', {}, { id: 'first' })
  const ran = []
  const reconnected = waitFor(behind, 'disconnected').then(() => waitFor(behind, 'connected'))
  proxy.keep()
  const plain = behind.enqueue('run', {}, { id: 'plain', removeOnSuccess: true })
  const late = behind.enqueue('run', {}, { id: 'delayed', removeOnSuccess: true, delay: 1 })
  await reconnected
  assert.deepEqual([(await plain).created, (await late).created], [true, true])
  const worker = straight.work({ run: (_, { id }) => ran.push(id) })
  const gone = async () =>
    (await raw.send('EXISTS', ...['plain', 'delayed'].map((id) => `${queue}:task:${id}`))) === 0
  await until(gone, 'both have run, and are removed')
  await worker.close()
  const before = await state(raw, queue)

  await deliver(proxy, queue)
  assert.deepEqual(await state(raw, queue), before)
  assert.deepEqual(ran.sort(), ['delayed', 'first', 'plain'])
})

test('an exchange that arrives late takes nothing, and writes nothing twice', async (t) => {
  const { proxy, behind, straight, queue } = await two(t)
  const held = gate()
  const again = gate()
  const ran = []
  const worker = behind.work(
    {
      async hold(_, { id }) {
        ran.push(id)
        await (ran.length === 1 ? held : again).opened
        return ran.length
      },
    },
    { concurrency: 1 },
  )
  await straight.enqueue('hold', {}, { id: 'a' })
  await until(() => worker.health().running === 1, 'the first one runs')
  const reconnected = waitFor(behind, 'disconnected').then(() => waitFor(behind, 'connected'))
  proxy.keep()
  held.open() // Its outcome, and the wish for another task, are what arrives late.
  await reconnected
  assert.equal(await straight.result('a'), 1)
  // With this one its slot is taken; what the late exchange would take is nobody's.
  await straight.enqueueMany(['b', 'c', 'd'].map((id) => ({ function: 'hold', id })))
  await until(() => worker.health().running === 1, 'the second one runs')
  const before = await state(raw, queue)
  assert.deepEqual(before.executing, { list: ['b'] })

  await deliver(proxy, queue)
  assert.deepEqual(await state(raw, queue), before)
  assert.deepEqual(before['task:c'], pendingTask('hold'))
  again.open()
  await Promise.all(['b', 'c', 'd'].map((id) => straight.result(id)))
  assert.deepEqual(ran, ['a', 'b', 'c', 'd'])
  assert.deepEqual(await ids(raw, queue, 'executing'), [])
})

test('what a worker handed back late stays where it is by then', async (t) => {
  const { proxy, behind, straight, queue } = await two(t)
  const worker = behind.work({ hold: () => new Promise(() => {}) })
  await straight.enqueue('hold', {}, { id: 'a' })
  await until(() => worker.health().running === 1, 'it runs')
  proxy.keep()
  // Else it might just manage to hand back over another connection in its last moment.
  proxy.refuse()
  await assert.rejects(worker.close({ timeout: 0 }), { code: 'ERR_CONNECTION' })
  proxy.plug()
  const taken = (await state(raw, queue))['task:a'].hash
  assert.equal(taken.state, 'executing')
  await takeOver(raw, queue, 'a')
  const before = await state(raw, queue)
  await deliver(proxy, queue)
  assert.deepEqual(await state(raw, queue), before)
})
