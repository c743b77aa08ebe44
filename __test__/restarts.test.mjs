// Redis is restarted, or gives no answer for a while: every call and every task is through once it is back, nothing is
// run twice, and nobody counts as dead because Redis was away.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, waitFor, within, withOwnRedis } from './support/index.mjs'
import { gate, open, outcome, until } from './support/open.mjs'
import { program } from './support/program.mjs'
import { finishedTask, ids, state } from './support/state.mjs'
import { holding } from './support/watching.mjs'

const DURABLE = { args: ['--appendonly', 'yes', '--appendfsync', 'always'] }

/** Holds tasks until it is told to let go; says how often a task was begun, and whatever goes wrong. */
const HOLDS = `
  import { once } from 'node:events'
  const client = dothis(options.url, options.queue)
  const letGo = once(process.stdin, 'data')
  const worker = client.work({
    async hold(_, { id, signal }) {
      signal.addEventListener('abort', () => say('aborted ' + id))
      say('begun ' + id)
      await letGo
      return 'there'
    },
  }, { concurrency: 3, heartbeatTimeout: 1000 })
  worker.on('lost', ({ id }) => say('lost ' + id))
  worker.on('recovered', (what) => say({ recovered: what }))
`

/** Two processes run what is theirs; more tasks wait, and so do those who want to know their results. */
async function midway(t) {
  const redis = await withOwnRedis(t, DURABLE)
  const client = open(t, redis.url, { commandTimeout: 30_000 })
  const { queue } = client
  const theirs = ['there-1', 'there-2', 'there-3']
  const ours = ['here-1', 'here-2', 'here-3']
  const waiting = Array.from({ length: 50 }, (_, n) => `waiting-${String(n).padStart(2, '0')}`)
  const calls = (names) => names.map((id) => client.call('hold', { id }, { id }))

  const results = calls(theirs)
  const child = program(HOLDS, { url: redis.url, queue })
  for (const id of theirs) await child.waitForLine(`begun ${id}`)
  const { open: letGo, opened } = gate()
  const begun = []
  const heard = []
  const hold = async (_, { id, signal }) => {
    signal.addEventListener('abort', () => heard.push(`aborted ${id}`))
    begun.push(id)
    await opened
    return 'here'
  }
  const worker = client.work({ hold }, { concurrency: 3, heartbeatTimeout: 1_000 })
  worker.on('lost', ({ id }) => heard.push(`lost ${id}`))
  worker.on('recovered', (what) => heard.push(JSON.stringify({ recovered: what })))
  results.push(...calls(ours))
  await until(() => begun.length === 3, 'ours have begun')
  results.push(...calls(waiting))
  await until(async () => (await redis.raw.send('LLEN', `${queue}:pending`)) === 50, 'the others wait')
  return { redis, client, child, worker, letGo, begun, heard, results, theirs, ours, waiting }
}

/** Lets all go; then each has run once, and each caller has its result. Of the dead one's tasks it is known. */
async function assertAllRunOnce(raw, all, { dead = [] } = {}) {
  all.letGo()
  all.child.write('let go')
  const values = await within(Promise.all(all.results))
  assert.deepEqual(
    values.filter((value) => value !== 'here' && value !== 'there'),
    [],
  )
  const isBegun = (line) => line.startsWith('begun ')
  const there = all.child.lines.filter(isBegun).map((line) => line.slice('begun '.length))
  const ids = [...all.ours, ...all.theirs, ...all.waiting].sort()
  assert.deepEqual([...all.begun, ...there].sort(), ids)
  const heard = [...all.heard, ...all.child.lines.filter((line) => !isBegun(line))]
  assert.deepEqual(
    heard,
    dead.length ? [JSON.stringify({ recovered: { tasks: dead.length, givenUp: 0 } })] : [],
  )
  const found = await state(raw, all.client.queue)
  const done = (id) =>
    finishedTask('hold', {
      args: JSON.stringify({ id }),
      'result-value': found[`task:${id}`].hash['result-value'],
      ...(dead.includes(id) && { lost: '1' }),
    })
  assert.deepEqual(found, Object.fromEntries(ids.map((id) => [`task:${id}`, done(id)])))
}

