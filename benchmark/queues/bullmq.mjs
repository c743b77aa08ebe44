import { Queue, QueueEvents, Worker } from 'bullmq'
import { countdown } from '../countdown.mjs'

export const can = ['one', 'many', 'awaited']

// Fast, as its guide has it under "Auto-removal of jobs": nothing is kept, or, where results are awaited, as many
// as waitUntilFinished may come late for. Locks and stalled checks stay on, as they do in ours.
const KEPT_FOR_WAITS = 10_000

export async function openProducer({ url, queue: name, awaits }) {
  const connection = { url }
  const queue = new Queue(name, { connection })
  // From the first event on: the default is those from when its first XREAD is through, which comes after
  // waitUntilReady(), and a wait whose event falls in between never ends.
  const events = awaits && new QueueEvents(name, { connection, lastEventId: '0-0' })
  // Each wait listens to the queue's 'closing'; Node would warn about the eleventh.
  queue.setMaxListeners(0)
  await queue.waitUntilReady()
  await events?.waitUntilReady()
  return {
    enqueue: (args) => queue.add('add', args),
    enqueueMany: (many) => queue.addBulk(many.map((data) => ({ name: 'add', data }))),
    async call(args) {
      const job = await queue.add('add', args)
      return await job.waitUntilFinished(events)
    },
    async close() {
      await events?.close()
      await queue.close()
    },
  }
}

export async function startWorker({ url, queue, setting, awaits, concurrency, tasks, handler }) {
  const kept = { count: awaits ? KEPT_FOR_WAITS : 0 }
  const worker = new Worker(queue, (job) => handler(job.data), {
    connection: { url },
    concurrency,
    autorun: false,
    ...(setting === 'fast' && { removeOnComplete: kept, removeOnFail: kept }),
  })
  const settled = countdown(tasks)
  worker.on('completed', settled.one)
  worker.on('failed', (_, error) => settled.fail(error))
  worker.on('error', settled.fail)
  await worker.waitUntilReady()
  worker.run().catch(settled.fail)
  return { settled: () => settled.all, close: () => worker.close() }
}

export const unfinished = (queue) => [
  ['LLEN', `bull:${queue}:wait`],
  ['LLEN', `bull:${queue}:active`],
]
