// The clients and workers of a run. A worker that goes is replaced by another.

import { Member } from './member.mjs'

const CLIENTS = 3
const WORKERS = 4
const MOST_SLOTS = 50
const CLOSE_TIMEOUT_MS = 1_000
/** How long a worker may take to close: a handler that blocks its event loop, and twice what Redis may take. */
const CLOSED_WITHIN_MS = 30_000

export class Fleet {
  clients = []
  workers = []
  /** All workers that there have been. */
  everyWorker = []
  /** What went wrong with the processes themselves. */
  violations = []
  #random
  #shared
  #makeClock
  #ended = false
  #started = 0

  constructor({ random, redis, queue, dir, makeClock }) {
    this.#random = random
    this.#shared = { redis, queue, dir }
    this.#makeClock = makeClock
  }

  async start(perSecond) {
    for (let n = 0; n < WORKERS; n++) this.workers.push(await this.#worker())
    for (let index = 1; index <= CLIENTS; index++) {
      const own = {
        index,
        clients: CLIENTS,
        seed: this.#random.int(0, 2 ** 32),
        perSecond: perSecond / CLIENTS,
      }
      this.clients.push(await Member.start('client.mjs', `client-${index}`, { ...this.#shared, ...own }))
    }
  }

  async replace(worker) {
    const place = this.workers.indexOf(worker)
    if (place === -1 || this.#ended) return
    this.workers.splice(place, 1)
    worker.proxy.close()
    this.workers.push(await this.#worker())
  }

  /** Has a worker close by itself; says so where it does not. */
  async close(worker) {
    const end = worker.terminate()
    let late
    const limit = new Promise((resolve) => {
      late = setTimeout(resolve, CLOSED_WITHIN_MS, 'late')
    })
    const gone = await Promise.race([end, limit])
    clearTimeout(late)
    if (gone === 'late') {
      this.violations.push(`${worker.name} had not closed after ${CLOSED_WITHIN_MS} ms`)
      await worker.kill()
    } else if (gone.code !== 0 && !worker.killed) {
      this.violations.push(`${worker.name} closed with ${gone.signal ?? `code ${gone.code}`}: ${gone.stderr}`)
    }
  }

  heal() {
    for (const member of [...this.clients, ...this.workers]) {
      member.proxy.heal()
      member.signal('SIGCONT')
    }
  }

  /** One that gets through with what is left, although chance may have given the others one slot each. */
  async reinforce() {
    this.workers.push(await this.#worker(MOST_SLOTS))
  }

  async closeAll() {
    this.#ended = true
    await Promise.all(this.workers.map((worker) => this.close(worker)))
    // One that waits for what never comes is told of, and must not outlive the run.
    await Promise.all(this.clients.filter((client) => !client.left).map((client) => client.kill()))
    for (const { name, killed, gone } of this.clients) {
      const { code, signal, stderr } = await gone
      if (code !== 0 && !killed)
        this.violations.push(`${name} ended with ${signal ?? `code ${code}`}: ${stderr}`)
    }
    for (const { proxy } of [...this.clients, ...this.workers]) proxy.close()
  }

  async #worker(concurrency = this.#random.pick([1, 5, 20, MOST_SLOTS])) {
    const random = this.#random
    const name = `worker-${++this.#started}`
    const options = {
      concurrency,
      heartbeatTimeout: random.pick([1_000, 2_000, 3_000]),
      maxDeliveries: 100,
    }
    const clock = this.#makeClock?.()
    const worker = await Member.start('worker.mjs', name, {
      ...this.#shared,
      env: clock?.env,
      closeTimeout: CLOSE_TIMEOUT_MS,
      options,
    })
    Object.assign(worker, { clock, heartbeatTimeout: options.heartbeatTimeout })
    this.everyWorker.push(worker)
    return worker
  }
}
