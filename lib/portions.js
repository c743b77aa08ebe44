/**
 * How many characters gather before they are handed to the native side. Half of what V8 keeps on pages that it has: a
 * longer string gets fresh ones from the kernel, which takes longer than all else that is done with it.
 */
const PORTION = 64 * 1024

/**
 * The JSON of a list that grows: with one more line, and at its end. V8 keeps it as the tree of its parts until the
 * native side reads it, which is quicker than to join an array of lines.
 */
function add(list, line) {
  return list === '' ? `[${line}` : `${list},${line}`
}

function end(list) {
  return `${list}]`
}

/** Several lists, each of a portion. */
function lists(lines) {
  const portions = []
  let list = ''
  for (const line of lines) {
    if (list !== '' && list.length + line.length > PORTION) {
      portions.push(end(list))
      list = ''
    }
    list = add(list, line)
  }
  portions.push(end(list))
  return portions
}

module.exports = { PORTION, add, end, lists }
