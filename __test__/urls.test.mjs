// Where Redis is, is said by a URL: over TCP or a socket, with user and password, with a database number. What is
// wrong with it is said at once, or by the error of the first call.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import dothis, { ArgsError } from '../index.mjs'
import { connect, snapshot, withOwnRedis } from './support/index.mjs'

/** A server that has a socket, a password for the default user, and a user `alice`. */
async function start(t) {
  const dir = mkdtempSync(join(tmpdir(), 'dothis-socket-'))
  const clients = []
  t.after(async () => {
    await Promise.all(clients.map((client) => client.close()))
    rmSync(dir, { recursive: true })
  })
  const socket = join(dir, 'redis.sock')
  const { port, raw } = await withOwnRedis(t, { args: ['--unixsocket', socket] })
  const open = (url, options) => {
    const client = dothis({ url, ...options })
    clients.push(client)
    return client
  }
  /** The database's contents, seen over a connection of its own. */
  const contents = async (database) => {
    await raw.send('SELECT', database)
    return await snapshot(raw, 'dothis')
  }
  return { port, raw, socket, open, contents }
}

const TASK = {
  pending: { list: ['one'] },
  'task:one': {
    hash: { function: 'add', state: 'pending', args: '{"a":1,"b":2}', 'pending-created': '<time>' },
  },
}
const DONE = {
  'task:one': {
    hash: {
      function: 'add',
      state: 'finished',
      args: '{"a":1,"b":2}',
      'pending-created': '<time>',
      'executing-created': '<time>',
      result: 'successful',
      'result-value': '3',
      'finished-created': '<time>',
    },
    expires: true,
  },
}

/** One task all the way, with waits and a worker, so that all three kinds of connections are made. */
async function assertWorks(client) {
  const worker = client.work({ add: ({ a, b }) => a + b })
  assert.equal(await client.call('add', { a: 1, b: 2 }, { id: 'one', timeout: 10_000 }), 3)
  await worker.close()
}

test('redis:// with host and port, and with a number of the database', async (t) => {
  const { port, open, contents } = await start(t)
  await assertWorks(open(`redis://127.0.0.1:${port}`))
  assert.deepEqual(await contents(0), DONE)
  await open(`redis://localhost:${port}/3`).enqueue('add', { a: 1, b: 2 }, { id: 'one' })
  assert.deepEqual(await contents(3), TASK)
  await assertWorks(open(`redis://localhost:${port}/4`))
  assert.deepEqual(await contents(4), DONE)
  assert.deepEqual(await contents(0), DONE)
  assert.deepEqual(await contents(3), TASK)
})

test('unix:/path and redis+unix:///path, and with a number of the database', async (t) => {
  const { socket, open, contents } = await start(t)
  const forms = [`unix:${socket}`, `unix://${socket}?db=1`, `redis+unix://${socket}?db=2`]
  for (const [database, url] of forms.entries()) {
    await assertWorks(open(url))
    assert.deepEqual(await contents(database), DONE, url)
  }
})

test('a password, and a user with a password, over TCP and over a socket', async (t) => {
  const { port, raw, socket, open, contents } = await start(t)
  const password = 'p@ss/w:rd #1%'
  const coded = encodeURIComponent(password)
  await raw.send('ACL', 'SETUSER', 'alice', 'on', `>${password}`, '~dothis:*', '&dothis:*', '+@all')
  await raw.send('CONFIG', 'SET', 'requirepass', 'for everybody else')
  const forms = [
    `redis://:${encodeURIComponent('for everybody else')}@127.0.0.1:${port}/0`,
    `redis://alice:${coded}@127.0.0.1:${port}/1`,
    `redis+unix://${socket}?db=2&user=alice&pass=${coded}`,
    `unix:${socket}?db=3&pass=${encodeURIComponent('for everybody else')}`,
  ]
  for (const [database, url] of forms.entries()) {
    await assertWorks(open(url))
    assert.deepEqual(await contents(database), DONE, url)
  }
})

