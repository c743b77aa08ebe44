import type { EventEmitter } from 'node:events'

/**
 * Makes a client of a queue at once; connecting goes on behind it, and calls wait for it.
 *
 * @param url where Redis is: `redis://`, `rediss://` (TLS), `unix:` or `redis+unix:`, with user, password and
 *   database number where needed. Default `redis://127.0.0.1:6379`.
 * @param queue the queue's name, with which all its keys begin. Default `dothis`.
 * @throws {dothis.ArgsError} where the URL can't be used.
 *
 * @example
 * interface Functions { add(args: { a: number; b: number }): number }
 * const client = dothis<Functions>('redis://127.0.0.1:6379', 'sums')
 * const sum = await client.call('add', { a: 1, b: 5 })
 */
declare function dothis<F extends dothis.FunctionsOf<F> = dothis.AnyFunctions>(
  url?: string,
  queue?: string,
): dothis.Client<F>
/** The same with options. */
declare function dothis<F extends dothis.FunctionsOf<F> = dothis.AnyFunctions>(
  options: dothis.ClientOptions,
): dothis.Client<F>

declare namespace dothis {
  /** Untyped functions: any name, any args, any result. */
  // biome-ignore lint/suspicious/noExplicitAny: without an interface of functions everything is untyped.
  type AnyFunctions = Record<string, (args: any) => any>

  /** What an interface of functions must look like: each takes one object of named arguments, or nothing. */
  // biome-ignore lint/suspicious/noExplicitAny: the constraint leaves args and results to the interface.
  type FunctionsOf<F> = { [Name in keyof F]: (args: any) => any }

  /** The names of the functions. */
  type Name<F> = keyof F & string

  /** The named arguments of a function. */
  type Args<F, N extends keyof F> = F[N] extends (...args: infer A) => unknown
    ? A extends []
      ? Record<string, never>
      : A[0]
    : never

  /** What a function comes to, out of its promise. */
  type Result<F, N extends keyof F> = F[N] extends (...args: never) => infer R ? Awaited<R> : never

  /** The args parameter: may be left out where every argument is optional. */
  type ArgsParameter<F, N extends keyof F, Rest extends unknown[]> =
    Record<string, never> extends Args<F, N>
      ? [args?: Args<F, N> | null, ...Rest]
      : [args: Args<F, N>, ...Rest]

  interface ClientOptions {
    /** Where Redis is: `redis://`, `rediss://` (TLS), `unix:`, `redis+unix:`. Default `redis://127.0.0.1:6379`. */
    url?: string
    /** The queue's name, with which all its keys begin. Default `dothis`. */
    queue?: string
    /** For `rediss://`. Default: the system's certificates, and no client certificate. */
    tls?: TlsOptions
    /**
     * Milliseconds that a call to Redis may take in all, waiting for a connection included; then it fails with a
     * `ConnectionError`. It bounds `enqueue` and `get`, not how long a task may take. Default 10,000.
     */
    commandTimeout?: number
    /** The longest args of a task, in bytes of JSON; longer ones are an `ArgsError`. Default 64 MiB. */
    maxArgsBytes?: number
  }

  /** PEM texts. */
  interface TlsOptions {
    /** Certificates of the authorities to trust, instead of the system's. */
    ca?: string | Buffer
    /** The client's certificate; goes with `key`. */
    cert?: string | Buffer
    /** The client's private key; goes with `cert`. */
    key?: string | Buffer
  }

  interface WaitOptions {
    /**
     * Milliseconds to wait; then the wait ends with a `TimeoutError`, and the task goes on. Default: no limit.
     */
    timeout?: number
    /** Ends the wait, which rejects with the signal's reason. The task goes on. */
    signal?: AbortSignal
  }

  interface EnqueueOptions {
    /**
     * The task's id: any non-empty string. A task of that id which is there already is left as it is (the handle's
     * `created` is false), so that repeating a call is safe. Default: a new UUID.
     */
    id?: string
  }

  /** What `call` takes: the options of `enqueue` and those of a wait. */
  interface CallOptions extends EnqueueOptions, WaitOptions {}

  /** An entry of `enqueueMany`. */
  type NewTask<F = AnyFunctions> = {
    [N in Name<F>]: EnqueueOptions & { function: N } & (Record<string, never> extends Args<F, N>
        ? { args?: Args<F, N> | null }
        : { args: Args<F, N> })
  }[Name<F>]

  /** A handle on a task that was enqueued. */
  interface Task<Value = unknown> {
    readonly id: string
    readonly function: string
    /** Whether this call created the task; false where one of that id was there already. */
    readonly created: boolean
    /**
     * What the handler returned, once it has.
     *
     * @throws {TaskFailedError} the task failed, or has vanished.
     * @throws {TimeoutError} the wait's time is up.
     * @throws {ClosedError} the client was closed.
     */
    result(options?: WaitOptions): Promise<Value>
    /** The task as it stands, or null where it has been deleted or has expired. */
    get(): Promise<TaskState | null>
  }

