// Whatever somebody has put into Redis, a worker deals with it as the wire says, and goes on.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { snapshot, waitFor, withRedis } from './support/index.mjs'
import { open } from './support/open.mjs'

const redis = await withRedis()
const { raw } = redis

/** Puts a task in by hand, and gives its outcome. */
async function byHand(client, id, fields) {
  const key = `${client.queue}:task:${id}`
  await raw.send('HSET', key, ...Object.entries(fields).flat())
  await raw.send('LPUSH', `${client.queue}:pending`, id)
  return await client.result(id).then(
    (value) => ({ value }),
    ({ code, reason }) => ({ code, reason }),
  )
}

const failures = [
  ['no function', { args: '{}' }, /no function was given/],
  ['an empty function', { function: '', args: '{}' }, /no function was given/],
  ['an unknown function', { function: 'nope' }, /"nope".*registered: known/],
  ['constructor', { function: 'constructor' }, /"constructor"/],
  ['__proto__', { function: '__proto__' }, /"__proto__"/],
  ['toString', { function: 'toString' }, /"toString"/],
  ['args that are an array', { function: 'known', args: '[1]' }, /an array/],
  ['args that are a scalar', { function: 'known', args: '5' }, /a single value/],
  ['args that are no JSON', { function: 'known', args: '{"a":\n1,}' }, /line 2 column 3/],
  [
    'args nested 10,000 levels',
    { function: 'known', args: `{"a":${'['.repeat(1e4)}${']'.repeat(1e4)}}` },
    /deeper/,
  ],
]

test('a task that can’t be run is finished as failed, with the reason, and the next one runs', async (t) => {
  const client = open(t, redis.url)
  client.work({ known: (args) => args })
  for (const [what, fields, reason] of failures) {
    const failed = await byHand(client, 'x', fields)
    assert.equal(failed.code, 'ERR_TASK_FAILED', what)
    assert.match(failed.reason, reason, what)
    const { state, result } = await client.get('x')
    assert.deepEqual([state, result], ['finished', 'failed'], what)
    await raw.send('DEL', `${client.queue}:task:x`)
  }
  assert.deepEqual(await byHand(client, 'y', { function: 'known', args: '' }), { value: {} })
  assert.deepEqual(await byHand(client, 'z', { function: 'known' }), { value: {} })
})

test('an id without a hash, of another type, or of a finished task is dropped and changes nothing', async (t) => {
  const client = open(t, redis.url)
  const { queue } = client
  await raw.send('SET', `${queue}:task:text`, 'mine')
  await raw.send(
    'HSET',
    `${queue}:task:old`,
    'function',
    'known',
    'state',
    'finished',
    'result',
    'successful',
  )
  const before = await snapshot(raw, queue)
  const worker = client.work({ known: () => {} })
  for (const [id, why] of [
    ['none', 'missing'],
    ['text', 'not a hash'],
    ['old', 'finished'],
  ]) {
    const dropped = waitFor(worker, 'dropped')
    await raw.send('LPUSH', `${queue}:pending`, id)
    assert.deepEqual(await dropped, [{ id, why }])
  }
  assert.equal(worker.health().dropped, 3)
  await worker.close()
  assert.deepEqual(await snapshot(raw, queue), before)
})
