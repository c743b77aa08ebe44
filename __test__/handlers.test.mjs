// What a handler gets, what it may return and throw, and which one a task finds.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import vm from 'node:vm'
import dothis from '../index.mjs'
import { within, withRedis } from './support/index.mjs'
import { gate, open, outcome } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis

/** Runs the one handler; gives what the waiter got, and the task as it is left. */
async function run(t, handler, args = {}) {
  const client = open(t, redis.url)
  const worker = client.work({ subject: handler, healthy: () => 'healthy' })
  const [before, { value, error }, after] = await Promise.all([
    client.call('healthy'),
    outcome(client.call('subject', args, { id: 'subject' })),
    client.call('healthy'),
  ])
  assert.deepEqual([before, after], ['healthy', 'healthy'], "the neighbours' results are their own")
  assert.equal(await client.call('healthy'), 'healthy', 'the worker goes on')
  const task = await client.get('subject')
  await worker.close()
  assert.deepEqual(await raw.send('EXISTS', `${client.queue}:executing`, `${client.queue}:pending`), 0)
  return { value, error, task }
}

const thenable = (then) => Object.fromEntries([['then', then]])

const returns = {
  'a value': () => 7,
  'a promise': () => Promise.resolve(7),
  'an async function': async () => 7,
  'a thenable': () => thenable((resolve) => resolve(7)),
  'a thenable that calls back later': () => thenable((resolve) => setImmediate(resolve, 7)),
  'a thenable that calls back twice, and throws': () =>
    thenable((resolve) => {
      resolve(7)
      resolve(8)
      throw new Error('late')
    }),
  'a promise of a thenable': async () => thenable((resolve) => resolve(7)),
  'a function that is a thenable': () =>
    Object.assign(
      () => {},
      thenable((resolve) => resolve(7)),
    ),
  'a promise with a then of its own': () =>
    Object.defineProperty(Promise.resolve(1), 'then', { value: (resolve) => resolve(7) }),
  'a promise of a subclass': () => class extends Promise {}.resolve(7),
  'a promise of another realm': () => vm.runInNewContext('Promise.resolve(7)'),
  'an object with a toJSON': () => ({ toJSON: () => 7 }),
}
for (const [what, handler] of Object.entries(returns)) {
  test(`a handler may return ${what}`, async (t) => {
    const { value, task } = await run(t, handler)
    assert.equal(value, 7)
    assert.equal(task.value, 7)
  })
}

const nothings = {
  undefined: () => undefined,
  'a function': () => () => {},
  'a symbol': () => Symbol('x'),
  'an object whose toJSON gives undefined': () => ({ toJSON: () => undefined }),
}
for (const [what, handler] of Object.entries(nothings)) {
  test(`a handler that returns ${what} is successful without a value`, async (t) => {
    const { value, task } = await run(t, handler)
    assert.equal(value, undefined)
    assert.deepEqual([task.result, task.value], ['successful', undefined])
  })
}

const unreadable = (property) =>
  Object.defineProperty(new Error('x'), property, {
    get() {
      throw new Error('not even that')
    },
  })
const hostile = new Proxy(
  {},
  {
    get() {
      throw new Error('get')
    },
    getPrototypeOf() {
      throw new Error('getPrototypeOf')
    },
    ownKeys() {
      throw new Error('ownKeys')
    },
  },
)
const throws = (thrown) => () => {
  throw thrown
}