test('a wrong password is a ConnectionError that says so, and does not show the password', async (t) => {
  const { port, raw, open } = await start(t)
  await raw.send('ACL', 'SETUSER', 'alice', 'on', '>right', '~*', '&*', '+@all')
  await raw.send('CONFIG', 'SET', 'requirepass', 'right')
  const wrong = [
    [`redis://alice:wr0ng@127.0.0.1:${port}`, /WRONGPASS|invalid username-password/],
    [`redis://:wr0ng@127.0.0.1:${port}`, /WRONGPASS|invalid username-password/],
    [`redis://bob:wr0ng@127.0.0.1:${port}`, /WRONGPASS|invalid username-password/],
    [`redis://127.0.0.1:${port}`, /NOAUTH|uthentication/],
  ]
  const refused = async ([url, why]) => {
    const client = open(url, { commandTimeout: 3_000 })
    const error = await client.get('none').catch((error) => error)
    assert.equal(error.name, 'ConnectionError', url)
    assert.equal(error.code, 'ERR_CONNECTION')
    assert.match(error.message, why)
    assert.match(error.message, new RegExp(`127.0.0.1:${port}`))
    assert.doesNotMatch(error.message, /wr0ng/)
    assert.match(client.health().reason, why)
  }
  await Promise.all(wrong.map(refused))
})

test('nobody at the address is a ConnectionError that says where and why', async (t) => {
  const { socket, open } = await start(t)
  const nowhere = [
    ['redis://127.0.0.1:1', /127\.0\.0\.1:1 .*refused/],
    [`unix:${socket}.none`, /redis\.sock\.none .*No such file/],
    ['redis://no-such-host.invalid:6379', /no-such-host\.invalid:6379/],
  ]
  for (const [url, why] of nowhere) {
    await assert.rejects(open(url, { commandTimeout: 1_000 }).enqueue('add'), {
      name: 'ConnectionError',
      message: why,
    })
  }
})

test('a database that the server does not have is a ConnectionError that says so', async (t) => {
  const { port, open } = await start(t)
  const client = open(`redis://127.0.0.1:${port}/99`, { commandTimeout: 2_000 })
  await assert.rejects(client.get('none'), { name: 'ConnectionError', message: /database|DB index/i })
})

test('a URL that is none is an ArgsError at once, which names the forms', () => {
  const wrong = [
    '',
    'nonsense',
    'http://127.0.0.1:6379',
    'redis://',
    'redis://127.0.0.1:port',
    'redis://127.0.0.1/db',
  ]
  for (const url of [...wrong, 6379, true]) {
    assert.throws(() => dothis(url), ArgsError, String(url))
    assert.throws(() => dothis({ url }), ArgsError, String(url))
  }
  assert.throws(() => dothis('http://127.0.0.1:6379'), /redis:\/\/.*rediss:\/\/.*unix:/)
  assert.throws(
    () => dothis('redis://alice:s3cret@127.0.0.1:port'),
    (error) => !error.message.includes('s3cret'),
  )
  assert.throws(() => dothis('redis://127.0.0.1:6379', ''), ArgsError)
})

test('without a URL it is redis://127.0.0.1:6379, and without a queue it is dothis', async () => {
  const clients = [dothis(), dothis({}), dothis(undefined, undefined), dothis({ commandTimeout: 100 })]
  for (const { queue } of clients) assert.equal(queue, 'dothis')
  // Where a Redis of somebody else's is there it answers; otherwise the error says where none was.
  const [found] = await Promise.allSettled([clients.at(-1).get('no such task')])
  if (found.status === 'rejected') assert.match(found.reason.message, /Redis at 127\.0\.0\.1:6379/)
  await Promise.all(clients.map((client) => client.close()))
})

test('a user that may touch nothing but the queue is enough', async (t) => {
  const { port, raw, open, contents } = await start(t)
  await raw.send(
    'ACL',
    'SETUSER',
    'queue',
    'on',
    '>only',
    '~dothis:*',
    '&dothis:*',
    '-@all',
    '+@read',
    '+@write',
  )
  await raw.send(
    'ACL',
    'SETUSER',
    'queue',
    '+@pubsub',
    '+@scripting',
    '+@connection',
    '+@transaction',
    '+time',
  )
  await assertWorks(open(`redis://queue:only@127.0.0.1:${port}`))
  assert.deepEqual(await contents(0), DONE)
  const other = await connect(`redis://queue:only@127.0.0.1:${port}`)
  await assert.rejects(other.send('GET', 'elsewhere'), /NOPERM/)
  other.close()
})
