// Names of functions, ids and queues: any text will do, and none of it is taken for anything but a name.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { snapshot, uniqueQueue, withRedis } from './support/index.mjs'
import { flushed, open, outcome } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis

const names = {
  'line breaks': 'a\r\nb\n',
  quotes: '"\'`\\',
  colons: 'a:b::task:c:',
  'a protocol text': '\r\n$5\r\nhello\r\n*1\r\n',
  spaces: '  a b ',
  NUL: 'a\u0000b',
  'control characters': '\u0001\u001b[31m\u007f',
  'characters beyond the basic plane': '😀𝄞\u{10ffff}',
  'a glob pattern': '*?[a-z]\\',
  'braces, as for a hash tag': '{a}{b}',
  'JSON syntax': '"],[1,"',
  commas: 'a,b,,c',
  'a netstring': '3:abc',
  'a format': '%s %d {0} $1',
  'a name of Object.prototype': '__proto__',
  'an integer': '17',
  'a megabyte': 'x'.repeat(1024 * 1024),
}

for (const [what, name] of Object.entries(names)) {
  test(`a function's name and an id may be ${what}`, async (t) => {
    const client = open(t, redis.url)
    const worker = client.work(Object.fromEntries([[name, (_args, task) => [task.id, task.function]]]))
    const task = await client.enqueue(name, {}, { id: name })
    assert.deepEqual([task.id, task.function, task.created], [name, name, true])
    assert.deepEqual(await task.result(), [name, name])
    assert.equal((await client.enqueue(name, {}, { id: name })).created, false)
    assert.deepEqual(await client.call(name, {}, { id: name }), [name, name])
    assert.deepEqual(await client.taskwithid(name, name, {}), [name, name])
    const { id, function: found, value } = await client.get(name)
    assert.deepEqual([id, found, value], [name, name, [name, name]])
    await worker.close()
    const keys = Object.keys(await snapshot(raw, client.queue, { mask: (text) => text }))
    assert.deepEqual(keys, [`task:${name}`])
  })

  test(`a task whose function is ${what} and has no handler fails with one line, not too long`, async (t) => {
    const client = open(t, redis.url)
    client.work({ known: () => {} })
    const { error } = await outcome(client.call(name, {}))
    assert.equal(error.code, 'ERR_TASK_FAILED')
    assert.match(error.reason, /^no handler for function "/)
    assert.match(error.reason, /registered: known$/)
    assert.ok(!/[\r\n]/.test(error.reason))
    assert.ok(error.reason.length < 1_100)
  })
}

for (const [what, name] of Object.entries(names).filter(([, name]) => name.length < 1_000)) {
  test(`a queue's name may be ${what}`, async (t) => {
    const queue = `${uniqueQueue()}${name}`
    const client = open(t, redis.url, { queue })
    const worker = client.work({ echo: ({ n }) => n })
    assert.equal(await client.call('echo', { n: 1 }, { id: 'x' }), 1)
    assert.equal(await raw.send('HGET', `${queue}:task:x`, 'result-value'), '1')
    await worker.close()
  })
}

test('names that differ only in case, normal form or white space are different names', async (t) => {
  const client = open(t, redis.url)
  const all = ['e\u0301', '\u00e9', 'A', 'a', ' a', 'a ', '\u00a0a']
  client.work(Object.fromEntries(all.map((name, index) => [name, () => index])))
  const results = await Promise.all(all.map((name) => client.call(name, {}, { id: name })))
  assert.deepEqual(
    results,
    all.map((_, index) => index),
  )
})

test('names that can be none are refused before Redis is touched', async (t) => {
  const client = open(t, redis.url)
  for (const name of [undefined, null, '', 5, {}, [], () => {}, Symbol('x'), 'lone \ud800']) {
    const refused = (error) => error instanceof dothis.ArgsError && /function/.test(error.message)
    await assert.rejects(client.enqueue(name), refused)
    await assert.rejects(client.call(name), refused)
    await assert.rejects(client.task(name, {}), refused)
    await assert.rejects(client.enqueueMany([{ function: name }]), refused)
  }
  await flushed(client, raw)
  assert.deepEqual(await snapshot(raw, client.queue), {})
})

test('an id that is no text is run and finished under its own bytes', async (t) => {
  const client = open(t, redis.url)
  const id = Buffer.from([0xff, 0x00, 0xfe])
  const key = Buffer.concat([Buffer.from(`${client.queue}:task:`), id])
  await raw.send('HSET', key, 'function', 'echo', 'args', '{"n":1}')
  await raw.send('LPUSH', `${client.queue}:pending`, id)
  const worker = client.work({ echo: ({ n }) => n, last: () => {} })
  await client.call('last')
  await worker.close()
  assert.deepEqual(await raw.send('HMGET', key, 'state', 'result-value'), ['finished', '1'])
  assert.equal(await raw.send('EXISTS', `${client.queue}:executing`), 0)
})

test('a function that is no text is finished as failed', async (t) => {
  const client = open(t, redis.url)
  await raw.send('HSET', `${client.queue}:task:x`, 'function', Buffer.from([0xff, 0xfe]))
  await raw.send('LPUSH', `${client.queue}:pending`, 'x')
  client.work({})
  await assert.rejects(client.result('x'), { code: 'ERR_TASK_FAILED', reason: /not UTF-8/ })
})

test("other fields of a task's hash may hold any bytes", async (t) => {
  const client = open(t, redis.url)
  const key = `${client.queue}:task:x`
  const odd = Buffer.from([0xff, 0x00, 0x22, 0x5c])
  await raw.send('HSET', key, 'function', 'echo', 'pending-created', odd, odd, odd, 'reply-to', odd)
  await raw.send('LPUSH', `${client.queue}:pending`, 'x')
  client.work({ echo: (_args, task) => [task.createdAt === undefined] })
  assert.deepEqual(await client.result('x'), [true])
  const found = await client.get('x')
  assert.deepEqual([found.state, found.createdAt], ['finished', undefined])
  assert.equal((await client.gettask('x'))['\ufffd\u0000"\\'], '\ufffd\u0000"\\')
})
