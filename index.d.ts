/// <reference lib="esnext.disposable" />

// Needs no other package's types: with @types/node or the DOM library about, an AbortSignal is theirs, and
// clients and workers pass for Node's event emitters.

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

type AbortSignal = typeof globalThis extends { AbortSignal: { prototype: infer Signal } }
  ? Signal
  : {
      readonly aborted: boolean
      readonly reason: unknown
      addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void
      removeEventListener(type: 'abort', listener: () => void): void
    }

type Listener<Arguments extends unknown[]> = (...args: Arguments) => void

/** Node's EventEmitter, which clients and workers are, with the events that they have. */
interface Emitter<Events extends { [Event in keyof Events]: unknown[] }> {
  on<Event extends keyof Events>(event: Event, listener: Listener<Events[Event]>): this
  once<Event extends keyof Events>(event: Event, listener: Listener<Events[Event]>): this
  off<Event extends keyof Events>(event: Event, listener: Listener<Events[Event]>): this
  addListener<Event extends keyof Events>(event: Event, listener: Listener<Events[Event]>): this
  removeListener<Event extends keyof Events>(event: Event, listener: Listener<Events[Event]>): this
  prependListener<Event extends keyof Events>(event: Event, listener: Listener<Events[Event]>): this
  prependOnceListener<Event extends keyof Events>(event: Event, listener: Listener<Events[Event]>): this
  removeAllListeners(event?: keyof Events): this
  emit<Event extends keyof Events>(event: Event, ...args: Events[Event]): boolean
  listeners<Event extends keyof Events>(event: Event): Listener<Events[Event]>[]
  rawListeners<Event extends keyof Events>(event: Event): Listener<Events[Event]>[]
  listenerCount(event: keyof Events): number
  eventNames(): (keyof Events)[]
  setMaxListeners(count: number): this
  getMaxListeners(): number
}

declare namespace dothis {
  /** Untyped functions: any name, any args, any result. */
  // biome-ignore lint/suspicious/noExplicitAny: without an interface of functions everything is untyped.
  type AnyFunctions = Record<string, (args?: any) => any>

  /** What an interface of functions must look like: each takes one object of named arguments, or nothing. */
  // biome-ignore lint/suspicious/noExplicitAny: the constraint leaves args and results to the interface.
  type FunctionsOf<F> = { [N in keyof F]: (args: any) => any }

  /** The names of the functions. */
  type Name<F> = keyof F & string

  /**
   * The named arguments of a function, as its handler gets them: an empty object where it was called without. They travel
   * as JSON, which the types don't say: a `Date` arrives as its text.
   */
  type Args<F, N extends keyof F> = F[N] extends (...args: infer A) => unknown
    ? A extends []
      ? Record<string, never>
      : A[0] extends Exclude<A[0], undefined>
        ? A[0]
        : Partial<Exclude<A[0], undefined>>
    : never

  /** What a function comes to, out of its promise. It travels as JSON, too. */
  type Result<F, N extends keyof F> = F[N] extends (...args: never) => infer R ? Awaited<R> : never

  /** The parameters from args on: args may be left out where every argument is optional. */
  type ArgsParameter<F, N extends keyof F, Rest extends unknown[]> =
    Record<string, never> extends Args<F, N>
      ? [args?: Args<F, N> | null, ...Rest]
      : [args: Args<F, N>, ...Rest]

  interface ClientOptions {
    /**
     * Where Redis is: `redis://`, `rediss://` (TLS), `unix:` or `redis+unix:`, with user, password and database
     * number where needed: `rediss://user:password@host:6380/2`, `unix:///run/redis.sock?db=2`.
     * Default `redis://127.0.0.1:6379`.
     */
    url?: string
    /** The queue's name, with which all its keys begin: `{queue}:task:…`. Default `dothis`. */
    queue?: string
    /** For `rediss://`. Default: the system's certificates, and no client certificate. */
    tls?: TlsOptions
    /**
     * Milliseconds in which Redis must have taken a task or answered a `get`, waiting for a connection included;
     * then the call fails with a `ConnectionError`. It does not bound how long a task may take.
     * Default 10,000; `Infinity` never gives up.
     */
    commandTimeout?: number
    /**
     * The longest args of a task, in bytes of JSON; longer ones are refused with an `ArgsError`.
     * Default 67,108,864 (64 MiB), at most 256 MiB.
     */
    maxArgsBytes?: number
  }

