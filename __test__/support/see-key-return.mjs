// A thread that deletes a key, sees it come back, and wakes whoever waits at `shared`.

import { workerData } from 'node:worker_threads'
import { until } from './open.mjs'
import { connect } from './resp.mjs'

const { url, key, queue, shared } = workerData
const raw = await connect(url)
await until(async () => (await raw.send('LLEN', `${queue}:executing`)) === 1, 'the handler blocks')
await raw.send('DEL', key)
await until(async () => (await raw.send('EXISTS', key)) === 1, 'the key comes back')
raw.close()
Atomics.store(shared, 0, 1)
Atomics.notify(shared, 0)
