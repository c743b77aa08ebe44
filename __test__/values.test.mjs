// Any JSON goes through as it is; what is no JSON is a clear error.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withRedis } from './support/index.mjs'
import { open } from './support/open.mjs'

const redis = await withRedis()

function echoing(t, options) {
  const client = open(t, redis.url, options)
  client.work({
    echo: ({ value }) => value,
    big: () => 5n,
    deep: () => JSON.parse('['.repeat(10_000) + ']'.repeat(10_000)),
  })
  return client
}

test('values arrive as JSON has them', async (t) => {
  const client = echoing(t)
  const values = [
    null,
    0,
    '',
    false,
    1e308,
    5e-324,
    0.1,
    2 ** 53 + 2,
    'é🙂\0',
    '\ud800',
    [1, [2]],
    { a: { b: [] } },
  ]
  for (const value of values) assert.deepEqual(await client.call('echo', { value }), value)
  assert.equal(await client.call('echo', { value: new Date(0) }), '1970-01-01T00:00:00.000Z')
  assert.deepEqual(await client.call('echo', { value: { a: undefined, b: 1 } }), { b: 1 })
  assert.equal(await client.call('echo', {}), undefined)
  const polluting = JSON.parse('{"__proto__":{"polluted":1}}')
  assert.deepEqual(await client.call('echo', { value: polluting }), polluting)
  assert.equal({}.polluted, undefined)
})

test('ten megabytes go both ways', async (t) => {
  const value = 'x'.repeat(10 * 1024 * 1024)
  assert.equal((await echoing(t).call('echo', { value })) === value, true)
})

test('what can’t be a task’s args is an ArgsError', async (t) => {
  const client = echoing(t, { maxArgsBytes: 100 * 1024 })
  const cycle = {}
  cycle.cycle = cycle
  const deep = { value: JSON.parse('['.repeat(10_000) + ']'.repeat(10_000)) }
  for (const args of [{ value: 1n }, cycle, deep, [1], 'text', 5, { value: 'x'.repeat(200 * 1024) }]) {
    await assert.rejects(client.call('echo', args), { code: 'ERR_ARGS', name: 'ArgsError' })
  }
  assert.equal(await client.call('echo', { value: 1 }), 1)
})

test('a result that is no JSON, or too deep, fails its own task alone', async (t) => {
  const client = echoing(t)
  const [big, deep, fine] = await Promise.allSettled(
    ['big', 'deep', 'echo'].map((name) => client.call(name, { value: 1 })),
  )
  assert.match(big.reason.reason, /BigInt/)
  assert.match(deep.reason.reason, /deeper|call stack/)
  assert.equal(fine.value, 1)
})
