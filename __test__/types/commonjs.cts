// The same from CommonJS, together with Node's own types. Compiled, never run.

import { on, once } from 'node:events'
import { readFileSync } from 'node:fs'

import dothis = require('dothis')

interface Functions {
  add(args: { a: number; b: number }): number
}

const client: dothis.Client<Functions> = dothis<Functions>({ tls: { ca: readFileSync('ca.pem') } })
const options: dothis.WorkerOptions = { concurrency: 5 }
const worker: dothis.Worker<Functions> = client.work(
  {
    async add({ a, b }, { signal }) {
      await fetch('http://localhost', { signal })
      return a + b
    },
  },
  options,
)
const controller = new AbortController()
const sum: Promise<number> = client.call('add', { a: 1, b: 2 }, { signal: controller.signal })
const failed = (error: unknown) => error instanceof dothis.TaskFailedError && error.exception

// Clients and workers are Node's event emitters.
const emitters: NodeJS.EventEmitter[] = [client, worker]
const connected = once(client, 'connected', { signal: controller.signal })
const dropped = on(worker, 'dropped')

// @ts-expect-error a missing argument
client.call('add', { a: 1 })
// @ts-expect-error there is no such class
dothis.NoSuchError
// @ts-expect-error a PEM text is no number
dothis({ tls: { ca: 5 } })

export = { connected, dropped, emitters, failed, sum, worker }
