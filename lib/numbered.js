/** How many of the latest are kept apart from the others. A power of two. */
const RECENT = 4096

/**
 * What is under way, by numbers that are given out one after the other: a Map for which those that end soon are no
 * garbage. A Map copies itself again and again while such come and go, and V8 keeps each copy, and what was in it
 * then, until it looks through its whole heap: most calls and runs were kept until then.
 */
class Numbered {
  #numbers = new Uint32Array(RECENT)
  #recent = new Array(RECENT).fill(undefined)
  #older = new Map()
  size = 0

  set(number, value) {
    const place = number % RECENT
    const before = this.#recent[place]
    if (before !== undefined) this.#older.set(this.#numbers[place], before)
    this.#numbers[place] = number
    this.#recent[place] = value
    this.size += 1
  }

  get(number) {
    const place = number % RECENT
    const recent = this.#numbers[place] === number ? this.#recent[place] : undefined
    return recent ?? this.#older.get(number)
  }

  /** Takes out what is there, and gives it. */
  take(number) {
    const place = number % RECENT
    let value = this.#numbers[place] === number ? this.#recent[place] : undefined
    if (value !== undefined) {
      this.#recent[place] = undefined
    } else {
      value = this.#older.get(number)
      if (value === undefined) return undefined
      this.#older.delete(number)
    }
    this.size -= 1
    return value
  }

  *entries() {
    yield* this.#older
    for (const [place, value] of this.#recent.entries()) {
      if (value !== undefined) yield [this.#numbers[place], value]
    }
  }
}

module.exports = { Numbered }
