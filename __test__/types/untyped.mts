// Without an interface of functions everything is untyped, and works. Compiled, never run.

import dothis, { type ArgsError, type TimeoutError } from '../../index.mjs'

const client = dothis()
const sum: number = await client.call('add', { a: 1, b: 2 })
const task = await client.enqueue('anything', { at: new Date() })
const value: string = await task.result()
await client.enqueueMany([{ function: 'x' }, { function: 'y', args: { a: 1 } }])
client.work({
  add: ({ a, b }) => a + b,
  async other(args, task) {
    return [args, task.id]
  },
})
client.on('success', (result, found) => [result, found?.['result-value']])
client.task('add', { a: 1 }, (error, result, found) => [error, result, found])
client.gettask('id', (error, found) => [error, found?.state])
const codes: string[] = [new Error() as ArgsError, new Error() as TimeoutError].map((error) => error.code)

// @ts-expect-error a name is a string
await client.call(5)
// @ts-expect-error an id is a string
await client.result(5)
// @ts-expect-error a port is no URL
dothis(6379)

export { codes, sum, value }
