import { fileURLToPath } from 'node:url'
import { python } from '../../scripts/setup.mjs'
import { spawnLines } from './child.mjs'

const program = fileURLToPath(new URL('peer.py', import.meta.url))

/**
 * Runs peer.py, a producer, worker or waiter of another language, as a child process (see child.mjs):
 *
 *   const worker = peer('work', { url, queue, count: 10 })
 *   await worker.waitForLine('ready')
 *   const { id, result } = await worker.nextJson()
 */
export function peer(command, options) {
  const args = Object.entries(options).flatMap(([name, value]) => {
    if (value === true) return [`--${name}`]
    return [`--${name}`, typeof value === 'object' ? JSON.stringify(value) : String(value)]
  })
  return spawnLines(python, ['-u', program, command, ...args])
}
