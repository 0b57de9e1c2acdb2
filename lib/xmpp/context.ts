/** Checks characters that are allowed only beside certain others (RFC 5892 appendix A). */
import { JOINS_LAST, JOINS_NEXT, VIRAMA } from './joining.js'
import { PrepError } from './prep-error.js'

/** Throws PrepError if such a character is in the wrong place. Takes linear time for any text. */
export function checkContexts (text: string): void {
  for (const { of, allowed } of WITHIN) if (of.test(text) && !allowed(text)) throw misplaced()
  const characters = Array.from(text)
  for (const [at, character] of characters.entries()) {
    if (!(BESIDE.get(character)?.(characters, at) ?? true)) throw misplaced()
  }
}

/** Rules about the text as a whole. */
const WITHIN: readonly { readonly of: RegExp, readonly allowed: (text: string) => boolean }[] = [
  // A.7: KATAKANA MIDDLE DOT
  { of: /\u30fb/, allowed: text => /[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}]/u.test(text) },
  // A.8, A.9: ARABIC-INDIC DIGITS and EXTENDED ARABIC-INDIC DIGITS must not be mixed
  { of: /[\u0660-\u0669]/, allowed: text => !/[\u06f0-\u06f9]/.test(text) },
]

/** Rules about the characters beside it. */
const BESIDE: ReadonlyMap<string, (characters: readonly string[], at: number) => boolean> = new Map([
  // A.1: ZERO WIDTH NON-JOINER
  ['\u200c', (characters: readonly string[], at: number) =>
    afterVirama(characters, at) || betweenJoined(characters, at)],
  // A.2: ZERO WIDTH JOINER
  ['\u200d', afterVirama],
  // A.3: MIDDLE DOT, in Catalan
  ['\u00b7', (characters, at) => characters[at - 1] === 'l' && characters[at + 1] === 'l'],
  // A.4: GREEK LOWER NUMERAL SIGN
  ['\u0375', (characters, at) => /^\p{Script=Greek}/u.test(characters[at + 1] ?? '')],
  // A.5, A.6: HEBREW PUNCTUATION GERESH, GERSHAYIM
  ['\u05f3', afterHebrew],
  ['\u05f4', afterHebrew],
])

function misplaced (): PrepError {
  return new PrepError('has a character out of place')
}

function afterVirama (characters: readonly string[], at: number): boolean {
  return VIRAMA.test(characters[at - 1] ?? '')
}

function afterHebrew (characters: readonly string[], at: number): boolean {
  return /^\p{Script=Hebrew}/u.test(characters[at - 1] ?? '')
}

function betweenJoined (characters: readonly string[], at: number): boolean {
  let before = at - 1
  while (isTransparent(characters[before])) before--
  let after = at + 1
  while (isTransparent(characters[after])) after++
  return JOINS_NEXT.test(characters[before] ?? '') && JOINS_LAST.test(characters[after] ?? '')
}

/** True for Joining_Type T, as far as names can have such characters: marks. */
function isTransparent (character: string | undefined): boolean {
  return character !== undefined && /[\p{Mn}\p{Me}\u{1e94b}]/u.test(character)
}
