import assert from 'node:assert/strict'
import { test } from 'node:test'
import { charts } from '../benchmark/charts.mjs'
import { checkFloors } from '../benchmark/floors.mjs'
import { report } from '../benchmark/report.mjs'

const rows = (...rates) => rates.map((perSecond) => ({ tasks: 1, perSecond, redisCpu: 1e-5, redisPeak: 1 }))

test('a floor of the benchmark is met only where both ratios reach it', () => {
  const drain = (dothis, peer) => ({ 'drain-1000': { dothis: rows(...dothis), 'bee-queue': rows(...peer) } })
  assert.equal(checkFloors(drain([40, 44, 48], [10, 10, 10])).missed, 0)
  assert.equal(checkFloors(drain([39, 39, 39], [10, 10, 10])).missed, 1)
  // The medians are 40 and 10; within the runs the ratio is 2, 3 and 4.
  assert.equal(checkFloors(drain([20, 40, 90], [10, 10, 30])).missed, 1)
})

test('the fastest peer is compared with, in its faster setting, and neither Redis nor dothis is one', () => {
  const results = {
    'drain-1000': {
      dothis: rows(40),
      bullmq: rows(9),
      groupmq: rows(5),
      'groupmq-default': rows(10),
      redis: rows(100),
    },
  }
  assert.match(checkFloors(results).table, /GroupMQ, defaults +\| at least 4 +\| +4\.00 \| +4\.00 \| +yes/)
})

test('a run of a peer that failed is told of, and is in no figure', () => {
  const results = { 'drain-1000': { dothis: rows(50, 50), bullmq: [{ error: 'not through' }, ...rows(10)] } }
  const text = report(results, { runs: 2, redisVersion: '7' })
  assert.match(text, /- drain-1000, bullmq, run 1: not through/)
  assert.match(text, /\| BullMQ +\| +1 \| +10 \| +5\.00 \|/)
  assert.match(charts(results)['throughput.svg'], />BullMQ</)
})

test('a case that a queue failed in altogether has no ratio', () => {
  const results = { 'drain-1000': { dothis: rows(50), bullmq: [{ error: 'not through' }] } }
  assert.match(report(results, { runs: 1, redisVersion: '7' }), /## Failed/)
  assert.equal(checkFloors(results).missed, 0)
})
