// A real redis-server for the tests, the quickstart and the benchmark: on a free port, in a directory of its
// own, gone when this process is gone.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const READY_WITHIN_MS = 10_000
const PORTS_TO_TRY = 20

/** The server that DOTHIS_REDIS_URL names, or one of our own. Somebody else's is shared: never flush it. */
export async function useRedis(options) {
  const url = process.env.DOTHIS_REDIS_URL
  if (url) return { url, cli: (...args) => cli(url, args), stop: async () => {} }
  return await startRedis(options)
}

/** Starts a server; `args` are further redis-server arguments, such as ['--appendonly', 'yes']. */
export async function startRedis({ args = [] } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'dothis-redis-'))
  try {
    for (let tries = 1; ; tries++) {
      const port = anyPort()
      try {
        return new Redis(dir, port, args, await launch(dir, port, args))
      } catch (error) {
        if (error.code !== 'EADDRINUSE' || tries === PORTS_TO_TRY) throw error
      }
    }
  } catch (error) {
    rmSync(dir, { recursive: true, force: true })
    throw error
  }
}

class Redis {
  #dir
  #args
  #server

  constructor(dir, port, args, server) {
    this.port = port
    this.url = `redis://127.0.0.1:${port}`
    this.#dir = dir
    this.#args = args
    this.#server = server
  }

  get pid() {
    return this.#server.pid
  }

  /** Runs redis-cli against this server; gives what it printed. */
  cli(...args) {
    return cli(this.url, args)
  }

  /** Sends a signal and, unless it only freezes or wakes the server, waits until the server is gone. */
  async kill(signal = 'SIGKILL') {
    const server = this.#server
    if (server.exitCode !== null || server.signalCode !== null) return
    server.ref()
    const gone = once(server, 'exit')
    server.kill(signal)
    if (signal === 'SIGSTOP' || signal === 'SIGCONT') server.unref()
    else await gone
  }

  /** Ends the server if it runs, and starts it again: same port, same directory. */
  async restart() {
    await this.kill('SIGTERM')
    this.#server.dismissWatcher()
    this.#server = await launch(this.#dir, this.port, this.#args)
  }

  async stop() {
    await this.kill('SIGKILL')
    this.#server.dismissWatcher()
    rmSync(this.#dir, { recursive: true, force: true })
  }
}

// Below the range that the kernel gives to outgoing connections: there, a client that keeps dialling a stopped
// server can be given the very port as its own, connect to itself, and keep the server from coming back.
function anyPort() {
  return 16_000 + Math.floor(Math.random() * 16_000)
}

async function launch(dir, port, args) {
  const defaults = ['--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
  const server = spawn('redis-server', ['--port', String(port), '--dir', dir, ...defaults, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    await ready(server)
  } catch (error) {
    server.kill('SIGKILL')
    throw error
  }
  server.dismissWatcher = watch(server.pid, dir)
  server.stdout.resume()
  server.stdout.unref()
  server.unref()
  return server
}

function ready(server) {
  return new Promise((resolve, reject) => {
    let log = ''
    const fail = (what, code) => settle(reject, Object.assign(new Error(`${what}\n${log}`.trim()), { code }))
    const timer = setTimeout(() => fail('redis-server was not ready in time'), READY_WITHIN_MS)
    const read = (chunk) => {
      log += chunk
      if (log.includes('Ready to accept connections')) settle(resolve)
    }
    const settle = (how, value) => {
      clearTimeout(timer)
      server.stdout.off('data', read)
      how(value)
    }
    server.stdout.setEncoding('utf8').on('data', read)
    server.once('error', (error) => fail(`redis-server did not start: ${error.message}`, error.code))
    // 'close' and not 'exit': the log is complete only then.
    server.once('close', () => {
      fail('redis-server did not start', log.includes('Address already in use') ? 'EADDRINUSE' : undefined)
    })
  })
}

// The server must not outlive this process, however it ends: SIGKILL runs no handler. The watcher's read fails
// when our end of its pipe is closed, by whoever; the line that dismisses it makes the read succeed.
function watch(pid, dir) {
  const watcher = spawn('sh', ['-c', 'read line || { kill -9 "$0"; rm -rf "$1"; }', String(pid), dir], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  watcher.unref()
  watcher.stdin.unref()
  return () => watcher.stdin.end('\n')
}

async function cli(url, args) {
  const { stdout } = await promisify(execFile)('redis-cli', ['-u', url, ...args])
  return stdout.trim()
}
