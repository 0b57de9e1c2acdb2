/** The Bidi Rule (RFC 5893 §2), which keeps a name from looking like another where directions mix. */
import { createRequire } from 'node:module'
import type { Bidi } from 'bidi-js'
import { PrepError } from './prep-error.js'

// Its types speak of a default export, which it does not have for an ES module: an import would be called by the wrong name.
const require: (name: string) => unknown = createRequire(import.meta.url)
const bidi = made(require('bidi-js'))

function made (factory: unknown): Bidi {
  if (!isFactory(factory)) throw new Error('bidi-js is not what it was')
  return factory()
}

function isFactory (value: unknown): value is () => Bidi {
  return typeof value === 'function'
}

/** Throws PrepError where the text has a right-to-left character and breaks the rule (RFC 8265 §3.3). */
export function checkBidi (text: string): void {
  if (!MAYBE_RIGHT_TO_LEFT.test(text)) return
  const classes = Array.from(text, classOf)
  const hasRightToLeft = classes.some(name => name === 'R' || name === 'AL' || name === 'AN')
  if (hasRightToLeft && !obeys(classes)) throw new PrepError('mixes directions of writing')
}

/** The blocks whose characters are from right to left, assigned or not (DerivedBidiClass.txt). */
const MAYBE_RIGHT_TO_LEFT = /[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u

const LEFT = new Set(['L', 'EN', 'ES', 'CS', 'ET', 'ON', 'BN', 'NSM'])
const RIGHT = new Set(['R', 'AL', 'AN', 'EN', 'ES', 'CS', 'ET', 'ON', 'BN', 'NSM'])

function obeys (classes: readonly string[]): boolean {
  const first = classes[0]
  const last = classes.findLast(name => name !== 'NSM') ?? ''
  // Conditions 1, 5, 6
  if (first === 'L') return classes.every(name => LEFT.has(name)) && (last === 'L' || last === 'EN')
  // Conditions 1, 2, 3, 4
  return (first === 'R' || first === 'AL') && classes.every(name => RIGHT.has(name)) && ['R', 'AL', 'EN', 'AN'].includes(last) &&
    !(classes.includes('EN') && classes.includes('AN'))
}

/** Letters that are younger than the table come out as L there: their block, and their being a mark, say better. */
function classOf (character: string): string {
  const name = bidi.getBidiCharTypeName(character)
  if (name !== 'L') return name
  if (/\p{Mn}|\p{Me}/u.test(character)) return 'NSM'
  return MAYBE_RIGHT_TO_LEFT.test(character) ? 'R' : 'L'
}