  /** PEM texts. */
  interface TlsOptions {
    /** Certificates of the authorities to trust. Default: the system's. */
    ca?: string | Uint8Array
    /** The client's certificate; goes with `key`. Default: none. */
    cert?: string | Uint8Array
    /** The client's private key; goes with `cert`. Default: none. */
    key?: string | Uint8Array
  }

  interface WaitOptions {
    /**
     * Milliseconds to wait for the result; then the wait ends with a `TimeoutError`, and the task goes on, unless
     * `onTimeout` says otherwise. Default: no limit, as with `null`.
     */
    timeout?: number | null
    /** Ends the wait, which rejects with the signal's reason. The task goes on likewise. Default: none. */
    signal?: AbortSignal | null
    /** `'cancel'`: a wait that gives up, by `timeout` or by `signal`, cancels the task. Default: it goes on. */
    onTimeout?: 'cancel'
  }

  /**
   * How long a task waits for its next attempt: a list of 1 to 1,000 times in milliseconds, one for each retry (the
   * last one also for those beyond), or a policy.
   */
  type Backoff = readonly number[] | BackoffPolicy

  interface BackoffPolicy {
    /** `fixed`: the same delay each time. `exponential`: twice as long each time. */
    type: 'fixed' | 'exponential'
    /** Milliseconds before the first retry. */
    delay: number
    /** Milliseconds that no delay exceeds. Default: an hour for exponential ones, else none. */
    maxDelay?: number
    /** How much of each delay is left to chance, from 0 to 1: 0.25 makes 1,000 ms anything from 750 to 1,000. Default 0. */
    jitter?: number
  }

  /**
   * How a task is run. Per task, or as a worker's default for tasks that don't say: the defaults below are for those
   * of which neither says anything.
   */
  interface RunOptions {
    /**
     * How often the task is tried at most. An attempt that throws, or takes longer than `timeout`, is followed by
     * the next one after `backoff`; waiting for it takes no worker's slot. Not tried again: a `NonRetryableError`,
     * what the worker's `retryIf` refuses, a function that has no handler. At most 1,000,000. Default 1: a thrown error is
     * final.
     */
    attempts?: number
    /** How long the task waits for its next attempt. `null`: not at all, which is the default. */
    backoff?: Backoff | null
    /**
     * Milliseconds that one attempt may take. Then its signal fires and it counts as failed, whatever the handler
     * does; one that goes on regardless keeps its slot for the worker's `grace`. `null`: no limit, which is the default.
     */
    timeout?: number | null
    /**
     * Milliseconds that the finished task stays in Redis; then it is gone, and so is its result. `null` keeps it for
     * ever. Default 86,400,000: a day.
     */
    resultTtl?: number | null
    /**
     * Whether the task is removed as soon as it was successful. Where a client of dothis waits for it (or its id is a
     * UUID of version 8, which says so), it stays for a minute longer; a program in another language that waits for the message on `{q}:results` finds nothing.
     * Default false.
     */
    removeOnSuccess?: boolean
  }

  interface EnqueueOptions extends RunOptions {
    /**
     * The task's id: any non-empty string. A task of that id which is there already is left as it is, whatever its
     * state (the handle's `created` is false), so that the same call can be made again without harm.
     * Default: a new UUID, in `call` of version 8: its last group says which process waits.
     */
    id?: string
    /** Milliseconds until it may start; until then it waits in Redis. Default 0. */
    delay?: number
    /** When it may start: a Date, or milliseconds since 1970, on Redis's clock. Instead of `delay`. Default: now. */
    runAt?: Date | number
    /**
     * Until when an attempt at it may begin: a Date, or milliseconds from now. One that has not begun by then does
     * not; the task is finished, failed, with a reason that says so. Default: no limit.
     */
    expires?: Date | number | null
  }

  /** What `call` takes: the options of `enqueue` and those of a wait. `timeout` bounds the wait, `attemptTimeout` an attempt. */
  interface CallOptions extends Omit<EnqueueOptions, 'timeout'>, WaitOptions {
    /** Milliseconds that one attempt may take: what `timeout` is in `enqueue`. `null`: no limit. Default: the worker's. */
    attemptTimeout?: number | null
  }

