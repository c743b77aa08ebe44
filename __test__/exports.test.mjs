// ES modules, CommonJS and TypeScript find the same names.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import dothis, * as named from 'dothis'

const read = (file) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')
const names = (text, pattern) => Array.from(text.matchAll(pattern), ([, name]) => name).sort()

const declared = read('index.d.ts')
const classes = names(declared, /^ {2}class (\w+)/gm)
const types = names(declared, /^ {2}(?:interface|type) (\w+)/gm)

test('require and import give the same function', () => {
  assert.equal(createRequire(import.meta.url)('dothis'), dothis)
  assert.equal(named.default, dothis)
})

test('each error that the function carries is exported by name, and is the same class', () => {
  const { default: _, 'module.exports': __, ...exported } = named
  assert.deepEqual(exported, { ...dothis })
})

test('index.d.ts declares exactly the classes that there are', () => {
  assert.deepEqual(classes, Object.keys(dothis).sort())
})

test('index.d.mts exports all that index.d.ts declares', () => {
  const exported = read('index.d.mts')
  assert.deepEqual(names(exported, /^ {2}(\w+),$/gm), [...classes, 'default'].sort())
  assert.deepEqual(names(exported, /^ {2}type (\w+),$/gm), types)
})

test('each class makes the error that its declaration says', () => {
  for (const name of classes.filter((name) => name !== 'DothisError')) {
    const [, code] = new RegExp(`class ${name} extends DothisError {[^}]*code: '(\\w+)'`).exec(declared)
    const error = new dothis[name]('why', name === 'TaskFailedError' ? 'stack' : { taskId: '1' })
    assert.ok(error instanceof dothis.DothisError && error instanceof Error)
    assert.equal(error.code, code)
    assert.equal(error.name, name)
  }
})
