// A process that puts tasks in, in one of three ways: one by one, many at a time, or awaiting each result.

import { argsOf, options, ready, report, startMeter } from './child.mjs'

const MANY = 1_000
const MANY_BYTES = 2 ** 21

const { adapter, way, inFlight, warmUp, tasks, payload } = options
const { openProducer } = await import(`./queues/${adapter}.mjs`)
const producer = await openProducer(options)
const text = 'x'.repeat(payload)

const ways = {
  one: ({ from, count }) => keepInFlight(inFlight, count, (i) => producer.enqueue(argsOf(from + i, text))),
  many: enqueueMany,
  awaited: callAll,
}
// Connections are made, a worker is there, and most code has been compiled before anything is timed.
if (warmUp.count) await ways[way](warmUp)
await ready()
const meter = startMeter()
const latencies = await ways[way](tasks)
const spent = meter()
await producer.close()
report({ ...spent, ...latencies })

async function enqueueMany({ from, count }) {
  const size = Math.max(1, Math.min(MANY, Math.floor(MANY_BYTES / (payload || 1))))
  for (let done = 0; done < count; done += size) {
    const length = Math.min(size, count - done)
    await producer.enqueueMany(Array.from({ length }, (_, i) => argsOf(from + done + i, text)))
  }
}

async function callAll({ from, count }) {
  const taken = new Float64Array(count)
  await keepInFlight(inFlight, count, async (i) => {
    const args = argsOf(from + i, text)
    const started = performance.now()
    const sum = await producer.call(args)
    taken[i] = performance.now() - started
    if (sum !== args.a + args.b) throw new Error(`${args.a} + ${args.b} came back as ${sum}`)
  })
  taken.sort()
  const percentile = (p) => taken[Math.ceil((p / 100) * count) - 1]
  return { p50: percentile(50), p99: percentile(99) }
}

async function keepInFlight(limit, count, act) {
  let next = 0
  async function lane() {
    while (next < count) await act(next++)
  }
  await Promise.all(Array.from({ length: limit }, lane))
}
