// A process has one connection to a Redis for commands, one for messages once somebody waits or works, and one for
// each worker, however many clients it has; nothing grows with the number of clients that came and went.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { connections, untilConnections } from './support/connections.mjs'
import { withOwnRedis } from './support/index.mjs'
import { ended, program } from './support/program.mjs'

/** A server of the test's own, and clients of it that are closed before it stops. */
async function start(t) {
  const clients = []
  t.after(() => Promise.all(clients.map((client) => client.close())))
  const redis = await withOwnRedis(t)
  const open = (path, queue) => {
    const client = dothis(redis.url + path, queue)
    clients.push(client)
    return client
  }
  return { raw: redis.raw, open }
}

test('clients and workers of one process share their connections', async (t) => {
  const { raw, open } = await start(t)
  const clients = ['one', 'one', 'two', 'three'].map((queue) => open('', queue))
  await Promise.all(clients.map((client) => client.get('none')))
  assert.deepEqual(await connections(raw), ['commands'])
  await Promise.all(clients.map((client) => client.enqueue('add', { a: 1, b: 2 })))
  assert.deepEqual(await connections(raw), ['commands'])

  const workers = clients.map((client) => client.work({ add: ({ a, b }) => a + b }))
  await untilConnections(raw, ['blocked', 'blocked', 'blocked', 'blocked', 'commands', 'messages'])
  const calls = clients.map((client) => client.call('add', { a: 1, b: 2 }))
  assert.deepEqual(await Promise.all(calls), [3, 3, 3, 3])
  await untilConnections(raw, ['blocked', 'blocked', 'blocked', 'blocked', 'commands', 'messages'])

  await workers[0].close()
  await clients[1].close()
  await untilConnections(raw, ['blocked', 'blocked', 'commands', 'messages'])
  // What the others share goes on as if nothing had been closed.
  assert.equal(await clients[2].call('add', { a: 2, b: 2 }), 4)
})

test('ten thousand open waits need one connection', async (t) => {
  const { raw, open } = await start(t)
  const client = open('')
  const waits = Array.from({ length: 10_000 }, (_, a) => client.call('add', { a, b: 1 }))
  await client.get('none')
  await untilConnections(raw, ['commands', 'messages'])
  client.work({ add: ({ a, b }) => a + b }, { concurrency: 100 })
  const sums = await Promise.all(waits)
  assert.deepEqual(
    sums,
    sums.map((_, a) => a + 1),
  )
  await untilConnections(raw, ['blocked', 'commands', 'messages'])
})

test('another database or user is another connection', async (t) => {
  const { raw, open } = await start(t)
  const clients = ['', '/1', '/2', '/2'].map((path) => open(path))
  await Promise.all(clients.map((client) => client.get('none')))
  assert.deepEqual(await connections(raw), ['commands', 'commands', 'commands'])
})

test('a thousand clients made and closed leave no connection, no handle and no memory', async (t) => {
  const redis = await withOwnRedis(t)
  const child = program(
    `import { existsSync, readdirSync } from 'node:fs'
    const turn = () => new Promise(setImmediate)
    const held = () => ({
      descriptors: existsSync('/proc/self/fd') && readdirSync('/proc/self/fd').length,
      handles: process.getActiveResourcesInfo().sort(),
      listeners: process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
    })
    const made = []
    const round = async (n) => {
      const client = dothis(options.url, 'queue-' + (n % 7))
      made.push(new WeakRef(client))
      if (n % 3 === 0) await client.get('none')
      if (n % 3 === 1) {
        const worker = client.work({ add: ({ a, b }) => a + b })
        made.push(new WeakRef(worker))
        await client.call('add', { a: n, b: 1 })
      }
      await client.close()
    }
    for (let n = 0; n < 7; n++) await round(n)
    say({ ready: true })
    await new Promise((resolve) => process.stdin.once('data', resolve))
    const before = held()
    for (let n = 0; n < 1000; n++) await round(n)
    say({ done: true })
    await new Promise((resolve) => process.stdin.once('data', resolve))
    // A finalizer runs in a turn of its own, and may be what frees the next object.
    for (let tries = 0; tries < 20; tries++) { gc(); await turn() }
    say({ before, after: held(), kept: made.filter((weak) => weak.deref()).length })
    process.stdin.destroy()`,
    { url: redis.url },
    ['--expose-gc'],
  )
  assert.deepEqual(await child.nextJson(), { ready: true })
  await untilConnections(redis.raw, [])
  child.write('go on')
  assert.deepEqual(await child.nextJson(60_000), { done: true })
  await untilConnections(redis.raw, [])
  child.write('count')
  const { before, after, kept } = await child.nextJson()
  assert.deepEqual(after, before)
  assert.equal(kept, 0)
  assert.deepEqual(await ended(child), { code: 0, signal: null, stderr: '', lines: child.lines })
})
