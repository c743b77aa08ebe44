// The Redis of a run, which loses nothing that it has acknowledged, and goes down now and then.

import { setTimeout } from 'node:timers/promises'
import { connect } from '../__test__/support/resp.mjs'
import { startRedis } from '../scripts/redis.mjs'
import { now } from './log.mjs'
import { Monitor } from './monitor.mjs'

const ARGS = ['--appendonly', 'yes', '--appendfsync', 'always', '--notify-keyspace-events', 'Ex']

export class ChaosRedis {
  /** When it was away: { from, to }. */
  outages = []
  #server
  #raw
  /** One fault at a time: each ends with a Redis that runs. */
  #turn = Promise.resolve()

  static async start(queues) {
    const redis = new ChaosRedis()
    redis.#server = await startRedis({ args: ARGS })
    redis.monitor = new Monitor(redis.url, queues)
    await redis.#connect()
    return redis
  }

  get url() {
    return this.#server.url
  }

  get port() {
    return this.#server.port
  }

  /** Ends it with that signal, for so long. */
  down(signal, milliseconds) {
    return this.#outage(async () => {
      await this.#server.kill(signal)
      await setTimeout(milliseconds)
      await this.#server.restart()
      await this.#connect()
    })
  }

  freeze(milliseconds) {
    return this.#outage(async () => {
      await this.#server.kill('SIGSTOP')
      await setTimeout(milliseconds)
      await this.#server.kill('SIGCONT')
    })
  }

  command(...command) {
    return this.#inTurn(() => this.#raw.send(...command))
  }

  async dropSubscriptions() {
    await this.command('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await this.#inTurn(() => this.#connect())
  }

  async stop() {
    this.monitor.close()
    this.#raw.close()
    await this.#server.stop()
  }

  async #connect() {
    this.#raw?.close()
    this.#raw = await connect(this.url)
    await this.monitor.connect()
  }

  #outage(action) {
    return this.#inTurn(async () => {
      const outage = { from: now(), to: Number.POSITIVE_INFINITY }
      this.outages.push(outage)
      await action()
      outage.to = now()
    })
  }

  #inTurn(action) {
    const done = this.#turn.then(action)
    this.#turn = done.catch(() => {})
    return done
  }
}
