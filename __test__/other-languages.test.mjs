// Programs of other languages, which know the wire and nothing of this package, share a queue with it: they put
// tasks in, run them and wait for them beside our clients and workers. Here they are in Python (support/peer.py).

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import {
  connect,
  peer,
  snapshot,
  uniqueQueue,
  waitFor,
  within,
  withOwnRedis,
  withRedis,
} from './support/index.mjs'
import { until } from './support/until.mjs'

const redis = await withRedis()

function connected(t) {
  const client = dothis(redis.url, uniqueQueue())
  t.after(() => client.close())
  return client
}

async function started(command, client, options) {
  const child = peer(command, { url: redis.url, queue: client.queue, ...options })
  await child.waitForLine('ready')
  return child
}

async function endedWell(child) {
  assert.deepEqual(await within(child.exited), { code: 0, signal: null }, child.stderr)
  assert.equal(child.stderr, '')
}

const json = (lines) => lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line))

const finished = (fields) => ({
  hash: {
    state: 'finished',
    result: 'successful',
    'executing-created': '<time>',
    'finished-created': '<time>',
    ...fields,
  },
})
/** The same of one that a worker of ours has run: it is kept for a day, theirs for ever. */
const finishedByOurs = (fields) => ({ ...finished(fields), expires: true })

test('a Python producer puts tasks in with HSETs and an LPUSH, and our worker runs them', async (t) => {
  const client = connected(t)
  const ran = []
  const worker = client.work(
    {
      add({ a, b }, task) {
        ran.push([task.id, task.createdAt])
        return a + b
      },
    },
    { concurrency: 1 },
  )
  const args = '{"a": 40,\n  "b": 2}'
  const producer = await started('produce', client, { id: 'py-', count: 5, args })
  await endedWell(producer)
  const ids = ['py-0', 'py-1', 'py-2', 'py-3', 'py-4']
  for (const id of ids) assert.equal(await client.result(id, { timeout: 10_000 }), 42)
  await worker.close()
  // First in, first out; a producer need not write when that was.
  assert.deepEqual(
    ran,
    ids.map((id) => [id, undefined]),
  )
  const done = finishedByOurs({ function: 'add', args, 'result-value': '42' })
  const expected = ids.map((id) => [`task:${id}`, done])
  assert.deepEqual(await snapshot(redis.raw, client.queue), Object.fromEntries(expected))
})

test('a Python worker runs what our client enqueues, and our client gets its results and its failures', async (t) => {
  const client = connected(t)
  const worker = await started('work', client, { count: 4 })
  assert.equal(await client.call('echo', { text: 'ooh yeeah' }, { id: 'echo', timeout: 10_000 }), 'ooh yeeah')
  assert.equal(await client.call('add', { a: 1, b: 5 }, { id: 'add', timeout: 10_000 }), 6)
  const failure = await client
    .call('fail', { message: 'no' }, { id: 'fail', timeout: 10_000 })
    .catch((error) => error)
  assert.equal(failure.code, 'ERR_TASK_FAILED')
  assert.equal(failure.reason, 'no')
  assert.match(failure.exception, /^Traceback .*RuntimeError: no\n$/s)
  assert.equal(failure.taskId, 'fail')
  assert.equal(failure.function, 'fail')

  const task = await client.enqueue('echo', { text: 'later' }, { id: 'late' })
  await endedWell(worker)
  // Waited for only now, when it has finished.
  assert.equal(await task.result({ timeout: 10_000 }), 'later')
  assert.equal((await task.get()).value, 'later')

  // Somebody else's worker leaves alone what it does not know: the address of who waits.
  const waited = { 'reply-to': '<address>', 'pending-created': '<time>' }
  const left = await snapshot(redis.raw, client.queue)
  const exception = left['task:fail'].hash['error-exception']
  assert.match(exception, /RuntimeError: no/)
  assert.deepEqual(left, {
    'task:add': finished({ ...waited, function: 'add', args: '{"a":1,"b":5}', 'result-value': '6' }),
    'task:echo': finished({
      ...waited,
      function: 'echo',
      args: '{"text":"ooh yeeah"}',
      'result-value': '"ooh yeeah"',
    }),
    'task:fail': finished({
      ...waited,
      function: 'fail',
      args: '{"message":"no"}',
      result: 'failed',
      'error-reason': 'no',
      'error-exception': exception,
    }),
    'task:late': finished({
      function: 'echo',
      args: '{"text":"later"}',
      'pending-created': '<time>',
      'result-value': '"later"',
    }),
  })
})

