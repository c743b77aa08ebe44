// The worker of a soak: node soak-worker.mjs '{ url, queue, resultTtl }'.

import dothis from '../index.mjs'

const { url, queue, resultTtl } = JSON.parse(process.argv[2])
const client = dothis(url, queue)
client.work({ echo: ({ text }) => text.length }, { concurrency: 100, resultTtl })

process.on('message', () => process.send({ rss: process.memoryUsage.rss() }))
process.on('disconnect', () => process.exit(1))
process.once('SIGTERM', async () => {
  await client.close()
  process.removeAllListeners('disconnect')
  process.disconnect()
})
process.send('ready')
