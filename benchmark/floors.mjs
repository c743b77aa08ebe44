// What dothis aims at in speed, as ratios to the fastest peer of each case. A bound is met when both ratios
// meet it: that of the medians, and the median of those within each run.

import { isPeer, titles } from './contenders.mjs'
import { number, table } from './format.mjs'
import { compare, median, valuesOf } from './statistics.mjs'

const rate = (row) => row.perSecond
const p50 = (row) => row.p50

const floors = [
  atLeast(4, 'drain-100'),
  atLeast(5, 'drain-100', { than: 'bullmq' }),
  atLeast(4, 'drain-1000'),
  atLeast(2.5, 'drain-10'),
  atLeast(1.2, 'drain-1'),
  atLeast(4, 'awaited-1000'),
  atLeast(9, 'awaited-1000', { than: 'bullmq' }),
  atLeast(0.7, 'awaited-1000', { than: 'redis' }),
  atLeast(3, 'awaited-100'),
  atMost(1.05, 'awaited-1', 'p50', p50, { fastestBy: (row) => -row.p50 }),
  atMost(0.7, 'awaited-1', 'p99', (row) => row.p99, { fastestBy: (row) => -row.p50 }),
  atLeast(2, 'enqueue'),
  atLeast(2.5, 'bulk'),
  atMost(0.25, 'drain-100', "worker's CPU a task", (row) => row.worker.cpu),
  lag(5, 'drain-100'),
  lag(5, 'drain-1000'),
  ownAtMost(1.1, 'waiting-20', 'waiting-1', "Redis' CPU a task", (row) => row.redisCpu),
  ownAtMost(1.1, 'waiting-1+19', 'waiting-1', "Redis' CPU a task", (row) => row.redisCpu),
  ownAtLeast(0.9, 'backlog-1m', 'backlog-100k', 'tasks enqueued a second', (row) => row.filledPerSecond),
  ownAtLeast(0.9, 'backlog-1m', 'backlog-100k', 'tasks drained a second', rate),
  ownAtLeast(0.9, 'executing-10000', 'executing-100', 'tasks a second', rate),
]

/** A table of the floors whose cases were run; and how many are not reached. */
export function checkFloors(results) {
  const lines = floors.flatMap((floor) => {
    const found = floor.check(results)
    if (!found) return []
    const met = [found.medians, found.within].every(floor.meets)
    return [
      [
        floor.what,
        found.than,
        floor.bound,
        number(found.medians, 2),
        number(found.within, 2),
        met ? 'yes' : 'NO',
      ],
    ]
  })
  const header = ['what', 'compared with', 'floor', 'of medians', 'within runs', 'met']
  const missed = lines.filter((line) => line.at(-1) === 'NO').length
  return { table: lines.length ? table(header, lines) : '', missed }
}

function atLeast(bound, name, { than } = {}) {
  return against(name, 'tasks a second', rate, { than, ...lower(bound) })
}

function atMost(bound, name, what, read, { fastestBy } = {}) {
  return against(name, what, read, { fastestBy, ...upper(bound) })
}

function ownAtLeast(bound, name, base, what, read) {
  return own(name, base, what, read, lower(bound))
}

function ownAtMost(bound, name, base, what, read) {
  return own(name, base, what, read, upper(bound))
}

function lower(bound) {
  return { bound: `at least ${bound}`, meets: (ratio) => ratio >= bound }
}

function upper(bound) {
  return { bound: `at most ${bound}`, meets: (ratio) => ratio <= bound }
}

function against(name, what, read, { than, fastestBy = rate, ...limit }) {
  return {
    what: `${name}: ${what}`,
    ...limit,
    check(results) {
      const rows = results[name] ?? {}
      const other = than ?? fastestPeer(rows, fastestBy)
      const found = rows.dothis && rows[other] && compare(rows.dothis, rows[other], read)
      return found && { ...found, than: titles[other] }
    },
  }
}

function own(name, base, what, read, limit) {
  return {
    what: `${name}: ${what}`,
    ...limit,
    check(results) {
      const rows = results[name]?.dothis
      const found = rows && results[base]?.dothis && compare(rows, results[base].dothis, read)
      return found && { ...found, than: base }
    },
  }
}

function lag(bound, name) {
  return {
    what: `${name}: lag of a 1 ms timer in the worker, p99, ms`,
    bound: `below ${bound}`,
    meets: (value) => value < bound,
    check(results) {
      const values = valuesOf(results[name]?.dothis, (row) => row.lagP99)
      if (!values.length) return undefined
      return {
        medians: median(values),
        within: median(values),
        than: `(highest: ${number(Math.max(...values), 2)})`,
      }
    },
  }
}

/** By the median over all runs, in whichever setting it is fastest. */
export function fastestPeer(rows, by = rate) {
  const peers = Object.keys(rows).filter((name) => isPeer(name) && valuesOf(rows[name], by).length)
  const speed = (name) => median(valuesOf(rows[name], by))
  return peers.sort((a, b) => speed(b) - speed(a))[0]
}
