// A user of Redis who may not do all that a queue needs: an error says what is missing, nothing is lost meanwhile, and
// all goes on as soon as the permission is there.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import dothis from '../index.mjs'
import { uniqueQueue, within, withOwnRedis } from './support/index.mjs'
import { gate, open, outcome, until } from './support/open.mjs'
import { state } from './support/state.mjs'

const redis = await withOwnRedis()
const { raw } = redis

const COMMANDS = [
  ...['evalsha', 'script|load', 'time', 'exists', 'del', 'pexpire', 'pexpireat'],
  ...['hset', 'hmget', 'hget', 'hdel', 'hkeys', 'hsetnx', 'hstrlen'],
  ...['llen', 'lrange', 'lpos', 'lpush', 'rpush', 'lrem', 'lset', 'ltrim'],
  ...['zadd', 'zcard', 'zrem', 'zrange', 'zrangebyscore'],
  ...['publish', 'subscribe', 'blmove', 'ping'],
]
const KEYS = ['task:*', 'pending', 'executing', 'due', 'worker:*', 'workers', 'sent:*']

/** Ways to have too little: what takes it away, and what the user has otherwise. */
const denials = [
  ...COMMANDS.map((command) => ({ name: command, deny: () => [`-${command}`] })),
  ...KEYS.map((key) => ({
    name: `the key ${key}`,
    deny: (queue) => [
      'resetkeys',
      ...KEYS.filter((other) => other !== key).map((other) => `~${queue}:${other}`),
    ],
  })),
  { name: 'any channel', deny: () => ['resetchannels'] },
]

/** A user of its own for each case, so that all can be looked at at the same time. */
async function userOf(queue) {
  const allow = () => raw.send('ACL', 'SETUSER', queue, 'on', '>secret', 'allkeys', 'allchannels', '+@all')
  await allow()
  const { host } = new URL(redis.url)
  return {
    url: `redis://${queue}:secret@${host}`,
    allow,
    deny: (rules) => raw.send('ACL', 'SETUSER', queue, ...rules),
  }
}

const isRefused = (error) => error instanceof dothis.RefusedError && error.code === 'ERR_REFUSED'

/** Something of everything that a worker does, and how often each is to be run. */
const TASKS = [
  { task: { function: 'run', id: 'plain' }, runs: 1 },
  { task: { function: 'run', id: 'removed', removeOnSuccess: true }, runs: 1 },
  { task: { function: 'twice', id: 'again', attempts: 2 }, runs: 2 },
  { task: { function: 'twice', id: 'later', attempts: 2, backoff: [1], expires: 3_600_000 }, runs: 2 },
  { task: { function: 'run', id: 'delayed', delay: 1 }, runs: 1 },
  { task: { function: 'twice', id: 'failing' }, runs: 1 },
]

