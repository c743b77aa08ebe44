// Without an interface of functions everything is untyped, and works. Compiled, never run.

import dothis, { ArgsError, type Client, type ClientOptions, DothisError, TimeoutError } from 'dothis'

const options: ClientOptions = { url: 'redis://127.0.0.1:6379', maxArgsBytes: 1_000 }
const client: Client = dothis(options)

export const sum: number = await client.call('add', { a: 1, b: 2 })
interface Mail {
  to: string
}
const mail: Mail = { to: 'gregc' }
const task = await client.enqueue('send', mail)
export const value: string = await task.result()
export const byId: string = await client.result('id')
await client.call('now')
const tasks = await client.enqueueMany([{ function: 'x' }, { function: 'y', args: { at: new Date() } }])
export const many: number[] = await Promise.all(tasks.map((each) => each.result()))
export const a: number = (await client.get('id'))?.args.a

const worker = client.work({
  add: ({ a, b }) => a + b,
  async other(args, task) {
    return [args, task.id]
  },
})
worker.handle('later', () => {})
client.on('success', (result, found) => [result.length, found?.['result-value'].length])
client.task('add', { a: 1 }, (error, result, found) => [error, result, found])
client.task('now', (error, result) => [error, result])
client.gettask('id', (error, found) => [error, found?.state])

export const codes: string[] = [new ArgsError('no'), new TimeoutError('late', { taskId: '1' })].map(
  (error) => error.code,
)
export const isOurs = (error: unknown) => error instanceof DothisError && error.function

// @ts-expect-error a name is a string
await client.call(5)
// @ts-expect-error an id is a string
await client.result(5)
// @ts-expect-error a port is no URL
dothis(6379)
// @ts-expect-error an option that there is not
dothis({ uri: 'redis://127.0.0.1:6379' })
// @ts-expect-error there is no such error
dothis.NoSuchError
