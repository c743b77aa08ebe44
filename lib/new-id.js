const { newIds } = require('./binding.js')

const LENGTH = 36

let ids = ''
let used = 0

/**
 * The id of a task that nobody has given one: a UUID. They are made several at a time, and each is kept as a part of
 * their text; V8 keeps what `crypto.randomUUID` gives as a tree of twenty pieces, a third of all that a call takes.
 */
function newId() {
  if (used === ids.length) {
    ids = newIds()
    used = 0
  }
  used += LENGTH
  return ids.slice(used - LENGTH, used)
}

module.exports = { newId }
