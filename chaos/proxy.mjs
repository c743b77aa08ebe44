// A TCP proxy that breaks connections in the ways that networks do.

import { once } from 'node:events'
import net from 'node:net'

export class TcpProxy {
  #target
  #server
  #pairs = new Set()
  #silent = false
  #delay = 0

  /** Stands in front of that port of this machine. */
  static async before(target) {
    const proxy = new TcpProxy()
    proxy.#target = target
    proxy.#server = net.createServer({ noDelay: true, allowHalfOpen: true }, (near) => proxy.#accept(near))
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get url() {
    return `redis://127.0.0.1:${this.#server.address().port}`
  }

  /** Ends all connections with a reset. */
  cut() {
    for (const pair of this.#pairs) pair.reset()
  }

  /** Nothing comes through any more, and nobody is told. */
  silence() {
    this.#silent = true
    for (const pair of this.#pairs) pair.pause()
  }

  /** The same for the connections that there are; others can be made. */
  stall() {
    for (const pair of this.#pairs) pair.pause()
  }

  /** From now on, everything takes so many milliseconds longer. */
  delay(milliseconds) {
    this.#delay = milliseconds
  }

  /** Ends silence and delay. What was held back comes through now, unless its connections are `lost`. */
  heal({ lost = false } = {}) {
    this.#silent = false
    this.#delay = 0
    for (const pair of this.#pairs) {
      if (lost) pair.reset()
      else pair.resume()
    }
  }

  close() {
    this.#server.close()
    this.cut()
  }

  #accept(near) {
    const pair = new Pair(
      near,
      () => net.connect({ port: this.#target, host: '127.0.0.1', noDelay: true, allowHalfOpen: true }),
      () => this.#delay,
      () => this.#pairs.delete(pair),
    )
    this.#pairs.add(pair)
    if (!this.#silent) pair.resume()
  }
}

/** One connection to the proxy, and the one that it stands for. */
class Pair {
  #near
  #far
  #dial
  #delay
  #gone
  #paused = true
  #broken = false
  #blocked = new Set()

  constructor(near, dial, delay, gone) {
    this.#near = near
    this.#dial = dial
    this.#delay = delay
    this.#gone = gone
    near.pause()
    this.#watch(near)
  }

  pause() {
    this.#paused = true
    this.#near.pause()
    this.#far?.pause()
  }

  resume() {
    if (this.#broken) return this.reset()
    this.#paused = false
    if (!this.#far) {
      this.#far = this.#dial()
      this.#watch(this.#far)
      this.#carry(this.#near, this.#far)
      this.#carry(this.#far, this.#near)
    }
    for (const socket of [this.#near, this.#far]) if (!this.#blocked.has(socket)) socket.resume()
  }

  reset() {
    this.#gone()
    for (const socket of [this.#near, this.#far]) {
      // A reset in the middle of an end fails, and leaves a handle that keeps Node.js from exiting.
      if (socket?.writableEnded) socket.destroy()
      else socket?.resetAndDestroy()
    }
  }

  #watch(socket) {
    socket.on('error', () => {})
    socket.on('close', (failed) => {
      if (this.#near.destroyed && this.#far?.destroyed) this.#gone()
      if (!failed) return
      this.#broken = true
      // In silence, the other end does not hear of it.
      if (!this.#paused) this.reset()
    })
  }

  #carry(from, to) {
    const write = (data) => {
      if (to.destroyed || to.write(data)) return
      from.pause()
      this.#blocked.add(from)
      to.once('drain', () => {
        this.#blocked.delete(from)
        if (!this.#paused) from.resume()
      })
    }
    // In one line, because timers of different lengths may fire in any order.
    const held = []
    const release = () => {
      while (held.length > 0 && held[0].until <= performance.now()) held.shift().pass()
      if (held.length > 0) setTimeout(release, Math.ceil(held[0].until - performance.now()))
    }
    const later = (pass) => {
      const delay = this.#delay()
      if (delay === 0 && held.length === 0) return pass()
      held.push({ pass, until: performance.now() + delay })
      if (held.length === 1) setTimeout(release, delay)
    }
    from.on('data', (data) => later(() => write(data)))
    from.on('end', () => later(() => to.end()))
  }
}
