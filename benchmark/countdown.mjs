/** A promise, `all`, that is kept after `count` calls of `one`, and broken by `fail`. */
export function countdown(count) {
  let left = count
  let resolve
  let fail
  const all = new Promise((onAll, onFail) => {
    resolve = onAll
    fail = onFail
  })
  const one = () => {
    if (--left === 0) resolve()
  }
  return { all, one, fail }
}
