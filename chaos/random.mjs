/** Chance that a seed repeats (mulberry32). */
export class Random {
  #state

  constructor(seed) {
    this.#state = seed >>> 0
  }

  /** From 0 to 1, without 1. */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number, both ends among the possible. */
  int(from, to) {
    return from + Math.floor(this.next() * (to - from + 1))
  }

  chance(probability) {
    return this.next() < probability
  }

  pick(list) {
    return list[this.int(0, list.length - 1)]
  }

  /** A name out of { name: { weight } }. */
  weighted(choices) {
    const entries = Object.entries(choices)
    let left = this.next() * entries.reduce((sum, [, { weight }]) => sum + weight, 0)
    for (const [name, { weight }] of entries) {
      left -= weight
      if (left < 0) return name
    }
    return entries.at(-1)[0]
  }
}
