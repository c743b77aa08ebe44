// A chaos run, from its start to its account.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { connect } from '../__test__/support/resp.mjs'
import { account } from './account.mjs'
import { clocks } from './clock.mjs'
import { contents } from './contents.mjs'
import { faults } from './faults.mjs'
import { Fleet } from './fleet.mjs'
import { POISON_WORKERS, Poison } from './poison.mjs'
import { Random } from './random.mjs'
import { ChaosRedis } from './redis.mjs'

const QUEUE = 'chaos'
const POISON_QUEUE = 'chaos-poison'
/** How long everything may take to come to rest once nothing is broken any more. */
const REST_MS = 90_000
const LOOK_MS = 200

/**
 * Breaks things for so many seconds, lets everything come to rest, and gives { lines, violations }: what is to be
 * printed, and what must not be. `seed` repeats the same faults and the same tasks, though not their timing to the
 * millisecond. With `keep` its files stay, and the lines say where.
 */
export async function chaos({ seconds, seed, perSecond = 350, poison = 4, keep = false, say = () => {} }) {
  const dir = mkdtempSync(join(tmpdir(), 'dothis-chaos-'))
  const random = new Random(seed)
  const redis = await ChaosRedis.start([QUEUE, POISON_QUEUE])
  try {
    const makeClock = clocks(dir)
    if (!makeClock) say('clocks cannot be moved here')
    const fleet = new Fleet({ random: new Random(seed + 1), redis, queue: QUEUE, dir, makeClock })
    const poisoned = new Poison({ redis, queue: POISON_QUEUE, dir, count: poison })
    await fleet.start(perSecond)
    await poisoned.start()

    const inflicted = await inflict({ random, fleet, redis, say }, seconds)
    say('at rest from here on')
    fleet.heal()
    await fleet.reinforce()
    for (const client of fleet.clients) client.stop()
    const late = await rest(redis, fleet)
    await fleet.closeAll()
    await poisoned.close()

    const result = account({
      fleet,
      poisoned,
      late,
      redis,
      found: await contents(redis.url, QUEUE),
      foundPoison: await contents(redis.url, POISON_QUEUE),
    })
    const counts = Object.entries(inflicted).map(([name, count]) => `${name} ${count}`)
    result.lines.unshift(`seed ${seed}, ${seconds} s`, `faults: ${counts.join(', ')}`)
    return result
  } finally {
    await redis.stop()
    if (keep) say(`the logs are in ${dir}`)
    else rmSync(dir, { recursive: true, force: true })
  }
}

/** One fault after the other, at random; those that last go on beside the next. */
async function inflict(on, seconds) {
  const counts = {}
  const lasting = new Set()
  const end = performance.now() + seconds * 1_000
  while (performance.now() < end) {
    await setTimeout(on.random.int(50, 1_200))
    const name = on.random.weighted(faults)
    counts[name] = (counts[name] ?? 0) + 1
    on.say(name)
    // A stream of its own for each, so that how long one lasts does not change the next.
    const own = new Random(on.random.int(0, 2 ** 32))
    const fault = faults[name].inflict({ ...on, random: own })
    lasting.add(fault)
    fault.finally(() => lasting.delete(fault))
  }
  await Promise.all(lasting)
  return counts
}

/** Waits until nothing is under way any more; gives what still was after too long. */
async function rest(redis, fleet) {
  const raw = await connect(redis.url)
  const end = performance.now() + REST_MS
  let left
  do {
    await setTimeout(LOOK_MS)
    left = await underWay(raw, fleet)
  } while (left.length > 0 && performance.now() < end)
  raw.close()
  return left
}

async function underWay(raw, fleet) {
  const left = []
  for (const client of fleet.clients) if (!client.left) left.push(`${client.name} has not ended`)
  for (const queue of [QUEUE, POISON_QUEUE]) {
    for (const list of ['pending', 'executing']) {
      const length = await raw.send('LLEN', `${queue}:${list}`)
      if (length > 0) left.push(`${length} in ${queue}:${list}`)
    }
    const due = await raw.send('ZCARD', `${queue}:due`)
    if (due > 0) left.push(`${due} in ${queue}:due`)
  }
  // The dead are forgotten by those that live.
  for (const [queue, living] of [
    [QUEUE, fleet.workers.length],
    [POISON_QUEUE, POISON_WORKERS],
  ]) {
    const workers = await raw.send('ZCARD', `${queue}:workers`)
    if (workers > living) left.push(`${workers - living} dead in ${queue}:workers`)
  }
  return left
}
