// Just enough of a Redis client to look at Redis without going through what is tested (RESP2 over a socket).

import { EventEmitter, once } from 'node:events'
import net from 'node:net'

export class RedisError extends Error {}

/** Connects to a redis:// URL. Replies are strings, numbers, null and arrays; with `buffers`, Buffers for strings. */
export async function connect(url, { buffers = false } = {}) {
  const { hostname, port, username, password, pathname } = new URL(url)
  const socket = net.connect({ host: hostname, port: Number(port || 6379), noDelay: true })
  await once(socket, 'connect')
  const connection = new Connection(socket, buffers)
  const credentials = [username, password].filter(Boolean).map(decodeURIComponent)
  if (credentials.length) await connection.send('AUTH', ...credentials)
  if (pathname.length > 1) await connection.send('SELECT', pathname.slice(1))
  return connection
}

/** Emits 'message' (message, channel) once subscribed. */
class Connection extends EventEmitter {
  #socket
  #buffers
  #waiting = []
  #unread = Buffer.alloc(0)

  constructor(socket, buffers) {
    super()
    this.#socket = socket
    this.#buffers = buffers
    socket.on('data', (data) => this.#receive(data))
    socket.on('error', () => {})
    socket.on('close', () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new RedisError('the connection was closed'))
    })
  }

  send(...command) {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(new RedisError('the connection is closed'))
      this.#waiting.push({ resolve, reject })
      this.#socket.write(encode(command))
    })
  }

  pipeline(commands) {
    return Promise.all(commands.map((command) => this.send(...command)))
  }

  /** Resolves once Redis has confirmed: what is published from then on arrives as 'message'. */
  async subscribe(channel) {
    await this.send('SUBSCRIBE', channel)
  }

  close() {
    this.#socket.destroy()
  }

  #receive(data) {
    this.#unread = Buffer.concat([this.#unread, data])
    let at = 0
    for (;;) {
      const reply = parse(this.#unread, at, this.#buffers)
      if (!reply) break
      at = reply.end
      this.#settle(reply.value)
    }
    this.#unread = this.#unread.subarray(at)
  }

  #settle(value) {
    if (Array.isArray(value) && String(value[0]) === 'message') {
      this.emit('message', value[2], String(value[1]))
      return
    }
    const { resolve, reject } = this.#waiting.shift()
    if (value instanceof RedisError) reject(value)
    else resolve(value)
  }
}

function encode(command) {
  const parts = [`*${command.length}\r\n`]
  for (const argument of command) {
    const bytes = Buffer.isBuffer(argument) ? argument : Buffer.from(String(argument))
    parts.push(`$${bytes.length}\r\n`, bytes, '\r\n')
  }
  return Buffer.concat(parts.map((part) => Buffer.from(part)))
}

// One reply from `at` on, or undefined where it has not come whole yet.
function parse(bytes, at, buffers) {
  const eol = bytes.indexOf('\r\n', at)
  if (eol === -1) return undefined
  const line = bytes.toString('utf8', at + 1, eol)
  let end = eol + 2
  switch (String.fromCharCode(bytes[at])) {
    case '+':
      return { value: line, end }
    case '-':
      return { value: new RedisError(line), end }
    case ':':
      return { value: Number(line), end }
    case '$': {
      if (line === '-1') return { value: null, end }
      const body = bytes.subarray(end, end + Number(line))
      end += Number(line) + 2
      if (bytes.length < end) return undefined
      return { value: buffers ? Buffer.from(body) : body.toString(), end }
    }
    case '*': {
      if (line === '-1') return { value: null, end }
      const value = []
      while (value.length < Number(line)) {
        const item = parse(bytes, end, buffers)
        if (!item) return undefined
        value.push(item.value)
        end = item.end
      }
      return { value, end }
    }
    default:
      throw new RedisError(`not RESP2: ${line}`)
  }
}
