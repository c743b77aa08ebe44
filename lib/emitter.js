const { EventEmitter } = require('node:events')

/** An emitter whose `error` does not crash a process in which nobody listens. */
class Emitter extends EventEmitter {
  emit(event, ...args) {
    if (event === 'error' && this.listenerCount('error') === 0) return false
    return super.emit(event, ...args)
  }

  /**
   * Emits from the middle of a delivery: a listener that throws is an uncaught exception, as with any other
   * emitter, and does not keep the rest of the delivery from its receivers.
   */
  announce(event, ...args) {
    if (this.listenerCount(event) > 0) process.nextTick(() => this.emit(event, ...args))
  }
}

module.exports = { Emitter }
