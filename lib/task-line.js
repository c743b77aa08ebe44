// A task on its way to the native side: one line of a batch, as src/node/client.rs reads it.

/** Tell when it is in Redis. */
const ACKNOWLEDGE = 1
/** Tell its outcome. */
const WAIT = 2
/** Run it anew where it has finished. */
const AGAIN = 4
/** The id is one of ours, which no other task has. */
const FRESH = 8

let lastName
let lastNameText

/** `timeout` is the wait's, and `more` is JSON of what the task asks beyond its args, or empty. */
function taskLine(token, flags, id, name, args, timeout, more) {
  if (name !== lastName) {
    lastName = name
    lastNameText = JSON.stringify(name)
  }
  const idText = flags & FRESH ? `"${id}"` : JSON.stringify(id)
  const rest = timeout !== undefined || more ? `,${timeout ?? null},${more || null}` : ''
  return `[${token},${flags},${idText},${lastNameText},${args}${rest}]`
}

module.exports = { ACKNOWLEDGE, WAIT, AGAIN, FRESH, taskLine }
