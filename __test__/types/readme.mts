// README's section on TypeScript, as it stands there.

import dothis from 'dothis'

export interface Functions {
  add(args: { a: number; b: number }): number
  resize(args: { url: string; width?: number }): { bytes: number }
  ping(): string
}

const client = dothis<Functions>('redis://127.0.0.1:6379')

client.work({
  add: ({ a, b }) => a + b,
  async resize({ url }, { signal }) {
    const response = await fetch(url, { signal })
    return { bytes: (await response.arrayBuffer()).byteLength }
  },
  ping: () => 'pong',
})

const sum: number = await client.call('add', { a: 1, b: 5 })
const task = await client.enqueue('resize', { url: 'https://example.com/a.png' })
const { bytes } = await task.result()
console.log(sum, bytes, await client.call('ping'))
await client.close()