async function workThrough(t, { name, deny }) {
  const queue = uniqueQueue('acl')
  const user = await userOf(queue)
  const producer = open(t, redis.url, { queue })
  const client = open(t, user.url, { queue })
  const runs = {}
  const count = (id) => {
    runs[id] = (runs[id] ?? 0) + 1
  }
  const errors = []
  const worker = client.work(
    {
      run: (_, { id }) => count(id),
      twice(_, { id, attempt }) {
        count(id)
        if (attempt === 1) throw new Error('not yet')
      },
    },
    { concurrency: 3 },
  )
  worker.on('error', (error) => errors.push(error))
  await producer.call('run', {}, { id: 'first' })
  await user.deny(deny(queue))
  await producer.enqueueMany(TASKS.map(({ task }) => task))
  const isDone = async () => {
    const states = await Promise.all(
      TASKS.map(({ task }) => raw.send('HGET', `${queue}:task:${task.id}`, 'state')),
    )
    return states.every((found) => found === 'finished' || found === null)
  }
  await until(
    async () => errors.length > 0 || (await isDone()),
    `${name}: an error, or none of this is needed`,
  )
  for (const error of errors) assert.ok(isRefused(error), `${name}: ${error}`)
  if (errors.length) assert.match(errors[0].message, /NOPERM|ermission|can't (run|access|publish)/, name)

  await user.allow()
  await until(isDone, `${name}: all is done`, 20_000)
  const expected = Object.fromEntries(TASKS.map(({ task, runs }) => [task.id, runs]))
  assert.deepEqual(runs, { first: 1, ...expected }, name)
  // Where a command was missing half-way, a leftover of what is done stays until the worker comes across it.
  const LISTS = ['pending', 'executing', 'due']
  await until(
    async () => {
      const found = await state(raw, queue)
      return LISTS.every((list) => found[list] === undefined)
    },
    `${name}: nothing is left of it`,
    20_000,
  )
  assert.equal(worker.health().lost, 0, name)
}

// They mostly wait until a worker tries again, so they do that together.
describe('a worker', { concurrency: 16 }, () => {
  for (const denial of denials) {
    test(`without ${denial.name} loses nothing, and has all done once it is there`, (t) =>
      workThrough(t, denial))
  }
})

test('what README names is all that a user must be allowed', async (t) => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const commands = /commands:\n\n```\n(\+auth[^`]*)```/.exec(readme)[1].trim().split(/\s+/)
  const queue = uniqueQueue('acl')
  const user = await userOf(queue)
  await user.deny(['resetkeys', 'resetchannels', `~${queue}:*`, `&${queue}:*`, '-@all', ...commands])
  const client = open(t, user.url, { queue })
  const errors = []
  client.on('error', (error) => errors.push(error))
  const twice = (_, { attempt }) => {
    if (attempt === 1) throw new Error('not yet')
  }
  const long = Array.from({ length: 40 }, () => ({ function: 'run', args: { text: 'x'.repeat(4_000) } }))
  const longOnes = await client.enqueueMany(long)
  const worker = client.work({ run: () => {}, twice, endless: () => new Promise(() => {}) }, { grace: 0 })
  worker.on('error', (error) => errors.push(error))
  await client.enqueueMany(TASKS.map(({ task }) => task))
  await until(async () => {
    const tasks = await Promise.all(TASKS.map(({ task: { id } }) => client.get(id)))
    return tasks.every((task) => task === null || task.state === 'finished')
  }, 'all are through')
  await Promise.all(longOnes.map((task) => task.result()))
  const endless = await client.enqueue('endless')
  await until(() => worker.health().running === 1, 'it runs')
  assert.equal(await endless.cancel(), true)
  await outcome(endless.result())
  assert.equal((await endless.get()).cancelled, true)
  await worker.close()
  assert.deepEqual(errors, [])
})

test('a worker that may not wait for tasks asks now and then, and not all the time', async (t) => {
  const queue = uniqueQueue('acl')
  const user = await userOf(queue)
  await user.deny(['-blmove'])
  await raw.send('CONFIG', 'RESETSTAT')
  const worker = open(t, user.url, { queue }).work({ run: () => 'ran' }, { heartbeatTimeout: 1_000 })
  const beats = new Set()
  await until(async () => {
    beats.add(await raw.send('ZSCORE', `${queue}:workers`, worker.id))
    return beats.size > 4
  }, 'some heartbeats')
  const [, rejected] = /cmdstat_blmove:.*rejected_calls=(\d+)/.exec(await raw.send('INFO', 'commandstats'))
  assert.ok(rejected >= 1 && rejected < 20, rejected)
  assert.equal(await open(t, redis.url, { queue }).call('run'), 'ran')
})

test('a worker that may not look whose a task is goes on with it', async (t) => {
  const queue = uniqueQueue('acl')
  const user = await userOf(queue)
  const client = open(t, user.url, { queue })
  const held = gate()
  const worker = client.work({ hold: () => held.opened }, { heartbeatTimeout: 1_000 })
  const task = await client.enqueue('hold')
  await until(() => worker.health().running === 1, 'it runs')
  await user.deny(['-hkeys'])
  // What has run for a second is looked at after each heartbeat.
  const beats = new Set()
  await until(async () => {
    beats.add(await raw.send('ZSCORE', `${queue}:workers`, worker.id))
    return beats.size > 6
  }, 'some heartbeats')
  assert.deepEqual(worker.health().lost, 0)
  await user.allow()
  held.open('done')
  assert.equal(await task.result(), 'done')
})

for (const denial of denials) {
  test(`client: without ${denial.name} a call fails with a RefusedError, or works; made again it works once`, async (t) => {
    const queue = uniqueQueue('acl')
    const user = await userOf(queue)
    const client = open(t, user.url, { queue })
    await client.enqueue('run', {}, { id: 'first' })
    await client.cancel('none')
    await user.deny(denial.deny(queue))
    const calls = {
      plain: () => client.enqueue('run', {}, { id: 'plain' }),
      delayed: () => client.enqueue('run', {}, { id: 'delayed', delay: 1, expires: 3_600_000 }),
      cancel: () => client.cancel('first'),
      get: () => client.get('first'),
    }
    for (const [name, call] of Object.entries(calls)) {
      const { error } = await within(outcome(call()))
      assert.ok(!error || isRefused(error), `${name}: ${error}`)
    }
    await user.allow()
    for (const name of ['plain', 'delayed', 'get']) await calls[name]()
    const ran = []
    client.work({ run: (_, { id }) => ran.push(id) })
    await client.call('run', {}, { id: 'last' })
    await Promise.all(['plain', 'delayed'].map((id) => client.result(id)))
    assert.deepEqual(ran.filter((id) => id !== 'first').sort(), ['delayed', 'last', 'plain'])
  })
}
