// A process ends when its work does: an idle client does not keep Node.js alive; a running worker does, until it is
// closed, and so does whatever is awaited.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { untilConnections } from './support/connections.mjs'
import { snapshot, uniqueQueue, withOwnRedis, withRedis } from './support/index.mjs'
import { ended, program } from './support/program.mjs'
import { until } from './support/until.mjs'

const redis = await withRedis()

function clean(lines) {
  return { code: 0, signal: null, stderr: '', lines }
}

test('an idle client lets the process end, once it has been used', async () => {
  const child = program(
    `const client = dothis(options.url, options.queue)
    await client.enqueue('add', { a: 1, b: 2 })
    await client.get('none')
    say(client.health().status)`,
    { url: redis.url, queue: uniqueQueue() },
  )
  assert.deepEqual(await ended(child), clean(['connected']))
})

test('a client that is made and not used lets the process end', async () => {
  const child = program('dothis(options.url, options.queue)', { url: redis.url, queue: uniqueQueue() })
  assert.deepEqual(await ended(child), clean([]))
})

test('a client that finds no Redis lets the process end', async () => {
  const child = program(
    `const client = dothis(options.url)
    client.on('disconnected', () => {})
    say(client.health().status)`,
    { url: 'redis://127.0.0.1:1' },
  )
  assert.deepEqual(await ended(child), clean(['connecting']))
})

test('a client whose server never answers lets the process end', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const url = `redis://127.0.0.1:${server.address().port}`
  const dialled = once(server, 'connection')
  const child = program(
    `const client = dothis({ url: options.url, commandTimeout: 1 })
    say(await client.get('none').catch((error) => error.name))`,
    { url },
  )
  const [socket] = await dialled
  socket.on('error', () => {})
  assert.deepEqual(await ended(child), clean(['ConnectionError']))
})

test('a running worker keeps the process alive while there is nothing to do, until it is closed', async (t) => {
  const own = await withOwnRedis(t)
  const child = program(
    `const client = dothis(options.url)
    const worker = client.work({
      add: ({ a, b }) => a + b,
      stop() { worker.close().then(() => say('closed')) },
    })
    process.on('beforeExit', () => say('nothing left to do'))`,
    { url: own.url },
  )
  const client = dothis(own.url)
  t.after(() => client.close())
  for (let a = 1; a <= 3; a++) {
    await untilConnections(own.raw, [
      'blocked',
      'commands',
      'commands',
      'messages',
      ...(a > 1 ? ['messages'] : []),
    ])
    assert.equal(await client.call('add', { a, b: 1 }, { timeout: 10_000 }), a + 1)
  }
  await client.call('stop', {}, { timeout: 10_000 })
  assert.deepEqual(await ended(child), clean(['closed', 'nothing left to do']))
})

test('a wait for a result keeps the process alive until the result is there', async (t) => {
  const queue = uniqueQueue()
  const child = program(
    `const client = dothis(options.url, options.queue)
    process.on('beforeExit', () => say('nothing left to do'))
    client.call('add', { a: 1, b: 2 }, { id: 'sum' }).then(say)
    client.result('sum').then(say)`,
    { url: redis.url, queue },
  )
  await until(() => redis.raw.send('HGET', `${queue}:task:sum`, 'reply-to'), 'the wait')
  const client = dothis(redis.url, queue)
  t.after(() => client.close())
  client.work({ add: ({ a, b }) => a + b })
  assert.deepEqual(await ended(child), clean(['3', '3', 'nothing left to do']))
})

test('an enqueue keeps the process alive until Redis has it', async (t) => {
  const own = await withOwnRedis(t)
  await own.kill('SIGSTOP')
  const child = program(
    `process.on('beforeExit', () => say('nothing left to do'))
    const client = dothis(options.url)
    client.enqueue('add', { a: 1, b: 2 }, { id: 'late' }).then((task) => say(task.id))
    say('asked')`,
    { url: own.url },
  )
  await child.waitForLine('asked')
  await own.kill('SIGCONT')
  assert.deepEqual(await ended(child), clean(['asked', 'late', 'nothing left to do']))
  assert.deepEqual(await snapshot(own.raw, 'dothis'), {
    pending: { list: ['late'] },
    'task:late': {
      hash: { function: 'add', state: 'pending', args: '{"a":1,"b":2}', 'pending-created': '<time>' },
    },
  })
})

test('a wait that is given up, or whose time is up, lets the process end', async () => {
  const child = program(
    `const client = dothis(options.url, options.queue)
    await client.call('none', {}, { timeout: 1 }).catch((error) => say(error.name))
    const abort = new AbortController()
    const wait = client.call('none', {}, { signal: abort.signal })
    abort.abort(new Error('given up'))
    await wait.catch((error) => say(error.message))`,
    { url: redis.url, queue: uniqueQueue() },
  )
  assert.deepEqual(await ended(child), clean(['TimeoutError', 'given up']))
})

test('a call that finds no Redis fails, and the process ends', async () => {
  const child = program(
    `const client = dothis({ url: options.url, commandTimeout: 200 })
    const calls = [client.enqueue('add'), client.call('add'), client.get('none'), client.task('add')]
    for (const { reason } of await Promise.allSettled(calls)) say(reason.code)`,
    { url: 'redis://127.0.0.1:1' },
  )
  assert.deepEqual(await ended(child), clean(Array(4).fill('ERR_CONNECTION')))
})
