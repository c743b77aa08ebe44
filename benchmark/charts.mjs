// Bar charts as SVG, of medians. Own code, because a chart library that works without a browser would be the
// biggest thing that the benchmark installs, for three pictures of bars.

import { isPeer, titles } from './contenders.mjs'
import { number } from './format.mjs'
import { median, valuesOf } from './statistics.mjs'

const WIDTH = 760
const LABEL = 190
const BAR = 16
const ROW = 20
const GROUP_GAP = 34
const TOP = 52

const COLOURS = {
  dothis: '#2f7ed8',
  bullmq: '#c4553b',
  'bee-queue': '#d9a514',
  groupmq: '#7b6bb5',
  redis: '#8a8f98',
}

/** Each chart's file name and text. */
export function charts(results) {
  const of = (cases, read) => cases.map(([name, label]) => ({ label, rows: results[name] ?? {}, read }))
  const rate = (row) => row.perSecond
  return {
    'throughput.svg': chart(
      'Thousand tasks a second (more is better; each group to its own scale)',
      (value) => value / 1e3,
      [
        ...of(
          [
            ['enqueue', 'Enqueue, 1,000 in flight'],
            ['bulk', 'Enqueue in bulk'],
          ],
          rate,
        ),
        ...of(
          [
            ['drain-1', 'Drain, concurrency 1'],
            ['drain-10', 'Drain, concurrency 10'],
          ],
          rate,
        ),
        ...of(
          [
            ['drain-100', 'Drain, concurrency 100'],
            ['drain-1000', 'Drain, concurrency 1,000'],
          ],
          rate,
        ),
        ...of(
          [
            ['awaited-100', 'Awaited, 100 in flight'],
            ['awaited-1000', 'Awaited, 1,000 in flight'],
          ],
          rate,
        ),
      ],
    ),
    'latency.svg': chart('One awaited call at a time, milliseconds (less is better)', (value) => value, [
      ...of([['awaited-1', 'Median']], (row) => row.p50),
      ...of([['awaited-1', '99th percentile']], (row) => row.p99),
    ]),
    'cpu.svg': chart(
      'CPU for a task, microseconds, at concurrency 100 (less is better)',
      (value) => value * 1e6,
      [
        ...of([['drain-100', 'Worker']], (row) => row.worker?.cpu),
        ...of([['drain-100', 'Redis']], (row) => row.redisCpu),
      ],
    ),
  }
}

function chart(title, scale, groups) {
  const drawn = groups.map(({ label, rows, read }) => ({ label, bars: fastestOfEach(rows, read) }))
  const parts = []
  let y = TOP
  for (const { label, bars } of drawn) {
    parts.push(`<text x="0" y="${y}" class="group">${label}</text>`)
    y += 8
    // Each group to its own scale: bars are compared within it, and those of concurrency 1 would be invisible.
    const highest = Math.max(...bars.map(({ value }) => value))
    for (const { name, value } of bars) {
      const length = Math.max(1, (value / highest) * (WIDTH - LABEL - 60))
      const middle = y + BAR - 4
      parts.push(
        `<text x="${LABEL - 8}" y="${middle}" text-anchor="end">${titles[name]}</text>`,
        `<rect x="${LABEL}" y="${y}" width="${length.toFixed(1)}" height="${BAR}" rx="2" fill="${colour(name)}"/>`,
        `<text x="${(LABEL + length + 6).toFixed(1)}" y="${middle}">${figure(scale(value))}</text>`,
      )
      y += ROW
    }
    y += GROUP_GAP - 8
  }
  const style =
    'text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:15px}.group{font-weight:600}' +
    '@media(prefers-color-scheme:dark){text{fill:#e6edf3}}'
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y - GROUP_GAP + 20}" role="img">
<title>${title}</title>
<style>${style}</style>
<text x="0" y="18" class="title">${title}</text>
${parts.join('\n')}
</svg>
`
}

// Of a peer's two settings the faster one: that is the one to be compared with.
function fastestOfEach(rows, read) {
  const best = new Map()
  for (const name of Object.keys(titles).filter((contender) => rows[contender])) {
    const values = valuesOf(rows[name], read)
    if (!values.length) continue
    const bar = { name, value: median(values), speed: median(valuesOf(rows[name], (row) => row.perSecond)) }
    const known = best.get(adapterOf(name))
    if (!known || bar.speed > known.speed) best.set(adapterOf(name), bar)
  }
  return [...best.values()]
}

function adapterOf(name) {
  return isPeer(name) ? name.replace(/-default$/, '') : name
}

function colour(name) {
  return COLOURS[adapterOf(name)]
}

function figure(value) {
  return number(value, value < 10 ? 2 : value < 100 ? 1 : 0)
}
