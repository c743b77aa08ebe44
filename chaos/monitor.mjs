// What Redis itself says of a run, from a connection that nobody breaks on purpose: how often each task finished, and
// which workers have counted as dead.

import { connect } from '../__test__/support/resp.mjs'
import { now } from './log.mjs'

export class Monitor {
  /** By id; what was published while Redis went down may be missing. */
  finishes = new Map()
  /** Expired keys of workers: { worker, at }. */
  deaths = []
  #queues
  #url
  #connection

  constructor(url, queues) {
    this.#url = url
    this.#queues = queues
  }

  /** Once for each start of Redis. */
  async connect() {
    this.#connection?.close()
    this.#connection = await connect(this.#url)
    this.#connection.on('message', (message, channel) => this.#heard(message, channel))
    for (const queue of this.#queues) await this.#connection.subscribe(`${queue}:results`)
    await this.#connection.subscribe('__keyevent@0__:expired')
  }

  close() {
    this.#connection?.close()
  }

  #heard(message, channel) {
    for (const queue of this.#queues) {
      if (channel === `${queue}:results`) {
        const id = message.slice(`${queue}:task:`.length)
        this.finishes.set(id, (this.finishes.get(id) ?? 0) + 1)
      } else if (message.startsWith(`${queue}:worker:`)) {
        this.deaths.push({ worker: message.slice(`${queue}:worker:`.length), at: now() })
      }
    }
  }
}
