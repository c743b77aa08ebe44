// A process that is told to end in the middle of its tasks hands them back, and ends as it was told to.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { snapshot, uniqueQueue, withOwnRedis, withRedis } from './support/index.mjs'
import { ended, program } from './support/program.mjs'

const redis = await withRedis()

const ids = Array.from({ length: 12 }, (_, n) => `task-${String(n).padStart(2, '0')}`)
const CONCURRENCY = 8
const came = ids.slice(0, CONCURRENCY)
/** An end with a code may be some task's doing, so each that had begun has it counted against it, and is watched. */
const LOST = { lost: '1', options: '{}' }

const WORKER = `
  const client = dothis(options.url, options.queue)
  const worker = client.work({
    hold: (_, { id }) => {
      say(id)
      return new Promise((resolve) => process.stdin.once('data', () => resolve('done')))
    },
  }, { concurrency: options.concurrency })
  process.stdin.unref()
`
const ON_SIGTERM = {
  client: (timeout) => `process.once('SIGTERM', () => client.close({ timeout: ${timeout} }))`,
  worker: (timeout) =>
    `process.once('SIGTERM', () => worker.close({ timeout: ${timeout} }).then(() => client.close()))`,
}
const SAY_SO = `;process.on('SIGTERM', () => say('closing'))`

/** A process in the middle of the first tasks of a queue of its own; the rest are pending. */
async function midway(t, ending) {
  const client = dothis(redis.url, uniqueQueue())
  t.after(() => client.close())
  await client.enqueueMany(ids.map((id) => ({ function: 'hold', id })))
  const options = { url: redis.url, queue: client.queue, concurrency: CONCURRENCY }
  const child = program(WORKER + ending, options)
  for (const id of ids.slice(0, CONCURRENCY)) await child.waitForLine(id)
  return { client, child }
}

const hash = (fields) => ({ hash: { function: 'hold', args: '{}', 'pending-created': '<time>', ...fields } })
const pending = hash({ state: 'pending' })
const done = (fields) => ({
  ...hash({
    state: 'finished',
    result: 'successful',
    'result-value': '"done"',
    'executing-created': '<time>',
    'finished-created': '<time>',
    ...fields,
  }),
  expires: true,
})
const finished = done()

/** `ran`: what is counted of those that had begun. */
async function assertAllPending(client, ran = {}) {
  const expected = { pending: { list: [...ids].reverse() } }
  for (const id of ids) expected[`task:${id}`] = pending
  for (const id of came) expected[`task:${id}`] = hash({ state: 'pending', ...ran })
  assert.deepEqual(await snapshot(redis.raw, client.queue), expected)
}

async function assertAnotherWorkerRunsThem(client, counted = {}) {
  const ran = []
  const worker = client.work(
    {
      hold(_, { id }) {
        ran.push(id)
        return 'done'
      },
    },
    { concurrency: 1 },
  )
  await Promise.all(ids.map((id) => client.result(id, { timeout: 10_000 })))
  await worker.close()
  assert.deepEqual(ran, ids)
  const expected = Object.fromEntries(ids.map((id) => [`task:${id}`, finished]))
  for (const id of came) expected[`task:${id}`] = done(counted)
  assert.deepEqual(await snapshot(redis.raw, client.queue), expected)
}

test('process.exit in the middle of tasks hands them back, in order, and keeps its code', async (t) => {
  const { client, child } = await midway(t, `process.on('SIGUSR2', () => process.exit(7))`)
  child.kill('SIGUSR2')
  assert.deepEqual(await ended(child), { code: 7, signal: null, stderr: '', lines: came })
  await assertAllPending(client, LOST)
  await assertAnotherWorkerRunsThem(client, LOST)
})

test('process.exit with code 0 hands them back as well, and nothing is counted', async (t) => {
  const { client, child } = await midway(t, `process.on('SIGUSR2', () => process.exit())`)
  child.kill('SIGUSR2')
  assert.deepEqual(await ended(child), { code: 0, signal: null, stderr: '', lines: came })
  await assertAllPending(client)
  await assertAnotherWorkerRunsThem(client)
})

