// A thread that deletes a key once a handler blocks, sees it come back, and wakes it at `shared`.

import { workerData } from 'node:worker_threads'
import { until } from './open.mjs'
import { connect } from './resp.mjs'

const { url, key, shared } = workerData
const raw = await connect(url)
await until(() => Atomics.load(shared, 1) === 1, 'the handler blocks')
await raw.send('DEL', key)
await until(async () => (await raw.send('EXISTS', key)) === 1, 'the key comes back')
raw.close()
Atomics.store(shared, 0, 1)
Atomics.notify(shared, 0)
