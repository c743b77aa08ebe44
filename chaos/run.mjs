// npm run chaos [-- --seconds 120 --seed 42 --keep --quiet]
//
// Breaks everything that can break around the queue, and accounts for every task. The seed that it prints repeats it.

import { parseArgs } from 'node:util'
import { buildAddon, installPackages, installRedis, orExplain } from '../scripts/setup.mjs'

/** Violations of one kind that are shown. */
const SHOWN = 5

await orExplain(async () => {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '120' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      keep: { type: 'boolean', default: false },
      quiet: { type: 'boolean', default: false },
    },
  })
  installPackages()
  buildAddon()
  installRedis()
  const { chaos } = await import('./driver.mjs')
  const seed = Number(values.seed)
  console.log(`seed ${seed}`)
  const began = performance.now()
  const say = (what) => {
    if (!values.quiet)
      console.log(`${((performance.now() - began) / 1_000).toFixed(1).padStart(6)} s  ${what}`)
  }
  const { lines, violations } = await chaos({ seconds: Number(values.seconds), seed, keep: values.keep, say })
  console.log(`\n${lines.join('\n')}`)
  show(violations)
  console.log(`\n${violations.length} violations after ${Math.round((performance.now() - began) / 1_000)} s`)
  process.exitCode = violations.length === 0 ? 0 : 1
})

function show(violations) {
  const counts = {}
  for (const violation of violations) {
    const [what] = violation.split(':')
    counts[what] = (counts[what] ?? 0) + 1
    if (counts[what] <= SHOWN) console.log(`\nVIOLATION ${violation}`)
  }
  for (const [what, count] of Object.entries(counts)) console.log(`\n${count} × ${what}`)
}
