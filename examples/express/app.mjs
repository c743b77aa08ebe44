// The HTTP side. It puts tasks into the queue and answers with what comes back; a worker in another process runs them.

import dothis from 'dothis'
import express from 'express'

/** @type {import('dothis').Client<import('./functions.d.ts').Functions>} */
const client = dothis(process.env.DOTHIS_REDIS_URL, process.env.DOTHIS_QUEUE)
const timeout = Number(process.env.ANSWER_WITHIN ?? 30_000)

const app = express()
app.use(express.json())

// POST /add {"a": 1, "b": 5}           202 and the task's id, to ask for later
// POST /add?wait=1 {"a": 1, "b": 5}    200 and the sum
app.post('/add', async (request, response) => {
  const { a, b } = request.body ?? {}
  if (!Number.isFinite(a) || !Number.isFinite(b)) {
    return response.status(400).json({ error: 'a and b must be numbers' })
  }
  if (request.query.wait === '1') {
    const value = await client.call('add', { a, b }, { timeout })
    return response.json({ value })
  }
  const { id } = await client.enqueue('add', { a, b })
  response.status(202).location(`/tasks/${id}`).json({ id })
})

app.get('/tasks/:id', async (request, response) => {
  const task = await client.get(request.params.id)
  if (!task) return response.status(404).json({ error: `there is no task ${request.params.id}` })
  response.json(task)
})

// What dothis throws has a code that does not change.
const statusOf = {
  ERR_ARGS: 400, // the args are wrong, or too large
  ERR_TASK_FAILED: 500, // the handler threw
  ERR_CANCELLED: 500, // somebody cancelled the task
  ERR_CONNECTION: 503, // Redis is away …
  ERR_REFUSED: 503, // … or says no
  ERR_CLOSED: 503, // we are about to end
  ERR_TIMEOUT: 504, // no result in time
}
app.use((error, _request, response, next) => {
  const status = statusOf[error.code] ?? error.status
  if (!status) return next(error)
  response.status(status).json({ error: error.message })
})

const server = app.listen(process.env.PORT ?? 3000, () => {
  console.log(`listening on http://localhost:${server.address().port}`)
})

// Answer what has been asked, then let go of Redis: the process ends by itself.
process.once('SIGTERM', () => server.close(() => client.close()))
