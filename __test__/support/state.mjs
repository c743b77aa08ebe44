import { snapshot } from './index.mjs'
import { maskTimesAndIds } from './snapshot.mjs'

const BOOKKEEPING = /^(workers$|worker:|sent:)/

/**
 * A queue's tasks and lists, whole, as `snapshot` gives them: without what workers and clients keep for themselves.
 * Who owns a task differs in every run: the field `owner:<owner>`.
 */
export async function state(raw, queue) {
  // A queue has many workers and clients, whose keys must not read the same before they are left out.
  const mask = (text) =>
    BOOKKEEPING.test(text) ? text : maskTimesAndIds(text).replace(/<uuid>:\d+/, '<owner>')
  const found = await snapshot(raw, queue, { mask })
  return Object.fromEntries(Object.entries(found).filter(([name]) => !BOOKKEEPING.test(name)))
}

/** A task that a producer of dothis has put in and that waits. One that was lost is looked at more closely. */
export function pendingTask(name, fields = {}) {
  const lost = fields.lost === undefined ? {} : { options: '{}' }
  return {
    hash: { function: name, state: 'pending', args: '{}', 'pending-created': '<time>', ...lost, ...fields },
  }
}

/** The same once it has run. */
export function finishedTask(name, fields = {}) {
  const dates = { 'executing-created': '<time>', 'finished-created': '<time>' }
  const { hash } = pendingTask(name, { state: 'finished', result: 'successful', ...dates, ...fields })
  return { hash, expires: true }
}

/** Makes a task somebody else's, as if a reaper had put it back and another worker had taken it. */
export async function takeOver(raw, queue, id) {
  const key = `${queue}:task:${id}`
  const owners = (await raw.send('HKEYS', key)).filter((name) => name.startsWith('owner:'))
  await raw.send('HDEL', key, ...owners)
  await raw.send('HSET', key, 'owner:somebody else', '')
}

/** The ids in a list of a queue, in the order in which they were put in. */
export async function ids(raw, queue, list) {
  return (await raw.send('LRANGE', `${queue}:${list}`, 0, -1)).toReversed()
}
