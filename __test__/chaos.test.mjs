// A short chaos run. `npm run chaos` is the long one.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chaos } from '../chaos/driver.mjs'

const SECONDS = 8
const LIMIT_MS = 150_000

test('whatever breaks, every task is accounted for', { timeout: LIMIT_MS }, async (t) => {
  const seed = Date.now() % 1_000_000
  t.diagnostic(`npm run chaos -- --seconds ${SECONDS} --seed ${seed}`)
  const { lines, violations } = await chaos({ seconds: SECONDS, seed, perSecond: 250, poison: 2 })
  for (const line of lines) t.diagnostic(line)
  assert.deepEqual(violations.slice(0, 5), [])
})
