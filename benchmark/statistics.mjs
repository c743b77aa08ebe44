// Results are kept as results[case][contender] = [row of run 1, row of run 2, …]; a row that failed is { error }.

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2
}

/** The values of the runs that have one. */
export function valuesOf(rows, read) {
  return (rows ?? []).map((row) => (row.error ? undefined : read(row))).filter(Number.isFinite)
}

/**
 * How many times `b` the figure of `a` is: of the medians, and the median of the ratios within each run, which a
 * machine that is faster in one run than in another does not touch.
 */
export function compare(a, b, read, readB = read) {
  const within = a.flatMap((row, run) => {
    const other = b[run]
    return row.error || !other || other.error ? [] : [read(row) / readB(other)]
  })
  if (!within.length) return undefined
  return { medians: median(valuesOf(a, read)) / median(valuesOf(b, readB)), within: median(within) }
}
