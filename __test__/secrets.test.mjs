// What is logged shows no password.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import dothis from 'dothis'

test('neither a client, its health nor its errors show the password of the URL', async (t) => {
  const client = dothis({ url: 'redis://user:s3cret@127.0.0.1:1', commandTimeout: 100 })
  t.after(() => client.end())
  const error = await client.get('id').catch((error) => error)
  assert.equal(error.code, 'ERR_CONNECTION')
  for (const shown of [client, client.health(), error]) {
    const text = inspect(shown, { depth: 10, showHidden: true }) + JSON.stringify(shown)
    assert.ok(!text.includes('s3cret'), text)
  }
})

test('a URL that can not be used is not repeated', () => {
  for (const url of [
    'http://user:s3cret@host',
    'redis://user:s3cret@host:port',
    'redis://user:s3cret@host/db',
  ]) {
    assert.throws(
      () => dothis(url),
      (error) => error.code === 'ERR_ARGS' && !inspect(error).includes('s3cret'),
    )
  }
})
