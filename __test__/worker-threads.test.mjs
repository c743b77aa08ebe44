// In worker_threads everything works as in the main thread, and a thread that ends in the middle of its tasks hands
// them back at once.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker as Thread } from 'node:worker_threads'
import dothis from '../index.mjs'
import { untilConnections } from './support/connections.mjs'
import { snapshot, uniqueQueue, within, withOwnRedis, withRedis } from './support/index.mjs'
import { ended, indexPath, program } from './support/program.mjs'

const redis = await withRedis()

/** A thread with a client of its own; it says `ready` once its part has run. */
function thread(t, source, options) {
  const head = `
    const { parentPort, threadId, workerData: options } = require('node:worker_threads')
    const { once } = require('node:events')
    const dothis = require(${JSON.stringify(indexPath)})
    const client = dothis(options.url, options.queue);
  `
  const workerData = { url: redis.url, ...options }
  const made = new Thread(head + source, { eval: true, workerData })
  t.after(() => made.terminate())
  return made
}

async function message(from) {
  const [said] = await within(once(from, 'message'), undefined, 'a message from a thread')
  return said
}

function connected(t) {
  const client = dothis(redis.url, uniqueQueue())
  t.after(() => client.close())
  return client
}

/** What a task has whose run was lost. */
const LOST = { lost: '1', options: '{}' }
const hash = (fields) => ({ hash: { function: 'hold', args: '{}', 'pending-created': '<time>', ...fields } })
const finished = (value, fields) => ({
  ...hash({
    state: 'finished',
    result: 'successful',
    'result-value': JSON.stringify(value),
    'executing-created': '<time>',
    'finished-created': '<time>',
    ...fields,
  }),
  expires: true,
})

const HOLDING = `
  let begun = 0
  const worker = client.work(
    { hold: () => { if (++begun === options.concurrency) parentPort.postMessage('begun'); return new Promise(() => {}) } },
    { concurrency: options.concurrency },
  )
`

/** A thread that is in the middle of the first three of five tasks. */
async function midway(t, client, source = HOLDING) {
  await client.enqueueMany(['a', 'b', 'c', 'd', 'e'].map((id) => ({ function: 'hold', id })))
  const holder = thread(t, source, { queue: client.queue, concurrency: 3 })
  assert.equal(await message(holder), 'begun')
  return holder
}

/** `ran`: what is counted of those that had begun. */
async function assertAllAreHandedBack(client, ran = {}) {
  const ids = ['a', 'b', 'c', 'd', 'e']
  const fields = (id) => ('abc'.includes(id) ? ran : {})
  const all = { pending: { list: [...ids].reverse() } }
  for (const id of ids) all[`task:${id}`] = hash({ state: 'pending', ...fields(id) })
  assert.deepEqual(await snapshot(redis.raw, client.queue), all)

  const worker = client.work({ hold: () => 'elsewhere' })
  for (const id of ids) assert.equal(await client.result(id, { timeout: 10_000 }), 'elsewhere')
  await worker.close()
  const expected = Object.fromEntries(ids.map((id) => [`task:${id}`, finished('elsewhere', fields(id))]))
  assert.deepEqual(await snapshot(redis.raw, client.queue), expected)
}

test('several threads run tasks of one queue at the same time', async (t) => {
  const client = connected(t)
  const source = `
    const go = new Promise((resolve) => {
      parentPort.on('message', async (message) => {
        if (message === 'go') return resolve()
        await client.close()
        parentPort.close()
      })
    })
    client.work({
      async meet() {
        parentPort.postMessage('here')
        await go
        return threadId
      },
    }, { concurrency: 1 })
  `
  const threads = Array.from({ length: 4 }, () => thread(t, source, { queue: client.queue }))
  const here = Promise.all(threads.map(message))
  const calls = threads.map(() => client.call('meet', {}, { timeout: 10_000 }))
  await here // All four tasks are being run, one in each thread.
  for (const each of threads) each.postMessage('go')
  const ids = threads.map(({ threadId }) => threadId)
  assert.deepEqual((await Promise.all(calls)).toSorted(), ids.toSorted())

  const codes = threads.map(async (each) => (await once(each, 'exit'))[0])
  for (const each of threads) each.postMessage('close')
  assert.deepEqual(await within(Promise.all(codes)), [0, 0, 0, 0])
})

test('a thread enqueues, calls and waits', async (t) => {
  const client = connected(t)
  client.work({ add: ({ a, b }) => a + b, fail: () => Promise.reject(new Error('no')) })
  const caller = thread(
    t,
    `(async () => {
      const sum = await client.call('add', { a: 1, b: 5 })
      const task = await client.enqueue('add', { a: 2, b: 5 })
      const failure = await client.call('fail').catch((error) => error)
      parentPort.postMessage([sum, await task.result(), failure instanceof dothis.TaskFailedError, failure.reason])
    })()`,
    { queue: client.queue },
  )
  const exit = once(caller, 'exit')
  assert.deepEqual(await message(caller), [6, 7, true, 'no'])
  // Its client is idle now, and is not closed: a thread ends with its work as a process does.
  assert.deepEqual(await within(exit), [0])
})