  /** An entry of `enqueueMany`. */
  type NewTask<F = AnyFunctions> = {
    [N in Name<F>]: EnqueueOptions & { function: N } & (Record<string, never> extends Args<F, N>
        ? { args?: Args<F, N> | null }
        : { args: Args<F, N> })
  }[Name<F>]

  /** A handle on a task that was enqueued. It holds nothing in Redis, and need not be kept. */
  // biome-ignore lint/suspicious/noExplicitAny: without an interface of functions everything is untyped.
  interface Task<Value = any> {
    readonly id: string
    readonly function: string
    /** Whether this call created the task; false where one of that id was there already. */
    readonly created: boolean
    /**
     * Resolves to what the handler returned, once it has; at once where the task has finished by now.
     *
     * @throws {TaskFailedError} the task failed, or has vanished from Redis.
     * @throws {CancelledError} it was cancelled.
     * @throws {TimeoutError} it has not finished within `timeout`; it goes on. Without a `timeout`: after a minute, where
     *   the task was gone from Redis before this wait began.
     * @throws {ClosedError} the client was closed meanwhile.
     */
    result(options?: WaitOptions): Promise<Value>
    /** Cancels the task: see the client's `cancel`. */
    cancel(reason?: string): Promise<boolean>
    /**
     * Resolves to the task as it stands, or null where it has been deleted.
     *
     * @throws {ConnectionError} no answer from Redis within `commandTimeout`.
     */
    // biome-ignore lint/suspicious/noExplicitAny: a handle knows the result's type, and not the args'.
    get(): Promise<TaskState<any, Value> | null>
  }

  /** A task as it stands in Redis. What is not there yet is undefined. */
  // biome-ignore lint/suspicious/noExplicitAny: without an interface of functions everything is untyped.
  interface TaskState<Arguments = any, Value = any> {
    id: string
    /** Undefined where its producer did not write it. */
    function: string | undefined
    /** The named arguments. Where its producer wrote something else than JSON, that text. */
    args: Arguments
    /** `pending`: waiting for a worker. `executing`: taken by one. `finished`: see `result`. */
    state: 'pending' | 'executing' | 'finished' | undefined
    /** Once finished: whether the handler returned. */
    result: 'successful' | 'failed' | undefined
    /** Once successful: what the handler returned. */
    value: Value | undefined
    /** Once failed: why, in one line. */
    reason: string | undefined
    /** Once failed: the stack trace, where there is one. */
    exception: string | undefined
    /** Whether it failed because it was cancelled. */
    cancelled: boolean
    /** Which attempt is next or running, or was the last; counts from 1. */
    attempt: number
    /** What went wrong in earlier attempts, oldest first: the latest ten. */
    errors: { attempt: number; at: Date | undefined; reason: string }[]
    /** When it was enqueued; undefined where its producer did not write it. */
    createdAt: Date | undefined
    /** When a worker took it. */
    startedAt: Date | undefined
    finishedAt: Date | undefined
  }

  /** A task of one of these functions as it stands. */
  type StateOf<F, N extends keyof F> = N extends keyof F ? TaskState<Args<F, N>, Result<F, N>> : never

  /** A task as the original client shows it: the fields by their names in Redis. */
  interface OriginalTask {
    function?: string
    /** Parsed. */
    // biome-ignore lint/suspicious/noExplicitAny: as in the original, untyped.
    args?: any
    state?: string
    result?: string
    /** Parsed. */
    // biome-ignore lint/suspicious/noExplicitAny: as in the original, untyped.
    'result-value'?: any
    'error-reason'?: string
    'error-exception'?: string
    'pending-created'?: string
    'executing-created'?: Date
    'finished-created'?: Date
    [field: string]: unknown
  }

