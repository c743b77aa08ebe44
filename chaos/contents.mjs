// What a queue holds in Redis when all is over.

import { connect } from '../__test__/support/resp.mjs'

const FIELDS = [
  'state',
  'result',
  'result-value',
  'error-reason',
  'cancelled',
  'attempt',
  'lost',
  'cancel',
  'reply-to',
]
const CHUNK = 200

/** { pending, executing, due, workers, others, tasks: Map of id → fields, `owned` and `ttl` } */
export async function contents(url, queue) {
  const raw = await connect(url)
  const keys = await scan(raw, queue)
  const prefix = `${queue}:task:`
  const named = keys.filter((key) => key.startsWith(prefix))
  const tasks = new Map()
  for (let at = 0; at < named.length; at += CHUNK) {
    const some = named.slice(at, at + CHUNK)
    const hashes = raw.pipeline(some.map((key) => ['HMGET', key, ...FIELDS]))
    const names = raw.pipeline(some.map((key) => ['HKEYS', key]))
    const ttls = raw.pipeline(some.map((key) => ['PTTL', key]))
    const [values, fields, lives] = await Promise.all([hashes, names, ttls])
    some.forEach((key, n) => {
      const pairs = FIELDS.map((field, index) => [field, values[n][index]])
      const owned = fields[n].some((name) => name.startsWith('owner:'))
      // One that is kept for a while only may have gone meanwhile.
      if (lives[n] === -2) return
      tasks.set(key.slice(prefix.length), { ...Object.fromEntries(pairs), owned, ttl: lives[n] })
    })
  }
  const found = {
    tasks,
    pending: await raw.send('LRANGE', `${queue}:pending`, 0, -1),
    executing: await raw.send('LRANGE', `${queue}:executing`, 0, -1),
    due: await raw.send('ZRANGE', `${queue}:due`, 0, -1),
    workers: await raw.send('ZRANGE', `${queue}:workers`, 0, -1),
    others: keys.filter((key) => !key.startsWith(prefix) && !key.startsWith(`${queue}:sent:`)),
  }
  raw.close()
  return found
}

async function scan(raw, queue) {
  const keys = new Set()
  let cursor = '0'
  do {
    const [next, some] = await raw.send('SCAN', cursor, 'MATCH', `${queue}:*`, 'COUNT', 1_000)
    for (const key of some) keys.add(key)
    cursor = next
  } while (cursor !== '0')
  return [...keys]
}
