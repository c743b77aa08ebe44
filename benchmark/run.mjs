// npm run benchmark [-- --runs 5 --tasks 50000]
//
// Client, worker and Redis are three processes; Redis is new for each case of each run, and the cases take
// turns, so that a machine that slows down slows all of them. Where the figures in README come from.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import os from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startRedis } from '../scripts/redis.mjs'
import { buildAddon, installPackages, installRedis, orExplain } from '../scripts/setup.mjs'

const CONCURRENCY = 100
const IN_FLIGHT = 1_000
const QUEUE = 'benchmark'

await orExplain(async () => {
  const { values } = parseArgs({
    options: { runs: { type: 'string', default: '5' }, tasks: { type: 'string', default: '50000' } },
  })
  const runs = Number(values.runs)
  const tasks = Number(values.tasks)
  installPackages()
  buildAddon()
  installRedis()

  const rows = { enqueue: [], drain: [], awaited: [] }
  let redisVersion
  for (let run = 1; run <= runs; run++) {
    console.error(`run ${run} of ${runs}`)
    await withRedis(async (redis) => {
      redisVersion = (await info(redis, 'server')).redis_version
      rows.enqueue.push(await enqueue(redis, tasks))
      rows.drain.push(await drain(redis, tasks))
    })
    await withRedis(async (redis) => rows.awaited.push(await awaited(redis, tasks)))
  }
  print(rows, { runs, tasks, redisVersion })
})

async function enqueue(redis, tasks) {
  const spent = await redisCpu(redis)
  const client = await start('client.mjs', { url: redis.url, queue: QUEUE, tasks }).report
  return { seconds: client.seconds, tasks, client, redisCpu: await spent() }
}

/** The tasks wait in Redis when the worker starts: from the first that it takes to the last one settled. */
async function drain(redis, tasks) {
  const spent = await redisCpu(redis)
  const options = { url: redis.url, queue: QUEUE, tasks, concurrency: CONCURRENCY }
  const worker = await start('worker.mjs', options).report
  const row = { seconds: worker.seconds, tasks, worker, redisCpu: await spent() }
  await expectSettled(redis)
  return row
}

async function awaited(redis, tasks) {
  const spent = await redisCpu(redis)
  const shared = { url: redis.url, queue: QUEUE }
  // One more task than is measured: the client's first call waits until the worker is there.
  const worker = start('worker.mjs', { ...shared, tasks: tasks + 1, concurrency: CONCURRENCY })
  const client = start('client.mjs', { ...shared, tasks, inFlight: IN_FLIGHT })
  const [ofWorker, ofClient] = await Promise.all([worker.report, client.report])
  const row = {
    seconds: ofClient.seconds,
    tasks,
    worker: ofWorker,
    client: ofClient,
    redisCpu: await spent(),
  }
  await expectSettled(redis)
  return row
}

async function withRedis(use) {
  const redis = await startRedis()
  try {
    await use(redis)
  } finally {
    await redis.stop()
  }
}

/** Runs a program of this folder; `report` is the one message that it sends before it ends. */
function start(file, options) {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [JSON.stringify(options)])
  let message
  child.once('message', (sent) => {
    message = sent
  })
  const report = once(child, 'exit').then(([code, signal]) => {
    if (code === 0 && message) return message
    throw new Error(`${file} ended with ${signal ?? `code ${code}`}${message ? '' : ' and no report'}`)
  })
  return { report }
}

// A fast figure for tasks that were not run would be no figure.
async function expectSettled(redis) {
  const left = await Promise.all(
    ['pending', 'executing'].map((list) => redis.cli('LLEN', `${QUEUE}:${list}`)),
  )
  if (left.some((length) => length !== '0')) throw new Error(`tasks left in Redis: ${left.join(' and ')}`)
}

/** Starts to count Redis' CPU seconds; the function that it gives says how many were spent since. */
async function redisCpu(redis) {
  const total = async () => {
    const { used_cpu_sys, used_cpu_user } = await info(redis, 'cpu')
    return Number(used_cpu_sys) + Number(used_cpu_user)
  }
  const before = await total()
  return async () => (await total()) - before
}

async function info(redis, section) {
  const lines = (await redis.cli('INFO', section)).split(/\r?\n/)
  return Object.fromEntries(lines.filter((line) => line.includes(':')).map((line) => line.split(/:(.*)/)))
}

function print(rows, { runs, tasks, redisVersion }) {
  const [cpu] = os.cpus()
  const memory = Math.round(os.totalmem() / 2 ** 30)
  console.log(`
${new Date().toISOString().slice(0, 10)}, ${cpu.model}, ${os.cpus().length} cores, ${memory} GiB, ${os.type()} ${os.release()}
Node ${process.version}, Redis ${redisVersion} on loopback, no persistence; client, worker and Redis share the cores
${tasks} tasks a run, ${runs} runs, medians (lowest–highest)
`)
  const table = [
    [
      '',
      'tasks/s',
      'p50 ms',
      'p99 ms',
      ...columns('CPU µs/task', 'client', 'worker', 'Redis'),
      ...columns('peak MiB', 'client', 'worker'),
    ],
    row('enqueueMany, 1,000 a call', rows.enqueue),
    row(`drain, concurrency ${CONCURRENCY}`, rows.drain),
    row(
      `awaited calls, ${IN_FLIGHT.toLocaleString('en')} in flight, concurrency ${CONCURRENCY}`,
      rows.awaited,
    ),
  ]
  const widths = table[0].map((_, column) => Math.max(...table.map((line) => line[column].length)))
  const pad = (text, column) => (column ? text.padStart(widths[column]) : text.padEnd(widths[column]))
  const lines = table.map((line) => `| ${line.map(pad).join(' | ')} |`)
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`
  console.log([lines[0], rule, ...lines.slice(1)].join('\n'))
}

function columns(what, ...whose) {
  return whose.map((name) => `${name} ${what}`)
}

function row(name, results) {
  const cell = (read, digits = 0) => spread(results.map(read), digits)
  const perTask = (who) =>
    cell((result) => (result[who] ? result[who].cpuSeconds / result.tasks : Number.NaN) * 1e6, 1)
  const peak = (who) => cell((result) => (result[who] ? result[who].peakRss / 2 ** 20 : Number.NaN))
  return [
    name,
    cell((result) => result.tasks / result.seconds),
    cell((result) => result.client?.p50 ?? Number.NaN, 1),
    cell((result) => result.client?.p99 ?? Number.NaN, 1),
    perTask('client'),
    perTask('worker'),
    cell((result) => (result.redisCpu / result.tasks) * 1e6, 1),
    peak('client'),
    peak('worker'),
  ]
}

function spread(values, digits) {
  if (values.some(Number.isNaN)) return '-'
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const median = (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2
  const show = (value) =>
    value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  return `${show(median)} (${show(sorted[0])}–${show(sorted.at(-1))})`
}
