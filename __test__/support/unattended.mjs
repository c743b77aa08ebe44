// node unattended.mjs <scenario> <url> <queue>: see ../unattended.test.mjs. Prints what came of it as JSON.

import { once } from 'node:events'
import dothis from '../../index.mjs'
import { connect } from './resp.mjs'

const [scenario, url, queue] = process.argv.slice(2)
const uncaught = []
const unhandled = []
process.on('uncaughtException', (error) => uncaught.push(error.message))
process.on('unhandledRejection', (error) => unhandled.push(error.code ?? error.message))

const client = dothis(url, queue)
const handlers = {
  echo: ({ value }) => value,
  fail() {
    throw new Error('failed')
  },
}
const throws = (message) => () => {
  throw new Error(message)
}

const scenarios = {
  async unattended() {
    client.work(handlers)
    client.task('fail', {})
    client.task('fail', [])
    client.task('', {})
    client.taskwithid('', 'fail', {})
    await new Promise((resolve) => client.task('fail', {}, resolve))
    const failure = once(client, 'failure')
    client.task('fail', {})
    const [exception] = await failure
    await client.close()
    client.task('fail', {})
    client.gettask('x', () => {})
    return { failure: exception.split('\n', 1)[0] }
  },

  async errors() {
    const raw = await connect(url)
    await raw.send('SET', `${queue}:pending`, 'no list')
    client.task('fail', {})
    const worker = client.work(handlers)
    // The worker cannot take anything: it says so, and goes on trying.
    await new Promise((resolve) => {
      worker.once('error', resolve)
    })
    const emitted = client.emit('error', new Error('nobody listens'))
    await raw.send('DEL', `${queue}:pending`)
    await client.call('echo', { value: 1 })
    raw.close()
    return { emitted }
  },

  async callbacks() {
    client.work(handlers)
    const results = []
    const called = [0, 1, 2, 3, 4, 5].map(
      (value) =>
        new Promise((resolve) => {
          client.task('echo', { value }, (_error, result) => {
            results.push(result)
            resolve()
            if (value % 2 === 0) throw new Error(`callback ${value}`)
          })
        }),
    )
    client.task('echo', [], throws('refused'))
    client.gettask('none', throws('gettask'))
    await Promise.all(called)
    await client.get('round trip')
    return { results: results.sort() }
  },

  async listeners() {
    client.once('connected', throws('connected'))
    const success = once(client, 'success')
    client.on('success', throws('success'))
    const worker = client.work({ run: () => 'ran' })
    const dropped = once(worker, 'dropped')
    worker.on('dropped', throws('dropped'))
    const raw = await connect(url)
    await raw.send('LPUSH', `${queue}:pending`, 'no such task')
    raw.close()
    await dropped
    const first = await client.call('run')
    await client.task('run')
    await success
    return { results: [first, await client.call('run')] }
  },

  async call() {
    client.work(handlers)
    client.call('fail')
    while (unhandled.length === 0) await client.call('echo', { value: 1 })
    return {}
  },

  async abort() {
    let aborted = 0
    let running = 0
    const worker = client.work({
      stuck: (_args, task) =>
        new Promise(() => {
          running++
          task.signal.addEventListener('abort', () => {
            aborted++
            if (aborted === 1) throw new Error('abort listener')
          })
        }),
      echo: handlers.echo,
    })
    await client.enqueueMany([{ function: 'stuck' }, { function: 'stuck' }])
    while (running < 2) await client.call('echo', { value: 1 })
    await worker.close({ timeout: 0 })
    return { aborted }
  },
}

const found = await scenarios[scenario]().catch((error) => {
  console.error(error)
  process.exit(1)
})
await client.close()
// What is reported, is reported before the loop's next turn.
await new Promise((resolve) => setImmediate(resolve))
uncaught.sort()
console.log(JSON.stringify({ uncaught, unhandled, ...found }))
