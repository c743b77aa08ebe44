// What an interface of functions ties together. Compiled, never run.

import dothis, {
  type Client,
  type Handlers,
  type NewTask,
  NonRetryableError,
  type Task,
  TaskFailedError,
} from 'dothis'

interface Functions {
  add(args: { a: number; b: number }): number
  fetch(args: { url: string; retries?: number }): Promise<{ status: number }>
  search(args: { text?: string }): string[]
  list(args?: { limit: number }): string[]
  ping(): string
  clean(args: { before: string }): void
}

const client: Client<Functions> = dothis<Functions>('redis://127.0.0.1:6379', 'q')
dothis<Functions>({ url: 'rediss://host', queue: 'q', tls: { ca: 'pem' }, commandTimeout: 1_000 })

// What compiles: calls …

export const sum: number = await client.call(
  'add',
  { a: 1, b: 2 },
  { timeout: 5_000, signal: AbortSignal.timeout(1) },
)
export const page: { status: number } = await client.call('fetch', { url: 'x' })
export const found: string[] = await client.call('search')
export const listed: string[] = await client.call('list')
export const pong: string = await client.call('ping')
await client.call('ping', {}, { timeout: 5 })
await client.call('ping', undefined, { timeout: 5 })
await client.call('clean', { before: '2015-12-05' })

// … handles …

const task: Task<number> = await client.enqueue('add', { a: 1, b: 2 }, { id: 'mine' })
export const later: number = await task.result({ timeout: 1 })

// … how a task is run, and until when …

const tomorrow = new Date(Date.now() + 86_400_000)
await client.enqueue(
  'add',
  { a: 1, b: 2 },
  { attempts: 3, backoff: [100, 1_000], timeout: 500, runAt: tomorrow },
)
await client.call(
  'add',
  { a: 1, b: 2 },
  { attempts: 3, attemptTimeout: 500, timeout: 5_000, onTimeout: 'cancel' },
)
await client.enqueueMany([
  {
    function: 'ping',
    delay: 5,
    expires: 500,
    resultTtl: null,
    backoff: { type: 'exponential', delay: 10, jitter: 0.5 },
  },
])
export const cancelled: boolean = await task.cancel('not needed any more')
export const cancelledToo: boolean = await client.cancel('id')

// … many at once: each handle knows its result …

const [first, second] = await client.enqueueMany([
  { function: 'add', args: { a: 1, b: 2 }, id: 'one' },
  { function: 'ping' },
])
export const two: [number, string] = [await first.result(), await second.result()]
const adds = await client.enqueueMany([1, 2, 3].map((a) => ({ function: 'add' as const, args: { a, b: a } })))
export const sums: number[] = await Promise.all(adds.map((each) => each.result()))
function* entries(): Generator<NewTask<Functions>> {
  yield { function: 'search', args: { text: 'x' } }
}
await client.enqueueMany(entries())

// … by id …

export const byId: number = await client.result<'add'>('id')
export const oneOfAll = await client.result('id')
const state = await client.get<'add'>('id')
export const sumSoFar: number | undefined = state?.value
export const created: Date | undefined = state?.createdAt
export const isFinished: boolean = state?.state === 'finished'
const any = await client.get('id')
export const argsOfAny: string | undefined = any && 'url' in any.args ? any.args.url : undefined
export const valueOfHandle: number | undefined = (await task.get())?.value
await client.result('id', { timeout: null })

// … the original's calls …

export const original: number = await client.task('add', { a: 1, b: 2 }, (error, result, hash) => {
  const value: number | null | undefined = result
  return [error, value, hash?.['result-value']]
})
client.task('ping', (_error, result: string | null | undefined) => result)
client.taskwithid('id', 'add', { a: 1, b: 2 })

// … workers …

const worker = client.work({
  add: ({ a, b }, { signal, attempt, id, args }) => (signal.aborted ? attempt : a + args.b + b + id.length),
  async fetch({ url, retries }) {
    return { status: url.length + (retries ?? 0) }
  },
  list: ({ limit }) => Array.from({ length: limit ?? 10 }, String),
})
worker.handle('ping', () => 'pong').handle('search', async ({ text }) => [text ?? ''])
worker.handle('clean', async (_args, { createdAt }) => {
  createdAt?.getTime()
})
worker.handle('clean', () => 5)
worker.handle('clean', async ({ before }) => before)
class Declined extends NonRetryableError {
  constructor(message: string) {
    super(message)
    this.name = 'Declined'
  }
}
client.work({}, { retryIf: (error) => !(error instanceof Declined) })
const handlers: Handlers<Functions> = { ping: async () => 'pong' }
client.work(handlers, { concurrency: 100 })

