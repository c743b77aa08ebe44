/**
 * Listens to AbortSignals, to each with one listener, however many calls it is given to: a signal that stands
 * for "the process is shutting down" would otherwise be reported as leaking from its eleventh call on.
 */
class Signals {
  /** What to call when it fires, by signal. */
  #aborts = new Map()

  /** Calls `abort` when the signal fires, until the function that it gives is called. */
  listen(signal, abort) {
    const entry = this.#aborts.get(signal) ?? this.#add(signal)
    entry.aborts.add(abort)
    return () => {
      entry.aborts.delete(abort)
      if (entry.aborts.size > 0) return
      this.#aborts.delete(signal)
      try {
        signal.removeEventListener('abort', entry.listener)
      } catch {
        // Not an AbortSignal, but something like it. Whose call ends now is not to blame.
      }
    }
  }

  #add(signal) {
    const aborts = new Set()
    const listener = () => {
      for (const abort of aborts) abort()
    }
    const entry = { aborts, listener }
    signal.addEventListener('abort', listener, { once: true })
    this.#aborts.set(signal, entry)
    return entry
  }
}

module.exports = { Signals }
