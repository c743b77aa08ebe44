// A person at redis-cli puts a task in, reads its result and watches results come in, with the lines of the original
// project's page, typed as they stand there, and is answered as the page shows.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import dothis from '../index.mjs'
import { spawnLines } from './support/child.mjs'
import { snapshot, within, withOwnRedis } from './support/index.mjs'

/** A redis-cli that prints for people, also into a pipe. `type` gives the lines that answer the line typed. */
function redisCli(t, port) {
  const child = spawnLines('redis-cli', ['--no-raw', '-p', String(port)])
  t.after(() => child.kill())
  let read = 0
  return {
    async type(line) {
      child.write(line)
      child.write('ECHO ---')
      await child.waitForLine('"---"')
      const answer = child.lines.slice(read, -1)
      read = child.lines.length
      return answer
    },
    /** Types a line after which redis-cli only listens. */
    async listen(line) {
      child.write(line)
      await child.waitForLine('3) (integer) 1')
      read = child.lines.length
    },
    async heard(last) {
      await child.waitForLine(last)
      const lines = child.lines.slice(read)
      read = child.lines.length
      return lines
    },
  }
}

/** The page's Redis, with our worker beside it: queue dothis, function echo. */
async function page(t, handlers) {
  let client
  t.after(() => client?.close()) // Before its Redis stops.
  const redis = await withOwnRedis(t)
  client = dothis(redis.url, 'dothis')
  if (handlers) client.work(handlers)
  return { client, redis, cli: redisCli(t, redis.port), listener: redisCli(t, redis.port) }
}

const ID = '11111111-2222-2222-2222-333333333333'
const KEY = `dothis:task:${ID}`

test("the page's lines run a task, and HMGET answers as the page shows", async (t) => {
  const { client, redis, cli, listener } = await page(t)
  await listener.listen('SUBSCRIBE dothis:results')

  assert.deepEqual(await cli.type(`HSET dothis:task:${ID} function echo`), ['(integer) 1'])
  assert.deepEqual(await cli.type(`HSET dothis:task:${ID} state pending`), ['(integer) 1'])
  assert.deepEqual(await cli.type(`HSET dothis:task:${ID} args '{ "text": "ooh yeeah" }'`), ['(integer) 1'])
  assert.deepEqual(await cli.type(`LPUSH dothis:pending ${ID}`), ['(integer) 1'])
  const noResultYet = ['1) (nil)', '2) (nil)']
  assert.deepEqual(await cli.type(`HMGET dothis:task:${ID} result result-value`), noResultYet)
  assert.deepEqual(await cli.type('LRANGE dothis:pending 0 -1'), [`1) "${ID}"`])

  const worker = client.work({ echo: ({ text }) => text })
  assert.deepEqual(await listener.heard(`3) "${KEY}"`), [
    '1) "message"',
    '2) "dothis:results"',
    `3) "${KEY}"`,
  ])
  assert.deepEqual(await cli.type(`HMGET dothis:task:${ID} result result-value`), [
    '1) "successful"',
    '2) "\\"ooh yeeah\\""',
  ])
  await worker.close()
  assert.deepEqual(await cli.type('LRANGE dothis:executing 0 -1'), ['(empty array)'])
  assert.deepEqual(await cli.type('keys *'), [`1) "${KEY}"`])
  assert.deepEqual(await snapshot(redis.raw, 'dothis', { mask: maskTimes }), {
    [`task:${ID}`]: {
      hash: {
        function: 'echo',
        state: 'finished',
        args: '{ "text": "ooh yeeah" }',
        'executing-created': '<time>',
        result: 'successful',
        'result-value': '"ooh yeeah"',
        'finished-created': '<time>',
      },
      expires: true,
    },
  })
})

