/** The Bidi Rule (RFC 5893 §2): keeps names that mix directions of writing from looking like other names. */
import { createRequire } from 'node:module'
import type { Bidi } from 'bidi-js'
import { PrepError } from './prep-error.js'

// The types of bidi-js declare a default export, which is missing when an ES module imports it; so it is required.
const require: (name: string) => unknown = createRequire(import.meta.url)
const bidi = made(require('bidi-js'))

function made (factory: unknown): Bidi {
  if (!isFactory(factory)) throw new Error('bidi-js does not export a function')
  return factory()
}

function isFactory (value: unknown): value is () => Bidi {
  return typeof value === 'function'
}

/** Throws PrepError if the text has a right-to-left character and breaks the rule (RFC 8265 §3.3). */
export function checkBidi (text: string): void {
  if (!MAYBE_RIGHT_TO_LEFT.test(text)) return
  const classes = Array.from(text, classOf)
  const hasRightToLeft = classes.some(name => name === 'R' || name === 'AL' || name === 'AN')
  if (hasRightToLeft && !obeys(classes)) throw new PrepError('mixes directions of writing')
}

/** The blocks whose characters are written from right to left, assigned or not (DerivedBidiClass.txt). */
const MAYBE_RIGHT_TO_LEFT = /[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u

const LEFT = new Set(['L', 'EN', 'ES', 'CS', 'ET', 'ON', 'BN', 'NSM'])
const RIGHT = new Set(['R', 'AL', 'AN', 'EN', 'ES', 'CS', 'ET', 'ON', 'BN', 'NSM'])

function obeys (classes: readonly string[]): boolean {
  const first = classes[0]
  const last = classes.findLast(name => name !== 'NSM') ?? ''
  // Conditions 1, 5, 6
  if (first === 'L') return classes.every(name => LEFT.has(name)) && (last === 'L' || last === 'EN')
  // Conditions 1, 2, 3, 4
  return (first === 'R' || first === 'AL') && classes.every(name => RIGHT.has(name)) &&
    ['R', 'AL', 'EN', 'AN'].includes(last) &&
    !(classes.includes('EN') && classes.includes('AN'))
}

/**
 * The table of bidi-js gives L for letters that are newer than it. The block, and whether the character is a mark, give
 * a better answer.
 */
function classOf (character: string): string {
  const name = bidi.getBidiCharTypeName(character)
  if (name !== 'L') return name
  if (/\p{Mn}|\p{Me}/u.test(character)) return 'NSM'
  return MAYBE_RIGHT_TO_LEFT.test(character) ? 'R' : 'L'
}
