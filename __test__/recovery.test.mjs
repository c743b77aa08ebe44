// A worker that dies leaves its tasks to the others: they run again, first in line and in order, and nobody else's
// are touched.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { uniqueQueue, waitFor, withRedis } from './support/index.mjs'
import { open, until } from './support/open.mjs'
import { program } from './support/program.mjs'
import { startProxy } from './support/proxy.mjs'
import { finishedTask, ids, pendingTask, state } from './support/state.mjs'
import { holding, watching } from './support/watching.mjs'

const redis = await withRedis()
const { raw } = redis

/** Puts a task in by hand that is being executed by whom the fields say. */
async function putExecuting(queue, id, fields = {}) {
  const hash = { function: 'hold', args: '{}', state: 'executing', ...fields }
  await raw.send('HSET', `${queue}:task:${id}`, ...Object.entries(hash).flat())
  await raw.send('LPUSH', `${queue}:executing`, id)
}

test('what a killed worker ran runs again elsewhere, first in line and in order, and is counted as lost', async (t) => {
  const client = open(t, redis.url)
  const { worker, open: letGo, ran } = await watching(client)
  const all = ['a', 'b', 'c', 'd', 'e']
  await client.enqueueMany(all.map((id) => ({ function: 'hold', id })))
  const child = await holding(redis.url, client.queue, ['a', 'b', 'c'])
  const recovered = waitFor(worker, 'recovered')
  await child.kill('SIGKILL')
  assert.deepEqual(await recovered, [{ tasks: 3, givenUp: 0 }])

  const lost = pendingTask('hold', { lost: '1' })
  assert.deepEqual(await state(raw, client.queue), {
    executing: { list: ['watch'] },
    pending: { list: all.toReversed() },
    'task:a': lost,
    'task:b': lost,
    'task:c': lost,
    'task:d': pendingTask('hold'),
    'task:e': pendingTask('hold'),
    'task:watch': pendingTask('watch', {
      state: 'executing',
      'executing-created': '<time>',
      'owner:<owner>': '',
    }),
  })
  await until(async () => (await workers(client.queue)).join() === worker.id, 'the dead one is forgotten')

  letGo()
  const results = await Promise.all(all.map((id) => client.result(id)))
  assert.deepEqual(results, Array(5).fill('here'))
  assert.deepEqual(ran, all)
  const after = await state(raw, client.queue)
  delete after['task:watch']
  const done = (fields) => finishedTask('hold', { 'result-value': '"here"', ...fields })
  assert.deepEqual(after, {
    'task:a': done({ lost: '1' }),
    'task:b': done({ lost: '1' }),
    'task:c': done({ lost: '1' }),
    'task:d': done(),
    'task:e': done(),
  })
})

const workers = (queue) => raw.send('ZRANGE', `${queue}:workers`, 0, -1)

test('who waits for a task of a killed worker gets the result of the run that ends', async (t) => {
  const client = open(t, redis.url)
  const results = ['a', 'b'].map((id) => client.call('hold', {}, { id }))
  const child = await holding(redis.url, client.queue, ['a', 'b'])
  await child.kill('SIGKILL')
  client.work({ hold: (_, { id }) => `${id} again` })
  assert.deepEqual(await Promise.all(results), ['a again', 'b again'])
})

test('a live worker keeps its tasks, though its handler blocks the event loop longer than heartbeatTimeout', async (t) => {
  const client = open(t, redis.url)
  const task = await client.enqueue('block', {}, { id: 'blocks' })
  const child = program(
    `import { execFileSync } from 'node:child_process'
    const client = dothis(options.url, options.queue)
    client.work({
      block() {
        say('blocked')
        const answer = execFileSync('redis-cli', ['-u', options.url, 'BLPOP', options.queue + ':go', '30'])
        return answer.toString().includes('go') ? 'mine' : 'nobody let it go'
      },
    }, { concurrency: 1, heartbeatTimeout: 1000 })`,
    { url: redis.url, queue: client.queue },
  )
  await child.waitForLine('blocked')
  const before = (await state(raw, client.queue))['task:blocks']

  // Both look around, the blocked one too; whoever finds the dead one must find nothing else.
  await watching(client)
  await client.enqueue('hold', {}, { id: 'left' })
  const dying = await holding(redis.url, client.queue, ['left'])
  await dying.kill('SIGKILL')
  await until(
    () => raw.send('LPOS', `${client.queue}:pending`, 'left').then((at) => at === 0),
    'it goes back',
  )

  assert.deepEqual(await ids(raw, client.queue, 'executing'), ['blocks', 'watch'])
  assert.deepEqual((await state(raw, client.queue))['task:blocks'], before)
  await raw.send('LPUSH', `${client.queue}:go`, 'go')
  assert.equal(await task.result(), 'mine')
  assert.equal((await client.get('blocks')).attempt, 1)
  assert.equal(await raw.send('HEXISTS', `${client.queue}:task:blocks`, 'lost'), 0)
})