// … events, errors and endings.

client.on('connected', () => {}).once('disconnected', (reason) => reason.trim())
worker.on('dropped', ({ id, why }) => [id.length, why.length]).off('closed', () => {})
try {
  await task.result()
} catch (error) {
  if (error instanceof TaskFailedError) {
    const code: 'ERR_TASK_FAILED' = error.code
    console.log(code, error.reason.trim(), error.exception?.trim(), error.taskId)
  }
}
export async function scoped() {
  await using ours = dothis<Functions>()
  await using theirs = ours.work({ ping: () => 'pong' })
  return theirs.health().running
}

// What must not.

// @ts-expect-error no such function
await client.call('subtract', { a: 1, b: 2 })
// @ts-expect-error a missing argument
await client.call('add', { a: 1 })
// @ts-expect-error no arguments at all
await client.call('add')
// @ts-expect-error an argument of another type
await client.enqueue('add', { a: 1, b: '2' })
// @ts-expect-error one argument too many
await client.enqueue('add', { a: 1, b: 2, c: 3 })
// @ts-expect-error an argument to a function without
await client.enqueue('ping', { a: 1 })
// @ts-expect-error positional arguments
await client.call('add', [1, 2])
// @ts-expect-error another result
export const wrong: string = await client.call('add', { a: 1, b: 2 })
// @ts-expect-error another result
export const wrongLater: string = await task.result()
// @ts-expect-error an option that there is not
await client.call('add', { a: 1, b: 2 }, { timeOut: 5 })
// @ts-expect-error an option of a wait's
await client.enqueue('add', { a: 1, b: 2 }, { signal: AbortSignal.timeout(1) })
// @ts-expect-error a policy without a delay
await client.enqueue('add', { a: 1, b: 2 }, { attempts: 3, backoff: { type: 'fixed' } })
// @ts-expect-error a policy that there is not
await client.enqueue('add', { a: 1, b: 2 }, { backoff: { type: 'linear', delay: 5 } })
// @ts-expect-error nothing else can be done where a wait gives up
await client.call('add', { a: 1, b: 2 }, { onTimeout: 'retry' })
// @ts-expect-error an entry without its arguments
await client.enqueueMany([{ function: 'add' }])
// @ts-expect-error an entry with another function's arguments
await client.enqueueMany([{ function: 'add', args: { url: 'x' } }])
// @ts-expect-error an entry for no function
await client.enqueueMany([{ function: 'subtract', args: { a: 1, b: 2 } }])
// @ts-expect-error no such function
await client.result<'subtract'>('id')
// @ts-expect-error another result
export const wrongById: string = await client.result<'add'>('id')
// @ts-expect-error one result, where it may be any function's
export const wrongOfAll: number = await client.result('id')
// @ts-expect-error a missing argument
client.task('add', { a: 1 })
// @ts-expect-error a callback in place of arguments that are needed
client.task('add', () => {})
// @ts-expect-error a handler that returns something else
client.work({ add: () => 'three' })
// @ts-expect-error a handler that returns nothing
client.work({ add: async () => {} })
// @ts-expect-error a handler for no function
client.work({ subtract: () => 1 })
// @ts-expect-error a handler that wants other arguments
client.work({ add: ({ c }: { c: number }) => c })
// @ts-expect-error an optional argument taken for granted
client.work({ list: ({ limit }) => Array.from({ length: limit.valueOf() }, String) })
// @ts-expect-error a handler that returns something else
worker.handle('ping', () => 5)
// @ts-expect-error a handler for no function
worker.handle('subtract', () => 5)
// @ts-expect-error an option of another type
client.work({}, { concurrency: '100' })
// @ts-expect-error no event of that name
worker.on('finished', () => {})
// @ts-expect-error what the event does not bring
client.on('connected', (_url: string) => {})
// @ts-expect-error a client is made with dothis()
new dothis.Client()
// @ts-expect-error functions take one object of named arguments
dothis<{ add(a: number, b: number): number }>()