  /** A task as it stands in Redis. What is not there yet is undefined. */
  interface TaskState {
    id: string
    function: string | undefined
    /** The named arguments; the text as it is where another program wrote something else than JSON. */
    args: unknown
    state: 'pending' | 'executing' | 'finished' | undefined
    /** Once finished. */
    result: 'successful' | 'failed' | undefined
    /** What the handler returned. */
    value: unknown
    /** Why it failed, in one line. */
    reason: string | undefined
    /** The stack trace of what it failed with. */
    exception: string | undefined
    /** When it was enqueued; undefined where its producer did not write it. */
    createdAt: Date | undefined
    startedAt: Date | undefined
    finishedAt: Date | undefined
  }

  /** A task as the original client shows it: the fields by their names in Redis. */
  interface OriginalTask {
    function?: string
    /** Parsed. */
    args?: unknown
    state?: string
    result?: string
    /** Parsed. */
    'result-value'?: unknown
    'error-reason'?: string
    'error-exception'?: string
    'pending-created'?: string
    'executing-created'?: Date
    'finished-created'?: Date
    [field: string]: unknown
  }

  /** What a handler gets as its second argument. */
  interface RunningTask<Arguments = unknown> {
    readonly id: string
    readonly function: string
    readonly args: Arguments
    /** Counts from 1. */
    readonly attempt: number
    /**
     * Fires when the outcome is of no use any more: the worker is closed and this task has not finished in the time
     * given. What the handler returns after that is dropped.
     */
    readonly signal: AbortSignal
    /** When it was enqueued; undefined where its producer did not write it. */
    readonly createdAt: Date | undefined
  }

  /** A handler: plain or async. What it throws, or rejects with, fails the task. */
  type Handler<F = AnyFunctions, N extends keyof F = keyof F> = (
    args: Args<F, N>,
    task: RunningTask<Args<F, N>>,
  ) => Result<F, N> | Promise<Result<F, N>>

  /** Handlers by name: some of the functions, or all. */
  type Handlers<F = AnyFunctions> = { [N in keyof F]?: Handler<F, N> }

  interface WorkerOptions {
    /** Tasks at a time. Default 10. */
    concurrency?: number
    /** Milliseconds without a heartbeat after which this worker counts as dead; at least 1,000. Default 15,000. */
    heartbeatTimeout?: number
    /** The longest result, in bytes of JSON; with a longer one the task fails. Default 64 MiB. */
    maxResultBytes?: number
  }

  interface CloseOptions {
    /**
     * Milliseconds that running tasks may still take. Then their signal is aborted, and they go back to the queue.
     * Default 30,000.
     */
    timeout?: number
  }

  interface ClientHealth {
    status: 'connecting' | 'connected' | 'closed'
    /** Why there is no connection. */
    reason?: string
    /** Calls and waits under way. */
    pending: number
  }

  interface ClientEvents {
    /** A connection to Redis stands, or stands again. */
    connected: []
    /** The connection was lost; the reason. Another is being made. */
    disconnected: [reason: string]
    /** Closed, and through with everything. */
    closed: []
    /** A task made with `task` or `taskwithid` was successful. */
    success: [result: unknown, task: OriginalTask | null]
    /** A task made with `task` or `taskwithid` failed: its stack trace, or the task where there is none. */
    failure: [exception: unknown, task: OriginalTask | null]
    /** A call of `task` or `taskwithid` did not get through. Does no harm where nobody listens. */
    error: [error: Error]
  }

  /** The original's callback. */
  type Callback<Value = unknown> = (error: unknown, result?: Value | null, task?: OriginalTask | null) => void

  class Client<F = AnyFunctions> extends EventEmitter<ClientEvents> {
    private constructor()
    readonly url: string
    readonly queue: string

    /**
     * Puts a task into the queue. Resolves to a handle once Redis has it.
     *
     * @throws {ArgsError} args are no object, or can't be written as JSON; nothing was sent.
     * @throws {ConnectionError} Redis was not reached in time (`commandTimeout`); the message says whether the task
     *   may have been enqueued all the same. With an `id` of your own it is safe to call again.
     * @throws {RefusedError} Redis refused, for instance because it is out of memory.
     * @throws {ClosedError} the client is closed.
     */
    enqueue<N extends Name<F>>(
      name: N,
      ...rest: ArgsParameter<F, N, [options?: EnqueueOptions]>
    ): Promise<Task<Result<F, N>>>

    /**
     * Puts many tasks into the queue, in order, in as few round trips as it takes. Rejects before anything is sent
     * where an entry is wrong; the message names it.
     */
    enqueueMany(tasks: Iterable<NewTask<F>>): Promise<Task[]>

    /**
     * Puts a task into the queue and resolves to what its handler returns.
     *
     * @throws {TaskFailedError} the handler threw, or there is none of that name.
     * @throws {TimeoutError} not finished within `timeout`; the task goes on.
     * @throws as `enqueue` does, too.
     */
    call<N extends Name<F>>(
      name: N,
      ...rest: ArgsParameter<F, N, [options?: CallOptions]>
    ): Promise<Result<F, N>>

