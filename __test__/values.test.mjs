// Values: any JSON goes there and back, whatever its size and shape.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { within, withRedis } from './support/index.mjs'
import { open } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis

const echo = ({ value }) => value
const nested = (depth, array = true) =>
  array ? `${'['.repeat(depth)}${']'.repeat(depth)}` : `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`

const same = {
  'an empty object': {},
  'an empty array': [],
  'an empty string': '',
  null: null,
  true: true,
  false: false,
  zero: 0,
  'the largest double': Number.MAX_VALUE,
  'the smallest double': Number.MIN_VALUE,
  'the smallest normal double': 2.2250738585072014e-308,
  'the largest safe integer': Number.MAX_SAFE_INTEGER,
  'the smallest safe integer': Number.MIN_SAFE_INTEGER,
  'an integer beyond the safe ones': 2 ** 53 + 2,
  'the difference of one and the next double': Number.EPSILON,
  'a fraction that has no exact double': 0.1 + 0.2,
  'a tiny negative number': -5e-324,
  'a large integer': 1e21,
  'characters beyond the basic plane': '😀𝄞\u{10ffff}',
  'a lone high surrogate': 'a\ud800b',
  'a lone low surrogate': '\udc00',
  'surrogates in the wrong order': '\udc00\ud800',
  NUL: 'a\u0000b',
  'every control character': String.fromCharCode(...Array(32).keys(), 127, 0x80, 0x9f),
  'line separators': '\u2028\u2029\ufeff',
  'quotes and backslashes': '"\\"\\\\\n\r\t\b\f/',
  'combining characters': 'e\u0301 \u00e9 \ufdfa',
  'text that looks like JSON': '{"a":[1,2',
  'text that looks like a reply message': '3:abcv1:7',
  'keys of all kinds': { '': 1, 'a b': 2, '"': 3, '\u0000': 4, '😀': 5, '\ud800': 6, length: 7, 0: 8 },
  'names of Object.prototype': { constructor: 1, toString: 2, hasOwnProperty: 3, valueOf: 4, toJSON: 5 },
  'holes of every kind': [null, [], {}, [[]], [{}]],
}
for (const [what, value] of Object.entries(same)) {
  test(`there and back, the same: ${what}`, async (t) => {
    const client = open(t, redis.url)
    const seen = []
    client.work({
      echo(args) {
        seen.push(args.value)
        return args.value
      },
    })
    const task = await client.enqueue('echo', { value })
    assert.deepEqual(await task.result(), value)
    assert.deepEqual(seen, [value])
    const found = await client.get(task.id)
    assert.deepEqual([found.args, found.value], [{ value }, value])
    // Read from the hash rather than from a message.
    assert.deepEqual(await client.result(task.id), value)
    const key = `${client.queue}:task:${task.id}`
    const written = await raw.send('HMGET', key, 'args', 'result-value')
    assert.deepEqual(written, [JSON.stringify({ value }), JSON.stringify(value)])
  })
}

class Point {
  constructor(x, y) {
    Object.assign(this, { x, y })
  }
  toJSON() {
    return [this.x, this.y]
  }
}
const asJson = {
  '-0': -0,
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  'a Date': new Date(1_449_274_741_834),
  'an invalid Date': new Date(Number.NaN),
  'undefined inside an object': { a: undefined, b: 1 },
  'undefined inside an array': [undefined, 1],
  'functions and symbols': { a() {}, b: Symbol('x'), c: [() => {}], [Symbol('k')]: 1 },
  'a Map': new Map([[1, 2]]),
  'a Set': new Set([1]),
  'a RegExp': /x/,
  'an Error': new Error('x'),
  'a Buffer': Buffer.from('text'),
  'a typed array': new Float64Array([1.5, 2]),
  'a class with toJSON': new Point(1, 2),
  'a class without': Object.assign(new (class Thing {})(), { a: 1 }),
  'a URL': new URL('http://x/y'),
  'boxed values': [Object(1), Object('x'), Object(false)],
  'an object without a prototype': Object.assign(Object.create(null), { a: 1 }),
  'a getter': {
    get a() {
      return 1
    },
  },
}
for (const [what, value] of Object.entries(asJson)) {
  test(`as JSON does it: ${what}`, async (t) => {
    const client = open(t, redis.url)
    client.work({ give: () => value, keep: echo })
    const expected = JSON.parse(JSON.stringify({ value })).value
    assert.deepEqual(await client.call('give'), expected, 'as a result')
    assert.deepEqual(await client.call('keep', { value }), expected, 'within args')
  })
}

test('args may be an object of any class, as JSON does it', async (t) => {
  const client = open(t, redis.url)
  client.work({ whole: (args) => args })
  assert.deepEqual(await client.call('whole', new Map([[1, 2]])), {})
  assert.deepEqual(await client.call('whole', { toJSON: () => ({ a: 1 }) }), { a: 1 })
  assert.deepEqual(await client.call('whole', Object.create({ inherited: 1 })), {})
})

test('-0 that somebody else wrote stays -0', async (t) => {
  const client = open(t, redis.url)
  await raw.send('HSET', `${client.queue}:task:x`, 'function', 'sign', 'args', '{"value":-0}')
  await raw.send('LPUSH', `${client.queue}:pending`, 'x')
  client.work({ sign: ({ value }) => (Object.is(value, -0) ? 'negative' : 'positive') })
  assert.equal(await client.result('x'), 'negative')
})

