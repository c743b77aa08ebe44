// Tasks that a worker takes before it has slots for them: so that quick handlers need not wait for Redis, and without
// harm where they are not quick.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { waitFor, within, withRedis } from './support/index.mjs'
import { gate, open, until } from './support/open.mjs'
import { program } from './support/program.mjs'
import { finishedTask, ids, state } from './support/state.mjs'
import { untilSync } from './support/until.mjs'
import { watching } from './support/watching.mjs'

const redis = await withRedis()
const { raw } = redis

const many = (count, name, more) =>
  Array.from({ length: count }, (_, n) => ({ function: name, id: `${name}-${n}`, ...more }))

/** A worker with one slot, and what became of a task that held it after many that did not, with more behind it. */
async function heldUp(t) {
  const client = open(t, redis.url)
  const held = gate()
  const order = []
  let running = 0
  const begin = (id) => {
    order.push(id)
    running++
    assert.equal(running, 1)
  }
  let aheadOfHeld = 0
  const worker = client.work(
    {
      async quick(_, { id }) {
        begin(id)
        await undefined
        running--
      },
      async hold(_, { id }) {
        begin(id)
        aheadOfHeld = worker.health().ready
        await held.opened
        running--
      },
    },
    { concurrency: 1 },
  )
  const before = many(2_000, 'quick')
  const behind = many(100, 'quick').map((task, n) => ({ ...task, id: `behind-${n}` }))
  await client.enqueueMany([...before, { function: 'hold', id: 'held' }, ...behind])
  await until(() => order.includes('held'), 'the slot is held')
  const expected = [...before.map(({ id }) => id), 'held']
  assert.deepEqual(order, expected, 'one at a time, first in first out')
  return { client, worker, order, held, behind: behind.map(({ id }) => id), aheadOfHeld }
}

/** How much is taken ahead depends on how quick this machine is just now: until it was something. */
async function untilTakenAhead(t) {
  for (let rounds = 0; rounds < 20; rounds++) {
    const found = await heldUp(t)
    if (found.aheadOfHeld > 0) return found
    found.held.open()
  }
  assert.fail('nothing was ever taken ahead')
}

test('what was taken ahead of a slot that is held goes back, first in line and in order, and runs elsewhere', async (t) => {
  const { client, worker, order, held, behind } = await untilTakenAhead(t)
  await until(async () => (await raw.send('LLEN', `${client.queue}:executing`)) === 1, 'the rest is back')
  assert.deepEqual(await ids(raw, client.queue, 'executing'), ['held'])
  assert.deepEqual(await ids(raw, client.queue, 'pending'), behind)
  assert.equal(worker.health().ready, 0)
  const [found] = Object.entries(await state(raw, client.queue)).filter(([name]) => name === 'task:behind-0')
  assert.deepEqual(found[1].hash, {
    function: 'quick',
    args: '{}',
    state: 'pending',
    'pending-created': '<time>',
  })

  const other = open(t, redis.url, { queue: client.queue })
  const elsewhere = []
  other.work({ quick: (_, { id }) => elsewhere.push(id) }, { concurrency: 1 })
  await Promise.all(behind.map((id) => client.result(id)))
  assert.deepEqual(elsewhere, behind)
  held.open()
  await client.result('held')
  assert.equal(order.at(-1), 'held', 'the first worker has begun none of them')
})

test('a worker that was held up goes on where it was, in order, once its slot is free', async (t) => {
  const { client, order, held, behind } = await untilTakenAhead(t)
  held.open()
  await Promise.all(behind.map((id) => client.result(id)))
  assert.deepEqual(order.slice(order.indexOf('held') + 1), behind)
})

test('a worker that is closed with tasks taken ahead hands all of them back, in order', async (t) => {
  const { client, worker, held, behind } = await untilTakenAhead(t)
  const closed = worker.close()
  held.open()
  await closed
  assert.deepEqual(await ids(raw, client.queue, 'executing'), [])
  assert.deepEqual(await ids(raw, client.queue, 'pending'), behind)
})

