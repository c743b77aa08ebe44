// Prepares what a run needs, from Node's builtins alone. Each step is skipped when it is up to date.
//
//   node scripts/setup.mjs            packages, the native addon, a redis-server
//   node scripts/setup.mjs --tests    the above, and Python's Redis client for the tests

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
export const python = join(root, '.venv/bin/python')

export function setup({ tests = false } = {}) {
  installPackages()
  buildAddon()
  // Tests that break Redis on purpose need one of their own, whatever DOTHIS_REDIS_URL says.
  if (tests) installRedis()
  else if (!process.env.DOTHIS_REDIS_URL) installRedis('or name a running one in DOTHIS_REDIS_URL')
  if (tests) installPythonPeer()
}

/** Those of the package itself, or of a folder that has its own, as the benchmark does. */
export function installPackages(folder = '.') {
  const stamp = join(root, folder, 'node_modules/.dothis-stamp')
  const wanted = hash([join(folder, 'package-lock.json')])
  if (read(stamp) === wanted) return
  step(`installing npm packages${folder === '.' ? '' : ` of ${folder}/`}`)
  run('npm', ['ci', '--prefix', folder])
  writeFileSync(stamp, wanted)
}

export function buildAddon() {
  const stamp = join(root, '.binding-stamp')
  const wanted = hash(addonSources())
  const built =
    existsSync(join(root, 'binding.js')) && readdirSync(root).some((name) => name.endsWith('.node'))
  if (built && read(stamp) === wanted) return
  if (!works('cargo'))
    throw new SetupError('cargo was not found: install Rust with rustup, then run this again.')
  step('building the native addon (a first build takes some minutes)')
  run('npm', ['run', 'build', '--', '--', '--locked'])
  writeFileSync(stamp, wanted)
}

/** `otherwise` is what else there is to do where it can't be installed. */
export function installRedis(otherwise = 'then run this again') {
  if (works('redis-server')) return
  if (!existsSync('/usr/bin/apt-get') || process.getuid() !== 0) {
    throw new SetupError(
      'redis-server was not found: install it (`sudo apt-get install redis-server`, `brew install redis`), ' +
        `${otherwise}.`,
    )
  }
  step('installing redis-server')
  withoutStartingServices(() => {
    run('apt-get', ['update'])
    run('apt-get', ['install', '-y', '--no-install-recommends', 'redis-server'])
  })
}

export function installPythonPeer() {
  const requirements = '__test__/support/requirements.txt'
  const stamp = join(root, '.venv/.dothis-stamp')
  const wanted = hash([requirements])
  if (existsSync(python) && read(stamp) === wanted) return
  if (!works('python3')) {
    throw new SetupError(
      'python3 was not found: install Python 3.9 or later with its venv module for the tests.',
    )
  }
  step("installing Python's Redis client for the tests")
  run('python3', ['-m', 'venv', '.venv'], 'on Debian, `apt-get install python3-venv` brings what it needs')
  run(python, ['-m', 'pip', 'install', '--quiet', '--requirement', requirements])
  writeFileSync(stamp, wanted)
}

export class SetupError extends Error {}

/** Runs main; a SetupError ends the process with its sentence instead of a stack. */
export async function orExplain(main) {
  try {
    await main()
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    console.error(`dothis: ${error.message}`)
    process.exitCode = 1
  }
}

// Debian starts a service as it installs it, unless this file says no.
function withoutStartingServices(install) {
  const policy = '/usr/sbin/policy-rc.d'
  const ours = !existsSync(policy)
  if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    install()
  } finally {
    if (ours) rmSync(policy)
  }
}

function addonSources() {
  const sources = readdirSync(join(root, 'src'), { recursive: true }).map((name) => join('src', name))
  return ['package.json', 'Cargo.toml', 'Cargo.lock', 'build.rs', ...sources.sort()]
}

function hash(files) {
  const digest = createHash('sha256')
  for (const file of files) {
    const path = join(root, file)
    if (existsSync(path) && statSync(path).isFile())
      digest.update(`${file}\0`).update(readFileSync(path)).update('\0')
  }
  return digest.digest('hex')
}

function read(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}

function works(command) {
  return spawnSync(command, ['--version']).status === 0
}

function step(what) {
  console.log(`dothis: ${what} …`)
}

function run(command, args, hint) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env })
  if (status === 0) return
  const why = error ? error.message : 'see its output above'
  throw new SetupError(`\`${[command, ...args].join(' ')}\` failed: ${why}${hint ? `; ${hint}` : ''}.`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await orExplain(() => setup({ tests: process.argv.includes('--tests') }))
}
