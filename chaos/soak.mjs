// npm run soak [-- --seconds 180]
//
// Enqueues, runs and waits at full speed, with results that are kept for a second, and says whether the memory of the
// client, the worker and Redis grows. Flat is where the median of the last quarter is not above that of the second by
// more than the tolerance; the first quarter is the warm-up.

import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startRedis } from '../scripts/redis.mjs'
import { buildAddon, installPackages, installRedis, orExplain } from '../scripts/setup.mjs'

const QUEUE = 'soak'
const RESULT_TTL_MS = 1_000
const IN_FLIGHT = 500
const LOOK_MS = 1_000
const SHOWN_EVERY = 10
/** Parts of the second quarter's median, and bytes: a garbage collector leaves more or less lying about. */
const TOLERANCE = 0.1
const SLACK = 8 * 2 ** 20

const MEMORIES = ['client', 'worker', 'redis']

await orExplain(async () => {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '180' } } })
  installPackages()
  buildAddon()
  installRedis()
  const { Member } = await import('./member.mjs')
  const redis = await startRedis()
  try {
    const shared = { redis, direct: true, queue: QUEUE, resultTtl: RESULT_TTL_MS, inFlight: IN_FLIGHT }
    const worker = await Member.start('soak-worker.mjs', 'worker', shared)
    const client = await Member.start('soak-client.mjs', 'client', shared)
    const looks = await watch({ client, worker, redis }, Number(values.seconds))
    client.stop()
    await alive(client.gone)
    await alive(worker.terminate())
    process.exitCode = report(looks) ? 0 : 1
  } finally {
    await redis.stop()
  }
})

async function watch({ client, worker, redis }, seconds) {
  const looks = []
  const end = performance.now() + seconds * 1_000
  console.log(row(['seconds', 'tasks/s', ...MEMORIES.map((name) => `${name} MiB`)]))
  while (performance.now() < end) {
    await setTimeout(LOOK_MS)
    const [ofClient, ofWorker, info] = await Promise.all([
      client.ask('how'),
      worker.ask('how'),
      redis.cli('INFO', 'memory'),
    ])
    const used = Number(/used_memory:(\d+)/.exec(info)[1])
    const look = {
      at: performance.now(),
      done: ofClient.done,
      client: ofClient.rss,
      worker: ofWorker.rss,
      redis: used,
    }
    looks.push(look)
    if (looks.length % SHOWN_EVERY === 0) show(looks)
  }
  return looks
}

function show(looks) {
  const [from, to] = [looks.at(-SHOWN_EVERY), looks.at(-1)]
  const rate = ((to.done - from.done) / (to.at - from.at)) * 1_000
  console.log(row([looks.length, Math.round(rate), ...MEMORIES.map((name) => mebibytes(to[name]))]))
}

/** True where all are flat. */
function report(looks) {
  const quarter = Math.floor(looks.length / 4)
  const flat = MEMORIES.map((name) => {
    const second = median(looks.slice(quarter, 2 * quarter).map((look) => look[name]))
    const last = median(looks.slice(-quarter).map((look) => look[name]))
    const isFlat = last <= second * (1 + TOLERANCE) + SLACK
    console.log(
      `${name}: ${mebibytes(second)} MiB in the second quarter, ${mebibytes(last)} in the last: ` +
        `${isFlat ? 'flat' : 'GROWS'} (tolerance ${TOLERANCE * 100} % and ${mebibytes(SLACK)} MiB)`,
    )
    return isFlat
  })
  console.log(`${looks.at(-1).done} tasks`)
  return flat.every(Boolean)
}

async function alive(gone) {
  const { code, signal, stderr } = await gone
  if (code !== 0) throw new Error(`a process ended with ${signal ?? `code ${code}`}: ${stderr}`)
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
}

function mebibytes(bytes) {
  return (bytes / 2 ** 20).toFixed(1)
}

function row(cells) {
  return cells.map((cell) => String(cell).padStart(12)).join('')
}
