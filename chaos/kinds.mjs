// The kinds of tasks: how often they come, what they ask for, what their handlers do, and what is right to come of
// them: `{ value }` or `{ reason }`. Each may be cancelled besides.

import { setTimeout } from 'node:timers/promises'
import dothis from '../index.mjs'

/** Longer than any worker's heartbeatTimeout here. */
const BLOCKED_MS = 3_500

export const kinds = {
  plain: {
    weight: 100,
    make: (random) => ({ args: { n: random.int(0, 1_000_000) } }),
    run: ({ n }) => n * 2,
    right: ({ n }) => ({ value: n * 2 }),
  },

  nothing: {
    weight: 10,
    make: () => ({}),
    run: () => undefined,
    right: () => ({ value: undefined }),
  },

  slow: {
    weight: 12,
    make: (random) => ({ args: { ms: random.int(10, 2_500) } }),
    async run({ ms }, { signal }) {
      await setTimeout(ms, undefined, { signal })
      return ms
    },
    right: ({ ms }) => ({ value: ms }),
  },

  /** Blocks its event loop for longer than the heartbeatTimeout, which must not count as death. */
  block: {
    weight: 0.05,
    make: () => ({}),
    run() {
      const end = performance.now() + BLOCKED_MS
      while (performance.now() < end);
      return 'blocked'
    },
    right: () => ({ value: 'blocked' }),
  },

  retry: {
    weight: 15,
    make(random) {
      const backoff = random.pick([
        undefined,
        { type: 'fixed', delay: random.int(1, 500) },
        { type: 'exponential', delay: random.int(1, 200), maxDelay: 1_000, jitter: 0.5 },
      ])
      return { args: { failures: random.int(1, 4) }, options: { attempts: random.int(2, 4), backoff } }
    },
    run({ failures }, { attempt }) {
      if (attempt <= failures) throw new Error(`failure ${attempt}`)
      return attempt
    },
    right: ({ failures }, { attempts }) =>
      failures < attempts ? { value: failures + 1 } : { reason: `failure ${attempts}` },
  },

  hopeless: {
    weight: 5,
    make: () => ({ options: { attempts: 5 } }),
    run() {
      throw new dothis.NonRetryableError('hopeless')
    },
    right: () => ({ reason: 'NonRetryableError: hopeless' }),
  },

  /** Each attempt takes longer than it may. */
  overtime: {
    weight: 2,
    make: (random) => ({ options: { attempts: 2, timeout: random.int(50, 300) } }),
    async run(_, { signal }) {
      await setTimeout(60_000, undefined, { signal })
    },
    right: (_, { timeout }) => ({ reason: `timed out: not through after ${timeout} ms` }),
  },

  delayed: {
    weight: 10,
    make: (random) => ({ options: { delay: random.int(50, 4_000) } }),
    run: () => 'in time',
    right: () => ({ value: 'in time' }),
  },

  perishable: {
    weight: 10,
    make: (random) => ({ options: { expires: random.int(20, 3_000), delay: random.pick([undefined, 500]) } }),
    run: () => 'fresh',
    right: () => ({ value: 'fresh' }),
  },

  removed: {
    weight: 15,
    make: (random) => ({ args: { n: random.int(0, 1_000_000) }, options: { removeOnSuccess: true } }),
    run: ({ n }) => n + 1,
    right: ({ n }) => ({ value: n + 1 }),
  },

  bigArgs: {
    weight: 2,
    make: (random) => ({ args: { text: 'ä'.repeat(random.int(1_000, 150_000)) } }),
    run: ({ text }) => text.length,
    right: ({ length }) => ({ value: length }),
  },

  bigResult: {
    weight: 2,
    make: (random) => ({ args: { length: random.int(10_000, 100_000) } }),
    run: ({ length }) => 'x'.repeat(length),
    right: ({ length }) => ({ value: 'x'.repeat(length) }),
  },
}

/** What the account needs to know of a task's args. */
export function brief({ text, ...args } = {}) {
  return text === undefined ? args : { length: text.length }
}
