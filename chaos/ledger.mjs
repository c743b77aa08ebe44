// What the processes of a run have noted, put together: the tasks, their runs, the waits.

import { readLog } from './log.mjs'

const REFUSALS = ['ERR_CONNECTION', 'ERR_REFUSED']

/** { tasks: Map, waits, cancelled: Set of ids, orders } */
export function readClients(clients) {
  const tasks = new Map()
  const waits = new Map()
  const cancelled = new Set()
  for (const { name, log } of clients) {
    for (const line of readLog(log)) {
      const { what, id } = line
      if (what === 'put') tasks.set(id, { ...line, acknowledged: 0, created: 0, refused: 0 })
      else if (what === 'acknowledged') {
        tasks.get(id).acknowledged++
        if (line.created) tasks.get(id).created++
      } else if (what === 'refused') tasks.get(id).refused++
      else if (what === 'cancel') cancelled.add(id)
      else if (what === 'wait') waits.set(`${name} ${line.wait}`, { ...line, name })
      else if (what === 'settled wait') Object.assign(waits.get(`${name} ${line.wait}`), { settled: line })
    }
  }
  // A call is acknowledged by its outcome, or refused by it.
  for (const { id, by, settled } of waits.values()) {
    if (by !== 'call' || !settled) continue
    if (REFUSALS.includes(settled.code)) tasks.get(id).refused++
    else if (settled.code !== 'ERR_TIMEOUT') tasks.get(id).acknowledged++
  }
  return { tasks, waits: [...waits.values()], cancelled }
}

/** { runs: Map of id → runs in the order in which they began, ids of workers, events: counts } */
export function readWorkers(workers) {
  const runs = new Map()
  const ids = new Map()
  const events = {}
  for (const worker of workers) {
    const own = new Map()
    let closing
    for (const line of readLog(worker.log)) {
      const { what, run } = line
      events[what] = (events[what] ?? 0) + 1
      if (what === 'worker') ids.set(line.id, worker)
      else if (what === 'start') {
        const { id, attempt, ahead } = line
        const started = { id, attempt, ahead, worker, from: line.at }
        own.set(run, started)
        if (runs.has(line.id)) runs.get(line.id).push(started)
        else runs.set(line.id, [started])
      } else if (what === 'returned' || what === 'threw')
        Object.assign(own.get(run), { ended: what, to: line.at })
      else if (what === 'abort') own.get(run).abort ??= line.code
      else if (what === 'closing') closing = line.at
      else if (what === 'close failed') {
        worker.disruptions?.push({ from: closing, to: Number.POSITIVE_INFINITY, why: 'could not close' })
      }
    }
  }
  for (const list of runs.values()) list.sort((a, b) => a.from - b.from)
  return { runs, ids, events }
}
