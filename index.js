const { Client } = require('./lib/client.js')
const errors = require('./lib/errors.js')
const { ArgsError, CancelledError, ClosedError, ConnectionError, DothisError } = errors
const { LostError, NonRetryableError, RefusedError, TaskFailedError, TimeoutError } = errors

function dothis(urlOrOptions, queue) {
  if (typeof urlOrOptions === 'object' && urlOrOptions !== null) return new Client(urlOrOptions)
  return new Client({ url: urlOrOptions, queue })
}

module.exports = dothis
Object.assign(dothis, {
  ArgsError,
  CancelledError,
  ClosedError,
  ConnectionError,
  DothisError,
  LostError,
  NonRetryableError,
  RefusedError,
  TaskFailedError,
  TimeoutError,
})