test('a Python waiter on {q}:results finds the hash final when the message of our worker comes', async (t) => {
  const client = connected(t)
  const count = 500
  const waiter = await started('wait', client, { count })
  client.work(
    {
      echo: ({ text }) => text,
      async fail() {
        throw new Error('on purpose')
      },
    },
    { concurrency: 50 },
  )
  const list = Array.from({ length: count }, (_, n) => ({
    function: n % 5 ? 'echo' : 'fail',
    args: { text: `text ${n}` },
    id: `task-${n}`,
  }))
  await client.enqueueMany(list)
  await endedWell(waiter)
  const heard = json(waiter.lines)
  const expected = list.map(({ id, function: name, args }) => ({
    id,
    key: `${client.queue}:task:${id}`,
    state: 'finished',
    result: name === 'fail' ? 'failed' : 'successful',
    value: name === 'fail' ? null : JSON.stringify(args.text),
    final: true,
  }))
  const byId = (a, b) => (a.id < b.id ? -1 : 1)
  // One message for each task, whoever waits for it or does not.
  assert.deepEqual(heard.toSorted(byId), expected.toSorted(byId))
})

test('while a Python worker holds its task our waiter hears {q}:results', async (t) => {
  const client = connected(t)
  const worker = await started('work', client, { count: 1, hold: true })
  const result = client.call('echo', { text: 'held' }, { id: 'held', timeout: 10_000 })
  await worker.waitForLine('{"taken": "held"}')
  const channel = `${client.queue}:results`
  const heard = async () => (await redis.raw.send('PUBSUB', 'NUMSUB', channel))[1] === 1
  await until(heard, 'the subscription')
  worker.write('go on')
  assert.equal(await result, 'held')
  await endedWell(worker)
})

