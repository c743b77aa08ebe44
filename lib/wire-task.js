// A task's hash, as read from Redis, in the two shapes that users get it.

/** What `get` gives. */
function fromHash(id, hash) {
  const { function: name, state, result } = hash
  return {
    id,
    function: name,
    args: json(hash.args || '{}'),
    state,
    result,
    value: json(hash['result-value']),
    reason: hash['error-reason'],
    exception: hash['error-exception'],
    cancelled: hash.cancelled === '1',
    attempt: Number(hash.attempt) || 1,
    errors: errors(hash),
    createdAt: date(hash['pending-created']),
    startedAt: date(hash['executing-created']),
    finishedAt: date(hash['finished-created']),
  }
}

/** The errors of earlier attempts, oldest first; a field holds a date, a space and the reason. */
function errors(hash) {
  return Object.keys(hash)
    .map((field) => Number(/^error-(\d+)$/.exec(field)?.[1]))
    .filter((attempt) => attempt > 0)
    .sort((a, b) => a - b)
    .map((attempt) => {
      const [, at, reason] = /^(\S*) ?(.*)$/s.exec(hash[`error-${attempt}`])
      return { attempt, at: date(at), reason }
    })
}

/** What the original's callbacks and `gettask` give: the fields by their names in Redis. */
function originalTask(hash) {
  const task = { ...hash }
  for (const field of ['args', 'result-value']) if (field in task) task[field] = json(task[field])
  for (const field of ['executing-created', 'finished-created']) {
    if (field in task) task[field] = date(task[field])
  }
  return task
}

/** The value of JSON text; the text itself where it is none, since anybody may have written it. */
function json(text) {
  if (text === undefined) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Undefined where there is none, or where somebody has written something else. */
function date(text) {
  if (text === undefined || text === null) return undefined
  const value = new Date(text)
  return Number.isNaN(value.getTime()) ? undefined : value
}

module.exports = { date, fromHash, originalTask }