test('an orphan whose worker nobody knows is found by a worker that starts; a foreign task is left alone', async (t) => {
  const client = open(t, redis.url, { queue: uniqueQueue() })
  const { queue } = client
  await putExecuting(queue, 'foreign')
  await putExecuting(queue, 'orphan', { [`owner:${randomUUID()}:7`]: '', 'executing-created': 'long ago' })
  await putExecuting(queue, 'orphan-2', { [`owner:${randomUUID()}:8`]: '' })
  const ran = []
  const worker = client.work({ hold: (_, { id }) => ran.push(id) }, { heartbeatTimeout: 1_000 })
  assert.deepEqual(await waitFor(worker, 'recovered'), [{ tasks: 2, givenUp: 0 }])
  await Promise.all([client.result('orphan'), client.result('orphan-2')])
  assert.deepEqual(ran, ['orphan', 'orphan-2'])
  const done = (value) => {
    const task = finishedTask('hold', { 'result-value': value, lost: '1' })
    delete task.hash['pending-created']
    return task
  }
  assert.deepEqual(await state(raw, queue), {
    executing: { list: ['foreign'] },
    'task:foreign': { hash: { function: 'hold', args: '{}', state: 'executing' } },
    'task:orphan': done('1'),
    'task:orphan-2': done('2'),
  })
})

test('with reclaimForeignAfter a task of another kind of worker is taken over', async (t) => {
  const client = open(t, redis.url)
  await putExecuting(client.queue, 'foreign')
  const result = client.result('foreign')
  const worker = client.work({ hold: () => 'taken over' }, { reclaimForeignAfter: 300 })
  assert.deepEqual(await waitFor(worker, 'recovered'), [{ tasks: 1, givenUp: 0 }])
  assert.equal(await result, 'taken over')
  assert.deepEqual(await ids(raw, client.queue, 'executing'), [])
})

test('... but not one that begins again and again: each run is as old as it is', async (t) => {
  const proxy = await startProxy(redis.url)
  t.after(() => proxy.stop())
  const client = open(t, proxy.url)
  const key = (id) => `${client.queue}:task:${id}`
  for (const id of ['stays', 'again']) await putExecuting(client.queue, id)
  // It is executing each time that the worker looks, and has just been taken.
  let run = 0
  proxy.onRequest = (text) => {
    if (/LRANGE/.test(text) && text.includes(`${client.queue}:executing`)) {
      raw.send('HSET', key('again'), 'executing-created', `2015-12-05T00:19:01.${100_000 + run++}Z`)
    }
  }
  const worker = client.work({ hold: () => 'taken over' }, { reclaimForeignAfter: 300 })
  assert.deepEqual(await waitFor(worker, 'recovered'), [{ tasks: 1, givenUp: 0 }])
  assert.equal(await client.result('stays'), 'taken over')
  assert.deepEqual(await ids(raw, client.queue, 'executing'), ['again'])
  proxy.onRequest = undefined
  assert.deepEqual(await waitFor(worker, 'recovered'), [{ tasks: 1, givenUp: 0 }])
  assert.equal(await client.result('again'), 'taken over')
})

test('an id whose task was recovered is still taken: enqueuing it again creates nothing', async (t) => {
  const client = open(t, redis.url)
  const { worker } = await watching(client)
  const again = async () => (await client.enqueue('hold', { other: true }, { id: 'mine' })).created
  assert.equal(await again(), true)
  assert.equal(await again(), false)
  const child = await holding(redis.url, client.queue, ['mine'])
  assert.equal(await again(), false)
  const recovered = waitFor(worker, 'recovered')
  await child.kill('SIGKILL')
  await recovered
  const before = await state(raw, client.queue)
  assert.equal(await again(), false)
  assert.deepEqual(await state(raw, client.queue), before)
})
