// The native addon, or an error that says why there is none here, in place of the generated loader's advice.

const { readdirSync } = require('node:fs')
const { join } = require('node:path')

const root = join(__dirname, '..')

try {
  module.exports = require('../binding.js')
} catch (cause) {
  throw Object.assign(new Error(explain(cause), { cause }), { code: 'ERR_ADDON' })
}

function explain(cause) {
  const here = `${process.platform}-${process.arch}`
  const there = readdirSync(root).filter((name) => name.endsWith('.node'))
  const failed = loadFailure(cause)
  if (failed) return `dothis: the native addon for ${here} is there, and can't be loaded: ${failed}`
  const others = there.length ? `, only ${there.join(', ')}` : ''
  return (
    `dothis: there is no native addon for ${here} in ${root}${others}. Install the package on the kind of ` +
    'machine that it is to run on, or build the addon from the sources with `npm run build` (it takes Rust).'
  )
}

/** What a binary that is there was refused for; the loader has one cause for each that it tried. */
function loadFailure(error) {
  for (let cause = error; cause; cause = cause.cause) {
    const { message, code } = cause
    const absent =
      code === 'MODULE_NOT_FOUND' || /^Cannot find (module|native binding)|^Unsupported /.test(message)
    if (!absent) return message
  }
  return undefined
}
