const binding = require('./binding.js')
const { CALL_OPTIONS, ENQUEUE_OPTIONS, WAIT_OPTIONS, waitOptions } = require('./call-options.js')
const check = require('./check.js')
const { failure, kinds } = require('./client-items.js')
const { Emitter } = require('./emitter.js')
const errors = require('./errors.js')
const many = require('./many.js')
const { Ids, newId } = require('./new-id.js')
const { Numbered } = require('./numbered.js')
const { Port } = require('./port.js')
const portions = require('./portions.js')
const { Signals } = require('./signals.js')
const { Task } = require('./task.js')
const { ACKNOWLEDGE, AGAIN, FRESH, WAIT, taskLine } = require('./task-line.js')
const { line } = require('./thrown.js')
const { extra } = require('./task-options.js')
const { fromHash, originalTask } = require('./wire-task.js')
const { Worker } = require('./worker.js')

const { ASKED, CONNECTED, ENQUEUED, ENQUEUED_MANY, HASH, TIMED_OUT, VALUE } = kinds
const { CancelledError, ClosedError, TaskFailedError } = errors

/** What a close ends instead of waiting for it. */
const NOTHING = 0
const WAITS = 1
const EVERYTHING = 2

const CLIENT_OPTIONS = ['url', 'queue', 'tls', 'commandTimeout', 'maxArgsBytes']
const NO_OPTIONS = {}
const TLS_OPTIONS = ['ca', 'cert', 'key']
/** How deep args may be nested: `json::MAX_DEPTH`. */
const MAX_DEPTH = 1_000

/** What is under way, and how its promise ends. */
class Entry {
  constructor(kind, id, name, giveUp = false) {
    this.kind = kind
    this.id = id
    this.function = name
    this.giveUp = giveUp
    this.token = 0
    this.resolve = undefined
    this.reject = undefined
    this.unlisten = undefined
  }
}

class Client extends Emitter {
  #native
  #port = new Port((item) => this.#deliver(item))
  /** What is under way, by token. */
  #open = new Numbered()
  #lastToken = 0
  #signals = new Signals()
  /** The ids of calls, which say that this process waits for them. */
  #callIds = new Ids(() => this.#native.newCallIds())
  /** What this tick has brought for the native side, and it has not yet got. */
  #lines = ''
  #workers = new Set()
  #closing
  #closed = false
  #ended = false
  /** Which of what is open a close does not wait for. */
  #abandoned = NOTHING
  #whenEmpty
  /** Args of so many characters are neither too long nor too deep: one is three bytes at most, a level two characters. */
  #surelyFine

  constructor(options) {
    super()
    const given = check.options(options, CLIENT_OPTIONS, "the client's options")
    const tls = check.options(given.tls, TLS_OPTIONS, 'tls')
    this.queue = check.name(given.queue ?? 'dothis', 'queue')
    const native = {
      // Not kept: it may hold a password, and a client may be logged.
      url: check.name(given.url ?? 'redis://127.0.0.1:6379', 'url'),
      queue: this.queue,
      ca: check.text(tls.ca, 'tls.ca'),
      cert: check.text(tls.cert, 'tls.cert'),
      key: check.text(tls.key, 'tls.key'),
      commandTimeout: check.duration(given.commandTimeout ?? 10_000, 'commandTimeout') ?? Number.MAX_VALUE,
      maxArgsBytes: check.integer(given.maxArgsBytes, 'maxArgsBytes', {
        min: 2,
        max: 256 * 1024 * 1024,
        byDefault: 64 * 1024 * 1024,
      }),
    }
    this.#surelyFine = Math.min(native.maxArgsBytes / 3, 2 * MAX_DEPTH)
    try {
      this.#native = new binding.NativeClient(native, this.#port.wake)
    } catch (error) {
      throw errors.fromThrown(error)
    }
    this.#port.open(this.#native)
  }

