/**
 * The whole contents of Redis under a queue's name, for assertions on everything that a step has left there:
 *
 *   { pending: { list: ['1'] }, 'task:1': { hash: { state: 'pending', … } } }
 *
 * Keys come without the queue's name, in order; a key that has a time to live says `expires: true`. Times, UUIDs and
 * addresses differ in every run, so they read `<time>`, `<uuid>` and `<address>`; `mask: (text) => text` shows them
 * as they are.
 *
 * The books that clients and workers keep for themselves are left out: `sent:*`, which lasts a day whatever comes of
 * the tasks, and `workers`, which changes once a second. `books: true` shows them, too; what is to be in them is
 * checked in books.test.mjs.
 */
export async function snapshot(redis, queue, { mask = maskTimesAndIds, books = false } = {}) {
  const found = {}
  for (const key of (await keysOf(redis, queue)).sort()) {
    if (!books && BOOKS.test(key.slice(queue.length + 1))) continue
    const type = await redis.send('TYPE', key)
    const name = mask(key.slice(queue.length + 1))
    if (name in found) throw new Error(`two keys read ${name}: give these tasks ids of their own`)
    const content = type === 'none' ? null : await readers[type](redis, key)
    // Redis has no empty lists, sets and hashes: it has gone while this looked.
    if (content === null || (typeof content === 'object' && Object.keys(content).length === 0)) continue
    found[name] = { [type]: maskWithin(content, mask) }
    if ((await redis.send('PTTL', key)) >= 0) found[name].expires = true
  }
  return found
}

const BOOKS = /^(sent:.*|workers)$/s

export function maskTimesAndIds(text) {
  return text
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/g, '<time>')
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/gi, '<uuid>')
    .replace(/^[0-9a-f]{12}$/, '<address>')
}

const readers = {
  string: (redis, key) => redis.send('GET', key),
  list: (redis, key) => redis.send('LRANGE', key, 0, -1),
  hash: async (redis, key) => pairs(await redis.send('HGETALL', key)),
  set: async (redis, key) => (await redis.send('SMEMBERS', key)).sort(),
  zset: async (redis, key) => pairs(await redis.send('ZRANGE', key, 0, -1, 'WITHSCORES')),
  stream: (redis, key) => redis.send('XRANGE', key, '-', '+'),
}

async function keysOf(redis, queue) {
  const pattern = `${queue.replace(/[\\*?[\]]/g, '\\$&')}:*`
  const keys = new Set()
  let cursor = '0'
  do {
    const [next, some] = await redis.send('SCAN', cursor, 'MATCH', pattern, 'COUNT', 1000)
    for (const key of some) keys.add(key)
    cursor = next
  } while (cursor !== '0')
  return [...keys]
}

function pairs(flat) {
  const entries = []
  for (let i = 0; i < flat.length; i += 2) entries.push([flat[i], flat[i + 1]])
  return Object.fromEntries(entries)
}

function maskWithin(value, mask) {
  if (typeof value === 'string') return mask(value)
  if (Array.isArray(value)) return value.map((item) => maskWithin(item, mask))
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [mask(name), maskWithin(item, mask)]))
}
