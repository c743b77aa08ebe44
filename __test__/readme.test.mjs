// README says what is so: its programs run, its session answers as it shows, and its tables leave nothing out.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import dothis from 'dothis'
import { spawnLines } from './support/child.mjs'
import { connect, within, withOwnRedis } from './support/index.mjs'
import { until } from './support/open.mjs'
import { ended } from './support/program.mjs'

const read = (file) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')
const readme = read('README.md')
const declared = read('index.d.ts')
const root = fileURLToPath(new URL('..', import.meta.url))
const offline = 'globalThis.fetch = async (url) => new Response(url)\n'
const scratch = mkdtempSync(join(tmpdir(), 'dothis-readme-'))
after(() => rmSync(scratch, { recursive: true }))
// Of the file's own: README's programs use the queue that has the default name.
const redis = await withOwnRedis()

test('the five lines are five, and print what they say', async () => {
  const source = block('In five lines', 'js')
  assert.equal(source.trim().split('\n').length, 5)
  assert.deepEqual(await ended(run(source)), success('6'))
})

test("the tour's client and worker run together, each in a process of its own", async () => {
  const worker = run(offline + block('The worker', 'js'))
  const raw = await connect(redis.url)
  await until(async () => (await raw.send('EXISTS', 'images:workers')) === 1, 'the worker is there')
  raw.close()
  const { code, stderr, lines } = await ended(run(block('The client', 'js')))
  assert.equal(code, 0, stderr)
  const image = '{ width: 100, bytes: 25 }'
  assert.deepEqual(lines.slice(1, 3), [image, image])
  assert.ok(lines.includes("  state: 'finished',") && lines.includes(`  value: ${image},`))
  worker.kill('SIGTERM')
  assert.deepEqual(await ended(worker), success())
})

test('the session at redis-cli answers as it is shown', async (t) => {
  const client = withAdd(t)
  const watcher = await connect(redis.url)
  t.after(() => watcher.close())
  await watcher.subscribe(`${client.queue}:results`)
  const finished = once(watcher, 'message')

  const [, ...steps] = block('From redis-cli', 'console').split('127.0.0.1:6379> ')
  for (const step of steps) {
    const command = step.slice(0, step.indexOf('\n') + 1)
    if (command.startsWith('HMGET')) await within(finished)
    // --no-raw: answers as a terminal shows them.
    const cli = spawnSync('redis-cli', ['-u', redis.url, '--no-raw'], { input: command, encoding: 'utf8' })
    assert.equal(command + cli.stdout, step)
  }
})

test("a program of the original's users runs", async (t) => {
  withAdd(t)
  const source = block('Moving from the original package', 'js')
  const { code, stderr, lines } = await ended(run(source, 'commonjs'))
  assert.equal(code, 0, stderr)
  assert.match(lines.join('\n'), /^6 \d{4}-\d\d-\d\dT\S+Z$/)
})

test('the program with retries and cancelling prints what it says', async () => {
  const source = block('Retries, timeouts, cancelling', 'js')
  const said = Array.from(source.matchAll(/console\.log\(.*\/\/ (.*)$/gm), ([, what]) => what)
  assert.equal(said.length, 6)
  const { lines, ...others } = await ended(run(source))
  assert.deepEqual({ lines: [], ...others }, success())
  for (const [at, line] of lines.entries())
    assert.ok(said[at] === line || said[at].startsWith(`${line}: there`), line)
  assert.equal(lines.length, 6)
})

test('the TypeScript that is shown is what the types are checked with, and runs', async () => {
  const checked = read('__test__/types/readme.mts')
  const source = block('With TypeScript', 'ts')
  assert.equal(source, checked.slice(checked.indexOf('import')))
  const options = ['--noEmit', 'false', '--outDir', scratch]
  const { status, stdout } = spawnSync('npx', ['tsc', '--project', '__test__/types', ...options], {
    cwd: root,
    encoding: 'utf8',
  })
  assert.equal(status, 0, stdout)
  const compiled = readFileSync(join(scratch, 'readme.mjs'), 'utf8')
  assert.deepEqual(await ended(run(offline + compiled)), success('6 25 pong'))
})

test('scripts can be tried by hand as CONTRIBUTING says', () => {
  const text = read('CONTRIBUTING.md').replaceAll(/\s+/g, ' ')
  const commands = Array.from(
    text.matchAll(/`((?:redis-cli --eval|cat src)[^`]*)`/g),
    ([, command]) => command,
  )
  assert.equal(commands.length, 3)
  for (const command of commands) {
    const here = command
      .replace('redis-cli', `redis-cli -e -u ${redis.url}`)
      .replaceAll(' cancel.lua', ` ${scratch}/cancel.lua`)
    const { status, stdout, stderr } = spawnSync('bash', ['-c', here], { cwd: root, encoding: 'utf8' })
    assert.equal(status, 0, `${command}: ${stdout}${stderr}`)
  }
})

test('every option, error and event has its row in a table', () => {
  const tables = ['Options', 'Errors', 'Events'].map(section)
  const [options, errors, events] = tables.map((text) => text.match(/^\|.*/gm).join('\n'))
  const has = (table, name) => assert.ok(table.includes(`\`${name}\``), `there is no row for ${name}`)
  for (const [, kind, body] of declared.matchAll(
    /^ {2}interface \w+(Options|Events) [^{\n]*{\n(.*?)\n {2}}/gms,
  )) {
    const names = Array.from(body.matchAll(/^ {4}(\w+)\??:/gm), ([, name]) => name)
    // Parts of `tls` stand in its row.
    for (const name of names.filter((name) => !['ca', 'cert', 'key'].includes(name))) {
      has(kind === 'Options' ? options : events, name)
    }
  }
  for (const [, name, code] of declared.matchAll(/class (\w+) extends DothisError {[^}]*code: '(\w+)'/g)) {
    has(errors, name)
    has(errors, code)
  }
})

test('every link leads somewhere', () => {
  const anchors = (text) =>
    Array.from(text.matchAll(/^#+ (.*)$/gm), ([, title]) =>
      title
        .toLowerCase()
        .replace(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    )
  for (const name of ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md']) {
    for (const [, target] of read(name).matchAll(/\]\((?!https:)([^)]+)\)/g)) {
      const [file, anchor] = target.split('#')
      if (anchor) assert.ok(anchors(read(file || name)).includes(anchor), `${name}: ${target}`)
      else assert.ok(existsSync(new URL(`../${file}`, import.meta.url)), `${name}: ${target}`)
    }
  }
})

/** The text under a title, up to the next title of any level. */
function section(title) {
  const text = new RegExp(`^#+ ${title}\\n(.*?)(?=^#+ |$(?![^]))`, 'ms').exec(readme)?.[1]
  assert.ok(text, `README has no section "${title}"`)
  return text
}

/** The first block of code in a section. */
function block(title, language) {
  const code = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'ms').exec(section(title))?.[1]
  assert.ok(code, `the section "${title}" has no ${language}`)
  return code
}

/** Runs a program as it stands there, where Redis is at the URL that it names, or finds in its environment. */
function run(source, type = 'module') {
  const { url } = redis
  const program = source.replaceAll(/'redis:[^']*'(?=, '|\))/g, `'${url}'`)
  return spawnLines(process.execPath, [`--input-type=${type}`, '--eval', program], { DOTHIS_REDIS_URL: url })
}

function success(...lines) {
  return { code: 0, signal: null, stderr: '', lines }
}

/** A worker for `add` in this process. */
function withAdd(t) {
  const client = dothis(redis.url)
  t.after(() => client.close())
  client.work({ add: ({ a, b }) => a + b })
  return client
}
