// A client process: node client.mjs '{ url, queue, log, … }'. Puts tasks in, waits and cancels, until it is told to
// stop; ends once all that it waits for is settled. Notes what it asked for and what it was told.

import { setTimeout } from 'node:timers/promises'
import dothis from '../index.mjs'
import { brief, kinds } from './kinds.mjs'
import { openLog } from './log.mjs'
import { Random } from './random.mjs'

const { url, queue, log, index, clients, seed, perSecond } = JSON.parse(process.argv[2])
const note = openLog(log)
const random = new Random(seed)
const client = dothis({ url, queue, commandTimeout: 3_000 })

const BURST_MS = 50
/** So many at once that handlers which end at once have more to do for a while. */
const FLOOD = 400
/** ... and so many that their args are read by themselves for a while. */
const LONG = 50
/** More than that open, and a client pauses: the queue is not to grow without end while Redis is away. */
const MOST_OPEN = 3_000
const open = new Set()
let count = 0
let waits = 0
let stopped = false

process.on('message', () => {
  stopped = true
})
process.on('disconnect', () => process.exit(1))
process.send('ready')

while (!stopped) {
  const tasks = (perSecond * BURST_MS) / 1_000
  if (random.chance(0.01)) track(putMany(FLOOD, ['plain']))
  else if (random.chance(0.005)) track(putMany(LONG, ['bigArgs']))
  else if (random.chance(0.1)) track(putMany(Math.ceil(tasks), ['plain', 'retry', 'delayed', 'removed']))
  else for (let n = 0; n < tasks; n++) track(put())
  if (random.chance(0.3)) track(cancel(someId()))
  if (random.chance(0.2)) track(wait(someId(), { timeout: random.int(100, 10_000) }))
  await setTimeout(BURST_MS)
  while (open.size > MOST_OPEN && !stopped) await setTimeout(BURST_MS)
}
while (open.size > 0) await Promise.all(open)
note('settled')
await client.close()
process.removeAllListeners('disconnect')
process.disconnect()

function track(promise) {
  open.add(promise)
  promise.then(() => open.delete(promise))
}

function make(kind) {
  const id = `${index}-${++count}`
  const { args, options = {} } = kinds[kind].make(random)
  note('put', { id, kind, args: brief(args), options })
  return { id, kind, args, options }
}

async function put() {
  const { id, kind, args, options } = make(random.weighted(kinds))
  const how = random.int(1, 10)
  if (how <= 5) return await enqueue(id, kind, args, options, how <= 2)
  const { timeout: attemptTimeout, ...rest } = options
  const waiting = random.pick([
    {},
    {},
    {},
    { timeout: random.int(50, 2_000) },
    { timeout: random.int(50, 2_000), onTimeout: 'cancel' },
  ])
  // Whoever gives up so cancels.
  if (waiting.onTimeout) note('cancel', { id })
  await settle(id, 'call', waiting, client.call(kind, args, { id, attemptTimeout, ...rest, ...waiting }))
}

async function enqueue(id, kind, args, options, awaited) {
  try {
    const task = await client.enqueue(kind, args, { id, ...options })
    note('acknowledged', { id, created: task.created })
  } catch (error) {
    note('refused', { id, code: error.code })
    // Made again it does no harm, unless it has left nothing behind by which it is known.
    if (!options.removeOnSuccess && random.chance(0.7) && !stopped) {
      return await enqueue(id, kind, args, options, awaited)
    }
    return
  }
  if (awaited && !options.removeOnSuccess) await wait(id, {})
}

async function putMany(many, among) {
  const tasks = Array.from({ length: many }, () => make(random.pick(among)))
  const entries = tasks.map(({ id, kind, args, options }) => ({ function: kind, args, id, ...options }))
  try {
    for (const { id, created } of await client.enqueueMany(entries)) note('acknowledged', { id, created })
  } catch (error) {
    for (const { id } of tasks) note('refused', { id, code: error.code })
  }
}

async function wait(id, options) {
  await settle(id, 'result', options, client.result(id, options))
}

async function settle(id, by, options, promise) {
  const wait = { wait: ++waits, id, by, limited: options.timeout !== undefined }
  note('wait', wait)
  try {
    const value = await promise
    note('settled wait', { ...wait, value })
  } catch (error) {
    note('settled wait', { ...wait, code: error.code, reason: error.reason ?? error.message })
  }
}

async function cancel(id) {
  note('cancel', { id })
  await client.cancel(id, 'by chance').catch(({ code }) => note('cancel refused', { id, code }))
}

/** A task of any client, which is there or not. */
function someId() {
  return `${random.int(1, clients)}-${Math.max(1, count - random.int(-20, 200))}`
}
