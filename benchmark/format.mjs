// Figures and tables as text.

import { median, valuesOf } from './statistics.mjs'

export function number(value, digits = 0) {
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** The median, and the lowest and the highest in brackets. */
export function spread(rows, read, digits) {
  const values = valuesOf(rows, read)
  if (!values.length) return ''
  const middle = number(median(values), digits)
  if (values.length === 1) return middle
  return `${middle} (${number(Math.min(...values), digits)}–${number(Math.max(...values), digits)})`
}

/** The median alone. */
export function middle(rows, read, digits) {
  const values = valuesOf(rows, read)
  return values.length ? number(median(values), digits) : ''
}

/** Markdown, its columns aligned. The first is text, the others are figures. */
export function table(header, lines) {
  const all = [header, ...lines]
  const widths = header.map((_, column) => Math.max(3, ...all.map((line) => line[column].length)))
  const cell = (text, column) => (column ? text.padStart(widths[column]) : text.padEnd(widths[column]))
  const text = (line) => `| ${line.map(cell).join(' | ')} |`
  const rule = widths.map((width, column) => (column ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)))
  return [text(header), `| ${rule.join(' | ')} |`, ...lines.map(text)].join('\n')
}
