// Puts `tasks` tasks in: with `inFlight`, awaits their results, that many at a time; without, just enqueues them.

import dothis from '../index.mjs'
import { measure } from './report.mjs'

const ARGS = { a: 1, b: 2 }
const BATCH = 1_000

const { url, queue, tasks, inFlight } = JSON.parse(process.argv[2])
const client = dothis(url, queue)
// Connected, and with a worker at the other end, before anything is timed.
if (inFlight) await client.call('add', ARGS)
else await client.get('none')

const report = measure()
const started = performance.now()
const latencies = inFlight ? await callAll() : await enqueueAll()
const seconds = (performance.now() - started) / 1000
await client.close()
report({ seconds, ...latencies })

async function enqueueAll() {
  for (let left = tasks; left > 0; left -= BATCH) {
    const batch = Array.from({ length: Math.min(left, BATCH) }, () => ({ function: 'add', args: ARGS }))
    await client.enqueueMany(batch)
  }
}

async function callAll() {
  const taken = new Float64Array(tasks)
  let next = 0
  async function caller() {
    while (next < tasks) {
      const call = next++
      const from = performance.now()
      const sum = await client.call('add', ARGS)
      taken[call] = performance.now() - from
      if (sum !== 3) throw new Error(`1 + 2 came back as ${sum}`)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, caller))
  taken.sort()
  const percentile = (p) => taken[Math.ceil((p / 100) * tasks) - 1]
  return { p50: percentile(50), p99: percentile(99) }
}
