// What an interface of functions ties together. Compiled, never run.

import dothis, { type Client, type Handlers, type Task, TaskFailedError } from '../../index.mjs'

interface Functions {
  add(args: { a: number; b: number }): number
  fetch(args: { url: string; retries?: number }): Promise<{ status: number }>
  search(args: { text?: string }): string[]
  ping(): string
}

const client: Client<Functions> = dothis<Functions>('redis://127.0.0.1:6379', 'q')
dothis<Functions>({ url: 'rediss://host', queue: 'q', tls: { ca: 'pem' }, commandTimeout: 1_000 })

// What compiles.

const sum: number = await client.call(
  'add',
  { a: 1, b: 2 },
  { timeout: 5_000, signal: AbortSignal.timeout(1) },
)
const page: { status: number } = await client.call('fetch', { url: 'x' })
const found: string[] = await client.call('search')
const pong: string = await client.call('ping')
const task: Task<number> = await client.enqueue('add', { a: 1, b: 2 }, { id: 'mine' })
const later: number = await task.result({ timeout: 1 })
await client.enqueueMany([{ function: 'add', args: { a: 1, b: 2 } }, { function: 'ping' }])
const viaOriginal: number = await client.task('add', { a: 1, b: 2 }, (error, result) => [error, result])
const byId: unknown = await client.result('id')
const created: Date | undefined = (await client.get('id'))?.createdAt

const worker = client.work({
  add: ({ a, b }, { signal, attempt, id }) => (signal.aborted ? attempt : a + b + id.length),
  async fetch({ url, retries }) {
    return { status: url.length + (retries ?? 0) }
  },
})
worker.handle('ping', () => 'pong').handle('search', async ({ text }) => [text ?? ''])
worker.on('dropped', ({ id, why }) => [id.length, why.length])
const handlers: Handlers<Functions> = { ping: async () => 'pong' }
client.work(handlers, { concurrency: 100 })
await using disposable = client

try {
  await task.result()
} catch (error) {
  if (error instanceof TaskFailedError) error.reason.trim()
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
// @ts-expect-error an argument that there is not
await client.enqueue('ping', { a: 1 })
// @ts-expect-error another result
const wrong: string = await client.call('add', { a: 1, b: 2 })
// @ts-expect-error an option that there is not
await client.call('add', { a: 1, b: 2 }, { timeOut: 5 })
// @ts-expect-error an entry without its arguments
await client.enqueueMany([{ function: 'add' }])
// @ts-expect-error an entry of another function's arguments
await client.enqueueMany([{ function: 'add', args: { url: 'x' } }])
// @ts-expect-error a handler that returns something else
client.work({ add: () => 'three' })
// @ts-expect-error a handler for no function
client.work({ subtract: () => 1 })
// @ts-expect-error a handler that wants other arguments
client.work({ add: ({ c }: { c: number }) => c })
// @ts-expect-error a handler that returns something else
worker.handle('ping', () => 5)
// @ts-expect-error an option of another type
client.work({}, { concurrency: '100' })
// @ts-expect-error no event of that name
worker.on('finished', () => {})
// @ts-expect-error a client is made with dothis()
;new (client.constructor as typeof dothis.Client)()

export { byId, created, disposable, found, later, page, pong, sum, viaOriginal, wrong }
