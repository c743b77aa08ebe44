/**
 * How many characters gather before they are handed to the native side. Half of what V8 keeps on pages that it has: a
 * longer string gets fresh ones from the kernel, which takes longer than all else that is done with it.
 */
const PORTION = 64 * 1024

/**
 * JSON of a list, from the JSON of what is in it. The brackets go to its ends, where
 * it is changed: around the whole they would cost a copy.
 */
function list(lines) {
  lines[0] = `[${lines[0]}`
  lines[lines.length - 1] += ']'
  return lines.join(',')
}

/** The same in several lists, each of a portion. */
function lists(lines) {
  const portions = []
  let [start, length] = [0, 0]
  for (const [index, { length: more }] of lines.entries()) {
    if (length > 0 && length + more > PORTION) {
      portions.push(list(lines.slice(start, index)))
      start = index
      length = 0
    }
    length += more
  }
  portions.push(list(lines.slice(start)))
  return portions
}

module.exports = { PORTION, list, lists }