test('process.exit writes what has run by then, and hands back only the rest', async (t) => {
  const client = dothis(redis.url, uniqueQueue())
  t.after(() => client.close())
  await client.enqueueMany(['ran', 'exits'].map((id) => ({ function: 'hold', id })))
  const child = program(
    `dothis(options.url, options.queue).work({
      hold(_, { id }) {
        if (id === 'exits') process.exit(3)
        return 'done'
      },
    })`,
    { url: redis.url, queue: client.queue },
  )
  assert.deepEqual(await ended(child), { code: 3, signal: null, stderr: '', lines: [] })
  assert.deepEqual(await snapshot(redis.raw, client.queue), {
    pending: { list: ['exits'] },
    'task:exits': hash({ state: 'pending', ...LOST }),
    'task:ran': finished,
  })
})

test('process.exit writes all that has run by then, however much that is', async (t) => {
  const client = dothis(redis.url, uniqueQueue())
  t.after(() => client.close())
  const many = Array.from({ length: 500 }, (_, n) => `task-${n}`)
  await client.enqueueMany(many.map((id) => ({ function: 'hold', id })))
  const child = program(
    `let begun = 0
    let open
    const opened = new Promise((resolve) => { open = resolve })
    dothis(options.url, options.queue).work({
      async hold() {
        if (++begun === options.count) {
          open()
          setImmediate(() => process.exit(3))
        }
        await opened
        return 'done'
      },
    }, { concurrency: options.count })`,
    { url: redis.url, queue: client.queue, count: many.length },
  )
  assert.deepEqual(await ended(child), { code: 3, signal: null, stderr: '', lines: [] })
  const expected = Object.fromEntries(many.map((id) => [`task:${id}`, finished]))
  assert.deepEqual(await snapshot(redis.raw, client.queue), expected)
})

test('process.exit ends the process although Redis does not answer', async (t) => {
  const own = await withOwnRedis(t)
  const child = program(
    `const client = dothis(options.url)
    const worker = client.work({ hold: () => { say('begun'); return new Promise(() => {}) } })
    process.on('SIGUSR2', () => process.exit(7))
    await client.enqueue('hold')`,
    { url: own.url },
  )
  await child.waitForLine('begun')
  await own.kill('SIGSTOP')
  child.kill('SIGUSR2')
  assert.deepEqual(await ended(child), { code: 7, signal: null, stderr: '', lines: ['begun'] })
})

test('an uncaught exception in the middle of tasks hands them back, and ends the process as ever', async (t) => {
  const { client, child } = await midway(t, `process.on('SIGUSR2', () => { throw new Error('on purpose') })`)
  child.kill('SIGUSR2')
  const { code, stderr } = await ended(child)
  assert.equal(code, 1)
  assert.match(stderr, /Error: on purpose/)
  await assertAllPending(client, LOST)
})

for (const [what, line] of Object.entries(ON_SIGTERM)) {
  test(`on SIGTERM closing the ${what} lets what runs finish, leaves the rest, and the process ends`, async (t) => {
    const { client, child } = await midway(t, line(30_000) + SAY_SO)
    child.kill('SIGTERM')
    await child.waitForLine('closing')
    child.write('finish')
    assert.deepEqual(await ended(child), { code: 0, signal: null, stderr: '', lines: [...came, 'closing'] })
    const left = ids.slice(CONCURRENCY)
    const expected = { pending: { list: [...left].reverse() } }
    for (const id of came) expected[`task:${id}`] = finished
    for (const id of left) expected[`task:${id}`] = pending
    assert.deepEqual(await snapshot(redis.raw, client.queue), expected)
  })

  test(`on SIGTERM closing the ${what} hands back what does not finish in time, and the process ends`, async (t) => {
    const { client, child } = await midway(t, line(1) + SAY_SO)
    child.kill('SIGTERM')
    assert.deepEqual(await ended(child), { code: 0, signal: null, stderr: '', lines: [...came, 'closing'] })
    await assertAllPending(client)
    await assertAnotherWorkerRunsThem(client)
  })
}

test('SIGTERM without a handler ends the process at once, and Redis still holds every task', async (t) => {
  const { client, child } = await midway(t, '')
  child.kill('SIGTERM')
  assert.deepEqual(await ended(child), { code: null, signal: 'SIGTERM', stderr: '', lines: came })
  const left = await snapshot(redis.raw, client.queue)
  assert.deepEqual(left.pending.list, ids.slice(CONCURRENCY).reverse())
  assert.deepEqual(left.executing.list.toSorted(), came)
  for (const id of came) {
    const { function: name, state, args } = left[`task:${id}`].hash
    assert.deepEqual({ name, state, args }, { name: 'hold', state: 'executing', args: '{}' })
  }
  assert.equal(left['worker:<uuid>'].expires, true)
})
