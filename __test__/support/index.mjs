import { randomBytes } from 'node:crypto'
import { after } from 'node:test'
import { startRedis, useRedis } from '../../scripts/redis.mjs'
import { connect } from './resp.mjs'

export { spawnNode } from './child.mjs'
export { peer } from './peer.mjs'
export { snapshot } from './snapshot.mjs'
export { LIMIT_MS, waitFor, within } from './waiting.mjs'
export { connect }

/**
 * A server for tests that only need one: called once at the top of a file, it lasts until the file's tests are
 * through; called with a test's context, until that test is. Its `raw` is a plain connection to look with.
 */
export async function withRedis(t, options) {
  return await lasting(t, await useRedis(options))
}

/** A server of the test's own, for tests that stop, freeze or configure it. */
export async function withOwnRedis(t, options) {
  return await lasting(t, await startRedis(options))
}

/** A queue name that nobody else uses, so that tests can share a server. */
export function uniqueQueue(name = 'test') {
  return `${name}-${randomBytes(6).toString('hex')}`
}

async function lasting(t, redis) {
  const atEnd = t ? (cleanUp) => t.after(cleanUp) : after
  redis.raw = await connect(redis.url)
  atEnd(async () => {
    redis.raw.close()
    await redis.stop()
  })
  return redis
}
