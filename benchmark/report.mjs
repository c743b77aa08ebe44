// What a run found, as Markdown: for the terminal, and for RESULTS.md.

import { readFileSync } from 'node:fs'
import os from 'node:os'
import { cases } from './cases.mjs'
import { isPeer, titles } from './contenders.mjs'
import { checkFloors, fastestPeer } from './floors.mjs'
import { middle, number, spread, table } from './format.mjs'
import { compare } from './statistics.mjs'

const MICRO = 1e6
const MIB = 2 ** 20

// In a case's table are those columns that hold something there.
const columns = [
  ['tasks', (rows) => number(rows.find((row) => !row.error)?.tasks ?? 0)],
  ['tasks/s', (rows) => spread(rows, (row) => row.perSecond)],
  ['bulk enqueue/s', (rows) => spread(rows, (row) => row.filledPerSecond), /^backlog/],
  ['p50, ms', (rows) => spread(rows, (row) => row.p50, 2)],
  ['p99, ms', (rows) => spread(rows, (row) => row.p99, 2)],
  ['timer lag p99, ms', (rows) => middle(rows, (row) => row.lagP99, 1)],
  ['CPU µs, client', (rows) => middle(rows, (row) => row.client?.cpu * MICRO, 1)],
  ['CPU µs, worker', (rows) => middle(rows, (row) => row.worker?.cpu * MICRO, 1)],
  ['CPU µs, Redis', (rows) => middle(rows, (row) => row.redisCpu * MICRO, 1)],
  ['peak MiB, client', (rows) => middle(rows, (row) => row.client?.peak / MIB)],
  ['peak MiB, worker', (rows) => middle(rows, (row) => row.worker?.peak / MIB)],
  ['peak MiB, Redis', (rows) => middle(rows, (row) => row.redisPeak / MIB, 1)],
]

/** `results` as in statistics.mjs. */
export function report(results, { runs, redisVersion, about = '' }) {
  const floors = checkFloors(results)
  const parts = [
    `# What \`npm run benchmark\` found\n\n${about}${environment(runs, redisVersion)}`,
    floors.table &&
      `## The floors\n\n${floors.missed ? `${floors.missed} not reached.` : 'All reached.'}\n\n${floors.table}`,
    ...cases.filter(({ name }) => results[name]).map((plan) => section(plan, results[plan.name])),
    failures(results),
  ]
  return `${parts.filter(Boolean).join('\n\n')}\n`
}

function environment(runs, redisVersion) {
  const [cpu] = os.cpus()
  const memory = Math.round(os.totalmem() / 2 ** 30)
  const peers = Object.entries(dependencies()).map(([name, version]) => `${name} ${version}`)
  return [
    `- ${new Date().toISOString().slice(0, 10)}, ${cpu.model}, ${os.cpus().length} cores, ${memory} GiB, ${os.type()} ${os.release()}`,
    `- Node.js ${process.version}, Redis ${redisVersion} on loopback, ${peers.join(', ')}`,
    `- ${runs === 1 ? 'One run' : `${runs} runs, interleaved: medians, with the lowest and the highest in brackets`}`,
  ].join('\n')
}

// As installed, which the lockfile says.
function dependencies() {
  const { packages } = JSON.parse(readFileSync(new URL('package-lock.json', import.meta.url), 'utf8'))
  const names = Object.keys(packages[''].dependencies)
  return Object.fromEntries(names.map((name) => [name, packages[`node_modules/${name}`].version]))
}

function section({ name, title }, rows) {
  const names = Object.keys(titles).filter((contender) => rows[contender])
  const shown = columns
    .filter(([, , only]) => !only || only.test(name))
    .map(([header, read]) => [header, names.map((contender) => read(rows[contender]))])
    .filter(([, cells]) => cells.some(Boolean))
  const ratios = names.map((contender) => ratio(rows, contender))
  if (ratios.some(Boolean)) shown.splice(2, 0, ['dothis, times this', ratios])
  const lines = names.map((contender, i) => [titles[contender], ...shown.map(([, cells]) => cells[i])])
  return `## ${title}\n\n${`\`${name}\``}${fastest(rows)}\n\n${table(['', ...shown.map(([header]) => header)], lines)}`
}

// Within the runs: a machine drifts more from run to run than most queues differ.
function ratio(rows, contender) {
  if (contender === 'dothis' || !rows.dothis) return ''
  const found = compare(rows.dothis, rows[contender], (row) => row.perSecond)
  return found ? number(found.within, 2) : ''
}

function fastest(rows) {
  const name = fastestPeer(rows)
  return name && Object.keys(rows).filter(isPeer).length > 1 ? `; the fastest peer is ${titles[name]}` : ''
}

function failures(results) {
  const lines = Object.entries(results).flatMap(([name, rows]) =>
    Object.entries(rows).flatMap(([contender, all]) =>
      all.flatMap((row, run) => (row.error ? [`- ${name}, ${contender}, run ${run + 1}: ${row.error}`] : [])),
    ),
  )
  return lines.length ? `## Failed\n\nNot in the figures above:\n\n${lines.join('\n')}` : ''
}
