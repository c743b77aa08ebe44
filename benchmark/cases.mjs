// What is measured. `tasks` says for whom, and how many: as many as take about two seconds, so that a slow queue
// gets fewer. A case with `settings: ['fast']` leaves out the peers' defaults.

const awaited = (tasks, more) => ({ shape: 'awaited', way: 'awaited', concurrency: 100, tasks, ...more })
const drain = (concurrency, tasks, more) => ({ shape: 'drain', concurrency, tasks, ...more })
const FAST = { settings: ['fast'] }

export const cases = [
  {
    name: 'enqueue',
    title: 'Enqueue one by one, 1,000 in flight',
    shape: 'enqueue',
    way: 'one',
    inFlight: 1_000,
    concurrency: 100,
    warmUp: 2_000,
    tasks: { dothis: 200_000, bullmq: 60_000, 'bee-queue': 150_000, groupmq: 60_000 },
  },
  {
    name: 'bulk',
    title: 'Enqueue in bulk, 1,000 a call',
    shape: 'enqueue',
    way: 'many',
    inFlight: 1_000,
    warmUp: 2_000,
    tasks: { dothis: 300_000, bullmq: 50_000, 'bee-queue': 200_000, redis: 600_000 },
  },
  {
    name: 'drain-1',
    title: 'Drain, concurrency 1',
    ...drain(1, { dothis: 80_000, bullmq: 8_000, 'bee-queue': 8_000, groupmq: 8_000 }),
  },
  {
    name: 'drain-10',
    title: 'Drain, concurrency 10',
    ...drain(10, { dothis: 200_000, bullmq: 30_000, 'bee-queue': 40_000, groupmq: 30_000 }),
  },
  {
    name: 'drain-100',
    title: 'Drain, concurrency 100',
    ...drain(100, { dothis: 200_000, bullmq: 35_000, 'bee-queue': 45_000, groupmq: 35_000, redis: 300_000 }),
  },
  {
    name: 'drain-1000',
    title: 'Drain, concurrency 1,000',
    ...drain(1_000, {
      dothis: 200_000,
      bullmq: 35_000,
      'bee-queue': 45_000,
      groupmq: 30_000,
      redis: 300_000,
    }),
  },
  {
    name: 'awaited-1',
    title: 'Awaited calls, one at a time',
    ...awaited({ dothis: 5_000, bullmq: 3_000, 'bee-queue': 5_000 }, { inFlight: 1, warmUp: 500 }),
  },
  {
    name: 'awaited-1-later',
    title: 'Awaited calls, one at a time, after 5,000 others',
    ...awaited({ dothis: 5_000, bullmq: 3_000, 'bee-queue': 5_000 }, { inFlight: 1, warmUp: 5_000 }),
  },
  {
    name: 'awaited-100',
    title: 'Awaited calls, 100 in flight',
    ...awaited({ dothis: 80_000, bullmq: 10_000, 'bee-queue': 40_000 }, { inFlight: 100, warmUp: 2_000 }),
  },
  {
    name: 'awaited-1000',
    title: 'Awaited calls, 1,000 in flight',
    ...awaited(
      { dothis: 120_000, bullmq: 20_000, 'bee-queue': 45_000, redis: 200_000 },
      { inFlight: 1_000, warmUp: 2_000 },
    ),
  },
  {
    name: 'payload-2k',
    title: 'Args of 2 KB: drain, concurrency 100',
    ...drain(100, { dothis: 60_000, bullmq: 25_000, 'bee-queue': 30_000, groupmq: 25_000 }),
    payload: 2_000,
    ...FAST,
  },
  {
    name: 'payload-100k',
    title: 'Args of 100 KB: drain, concurrency 100',
    ...drain(100, { dothis: 4_000, bullmq: 4_000, 'bee-queue': 4_000, groupmq: 4_000 }),
    payload: 100_000,
    ...FAST,
  },
  {
    name: 'aof',
    title: 'Append-only file, fsync every second: drain, concurrency 100',
    ...drain(100, { dothis: 150_000, bullmq: 30_000, 'bee-queue': 40_000, groupmq: 30_000 }),
    redisArgs: ['--appendonly', 'yes', '--appendfsync', 'everysec'],
    ...FAST,
  },
  {
    name: 'waiting-1',
    title: 'Awaited calls, 1,000 in flight from 1 process',
    ...awaited(
      { dothis: 80_000, bullmq: 15_000, 'bee-queue': 40_000 },
      { inFlight: 1_000, warmUp: 2_000, clients: 1 },
    ),
    ...FAST,
  },
  {
    name: 'waiting-20',
    title: 'Awaited calls, 1,000 in flight from 20 processes',
    ...awaited(
      { dothis: 80_000, bullmq: 15_000, 'bee-queue': 40_000 },
      { inFlight: 1_000, warmUp: 2_000, clients: 20 },
    ),
    ...FAST,
  },
  {
    name: 'waiting-1+19',
    title: 'Awaited calls, 1,000 in flight from 1 process, while 19 others have awaited something before',
    ...awaited(
      { dothis: 80_000, bullmq: 15_000, 'bee-queue': 40_000 },
      { inFlight: 1_000, warmUp: 2_000, idle: 19 },
    ),
    ...FAST,
  },
  {
    name: 'backlog-100k',
    title: 'Backlog of 100,000: bulk enqueue, then drain, concurrency 100',
    ...drain(100, { dothis: 100_000 }),
  },
  {
    name: 'backlog-1m',
    title: 'Backlog of 1,000,000: bulk enqueue, then drain, concurrency 100',
    ...drain(100, { dothis: 1_000_000 }),
  },
  {
    name: 'executing-100',
    title: '100 executing all the time, 1,000 more slots, ends in random order',
    ...drain(1_100, { dothis: 100_000 }, { held: 100 }),
  },
  {
    name: 'executing-10000',
    title: '10,000 executing all the time, 1,000 more slots, ends in random order',
    ...drain(11_000, { dothis: 100_000 }, { held: 10_000 }),
  },
]