  enqueue(name, args, options) {
    return this.#submit(ACKNOWLEDGE, name, args, options, ENQUEUE_OPTIONS)
  }

  async enqueueMany(list) {
    this.#mustBeOpen()
    const entries = many.checkList(list, (args) => this.#argsProblem(args))
    return await many.sendList(entries, (entries) => this.#sendMany(entries))
  }

  /** Whether args are too long or too deep: the native side says of a single task's, too late for a list. */
  #argsProblem(args) {
    return args.length > this.#surelyFine ? this.#native.argsProblem(args) : null
  }

  /** A part of a list in one request. */
  async #sendMany(entries) {
    this.#flush() // What was asked for before goes before.
    const request = new Entry('enqueue')
    const answered = this.#request(request)
    if (request.token > 0) this.#native.enqueueMany(request.token, portions.lists(many.lines(entries)))
    const [, , created, code, message, index] = await answered
    if (code !== undefined) {
      const { id, name } = entries[index]
      throw errors.fromNative(code, message, { taskId: id, function: name })
    }
    return entries.map(({ id, name }, at) => new Task(this, id, name, created[at] === '1'))
  }

  call(name, args, options) {
    return this.#submit(WAIT, name, args, options, CALL_OPTIONS)
  }

  /** `name` is the function, which a handle knows and an error tells. */
  async result(id, options, name) {
    this.#mustBeOpen()
    const given = waitOptions(check.options(options, WAIT_OPTIONS, 'options'))
    return await this.#wait(check.name(id, 'id'), name, given)
  }

  async cancel(id, reason) {
    this.#mustBeOpen()
    check.name(id, 'id')
    return await this.#cancel(id, reason === undefined || reason === null ? '' : line(reason))
  }

  async get(id) {
    const hash = await this.#read(id)
    return hash && fromHash(id, hash)
  }