  /** What a handler gets as its second argument. */
  // biome-ignore lint/suspicious/noExplicitAny: without an interface of functions everything is untyped.
  interface RunningTask<Arguments = any> {
    readonly id: string
    readonly function: string
    /** The handler's first argument again. */
    readonly args: Arguments
    /** Which attempt at this task this is; counts from 1. */
    readonly attempt: number
    /**
     * Fires when what the handler returns is of no use any more, and will be dropped. Pass it on to what the handler
     * waits for. Its reason says why:
     *
     * - `TimeoutError`: the attempt took longer than `timeout`
     * - `CancelledError`: the task was cancelled
     * - `LostError`: this worker gave no sign of life for so long that the task was taken from it, or it was deleted
     * - `ClosedError`: the worker is being closed and the time that `close` gave is up; the task has gone back
     */
    readonly signal: AbortSignal
    /** When it was enqueued; undefined where its producer did not write it. */
    readonly createdAt: Date | undefined
  }

  /**
   * A handler, plain or async, called without a `this`. What it returns becomes the task's result, as JSON. What it
   * throws, or rejects with, fails the task.
   */
  type Handler<F = AnyFunctions, N extends keyof F = keyof F> = (
    this: void,
    args: Args<F, N>,
    task: RunningTask<Args<F, N>>,
  ) => Returned<Result<F, N>>

  /** What a handler may return: where the function comes to nothing, anything. */
  // biome-ignore lint/suspicious/noConfusingVoidType: what a function is declared to come to.
  type Returned<R> = [R] extends [void] ? unknown : R | Promise<R>

  /** Handlers by name: of some of the functions, or all. */
  type Handlers<F = AnyFunctions> = { [N in keyof F]?: Handler<F, N> }

  interface WorkerOptions extends RunOptions {
    /**
     * How many tasks it runs at a time: for handlers that wait (for a database, for HTTP) a hundred or more, for
     * handlers that compute, 1. Default 10, at most 100,000. While its handlers are quick and more is pending, it holds
     * up to 128 tasks more, which go back to the queue where they find no slot within ten milliseconds.
     */
    concurrency?: number
    /**
     * Whether what a handler threw is worth another attempt, where the task has one left. One that throws itself
     * counts as true, and is told to `error`. It is not asked after a timeout. Default: always.
     */
    retryIf?: (error: unknown, task: RunningTask) => boolean
    /**
     * Milliseconds that a handler may still take once its signal has fired. Then its slot is freed and the task
     * finished, whatever the handler does. Default 5,000.
     */
    grace?: number
    /**
     * Milliseconds without a sign of life after which the worker counts as dead, and others take over its tasks,
     * first in line. Signs are given each second or oftener, also while a handler blocks the event loop.
     * A whole number from 1,000 to 86,400,000. Default 15,000.
     */
    heartbeatTimeout?: number
    /**
     * After how many workers died over a task it is given up: failed, with a reason that says so. A task that brings
     * its process down stops so. Closing a worker does not count. At most 1,000,000. Default 3.
     */
    maxDeliveries?: number
    /**
     * Milliseconds after which a task that a worker of another kind has been holding is taken over. Such workers give
     * no sign of life, so nobody can tell whether they work on it still. It counts as a death, see `maxDeliveries`.
     * Default: never.
     */
    reclaimForeignAfter?: number
    /**
     * The longest result, in bytes of JSON; with a longer one the task fails.
     * Default 67,108,864 (64 MiB), at most 256 MiB.
     */
    maxResultBytes?: number
  }

  interface CloseOptions {
    /**
     * Milliseconds that running tasks may still take. Then their signals fire, and they go back to the queue, first
     * in line. 0 waits for none, `Infinity` for all, however long they take. Default 30,000.
     */
    timeout?: number
  }

  interface ClientHealth {
    /** `connecting` also where Redis has not answered for a second. */
    status: 'connecting' | 'connected' | 'closed'
    /** Why there is no connection, as far as is known. */
    reason?: string
    /** Calls and waits that are under way. */
    pending: number
  }

  interface ClientEvents {
    /** When the connection to Redis stands, the first time and after each loss. */
    connected: []
    /**
     * When the connection is lost, or Redis has not answered for a second, with the reason. Another connection is made
     * where need be, and calls wait for it; `connected` tells when all is well again.
     */
    disconnected: [reason: string]
    /** When it is closed, and through with everything. */
    closed: []
    /** When a task made with `task` or `taskwithid` was successful. */
    // biome-ignore lint/suspicious/noExplicitAny: as in the original, untyped.
    success: [result: any, task: OriginalTask | null]
    /** When a task made with `task` or `taskwithid` failed: its stack trace, or the task where there is none. */
    // biome-ignore lint/suspicious/noExplicitAny: as in the original, untyped.
    failure: [exception: any, task: OriginalTask | null]
    /**
     * When `task` or `taskwithid` could not enqueue or wait, or a wait gave up with `onTimeout: 'cancel'` and its task
     * could not be cancelled. Does no harm where nobody listens.
     */
    error: [error: Error]
  }

