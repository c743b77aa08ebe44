// The lists that `enqueueMany` takes. A list is checked whole before any of it is sent, and then sent in requests, so
// that Redis has one while the next is written.

const check = require('./check.js')
const { MANY_OPTIONS } = require('./call-options.js')
const { ArgsError } = require('./errors.js')
const { newId } = require('./new-id.js')
const { ACKNOWLEDGE, FRESH, taskLine } = require('./task-line.js')
const { extra } = require('./task-options.js')

/** How many tasks one request has, two full batches. */
const REQUEST = 128
/** Of a longer list, the requests before those, together a full batch: Redis begins with few while more are written. */
const FIRST = [16, 48]
/** How many requests are sent ahead. */
const AHEAD = 32

/** What each entry of a list says. `argsProblem` tells what is wrong with the JSON of args, if anything is. */
function checkList(list, argsProblem) {
  if (typeof list?.[Symbol.iterator] !== 'function') {
    throw new ArgsError('enqueueMany takes a list of { function, args, … }')
  }
  const entries = Array.isArray(list) ? list : Array.from(list)
  const checked = []
  for (let index = 0; index < entries.length; index++) {
    checked.push(checkEntry(entries[index], `entry ${index}`, argsProblem))
  }
  return checked
}

function checkEntry(entry, where, argsProblem) {
  const given = check.options(entry, MANY_OPTIONS, where)
  const name = check.name(given.function, `${where}: function`)
  const id = given.id === undefined ? undefined : check.name(given.id, `${where}: id`)
  const about = { function: name, taskId: id }
  const args = check.args(given.args, about, `${where}: args`)
  const problem = argsProblem(args)
  if (problem) throw new ArgsError(`${where}: ${problem}`, about)
  return { id, name, args, more: extra(given, `${where}: `) }
}

/**
 * Sends a checked list, in order, and gives what came of each. `send` is called with the entries of a request, and gives a
 * promise of a list.
 */
async function sendList(entries, send) {
  const done = []
  const requests = []
  const sizes = entries.length > REQUEST ? [...FIRST] : []
  let start = 0
  while (start < entries.length) {
    const end = start + (sizes.shift() ?? REQUEST)
    if (requests.length >= AHEAD) done.push(...(await requests.shift()))
    const sent = send(entries.slice(start, end))
    sent.catch(() => {}) // Reported where it is awaited, in its turn.
    requests.push(sent)
    start = end
  }
  for (const request of requests) done.push(...(await request))
  return done
}

/** The lines of a request; tasks without an id get theirs. Each line's token is its place. */
function lines(entries) {
  return entries.map((entry, place) => {
    const { name, args, more } = entry
    const made = entry.id === undefined
    if (made) entry.id = newId()
    const flags = made ? ACKNOWLEDGE | FRESH : ACKNOWLEDGE
    return taskLine(place, flags, entry.id, name, args, undefined, more)
  })
}

module.exports = { checkList, sendList, lines }