  work(handlers, options) {
    // Handlers of a worker that is being closed may still call; but a worker that begins now would be closed by nobody.
    if (this.#closing) throw closedError()
    const worker = new Worker(this, this.#native, handlers, options)
    this.#workers.add(worker)
    worker.once('closed', () => this.#workers.delete(worker))
    return worker
  }

  health() {
    const [connection, reason] = this.#native.health()
    const health = { status: this.#closed ? 'closed' : connection, pending: this.#open.size }
    if (reason && connection !== 'connected') health.reason = reason
    return health
  }

  /** Its workers first, then what is on its way to Redis; waits that are open end with a ClosedError. */
  async close(options) {
    const { timeout } = check.options(options, ['timeout'], 'options')
    check.duration(timeout, 'timeout')
    return await this.#close(WAITS, timeout)
  }

  // The original's calls.

  task(name, args, callback) {
    return this.#original(WAIT | FRESH, newId(), name, args, callback)
  }

  taskwithid(id, name, args, callback) {
    return this.#original(WAIT | AGAIN, id, name, args, callback)
  }

  #original(flags, id, name, args, callback) {
    const [givenArgs, done] = typeof args === 'function' ? [undefined, args] : [args, callback]
    check.callback(done)
    const submit = async () => {
      return await this.#submit(flags, name, givenArgs, { id: check.name(id, 'id') }, CALL_OPTIONS)
    }
    const promise = submit()
    // They listen to events or pass a callback instead of awaiting it.
    promise.then(
      (value) => this.#tellSuccess(id, value, done),
      (error) => this.#tellFailure(id, error, done),
    )
    return promise
  }

  gettask(id, callback) {
    check.callback(callback)
    const promise = this.#read(id).then((hash) => hash && originalTask(hash))
    promise.then(
      (task) => callback && process.nextTick(callback, null, task),
      (error) => callback && process.nextTick(callback, error),
    )
    return promise
  }

  quit() {
    return this.#unawaited(this.#close(NOTHING))
  }

  end() {
    return this.#unawaited(this.#close(EVERYTHING, 0))
  }

  /** The original's users await nothing: what fails is no unhandled rejection. */
  #unawaited(promise) {
    promise.catch(() => {})
    return promise
  }

  // What the above is made of.

  #mustBeOpen() {
    if (this.#closed || (this.#closing && this.#workers.size === 0)) {
      throw closedError()
    }
  }

  /** Checks a task and sends it: the way of every call, so it makes no more promises than the one it gives. */
  #submit(flags, name, args, options, known) {
    try {
      this.#mustBeOpen()
      let id
      let more = ''
      let wait = NO_OPTIONS
      if (options !== undefined && options !== null) {
        const given = check.options(options, known, 'options')
        if (given.id !== undefined) id = check.name(given.id, 'id')
        more = extra(given, '', flags & WAIT ? 'attemptTimeout' : 'timeout')
        if (flags & WAIT) wait = waitOptions(given)
      }
      const fresh = id === undefined
      if (fresh) id = flags & WAIT ? this.#callIds.next() : newId()
      check.name(name, 'function', { taskId: id })
      return this.#send(
        fresh ? flags | FRESH : flags,
        id,
        name,
        check.args(args, { function: name, taskId: id }),
        more,
        wait,
      )
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** One task to the native side, together with whatever else this tick brings. */
  #send(flags, id, name, args, more, { timeout, signal, giveUp }) {
    const entry = new Entry(flags & WAIT ? 'wait' : 'enqueue', id, name, giveUp)
    const promise = this.#request(entry, signal)
    if (entry.token === 0) return promise
    const text = taskLine(entry.token, flags, id, name, args, timeout, more)
    if (this.#lines === '') process.nextTick(this.#flushLater)
    this.#lines = portions.add(this.#lines, text)
    if (this.#lines.length > portions.PORTION) this.#flush()
    return promise
  }

  #flushLater = () => this.#flush()

  #flush() {
    if (this.#lines === '') return
    const lines = portions.end(this.#lines)
    this.#lines = ''
    this.#native.enqueue(lines)
  }

  #wait(id, name, { timeout, signal, giveUp }) {
    const entry = new Entry('wait', id, name, giveUp)
    const promise = this.#request(entry, signal)
    if (entry.token > 0) this.#native.wait(entry.token, id, timeout)
    return promise
  }

  #cancel(id, reason) {
    this.#flush() // The task must be there before it can be cancelled.
    const entry = new Entry('cancel', id)
    const promise = this.#request(entry)
    if (entry.token > 0) this.#native.cancel(entry.token, id, reason)
    return promise
  }

  /** A waiter has given up, and wants the task to end with its wait. */
  #cancelGivenUp(entry, why) {
    if (!entry?.giveUp) return
    this.#cancel(entry.id, why).catch((error) => this.announce('error', error))
  }

