/**
 * JavaScript's end of a native mailbox. The native side calls `wake` once however much there is to hear; each
 * portion is parsed and delivered, and the event loop gets its turn before the next.
 *
 * Node.js is kept alive while something is held: the native side never does that by itself.
 */
class Port {
  #native
  #deliver
  #held = 0
  #alive
  #closed = false

  /** `deliver(item)` gets each item, an array whose first element tells its kind. It must not throw. */
  constructor(deliver) {
    this.#deliver = deliver
  }

  open(native) {
    this.#native = native
  }

  wake = () => {
    if (this.#closed) return
    // Woken before the constructor that made the native object has returned.
    if (!this.#native) return setImmediate(this.wake)
    const items = JSON.parse(this.#native.pull())
    if (items[0] === 1) setImmediate(this.wake)
    for (let index = 1; index < items.length; index++) this.#deliver?.(items[index])
  }

  hold() {
    if (this.#closed) return
    this.#held += 1
    if (this.#held > 1) return
    this.#alive ??= setInterval(() => {}, 2 ** 31 - 1)
    this.#alive.ref()
  }

  release() {
    if (this.#closed) return
    this.#held -= 1
    if (this.#held === 0) this.#alive.unref()
  }

  /** Lets go of both ends: the native side holds `wake`, and would hold them through it for good. */
  close() {
    this.#closed = true
    this.#native = undefined
    this.#deliver = undefined
    clearInterval(this.#alive)
  }
}

module.exports = { Port }
