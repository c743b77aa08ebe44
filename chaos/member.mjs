// The processes of a run: each behind a proxy of its own, with a log of its own.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { now } from './log.mjs'
import { TcpProxy } from './proxy.mjs'

const running = new Set()
// They notice themselves when the driver is gone; those that are frozen don't.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export class Member {
  /** Times at which it was not itself, by the driver's doing: { from, to, why }. */
  disruptions = []
  /** Whether a fault of some duration is on it. */
  busy = false
  leaving = false
  #child

  constructor(name, log, proxy, child) {
    this.name = name
    this.log = log
    this.proxy = proxy
    this.#child = child
    /** { code, signal, stderr } */
    this.gone = ended(child)
    this.gone.then(() => {
      running.delete(child)
      this.left = true
    })
    running.add(child)
  }

  static async start(file, name, { redis, dir, env = {}, direct = false, ...options }) {
    const proxy = direct ? undefined : await TcpProxy.before(redis.port)
    const log = dir && join(dir, `${name}.log`)
    const path = fileURLToPath(new URL(file, import.meta.url))
    const args = [path, JSON.stringify({ ...options, log, url: proxy?.url ?? redis.url })]
    const child = spawn(process.execPath, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    })
    const member = new Member(name, log, proxy, child)
    // By then it hears signals in its own way; unless it is dead before.
    await Promise.race([once(child, 'message'), member.gone])
    return member
  }

  /** Begins a disruption; the function that it gives ends it. */
  disrupt(why) {
    const disruption = { from: now(), to: Number.POSITIVE_INFINITY, why }
    this.disruptions.push(disruption)
    return () => {
      disruption.to = now()
    }
  }

  signal(signal) {
    this.#child.kill(signal)
  }

  stop() {
    if (this.#child.connected) this.#child.send('stop')
  }

  /** Sends a message, and gives the answer. */
  async ask(message) {
    this.#child.send(message)
    const answer = await Promise.race([once(this.#child, 'message'), this.gone])
    if (!Array.isArray(answer)) throw new Error(`${this.name} has ended: ${answer.stderr}`)
    return answer[0]
  }

  async kill() {
    this.leaving = true
    this.killed = true
    this.disrupt('killed')
    this.signal('SIGKILL')
    return await this.gone
  }

  async terminate() {
    this.leaving = true
    this.signal('SIGTERM')
    return await this.gone
  }
}

async function ended(child) {
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  const [code, signal] = await once(child, 'close')
  return { code, signal, stderr }
}
