// A process that runs `warmUp` and `tasks` tasks, and knows that it ran each of them once. Measured is from the
// first that is no warm-up until the last is settled in Redis.

import { options, ready, report, startMeter } from './child.mjs'
import { countdown } from './countdown.mjs'

const { adapter, tasks, warmUp, held, lag } = options
const { startWorker } = await import(`./queues/${adapter}.mjs`)

const total = warmUp + tasks
const timesRun = new Uint8Array(total)
const arrived = countdown(total)
let meter

function arrive(n) {
  timesRun[n]++
  if (n >= warmUp) meter ??= startMeter({ lag })
  arrived.one()
}

async function add({ a, b }) {
  arrive(a)
  return a + b
}

// Keeps that many tasks executing: each one beyond ends one, picked at random, as real ones end in any order.
const ends = []
function addHeld({ a, b }) {
  arrive(a)
  return new Promise((resolve) => {
    ends.push(() => resolve(a + b))
    if (ends.length <= held) return
    const at = Math.floor(Math.random() * ends.length)
    const end = ends[at]
    ends[at] = ends.at(-1)
    ends.pop()
    end()
  })
}

await ready()
const holds = held !== undefined
const worker = await startWorker({ ...options, tasks: total, handler: holds ? addHeld : add })
await arrived.all
// While tasks are held, the number that executes is steady only until no more come.
const steady = holds && meter()
for (const end of ends.splice(0)) end()
await worker.settled()
const spent = steady || meter()
const wrong = timesRun.findIndex((times) => times !== 1)
if (wrong !== -1) throw new Error(`task ${wrong} was run ${timesRun[wrong]} times`)
await worker.close()
report(spent)
