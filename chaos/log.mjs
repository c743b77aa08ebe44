// What a process has seen, in a file of its own. Written at once, so that a SIGKILL loses none of it.

import { existsSync, openSync, readFileSync, writeSync } from 'node:fs'

/** Milliseconds by a clock that all processes of this machine share, and that nobody moves. */
export function now() {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000
}

/** Gives `note(what, fields)`. */
export function openLog(file) {
  const fd = openSync(file, 'a')
  return (what, fields) => writeSync(fd, `${JSON.stringify({ what, at: now(), ...fields })}\n`)
}

export function readLog(file) {
  // Killed before it had begun.
  if (!existsSync(file)) return []
  const lines = readFileSync(file, 'utf8').split('\n')
  // The last line may have been cut by a SIGKILL; what it said has then not begun to happen.
  lines.pop()
  return lines.map((line) => JSON.parse(line))
}
