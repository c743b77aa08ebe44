// npm test                      every gate, in order, up to the first that fails
// npm test -- calls             only the Node tests whose file name holds "calls"
// npm test -- --test-name-pattern=…   flags go to node --test

import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { orExplain, root, SetupError, setup } from './setup.mjs'

const bin = (name) => join(root, 'node_modules/.bin', name)
const clippy = ['clippy', '--all-targets', '--locked']

const gates = [
  ['Rust format', 'cargo', ['fmt', '--check']],
  ['Rust lint', 'cargo', [...clippy, '--', '-D', 'warnings']],
  ['Rust lint of the addon', 'cargo', [...clippy, '--features', 'node', '--', '-D', 'warnings']],
  ['JavaScript format and lint', bin('biome'), ['check', '--error-on-warnings']],
  ['types', bin('tsc'), ['--project', '__test__/types/tsconfig.json']],
  ['types, as a bundler sees them', bin('tsc'), ['--project', '__test__/types/tsconfig.bundler.json']],
  ['Rust tests', 'cargo', ['test', '--locked']],
]

function main(args) {
  const flags = args.filter((arg) => arg.startsWith('-'))
  const names = args.filter((arg) => !arg.startsWith('-')).map((arg) => basename(arg))
  const files = nodeTests().filter((file) => !names.length || names.some((name) => file.includes(name)))
  if (!files.length) throw new SetupError(`no file in __test__ is named like ${names.join(' or ')}.`)

  setup({ tests: true })
  if (!args.length) gates.forEach(pass)
  pass(['Node tests', process.execPath, ['--test', '--test-reporter=spec', ...flags, ...files]])
}

function nodeTests() {
  const names = readdirSync(join(root, '__test__')).filter((name) => name.endsWith('.test.mjs'))
  return names.sort().map((name) => join('__test__', name))
}

function pass([gate, command, args]) {
  console.log(`\n── ${gate} ──`)
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (status === 0) return
  throw new SetupError(`the gate "${gate}" failed${error ? `: ${error.message}` : '; its output is above'}.`)
}

await orExplain(() => main(process.argv.slice(2)))