test('terminating a thread hands its tasks back at once', async (t) => {
  const client = connected(t)
  const holder = await midway(t, client)
  await within(holder.terminate())
  await assertAllAreHandedBack(client)
})

test('a thread that is terminated while a handler blocks it hands its tasks back, too', async (t) => {
  const client = connected(t)
  const source = `client.work(
    { hold: () => { parentPort.postMessage('begun'); for (;;); } },
    { concurrency: options.concurrency },
  )`
  const holder = await midway(t, client, source)
  await within(holder.terminate())
  await assertAllAreHandedBack(client)
})

test('so does a thread that calls process.exit, or dies of an uncaught exception, and its runs count as lost', async (t) => {
  const exits = connected(t)
  const one = await midway(t, exits, `${HOLDING}; parentPort.once('message', () => process.exit(4))`)
  const exit = once(one, 'exit')
  one.postMessage('now')
  assert.deepEqual(await within(exit), [4])
  await assertAllAreHandedBack(exits, LOST)

  const throws = connected(t)
  const other = await midway(
    t,
    throws,
    `${HOLDING}; parentPort.once('message', () => { throw new Error('on purpose') })`,
  )
  const died = once(other, 'error')
  const gone = new Promise((resolve) => other.once('exit', resolve))
  other.postMessage('now')
  assert.match((await within(died))[0].message, /on purpose/)
  assert.equal(await within(gone), 1)
  await assertAllAreHandedBack(throws, LOST)
})

test('what a thread waits for ends with it; the waits of other threads do not', async (t) => {
  const client = connected(t)
  const { queue } = client
  const waiting = thread(
    t,
    `client.call('hold', {}, { id: 'shared' }).catch(() => {})
    client.get('none').then(() => parentPort.postMessage('waiting'))`,
    { queue },
  )
  await message(waiting)
  const mine = client.result('shared')
  await within(waiting.terminate())
  client.work({ hold: () => 'done' })
  assert.equal(await within(mine), 'done')
})

test('threads come and go while tasks run: none is lost, and the process lives', async (t) => {
  const client = connected(t)
  const { queue } = client
  const ids = Array.from({ length: 2_000 }, (_, n) => `task-${n}`)
  const tasks = await client.enqueueMany(ids.map((id) => ({ function: 'hold', id })))
  const results = tasks.map((task) => task.result({ timeout: 60_000 }))
  const source = `
    let ran = 0
    client.work({
      async hold() {
        if (++ran === options.after) parentPort.postMessage('now')
        if (ran > options.after + 50) await new Promise(() => {}) // However late it is ended: most are for the others.
        await null
        return 'done'
      },
    }, { concurrency: 50 })
  `
  for (let round = 1; round <= 12; round++) {
    const short = thread(t, source, { queue, after: round * 5 })
    await message(short)
    await within(short.terminate())
  }
  const last = client.work({ hold: () => 'done' }, { concurrency: 50 })
  assert.deepEqual(await Promise.all(results), Array(ids.length).fill('done'))
  await last.close()
  const left = await snapshot(redis.raw, queue)
  assert.deepEqual(Object.keys(left), ids.map((id) => `task:${id}`).toSorted())
  for (const id of ids) {
    const { 'reply-to': _, ...hash } = left[`task:${id}`].hash
    assert.deepEqual({ ...left[`task:${id}`], hash }, finished('done'))
  }
})

test('the process of a terminated thread ends by itself, with nothing on stderr', async () => {
  const child = program(
    `import { Worker } from 'node:worker_threads'
    import { once } from 'node:events'
    const source = \`
      const { parentPort, workerData } = require('node:worker_threads')
      const client = require(workerData.index)(workerData.url, workerData.queue)
      client.work({ hold: () => { parentPort.postMessage('begun'); return new Promise(() => {}) } })
      client.enqueue('hold')
      client.result('nobody')
    \`
    for (let n = 0; n < 20; n++) {
      const thread = new Worker(source, { eval: true, execArgv: [], workerData: { ...options, queue: options.queue + n } })
      await once(thread, 'message')
      await thread.terminate()
    }
    say('alive')`,
    { url: redis.url, queue: uniqueQueue(), index: indexPath },
  )
  assert.deepEqual(await ended(child), { code: 0, signal: null, stderr: '', lines: ['alive'] })
})

test('threads share the connections of their process, and a thread that has ended leaves none', async (t) => {
  const own = await withOwnRedis(t)
  const source = `client.work({ hold: () => threadId }); client.call('hold').then((id) => parentPort.postMessage(id))`
  const threads = Array.from({ length: 3 }, () => thread(t, source, { url: own.url, queue: 'dothis' }))
  await Promise.all(threads.map(message))
  await untilConnections(own.raw, ['blocked', 'blocked', 'blocked', 'commands', 'messages'])
  await within(Promise.all(threads.map((each) => each.terminate())))
  await untilConnections(own.raw, [])
})
