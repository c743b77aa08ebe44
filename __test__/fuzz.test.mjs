// What JavaScript hands to the native side is text. Whatever that text is, the process lives, and the next call works.
// The seed of a failed run is in its message; DOTHIS_FUZZ_SEED makes the same texts again.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { withRedis } from './support/index.mjs'
import { open, until } from './support/open.mjs'

const binding = createRequire(import.meta.url)('../lib/binding.js')
const redis = await withRedis()

const TEXTS = 3_000
const seed = Number(process.env.DOTHIS_FUZZ_SEED ?? Date.now() % 1_000_000)

/** What a line consists of, and what it must not consist of. */
const PARTS = [
  ...['[', ']', '{', '}', ',', ':', '"', '\\', ' ', '\n', '\0', '\u2028', '\ud800', 'é', '💣'],
  ...[
    '0',
    '1',
    '2',
    '3',
    '8',
    '15',
    '-1',
    '1.5',
    '1e999',
    '4294967295',
    '4294967296',
    '99999999999999999999',
  ],
  ...['null', 'true', '"id"', '"f"', '{}', '[]', '{"a":1}', '"\\ud800"', '"\\u0000"', '[[[[', '{"a":{"a":'],
  ...['"startIn"', '"options"', '"expiresAt"', '"__proto__"', '{"options":{"attempts":0}}', '{"startIn":-1}'],
]
const LINES = {
  enqueue: [
    '[1,1,"id","f",{"a":1},null,null]',
    '[2,2,"other","f",{},5,{"startIn":1,"options":{"attempts":2}}]',
  ],
  finish: ['[1,0,null,null,{"sum":3}]', '[2,2,"reason","exception",null]', '[3,3,"final",null,null]'],
}

/** mulberry32: enough to be the same again. */
function random(state) {
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (limit) => Math.floor(next() * limit)
  return { below, one: (list) => list[below(list.length)] }
}

function text(lines, { below, one }) {
  if (below(4) === 0) return Array.from({ length: below(12) }, () => one(PARTS)).join('')
  let batch = `[${Array.from({ length: 1 + below(3) }, () => one(lines)).join(',')}]`
  for (let changes = below(4); changes > 0; changes--) {
    const from = below(batch.length + 1)
    batch = batch.slice(0, from) + one(['', ...PARTS]) + batch.slice(from + below(4))
  }
  return batch
}

const says = (error) => error instanceof Error && error.message.startsWith('ERR_ARGS')

test(`no text that is handed in brings the process down: seed ${seed}`, async (t) => {
  const client = open(t, redis.url)
  const options = {
    url: redis.url,
    queue: `${client.queue}-fuzz`,
    commandTimeout: 10_000,
    maxArgsBytes: 1_000,
  }
  const native = new binding.NativeClient(options, () => {})
  t.after(() => native.close())
  const rules = { concurrency: 3, attempts: 1, grace: 0, removeOnSuccess: false, maxResultBytes: 1_000 }
  const worker = new binding.NativeWorker(
    native,
    { queue: options.queue, hostname: 'fuzz', heartbeatTimeout: 15_000, maxDeliveries: 3, ...rules },
    () => {},
  )
  t.after(() => worker.close(0))
  const generator = random(seed)
  const refused = { enqueue: 0, finish: 0 }
  for (let n = 0; n < TEXTS; n++) {
    for (const [what, hand] of [
      [
        'enqueue',
        (batch) => (generator.below(2) ? native.enqueue(batch) : native.enqueueMany(n, [batch, batch])),
      ],
      ['finish', (batch) => worker.finish(batch)],
    ]) {
      const batch = text(LINES[what], generator)
      try {
        hand(batch)
      } catch (error) {
        refused[what] += 1
        assert.ok(says(error), `${JSON.stringify(batch)}: ${error?.stack}`)
      }
    }
    // What is heard of it is whole.
    JSON.parse(native.pull())
    JSON.parse(worker.pull())
  }
  for (const count of Object.values(refused)) assert.ok(count > TEXTS / 10 && count < TEXTS, count)
  client.work({ add: ({ a, b }) => a + b })
  assert.equal(await client.call('add', { a: 1, b: 2 }), 3)
  await until(() => JSON.parse(native.pull()).length === 1, 'what is left to be heard of is')
})
