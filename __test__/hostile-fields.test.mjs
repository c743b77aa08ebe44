// A field, a member or a message that anybody may have written, and that is not what it should be, never stops a step
// in Redis half-way: what it belongs to fails or is left alone, all else goes on.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { connect, waitFor, withRedis } from './support/index.mjs'
import { gate, open, outcome, until } from './support/open.mjs'
import { ids, state } from './support/state.mjs'

const redis = await withRedis()
const { raw } = redis
const binary = await connect(redis.url, { buffers: true })
after(() => binary.close())

/** What is no number, no token, no JSON and no text, in one way or another. */
const GARBAGE = {
  empty: '',
  word: 'x',
  NaN: 'nan',
  infinity: 'inf',
  'minus infinity': '-inf',
  '1e400': '1e400',
  negative: '-1',
  fraction: '0.5',
  hex: '0x7fffffffffffffff',
  'the largest integer': '9223372036854775807',
  'more digits': '9'.repeat(400),
  spaces: ' 12 ',
  'two lines': '1\n2',
  NUL: '1\u00002',
  bytes: Buffer.from([0xff, 0xfe, 0, 0x80]),
  colons: ':::',
  commas: ',,,',
  bars: '|||',
  object: '{}',
  'deep JSON': `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
  'odd JSON': '{"attempts":1e400,"timeout":-1e308,"backoff":[[]],"resultTtl":"x","removeOnSuccess":3}',
  'long text': 'y'.repeat(100_000),
}

const FIELDS = [
  'state',
  'owner',
  'reply-to',
  'cancel',
  'options',
  'attempt',
  'lost',
  'expires',
  'args',
  'function',
  'error-1',
]

const OWNER = 'owner:a dead one:1'

const put = async (client, id, fields, list) => {
  const pairs = fields instanceof Map ? [...fields] : Object.entries(fields)
  await binary.send('HSET', `${client.queue}:task:${id}`, ...pairs.flat())
  await binary.send('LPUSH', `${client.queue}:${list}`, id)
}

/** One task for each kind of garbage in that field, between others that have none. */
async function spread(client, base, field, list) {
  const odd = Object.keys(GARBAGE).map((name) => `${name} in ${field}`)
  for (const [name, value] of Object.entries(GARBAGE)) {
    await put(client, `before ${name} in ${field}`, base, list)
    const pairs = new Map(Object.entries(base))
    if (field === 'owner') {
      // The token is a part of the field's name.
      pairs.delete(OWNER)
      pairs.set(Buffer.concat([Buffer.from('owner:'), Buffer.from(value)]), '')
    } else {
      pairs.set(field, value)
    }
    await put(client, `${name} in ${field}`, pairs, list)
  }
  await put(client, `the last of ${field}`, base, list)
  return { odd, plain: [...odd.map((id) => `before ${id}`), `the last of ${field}`] }
}

/** The others ran, whatever came of the odd ones; each has ended, with a reason where it failed, and none is stuck. */
async function assertAllEnded(client, { odd, plain }, { leave = [] } = {}) {
  const { queue } = client
  for (const id of plain) assert.deepEqual(await outcome(client.result(id)), { value: 'ran' }, id)
  const waiting = async () =>
    (await raw.send('LLEN', `${queue}:pending`)) + (await raw.send('ZCARD', `${queue}:due`))
  await until(async () => (await waiting()) === 0, 'nothing waits')
  const running = async () => (await ids(raw, queue, 'executing')).sort().join()
  await until(async () => (await running()) === leave.toSorted().join(), 'nothing is being run')
  for (const id of odd) {
    if (leave.includes(id)) continue
    const { state, result, reason } = await client.get(id)
    assert.deepEqual({ id, state }, { id, state: 'finished' })
    if (result === 'failed') assert.ok(reason.length > 0, id)
  }
}

for (const field of FIELDS) {
  test(`garbage in ${field} of tasks that wait`, async (t) => {
    const client = open(t, redis.url)
    const base = { function: 'run', args: '{}', state: 'pending', options: '{"attempts":2}' }
    const all = await spread(client, base, field, 'pending')
    const errors = []
    const worker = client.work({ run: () => 'ran' }, { concurrency: 7 })
    worker.on('error', (error) => errors.push(error))
    await assertAllEnded(client, all)
    assert.deepEqual(errors, [])
    assert.equal(await client.call('run'), 'ran')
  })

  test(`garbage in ${field} of tasks that fail and are tried again, at once and later`, async (t) => {
    const client = open(t, redis.url)
    const base = { function: 'run', args: '{}', state: 'pending', options: '{"attempts":3,"backoff":[0,1]}' }
    const all = await spread(client, base, field, 'pending')
    const errors = []
    const run = async (_, { attempt }) => {
      if (attempt < 3) throw new Error('not yet')
      return 'ran'
    }
    const worker = client.work({ run }, { concurrency: 7 })
    worker.on('error', (error) => errors.push(error))
    await assertAllEnded(client, all)
    assert.deepEqual(errors, [])
  })
}

test('garbage in any field of tasks whose worker has died', async (t) => {
  const client = open(t, redis.url)
  const base = { function: 'run', args: '{}', state: 'executing', [OWNER]: '', options: '{}' }
  const fields = FIELDS.filter((field) => field !== 'owner')
  const all = { odd: [], plain: [] }
  for (const field of fields) {
    const { odd, plain } = await spread(client, base, field, 'executing')
    all.odd.push(...odd)
    all.plain.push(...plain)
  }
  const errors = []
  const worker = client.work({ run: () => 'ran' }, { concurrency: 7 })
  worker.on('error', (error) => errors.push(error))
  await waitFor(worker, 'recovered')
  await assertAllEnded(client, all)
  assert.deepEqual(errors, [])
})

test('garbage in owner of tasks that are executing keeps nobody from putting back the others', async (t) => {
  const client = open(t, redis.url)
  const base = { function: 'run', args: '{}', state: 'executing', [OWNER]: '' }
  const all = await spread(client, base, 'owner', 'executing')
  const errors = []
  const worker = client.work({ run: () => 'ran' }, { reclaimForeignAfter: 250 })
  worker.on('error', (error) => errors.push(error))
  await waitFor(worker, 'recovered')
  // A token in which there is a worker is a dead one's; what is none is left to whoever wrote it.
  const leave = all.odd.filter((id) => !String(GARBAGE[id.replace(' in owner', '')]).includes(':'))
  await assertAllEnded(client, all, { leave })
  assert.deepEqual(errors, [])
})

for (const field of FIELDS) {
  test(`garbage in ${field}: cancelling, waiting and reading`, async (t) => {
    const client = open(t, redis.url)
    const base = { function: 'run', args: '{}', state: 'pending' }
    const { odd, plain } = await spread(client, base, field, 'pending')
    const waits = odd.map((id) => outcome(client.result(id)))
    for (const id of odd) {
      assert.equal((await client.get(id)).id, id)
      await client.gettask(id)
    }
    const addresses = () =>
      Promise.all(odd.map((id) => raw.send('HGET', `${client.queue}:task:${id}`, 'reply-to')))
    await until(async () => (await addresses()).every(Boolean), 'the waits are known')
    for (const id of odd) assert.equal(await client.cancel(id, 'not needed'), true, id)
    for (const [n, { error }] of (await Promise.all(waits)).entries()) {
      assert.equal(error?.code, 'ERR_CANCELLED', odd[n])
    }
    assert.deepEqual(await ids(raw, client.queue, 'pending'), plain)
  })
}

test('members of due and of workers that are none are dropped, and what is due among them starts', async (t) => {
  const client = open(t, redis.url)
  const { queue } = client
  const scores = ['-inf', '0', '1', '1e300', 'inf', '-1e300', '0.5']
  const members = [
    ...Object.values(GARBAGE),
    'start:',
    'expire:',
    'start:none',
    'expire:none',
    'start',
    ':',
    'START:x',
    'stop:late',
  ]
  for (const [n, member] of members.entries()) {
    const score = scores[n % scores.length]
    await binary.send('ZADD', `${queue}:due`, score, member)
    await binary.send('ZADD', `${queue}:workers`, score, member)
  }
  for (let n = 0; n < 500; n++)
    await binary.send(
      'ZADD',
      `${queue}:due`,
      '0',
      `start:none-${n}`,
      '1',
      Buffer.from([0xff, n & 255, n >> 8]),
    )
  const errors = []
  const worker = client.work({ run: () => 'ran' })
  worker.on('error', (error) => errors.push(error))
  assert.equal(await client.call('run', {}, { delay: 50 }), 'ran')
  assert.equal(await client.call('run', {}, { delay: 1, expires: 60_000 }), 'ran')
  const left = await raw.send('ZRANGEBYSCORE', `${queue}:due`, '-inf', Date.now())
  assert.deepEqual(left, [])
  // A worker that dies is found among them all the same.
  await put(
    client,
    'orphan',
    { function: 'run', args: '{}', state: 'executing', 'owner:dead:1': '' },
    'executing',
  )
  await raw.send('ZADD', `${queue}:workers`, 1, 'dead')
  assert.equal(await client.result('orphan'), 'ran')
  await until(async () => !(await raw.send('ZSCORE', `${queue}:workers`, 'dead')), 'it is forgotten')
  assert.deepEqual(errors, [])
})

test('messages that are none are ignored', async (t) => {
  const client = open(t, redis.url)
  const { queue } = client
  const held = gate()
  const aborted = []
  const worker = client.work({
    run: () => 'ran',
    hold(_, { signal }) {
      signal.addEventListener('abort', () => aborted.push(signal.reason.message))
      return held.opened
    },
  })
  const holding = client.call('hold', {}, { id: 'held' })
  await until(() => worker.health().running === 1, 'it runs')
  const address = await until(() => raw.send('HGET', `${queue}:task:held`, 'reply-to'), 'the wait is known')
  const messages = [
    ...Object.values(GARBAGE),
    ...[
      'task:kill:',
      'task:kill',
      'task:kill:held',
      `task:kill:${queue}:task:`,
      `task:kill:${queue}:task:none`,
    ],
    ...[
      'kill:all',
      'all',
      `${queue}:task:`,
      `${queue}:task:held`,
      `${queue}:task:none`,
      'due',
      'x'.repeat(10_000_000),
    ],
    ...[
      '4:held',
      '4:heldv',
      '4:heldv9:7',
      '99:held',
      '-1:x',
      '4:heldq',
      ':',
      '4:none',
      '4:heldv3:{x}'.slice(0, 9),
    ],
    ...['999999999999:', '4:heldf3:why', '4:helds'.slice(0, 6), '4:heldr', '3:abcv1:1'],
  ]
  for (const channel of ['cmd', 'wake', 'results', `reply:${address}`, 'reply:', 'reply:x']) {
    for (const message of messages) await binary.send('PUBLISH', `${queue}:${channel}`, message)
  }
  assert.equal(await client.call('run'), 'ran')
  assert.deepEqual(aborted, [])
  held.open('done')
  assert.equal(await holding, 'done')
  assert.equal(client.health().status, 'connected')
  assert.deepEqual(
    Object.keys(await state(raw, queue)).filter((name) => !name.startsWith('task:')),
    [],
  )
})

test('a reply that is no JSON fails the wait that it is for, and no other', async (t) => {
  const client = open(t, redis.url)
  const { queue } = client
  const waits = ['a', 'b'].map((id) => outcome(client.call('nobody runs it', {}, { id })))
  const address = await until(() => raw.send('HGET', `${queue}:task:a`, 'reply-to'), 'the wait is known')
  await until(
    async () => (await raw.send('PUBSUB', 'NUMSUB', `${queue}:reply:${address}`))[1] > 0,
    'it is heard',
  )
  await raw.send('PUBLISH', `${queue}:reply:${address}`, '1:av3:{x}1:bv1:7')
  const [a, b] = await Promise.all(waits)
  assert.equal(a.error.code, 'ERR_TASK_FAILED')
  assert.match(a.error.reason, /result-value can't be read: not JSON/)
  assert.deepEqual(b, { value: 7 })
})
