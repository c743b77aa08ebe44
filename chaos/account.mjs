// The account of a run: every acknowledged task finished once, every run counted, every wait settled, nothing left.

import { isExcused, mayFollow, unexplained } from './excuses.mjs'
import { kinds } from './kinds.mjs'
import { readClients, readWorkers } from './ledger.mjs'
import { DELIVERIES } from './poison.mjs'

/** How much earlier than its delay a task may seem to run: two clocks, and both rounded. */
const EARLY_MS = 20

export function account({ fleet, poisoned, late, redis, found, foundPoison }) {
  const clients = readClients(fleet.clients)
  const workers = readWorkers(fleet.everyWorker)
  const violations = [
    ...fleet.violations,
    ...late.map((what) => `after the time given to come to rest: ${what}`),
  ]
  const violate = (what, ...details) => violations.push([what, ...details.map(show)].join(' '))
  const context = { ...clients, ...workers, found, finishes: redis.monitor.finishes, violate }

  const outcomes = countBy([...clients.tasks.values()], (task) => judgeTask(task, context))
  const runs = judgeRuns(context)
  const waits = countBy(clients.waits, (wait) => judgeWait(wait, context))
  judgeLeft(context, found)
  const poison = judgePoison(poisoned, foundPoison, violate)
  const tasks = [...clients.tasks.values()]
  const unknown = tasks.filter(({ acknowledged }) => !acknowledged)

  return {
    violations,
    lines: [
      `tasks: ${tasks.length} put in, ${tasks.length - unknown.length} acknowledged; of ${unknown.length} others ` +
        `${unknown.filter(({ id }) => found.tasks.has(id)).length} are there`,
      `outcomes: ${list(outcomes)}`,
      `runs: ${runs.all}, of which ${runs.attempts} further attempts, ${runs.again} again after their worker was gone; ` +
        `${runs.ahead} began while others had been taken ahead`,
      `workers: ${fleet.everyWorker.length}; their events: ${list(workers.events)}`,
      `waits: ${list(waits)}`,
      `poison: ${poison}`,
      `left: ${found.pending.length} pending, ${found.executing.length} executing, ${found.due.length} due, ` +
        `${found.workers.length} workers, ${found.others.length} other keys`,
      `workers that counted as dead without a fault of ours: ${
        unexplained(redis.monitor.deaths, workers.ids, redis.outages).length
      }`,
    ],
  }
}

function judgeTask(task, { runs, found, finishes, cancelled, violate }) {
  const { id, kind, args, options } = task
  const hash = found.tasks.get(id)
  const own = runs.get(id) ?? []
  if (task.created > 1) violate('created twice:', task)
  if (finishes.get(id) > 1) violate(`finished ${finishes.get(id)} times:`, task, hash, own)
  if (options.delay && own[0] && own[0].from < task.at + options.delay - EARLY_MS)
    violate('too early:', task, own)

  if (!hash) {
    const ran = own.some(({ ended }) => ended === 'returned')
    if (options.removeOnSuccess && ran) return 'removed'
    if (task.acknowledged || own.length > 0) violate('lost:', task, own)
    return 'never there'
  }
  if (hash.state !== 'finished') {
    violate('not finished:', task, hash, own)
    return 'not finished'
  }
  if (hash.owned || hash['reply-to'] || hash.cancel !== null) violate('not tidied up:', task, hash)
  if (hash.ttl < 0) violate('kept for ever:', task, hash)
  if (hash.cancelled === '1') {
    if (!cancelled.has(id)) violate('cancelled by nobody:', task, hash)
    return 'cancelled'
  }
  if (isExpiry(hash['error-reason'])) {
    if (!options.expires) violate('expired without a date:', task, hash)
    const held = own.filter((run) => !isExcused(run, Number.POSITIVE_INFINITY))
    if (held.length > 0) violate('expired although it ran:', task, hash, own)
    return 'expired'
  }
  const right = kinds[kind].right(args, options)
  const came =
    hash.result === 'successful' ? { value: json(hash['result-value']) } : { reason: hash['error-reason'] }
  if (!same(came, right)) violate('came to something else:', task, hash, own)
  if (own.length === 0) violate('finished without a run:', task, hash)
  return hash.result === 'successful' ? 'successful' : 'failed as it should'
}

