// Certificates for tests, made on the spot: no openssl to be installed, no key to be kept in the repository.

import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'

const YEAR_MS = 365 * 24 * 60 * 60 * 1000

/** An authority of its own; `issue(name)` gives { cert, key } for localhost and, if asked for, 127.0.0.1, as PEM. */
export function authority(name) {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const cert = certificate({ subject: name, keys, issuer: name, signer: keys, extensions: AUTHORITY })
  return {
    cert,
    issue(subject, { address = true } = {}) {
      const extensions = [...END_ENTITY, alternativeNames(address ? [LOCALHOST, LOOPBACK] : [LOCALHOST])]
      const own = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      return {
        cert: certificate({ subject, keys: own, issuer: name, signer: keys, extensions }),
        key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      }
    },
  }
}

function certificate({ subject, keys, issuer, signer, extensions }) {
  const now = Date.now()
  const toBeSigned = sequence(
    tagged(0xa0, integer(Buffer.from([2]))), // X.509 version 3
    integer(Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ECDSA_WITH_SHA256,
    named(issuer),
    sequence(time(now - YEAR_MS), time(now + YEAR_MS)),
    named(subject),
    keys.publicKey.export({ type: 'spki', format: 'der' }),
    tagged(0xa3, sequence(...extensions)),
  )
  const signature = sign('sha256', toBeSigned, signer.privateKey)
  const der = sequence(toBeSigned, ECDSA_WITH_SHA256, bits(signature))
  const lines = der.toString('base64').match(/.{1,64}/g)
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}

// DER: a tag, a length, the contents.

function tagged(tag, ...contents) {
  const content = Buffer.concat(contents)
  const { length } = content
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

const sequence = (...contents) => tagged(0x30, ...contents)
const integer = (bytes) => tagged(0x02, bytes)
const bits = (bytes) => tagged(0x03, Buffer.from([0]), bytes)
const octets = (bytes) => tagged(0x04, bytes)
const oid = (hex) => tagged(0x06, Buffer.from(hex, 'hex'))
const YES = tagged(0x01, Buffer.from([0xff]))

function named(commonName) {
  return sequence(tagged(0x31, sequence(oid('550403'), tagged(0x0c, Buffer.from(commonName)))))
}

function time(ms) {
  const text = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '')
  return tagged(0x17, Buffer.from(text.slice(2)))
}

const ECDSA_WITH_SHA256 = sequence(oid('2a8648ce3d040302'))
const basicConstraints = (...contents) => sequence(oid('551d13'), YES, octets(sequence(...contents)))
const keyUsage = (bitMap) => sequence(oid('551d0f'), YES, octets(tagged(0x03, Buffer.from(bitMap))))
const AUTHORITY = [basicConstraints(YES), keyUsage([1, 0x06])] // keyCertSign, cRLSign
const END_ENTITY = [
  basicConstraints(),
  keyUsage([7, 0x80]), // digitalSignature
  sequence(oid('551d25'), octets(sequence(oid('2b06010505070301'), oid('2b06010505070302')))), // server, client
]
const LOCALHOST = tagged(0x82, Buffer.from('localhost'))
const LOOPBACK = tagged(0x87, Buffer.from([127, 0, 0, 1]))
const alternativeNames = (names) => sequence(oid('551d11'), octets(sequence(...names)))
