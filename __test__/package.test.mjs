// What `npm pack` makes works in an empty project, with nothing of the repo beside it.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { root } from '../scripts/setup.mjs'
import { withOwnRedis } from './support/index.mjs'

// Of the file's own: the queues have names that others may use.
const redis = await withOwnRedis()
const project = realpathSync(mkdtempSync(join(tmpdir(), 'dothis-package-')))
process.once('exit', () => rmSync(project, { recursive: true, force: true }))

function attempt(command, args, cwd = project) {
  const env = { ...process.env, DOTHIS_REDIS_URL: redis.url, NODE_PATH: '' }
  return spawnSync(command, args, { cwd, env, encoding: 'utf8', timeout: 60_000 })
}

/** Runs a command that must succeed, and gives what it printed. */
function run(command, args, cwd) {
  const { status, stdout, stderr, error } = attempt(command, args, cwd)
  assert.equal(status, 0, `${command} ${args.join(' ')}\n${error ?? ''}${stdout}${stderr}`)
  return stdout.trim()
}

/** Runs a program of the project, which must print nothing on stderr. */
function runNode(name, source) {
  writeFileSync(join(project, name), source)
  const { status, signal, stdout, stderr } = attempt(process.execPath, [
    '--unhandled-rejections=strict',
    name,
  ])
  assert.deepEqual({ status, signal, stderr }, { status: 0, signal: null, stderr: '' })
  return stdout.trim()
}

const installed = (...path) => join(project, 'node_modules/dothis', ...path)

let files
before(() => {
  // Built already: the setup of the tests does that.
  const packed = run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project], root)
  const [{ filename, files: list }] = Object.values(JSON.parse(packed))
  files = list.map(({ path }) => path)
  writeFileSync(join(project, 'package.json'), '{ "name": "empty", "private": true }')
  run('npm', ['install', '--offline', '--engine-strict', '--no-audit', '--no-fund', join(project, filename)])
})

test('it holds what is needed, and nothing of the workshop', () => {
  const needed = ['LICENSE', 'README.md', 'binding.js', 'package.json']
  const surface = ['index.d.mts', 'index.d.ts', 'index.js', 'index.mjs']
  const inside = readdirSync(join(root, 'lib')).map((name) => `lib/${name}`)
  const binaries = readdirSync(root).filter((name) => /^dothis\.[\w-]+\.node$/.test(name))
  const changes = existsSync(join(root, 'CHANGELOG.md')) ? ['CHANGELOG.md'] : []
  assert.deepEqual(files.toSorted(), [...needed, ...surface, ...inside, ...binaries, ...changes].toSorted())
  assert.ok(binaries.some((name) => name.includes(`${process.platform}-${process.arch}`)))
})

test('it brings no other package, runs nothing on install, and says which Node.js it needs', () => {
  assert.deepEqual(
    readdirSync(join(project, 'node_modules')).filter((name) => !name.startsWith('.')),
    ['dothis'],
  )
  const manifest = JSON.parse(readFileSync(installed('package.json'), 'utf8'))
  for (const script of ['preinstall', 'install', 'postinstall', 'prepare']) {
    assert.equal(manifest.scripts?.[script], undefined, script)
  }
  for (const kind of ['dependencies', 'optionalDependencies', 'peerDependencies']) {
    assert.equal(manifest[kind], undefined, kind)
  }
  assert.equal(existsSync(installed('binding.gyp')), false) // npm would compile it.
  const lock = JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8'))
  assert.equal(lock.packages['node_modules/dothis'].hasInstallScript, undefined)
  assert.equal(manifest.engines.node, '>=20')
  assert.equal(manifest.license, 'MIT')
})

test("README's five lines run as an ES module", () => {
  const readme = readFileSync(installed('README.md'), 'utf8')
  const [, code] = /^### In five lines\n\n```js\n(.*?)^```/ms.exec(readme)
  assert.equal(runNode('five.mjs', code), '6')
})

