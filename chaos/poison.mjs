// Tasks that kill whoever runs them, on a queue of their own, and workers that give them up after three deliveries.

import dothis from '../index.mjs'
import { Member } from './member.mjs'

export const DELIVERIES = 3
export const POISON_WORKERS = 2

export class Poison {
  logs = []
  #shared
  #count
  #started = 0
  #workers = new Set()
  #over = false
  #loops = []

  constructor({ redis, queue, dir, count }) {
    this.#shared = { redis, queue, dir }
    this.#count = count
  }

  async start() {
    const client = dothis(this.#shared.redis.url, this.#shared.queue)
    await client.enqueueMany(
      Array.from({ length: this.#count }, (_, n) => ({ function: 'poison', id: `poison-${n}` })),
    )
    await client.close()
    for (let n = 0; n < POISON_WORKERS; n++) this.#loops.push(this.#keepAlive())
  }

  async close() {
    this.#over = true
    await Promise.all([...this.#workers].map((worker) => worker.terminate()))
    await Promise.all(this.#loops)
  }

  async #keepAlive() {
    while (!this.#over) {
      const worker = await Member.start('worker.mjs', `poison-worker-${++this.#started}`, {
        ...this.#shared,
        direct: true,
        closeTimeout: 0,
        options: { concurrency: 1, heartbeatTimeout: 1_000, maxDeliveries: DELIVERIES },
      })
      this.logs.push(worker.log)
      this.#workers.add(worker)
      await worker.gone
      this.#workers.delete(worker)
    }
  }
}
