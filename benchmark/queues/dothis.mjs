import dothis from '../../index.mjs'

export const can = ['one', 'many', 'awaited']

export function openProducer({ url, queue }) {
  const client = dothis(url, queue)
  return {
    enqueue: (args) => client.enqueue('add', args),
    enqueueMany: (many) => client.enqueueMany(many.map((args) => ({ function: 'add', args }))),
    call: (args) => client.call('add', args),
    close: () => client.close(),
  }
}

export function startWorker({ url, queue, concurrency, handler }) {
  const client = dothis(url, queue)
  const worker = client.work({ add: handler }, { concurrency })
  return {
    // There is no event for each task: close() returns when the last outcome is in Redis.
    settled: () => worker.close(),
    close: () => client.close(),
  }
}

export const unfinished = (queue) => [
  ['LLEN', `${queue}:pending`],
  ['LLEN', `${queue}:executing`],
]
