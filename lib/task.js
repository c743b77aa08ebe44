const { date } = require('./wire-task.js')

/** A handle on a task that was enqueued. */
class Task {
  #client

  constructor(client, id, name, created) {
    this.#client = client
    this.id = id
    this.function = name
    this.created = created
  }

  result(options) {
    return this.#client.result(this.id, options, this.function)
  }

  get() {
    return this.#client.get(this.id)
  }

  cancel(reason) {
    return this.#client.cancel(this.id, reason)
  }
}

/** What a handler gets as its second argument. */
class RunningTask {
  #run
  #created
  #abort
  #reason

  constructor(run, id, name, args, created, attempt) {
    this.#run = run
    this.id = id
    this.function = name
    this.args = args
    this.attempt = attempt
    this.#created = created
  }

  get createdAt() {
    return date(this.#created)
  }

  /** For the worker: which run this is. */
  static run(task) {
    return task.#run
  }

  /** Made when first looked at: most handlers never do. */
  get signal() {
    this.#abort ??= new AbortController()
    if (this.#reason) this.#abort.abort(this.#reason)
    return this.#abort.signal
  }

  /** For the worker: fires the signal. */
  static abort(task, reason) {
    task.#reason = reason
    task.#abort?.abort(reason)
  }
}

module.exports = { Task, RunningTask }
