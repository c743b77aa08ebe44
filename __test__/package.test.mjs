// What `npm pack` makes works in an empty project, with nothing of the repo beside it.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { root } from '../scripts/setup.mjs'
import { withRedis } from './support/index.mjs'

const redis = await withRedis()
const project = mkdtempSync(join(tmpdir(), 'dothis-package-'))
process.once('exit', () => rmSync(project, { recursive: true, force: true }))

function run(command, args, cwd = project) {
  const env = { ...process.env, DOTHIS_REDIS_URL: redis.url }
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    env,
    encoding: 'utf8',
    timeout: 60_000,
  })
  assert.equal(status, 0, `${command} ${args.join(' ')}\n${error ?? ''}${stdout}${stderr}`)
  return stdout.trim()
}

let files
before(() => {
  // Built already: the setup of the tests does that.
  const packed = run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project], root)
  const [{ filename, files: list }] = Object.values(JSON.parse(packed))
  files = list.map(({ path }) => path)
  writeFileSync(join(project, 'package.json'), '{ "name": "empty", "private": true }')
  run('npm', ['install', '--offline', '--no-audit', '--no-fund', join(project, filename)])
})

test('it holds what is needed, and nothing of the workshop', () => {
  const expected =
    /^(index\.(js|mjs|d\.ts|d\.mts)|lib\/[\w-]+\.js|binding\.js|[\w.-]+\.node|package\.json|README\.md|LICENSE|CHANGELOG\.md)$/
  for (const file of files) assert.match(file, expected)
  for (const file of ['index.js', 'index.mjs', 'index.d.ts', 'index.d.mts', 'binding.js', 'LICENSE']) {
    assert.ok(files.includes(file), file)
  }
  assert.ok(files.some((file) => file.endsWith('.node')))
})

test("README's five lines run as an ES module", () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const [, code] = /### In five lines\n\n```js\n([^`]*)```/.exec(readme)
  writeFileSync(join(project, 'five.mjs'), code)
  assert.equal(run(process.execPath, ['five.mjs']), '6')
})

test('it runs from CommonJS', () => {
  writeFileSync(
    join(project, 'main.cjs'),
    `const dothis = require('dothis')
    const client = dothis(process.env.DOTHIS_REDIS_URL, 'commonjs')
    client.work({ add: ({ a, b }) => a + b })
    client.task('add', { a: 1, b: 5 }, (error, result) => { console.log(error, result); client.quit() })`,
  )
  assert.equal(run(process.execPath, ['main.cjs']), 'null 6')
})

test('its types are found with moduleResolution node16 and bundler', () => {
  const line =
    "const sum: number = await dothis<{ add(args: { a: number }): number }>().call('add', { a: 1 })\n"
  const typed = `import dothis, { TimeoutError } from 'dothis'\n${line}export { sum, TimeoutError }\n`
  writeFileSync(join(project, 'typed.mts'), typed)
  const tsc = join(root, 'node_modules/.bin/tsc')
  const common = [
    '--noEmit',
    '--strict',
    '--target',
    'es2022',
    '--typeRoots',
    join(root, 'node_modules/@types'),
  ]
  run(tsc, [...common, '--module', 'node16', '--moduleResolution', 'node16', '--types', 'node', 'typed.mts'])
  run(tsc, [...common, '--module', 'esnext', '--moduleResolution', 'bundler', '--types', 'node', 'typed.mts'])
})
