// Redis alone: the commands that README's wire asks for in one task's life, and no queue. What no queue on that
// wire can exceed, unless it spares Redis some of them.
//
// Raw sockets, because a driver that makes and parses each command costs more than Redis itself needs for it, and
// would be what is measured: here the text of a step is made once, and only ids are put into it. Replies are
// not parsed but for errors; each write ends with an ECHO, whose reply says that it is through. A batch goes
// through the steps one after the other, as a queue must; several batches are under way at a time, and there is
// one subscriber, as there is when results are awaited.

import { once } from 'node:events'
import { connect } from 'node:net'
import { options, ready, report, startMeter } from './child.mjs'

const BATCH = 64

const { url, queue, steps, prepare = [], inFlight, tasks } = options
const { hostname, port } = new URL(url)

const ID = '{id}'
const DATE = '2015-12-05T00:19:01.834909Z'
const key = `${queue}:task:${ID}`
const pending = `${queue}:pending`
const executing = `${queue}:executing`
const LIFE = {
  enqueue: [
    [
      'HSET',
      key,
      'function',
      'add',
      'args',
      '{"a":123456,"b":2}',
      'state',
      'pending',
      'pending-created',
      DATE,
    ],
    ['LPUSH', pending, ID],
  ],
  take: [
    ['RPOPLPUSH', pending, executing],
    ['HMGET', key, 'function', 'args'],
    ['HSET', key, 'state', 'executing', 'executing-created', DATE],
  ],
  finish: [
    [
      'HSET',
      key,
      'state',
      'finished',
      'result',
      'successful',
      'result-value',
      '123458',
      'finished-created',
      DATE,
    ],
    ['LREM', executing, '-1', ID],
    ['PUBLISH', `${queue}:results`, key],
  ],
  read: [['HMGET', key, 'state', 'result', 'result-value']],
}

const subscriber = connect({ host: hostname, port })
subscriber.write(encode(['SUBSCRIBE', `${queue}:results`]))
await once(subscriber, 'data')
subscriber.resume()
const redis = await open()
await live(prepare)
await ready()
const meter = startMeter()
await live(steps)
const spent = meter()
subscriber.end()
redis.end()
report(spent)

/** Takes every task through these steps. */
async function live(names) {
  const size = Math.min(BATCH, Math.ceil(inFlight / 4))
  const texts = names.map((name) => LIFE[name].map(encode).join('').split(ID))
  let next = 0
  async function lane() {
    while (next < tasks) {
      const first = next
      next = Math.min(first + size, tasks)
      const ids = Array.from({ length: next - first }, (_, i) => idOf(first + i))
      for (const text of texts) await redis.send(ids.map((id) => text.join(id)))
    }
  }
  await Promise.all(Array.from({ length: Math.floor(inFlight / size) }, lane))
}

// As long as a UUID.
function idOf(n) {
  return String(n).padStart(36, '0')
}

function encode(command) {
  const parts = command.map((part) => `$${part.replace(ID, idOf(0)).length}\r\n${part}\r\n`)
  return `*${parts.length}\r\n${parts.join('')}`
}

async function open() {
  const socket = connect({ host: hostname, port, noDelay: true }).setEncoding('latin1')
  await once(socket, 'connect')
  const END = 'through'
  const waiting = []
  let rest = ''
  socket.on('data', (chunk) => {
    const replies = rest + chunk
    if (replies.startsWith('-') || replies.includes('\n-')) throw new Error(`Redis refuses: ${replies}`)
    let at = 0
    for (let end = replies.indexOf(END); end !== -1; end = replies.indexOf(END, at)) {
      at = end + END.length
      waiting.shift()()
    }
    // The end of the text may be the beginning of the next end.
    rest = replies.slice(Math.max(at, replies.length - END.length))
  })
  return {
    send(texts) {
      socket.write(texts.join('') + encode(['ECHO', END]), 'latin1')
      return new Promise((resolve) => waiting.push(resolve))
    },
    end: () => socket.end(),
  }
}
