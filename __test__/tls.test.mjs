// rediss:// is Redis over TLS: with an authority of one's own, with a certificate of the client's, and never to a
// server that cannot prove who it is.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import dothis, { ArgsError } from '../index.mjs'
import { authority } from './support/certificates.mjs'
import { snapshot, withOwnRedis } from './support/index.mjs'

const ours = authority('our authority')
const member = ours.issue('client')
const strangers = authority('some other authority')

/** A server that speaks TLS as well; its plain connection is for looking. */
async function start(t, { clientsNeedCertificates = false, server = ours.issue('redis') } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'dothis-tls-'))
  const clients = []
  t.after(async () => {
    await Promise.all(clients.map((client) => client.close()))
    rmSync(dir, { recursive: true })
  })
  const file = (name, text) => {
    writeFileSync(join(dir, name), text)
    return join(dir, name)
  }
  const redis = await withOwnRedis(t)
  const settings = {
    'tls-cert-file': file('server.crt', server.cert),
    'tls-key-file': file('server.key', server.key),
    'tls-ca-cert-file': file('ca.crt', ours.cert),
    'tls-auth-clients': clientsNeedCertificates ? 'yes' : 'no',
  }
  const port = await anyTlsPort(redis.raw, Object.entries(settings).flat())
  return {
    raw: redis.raw,
    plain: redis.port,
    open(tls, { host = '127.0.0.1', at = port, path = '' } = {}) {
      const client = dothis({ url: `rediss://${host}:${at}${path}`, tls, commandTimeout: 1_500 })
      clients.push(client)
      return client
    },
  }
}

/** Redis says when a port is taken; the next one may not be. */
async function anyTlsPort(raw, settings) {
  for (let tries = 1; ; tries++) {
    const port = 16_000 + Math.floor(Math.random() * 16_000)
    try {
      await raw.send('CONFIG', 'SET', ...settings, 'tls-port', port)
      return port
    } catch (error) {
      if (tries === 20) throw error
    }
  }
}

async function assertWorks(client) {
  const worker = client.work({ add: ({ a, b }) => a + b })
  assert.equal(await client.call('add', { a: 1, b: 2 }, { id: 'one', timeout: 10_000 }), 3)
  await worker.close()
}

async function assertRefused(client, why) {
  const error = await client.get('none').catch((error) => error)
  assert.equal(error.name, 'ConnectionError')
  assert.match(error.message, why)
  assert.match(client.health().reason, why)
}

test('a server of a self-made authority is trusted with tls.ca, as text or as a Buffer', async (t) => {
  const { raw, open } = await start(t)
  const forms = [ours.cert, Buffer.from(ours.cert), strangers.cert + ours.cert]
  for (const ca of forms) {
    await assertWorks(open({ ca }))
    const left = await snapshot(raw, 'dothis')
    assert.equal(left['task:one'].hash['result-value'], '3')
    await raw.send('FLUSHALL')
  }
})

test('a host name, a user and a database number work over TLS as well', async (t) => {
  const { raw, open } = await start(t)
  await raw.send('ACL', 'SETUSER', 'default', '>secret')
  await assertWorks(open({ ca: ours.cert }, { host: ':secret@localhost', path: '/2' }))
  await raw.send('AUTH', 'secret')
  await raw.send('SELECT', 2)
  assert.deepEqual(Object.keys(await snapshot(raw, 'dothis')), ['task:one'])
})

test('a server that asks for a certificate gets it from tls.cert and tls.key', async (t) => {
  const { raw, open } = await start(t, { clientsNeedCertificates: true })
  await assertWorks(open({ ca: ours.cert, ...member }))
  assert.deepEqual(Object.keys(await snapshot(raw, 'dothis')), ['task:one'])
})

test('without the certificate that the server asks for it is a ConnectionError that says so', async (t) => {
  const { open } = await start(t, { clientsNeedCertificates: true })
  await assertRefused(open({ ca: ours.cert }), /certificate/i)
  await assertRefused(
    open({ ca: ours.cert, ...strangers.issue('stranger') }),
    /certificate|UnknownCA|unknown ?ca/i,
  )
})

test('a server that a wrong authority vouches for, or none, is a ConnectionError that says why', async (t) => {
  const { raw, open } = await start(t)
  await Promise.all([
    assertRefused(open({ ca: strangers.cert }), /certificate.*(UnknownIssuer|BadSignature)/i),
    assertRefused(open(undefined), /certificate.*UnknownIssuer/i),
  ])
  assert.deepEqual(await snapshot(raw, 'dothis'), {})
})

test('a certificate for another host is a ConnectionError that says so', async (t) => {
  const { open } = await start(t, { server: ours.issue('redis', { address: false }) })
  await assertRefused(
    open({ ca: ours.cert }, { host: '127.0.0.1' }),
    /certificate.*(not valid for|NotValidForName)/i,
  )
  await assertWorks(open({ ca: ours.cert }, { host: 'localhost' }))
})

test('a server that does not speak TLS is a ConnectionError', async (t) => {
  const { plain, open } = await start(t)
  const client = open({ ca: ours.cert }, { at: plain })
  await assert.rejects(client.get('none'), {
    name: 'ConnectionError',
    message: new RegExp(`127.0.0.1:${plain}`),
  })
})

test('tls that can never work is an ArgsError at once', () => {
  const url = 'rediss://127.0.0.1:6379'
  const { cert, key } = member
  for (const tls of [
    { ca: 'no certificate' },
    { cert },
    { key },
    { ca: ours.cert, key },
    { cert, key: 'no key' },
    { ca: 5 },
    { cafile: 'x' },
    5,
  ]) {
    assert.throws(() => dothis({ url, tls }), ArgsError, JSON.stringify(tls))
  }
  // Its owner believes that it is encrypted, and it would not be.
  assert.throws(() => dothis({ url: 'redis://127.0.0.1:6379', tls: { ca: ours.cert } }), /rediss:\/\//)
})
