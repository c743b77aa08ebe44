// What the programs of the benchmark have in common: they are told what to do in their first argument, say when
// they are ready, wait until they are told to go, and send one report.

import { once } from 'node:events'
import { monitorEventLoopDelay } from 'node:perf_hooks'

const RESOLUTION_MS = 1

export const options = JSON.parse(process.argv[2])

// Its parent has the report, or is gone. A queue that keeps on connecting must not outlive either.
process.on('disconnect', () => process.exit())

/** Says that everything is prepared, and waits for the others. */
export async function ready() {
  process.send('ready')
  await once(process, 'message')
}

export function report(figures) {
  process.send({ ...figures, peakRss: process.resourceUsage().maxRSS * 1024 })
  process.disconnect()
}

/** Starts to count; the function that it gives says what was spent since. */
export function startMeter({ lag = false } = {}) {
  const delays = lag && monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  const cpu = process.cpuUsage()
  const started = performance.now()
  if (delays) delays.enable()
  return () => {
    const seconds = (performance.now() - started) / 1000
    const { user, system } = process.cpuUsage(cpu)
    const spent = { seconds, cpuSeconds: (user + system) / 1e6 }
    return delays ? { ...spent, lagP99: delays.percentile(99) / 1e6 - RESOLUTION_MS } : spent
  }
}

/** The task number `n`; its handler returns a + b. */
export function argsOf(n, text) {
  return text ? { a: n, b: 2, text } : { a: n, b: 2 }
}
