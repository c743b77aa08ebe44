const { hostname } = require('node:os')
const { isPromise } = require('node:util/types')
const binding = require('./binding.js')
const check = require('./check.js')
const { Emitter } = require('./emitter.js')
const errors = require('./errors.js')
const { Numbered } = require('./numbered.js')
const { Port } = require('./port.js')
const portions = require('./portions.js')
const { RunningTask } = require('./task.js')
const { RUN_OPTIONS, run } = require('./task-options.js')
const { cut, describeThrown, line } = require('./thrown.js')

// Kinds of items in a worker's mailbox, and of outcomes; src/node/worker.rs has the same.
const TASK = 0
const ABORT = 1
const DROPPED = 2
const LOST = 3
const ERROR = 4
const CLOSED = 5
const RECOVERED = 6
const WORKER_CLOSED = 0
const TIMED_OUT = 1
const CANCELLED = 2
const VALUE = 0
const NO_VALUE = 1
const FAILURE = 2
const FINAL_FAILURE = 3

/** How much of a name that nobody knows is repeated, in characters. */
const MAX_NAME = 200

/** How long, in milliseconds, the end of a process waits for its tasks to be handed back. */
const LAST_WRITES = 2_000

const WORKER_OPTIONS = [
  'concurrency',
  ...RUN_OPTIONS,
  'retryIf',
  'grace',
  'heartbeatTimeout',
  'maxDeliveries',
  'reclaimForeignAfter',
  'maxResultBytes',
]
const DAY = 86_400_000

/** The workers of this thread that are not closed. */
const open = new Set()

class Worker extends Emitter {
  #native
  #port = new Port((item) => this.#deliver(item))
  #client
  #handlers = new Map()
  #running = new Numbered()
  #outcomes = ''
  #dropped = 0
  #lost = 0
  #status = 'running'
  #closing
  #whenClosed
  #retryIf

  constructor(client, nativeClient, handlers, options) {
    super()
    const given = check.options(options, WORKER_OPTIONS, "the worker's options")
    if (handlers === null || typeof handlers !== 'object') {
      throw new errors.ArgsError(`work takes an object of handlers by name, not ${check.describe(handlers)}`)
    }
    for (const name of Object.keys(handlers)) this.handle(name, handlers[name])
    this.#client = client
    this.concurrency = check.integer(given.concurrency, 'concurrency', {
      min: 1,
      max: 100_000,
      byDefault: 10,
    })
    const defaults = run(given) ?? {}
    this.#retryIf = check.optionalFunction(given.retryIf, 'retryIf')
    const native = {
      queue: client.queue,
      hostname: hostname(),
      concurrency: this.concurrency,
      attempts: defaults.attempts ?? 1,
      backoff: defaults.backoff ? JSON.stringify(defaults.backoff) : undefined,
      timeout: defaults.timeout ?? undefined,
      grace: check.duration(given.grace ?? 5_000, 'grace') ?? Number.MAX_VALUE,
      resultTtl: defaults.resultTtl === null ? undefined : (defaults.resultTtl ?? DAY),
      removeOnSuccess: defaults.removeOnSuccess ?? false,
      heartbeatTimeout: check.integer(given.heartbeatTimeout, 'heartbeatTimeout', {
        min: 1_000,
        max: DAY,
        byDefault: 15_000,
      }),
      maxDeliveries: check.integer(given.maxDeliveries, 'maxDeliveries', {
        min: 1,
        max: 1_000_000,
        byDefault: 3,
      }),
      reclaimForeignAfter: check.duration(given.reclaimForeignAfter, 'reclaimForeignAfter'),
      maxResultBytes: check.integer(given.maxResultBytes, 'maxResultBytes', {
        min: 2,
        max: 256 * 1024 * 1024,
        byDefault: 64 * 1024 * 1024,
      }),
    }
    try {
      this.#native = new binding.NativeWorker(nativeClient, native, this.#port.wake)
    } catch (error) {
      throw errors.fromThrown(error)
    }
    this.id = this.#native.uuid
    this.#port.open(this.#native)
    this.#port.hold()
    if (open.add(this).size === 1) process.on('exit', Worker.#handBack)
  }

  /** The process ends in the middle of tasks, by process.exit or an uncaught exception. */
  static #handBack(code) {
    const deadline = Date.now() + LAST_WRITES
    for (const worker of open) {
      worker.#flush()
      worker.#native.abandon(code !== 0, Math.max(0, deadline - Date.now()))
    }
  }

  handle(name, handler) {
    check.name(name, 'the name of a handler')
    if (typeof handler !== 'function') {
      throw new errors.ArgsError(`handler "${name}" must be a function, not ${check.describe(handler)}`)
    }
    this.#handlers.set(name, handler)
    return this
  }

  health() {
    const [running, ready] = this.#native.counts()
    const connection = this.#client.health()
    const status = this.#status === 'running' ? connection.status : this.#status
    const health = { status, running, ready, dropped: this.#dropped, lost: this.#lost }
    if (connection.reason) health.reason = connection.reason
    return health
  }

  async close(options) {
    const { timeout } = check.options(options, ['timeout'], 'options')
    const given = check.duration(timeout, 'timeout')
    const limit = timeout === undefined ? 30_000 : (given ?? Number.MAX_VALUE)
    if (this.#closing && timeout !== undefined && this.#status === 'closing') this.#native.hasten(limit)
    this.#closing ??= this.#close(limit)
    return await this.#closing
  }

  async #close(limit) {
    this.#status = 'closing'
    await new Promise((resolve, reject) => {
      this.#whenClosed = { resolve, reject }
      this.#native.close(limit)
    })
  }

  #deliver(item) {
    switch (item[0]) {
      case TASK:
        return this.#start(item)
      case ABORT:
        return this.#abort(item)
      case DROPPED:
        this.#dropped += 1
        return this.announce('dropped', { id: item[2], why: item[3] })
      case LOST:
        this.#lost += 1
        return this.announce('lost', { id: item[2] })
      case RECOVERED:
        return this.announce('recovered', { tasks: item[2], givenUp: item[3] })
      case ERROR:
        return this.announce('error', errors.fromNative(item[2], item[3]))
      case CLOSED:
        return this.#closed(item)
    }
  }