const failures = {
  'an Error': [throws(new Error('why')), /^why$/, /^Error: why\n {4}at /],
  'an error of a class': [throws(new RangeError('why')), /^RangeError: why$/, /^RangeError: why\n/],
  'an error of another realm': [() => vm.runInNewContext('throw new TypeError("why")'), /why/, undefined],
  'an Error without a message': [throws(new Error()), /^Error$/, /^Error\n/],
  'an Error whose message is white space': [throws(new Error(' \n ')), /^Error$/, /^Error/],
  'an Error of several lines': [throws(new Error('one\n  two\r\nthree')), /^one two three$/, /three/],
  'a long message': [throws(new Error('x'.repeat(1e6))), /^x{1000}…$/, /^Error: x+…$/],
  'a lone surrogate': [throws(new Error('a\ud800')), /^a\ufffd$/, /a\ufffd/],
  'an Error with a cause': [throws(new Error('why', { cause: 5 })), /^why$/, /^Error: why/],
  'an Error with no stack': [
    throws(Object.assign(new Error('why'), { stack: undefined })),
    /^why$/,
    undefined,
  ],
  'a string': [throws('why'), /^why$/, undefined],
  'an empty string': [throws(''), /empty string/, undefined],
  undefined: [throws(undefined), /threw undefined/, undefined],
  null: [throws(null), /threw null/, undefined],
  'a number': [throws(0), /threw 0/, undefined],
  'a BigInt': [throws(5n), /threw 5n/, undefined],
  'a symbol': [throws(Symbol('why')), /Symbol\(why\)/, undefined],
  'an object': [throws({ code: 5 }), /\{ code: 5 \}/, undefined],
  'a function': [throws(() => {}), /function/i, undefined],
  'a rejected promise': [() => Promise.reject(new TypeError('why')), /^TypeError: why$/, /^TypeError: why\n/],
  'a promise rejected with undefined': [() => Promise.reject(), /threw undefined/, undefined],
  'an async throw': [
    async () => {
      throw 'why'
    },
    /^why$/,
    undefined,
  ],
  'an error whose message throws': [throws(unreadable('message')), /cannot be read/, undefined],
  'an error whose stack throws': [throws(unreadable('stack')), /cannot be read/, undefined],
  'an error whose name throws': [throws(unreadable('name')), /cannot be read/, undefined],
  'an error whose name is a symbol': [
    throws(Object.assign(new Error('x'), { name: Symbol('n') })),
    /./,
    undefined,
  ],
  'a Proxy that throws on everything': [throws(hostile), /./, undefined],
  'a Proxy around an error': [throws(new Proxy(new Error('why'), {})), /why/, /why/],
  'an object whose toString throws': [throws({ toString: throws(new Error('no')) }), /toString/, undefined],
  'an object whose inspection throws': [
    throws({ [Symbol.for('nodejs.util.inspect.custom')]: throws(new Error('no')) }),
    /cannot be read/,
    undefined,
  ],
  'a thenable that rejects': [
    () => thenable((_, reject) => reject(new Error('why'))),
    /^why$/,
    /^Error: why/,
  ],
  'a thenable that throws': [() => thenable(throws(new Error('why'))), /^why$/, /^Error: why/],
  'a then that throws when read': [
    () => Object.defineProperty({}, 'then', { get: throws(new Error('why')) }),
    /^why$/,
    /^Error: why/,
  ],
  'a promise whose constructor throws when read': [
    () => Object.defineProperty(Promise.resolve(1), 'constructor', { get: throws(new Error('why')) }),
    /^why$/,
    /^Error: why/,
  ],
  'a Proxy around a promise': [
    () => new Proxy(Promise.resolve(1), {}),
    /incompatible receiver/,
    /^TypeError/,
  ],
  'a Proxy whose traps throw, returned': [() => hostile, /^get$/, /^Error: get/],
}
for (const [what, [handler, reason, exception]] of Object.entries(failures)) {
  test(`a task fails, and only that one, with ${what}`, async (t) => {
    const { error, task } = await run(t, handler)
    assert.ok(error instanceof dothis.TaskFailedError, String(error))
    assert.match(task.reason, reason)
    assert.equal(error.reason, task.reason)
    assert.ok(!/[\r\n]/.test(task.reason))
    if (exception) assert.match(task.exception, exception)
    else assert.equal(task.exception, undefined)
    assert.equal(error.exception, task.exception)
    assert.deepEqual([task.state, task.result, task.value], ['finished', 'failed', undefined])
  })
}