function judgeRuns({ tasks, runs, violate }) {
  const counts = { all: 0, attempts: 0, again: 0, ahead: 0 }
  for (const [id, own] of runs) {
    const task = tasks.get(id)
    if (!task) violate('run, and put in by nobody:', own)
    counts.all += own.length
    counts.ahead += own.filter(({ ahead }) => ahead).length
    const attempts = byAttempt(own)
    for (const [attempt, same] of attempts) {
      if (attempt > 1) {
        counts.attempts += 1
        const before = attempts.get(attempt - 1) ?? []
        const failed = before.some(({ ended, abort }) => ended === 'threw' || abort === 'ERR_TIMEOUT')
        if (!failed) violate(`attempt ${attempt} after none that failed:`, task, own)
      }
      counts.again += same.length - 1
      for (let n = 1; n < same.length; n++) {
        const since = same[n - 2]?.from ?? task?.at
        if (!mayFollow(same[n], same[n - 1], since)) violate('run again by a live system:', task, own)
      }
    }
    if (task && attempts.size > (task.options.attempts ?? 1)) violate('tried too often:', task, own)
  }
  return counts
}

function judgeWait({ id, by, limited, settled, name }, { tasks, found, violate }) {
  const task = tasks.get(id)
  const hash = found.tasks.get(id)
  const wrong = (what) => {
    violate(`${what}:`, { name, by, limited }, settled, task, hash)
    return what
  }
  if (!settled) return wrong('wait not settled')
  const { code, reason, value } = settled
  switch (code) {
    case undefined: {
      const right = task && kinds[task.kind].right(task.args, task.options)
      return same({ value }, right) && (!hash || hash.result === 'successful')
        ? 'value'
        : wrong('wrong value')
    }
    case 'ERR_TASK_FAILED': {
      const vanished =
        reason.startsWith('its key has vanished') && task?.kind === 'removed' && by === 'result'
      return vanished || hash?.['error-reason'] === reason ? 'failure' : wrong('wrong failure')
    }
    case 'ERR_CANCELLED':
      return hash?.cancelled === '1' ? 'cancelled' : wrong('not cancelled')
    case 'ERR_TIMEOUT':
      return limited ? 'out of time' : wrong('out of time without a limit')
    case 'ERR_CONNECTION':
      return by === 'call' ? 'no connection' : wrong('no connection for a result')
    default:
      return wrong(`unexpected ${code}`)
  }
}

function judgeLeft({ tasks, violate }, found) {
  for (const where of ['pending', 'executing', 'due', 'workers', 'others']) {
    if (found[where].length > 0) violate(`left in ${where}:`, found[where])
  }
  for (const [id, hash] of found.tasks) if (!tasks.has(id)) violate(`nobody put ${id} in:`, hash)
}

function judgePoison({ logs }, found, violate) {
  const { runs } = readWorkers(logs.map((log) => ({ log })))
  const deliveries = []
  for (const [id, hash] of found.tasks) {
    const own = runs.get(id)?.length ?? 0
    deliveries.push(own)
    const reason = `given up after ${DELIVERIES} deliveries`
    if (own !== DELIVERIES || hash.result !== 'failed' || !hash['error-reason'].startsWith(reason)) {
      violate(`${id} was run ${own} times:`, hash)
    }
  }
  judgeLeft({ tasks: found.tasks, violate }, found)
  return `${found.tasks.size} tasks, given up after ${deliveries.join(', ')} deliveries`
}

function isExpiry(reason) {
  return reason?.startsWith('expired: ')
}

function byAttempt(own) {
  const groups = new Map()
  for (const run of own) groups.set(run.attempt, [...(groups.get(run.attempt) ?? []), run])
  return groups
}

function countBy(items, name) {
  const counts = {}
  for (const item of items) {
    const key = name(item)
    counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
}

function list(counts) {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')
}

function json(text) {
  return text === null ? undefined : JSON.parse(text)
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b)
}

/** For a person who looks for the cause; long texts are cut. */
function show(detail) {
  const text = JSON.stringify(detail, (key, value) => {
    if (key === 'worker' && typeof value === 'object') {
      const { name, disruptions, heartbeatTimeout } = value
      return { name, heartbeatTimeout, disruptions }
    }
    return typeof value === 'string' && value.length > 300 ? `${value.slice(0, 300)}…` : value
  })
  return text ?? 'nothing'
}
