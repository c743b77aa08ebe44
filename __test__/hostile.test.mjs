// Whatever is in Redis, whoever wrote it: it fails one task with a reason that says why, or is dropped; client and
// worker live, the other tasks run, and no prototype changes.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, test } from 'node:test'
import dothis from '../index.mjs'
import { connect, withRedis } from './support/index.mjs'
import { open, outcome, until } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis
const binary = await connect(redis.url, { buffers: true })
after(() => binary.close())

const EVIL_NAMES = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'prototype', 'then', 'valueOf']
const BYTES = Buffer.from([0, 0xff, 0xfe, 0x80, 0xc0, 0x0a, 0x22, 0x5c])
const HUGE = 10 * 1024 * 1024

function assertPrototypesAreClean() {
  assert.deepEqual(Object.keys(Object.prototype), [])
  assert.equal({}.polluted, undefined)
  assert.equal(Object.getPrototypeOf({}), Object.prototype)
  assert.equal(Object.prototype.toString.call([]), '[object Array]')
}

const key = (client, id) => Buffer.concat([Buffer.from(`${client.queue}:task:`), Buffer.from(id)])

/** Puts a task in as any program might: these fields, whatever they are. */
async function put(client, id, fields, { list = 'pending' } = {}) {
  await binary.send('HSET', key(client, id), ...Object.entries(fields).flat())
  await binary.send('LPUSH', `${client.queue}:${list}`, id)
}

/** A worker that has been through all that was put in by now, and what it did. */
async function workThrough(client, handlers = {}, options) {
  const dropped = []
  const errors = []
  const worker = client.work({ ok: () => 'ok', ...handlers }, options)
  worker.on('dropped', (what) => dropped.push(what))
  worker.on('error', (error) => errors.push(error))
  assert.equal(await client.call('ok', {}, { timeout: 10_000 }), 'ok')
  await until(async () => !(await raw.send('EXISTS', `${client.queue}:executing`)), 'all has been run')
  assert.deepEqual(errors, [])
  assertPrototypesAreClean()
  return { worker, dropped }
}

test('names of functions that every object has are names like any other', async (t) => {
  const client = open(t, redis.url)
  for (const name of EVIL_NAMES) {
    await assert.rejects(
      async () => {
        const worker = client.work({ other: () => {} }, { concurrency: 1 })
        try {
          return await client.call(name)
        } finally {
          await worker.close()
        }
      },
      {
        code: 'ERR_TASK_FAILED',
        reason: `no handler for function "${name}" is registered here; registered: other`,
      },
    )
  }
  const worker = client.work({})
  for (const name of EVIL_NAMES) worker.handle(name, () => `${name} ran`)
  for (const name of EVIL_NAMES) assert.equal(await client.call(name), `${name} ran`)
  assertPrototypesAreClean()
})

test('handlers come from own properties only', async (t) => {
  const client = open(t, redis.url)
  const inherited = Object.create({ inherited: () => 'from the prototype' })
  inherited.own = () => 'own'
  client.work(inherited)
  assert.equal(await client.call('own'), 'own')
  await assert.rejects(client.call('inherited'), { code: 'ERR_TASK_FAILED', reason: /registered: own$/ })
})

test('args and results with __proto__ arrive as they are, and change nothing', async (t) => {
  const client = open(t, redis.url)
  const text =
    '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":2}},"a":{"__proto__":null}}'
  const seen = []
  client.work({
    echo(args) {
      seen.push(JSON.stringify(args))
      return args
    },
  })
  const result = await client.call('echo', JSON.parse(text), { id: 'evil' })
  assert.deepEqual(seen, [text])
  assert.equal(JSON.stringify(result), text)
  assert.equal(JSON.stringify((await client.get('evil')).args), text)
  assert.equal(JSON.stringify((await client.gettask('evil')).args), text)
  assertPrototypesAreClean()
})

test('ids that every object has, and ids of any text, are ids like any other', async (t) => {
  const client = open(t, redis.url)
  const ids = [
    ...EVIL_NAMES,
    ' ',
    '\n',
    '"',
    "'",
    ':',
    ',',
    '\u0000',
    'a\u0000b',
    '%s',
    '{}',
    '*',
    'ü😀',
    '-1',
    'x'.repeat(5_000),
  ]
  client.work({ who: (_, { id }) => id })
  const tasks = await client.enqueueMany(ids.map((id) => ({ function: 'who', id })))
  assert.deepEqual(
    tasks.map(({ id }) => id),
    ids,
  )
  assert.deepEqual(await Promise.all(ids.map((id) => client.result(id))), ids)
  for (const id of ids) {
    const { state, value } = await client.get(id)
    assert.deepEqual({ id, state, value }, { id, state: 'finished', value: id })
  }
  assertPrototypesAreClean()
})

