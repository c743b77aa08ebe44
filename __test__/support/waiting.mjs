// Tests wait for what the product announces, never for an amount of time: these only bound the wait.

import { once } from 'node:events'

export const LIMIT_MS = 20_000

/** The promise's value, or an error that says what did not happen in time. */
export async function within(promise, ms = LIMIT_MS, what = 'what was awaited') {
  let timer
  const tooLate = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not happen within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([promise, tooLate])
  } finally {
    clearTimeout(timer)
  }
}

/** The arguments of the emitter's next such event. */
export function waitFor(emitter, event, ms = LIMIT_MS) {
  // An EventEmitter's once() rejects on 'error', which is how such an emitter says that it failed.
  return within(once(emitter, event), ms, `'${event}'`)
}
