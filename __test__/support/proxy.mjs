import { once } from 'node:events'
import net from 'node:net'

/** A way to a Redis that fails as networks do. To be stopped once the clients behind it are closed. */
export async function startProxy(url) {
  const proxy = new FailingNetwork(new URL(url).port)
  await proxy.listen()
  return proxy
}

class FailingNetwork {
  #port
  #server
  #pairs = new Set()
  /** What happens to new connections: 'forward', 'swallow' or 'refuse'. */
  #mode = 'forward'
  #losing
  #dropping
  /** Hears each request before it is passed on. */
  onRequest
  /** How many bytes of answers get through in a second, where the network is slow. */
  bytesPerSecond

  constructor(port) {
    this.#port = port
    this.#server = net.createServer((client) => this.#accept(client))
  }

  async listen() {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#server.unref() // A test that fails may leave it behind.
    this.url = `redis://127.0.0.1:${this.#server.address().port}`
  }

  /** From here on nothing gets through, and nobody is told: a cable that was pulled. */
  pull() {
    this.#mode = 'swallow'
    for (const pair of this.#pairs) pair.dead = true
  }

  /** New connections get through again; those of before stay dead. */
  plug() {
    this.#mode = 'forward'
  }

  /** From here on the connections of now get no answer, and their requests are kept; others work. */
  keep() {
    for (const pair of this.#pairs) pair.kept ??= []
  }

  /** From here on there are no new connections, until it is plugged in again. */
  refuse() {
    this.#mode = 'refuse'
  }

  /** Hands in what was kept, late: how many requests or parts of them that were. */
  deliver() {
    let count = 0
    for (const pair of this.#pairs) {
      for (const data of pair.kept?.splice(0) ?? []) {
        pair.server.write(data)
        count++
      }
    }
    return count
  }

  /** Closes all connections, and refuses others until it is plugged in again. */
  cut() {
    this.#mode = 'refuse'
    for (const pair of this.#pairs) pair.close()
  }

  /**
   * Has Redis carry out the next request of which the test is true, and cuts instead of answering it. Resolves once
   * that has been done.
   */
  loseAnswer(test) {
    return new Promise((resolve) => {
      this.#losing = { test, resolve }
    })
  }

  /** Cuts instead of passing on the next answer of which the test is true. Resolves once that has been done. */
  dropAnswer(test) {
    return new Promise((resolve) => {
      this.#dropping = { test, resolve }
    })
  }

  stop() {
    this.cut()
    this.#server.close()
  }

  #accept(client) {
    client.on('error', () => {})
    if (this.#mode === 'refuse') return client.destroy()
    const server = net.connect({ port: this.#port, host: '127.0.0.1', noDelay: true })
    server.on('error', () => {})
    client.setNoDelay()
    client.unref()
    server.unref()
    const pair = { server, dead: this.#mode === 'swallow', lost: undefined, kept: undefined }
    pair.close = () => {
      client.destroy()
      server.destroy()
      this.#pairs.delete(pair)
    }
    this.#pairs.add(pair)
    client.on('data', (data) => {
      if (pair.kept) pair.kept.push(data)
      else if (!pair.dead) this.#request(pair, server, data)
    })
    server.on('data', (data) => {
      if (this.#dropping?.test(data.toString('latin1'))) this.#drop()
      else if (pair.lost) this.#lose(pair, data)
      else if (!pair.dead && !pair.kept) this.#answer(client, server, data)
    })
    for (const socket of [client, server]) {
      socket.on('close', () => {
        if (!pair.dead && !pair.kept) pair.close()
      })
    }
  }

  #request(pair, server, data) {
    this.onRequest?.(data.toString('latin1'))
    server.write(data)
    if (pair.lost || !this.#losing?.test(data.toString('latin1'))) return
    pair.lost = this.#losing.resolve
    this.#losing = undefined
    // Redis answers in order: once this is answered, what came before it has been carried out.
    server.write('*2\r\n$4\r\nECHO\r\n$7\r\nthe end\r\n')
  }

  #answer(client, server, data) {
    if (!this.bytesPerSecond) return client.write(data)
    server.pause()
    const takes = (data.length / this.bytesPerSecond) * 1_000
    setTimeout(() => {
      client.write(data)
      server.resume()
    }, takes).unref()
  }

  #drop() {
    const { resolve } = this.#dropping
    this.#dropping = undefined
    this.cut()
    resolve()
  }

  #lose(pair, data) {
    if (!data.includes('the end')) return
    this.cut()
    pair.lost()
  }
}
