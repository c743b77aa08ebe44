// When a run may be made again although nobody asked for another attempt.

/**
 * What part of the heartbeatTimeout a worker must have been away for: the signs of life come three times in it, and
 * the connection must be made anew.
 */
const AWAY = 1 / 4

/** Whether the queue may have given this run up by then: its worker was killed, frozen or cut off, or closed. */
export function isExcused(run, by) {
  return run.abort === 'ERR_CLOSED' || wasAway(run.worker, run.from, by)
}

/**
 * Whether this run may come after another of the same attempt: that one was given up, or one of them is of a delivery
 * that its worker heard of late, when it had been given up already. It was made since that time at the earliest.
 */
export function mayFollow(run, other, since) {
  const by = run.from
  return isExcused(other, by) || wasAway(other.worker, since, by) || wasAway(run.worker, since, by)
}

function wasAway({ disruptions, heartbeatTimeout }, since, by) {
  return disruptions.some(
    ({ from, to }) => from < by && to > since && Math.min(to, by) - from >= heartbeatTimeout * AWAY,
  )
}

/** Deaths that nobody has caused, by what Redis says: a machine too slow for the heartbeat. */
export function unexplained(deaths, ids, outages) {
  return deaths.filter(({ worker: id, at }) => {
    const worker = ids.get(id)
    if (!worker) return false
    const since = at - worker.heartbeatTimeout - 500
    return ![...worker.disruptions, ...outages].some(({ from, to }) => from < at && to > since)
  })
}