  /** The original's callback. */
  // biome-ignore lint/suspicious/noExplicitAny: as in the original, untyped.
  type Callback<Value = any> = (error: any, result?: Value | null, task?: OriginalTask | null) => void

  /** Handles on tasks, in the order of the entries. */
  type Tasks<F, List extends readonly { function: string }[]> = {
    -readonly [Index in keyof List]: Task<Result<F, List[Index]['function'] & keyof F>>
  }

  /**
   * A queue, for those who put tasks in and wait for results. Made by `dothis()`. Open and idle, it does not keep
   * Node.js alive; a call or a wait that is under way does.
   */
  interface Client<F = AnyFunctions> extends Emitter<ClientEvents> {
    readonly queue: string

    /**
     * Puts a task into the queue. Resolves to a handle once Redis has it.
     *
     * @example
     * const task = await client.enqueue('add', { a: 1, b: 5 })
     * const sum = await task.result()
     *
     * @throws {ArgsError} the args are no object, can't be written as JSON, or are too large; nothing was sent.
     * @throws {ConnectionError} Redis was not reached within `commandTimeout`. The message says where the task may
     *   have been enqueued all the same; with an `id` of your own the call can be made again without harm.
     * @throws {RefusedError} Redis refused: it is out of memory, forbids it, or the task's key is something else.
     * @throws {ClosedError} the client is closed.
     */
    enqueue<N extends Name<F>>(
      name: N,
      ...rest: ArgsParameter<F, N, [options?: EnqueueOptions]>
    ): Promise<Task<Result<F, N>>>

    /**
     * Puts many tasks into the queue, in order, in as few round trips as it takes. Resolves to their handles, in the
     * same order, once Redis has all.
     *
     * @example
     * await client.enqueueMany([{ function: 'add', args: { a: 1, b: 2 } }, { function: 'ping' }])
     *
     * @throws {ArgsError} an entry is wrong; the message says which. Nothing was sent.
     * @throws as `enqueue` does. Tasks before the one that failed may be in the queue.
     */
    enqueueMany<const List extends readonly NewTask<F>[]>(tasks: List): Promise<Tasks<F, List>>
    enqueueMany(tasks: Iterable<NewTask<F>>): Promise<Task<Result<F, Name<F>>>[]>

    /**
     * Puts a task into the queue and resolves to what its handler returned, wherever that runs.
     *
     * @example
     * const sum = await client.call('add', { a: 1, b: 5 }, { timeout: 5_000 })
     *
     * @throws {TaskFailedError} the handler threw, or the worker has no handler of that name.
     * @throws {CancelledError} the task was cancelled.
     * @throws {TimeoutError} it has not finished within `timeout`; it goes on.
     * @throws as `enqueue` does, where the task did not get into the queue.
     * @throws the reason of `signal`, once that fires.
     */
    call<N extends Name<F>>(
      name: N,
      ...rest: ArgsParameter<F, N, [options?: CallOptions]>
    ): Promise<Result<F, N>>

    /**
     * Resolves to the result of any task, whoever enqueued it and whenever. A task that is not there yet is waited
     * for: until `timeout`, or, without one, for a minute.
     *
     * @example
     * const sum = await client.result<'add'>(id)
     *
     * @throws {TaskFailedError} the task failed, or has vanished from Redis.
     * @throws {CancelledError} it was cancelled.
     * @throws {TimeoutError} it has not finished within `timeout`, or there is no such task.
     * @throws {ClosedError} the client is closed, or was meanwhile.
     * @throws the reason of `signal`, once that fires.
     */
    result<N extends Name<F> = Name<F>>(id: string, options?: WaitOptions): Promise<Result<F, N>>

