const { newIds } = require('./binding.js')

const LENGTH = 36

/**
 * The ids of tasks that nobody has given one: UUIDs. They are made several at a time, and each is kept as a part of
 * their text; V8 keeps what `crypto.randomUUID` gives as a tree of twenty pieces, a third of all that a call takes.
 */
class Ids {
  #make
  #ids = ''
  #used = 0

  /** `make` gives the text of several, one behind the other. */
  constructor(make) {
    this.#make = make
  }

  next() {
    if (this.#used === this.#ids.length) {
      this.#ids = this.#make()
      this.#used = 0
    }
    this.#used += LENGTH
    return this.#ids.slice(this.#used - LENGTH, this.#used)
  }
}

const ids = new Ids(newIds)

/** The id of a task that says nothing of who waits. */
const newId = () => ids.next()

module.exports = { Ids, newId }
