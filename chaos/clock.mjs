// Clocks of processes that can be moved while they run: where there is a C compiler, and a loader that preloads.

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Prepares clocks in that directory; undefined where that can't be done. */
export function clocks(dir) {
  if (process.platform !== 'linux') return undefined
  const library = join(dir, 'clock.so')
  const source = fileURLToPath(new URL('clock.c', import.meta.url))
  const { status } = spawnSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source])
  if (status !== 0) return undefined
  let made = 0
  return function makeClock() {
    const file = join(dir, `clock-${++made}`)
    const move = (seconds) => {
      const offset = Buffer.alloc(8)
      offset.writeBigInt64LE(BigInt(seconds) * 1_000_000_000n)
      // In place: the process has it mapped.
      writeFileSync(file, offset, { flag: 'r+' })
    }
    writeFileSync(file, Buffer.alloc(8))
    return { move, env: { LD_PRELOAD: library, CHAOS_CLOCK: file } }
  }
}
