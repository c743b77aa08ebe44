// What is done to a run: how often, and how. Each ends by itself; what lasts goes on beside others.

import { setTimeout } from 'node:timers/promises'

export const faults = {
  'kill a worker': {
    weight: 14,
    async inflict({ random, fleet }) {
      const worker = pickWorker(random, fleet)
      await worker.kill()
      await fleet.replace(worker)
    },
  },

  'freeze a worker for longer than its heartbeat': {
    weight: 10,
    async inflict({ random, fleet }) {
      const worker = pickIdle(random, fleet)
      if (worker) await freeze(worker, worker.heartbeatTimeout * (1.2 + 2 * random.next()))
    },
  },

  'freeze a worker briefly': {
    weight: 4,
    async inflict({ random, fleet }) {
      const worker = pickIdle(random, fleet)
      if (worker) await freeze(worker, random.int(10, 250))
    },
  },

  'freeze a client': {
    weight: 3,
    async inflict({ random, fleet }) {
      const client = random.pick(fleet.clients)
      if (!client.busy) await freeze(client, random.int(500, 3_000))
    },
  },

  'close a worker': {
    weight: 10,
    async inflict({ random, fleet }) {
      const worker = pickIdle(random, fleet)
      if (worker) await fleet.close(worker)
      if (worker) await fleet.replace(worker)
    },
  },

  'kill Redis': {
    weight: 5,
    inflict: ({ random, redis }) => redis.down('SIGKILL', random.pick([0, 200, 1_000, 4_000])),
  },

  'restart Redis': {
    weight: 5,
    inflict: ({ random, redis }) => redis.down('SIGTERM', random.pick([0, 200, 1_000, 4_000])),
  },

  'freeze Redis': {
    weight: 3,
    inflict: ({ random, redis }) => redis.freeze(random.int(200, 4_000)),
  },

  'cut connections': {
    weight: 12,
    async inflict({ random, fleet }) {
      for (let cuts = random.int(1, 4); cuts > 0; cuts--) {
        pickAny(random, fleet).proxy.cut()
        await setTimeout(random.int(0, 100))
      }
    },
  },

  'silence connections': {
    weight: 10,
    async inflict({ random, fleet }) {
      const member = pickAny(random, fleet)
      if (member.busy) return
      const over = begin(member, 'cut off')
      member.proxy.silence()
      await setTimeout(random.int(100, 7_000))
      member.proxy.heal({ lost: random.chance(0.5) })
      over()
    },
  },

  'stall connections': {
    weight: 6,
    async inflict({ random, fleet }) {
      const member = pickAny(random, fleet)
      if (member.busy) return
      const over = begin(member, 'cut off')
      member.proxy.stall()
      // Up to where it has been given up, and another has taken its place, to which it then comes late.
      await setTimeout(random.int(3_000, 9_000))
      member.proxy.heal({ lost: random.chance(0.2) })
      over()
    },
  },

  'delay connections': {
    weight: 6,
    async inflict({ random, fleet }) {
      const member = pickAny(random, fleet)
      if (member.busy) return
      member.busy = true
      member.proxy.delay(random.int(5, 150))
      await setTimeout(random.int(500, 5_000))
      member.proxy.heal()
      member.busy = false
    },
  },

  'flush the scripts': {
    weight: 5,
    inflict: ({ redis }) => redis.command('SCRIPT', 'FLUSH'),
  },

  'drop subscriptions': {
    weight: 3,
    inflict: ({ redis }) => redis.dropSubscriptions(),
  },

  "move a worker's clock": {
    weight: 6,
    async inflict({ random, fleet }) {
      const { clock } = pickWorker(random, fleet)
      clock?.move(random.int(-1, 1) * random.pick([1, 60, 3_600, 86_400 * 400]))
    },
  },
}

function pickWorker(random, fleet) {
  return random.pick(fleet.workers)
}

/** None where a fault is on the chosen one already. */
function pickIdle(random, fleet) {
  const worker = pickWorker(random, fleet)
  return worker.busy || worker.leaving ? undefined : worker
}

function pickAny(random, fleet) {
  return random.pick([...fleet.workers, ...fleet.clients])
}

async function freeze(member, milliseconds) {
  const over = begin(member, 'frozen')
  member.signal('SIGSTOP')
  await setTimeout(milliseconds)
  member.signal('SIGCONT')
  over()
}

function begin(member, why) {
  member.busy = true
  const over = member.disrupt(why)
  return () => {
    over()
    member.busy = false
  }
}
