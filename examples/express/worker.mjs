// The side that runs the tasks. Start as many of these as you like, on as many machines.

import dothis from 'dothis'

/** @type {import('dothis').Client<import('./functions.d.ts').Functions>} */
const client = dothis(process.env.DOTHIS_REDIS_URL, process.env.DOTHIS_QUEUE)
client.once('connected', () => console.log(`ready, process ${process.pid}`))

client.work(
  {
    async add({ a, b }) {
      console.log(`add ${a} and ${b}`)
      return a + b
    },
  },
  { concurrency: 100 },
)

// Let what runs finish, and hand back what has not begun.
process.once('SIGTERM', () => client.close({ timeout: 10_000 }).then(() => process.exit(0)))
