// A call is through by its commandTimeout, whatever Redis does meanwhile, and says so as a ConnectionError.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TcpProxy } from '../chaos/proxy.mjs'
import dothis from '../index.mjs'
import { withOwnRedis } from './support/index.mjs'
import { flushed, open, outcome } from './support/open.mjs'

const TIMEOUT = { commandTimeout: 500 }
/** Far less than it takes to give a connection up. */
const SOON_MS = 3_000

async function assertUnreachable(call) {
  const began = performance.now()
  const { error } = await outcome(call())
  assert.ok(error instanceof dothis.ConnectionError, String(error))
  const took = performance.now() - began
  assert.ok(took < SOON_MS, `${took} ms`)
  return error
}

test('over a connection that has gone silent', async (t) => {
  const redis = await withOwnRedis(t)
  const proxy = await TcpProxy.before(redis.port)
  t.after(() => proxy.close())
  const client = open(t, proxy.url, TIMEOUT)
  await flushed(client, redis.raw)
  proxy.silence()
  for (const call of [() => client.enqueue('any'), () => client.get('any'), () => client.cancel('any')]) {
    assert.match((await assertUnreachable(call)).message, /not known/)
  }
})
