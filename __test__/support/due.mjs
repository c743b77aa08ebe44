// Tasks that are put off: looked at, and brought forward, so that no test has to wait for what is far away.

import { until } from './open.mjs'

/** Waits for a task to be put off; gives by when it is due, in milliseconds since 1970 on Redis's clock. */
export async function putOff(client, raw, id, what = 'start') {
  const score = () => raw.send('ZSCORE', `${client.queue}:due`, `${what}:${id}`)
  return Number(await until(score, `${what}:${id} is due some day`))
}

/** Makes it due now, which workers hear of as they do of any other that is due sooner than was known. */
export async function bringForward(client, raw, id, what = 'start') {
  await raw.send('ZADD', `${client.queue}:due`, 'XX', 1, `${what}:${id}`)
  await raw.send('PUBLISH', `${client.queue}:wake`, 'due')
}

/** Redis's clock, in milliseconds since 1970. */
export async function clock(raw) {
  const [seconds, microseconds] = await raw.send('TIME')
  return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000)
}
