// node wait.mjs <url> <queue> <id>: waits for a task of another process; prints `waiting`, then its result.

import dothis from '../../index.mjs'

const [url, queue, id] = process.argv.slice(2)
const client = dothis(url, queue)
const result = client.result(id)
await client.get('round trip')
console.log('waiting')
console.log(JSON.stringify(await result))
await client.close()
