// Args and results that cannot be taken: said clearly, before Redis is touched, and to the one call alone.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { snapshot, withRedis } from './support/index.mjs'
import { flushed, open } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis

const cycle = {}
cycle.self = [cycle]
const throws = (thrown) => () => {
  throw thrown
}

const refused = {
  'an array': [[1, 2], /an object of named arguments, not an array/],
  'an empty array': [[], /not an array/],
  'a string': ['text', /not a string/],
  'an empty string': ['', /named arguments/],
  'a number': [5, /not 5/],
  zero: [0, /not 0/],
  true: [true, /not a boolean/],
  'a function': [() => {}, /not a function/],
  'a symbol': [Symbol('x'), /not a symbol/],
  'a BigInt': [5n, /not a bigint/],
  'a BigInt within': [{ deep: [{ n: 1n }] }, /BigInt/],
  'a cycle': [cycle, /circular/],
  'a toJSON that throws': [{ x: { toJSON: throws(new Error('no JSON of me')) } }, /no JSON of me/],
  'a toJSON that throws nothing': [{ toJSON: throws(undefined) }, /undefined/],
  'a toJSON that throws what throws': [
    {
      toJSON: throws({
        get message() {
          throw 1
        },
      }),
    },
    /cannot be read/,
  ],
  'a getter that throws': [
    {
      get x() {
        throw new Error('not x')
      },
    },
    /not x/,
  ],
  'a Date': [new Date(), /toJSON makes a single value/],
  'a toJSON that makes an array': [{ toJSON: () => [1] }, /toJSON makes an array/],
  'a toJSON that makes nothing': [{ toJSON: () => undefined }, /toJSON makes nothing/],
  'a toJSON that makes null': [{ toJSON: () => null }, /toJSON makes a single value/],
  'a Proxy whose traps throw': [new Proxy({}, { ownKeys: throws(new Error('no keys')) }), /no keys/],
  'a boxed string': [Object('text'), /single value/],
}
for (const [what, [args, message]] of Object.entries(refused)) {
  test(`args are refused before Redis is touched: ${what}`, async (t) => {
    const client = open(t, redis.url)
    const id = 'x'
    const calls = {
      enqueue: () => client.enqueue('f', args, { id }),
      enqueueMany: () => client.enqueueMany([{ function: 'f', args, id }]),
      call: () => client.call('f', args, { id }),
      taskwithid: () => client.taskwithid(id, 'f', what === 'a function' ? [] : args),
    }
    for (const [name, call] of Object.entries(calls)) {
      await assert.rejects(call, (error) => {
        assert.ok(error instanceof dothis.ArgsError, `${name}: ${error}`)
        assert.equal(error.code, 'ERR_ARGS')
        assert.equal(error.function, 'f')
        assert.equal(error.taskId, id)
        if (name !== 'taskwithid') assert.match(error.message, message)
        assert.ok(!error.message.includes('\n'))
        return true
      })
    }
    assert.equal(client.health().pending, 0)
    await flushed(client, raw)
    assert.deepEqual(await snapshot(raw, client.queue), {})
  })
}

test('the error of an args value that cannot be written carries what was thrown', async (t) => {
  const client = open(t, redis.url)
  const cause = new RangeError('mine')
  await assert.rejects(client.call('f', { toJSON: throws(cause) }), (error) => error.cause === cause)
})

test('a refused call does not disturb its neighbours of the same tick', async (t) => {
  const client = open(t, redis.url)
  client.work({ echo: ({ n }) => n })
  const [one, bad, two] = await Promise.allSettled([
    client.call('echo', { n: 1 }),
    client.call('echo', { n: 1n }),
    client.call('echo', { n: 2 }),
  ])
  assert.deepEqual([one.value, bad.reason.code, two.value], [1, 'ERR_ARGS', 2])
})

test('args larger than maxArgsBytes are an ArgsError that says how large, and what to do', async (t) => {
  const client = open(t, redis.url, { maxArgsBytes: 20 })
  const fits = { a: 'x'.repeat(12) }
  assert.equal(JSON.stringify(fits).length, 20)
  assert.equal((await client.enqueue('f', fits, { id: 'fits' })).created, true)
  const large = [{ a: 'x'.repeat(13) }, { a: 'é'.repeat(7) }, { a: 'x'.repeat(1e6) }]
  for (const args of large) {
    const size = Buffer.byteLength(JSON.stringify(args))
    for (const call of ['enqueue', 'call', 'task']) {
      await assert.rejects(client[call]('f', args), (error) => {
        assert.equal(error.code, 'ERR_ARGS')
        assert.equal(error.function, 'f')
        assert.ok(error.message.includes(`${size} bytes`), error.message)
        assert.match(error.message, /\b20\b.*maxArgsBytes/)
        return true
      })
    }
  }
  const [bad, good] = await Promise.allSettled([
    client.enqueue('f', large[0]),
    client.enqueue('f', {}, { id: 'good' }),
  ])
  assert.deepEqual([bad.reason.code, good.value.created], ['ERR_ARGS', true])
  assert.deepEqual(await raw.send('LRANGE', `${client.queue}:pending`, 0, -1), ['good', 'fits'])
  assert.equal(client.health().pending, 0)
})

test('a result larger than maxResultBytes fails its own task, saying how large, and what to do', async (t) => {
  const client = open(t, redis.url)
  client.work({ give: ({ length }) => 'x'.repeat(length) }, { maxResultBytes: 20 })
  const [fits, large, huge] = await Promise.allSettled(
    [18, 19, 1e6].map((length) => client.call('give', { length })),
  )
  assert.equal(fits.value, 'x'.repeat(18))
  for (const [outcome, size] of [
    [large, 21],
    [huge, 1e6 + 2],
  ]) {
    assert.equal(outcome.reason.code, 'ERR_TASK_FAILED')
    assert.match(outcome.reason.reason, new RegExp(`\\b${size} bytes.*\\b20\\b.*maxResultBytes`))
  }
})

test('limits that are none are refused', (t) => {
  const client = open(t, redis.url)
  for (const limit of [0, 1, -5, 1.5, '5', Number.NaN, null, 2 ** 40]) {
    assert.throws(() => dothis({ url: redis.url, maxArgsBytes: limit }), {
      code: 'ERR_ARGS',
      message: /maxArgsBytes/,
    })
    assert.throws(() => client.work({}, { maxResultBytes: limit }), {
      code: 'ERR_ARGS',
      message: /maxResultBytes/,
    })
  }
})