const circular = {}
circular.self = circular
const unserialisable = {
  'a BigInt': [() => ({ n: 1n }), /BigInt/],
  'a cycle': [() => circular, /circular/],
  'a toJSON that throws': [() => ({ toJSON: throws(new Error('no JSON of me')) }), /no JSON of me/],
  'a toJSON that throws nothing': [() => ({ toJSON: throws(undefined) }), /undefined/],
  'a getter that throws': [
    () => ({
      get x() {
        throw new Error('not x')
      },
    }),
    /not x/,
  ],
}
for (const [what, [handler, reason]] of Object.entries(unserialisable)) {
  test(`a result that is no JSON fails only its own task: ${what}`, async (t) => {
    for (const subject of [handler, async () => handler()]) {
      const { error, task } = await run(t, subject)
      assert.equal(error.code, 'ERR_TASK_FAILED')
      assert.match(task.reason, /^what the handler returned can't be written as JSON: /)
      assert.match(task.reason, reason)
      assert.equal(task.value, undefined)
    }
  })
}

test('a handler gets its args and its task', async (t) => {
  const client = open(t, redis.url)
  const seen = []
  client.work({
    look(...given) {
      seen.push(given)
    },
  })
  await client.call('look', { a: [1] }, { id: 'mine' })
  await raw.send('HSET', `${client.queue}:task:bare`, 'function', 'look')
  await raw.send('LPUSH', `${client.queue}:pending`, 'bare')
  await client.result('bare')

  const [[args, task, ...more], [none, bare]] = seen
  assert.deepEqual([args, more], [{ a: [1] }, []])
  assert.equal(task.id, 'mine')
  assert.equal(task.function, 'look')
  assert.equal(task.args, args)
  assert.equal(task.attempt, 1)
  assert.ok(task.signal instanceof AbortSignal)
  assert.equal(task.signal, task.signal)
  assert.equal(task.signal.aborted, false)
  assert.deepEqual(task.createdAt, (await client.get('mine')).createdAt)
  assert.deepEqual(none, {})
  assert.equal(bare.createdAt, undefined)
})

test('handlers are found by their own name only', async (t) => {
  const client = open(t, redis.url)
  const inherited = Object.create({ inherited: () => 'not mine' })
  inherited.own = () => 'mine'
  client.work(inherited)
  assert.equal(await client.call('own'), 'mine')
  const names = [
    'constructor',
    '__proto__',
    'toString',
    'hasOwnProperty',
    'valueOf',
    'inherited',
    'Own',
    'own ',
  ]
  for (const name of names) {
    await assert.rejects(client.call(name), (error) => {
      assert.equal(error.code, 'ERR_TASK_FAILED')
      assert.equal(error.reason, `no handler for function "${name}" is registered here; registered: own`)
      assert.equal('exception' in error, false)
      return true
    })
  }
})

test('handlers may be called by such names all the same', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ ['__proto__']: () => 1, constructor: () => 2 })
  worker.handle('toString', () => 3)
  assert.deepEqual(
    await Promise.all(['__proto__', 'constructor', 'toString'].map((name) => client.call(name))),
    [1, 2, 3],
  )
})

test('a handler that is added later, or replaced, is used from then on', async (t) => {
  const client = open(t, redis.url)
  const worker = client.work({ old: () => 'old' })
  await assert.rejects(client.call('late'), { reason: /registered: old$/ })
  assert.equal(
    worker.handle('late', () => 'late'),
    worker,
  )
  assert.equal(await client.call('late'), 'late')
  worker.handle('old', () => 'new')
  assert.equal(await client.call('old'), 'new')
})

test('a handler that is replaced while its task runs is let finish', async (t) => {
  const client = open(t, redis.url)
  const held = gate()
  const begun = gate()
  const worker = client.work({
    slow() {
      begun.open()
      return held.opened
    },
  })
  const result = client.call('slow')
  await within(begun.opened)
  worker.handle('slow', () => 'other')
  held.open('first')
  assert.equal(await result, 'first')
})

test('what is no handler is refused at once', (t) => {
  const client = open(t, redis.url)
  const refused = { code: 'ERR_ARGS' }
  for (const handlers of [undefined, null, 5, 'add']) assert.throws(() => client.work(handlers), refused)
  for (const handler of [undefined, null, 5, {}]) {
    assert.throws(() => client.work({ add: handler }), { code: 'ERR_ARGS', message: /"add"/ })
  }
  assert.throws(() => client.work({ '': () => {} }), refused)
  const worker = client.work({})
  assert.throws(() => worker.handle('x'), refused)
  assert.throws(() => worker.handle(5, () => {}), refused)
  for (const concurrency of [0, -1, 1.5, Number.NaN, '10', Number.POSITIVE_INFINITY]) {
    assert.throws(() => client.work({}, { concurrency }), { code: 'ERR_ARGS', message: /concurrency/ })
  }
})
