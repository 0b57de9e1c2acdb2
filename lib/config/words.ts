/** Texts for the operator: values as they were written, and the word that was probably meant. */
import { shortened } from '../base/text.js'

/** Writes a value for a message: texts in single quotes, tables and lists by name only, nothing longer than a line. */
export function shown (value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 60 ? shortened(value, 59) + '…' : value}'`
  if (Array.isArray(value)) return 'a list'
  if (value instanceof Date) return 'a date'
  if (typeof value === 'object' && value !== null) return 'a table'
  return String(value)
}

/** Returns `; did you mean 'x'?` with the known word nearest to this one, or an empty text if none is near. */
export function didYouMean (word: string, known: Iterable<string>): string {
  let nearest: string | undefined
  let least = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    if (Math.abs(candidate.length - word.length) >= least) continue
    const steps = distance(word.toLowerCase(), candidate.toLowerCase())
    const alike = steps * 2 < Math.max(word.length, candidate.length)
    if (alike && steps < least) [nearest, least] = [candidate, steps]
  }
  return nearest === undefined ? '' : `; did you mean '${nearest}'?`
}

/** Writes a path as in TOML, with indexes from 0: `host."example.org".admins[0]`. */
export function dotted (path: readonly (string | number)[]): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else text += (text === '' ? '' : '.') + (/^[\w-]+$/.test(step) ? step : JSON.stringify(step))
  }
  return text
}

/** Counts the edits between two words: a letter added, removed, replaced, or two swapped (optimal string alignment). */
function distance (a: string, b: string): number {
  let before: number[] = []
  let above = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let least = Math.min(at(above, j) + 1, at(row, j - 1) + 1, at(above, j - 1) + (same ? 0 : 1))
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      if (isSwapped) least = Math.min(least, at(before, j - 2) + 1)
      row.push(least)
    }
    before = above
    above = row
  }
  return at(above, b.length)
}

function at (row: readonly number[], index: number): number {
  return row[index] ?? Infinity
}