for (const signal of ['SIGKILL', 'SIGTERM']) {
  test(`Redis ends by ${signal} and comes back: what runs goes on, what waits is run, calls are answered`, async (t) => {
    const all = await midway(t)
    const { redis, client } = all
    const disconnected = waitFor(client, 'disconnected')
    await redis.kill(signal)
    await disconnected
    assert.equal(client.health().status, 'connecting')
    assert.equal(all.worker.health().status, 'connecting')
    // Made while there is no Redis, as patient as the client is.
    const meanwhile = Array.from({ length: 20 }, (_, n) => `meanwhile-${String(n).padStart(2, '0')}`)
    all.results.push(...meanwhile.map((id) => client.call('hold', { id }, { id })))
    all.waiting.push(...meanwhile)
    const connected = waitFor(client, 'connected')
    await redis.restart()
    await connected
    const raw = await connect(redis.url)
    t.after(() => raw.close())
    await assertAllRunOnce(raw, all)
  })
}

test('Redis is restarted again and again under load: every call has its own result, and each task ran once', async (t) => {
  const redis = await withOwnRedis(t, DURABLE)
  const client = open(t, redis.url, { commandTimeout: 30_000 })
  const runs = new Map()
  const run = ({ n }, { id }) => {
    runs.set(id, (runs.get(id) ?? 0) + 1)
    return n
  }
  client.work({ run }, { concurrency: 20 })
  const results = []
  let next = 0
  const caller = async () => {
    while (next < 2_000) {
      const n = next++
      results[n] = await client.call('run', { n }, { id: `n-${n}` })
    }
  }
  const callers = Promise.all(Array.from({ length: 100 }, caller))
  for (const [at, signal] of Object.entries({ 300: 'SIGKILL', 800: 'SIGTERM', 1300: 'SIGKILL' })) {
    await until(() => next >= at, `${at} calls`)
    await redis.kill(signal)
    await redis.restart()
  }
  await within(callers, 20_000)
  const wanted = results.map((_, n) => n)
  assert.deepEqual(results, wanted)
  assert.equal(runs.size, wanted.length)
  assert.deepEqual(
    [...runs].filter(([, count]) => count !== 1),
    [],
  )
})

test('Redis is frozen for longer than heartbeatTimeout: only who died meanwhile counts as dead', async (t) => {
  const all = await midway(t)
  const { redis, client, begun } = all
  const dying = await holding(redis.url, client.queue, ['waiting-00', 'waiting-01'])
  const impatient = open(t, `${redis.url}/0`, { queue: client.queue, commandTimeout: 4_000 })
  await impatient.get('none')
  const disconnected = waitFor(client, 'disconnected')
  await redis.kill('SIGSTOP')
  await dying.kill('SIGKILL')
  await disconnected
  assert.equal(client.health().status, 'connecting')
  // All keys of workers have expired by the time that this gives up.
  const { error } = await outcome(impatient.get('none'))
  assert.equal(error.code, 'ERR_CONNECTION')
  const connected = waitFor(client, 'connected')
  await redis.kill('SIGCONT')
  await connected

  // Whoever finds the dead one has looked at all that runs.
  const back = () => redis.raw.send('LPOS', `${client.queue}:pending`, 'waiting-00')
  await until(async () => (await back()) !== null, 'the tasks of the dead one are back')
  assert.deepEqual(
    (await ids(redis.raw, client.queue, 'executing')).sort(),
    [...all.ours, ...all.theirs].sort(),
  )
  assert.deepEqual((await ids(redis.raw, client.queue, 'pending')).slice(0, 3), [
    'waiting-00',
    'waiting-01',
    'waiting-02',
  ])
  assert.deepEqual(begun, all.ours)
  await assertAllRunOnce(redis.raw, all, { dead: ['waiting-00', 'waiting-01'] })
})