  async #read(id) {
    this.#mustBeOpen()
    check.name(id, 'id')
    return await this.#hash(id)
  }

  #hash(id) {
    const entry = new Entry('read', id)
    const promise = this.#request(entry)
    if (entry.token > 0) this.#native.read(entry.token, id)
    return promise
  }

  /**
   * Opens an entry: a promise for how it ends, and a token by which the native side calls it; none where it has
   * ended already.
   */
  #request(entry, signal) {
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#ended) return Promise.reject(closedError())
    const token = this.#nextToken()
    if (signal) {
      entry.unlisten = this.#signals.listen(signal, () => {
        this.#flush() // The wait must be known before it can be given up.
        this.#native.unwait(token, entry.id)
        this.#end(token)?.reject(signal.reason)
        this.#cancelGivenUp(entry, 'its caller gave up waiting')
      })
    }
    const promise = new Promise((resolve, reject) => {
      entry.resolve = resolve
      entry.reject = reject
    })
    entry.token = token
    this.#open.set(token, entry)
    this.#port.hold()
    return promise
  }

  #nextToken() {
    do this.#lastToken = (this.#lastToken + 1) >>> 0
    while (this.#lastToken === 0 || this.#open.get(this.#lastToken))
    return this.#lastToken
  }

  #end(token) {
    const entry = this.#open.take(token)
    if (!entry) return undefined
    entry.unlisten?.()
    this.#port.release()
    if (this.#open.size === 0) this.#whenEmpty?.()
    return entry
  }

  #deliver(item) {
    const kind = item[0]
    if (kind >= CONNECTED) {
      if (kind === CONNECTED) this.announce('connected')
      else this.announce('disconnected', item[2])
      return
    }
    const entry = this.#end(item[1])
    if (!entry) return
    switch (kind) {
      case ENQUEUED:
        entry.resolve(new Task(this, entry.id, entry.function, item[2] === 1))
        break
      case VALUE:
        entry.resolve(item[2])
        break
      case ENQUEUED_MANY:
        entry.resolve(item)
        break
      case ASKED:
        entry.resolve(item[2] === 1)
        break
      case HASH:
        entry.resolve(Object.keys(item[2]).length ? item[2] : null)
        break
      default:
        entry.reject(failure(item, entry, this.queue))
        if (kind === TIMED_OUT) this.#cancelGivenUp(entry, 'its caller gave up waiting')
    }
  }

  async #tellSuccess(id, value, callback) {
    if (!callback && this.listenerCount('success') === 0) return
    const task = await this.#hashOf(id)
    if (callback) process.nextTick(callback, null, value, task)
    this.announce('success', value, task)
  }

  async #tellFailure(id, error, callback) {
    if (!(error instanceof TaskFailedError || error instanceof CancelledError)) {
      if (callback) process.nextTick(callback, error)
      this.announce('error', error)
      return
    }
    if (!callback && this.listenerCount('failure') === 0) return
    const task = await this.#hashOf(id)
    const exception = error.exception ?? task ?? error
    if (callback) process.nextTick(callback, exception, null, task)
    this.announce('failure', exception, task)
  }

  async #hashOf(id) {
    const hash = await this.#hash(id).catch(() => null)
    return hash && originalTask(hash)
  }

  #close(abandoned, timeout) {
    this.#abandoned = Math.max(this.#abandoned, abandoned)
    // Closing already, and perhaps waiting for what is not to be waited for any more.
    if (this.#closed) this.#abandon()
    else if (this.#closing && timeout !== undefined) this.#closeWorkers(timeout)
    this.#closing ??= this.#shut(timeout)
    return this.#closing
  }

  async #shut(timeout) {
    const failure = (await this.#closeWorkers(timeout)).find(({ status }) => status === 'rejected')
    this.#closed = true
    this.#flush()
    this.#abandon()
    await this.#settled()
    this.#ended = true
    this.#native.close()
    this.#port.close()
    this.announce('closed')
    if (failure) throw failure.reason
  }

  #closeWorkers(timeout) {
    return Promise.allSettled([...this.#workers].map((worker) => worker.close({ timeout })))
  }

  #abandon() {
    const error = new ClosedError('the client was closed before this call was through')
    for (const [token, entry] of this.#open.entries()) {
      if (this.#abandoned < (entry.kind === 'wait' ? WAITS : EVERYTHING)) continue
      if (entry.kind === 'wait') this.#native.unwait(token, entry.id)
      this.#end(token)
      entry.reject(error)
    }
  }

  /** Through with all that is open, and with what follows from it: a callback's task is read after its wait. */
  async #settled() {
    do {
      if (this.#open.size > 0) {
        await new Promise((resolve) => {
          this.#whenEmpty = resolve
        })
      }
      await new Promise(setImmediate)
    } while (this.#open.size > 0)
  }
}

function closedError() {
  return new ClosedError('this client is closed; make another with dothis(url, queue)')
}

if (Symbol.asyncDispose) Client.prototype[Symbol.asyncDispose] = Client.prototype.close

module.exports = { Client }