test('numbers that no double can hold are read as JavaScript reads them', async (t) => {
  const client = open(t, redis.url)
  const text = '[1e999,-1e999,12345678901234567890,0.1e-400,1E+2]'
  await raw.send('HSET', `${client.queue}:task:x`, 'function', 'x', 'args', `{"value":${text}}`)
  await raw.send('HSET', `${client.queue}:task:y`, 'state', 'finished', 'result', 'successful')
  await raw.send('HSET', `${client.queue}:task:y`, 'result-value', text)
  await raw.send('LPUSH', `${client.queue}:pending`, 'x')
  const seen = new Promise((resolve) => client.work({ x: ({ value }) => resolve(value) }))
  assert.deepEqual(await within(seen), JSON.parse(text))
  assert.deepEqual(await client.result('y'), JSON.parse(text))
})

test('__proto__ in args and results is a key like any other', async (t) => {
  const client = open(t, redis.url)
  const text = '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}'
  const seen = []
  client.work({
    look(args) {
      seen.push(args)
      return JSON.parse(text)
    },
  })
  const result = await client.call('look', JSON.parse(text), { id: 'x' })
  const { args, value } = await client.get('x')
  const original = await client.gettask('x')
  for (const found of [result, args, value, original.args, original['result-value'], ...seen]) {
    assert.equal(JSON.stringify(found), text)
    assert.equal(Object.getPrototypeOf(found), Object.prototype)
  }
  await raw.send('HSET', `${client.queue}:task:x`, '__proto__', 'x', 'constructor', 'y')
  const odd = await client.gettask('x')
  assert.equal(Object.getPrototypeOf(odd), Object.prototype)
  assert.ok(Object.hasOwn(odd, '__proto__'))
  assert.equal({}.polluted, undefined)
})

test('ten megabytes go there and back', async (t) => {
  const client = open(t, redis.url)
  client.work({ echo })
  const text = 'é😀x'.repeat(1_600_000)
  assert.ok(Buffer.byteLength(text) > 10 * 1024 * 1024)
  const results = await Promise.all([1, 2].map(() => client.call('echo', { value: text })))
  for (const result of results) assert.ok(result === text)
  const many = Array.from({ length: 100_000 }, (_, n) => ({
    n,
    text: `entry ${n} of many, to be ten megabytes`,
  }))
  const task = await client.enqueue('echo', { value: many })
  assert.deepEqual(await task.result(), many)
  assert.deepEqual((await task.get()).value, many)
})

test('large values do not keep small ones of the same tick from their callers', async (t) => {
  const client = open(t, redis.url)
  client.work({ echo }, { concurrency: 50 })
  const value = 'x'.repeat(2_000_000)
  const results = await Promise.all(
    Array.from({ length: 40 }, (_, n) => client.call('echo', { value: n % 8 ? n : value })),
  )
  results.forEach((result, n) => {
    assert.ok(result === (n % 8 ? n : value), String(n))
  })
})

test('a nesting of a thousand levels goes there and back', async (t) => {
  const client = open(t, redis.url)
  client.work({ echo, give: ({ depth }) => JSON.parse(nested(depth)) })
  const value = JSON.parse(nested(999))
  assert.equal(JSON.stringify(await client.call('echo', { value })), nested(999))
  assert.equal(JSON.stringify(await client.call('give', { depth: 1_000 })), nested(1_000))
})

for (const depth of [1_001, 10_000, 1_000_000]) {
  for (const array of [true, false]) {
    const what = `${depth} levels of ${array ? 'arrays' : 'objects'}`

    test(`${what} in args are an ArgsError`, async (t) => {
      const client = open(t, redis.url)
      const value = JSON.parse(nested(depth, array))
      await assert.rejects(client.call('echo', { value }), { code: 'ERR_ARGS', name: 'ArgsError' })
      await assert.rejects(client.enqueueMany([{ function: 'echo', args: { value } }]), { code: 'ERR_ARGS' })
      assert.equal(await client.get('round trip'), null)
    })

    test(`${what} as a result fail that task alone`, async (t) => {
      const client = open(t, redis.url)
      client.work({ give: () => JSON.parse(nested(depth, array)), echo })
      const [bad, good] = await Promise.allSettled([client.call('give'), client.call('echo', { value: 1 })])
      assert.equal(bad.reason.code, 'ERR_TASK_FAILED')
      assert.match(bad.reason.reason, /nested deeper than 1000 levels|call stack/)
      assert.equal(good.value, 1)
    })

    test(`${what}, put in by somebody else, fail the task, or the wait for it`, async (t) => {
      const client = open(t, redis.url)
      const deep = nested(depth, array)
      await raw.send('HSET', `${client.queue}:task:in`, 'function', 'echo', 'args', `{"value":${deep}}`)
      await raw.send('HSET', `${client.queue}:task:out`, 'state', 'finished', 'result', 'successful')
      await raw.send('HSET', `${client.queue}:task:out`, 'result-value', deep)
      await raw.send('LPUSH', `${client.queue}:pending`, 'in')
      client.work({ echo })
      await assert.rejects(client.result('in'), { code: 'ERR_TASK_FAILED', reason: /args: nested deeper/ })
      await assert.rejects(client.result('out'), { code: 'ERR_TASK_FAILED', reason: /nested deeper/ })
      // The hash is read as it is, by whoever asks for that.
      assert.equal((await client.get('out')).state, 'finished')
    })
  }
}
