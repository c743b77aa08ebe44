// Long args do not go through Redis's scripts: a worker that gets many of them reads them by themselves.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { within, withOwnRedis } from './support/index.mjs'
import { open, until } from './support/open.mjs'
import { startProxy } from './support/proxy.mjs'
import { finishedTask, ids, state } from './support/state.mjs'

const redis = await withOwnRedis()
const { raw } = redis
const TASKS = 200

/** So long that one is enough to have the next ones read by themselves, however few come at a time. */
const argsOf = (i) => ({ i, text: `${i}`.padEnd(40_000, 'ä') })
const idOf = (i) => `task-${i}`
const all = Array.from({ length: TASKS }, (_, i) => i)

const enqueueAll = (client) =>
  client.enqueueMany(all.map((i) => ({ function: 'x', id: idOf(i), args: argsOf(i) })))

/** Handlers that note what ran, and that each task had its own args. */
function noting(ran) {
  return {
    x(args, { id }) {
      assert.deepEqual(args, argsOf(args.i))
      assert.equal(id, idOf(args.i))
      ran.push(args.i)
    },
  }
}

const calls = async (command) => {
  const found = new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await raw.send('INFO', 'commandstats'))
  return Number(found?.[1] ?? 0)
}

const finished = (i) => finishedTask('x', { args: JSON.stringify(argsOf(i)) })
const isRead = (text) => text.includes('$4\r\nHGET\r\n') && text.includes('\r\nargs\r\n')

test('long args come whole, each to its own task, and most of them apart', async (t) => {
  const client = open(t, redis.url)
  await enqueueAll(client)
  await raw.send('CONFIG', 'RESETSTAT')
  const ran = []
  const worker = client.work(noting(ran), { concurrency: 20 })
  await until(() => ran.length >= TASKS, 'all have run')
  await worker.close()
  assert.deepEqual(
    ran.sort((a, b) => a - b),
    all,
  )
  const apart = await calls('hstrlen') // More than once for a task that was taken ahead, and went back.
  assert.ok(apart > TASKS / 2, apart)
  assert.deepEqual(
    await state(raw, client.queue),
    Object.fromEntries(all.map((i) => [`task:${idOf(i)}`, finished(i)])),
  )
})

test('short args come with the exchange, however many', async (t) => {
  const client = open(t, redis.url)
  await client.enqueueMany(all.map((i) => ({ function: 'x', args: { text: 'x'.repeat(1_500), i } })))
  await raw.send('CONFIG', 'RESETSTAT')
  let ran = 0
  const worker = client.work({ x: () => void ran++ }, { concurrency: 20 })
  await until(() => ran === TASKS, 'all have run')
  await worker.close()
  assert.equal(await calls('hstrlen'), 0)
})

test('where they are lost on the way, the tasks are given again, and each runs once', async (t) => {
  const proxy = await startProxy(redis.url)
  const behind = open(t, proxy.url, { commandTimeout: 20_000 })
  const { queue } = behind
  t.after(() => proxy.stop())
  const straight = open(t, redis.url, { queue })
  await enqueueAll(straight)
  const cut = within(proxy.loseAnswer(isRead))
  const [ran, lost] = [[], []]
  const worker = behind.work(noting(ran), { concurrency: 20 })
  worker.on('lost', (what) => lost.push(what))
  await cut
  const executing = await ids(raw, queue, 'executing')
  assert.ok(executing.length > 0)
  proxy.plug()
  await until(() => ran.length >= TASKS, 'all have run')
  await worker.close()
  assert.deepEqual(
    ran.sort((a, b) => a - b),
    all,
  )
  assert.deepEqual(lost, [])
  assert.deepEqual(
    await state(raw, queue),
    Object.fromEntries(all.map((i) => [`task:${idOf(i)}`, finished(i)])),
  )
})

test('where Redis refuses to give them, the tasks are asked for anew, and none fails', async (t) => {
  const proxy = await startProxy(redis.url)
  const straight = open(t, redis.url)
  const { queue } = straight
  const acl = (...rules) => ['ACL', 'SETUSER', queue, ...rules]
  await raw.send(...acl('on', '>secret', 'allkeys', 'allchannels', '+@all'))
  const behind = open(t, proxy.url.replace('redis://', `redis://${queue}:secret@`), { queue })
  t.after(() => proxy.stop())
  await enqueueAll(straight)
  proxy.onRequest = (text) => {
    if (!isRead(text)) return
    proxy.onRequest = undefined
    execFileSync('redis-cli', ['-p', new URL(redis.url).port, ...acl('-hget')])
  }
  const [ran, lost, errors] = [[], [], []]
  const worker = behind.work(noting(ran), { concurrency: 20 })
  worker.on('lost', (what) => lost.push(what))
  worker.on('error', (error) => errors.push(error))
  await until(() => errors.length > 0, 'the refusal is told')
  assert.equal(errors[0].code, 'ERR_REFUSED')
  await raw.send(...acl('+hget'))
  await until(() => ran.length >= TASKS, 'all have run')
  await worker.close()
  assert.deepEqual(
    ran.sort((a, b) => a - b),
    all,
  )
  assert.deepEqual(lost, [])
  assert.deepEqual(
    await state(raw, queue),
    Object.fromEntries(all.map((i) => [`task:${idOf(i)}`, finished(i)])),
  )
})

test('a task whose args go, or that goes whole, before they are read does not run without them', async (t) => {
  const proxy = await startProxy(redis.url)
  const behind = open(t, proxy.url)
  const { queue } = behind
  t.after(() => proxy.stop())
  await enqueueAll(open(t, redis.url, { queue }))
  const [bare, deleted] = all.slice(-2).map((i) => `${queue}:task:${idOf(i)}`)
  proxy.onRequest = (text) => {
    if (!isRead(text)) return
    const { port } = new URL(redis.url)
    if (text.includes(`${bare}\r\n`)) execFileSync('redis-cli', ['-p', port, 'HDEL', bare, 'args'])
    if (text.includes(`${deleted}\r\n`)) execFileSync('redis-cli', ['-p', port, 'DEL', deleted])
  }
  const [ran, lost] = [[], []]
  const worker = behind.work(noting(ran), { concurrency: 20 })
  worker.on('lost', ({ id }) => lost.push(id))
  await until(async () => lost.length > 0 && ran.length >= TASKS - 2, 'the rest has run')
  await worker.close()
  assert.deepEqual(
    ran.sort((a, b) => a - b),
    all.slice(0, -2),
  )
  assert.deepEqual(lost, [idOf(TASKS - 1)])
  const left = await state(raw, queue)
  assert.deepEqual(
    left[`task:${idOf(TASKS - 2)}`].hash['error-reason'],
    'args: somebody took them away after the task was taken',
  )
  assert.deepEqual(
    Object.keys(left),
    all
      .slice(0, -1)
      .map((i) => `task:${idOf(i)}`)
      .sort(),
  )
})
