// What nobody attends to crashes nothing, and what a user's own code throws is not swallowed. Each case is a
// process of its own, because what is looked at is how the process fares.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { spawnNode, uniqueQueue, within, withRedis } from './support/index.mjs'

const redis = await withRedis()
const program = fileURLToPath(new URL('support/unattended.mjs', import.meta.url))

async function run(scenario) {
  const child = spawnNode(program, [scenario, redis.url, uniqueQueue()])
  try {
    const found = await child.nextJson()
    assert.deepEqual(await within(child.exited), { code: 0, signal: null }, child.stderr)
    return found
  } finally {
    child.kill()
  }
}

test('an original call that fails while nobody looks is no unhandled rejection', async () => {
  assert.deepEqual(await run('unattended'), { uncaught: [], unhandled: [], failure: 'Error: failed' })
})

test("an 'error' that nobody listens to does not end the process", async () => {
  assert.deepEqual(await run('errors'), { uncaught: [], unhandled: [], emitted: false })
})

test('a callback that throws is an uncaught exception, and the other callbacks get theirs', async () => {
  const { uncaught, unhandled, results } = await run('callbacks')
  assert.deepEqual(uncaught.sort(), ['callback 0', 'callback 2', 'callback 4', 'gettask', 'refused'])
  assert.deepEqual(unhandled, [])
  assert.deepEqual(results, [0, 1, 2, 3, 4, 5])
})

test('a listener that throws is an uncaught exception, and everything else goes on', async () => {
  assert.deepEqual(await run('listeners'), {
    uncaught: ['connected', 'dropped', 'success'],
    unhandled: [],
    results: ['ran', 'ran'],
  })
})

test("a promise of call's that nobody attends to is an unhandled rejection, as any other", async () => {
  assert.deepEqual(await run('call'), { uncaught: [], unhandled: ['ERR_TASK_FAILED'] })
})

test("what throws in an abort listener of a handler's signal is an uncaught exception, and close goes on", async () => {
  assert.deepEqual(await run('abort'), { uncaught: ['abort listener'], unhandled: [], aborted: 2 })
})
