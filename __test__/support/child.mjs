// Child processes that a test follows line by line.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { after } from 'node:test'
import { LIMIT_MS, within } from './waiting.mjs'

const running = new Set()
const killAll = () => {
  for (const child of running) child.kill('SIGKILL')
}
process.on('exit', killAll)
// A test that fails leaves its child behind, which would keep its file from ending.
after(killAll)

/** Runs a Node program; `env` is added to this process's. */
export function spawnNode(file, args = [], env = {}) {
  return spawnLines(process.execPath, [file, ...args], env)
}

export function spawnLines(command, args, env = {}) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
  return new Child(child, [command, ...args].join(' '))
}

class Child {
  #child
  #name
  #lines = []
  #unread = []
  #waiting = []
  #stderr = ''
  #ended = false

  constructor(child, name) {
    this.#child = child
    this.#name = name
    running.add(child)
    child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#stderr += text
    })
    // A child may end before it has read what it is sent.
    child.stdin.on('error', () => {})
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.#lines.push(line)
      this.#unread.push(line)
      this.#match()
    })
    /** { code, signal } once the process has ended and all that it printed has been read. */
    this.exited = once(child, 'close').then(([code, signal]) => {
      running.delete(child)
      this.#ended = true
      this.#match()
      return { code, signal }
    })
    // Only who awaits it cares that it could not be started; others see it in waitForLine.
    this.exited.catch((error) => {
      this.#stderr += error.message
      this.#ended = true
      this.#match()
    })
  }

  get pid() {
    return this.#child.pid
  }

  /** All lines that it has printed so far, whether waited for or not. */
  get lines() {
    return [...this.#lines]
  }

  get stderr() {
    return this.#stderr
  }

  /** The next line that is the text, matches the pattern or passes the test; lines before it are skipped. */
  waitForLine(test, ms = LIMIT_MS) {
    const passes = predicate(test)
    const line = new Promise((resolve, reject) => {
      this.#waiting.push({ passes, resolve, reject })
    })
    this.#match()
    return within(line, ms, `the line ${test} of ${this.#name}`)
  }

  /** The next line, read as JSON. */
  async nextJson(ms = LIMIT_MS) {
    return JSON.parse(await this.waitForLine(() => true, ms))
  }

  write(line = '') {
    this.#child.stdin.write(`${line}\n`)
  }

  /** Sends the signal; `exited` tells when it has taken effect. */
  kill(signal = 'SIGKILL') {
    this.#child.kill(signal)
    return this.exited
  }

  #match() {
    while (this.#waiting.length && this.#unread.length) {
      const line = this.#unread.shift()
      if (!this.#waiting[0].passes(line)) continue
      this.#waiting.shift().resolve(line)
    }
    if (!this.#ended) return
    for (const { reject } of this.#waiting.splice(0)) {
      reject(new Error(`${this.#name} ended without the awaited line\n${this.#stderr}`.trim()))
    }
  }
}

function predicate(test) {
  if (typeof test === 'function') return test
  if (test instanceof RegExp) return (line) => test.test(line)
  return (line) => line === test
}