test('all slots are filled although the event loop was blocked, while no more than three batches waited for it', async (t) => {
  const client = open(t, redis.url)
  // So many that the heartbeats alone would not bring them in time.
  const concurrency = 3_000
  const held = gate()
  let first = true
  const worker = client.work(
    {
      hold() {
        if (first) {
          first = false
          const { running } = worker.health()
          untilSync(redis, ['LLEN', `${client.queue}:executing`], String(running + 3 * 64))
        }
        return held.opened
      },
    },
    { concurrency },
  )
  const tasks = await client.enqueueMany(many(concurrency, 'hold'))
  await until(() => worker.health().running === concurrency, 'all slots are taken')
  held.open('done')
  await Promise.all(tasks.map((task) => task.result()))
})

const DEADLY = `
  const client = dothis(options.url, options.queue)
  client.work({
    quick: async () => {},
    die: () => process.kill(process.pid, 'SIGKILL'),
  }, { concurrency: 1, heartbeatTimeout: 1000, ...options.worker })
`

/** Puts quick tasks first in line, after which a worker knows that it is quick. */
async function warmUp(client, round) {
  const count = 1_000
  await client.enqueueMany(many(count, 'quick', {}).map((task) => ({ ...task, id: `${round}-${task.id}` })))
  const pending = `${client.queue}:pending`
  await raw.pipeline(Array.from({ length: count }, () => ['LMOVE', pending, pending, 'LEFT', 'RIGHT']))
}

test('what a worker had taken ahead when it died shares one death with it at most, and is run', async (t) => {
  const client = open(t, redis.url)
  const { worker: watch, open: letGo } = await watching(client)
  const behind = many(100, 'quick').map((task, n) => ({ ...task, id: `behind-${n}` }))
  await client.enqueueMany([{ function: 'die', id: 'deadly' }, ...behind])
  for (let deaths = 1; deaths <= 3; deaths++) {
    await warmUp(client, deaths)
    const recovered = waitFor(watch, 'recovered', 20_000)
    const child = program(DEADLY, { url: redis.url, queue: client.queue })
    assert.equal((await within(child.exited)).signal, 'SIGKILL')
    await recovered
    await until(async () => (await ids(raw, client.queue, 'executing')).length === 1, 'all went back')
    const found = await state(raw, client.queue)
    assert.equal(found['task:deadly'].hash.lost, String(deaths))
    for (const { id } of behind) {
      const { lost = '0' } = found[`task:${id}`].hash
      assert.ok(Number(lost) <= 1, `${id} shares ${lost} deaths`)
    }
  }
  const last = open(t, redis.url, { queue: client.queue })
  last.work({ quick: async () => {} })
  await Promise.all(behind.map(({ id }) => last.result(id)))
  letGo()
})

test('with maxDeliveries 1 nothing is taken ahead, so that a death is the dead task’s alone', async (t) => {
  const client = open(t, redis.url)
  const { worker: watch } = await watching(client, { maxDeliveries: 1 })
  const behind = many(100, 'quick').map((task, n) => ({ ...task, id: `behind-${n}` }))
  await client.enqueueMany([{ function: 'die', id: 'deadly' }, ...behind])
  await warmUp(client, 'first')
  const recovered = waitFor(watch, 'recovered', 20_000)
  const options = { url: redis.url, queue: client.queue, worker: { maxDeliveries: 1 } }
  const child = program(DEADLY, options)
  assert.equal((await within(child.exited)).signal, 'SIGKILL')
  assert.deepEqual(await recovered, [{ tasks: 0, givenUp: 1 }])
  assert.deepEqual(await ids(raw, client.queue, 'executing'), ['watch'])
  assert.deepEqual(
    await ids(raw, client.queue, 'pending'),
    behind.map(({ id }) => id),
  )
  const { hash } = (await state(raw, client.queue))['task:deadly']
  const failed = { result: 'failed', 'error-reason': hash['error-reason'], lost: '1' }
  assert.deepEqual(hash, finishedTask('die', failed).hash)
})
