import { until } from './until.mjs'

/**
 * What the connections to Redis are for, in order, those of the tests themselves left out: 'blocked' (a worker that
 * waits for tasks), 'commands', 'messages' (subscribed).
 */
export async function connections(redis) {
  const list = (await redis.send('CLIENT', 'LIST')).trim().split('\n')
  const clients = list.map((line) => Object.fromEntries(line.split(' ').map((field) => field.split('='))))
  return clients
    .filter(({ resp }) => resp === '3') // The tests' own speak RESP2.
    .map(({ flags }) => (flags.includes('P') ? 'messages' : flags.includes('b') ? 'blocked' : 'commands'))
    .sort()
}

/** Waits for the connections to be these, and no others. */
export async function untilConnections(redis, expected) {
  let found
  const look = async () => {
    found = await connections(redis)
    return found.join() === expected.join()
  }
  try {
    await until(look)
  } catch {
    throw new Error(`the connections are [${found}], not [${expected}]`)
  }
}
