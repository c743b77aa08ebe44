import { gate, until } from './open.mjs'
import { program } from './program.mjs'

/** A worker of this process whose only slot is taken until `open` is called, so that it does nothing but look around. */
export async function watching(client, options) {
  const { open: letGo, opened } = gate()
  const ran = []
  const run = (_, { id, attempt }) => {
    ran.push(attempt === 1 ? id : `${id}, attempt ${attempt}`)
    return 'here'
  }
  const worker = client.work({ watch: () => opened, hold: run }, { concurrency: 1, ...options })
  await client.enqueue('watch', {}, { id: 'watch' })
  await until(() => worker.health().running === 1, 'the watch runs')
  return { worker, open: letGo, ran }
}

const HOLDS = `
  const client = dothis(options.url, options.queue)
  client.work({
    hold(_, { id }) {
      say(id)
      return new Promise(() => {})
    },
  }, { concurrency: options.concurrency, heartbeatTimeout: 2000 })
`

/** A process that begins tasks and never ends one: as many as are expected, in that order. */
export async function holding(url, queue, expected) {
  const child = program(HOLDS, { url, queue, concurrency: expected.length })
  for (const id of expected) await child.waitForLine(id)
  return child
}
