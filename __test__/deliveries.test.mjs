// A task that brings down the process that runs it is given up after `maxDeliveries` of them; an orderly end of a
// process does not count.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { waitFor, within, withRedis } from './support/index.mjs'
import { open, outcome } from './support/open.mjs'
import { program } from './support/program.mjs'
import { finishedTask, ids, pendingTask, state } from './support/state.mjs'
import { watching } from './support/watching.mjs'

const redis = await withRedis()
const { raw } = redis

/** A process with one slot that gets the task, and ends as its args say. */
function worker(queue, options = {}) {
  return program(
    `const client = dothis(options.url, options.queue)
    const ends = {
      kill: () => process.kill(process.pid, 'SIGKILL'),
      exit: ({ code }) => process.exit(code),
      uncaught: () => setImmediate(() => { throw new Error('on purpose') }),
      unhandled: () => { Promise.reject(new Error('on purpose')) },
      close: () => client.close({ timeout: 0 }),
    }
    client.work({
      die(args, { attempt }) {
        say('begun, attempt ' + attempt)
        ends[args.how](args)
        return new Promise(() => {})
      },
      quick: () => 'done',
    }, { concurrency: 1, heartbeatTimeout: 1000, ...options.worker })`,
    { url: redis.url, queue, worker: options },
  )
}

for (const [what, args, code] of [
  ['process.exit(1)', { how: 'exit', code: 1 }, 1],
  ['an uncaught exception', { how: 'uncaught' }, 1],
  ['an unhandled rejection', { how: 'unhandled' }, 1],
]) {
  test(`a task that ends its process by ${what} is given up after three, and its waiter hears why`, async (t) => {
    const client = open(t, redis.url)
    const called = outcome(client.call('die', args, { id: 'deadly' }))
    for (let deaths = 1; deaths <= 3; deaths++) {
      const child = worker(client.queue)
      assert.equal((await within(child.exited)).code, code)
      assert.deepEqual(child.lines, ['begun, attempt 1'])
      assert.equal(await raw.send('HGET', `${client.queue}:task:deadly`, 'lost'), String(deaths))
    }
    await assertGivenUp(client, called, args, 3)
  })
}

async function assertGivenUp(client, called, args, deliveries) {
  const { error } = await called
  assert.ok(error instanceof dothis.TaskFailedError)
  assert.match(error.reason, new RegExp(`^given up after ${deliveries} deliveries: .*worker`))
  assert.equal(error.taskId, 'deadly')
  const task = finishedTask('die', {
    args: JSON.stringify(args),
    result: 'failed',
    'error-reason': error.reason,
    lost: String(deliveries),
  })
  const found = await state(raw, client.queue)
  assert.deepEqual(found['task:deadly'], task)
  assert.equal(found.pending, undefined)
}

test('a task that kills its process with SIGKILL is given up after three, and its waiter hears why', async (t) => {
  const client = open(t, redis.url)
  const { worker: watch } = await watching(client)
  const called = outcome(client.call('die', { how: 'kill' }, { id: 'deadly' }))
  for (let deaths = 1; deaths <= 3; deaths++) {
    const recovered = waitFor(watch, 'recovered')
    const child = worker(client.queue)
    assert.equal((await within(child.exited)).signal, 'SIGKILL')
    assert.deepEqual(await recovered, [deaths < 3 ? { tasks: 1, givenUp: 0 } : { tasks: 0, givenUp: 1 }])
  }
  await assertGivenUp(client, called, { how: 'kill' }, 3)
  assert.deepEqual(await ids(raw, client.queue, 'executing'), ['watch'])
})

test('maxDeliveries says after how many', async (t) => {
  const client = open(t, redis.url)
  const args = { how: 'exit', code: 9 }
  const called = outcome(client.call('die', args, { id: 'deadly' }))
  const child = worker(client.queue, { maxDeliveries: 1 })
  assert.equal((await within(child.exited)).code, 9)
  await assertGivenUp(client, called, args, 1)
})

for (const [what, args] of [
  ['process.exit(0)', { how: 'exit', code: 0 }],
  ['closing the client', { how: 'close' }],
]) {
  test(`${what} in the middle of a task does not count, however often it happens`, async (t) => {
    const client = open(t, redis.url)
    await client.enqueue('die', args, { id: 'unlucky' })
    for (let ends = 0; ends < 4; ends++) {
      const child = worker(client.queue)
      assert.deepEqual(await within(child.exited), { code: 0, signal: null })
      assert.deepEqual(child.lines, ['begun, attempt 1'])
    }
    assert.deepEqual(await state(raw, client.queue), {
      pending: { list: ['unlucky'] },
      'task:unlucky': pendingTask('die', { args: JSON.stringify(args) }),
    })
  })
}

test('a process that dies gives back what it had not begun without counting that as lost', async (t) => {
  const client = open(t, redis.url)
  const args = { how: 'exit', code: 1 }
  await client.enqueue('die', args, { id: 'deadly' })
  await client.enqueueMany(Array.from({ length: 600 }, (_, n) => ({ function: 'quick', id: `quick-${n}` })))
  // A portion of tasks goes to JavaScript at a time, of which the first one ends the process.
  const child = worker(client.queue, { concurrency: 500 })
  assert.equal((await within(child.exited)).code, 1)
  const found = await state(raw, client.queue)
  assert.deepEqual(found['task:deadly'], pendingTask('die', { args: JSON.stringify(args), lost: '1' }))
  assert.equal(found.executing, undefined)
  const waiting = await ids(raw, client.queue, 'pending')
  assert.equal(waiting[0], 'deadly')
  const notBegun = waiting.slice(-100)
  for (const id of notBegun) assert.deepEqual(found[`task:${id}`], pendingTask('quick'))
})