    /**
     * The result of any task, whoever enqueued it. A task that is not there yet is waited for; without a `timeout`,
     * for a minute.
     *
     * @throws {TaskFailedError} the task failed, or has vanished.
     * @throws {TimeoutError} the wait's time is up, or no such task came.
     */
    result<Value = unknown>(id: string, options?: WaitOptions): Promise<Value>

    /** The task as it stands, or null where there is none of that id. */
    get(id: string): Promise<TaskState | null>

    /** Starts a worker with these handlers on this queue. It runs, and keeps Node.js alive, until it is closed. */
    work(handlers: Handlers<F>, options?: WorkerOptions): Worker<F>

    /** What is true now. */
    health(): ClientHealth

    /**
     * Closes its workers, waits until what was enqueued is in Redis, and ends open waits with a `ClosedError`.
     * Closing twice is closing once. Rejects where a worker could not tell Redis what it had to.
     */
    close(options?: CloseOptions): Promise<void>
    [Symbol.asyncDispose](): Promise<void>

    /**
     * The original's call: enqueues, and resolves to the result. `callback(error, result, task)` once the task has
     * finished; where it failed, `error` is its stack trace, or the task where there is none.
     */
    task<N extends Name<F>>(
      name: N,
      args?: Args<F, N> | null,
      callback?: Callback<Result<F, N>>,
    ): Promise<Result<F, N>>
    /** The same with an id of your own. A finished task of that id is run anew. */
    taskwithid<N extends Name<F>>(
      id: string,
      name: N,
      args?: Args<F, N> | null,
      callback?: Callback<Result<F, N>>,
    ): Promise<Result<F, N>>
    /** The original's call: the task's fields by their names in Redis, or null. */
    gettask(
      id: string,
      callback?: (error: unknown, task?: OriginalTask | null) => void,
    ): Promise<OriginalTask | null>
    /** The original's call: closes once nothing is under way any more, waits included. */
    quit(): Promise<void>
    /** The original's call: closes at once. What is under way ends with a `ClosedError`. */
    end(): Promise<void>
  }

  interface WorkerHealth {
    status: 'connecting' | 'connected' | 'closing' | 'closed'
    /** Why there is no connection. */
    reason?: string
    /** Tasks whose handlers are running. */
    running: number
    /** Tasks taken whose handlers have not begun. */
    ready: number
    /** Ids found in the queue that could not be run: see the event. */
    dropped: number
    /** Outcomes that were not written: see the event. */
    lost: number
  }

  interface WorkerEvents {
    /**
     * An id was in the queue and could not be run: its hash is `missing`, `not a hash`, `finished` already, or
     * `executing` elsewhere (it was pushed twice). The hash is left as it is.
     */
    dropped: [what: { id: string; why: string }]
    /** An outcome was not written, because the task was deleted or has another owner by now. */
    lost: [what: { id: string }]
    /** Redis refuses what the worker needs; it goes on trying. Does no harm where nobody listens. */
    error: [error: Error]
    /** Closed, and through with everything. */
    closed: []
  }

  class Worker<F = AnyFunctions> extends EventEmitter<WorkerEvents> {
    private constructor()
    /** The last part of its key in Redis, `{q}:worker:{id}`. */
    readonly id: string
    readonly concurrency: number
    /** Adds a handler, or replaces the one of that name. */
    handle<N extends Name<F>>(name: N, handler: Handler<F, N>): this
    /** What is true now. */
    health(): WorkerHealth
    /**
     * Stops taking, hands back what has not begun, in order, and lets what runs finish. What does not within
     * `timeout` has its signal aborted and goes back to the queue. Closing twice is closing once.
     *
     * @throws {ConnectionError} Redis could not be told what had to be written; the worker is closed all the same.
     */
    close(options?: CloseOptions): Promise<void>
    [Symbol.asyncDispose](): Promise<void>
  }

  /** What all errors of dothis have in common. */
  class DothisError extends Error {
    /** Stable: does not change with the wording. */
    readonly code: string
    /** The task that it is about, where there is one. */
    readonly taskId?: string
    /** The function that it is about, where there is one. */
    readonly function?: string
  }

  /** The task failed. */
  class TaskFailedError extends DothisError {
    readonly code: 'ERR_TASK_FAILED'
    /** What the worker recorded, in one line. */
    readonly reason: string
    /** The stack trace that the worker recorded. */
    readonly exception?: string
  }
  /** The waiter gave up; the task goes on. */
  class TimeoutError extends DothisError {
    readonly code: 'ERR_TIMEOUT'
  }
  /** The task was cancelled. */
  class CancelledError extends DothisError {
    readonly code: 'ERR_CANCELLED'
  }
  /** What was passed in is wrong; Redis was not touched. */
  class ArgsError extends DothisError {
    readonly code: 'ERR_ARGS'
  }
  /** Redis was not reached in time. */
  class ConnectionError extends DothisError {
    readonly code: 'ERR_CONNECTION'
  }
  /** Redis answered, and refused: out of memory, no permission, a key of another type. */
  class RefusedError extends DothisError {
    readonly code: 'ERR_REFUSED'
  }
  /** The client is closed, or was before the call was through. */
  class ClosedError extends DothisError {
    readonly code: 'ERR_CLOSED'
  }
}

export = dothis
