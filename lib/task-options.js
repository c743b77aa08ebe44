// What a task may ask of those who run it, checked. The same options serve as a worker's defaults.

const check = require('./check.js')
const { ArgsError } = require('./errors.js')

/** What the options of a task are called, beside its id. */
const TASK_OPTIONS = [
  'attempts',
  'backoff',
  'timeout',
  'expires',
  'delay',
  'runAt',
  'resultTtl',
  'removeOnSuccess',
]

/** Of these, the ones that a worker may have as defaults. */
const RUN_OPTIONS = ['attempts', 'backoff', 'timeout', 'resultTtl', 'removeOnSuccess']

/** A date's milliseconds since 1970 that JavaScript can still hold as a Date. */
const LAST_DATE = 8.64e15

/**
 * JSON for the native side of what a task asks beyond its args; empty for a plain one.
 * `where` leads the messages; a wait has a timeout of its own, so the attempt's may be called otherwise.
 */
function extra(given, where = '', timeoutName = 'timeout') {
  if (isPlain(given) && given[timeoutName] === undefined) return ''
  const start = begin(given, where)
  const expires = moment(given.expires, `${where}expires`, ['expiresIn', 'expiresAt'])
  const options = run(given, where, timeoutName)
  if (!start && !expires && !options) return ''
  return JSON.stringify({ ...start, ...expires, options })
}

/** Most tasks ask nothing: told by fields that are named here, which V8 finds at once. */
function isPlain({ attempts, backoff, expires, delay, runAt, resultTtl, removeOnSuccess }) {
  return (
    attempts === undefined &&
    backoff === undefined &&
    expires === undefined &&
    delay === undefined &&
    runAt === undefined &&
    resultTtl === undefined &&
    removeOnSuccess === undefined
  )
}

/** The options of a run, as a task's hash holds them; undefined where none is given. */
function run(given, where = '', timeoutName = 'timeout') {
  if (RUN_OPTIONS.every((name) => given[name === 'timeout' ? timeoutName : name] === undefined))
    return undefined
  const options = {
    attempts: attempts(given.attempts, `${where}attempts`),
    backoff: backoff(given.backoff, `${where}backoff`),
    timeout: endless(given[timeoutName], `${where}${timeoutName}`),
    resultTtl: endless(given.resultTtl, `${where}resultTtl`),
    removeOnSuccess: check.boolean(given.removeOnSuccess, `${where}removeOnSuccess`),
  }
  return Object.values(options).some((value) => value !== undefined) ? options : undefined
}

function begin({ delay, runAt }, where) {
  if (delay !== undefined && runAt !== undefined) {
    throw new ArgsError(`${where}delay and runAt say the same in two ways: give one`)
  }
  if (runAt !== undefined) {
    if (typeof runAt !== 'number' && !(runAt instanceof Date)) {
      throw new ArgsError(
        `${where}runAt must be a Date or milliseconds since 1970, not ${check.describe(runAt)}`,
      )
    }
    return { startAt: date(Number(runAt), `${where}runAt`) }
  }
  if (delay === undefined) return undefined
  const startIn = finite(delay, `${where}delay`)
  return startIn > 0 ? { startIn } : undefined
}

/** A Date, or milliseconds from now on. */
function moment(value, what, [after, at]) {
  if (value === undefined || value === null || value === Number.POSITIVE_INFINITY) return undefined
  return value instanceof Date ? { [at]: date(Number(value), what) } : { [after]: finite(value, what) }
}

function date(milliseconds, what) {
  if (!(Math.abs(milliseconds) <= LAST_DATE)) throw new ArgsError(`${what} is no date`)
  return Math.max(0, milliseconds)
}

function finite(value, what) {
  const milliseconds = check.duration(value, what)
  if (milliseconds === undefined || milliseconds > LAST_DATE) {
    throw new ArgsError(
      `${what} must be a number of milliseconds that ends some day, not ${check.describe(value)}`,
    )
  }
  return milliseconds
}

function attempts(value, what) {
  return check.integer(value, what, { min: 1, max: 1_000_000 })
}

/** Null for ever, which is not the same as to say nothing: then the worker's default counts. */
function endless(value, what) {
  if (value === null || value === Number.POSITIVE_INFINITY) return null
  return check.duration(value, what)
}

/** Null for none. */
function backoff(value, what) {
  if (value === undefined || value === null) return value
  if (Array.isArray(value)) {
    if (value.length === 0 || value.length > 1_000) {
      throw new ArgsError(`${what} must be a list of 1 to 1,000 delays, not of ${value.length}`)
    }
    return Array.from(value, (delay, index) => finite(delay, `${what}[${index}]`)) // `map` skips holes
  }
  if (typeof value !== 'object') {
    throw new ArgsError(`${what} must be an object or a list of delays, not ${check.describe(value)}`)
  }
  const { type, delay, maxDelay, jitter } = check.options(
    value,
    ['type', 'delay', 'maxDelay', 'jitter'],
    what,
  )
  if (type !== 'fixed' && type !== 'exponential') {
    throw new ArgsError(`${what}.type must be 'fixed' or 'exponential'`)
  }
  if (jitter !== undefined && !(typeof jitter === 'number' && jitter >= 0 && jitter <= 1)) {
    throw new ArgsError(`${what}.jitter must be a number from 0 to 1, not ${check.describe(jitter)}`)
  }
  return {
    type,
    delay: finite(delay, `${what}.delay`),
    maxDelay: maxDelay === undefined ? undefined : finite(maxDelay, `${what}.maxDelay`),
    jitter,
  }
}

module.exports = { TASK_OPTIONS, RUN_OPTIONS, extra, run }
