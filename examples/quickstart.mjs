// What `npm run quickstart` shows: the Express app and a worker, each in a process of its own, and some requests.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const REQUESTS = 1_000
const queue = `quickstart-${process.pid}`
const env = { ...process.env, DOTHIS_QUEUE: queue, PORT: '0' }
const running = new Set()
let quiet = false

console.log(`Redis is at ${env.DOTHIS_REDIS_URL}, the queue is called "${queue}".\n`)
const app = start('app', 'express/app.mjs')
const worker = start('worker', 'express/worker.mjs')
const [[listening]] = await Promise.all([app.ready, worker.ready])
const base = listening.match(/http:\S+/)[0]

console.log('\nThe app enqueues a task and answers with its id; the worker runs it meanwhile:')
const { id } = await ask('POST', '/add', { a: 1, b: 5 })
let task
do task = await request('GET', `/tasks/${id}`)
while (task.body.state !== 'finished')
show('GET', `/tasks/${id}`, undefined, task)

console.log('\nOr it waits for the result:')
await ask('POST', '/add?wait=1', { a: 2, b: 3 })

console.log('\nMistakes are answered, too:')
await ask('POST', '/add', { a: 'one' })
await ask('GET', '/tasks/unknown')

console.log(`\n${REQUESTS} requests at once, each waiting for its own sum:`)
quiet = true
const began = performance.now()
const sums = await Promise.all(
  Array.from({ length: REQUESTS }, (_, n) => request('POST', '/add?wait=1', { a: n, b: 1 })),
)
const took = Math.round(performance.now() - began)
const right = sums.filter(({ body }, n) => body.value === n + 1).length
console.log(`  ${right} sums are right, after ${took} ms`)

for (const { child } of [app, worker]) {
  running.delete(child)
  child.kill('SIGTERM')
  await once(child, 'exit')
}
console.log('\nBoth processes have ended. Their code is in examples/express/; README.md goes on from here.')
process.exitCode = right === REQUESTS ? 0 : 1

/** Starts a program whose first line says that it is ready. */
function start(name, file) {
  const path = fileURLToPath(new URL(file, import.meta.url))
  const child = spawn(process.execPath, [path], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  running.add(child)
  child.once('exit', (code, signal) => {
    if (!running.has(child)) return
    console.error(`The ${name} has ended with ${signal ?? `code ${code}`}.`)
    process.exit(1)
  })
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => quiet || console.log(`  [${name}] ${line}`))
  return { child, ready: once(lines, 'line') }
}

process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

async function ask(method, path, body) {
  const answer = await request(method, path, body)
  show(method, path, body, answer)
  return answer.body
}

async function request(method, path, body) {
  const response = await fetch(base + path, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return { status: response.status, body: await response.json() }
}

function show(method, path, body, answer) {
  console.log(`  ${method} ${path} ${body ? JSON.stringify(body) : ''}`.trimEnd())
  const text = JSON.stringify(answer.body, null, Object.keys(answer.body).length > 2 ? 2 : 0)
  console.log(`    → ${answer.status} ${text.replaceAll('\n', '\n      ')}`)
}