  /** What the handler says from here on, the native side has no use for. */
  #abort([, run, kind, detail]) {
    const task = this.#running.get(run)
    if (!task) return
    const about = { taskId: task.id, function: task.function }
    RunningTask.abort(task, abortReason(kind, detail, about))
  }

  #closed([, , code, message]) {
    this.#status = 'closed'
    this.#port.close()
    open.delete(this)
    if (open.size === 0) process.off('exit', Worker.#handBack)
    // Not announced: the client must know by the time that the promise is through.
    process.nextTick(() => this.emit('closed'))
    if (code) this.#whenClosed.reject(errors.fromNative(code, message))
    else this.#whenClosed.resolve()
  }

  #start(item) {
    const run = item[1]
    const name = item[3]
    const args = item[4]
    const handler = this.#handlers.get(name)
    if (!handler) {
      const known = [...this.#handlers.keys()].sort().join(', ') || 'none'
      const reason = `no handler for function "${cut(name, MAX_NAME)}" is registered here; registered: ${known}`
      return this.#outcome(run, FINAL_FAILURE, line(reason))
    }
    const task = new RunningTask(run, item[2], name, args, item[5], item[6] ?? 1)
    this.#running.set(run, task)
    let returned
    try {
      returned = handler(args, task)
    } catch (thrown) {
      return this.#threw(task, thrown)
    }
    if (!mayBeThenable(returned)) return this.#returned(task, returned)
    this.#await(returned).then(
      (value) => this.#returned(task, value),
      (thrown) => this.#threw(task, thrown),
    )
  }

  /**
   * A promise whose `then` is the language's own. One of our own goes around anything else: a `then`, a
   * `constructor` or a proxy's trap may throw, and a `then` may call back twice.
   */
  #await(returned) {
    const plain =
      isPromise(returned) &&
      Object.getPrototypeOf(returned) === Promise.prototype &&
      !Object.hasOwn(returned, 'then') &&
      !Object.hasOwn(returned, 'constructor')
    return plain ? returned : new Promise((resolve) => resolve(returned))
  }

  #returned(task, value) {
    let text
    try {
      text = JSON.stringify(value)
    } catch (thrown) {
      const { reason, exception } = describeThrown(thrown)
      return this.#finish(
        task,
        FINAL_FAILURE,
        `what the handler returned can't be written as JSON: ${reason}`,
        exception,
      )
    }
    if (text === undefined) this.#finish(task, NO_VALUE)
    else this.#finish(task, VALUE, undefined, undefined, text)
  }

  #threw(task, thrown) {
    const { reason, exception } = describeThrown(thrown)
    this.#finish(task, this.#mayRetry(task, thrown) ? FAILURE : FINAL_FAILURE, reason, exception)
  }

  /** Whether trying again may help; how often is known elsewhere. */
  #mayRetry(task, thrown) {
    try {
      if (thrown instanceof errors.NonRetryableError) return false
      return this.#retryIf === undefined || Boolean(this.#retryIf(thrown, task))
    } catch (error) {
      const problem = new Error(`retryIf threw: ${describeThrown(error).reason}`, { cause: error })
      this.announce('error', error instanceof Error ? error : problem)
      return true
    }
  }

  #finish(task, kind, reason, exception, text) {
    const run = RunningTask.run(task)
    this.#running.take(run)
    this.#outcome(run, kind, reason, exception, text)
  }

  /** One outcome to the native side, together with whatever else this tick brings. */
  #outcome(run, kind, reason, exception, text = 'null') {
    const line = `[${run},${kind},${optional(reason)},${optional(exception)},${text}]`
    if (this.#outcomes === '') process.nextTick(() => this.#flush())
    this.#outcomes = portions.add(this.#outcomes, line)
    if (this.#outcomes.length > portions.PORTION) this.#flush()
  }

  #flush() {
    if (this.#outcomes === '') return
    const outcomes = portions.end(this.#outcomes)
    this.#outcomes = ''
    // What waited for a slot is fetched from here: to be woken for it takes longer.
    if (this.#native.finish(outcomes)) setImmediate(this.#port.wake)
  }
}

if (Symbol.asyncDispose) Worker.prototype[Symbol.asyncDispose] = Worker.prototype.close

function abortReason(kind, detail, about) {
  const what = errors.subject(about)
  switch (kind) {
    case WORKER_CLOSED:
      return new errors.ClosedError('the worker was closed before this task finished', about)
    case TIMED_OUT:
      return new errors.TimeoutError(`${what} was not through after ${detail} ms`, about)
    case CANCELLED:
      return new errors.CancelledError(`${what} was cancelled${detail === '' ? '' : `: ${detail}`}`, about)
    default:
      return new errors.LostError(
        `${what} is another worker's by now, or was deleted: this one gave no sign of life for too long`,
        about,
      )
  }
}

function optional(text) {
  return text === undefined ? 'null' : JSON.stringify(text)
}

function mayBeThenable(value) {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

module.exports = { Worker }
