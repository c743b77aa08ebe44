const { randomUUID } = require('node:crypto')

/** The id of a task that nobody has given one. */
function newId() {
  const id = randomUUID()
  // V8 keeps what was put together as the tree of its parts, here eight times as large, until somebody reads
  // it as a whole; and an id is kept for as long as its call is under way.
  id.charCodeAt(0)
  return id
}

module.exports = { newId }
