// Runs `tasks` tasks that do nothing, then closes.

import dothis from '../index.mjs'
import { measure } from './report.mjs'

const { url, queue, tasks, concurrency } = JSON.parse(process.argv[2])
const client = dothis(url, queue)
const report = measure()
let firstTaken
let handled = 0

let allHandled
const done = new Promise((resolve) => {
  allHandled = resolve
})

const handlers = {
  async add({ a, b }) {
    firstTaken ??= performance.now()
    if (++handled === tasks) allHandled()
    return a + b
  },
}
const worker = client.work(handlers, { concurrency })
await done
// Handled is not settled: close() returns when the last result is in Redis.
await worker.close()
const seconds = (performance.now() - firstTaken) / 1000
await client.close()
report({ seconds })