    /**
     * Resolves to the task as it stands, or null where there is none of that id.
     *
     * @throws {ConnectionError} no answer from Redis within `commandTimeout`.
     * @throws {RefusedError} Redis refused: the task's key holds something else than a hash.
     * @throws {ClosedError} the client is closed.
     */
    get<N extends Name<F> = Name<F>>(id: string): Promise<StateOf<F, N> | null>

    /**
     * Cancels a task, whoever enqueued it and wherever it is. What has not begun is finished at once, and waiters get
     * a `CancelledError`. Where it runs, its signal fires; it is finished when the handler has ended, or after the
     * worker's `grace`. A handler that is through by the time it hears of it has not been cancelled.
     *
     * @param reason one line, for the error and for the task in Redis. Default: none.
     * @returns whether there was something to cancel: false where the task had finished, or there is none.
     *
     * @throws {ConnectionError} no answer from Redis within `commandTimeout`.
     * @throws {RefusedError} Redis refused.
     * @throws {ClosedError} the client is closed.
     */
    cancel(id: string, reason?: string): Promise<boolean>

    /**
     * Starts a worker on this queue. It runs tasks, and keeps Node.js alive, until it is closed.
     *
     * @example
     * const worker = client.work({ add: ({ a, b }) => a + b }, { concurrency: 100 })
     *
     * @throws {ArgsError} a handler is no function, or an option is wrong.
     * @throws {ClosedError} the client is closed, or is being closed.
     */
    work(handlers: Handlers<F>, options?: WorkerOptions): Worker<F>

    /** What is true now. Asks nobody, and costs nothing. */
    health(): ClientHealth

    /**
     * Closes its workers (`timeout` is theirs), waits until what was enqueued is in Redis, and ends open waits with
     * a `ClosedError`. A worker takes at most 15 seconds longer than `timeout`, and a call on its way to Redis up to
     * `commandTimeout`. Closing twice is closing once; a shorter `timeout` hastens what is under way.
     *
     * @throws {ConnectionError} a worker could not tell Redis what it had to; the client is closed all the same.
     */
    close(options?: CloseOptions): Promise<void>
    /** `await using client = dothis()` closes it at the end of the block. */
    [Symbol.asyncDispose](): Promise<void>

    /**
     * The original's call: enqueues, and resolves to the result. `callback(error, result, task)` is called once the
     * task has finished; where it failed, `error` is its stack trace, or the task where there is none. One that is no
     * function is an `ArgsError`, thrown at once.
     */
    task<N extends Name<F>>(
      name: ArgsParameter<F, N, []> extends [unknown] ? never : N,
      callback: Callback<Result<F, N>>,
    ): Promise<Result<F, N>>
    task<N extends Name<F>>(
      name: N,
      ...rest: ArgsParameter<F, N, [callback?: Callback<Result<F, N>>]>
    ): Promise<Result<F, N>>
    /** The same with an id of your own. A finished task of that id runs again. */
    taskwithid<N extends Name<F>>(
      id: string,
      name: ArgsParameter<F, N, []> extends [unknown] ? never : N,
      callback: Callback<Result<F, N>>,
    ): Promise<Result<F, N>>
    taskwithid<N extends Name<F>>(
      id: string,
      name: N,
      ...rest: ArgsParameter<F, N, [callback?: Callback<Result<F, N>>]>
    ): Promise<Result<F, N>>
    /** The original's call: the task's fields by their names in Redis, or null where there is none of that id. */
    gettask(
      id: string,
      // biome-ignore lint/suspicious/noExplicitAny: as in the original, untyped.
      callback?: (error: any, task?: OriginalTask | null) => void,
    ): Promise<OriginalTask | null>
    /** The original's call: closes once nothing is under way any more, waits included. */
    quit(): Promise<void>
    /** The original's call: closes at once. What is under way ends with a `ClosedError`. */
    end(): Promise<void>
  }

  interface WorkerHealth {
    status: 'connecting' | 'connected' | 'closing' | 'closed'
    /** Why there is no connection, as far as is known. */
    reason?: string
    /** Tasks whose handlers are running. */
    running: number
    /** Tasks taken whose handlers have not begun, those that wait for a slot among them. */
    ready: number
    /** How often `dropped` happened. */
    dropped: number
    /** How often `lost` happened. */
    lost: number
  }

