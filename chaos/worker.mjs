// A worker process: node worker.mjs '{ url, queue, log, … }'. Notes each run, apart from the queue.

import dothis from '../index.mjs'
import { kinds } from './kinds.mjs'
import { openLog } from './log.mjs'

const { url, queue, log, closeTimeout, options } = JSON.parse(process.argv[2])
const note = openLog(log)
let runs = 0

function noted(handler) {
  return async (args, task) => {
    const run = ++runs
    const { running, ready } = worker.health()
    const ahead = running === options.concurrency && ready > 0
    note('start', { run, id: task.id, attempt: task.attempt, ahead })
    task.signal.addEventListener('abort', () => note('abort', { run, code: task.signal.reason.code }))
    try {
      const value = await handler(args, task)
      note('returned', { run })
      return value
    } catch (error) {
      note('threw', { run })
      throw error
    }
  }
}

const handlers = Object.entries(kinds).map(([kind, { run }]) => [kind, noted(run)])
// The death of a worker by what it runs.
handlers.push(['poison', noted(() => process.kill(process.pid, 'SIGKILL'))])

const client = dothis({ url, queue })
const worker = client.work(Object.fromEntries(handlers), options)
note('worker', { id: worker.id })
worker.on('lost', ({ id }) => note('lost', { id }))
worker.on('dropped', (dropped) => note('dropped', dropped))
worker.on('recovered', (recovered) => note('recovered', recovered))
worker.on('error', (error) => note('error', { message: error.message }))

// The driver's end is ours, but not by way of a signal that a test would take for a close.
process.on('disconnect', () => process.exit(1))
process.once('SIGTERM', async () => {
  note('closing')
  try {
    await client.close({ timeout: closeTimeout })
    note('closed')
  } catch (error) {
    note('close failed', { message: error.message })
  }
  process.removeAllListeners('disconnect')
  process.disconnect()
})
process.send('ready')
