// The same from CommonJS. Compiled, never run.

import dothis = require('../../index.js')

const client: dothis.Client = dothis('redis://127.0.0.1:6379')
const options: dothis.WorkerOptions = { concurrency: 5 }
const worker: dothis.Worker = client.work({ add: ({ a, b }) => a + b }, options)
const failed = (error: unknown) => error instanceof dothis.TaskFailedError && error.exception

// @ts-expect-error there is no such class
dothis.NoSuchError

export = { failed, worker }
