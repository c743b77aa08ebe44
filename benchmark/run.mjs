// npm run benchmark                                     everything, five times: RESULTS.md and the charts (half an hour)
// npm run benchmark -- --quick                          each case once, with fewer tasks (2 minutes)
// npm run benchmark -- --only drain-100,awaited-1000 --queues dothis,bee-queue --runs 3
//
// Only a full run writes; the others print. In each run the queues take turns case by case, so that a machine
// that slows down slows all of them, and each has a new Redis and new processes.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { startRedis } from '../scripts/redis.mjs'
import { buildAddon, installPackages, installRedis, orExplain, SetupError } from '../scripts/setup.mjs'
import { cases } from './cases.mjs'
import { charts } from './charts.mjs'
import { contenders, names } from './contenders.mjs'
import { execute, info } from './execute.mjs'
import { number } from './format.mjs'
import { report } from './report.mjs'

const RUNS = 5
const QUICK_SHARE = 0.15
const ABOUT = `Written by a full run. Client, worker and Redis are processes of their own on one machine. Tasks do nothing: their handlers
are async functions that add two numbers, and args are 15 bytes where nothing else is said. A drain is measured from the first task taken to the last one settled in
Redis; each worker checks that it ran every task once, and each run that nothing is left in Redis. A slower queue gets
fewer tasks, so that all runs take about as long. How each queue is set up, and why, is in [queues/](queues); "Redis
alone" is what [ceiling.mjs](ceiling.mjs) says. CPU and memory are medians. The machine is small, and drifts: compare
ratios, not rates of different days; a difference under a quarter is noise.

`
const QUICK = `A quick run: ${number(100 * QUICK_SHARE)} % of the tasks, the backlog's too, so that code that has just been loaded weighs
more. Good for finding what has become much slower, not for a figure.

`

await orExplain(async () => {
  const { quick, runs, plans, queues, full } = choices()
  installPackages()
  installPackages('benchmark')
  buildAddon()
  installRedis()
  const taking = (await contenders()).filter(({ name }) => queues.includes(name))
  const results = {}
  for (let run = 1; run <= runs; run++) {
    for (const plan of plans) {
      for (const contender of taking.filter((one) => takesPart(one, plan, quick))) {
        const tasks = Math.ceil(plan.tasks[contender.adapter] * (quick ? QUICK_SHARE : 1))
        const row = await attempt(plan, contender, tasks)
        results[plan.name] ??= {}
        results[plan.name][contender.name] ??= []
        results[plan.name][contender.name].push(row)
        const found = row.error ?? `${number(row.perSecond)} tasks/s`
        console.error(`run ${run} of ${runs}: ${plan.name}, ${contender.name}: ${found}`)
      }
    }
  }
  const about = full ? ABOUT : quick ? QUICK : ''
  const text = report(results, { runs, redisVersion: await redisVersion(), about })
  console.log(text)
  const account = readFileSync(new URL('account.md', import.meta.url), 'utf8')
  if (full) write({ 'RESULTS.md': `${text}\n${account}`, ...inFolder('charts', charts(results)) })
  const failed = Object.values(results).some(({ dothis }) => dothis?.some(({ error }) => error))
  if (failed) process.exitCode = 1
})

function choices() {
  const values = flags()
  const { quick, only, queues } = values
  const runs = Number(values.runs ?? (quick ? 1 : RUNS))
  if (!Number.isInteger(runs) || runs < 1) throw new SetupError(`--runs takes a number, not ${values.runs}.`)
  const chosen = listed(
    '--only',
    only,
    cases.map(({ name }) => name),
  )
  return {
    quick,
    runs,
    plans: cases.filter(({ name }) => chosen.includes(name)),
    queues: listed('--queues', queues, names),
    full: !quick && !only && !queues && runs >= RUNS,
  }
}

function flags() {
  const text = { type: 'string' }
  const options = { quick: { type: 'boolean', default: false }, runs: text, only: text, queues: text }
  try {
    return parseArgs({ options }).values
  } catch (error) {
    throw new SetupError(error.message)
  }
}

function listed(flag, text, known) {
  const list = text ? text.split(',') : known
  const strange = list.find((name) => !known.includes(name))
  if (strange)
    throw new SetupError(`${flag} ${strange}: there is no such one; there are ${known.join(', ')}.`)
  return list
}

function takesPart({ adapter, setting, can }, { tasks, settings, way = 'many', shape }, quick) {
  const fastOnly = quick || settings?.includes('fast')
  if (fastOnly && setting === 'default' && !['dothis', 'redis'].includes(adapter)) return false
  return adapter in tasks && (shape === 'drain' || can.includes(way))
}

// A peer that fails must not cost the figures of the half hour before: the report tells of it.
async function attempt(plan, contender, tasks) {
  try {
    return await execute(plan, contender, tasks)
  } catch (error) {
    return { error: error.message }
  }
}

async function redisVersion() {
  const redis = await startRedis()
  try {
    return (await info(redis, 'server')).redis_version
  } finally {
    await redis.stop()
  }
}

function inFolder(folder, files) {
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [`${folder}/${name}`, text]))
}

function write(files) {
  mkdirSync(new URL('charts', import.meta.url), { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(new URL(name, import.meta.url), text)
}
