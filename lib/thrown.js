const { inspect } = require('node:util')

const MAX_REASON = 1_000
const MAX_EXCEPTION = 16_000

/**
 * What a handler threw, as the wire's error-reason (one line, for a person) and error-exception (the stack, or
 * null where there is none). Whatever was thrown, this does not throw.
 */
function describeThrown(thrown) {
  try {
    if (thrown instanceof Error) {
      const { name, message, stack } = thrown
      const reason = name === 'Error' ? message || 'Error' : `${name}: ${message}`
      return {
        reason: line(reason) || 'Error',
        exception: typeof stack === 'string' ? cut(stack, MAX_EXCEPTION) : null,
      }
    }
    const reason = typeof thrown === 'string' ? thrown : `the handler threw ${show(thrown)}`
    return { reason: line(reason) || 'the handler threw an empty string', exception: null }
  } catch {
    return { reason: 'the handler threw something that cannot be read', exception: null }
  }
}

function show(thrown) {
  return inspect(thrown, { depth: 2, breakLength: Number.POSITIVE_INFINITY, maxStringLength: MAX_REASON })
}

/** Text as one line of bounded length. */
function line(text) {
  return cut(String(text), MAX_REASON)
    .replace(/\s*[\r\n]+\s*/g, ' ')
    .trim()
}

function cut(text, length) {
  return (text.length > length ? `${text.slice(0, length)}…` : text).toWellFormed()
}

module.exports = { cut, describeThrown, line }