test('redis-cli sees a task move from pending to executing to finished, with the worker that runs it', async (t) => {
  let finish
  const held = new Promise((resolve) => {
    finish = resolve
  })
  let tell
  const begun = new Promise((resolve) => {
    tell = resolve
  })
  const echo = async ({ text }) => {
    tell()
    await held
    return text
  }
  const { client, cli, listener } = await page(t, { echo })
  await listener.listen('SUBSCRIBE dothis:results')
  await cli.type(`HSET ${KEY} function echo`)
  await cli.type(`HSET ${KEY} state pending`)
  // As the page's own programs write args: with white space.
  await cli.type(`HSET ${KEY} args "{\\n  \\"text\\": \\"it worked!\\"\\n}"`)
  await cli.type(`LPUSH dothis:pending ${ID}`)
  await within(begun)
  assert.deepEqual(await cli.type('LRANGE dothis:pending 0 -1'), ['(empty array)'])
  assert.deepEqual(await cli.type('LRANGE dothis:executing 0 -1'), [`1) "${ID}"`])
  assert.deepEqual(await cli.type(`HGET ${KEY} state`), ['"executing"'])
  assert.deepEqual(await cli.type(`HMGET ${KEY} result result-value`), ['1) (nil)', '2) (nil)'])
  const [worker] = await cli.type('keys dothis:worker:*')
  assert.match(worker, /^1\) "dothis:worker:[0-9a-f-]{36}"$/)
  assert.deepEqual(await cli.type(`HMGET ${worker.slice(4, -1)} queue pid`), [
    '1) "dothis"',
    `2) "${process.pid}"`,
  ])

  finish()
  await listener.heard(`3) "${KEY}"`)
  await client.close()
  const printed = await cli.type(`HGETALL ${KEY}`)
  const field = (name) =>
    printed[printed.findIndex((line) => line.endsWith(` "${name}"`)) + 1]?.replace(/^.*?\) /, '')
  assert.equal(field('function'), '"echo"')
  assert.equal(field('state'), '"finished"')
  assert.equal(field('args'), '"{\\n  \\"text\\": \\"it worked!\\"\\n}"')
  assert.equal(field('result-value'), '"\\"it worked!\\""')
  assert.equal(field('result'), '"successful"')
  for (const name of ['executing-created', 'finished-created']) {
    assert.match(field(name), /^"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"$/)
  }
  assert.equal(printed.length, 2 * 7)
})

test('redis-cli hears one message for each task, in the order in which they finish', async (t) => {
  const { client, listener } = await page(t)
  await listener.listen('SUBSCRIBE dothis:results')
  const ids = [
    '518696a2-6c41-4456-8d6e-76ac29ad77dd',
    '47b87457-fbdb-4f2e-8222-2a322bfb4f61',
    '8e0d0bbc-e0d7-44f6-813d-92807603f016',
  ]
  await client.enqueueMany(ids.map((id) => ({ function: 'echo', args: { text: 'x' }, id })))
  client.work({ echo: ({ text }) => text }, { concurrency: 1 })
  const expected = ids.flatMap((id) => ['1) "message"', '2) "dothis:results"', `3) "dothis:task:${id}"`])
  assert.deepEqual(await listener.heard(expected.at(-1)), expected)
})

test('args that are an array are refused, as the page says, in words that redis-cli shows', async (t) => {
  const { cli, listener } = await page(t, { echo: ({ text }) => text })
  await listener.listen('SUBSCRIBE dothis:results')
  await cli.type(`HSET ${KEY} function echo`)
  await cli.type(`HSET ${KEY} state pending`)
  await cli.type(`HSET ${KEY} args '["ooh yeeah"]'`)
  await cli.type(`LPUSH dothis:pending ${ID}`)
  await listener.heard(`3) "${KEY}"`)
  const [result, value, reason] = await cli.type(`HMGET ${KEY} result result-value error-reason`)
  assert.deepEqual([result, value], ['1) "failed"', '2) (nil)'])
  assert.match(reason, /^3\) "args.*array.*object.*"$/)
})

function maskTimes(text) {
  return text.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/g, '<time>')
}
