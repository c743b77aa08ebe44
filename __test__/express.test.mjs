// The Express example, driven over HTTP: the app and its worker are processes of their own.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import dothis from 'dothis'
import { spawnNode, uniqueQueue, within, withRedis } from './support/index.mjs'
import { until } from './support/until.mjs'

const REQUESTS = 1_000
const example = (file) => fileURLToPath(new URL(`../examples/express/${file}`, import.meta.url))
const redis = await withRedis()

test('1,000 parallel requests each get their own sum', async (t) => {
  const { post } = await startExample(t, { worker: true })
  const answers = await parallel((n) => post('/add?wait=1', { a: n, b: 0.5 }))
  answers.forEach(({ status, body }, n) => {
    assert.equal(status, 200)
    assert.deepEqual(body, { value: n + 0.5 })
  })
})

test('1,000 parallel requests each get an id, under which their own sum appears', async (t) => {
  const { post, get } = await startExample(t, { worker: true })
  const ids = new Set()
  await parallel(async (n) => {
    const { status, body, location } = await post('/add', { a: n, b: -1 })
    assert.equal(status, 202)
    assert.equal(location, `/tasks/${body.id}`)
    ids.add(body.id)
    const task = await finished(get, location)
    assert.equal(task.id, body.id)
    assert.equal(task.function, 'add')
    assert.deepEqual(task.args, { a: n, b: -1 })
    assert.equal(task.result, 'successful')
    assert.equal(task.value, n - 1)
    for (const at of [task.createdAt, task.startedAt, task.finishedAt]) assert.ok(Date.parse(at))
  })
  assert.equal(ids.size, REQUESTS)
})

test('a task is shown as it stands while no worker has taken it', async (t) => {
  const { post, get } = await startExample(t)
  const { body } = await post('/add', { a: 1, b: 5 })
  const task = (await get(`/tasks/${body.id}`)).body
  assert.equal(task.state, 'pending')
  assert.ok(!('value' in task) && !('finishedAt' in task))
})

test('bad requests are told apart, and leave nothing in Redis', async (t) => {
  const { post, get, send, queue } = await startExample(t)
  const bodies = [{}, [], { a: 1 }, { a: 1, b: '5' }, { a: 1, b: null }, '{"a":1,"b":1e999}']
  for (const body of [...bodies, '', '{"a": 1,', 'null', '5', '"text"']) {
    for (const path of ['/add', '/add?wait=1']) {
      const { status, body: answer } = await post(path, body)
      assert.equal(status, 400, JSON.stringify(body))
      assert.ok(answer.error)
    }
  }
  assert.equal((await send('/add', { method: 'POST', body: 'a=1&b=5' })).status, 400)
  assert.equal((await post('/add', { a: 1, b: 5, more: 'x'.repeat(200_000) })).status, 413)
  const unknown = await get('/tasks/no-such-task')
  assert.equal(unknown.status, 404)
  assert.match(unknown.body.error, /no-such-task/)
  assert.deepEqual(await redis.raw.send('KEYS', `${queue}:*`), [])
})

test('errors of dothis have a status of their own', async (t) => {
  const { post, get, queue } = await startExample(t, { env: { ANSWER_WITHIN: '1' } })

  const late = await post('/add?wait=1', { a: 1, b: 5 })
  assert.equal(late.status, 504)
  assert.match(late.body.error, /has not finished/)

  await redis.raw.send('SET', `${queue}:task:text`, 'no task')
  const refused = await get('/tasks/text')
  assert.equal(refused.status, 503)
  assert.match(refused.body.error, /WRONGTYPE/)
})

test('a handler that throws is a 500 that says why', async (t) => {
  const { post, queue } = await startExample(t)
  const client = dothis(redis.url, queue)
  t.after(() => client.close())
  client.work({
    add() {
      throw new RangeError('too much to add')
    },
  })
  const { status, body } = await post('/add?wait=1', { a: 1, b: 5 })
  assert.equal(status, 500)
  assert.match(body.error, /RangeError: too much to add/)
})

test('SIGTERM lets the app answer what it was asked, and both processes end by themselves', async (t) => {
  const { app, post, queue } = await startExample(t)
  const answer = post('/add?wait=1', { a: 20, b: 22 })
  await until(() => redis.raw.send('LLEN', `${queue}:pending`), 'the task')
  const ended = app.kill('SIGTERM')

  const worker = await startWorker(t, queue)
  assert.deepEqual((await answer).body, { value: 42 })
  assert.deepEqual(await within(ended), { code: 0, signal: null })
  assert.deepEqual(await within(worker.kill('SIGTERM')), { code: 0, signal: null })
  assert.deepEqual(await redis.raw.send('KEYS', `${queue}:worker:*`), [])
  assert.equal(app.stderr + worker.stderr, '')
})

/** Starts the app on a queue of its own and, if asked, a worker; both end with the test. */
async function startExample(t, { worker = false, env = {} } = {}) {
  const queue = uniqueQueue('express')
  const variables = { DOTHIS_REDIS_URL: redis.url, DOTHIS_QUEUE: queue, PORT: '0' }
  const app = spawnNode(example('app.mjs'), [], { ...variables, ...env })
  t.after(() => app.kill())
  const [base] = /http:\S+/.exec(await app.waitForLine(/listening/))
  if (worker) await startWorker(t, queue)
  const send = async (path, options) => {
    const response = await fetch(base + path, options)
    const location = response.headers.get('location') ?? undefined
    return { status: response.status, location, body: await response.json() }
  }
  const headers = { 'content-type': 'application/json' }
  const get = (path) => send(path)
  const post = (path, body) =>
    send(path, { method: 'POST', headers, body: typeof body === 'string' ? body : JSON.stringify(body) })
  return { app, queue, send, get, post }
}

async function startWorker(t, queue) {
  const worker = spawnNode(example('worker.mjs'), [], { DOTHIS_REDIS_URL: redis.url, DOTHIS_QUEUE: queue })
  t.after(() => worker.kill())
  await worker.waitForLine(/ready/)
  return worker
}

function parallel(request) {
  return within(Promise.all(Array.from({ length: REQUESTS }, (_, n) => request(n))), 60_000, 'every answer')
}

async function finished(get, path) {
  for (;;) {
    const { status, body } = await get(path)
    assert.equal(status, 200)
    if (body.state === 'finished') return body
  }
}
