// npm run quickstart: prepares everything, brings a Redis, and runs the first example against it.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { useRedis } from './redis.mjs'
import { orExplain, root, setup } from './setup.mjs'

await orExplain(async () => {
  setup()
  const redis = await useRedis()
  try {
    const env = { ...process.env, DOTHIS_REDIS_URL: redis.url }
    const example = spawn(process.execPath, ['examples/quickstart.mjs'], { cwd: root, stdio: 'inherit', env })
    const [code] = await once(example, 'exit')
    process.exitCode = code ?? 1
  } finally {
    await redis.stop()
  }
})
