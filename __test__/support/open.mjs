import dothis from '../../index.mjs'
import { uniqueQueue } from './index.mjs'
import { until } from './until.mjs'

export { until }

/** After which a test counts as hanging. */
const TEST_LIMIT_MS = 60_000

/**
 * A client on a queue of its own, unless the options name one. It ends with the test, or when that takes too
 * long: what still waits is then a ClosedError, instead of for ever.
 */
export function open(t, url, options = {}) {
  const client = dothis({ url, queue: uniqueQueue(), ...options })
  const timer = setTimeout(() => client.end(), TEST_LIMIT_MS)
  t.after(() => {
    clearTimeout(timer)
    return client.end()
  })
  return client
}

/** What handlers wait at: `open(value)` lets through who awaits `opened`. */
export function gate() {
  let open
  const opened = new Promise((resolve) => {
    open = resolve
  })
  return { open, opened }
}

/** What a promise ended in, without throwing. */
export async function outcome(promise) {
  try {
    return { value: await promise }
  } catch (error) {
    return { error }
  }
}

/** Resolves once whatever the client was to enqueue before is in Redis; leaves nothing there itself. */
export async function flushed(client, raw) {
  const { id } = await client.enqueue('flushed')
  await raw.send('LREM', `${client.queue}:pending`, 1, id)
  await raw.send('DEL', `${client.queue}:task:${id}`)
}

/** Resolves once a wait for the task has been made known to whoever finishes it. */
export function attached(client, raw, id) {
  return until(() => raw.send('HGET', `${client.queue}:task:${id}`, 'reply-to'), 'the wait is known')
}
