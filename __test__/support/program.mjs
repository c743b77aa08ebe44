import { fileURLToPath } from 'node:url'
import { spawnLines } from './child.mjs'
import { within } from './waiting.mjs'

const index = new URL('../../index.mjs', import.meta.url)

/**
 * Runs the text of an ES module as a process of its own (see child.mjs), in which an unhandled rejection is fatal.
 * It has `dothis`, `options` (what is given here), and `say(line)`.
 */
export function program(source, options = {}, flags = []) {
  const head = `
    import dothis from ${JSON.stringify(index)}
    const options = JSON.parse(process.env.PROGRAM_OPTIONS)
    const say = (line) => console.log(typeof line === 'string' ? line : JSON.stringify(line))
  `
  const node = ['--unhandled-rejections=strict', ...flags, '--input-type=module', '--eval', head + source]
  return spawnLines(process.execPath, node, { PROGRAM_OPTIONS: JSON.stringify(options) })
}

/** What a program has come to, once it has ended by itself: nothing else in it, nothing on stderr. */
export async function ended(child) {
  const { code, signal } = await within(child.exited, undefined, 'the end of the program')
  return { code, signal, stderr: child.stderr, lines: child.lines }
}

/** The path for a program, or a thread, that can't use `dothis` as it is. */
export const indexPath = fileURLToPath(new URL('../../index.js', import.meta.url))
