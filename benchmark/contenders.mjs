// Who is compared: each queue in its fast setting, which its documentation recommends, and in its default one.
// dothis has one setting. What the settings are is said in queues/.

const CONTENDERS = [
  { name: 'dothis', adapter: 'dothis', setting: 'default' },
  { name: 'bullmq', adapter: 'bullmq', setting: 'fast' },
  { name: 'bee-queue', adapter: 'bee-queue', setting: 'fast' },
  { name: 'groupmq', adapter: 'groupmq', setting: 'fast' },
  { name: 'redis', adapter: 'redis', setting: 'default' },
  { name: 'bullmq-default', adapter: 'bullmq', setting: 'default' },
  { name: 'bee-queue-default', adapter: 'bee-queue', setting: 'default' },
  { name: 'groupmq-default', adapter: 'groupmq', setting: 'default' },
]

export const names = CONTENDERS.map(({ name }) => name)

/** What a table calls it. */
export const titles = {
  dothis: 'dothis',
  bullmq: 'BullMQ',
  'bee-queue': 'bee-queue',
  groupmq: 'GroupMQ',
  redis: 'Redis alone',
  'bullmq-default': 'BullMQ, defaults',
  'bee-queue-default': 'bee-queue, defaults',
  'groupmq-default': 'GroupMQ, defaults',
}

export const isPeer = (name) => name !== 'dothis' && name !== 'redis'

/** Loads them only now: before, their packages may not be installed. */
export async function contenders() {
  return await Promise.all(
    CONTENDERS.map(async (contender) => {
      if (contender.adapter === 'redis') return { ...contender, can: ['one', 'many', 'awaited'] }
      const { can, unfinished } = await import(`./queues/${contender.adapter}.mjs`)
      return { ...contender, can, unfinished }
    }),
  )
}