  interface WorkerEvents {
    /**
     * When an id came out of the queue that can't be run, because its hash is `missing`, `not a hash`, `finished`
     * already, or `executing` elsewhere (it was pushed twice). What is there is left as it is.
     */
    dropped: [what: { id: string; why: string }]
    /**
     * When a task turns out to have another owner by now, or to be deleted: this worker gave no sign of life for too
     * long. The handler's signal fires if it is still running; what it returns is dropped.
     */
    lost: [what: { id: string }]
    /** When this worker has put tasks of dead ones back into the queue, and given up those that died too often. */
    recovered: [what: { tasks: number; givenUp: number }]
    /** When Redis refuses what the worker needs, and it goes on trying; or `retryIf` threw. Does no harm where nobody listens. */
    error: [error: Error]
    /** When it is closed, and through with everything. */
    closed: []
  }

  /** Runs tasks. Made by `client.work()`. */
  interface Worker<F = AnyFunctions> extends Emitter<WorkerEvents> {
    /** The last part of its key in Redis, `{queue}:worker:{id}`. */
    readonly id: string
    readonly concurrency: number
    /**
     * Adds a handler, or replaces the one of that name, from the next task on.
     *
     * @throws {ArgsError} the handler is no function.
     */
    handle<N extends Name<F>>(name: N, handler: Handler<F, N>): this
    /** What is true now. Asks nobody, and costs nothing. */
    health(): WorkerHealth
    /**
     * Stops taking at once, hands back what has not begun, in order, and lets what runs finish. What does not
     * within `timeout` has its signal fired and goes back to the queue. Closing twice is closing once;
     * a shorter `timeout` hastens what is under way.
     *
     * @throws {ConnectionError} Redis could not be told what had to be written; the worker is closed all the same.
     */
    close(options?: CloseOptions): Promise<void>
    /** `await using worker = client.work(…)` closes it at the end of the block. */
    [Symbol.asyncDispose](): Promise<void>
  }

  /** What an error is about. */
  interface About {
    taskId?: string
    function?: string
    cause?: unknown
  }

  /** What all errors of dothis have in common. */
  class DothisError extends Error {
    constructor(code: string, message: string, about?: About)
    /** Stable: does not change with the wording of the message. */
    readonly code: string
    /** The task that it is about, where there is one. */
    readonly taskId?: string
    /** The function that it is about, where there is one. */
    readonly function?: string
  }

  /** The task failed: its handler threw, there is none of that name, or the task has vanished from Redis. */
  class TaskFailedError extends DothisError {
    constructor(reason: string, exception?: string | null, about?: About)
    readonly code: 'ERR_TASK_FAILED'
    /** What the worker recorded, in one line. */
    readonly reason: string
    /** The stack trace that the worker recorded, where there is one. */
    readonly exception?: string
  }
  /** The waiter gave up; the task goes on, and can be waited for again. */
  class TimeoutError extends DothisError {
    constructor(message: string, about?: About)
    readonly code: 'ERR_TIMEOUT'
  }
  /** The task was cancelled, by whomever; the message has the reason. */
  class CancelledError extends DothisError {
    constructor(message: string, about?: About)
    readonly code: 'ERR_CANCELLED'
  }
  /** What was passed in is wrong; Redis was not touched. */
  class ArgsError extends DothisError {
    constructor(message: string, about?: About)
    readonly code: 'ERR_ARGS'
  }
  /** Redis was not reached in time. */
  class ConnectionError extends DothisError {
    constructor(message: string, about?: About)
    readonly code: 'ERR_CONNECTION'
  }
  /** Redis answered, and refused: out of memory, no permission, a key of another type. */
  class RefusedError extends DothisError {
    constructor(message: string, about?: About)
    readonly code: 'ERR_REFUSED'
  }
  /** The client is closed, or was before the call was through. */
  class ClosedError extends DothisError {
    constructor(message: string, about?: About)
    readonly code: 'ERR_CLOSED'
  }
  /** The reason of a running task's signal: it is not this worker's any more. */
  class LostError extends DothisError {
    constructor(message: string, about?: About)
    readonly code: 'ERR_LOST'
  }
  /** For handlers to throw: the task failed, and trying it again would not help. */
  class NonRetryableError extends DothisError {
    constructor(message: string, about?: About)
    readonly code: 'ERR_NON_RETRYABLE'
  }
}

export = dothis