test('some thousand tasks of both kinds of producers are shared by both kinds of workers: none is lost, repeated or failed', async (t) => {
  const client = connected(t)
  const half = 1_500
  const theirs = 1_000
  const list = Array.from({ length: half }, (_, n) => ({
    function: 'echo',
    args: { text: `js-${n}` },
    id: `js-${n}`,
  }))
  const producing = started('produce', client, {
    function: 'echo',
    args: '{"text": "py"}',
    id: 'py-',
    count: half,
  })
  await Promise.all([client.enqueueMany(list), producing.then(endedWell)])

  // Ours ends one task for each of theirs, so that both work at the same time for as long as theirs does.
  const python = await started('work', client, { count: theirs })
  const permits = { free: 0, waiting: [], endless: false }
  const permit = () => {
    if (permits.endless || permits.free-- > 0) return undefined
    permits.free = 0
    return new Promise((resolve) => permits.waiting.push(resolve))
  }
  const grant = () => {
    const next = permits.waiting.shift()
    if (next) next()
    else permits.free += 1
  }
  const ours = []
  let allRan
  const all = new Promise((resolve) => {
    allRan = resolve
  })
  const worker = client.work(
    {
      async echo({ text }, { id }) {
        await permit()
        ours.push(id)
        if (ours.length === 2 * half - theirs) allRan()
        return text
      },
    },
    { concurrency: 10 },
  )
  const problems = []
  for (const event of ['error', 'lost', 'dropped']) worker.on(event, (what) => problems.push([event, what]))
  for (let done = 0; done < theirs; done++) {
    await python.waitForLine(/^\{"id"/)
    grant()
  }
  permits.endless = true
  for (const go of permits.waiting.splice(0)) go()
  await endedWell(python)
  await within(all)
  await worker.close()

  const pythons = json(python.lines)
    .filter(({ id }) => id)
    .map(({ id, result }) => {
      assert.equal(result, 'successful')
      return id
    })
  assert.equal(pythons.length, theirs)
  assert.deepEqual(problems, [])
  const expected = {}
  for (let n = 0; n < half; n++) {
    expected[`task:js-${n}`] = finished({
      function: 'echo',
      args: `{"text":"js-${n}"}`,
      'pending-created': '<time>',
      'result-value': `"js-${n}"`,
    })
    expected[`task:py-${n}`] = finished({ function: 'echo', args: '{"text": "py"}', 'result-value': '"py"' })
  }
  for (const id of ours) expected[`task:${id}`].expires = true
  const ran = [...ours, ...pythons].map((id) => `task:${id}`)
  assert.deepEqual(ran.toSorted(), Object.keys(expected).toSorted())
  assert.deepEqual(await snapshot(redis.raw, client.queue), expected)
})

test('a task that a Python worker holds is not disturbed by ours, however long it takes', async (t) => {
  let client
  t.after(() => client?.close()) // Before its Redis stops.
  const own = await withOwnRedis(t, { args: ['--notify-keyspace-events', 'Kgh'] })
  client = dothis(own.url)
  const python = await started('work', client, { url: own.url, count: 1, hold: true })
  const result = client.call('echo', { text: 'mine' }, { id: 'held' })
  await python.waitForLine('{"taken": "held"}')
  const before = await snapshot(own.raw, client.queue)
  assert.deepEqual(before.executing, { list: ['held'] })

  const ours = ['one', 'two'].map(() =>
    client.work({ echo: () => 'stolen', add: ({ a, b }) => a + b }, { heartbeatTimeout: 1_000 }),
  )
  await Promise.all(
    Array.from({ length: 200 }, (_, a) => client.call('add', { a, b: 1 }, { id: `sum-${a}` })),
  )
  // Two workers that live through several heartbeats, one that ends in between.
  const beats = await connect(own.url)
  t.after(() => beats.close())
  const key = `${client.queue}:worker:${ours[0].id}`
  await beats.subscribe(`__keyspace@0__:${key}`)
  let count = 0
  const enough = new Promise((resolve) => {
    beats.on('message', (event) => {
      if (event === 'expire' && ++count === 5) resolve()
    })
  })
  await ours[1].close()
  await within(enough)
  const held = await snapshot(own.raw, client.queue)
  assert.deepEqual(held['task:held'], before['task:held'])
  assert.deepEqual(held.executing, before.executing)
  await ours[0].close()

  python.write('go on')
  assert.equal(await within(result), 'mine')
  await endedWell(python)
  const { hash } = (await snapshot(own.raw, client.queue))['task:held']
  assert.equal(hash['result-value'], '"mine"')
})

test('an id that is pushed twice runs once; the other push is dropped and counted', async (t) => {
  const client = connected(t)
  await endedWell(await started('produce', client, { id: 'twice' }))
  await endedWell(await started('produce', client, { id: 'once' }))
  const pending = `${client.queue}:pending`
  await redis.raw.send('LPUSH', pending, 'twice')
  const ran = []
  const worker = client.work({
    add({ a, b }, { id }) {
      ran.push(id)
      return a + b
    },
  })
  const [dropped] = await waitFor(worker, 'dropped')
  assert.equal(dropped.id, 'twice')
  assert.match(dropped.why, /executing|finished/)
  assert.equal(await client.result('once', { timeout: 10_000 }), 3)
  assert.equal(await client.result('twice', { timeout: 10_000 }), 3)

  // And once more when it has finished: its hash stays as it is.
  const before = await snapshot(redis.raw, client.queue)
  const again = waitFor(worker, 'dropped')
  await redis.raw.send('LPUSH', pending, 'twice')
  assert.deepEqual(await again, [{ id: 'twice', why: 'finished' }])
  assert.deepEqual(await snapshot(redis.raw, client.queue), before)
  assert.deepEqual(worker.health().dropped, 2)
  assert.deepEqual(ran.toSorted(), ['once', 'twice'])
})

test('an id that is pushed again while a Python worker runs it is dropped, and the worker keeps its task', async (t) => {
  const client = connected(t)
  const python = await started('work', client, { count: 1, hold: true })
  await endedWell(
    await started('produce', client, { id: 'held', function: 'echo', args: '{"text": "mine"}' }),
  )
  await python.waitForLine('{"taken": "held"}')
  const before = await snapshot(redis.raw, client.queue)
  const worker = client.work({ echo: () => 'stolen' })
  const dropped = waitFor(worker, 'dropped')
  await redis.raw.send('LPUSH', `${client.queue}:pending`, 'held')
  assert.deepEqual(await dropped, [{ id: 'held', why: 'executing' }])
  await worker.close()
  assert.deepEqual(await snapshot(redis.raw, client.queue), before)
  python.write('go on')
  await endedWell(python)
  assert.deepEqual(await snapshot(redis.raw, client.queue), {
    'task:held': finished({ function: 'echo', args: '{"text": "mine"}', 'result-value': '"mine"' }),
  })
})
