// One case, run once for one queue: a Redis of its own, the processes that it takes, and what they spent.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { startRedis } from '../scripts/redis.mjs'

const QUEUE = 'benchmark'
const PATIENCE_MS = 120_000

export async function execute(plan, contender, tasks) {
  const redis = await startRedis({ args: plan.redisArgs })
  const children = []
  const start = (program, options) => {
    const child = startChild(program, {
      url: redis.url,
      queue: QUEUE,
      adapter: contender.adapter,
      setting: contender.setting,
      payload: plan.payload ?? 0,
      ...options,
    })
    children.push(child)
    return child
  }
  let timer
  const patience = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not through in ${PATIENCE_MS / 1000} s`)), PATIENCE_MS)
  })
  try {
    const shape = contender.adapter === 'redis' ? alone : shapes[plan.shape]
    const row = await Promise.race([shape({ plan, contender, tasks, redis, start }), patience])
    return { tasks, perSecond: tasks / row.seconds, ...row, redisPeak: await peakMemory(redis) }
  } finally {
    clearTimeout(timer)
    for (const child of children) child.kill()
    await redis.stop()
  }
}

const shapes = { enqueue, drain, awaited }

async function enqueue({ plan, tasks, redis, start }) {
  const { way, inFlight, concurrency } = plan
  const warmUp = { from: 0, count: plan.warmUp }
  const client = start('client.mjs', {
    way,
    inFlight,
    concurrency,
    warmUp,
    tasks: { from: plan.warmUp, count: tasks },
  })
  await client.ready
  const spent = await redisCpu(redis)
  client.go()
  const { seconds, ...ofClient } = await client.report
  return { seconds, client: perTask(ofClient, tasks), redisCpu: (await spent()) / tasks }
}

/** The tasks wait in Redis when the worker starts. */
async function drain({ plan, contender, tasks, redis, start }) {
  const { concurrency, held, warmUp = held ?? 0 } = plan
  const all = warmUp + tasks
  const way = contender.can.includes('many') ? 'many' : 'one'
  const filler = start('client.mjs', {
    way,
    concurrency,
    inFlight: 1_000,
    warmUp: { count: 0 },
    tasks: { from: 0, count: all },
  })
  const worker = start('worker.mjs', { concurrency, held, warmUp, tasks, lag: true })
  await filler.ready
  filler.go()
  const filled = await filler.report
  await worker.ready
  const spent = await redisCpu(redis)
  worker.go()
  const { seconds, lagP99, ...ofWorker } = await worker.report
  await expectNothingLeft(redis, contender)
  return {
    seconds,
    lagP99,
    filledPerSecond: all / filled.seconds,
    worker: perTask(ofWorker, tasks),
    redisCpu: (await spent()) / all,
  }
}

async function awaited({ plan, contender, tasks, redis, start }) {
  const { concurrency, inFlight, warmUp, clients: count = 1, idle = 0 } = plan
  const worker = start('worker.mjs', { concurrency, awaits: true, warmUp: warmUp + idle, tasks })
  await worker.ready
  worker.go()
  const share = (from, all, i) => {
    const start = Math.floor((all * i) / count)
    return { from: from + start, count: Math.floor((all * (i + 1)) / count) - start }
  }
  const clients = Array.from({ length: count }, (_, i) =>
    start('client.mjs', {
      way: 'awaited',
      awaits: true,
      inFlight: inFlight / count,
      warmUp: share(0, warmUp, i),
      tasks: share(warmUp + idle, tasks, i),
    }),
  )
  // They have awaited one task each, and hear what there is to be heard.
  const idlers = Array.from({ length: idle }, (_, i) => {
    const own = { way: 'awaited', awaits: true, inFlight: 1, warmUp: { from: warmUp + i, count: 1 } }
    return start('client.mjs', { ...own, tasks: { count: 0 } })
  })
  await Promise.all([...clients, ...idlers].map((client) => client.ready))
  const spent = await redisCpu(redis)
  for (const client of clients) client.go()
  const [ofWorker, ...ofClients] = await Promise.all([worker, ...clients].map((child) => child.report))
  await expectNothingLeft(redis, contender)
  const [{ p50, p99 }] = ofClients
  return {
    seconds: Math.max(...ofClients.map((client) => client.seconds)),
    ...(count === 1 && { p50, p99 }),
    client: perTask(sum(ofClients), tasks),
    worker: perTask(ofWorker, tasks),
    redisCpu: (await spent()) / tasks,
  }
}

const STEPS = {
  enqueue: { steps: ['enqueue'] },
  drain: { prepare: ['enqueue'], steps: ['take', 'finish'] },
  awaited: { steps: ['enqueue', 'take', 'finish', 'read'] },
}

async function alone({ plan, tasks, redis, start }) {
  const driver = start('ceiling.mjs', {
    ...STEPS[plan.shape],
    inFlight: plan.inFlight ?? plan.concurrency,
    tasks,
  })
  await driver.ready
  const spent = await redisCpu(redis)
  driver.go()
  const { seconds, ...ofDriver } = await driver.report
  const lives = await redis.cli('DBSIZE')
  const left = plan.shape === 'enqueue' ? 1 : 0
  if (Number(lives) !== tasks + left) throw new Error(`${lives} keys for ${tasks} tasks`)
  return { seconds, client: perTask(ofDriver, tasks), redisCpu: (await spent()) / tasks }
}

function perTask({ cpuSeconds, peakRss }, tasks) {
  return { cpu: cpuSeconds / tasks, peak: peakRss }
}

function sum(children) {
  const total = (name) => children.reduce((all, child) => all + child[name], 0)
  return { cpuSeconds: total('cpuSeconds'), peakRss: total('peakRss') }
}

/** A program of this folder. It says that it is `ready`, works from `go` on, and ends with one `report`. */
function startChild(program, options) {
  const child = fork(fileURLToPath(new URL(program, import.meta.url)), [JSON.stringify(options)])
  let figures
  const ready = new Promise((resolve) => {
    child.on('message', (message) => {
      if (message === 'ready') resolve()
      else figures = message
    })
  })
  const report = once(child, 'exit').then(([code, signal]) => {
    if (code === 0 && figures) return figures
    throw new Error(`${program} ended with ${signal ?? `code ${code}`}${figures ? '' : ' and no report'}`)
  })
  // Whoever awaits it hears of it; a run that has failed already awaits no more reports.
  report.catch(() => {})
  return {
    ready: Promise.race([ready, report]),
    report,
    go: () => child.send('go'),
    kill: () => child.kill('SIGKILL'),
  }
}

// A fast figure for tasks that were not run would be no figure.
async function expectNothingLeft(redis, { adapter, unfinished }) {
  for (const command of unfinished(QUEUE)) {
    const left = await redis.cli(...command)
    if (left !== '0') throw new Error(`${adapter} left ${left} in ${command.at(-1)}`)
  }
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

async function peakMemory(redis) {
  return Number((await info(redis, 'memory')).used_memory_peak)
}

export async function info(redis, section) {
  const lines = (await redis.cli('INFO', section)).split(/\r?\n/)
  return Object.fromEntries(lines.filter((line) => line.includes(':')).map((line) => line.split(/:(.*)/)))
}
