// Which options each call knows, and those of a wait.

const check = require('./check.js')
const { ArgsError } = require('./errors.js')
const { TASK_OPTIONS } = require('./task-options.js')

const ENQUEUE_OPTIONS = ['id', ...TASK_OPTIONS]
const MANY_OPTIONS = ['function', 'args', ...ENQUEUE_OPTIONS]
const WAIT_OPTIONS = ['timeout', 'signal', 'onTimeout']
/** A call's `timeout` is its wait's; the attempt's has a name of its own there. */
const CALL_OPTIONS = [
  'id',
  ...TASK_OPTIONS.filter((name) => name !== 'timeout'),
  'attemptTimeout',
  ...WAIT_OPTIONS,
]

function waitOptions({ timeout, signal, onTimeout }) {
  if (onTimeout !== undefined && onTimeout !== 'cancel') {
    throw new ArgsError("onTimeout must be 'cancel', or absent")
  }
  return {
    timeout: check.duration(timeout, 'timeout'),
    signal: check.signal(signal),
    giveUp: onTimeout === 'cancel',
  }
}

module.exports = { ENQUEUE_OPTIONS, MANY_OPTIONS, WAIT_OPTIONS, CALL_OPTIONS, waitOptions }
