// Checks of what callers pass in. Each throws an ArgsError that says what was wrong, where, and what to do.

const { ArgsError } = require('./errors.js')

/** A name that becomes part of a Redis key or the value of a field: a function, an id, a queue. */
function name(value, what, about) {
  if (typeof value !== 'string' || value === '') {
    throw new ArgsError(`${what} must be a non-empty string, not ${describe(value)}`, about)
  }
  if (!value.isWellFormed()) {
    throw new ArgsError(`${what} has a lone surrogate, which UTF-8 can't hold`, about)
  }
  return value
}

/** The JSON text of a task's args. */
function args(value, about, what = 'args') {
  if (value === undefined || value === null) return '{}'
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new ArgsError(`${what} must be an object of named arguments, not ${describe(value)}`, about)
  }
  let text
  try {
    text = JSON.stringify(value)
  } catch (error) {
    throw new ArgsError(`${what} can't be written as JSON: ${firstLine(error)}`, { ...about, cause: error })
  }
  if (text === undefined || text[0] !== '{') {
    const found = text === undefined ? 'nothing' : text[0] === '[' ? 'an array' : 'a single value'
    throw new ArgsError(`${what} must become a JSON object, but their toJSON makes ${found} of them`, about)
  }
  return text
}

/** A duration in milliseconds; none where it is absent or endless. */
function duration(value, what) {
  if (value === undefined || value === null || value === Number.POSITIVE_INFINITY) return undefined
  if (typeof value !== 'number' || !(value >= 0)) {
    throw new ArgsError(`${what} must be a number of milliseconds, 0 or more, not ${describe(value)}`)
  }
  return value
}

function integer(value, what, { min, max, byDefault }) {
  if (value === undefined) return byDefault
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new ArgsError(`${what} must be a whole number from ${min} to ${max}, not ${describe(value)}`)
  }
  return value
}

function boolean(value, what) {
  if (value === undefined || typeof value === 'boolean') return value
  throw new ArgsError(`${what} must be true or false, not ${describe(value)}`)
}

function text(value, what) {
  if (value === undefined || typeof value === 'string') return value
  if (value instanceof Uint8Array) return Buffer.from(value).toString()
  throw new ArgsError(`${what} must be a string or a Buffer, not ${describe(value)}`)
}

function optionalFunction(value, what) {
  if (value === undefined || typeof value === 'function') return value
  throw new ArgsError(`${what} must be a function, not ${describe(value)}`)
}

/** The original's callback, which may be absent. It is called much later: what is no function would end the process then. */
function callback(value) {
  if (value === undefined || value === null || typeof value === 'function') return
  throw new ArgsError(`callback must be a function, not ${describe(value)}`)
}

function signal(value) {
  if (value === undefined || value === null) return undefined
  const { aborted, addEventListener, removeEventListener } = value
  const can = typeof addEventListener === 'function' && typeof removeEventListener === 'function'
  if (typeof aborted !== 'boolean' || !can) {
    throw new ArgsError(`signal must be an AbortSignal, not ${describe(value)}`)
  }
  return value
}

/** Options as an object, with none that is unknown: a misspelt one would be ignored in silence. */
function options(value, known, what) {
  if (value === undefined || value === null) return {}
  if (typeof value !== 'object') throw new ArgsError(`${what} must be an object, not ${describe(value)}`)
  for (const key in value) {
    if (!known.includes(key) && Object.hasOwn(value, key)) {
      throw new ArgsError(`${what}: there is no option "${key}". Known are ${known.join(', ')}`)
    }
  }
  return value
}

function describe(value) {
  if (value === null) return 'null'
  if (value === '') return 'an empty one'
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'number') return String(value)
  if (typeof value === 'undefined') return 'undefined'
  return /^[aeio]/.test(typeof value) ? `an ${typeof value}` : `a ${typeof value}`
}

function firstLine(error) {
  try {
    return String(error?.message ?? error).split('\n', 1)[0]
  } catch {
    return 'an error that cannot be read'
  }
}

module.exports = {
  name,
  args,
  duration,
  integer,
  boolean,
  optionalFunction,
  callback,
  text,
  signal,
  options,
  describe,
}
