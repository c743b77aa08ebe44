import { execFileSync } from 'node:child_process'
import { setImmediate } from 'node:timers/promises'
import { LIMIT_MS } from './waiting.mjs'

/**
 * What `look` gives, once it gives something true. For what nobody announces, such as a connection that has gone
 * from Redis's list: each look asks Redis, there is no pause to be tuned.
 */
export async function until(look, what = String(look), ms = LIMIT_MS) {
  const deadline = Date.now() + ms
  for (;;) {
    const found = await look()
    if (found) return found
    if (Date.now() > deadline) throw new Error(`${what} did not happen within ${ms} ms`)
    await setImmediate()
  }
}

/** Asks Redis from a handler that keeps the event loop to itself, until the answer is that one. */
export function untilSync({ url }, command, answer) {
  const deadline = Date.now() + LIMIT_MS
  for (;;) {
    const found = execFileSync('redis-cli', ['-u', url, ...command]).toString()
    if (found.trim() === answer) return
    if (Date.now() > deadline) throw new Error(`${command.join(' ')} was not ${answer} in time`)
  }
}
