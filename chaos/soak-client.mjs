// The client of a soak: node soak-client.mjs '{ url, queue, inFlight }'. Enqueues and waits as fast as it can; says how
// it stands when asked.

import dothis from '../index.mjs'

const { url, queue, inFlight } = JSON.parse(process.argv[2])
const client = dothis(url, queue)
let done = 0
let stopped = false

process.on('message', (message) => {
  if (message === 'stop') stopped = true
  else process.send({ rss: process.memoryUsage.rss(), done })
})
process.on('disconnect', () => process.exit(1))
process.send('ready')

await Promise.all(Array.from({ length: inFlight }, lane))
await client.close()
process.removeAllListeners('disconnect')
process.disconnect()

/** Both ways to a result, in turn: a call, and a task that is waited for once it is acknowledged. */
async function lane(_, number) {
  for (let turn = 0; !stopped; turn++) {
    const args = { text: `${number}-${turn}` }
    const length = turn % 2 ? await client.call('echo', args) : await waited(args)
    if (length !== args.text.length) throw new Error(`${length} for ${args.text}`)
    done++
  }
}

async function waited(args) {
  const task = await client.enqueue('echo', args)
  return await task.result()
}