test('ids of any bytes in pending are run where they have a task, and dropped where not', async (t) => {
  const client = open(t, redis.url)
  const ids = [
    BYTES,
    Buffer.from([0xff]),
    Buffer.from('a,b:c\n"d"\0'),
    Buffer.alloc(1_000, 0xee),
    randomBytes(64),
  ]
  for (const id of ids) {
    await put(client, id, { function: 'run', state: 'pending', args: '{}' })
    await binary.send('LPUSH', `${client.queue}:pending`, Buffer.concat([Buffer.from('none'), id]))
  }
  await binary.send('LPUSH', `${client.queue}:pending`, '')
  let runs = 0
  const { dropped } = await workThrough(client, { run: () => ++runs })
  assert.equal(runs, ids.length)
  assert.equal(dropped.length, ids.length + 1)
  assert.ok(dropped.every(({ why }) => why === 'missing'))
  for (const id of ids)
    assert.equal(String(await binary.send('HGET', key(client, id), 'result')), 'successful')
})

test('a hash with fields of any name can be read', async (t) => {
  const client = open(t, redis.url)
  const fields = {
    function: 'x',
    args: '{}',
    state: 'pending',
    __proto__x: '1',
    'error-': 'x',
    'error-1e3': 'x',
  }
  await binary.send('HSET', key(client, 'odd'), ...Object.entries(fields).flat())
  await binary.send('HSET', key(client, 'odd'), '__proto__', 'polluted', 'constructor', 'x', BYTES, BYTES)
  await binary.send(
    'HSET',
    key(client, 'odd'),
    'error-1',
    BYTES,
    'error-2',
    '',
    'error-3',
    'no date and no reason',
  )
  await binary.send('HSET', key(client, 'odd'), 'attempt', 'NaN', 'pending-created', BYTES)
  const task = await client.get('odd')
  assert.deepEqual(
    {
      attempt: task.attempt,
      createdAt: task.createdAt,
      errors: task.errors.map(({ attempt, at }) => [attempt, at]),
    },
    {
      attempt: 1,
      createdAt: undefined,
      errors: [
        [1, undefined],
        [2, undefined],
        [3, undefined],
      ],
    },
  )
  const original = await client.gettask('odd')
  assert.equal(Object.getPrototypeOf(original), Object.prototype)
  assertPrototypesAreClean()
})

test('a date that is none is undefined for the handler as well', async (t) => {
  const client = open(t, redis.url)
  await put(client, 'odd', { function: 'when', 'pending-created': 'yesterday' })
  const seen = []
  await workThrough(client, { when: (_, { createdAt }) => seen.push(createdAt) })
  assert.deepEqual(seen, [undefined])
})

test('ten megabytes in any one field are borne', async (t) => {
  const client = open(t, redis.url)
  const big = 'x'.repeat(HUGE)
  const plain = { function: 'echo', state: 'pending', args: '{}' }
  await put(client, 'args', { ...plain, args: JSON.stringify({ big }) })
  await put(client, 'no-json', { ...plain, args: big })
  await put(client, 'function', { ...plain, function: big })
  await put(client, 'options', { ...plain, options: JSON.stringify({ big }) })
  await put(client, 'no-options', { ...plain, options: big })
  await put(client, 'attempt', { ...plain, options: '{}', attempt: big })
  await put(client, 'expires', { ...plain, options: '{}', expires: big })
  await put(client, 'reply-to', { ...plain, 'reply-to': big })
  await put(client, 'addresses', { ...plain, 'reply-to': 'a,'.repeat(HUGE / 2) })
  await put(client, 'cancel', { ...plain, options: '{}', cancel: big })
  await put(client, 'other', { ...plain, other: big })
  await put(client, 'created', { ...plain, 'pending-created': big })
  const sizes = {}
  const echo = (args, { id }) => {
    sizes[id] = JSON.stringify(args).length
  }
  await workThrough(client, { echo })
  const results = {}
  for (const id of [
    'args',
    'no-json',
    'function',
    'options',
    'no-options',
    'attempt',
    'expires',
    'reply-to',
    'addresses',
    'cancel',
    'other',
    'created',
  ]) {
    const { error } = await outcome(client.result(id))
    results[id] = error ? (error.reason ?? error.code).slice(0, 60) : 'ok'
  }
  assert.deepEqual(results, {
    args: 'ok',
    'no-json': 'args: not JSON: expected value at line 1 column 1',
    function: `no handler for function "${'x'.repeat(60 - 'no handler for function "'.length)}`,
    options: 'ok',
    'no-options': "options can't be used: expected value at line 1 column 1. Ex",
    attempt: 'ok',
    expires: "expires can't be used: expected milliseconds since 1970",
    'reply-to': 'ok',
    addresses: 'ok',
    cancel: 'ERR_CANCELLED',
    other: 'ok',
    created: 'ok',
  })
  assert.equal(sizes.args, JSON.stringify({ big }).length)
  await assert.rejects(client.result('cancel'), dothis.CancelledError)
})