test('it runs as an ES module, with its errors by name', () => {
  const source = `
    import dothis, { ArgsError, TaskFailedError } from 'dothis'
    import * as all from 'dothis'
    const client = dothis({ url: process.env.DOTHIS_REDIS_URL, queue: 'package-esm' })
    client.work({ add: ({ a, b }) => a + b, fail: () => { throw new Error('on purpose') } })
    const failure = await client.call('fail').catch((error) => error)
    const refusal = await client.call('add', 5).catch((error) => error)
    console.log(await client.call('add', { a: 1, b: 5 }), failure instanceof TaskFailedError, refusal instanceof ArgsError)
    await client.close()
    const { createRequire } = await import('node:module')
    const common = createRequire(import.meta.url)('dothis')
    console.log(common === dothis, Object.keys(all).filter((name) => name !== 'default').every((name) => all[name] === common[name]))
  `
  assert.equal(runNode('main.mjs', source), '6 true true\ntrue true')
})

test('it runs from CommonJS, and loads nothing from outside the project', () => {
  const source = `
    const dothis = require('dothis')
    const client = dothis(process.env.DOTHIS_REDIS_URL, 'package-commonjs')
    client.work({ add: ({ a, b }) => a + b })
    client.task('add', { a: 1, b: 5 }, (error, result) => {
      console.log(error, result)
      client.quit().then(() => console.log(Object.keys(require.cache).filter((file) => !file.startsWith(__dirname))))
    })
  `
  assert.equal(runNode('main.cjs', source), 'null 6\n[]')
})

const TYPED = `
interface Functions { add(args: { a: number; b: number }): number }
const client = dothis<Functions>('redis://127.0.0.1:6379')
client.work({ add: ({ a, b }) => a + b })
export const sum: Promise<number> = client.call('add', { a: 1, b: 5 })
`
const SOURCES = {
  'typed.mts': `import dothis, { TimeoutError } from 'dothis'\n${TYPED}export const late = (error: unknown) => error instanceof TimeoutError\n`,
  'typed.cts': `import dothis = require('dothis')\n${TYPED}export const late = (error: unknown) => error instanceof dothis.TimeoutError\n`,
}
const RESOLUTIONS = {
  node16: ['--module', 'node16', '--moduleResolution', 'node16'],
  bundler: ['--module', 'preserve', '--moduleResolution', 'bundler'],
}

function compile(resolution, file) {
  const options = ['--noEmit', '--strict', '--target', 'es2022', ...RESOLUTIONS[resolution]]
  return attempt(join(root, 'node_modules/.bin/tsc'), [...options, file])
}

for (const resolution of Object.keys(RESOLUTIONS)) {
  test(`its types are found with moduleResolution ${resolution}, and need no other package`, () => {
    for (const [file, source] of Object.entries(SOURCES)) {
      writeFileSync(join(project, file), source)
      const { status, stdout } = compile(resolution, file)
      assert.equal(status, 0, `${file}: ${stdout}`)

      // Found, and not just any: what is wrong does not compile.
      writeFileSync(join(project, `wrong-${file}`), source.replace('{ a: 1, b: 5 }', "{ a: 1, b: 'five' }"))
      const wrong = compile(resolution, `wrong-${file}`)
      assert.notEqual(wrong.status, 0)
      assert.match(wrong.stdout, /Type 'string' is not assignable to type 'number'/)
    }
  })
}

test('where it has no binary for the platform it says so, and what to do', () => {
  const empty = mkdtempSync(join(tmpdir(), 'dothis-no-binary-'))
  try {
    cpSync(installed(), empty, { recursive: true })
    for (const name of readdirSync(empty)) if (name.endsWith('.node')) rmSync(join(empty, name))
    const load = () => attempt(process.execPath, ['-e', "require('./index.js')"], empty)
    const platform = `${process.platform}-${process.arch}`
    const none = load()
    assert.equal(none.status, 1)
    assert.match(
      none.stderr,
      new RegExp(`Error: dothis: there is no native addon for ${platform} in .*npm run build`),
    )
    assert.match(none.stderr, /code: 'ERR_ADDON'/)

    const [binary] = files.filter((name) => name.endsWith('.node'))
    writeFileSync(join(empty, 'dothis.other-platform.node'), '')
    assert.match(load().stderr, /no native addon .*, only dothis\.other-platform\.node\./)

    writeFileSync(join(empty, binary), 'not a library')
    assert.match(
      load().stderr,
      new RegExp(`the native addon for ${platform} is there, and can't be loaded: .*${binary}`),
    )
  } finally {
    rmSync(empty, { recursive: true })
  }
})
