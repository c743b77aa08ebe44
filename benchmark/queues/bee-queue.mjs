import BeeQueue from 'bee-queue'
import { countdown } from '../countdown.mjs'

export const can = ['one', 'many', 'awaited']

// Fast, as its README has it under "Settings": whatever a queue does not need is off.
const fastProducer = (awaits) => ({ isWorker: false, getEvents: awaits, sendEvents: false, storeJobs: false })
const fastWorker = (awaits) => ({
  getEvents: false,
  sendEvents: awaits,
  storeJobs: false,
  removeOnSuccess: true,
  removeOnFailure: true,
})

export async function openProducer({ url, queue: name, setting, awaits }) {
  const queue = new BeeQueue(name, { redis: url, ...(setting === 'fast' && fastProducer(awaits)) })
  await queue.ready()
  // README's job.on('succeeded') loses a result that arrives before save() has given the job its id. The queue's
  // own events lose none, if those that come early are kept.
  const waiting = new Map()
  const early = new Map()
  if (awaits) {
    queue.on('job succeeded', (id, result) => {
      const resolve = waiting.get(id)
      if (!resolve) return early.set(id, result)
      waiting.delete(id)
      resolve(result)
    })
  }
  return {
    enqueue: (args) => queue.createJob(args).save(),
    async enqueueMany(many) {
      const errors = await queue.saveAll(many.map((args) => queue.createJob(args)))
      for (const error of errors.values()) throw error
    },
    async call(args) {
      const { id } = await queue.createJob(args).save()
      if (!early.has(id)) return await new Promise((resolve) => waiting.set(id, resolve))
      const result = early.get(id)
      early.delete(id)
      return result
    },
    close: () => queue.close(),
  }
}

export async function startWorker({ url, queue: name, setting, awaits, concurrency, tasks, handler }) {
  const queue = new BeeQueue(name, { redis: url, ...(setting === 'fast' && fastWorker(awaits)) })
  const settled = countdown(tasks)
  queue.on('succeeded', settled.one)
  queue.on('failed', (_, error) => settled.fail(error))
  queue.on('error', settled.fail)
  await queue.ready()
  queue.process(concurrency, (job) => handler(job.data))
  return { settled: () => settled.all, close: () => queue.close() }
}

export const unfinished = (queue) => [
  ['LLEN', `bq:${queue}:waiting`],
  ['LLEN', `bq:${queue}:active`],
]
