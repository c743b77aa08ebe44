/** What all errors of dothis have in common. */
class DothisError extends Error {
  constructor(code, message, { taskId, function: name, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    if (taskId !== undefined) this.taskId = taskId
    if (name !== undefined) this.function = name
  }

  get name() {
    return this.constructor.name
  }

  /** As classes that extend one often do in their constructors. */
  set name(value) {
    Object.defineProperty(this, 'name', { value, writable: true, configurable: true })
  }
}

class TaskFailedError extends DothisError {
  constructor(reason, exception, about = {}) {
    super('ERR_TASK_FAILED', `${subject(about)} failed: ${reason}`, about)
    this.reason = reason
    if (exception !== undefined && exception !== null) this.exception = exception
  }
}

class TimeoutError extends DothisError {
  constructor(message, about) {
    super('ERR_TIMEOUT', message, about)
  }
}

class CancelledError extends DothisError {
  constructor(message, about) {
    super('ERR_CANCELLED', message, about)
  }
}

class ArgsError extends DothisError {
  constructor(message, about) {
    super('ERR_ARGS', message, about)
  }
}

class ConnectionError extends DothisError {
  constructor(message, about) {
    super('ERR_CONNECTION', message, about)
  }
}

class RefusedError extends DothisError {
  constructor(message, about) {
    super('ERR_REFUSED', message, about)
  }
}

class ClosedError extends DothisError {
  constructor(message, about) {
    super('ERR_CLOSED', message, about)
  }
}

class LostError extends DothisError {
  constructor(message, about) {
    super('ERR_LOST', message, about)
  }
}

class NonRetryableError extends DothisError {
  constructor(message, about) {
    super('ERR_NON_RETRYABLE', message, about)
  }
}

const byCode = {
  ERR_ARGS: ArgsError,
  ERR_CONNECTION: ConnectionError,
  ERR_REFUSED: RefusedError,
  ERR_CLOSED: ClosedError,
}

/** The error that the native side names by its code. */
function fromNative(code, message, about) {
  const Class = byCode[code]
  return Class ? new Class(message, about) : new DothisError(code, message, about)
}

/** The same for an error that a native call threw: its message leads with the code. */
function fromThrown(error) {
  const [, code, message] = /^(ERR_[A-Z]+): (.*)$/s.exec(error.message) ?? []
  return code ? fromNative(code, message) : error
}

function subject({ taskId, function: name }) {
  if (name === undefined) return `task ${taskId}`
  return taskId === undefined ? `task "${name}"` : `task "${name}" (${taskId})`
}

module.exports = {
  DothisError,
  TaskFailedError,
  TimeoutError,
  CancelledError,
  ArgsError,
  ConnectionError,
  RefusedError,
  ClosedError,
  LostError,
  NonRetryableError,
  fromNative,
  fromThrown,
  subject,
}
