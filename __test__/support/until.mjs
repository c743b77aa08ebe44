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
