import { gate, until } from './open.mjs'

/** A worker of this process whose only slot is taken until `open` is called, so that it does nothing but look around. */
export async function watching(client, options) {
  const { open: letGo, opened } = gate()
  const ran = []
  const run = (_, { id, attempt }) => {
    ran.push(attempt === 1 ? id : `${id}, attempt ${attempt}`)
    return 'here'
  }
  const worker = client.work(
    { watch: () => opened, hold: run },
    { concurrency: 1, heartbeatTimeout: 1_000, ...options },
  )
  await client.enqueue('watch', {}, { id: 'watch' })
  await until(() => worker.health().running === 1, 'the watch runs')
  return { worker, open: letGo, ran }
}
