import { Queue, Worker } from 'groupmq'
import { Redis } from 'ioredis'
import { countdown } from '../countdown.mjs'

// It has no bulk call, and no way to await a result.
export const can = ['one']

// It runs one task of a group at a time, so that fewer groups than the worker's concurrency would idle its slots;
// with more it is slower, because it hands a slot that finishes a task the next one of the same group, and where
// there is none the slot may sleep. As many groups as slots is where it is fastest.
export function openProducer({ concurrency, ...options }) {
  const { redis, queue } = open(options)
  let next = 0
  return {
    enqueue: (data) => queue.add({ groupId: `group:${next++ % concurrency}`, data }),
    async close() {
      await queue.close()
      redis.disconnect()
    },
  }
}

export function startWorker({ concurrency, tasks, handler, ...options }) {
  const { redis, queue } = open(options)
  const worker = new Worker({ queue, concurrency, handler: (job) => handler(job.data) })
  const settled = countdown(tasks)
  worker.on('completed', settled.one)
  worker.on('failed', (job) => settled.fail(new Error(job.failedReason)))
  worker.on('error', settled.fail)
  worker.run().catch(settled.fail)
  return {
    settled: () => settled.all,
    async close() {
      await worker.close()
      redis.disconnect()
    },
  }
}

function open({ url, queue: namespace, setting }) {
  const redis = new Redis(url, { maxRetriesPerRequest: null })
  // Fast: tasks that are added at about the same time go to Redis together, which its types praise as "a huge
  // performance win". Everything else that costs time is off by default.
  const queue = new Queue({ redis, namespace, ...(setting === 'fast' && { autoBatch: true }) })
  return { redis, queue }
}

export const unfinished = (queue) => [
  ['ZCARD', `groupmq:${queue}:ready`],
  ['ZCARD', `groupmq:${queue}:processing`],
]
