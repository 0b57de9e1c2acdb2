/** The string classes of PRECIS (RFC 8264 §8), computed from Unicode properties. */
import { checkContexts } from './context.js'
import { PrepError } from './prep-error.js'

export { PrepError } from './prep-error.js'

/** RFC 8264 §9.6: valid, whatever the properties say. */
export const EXCEPTIONALLY_VALID = /[\u00df\u03c2\u06fd\u06fe\u0f0b\u3007]/u
/** RFC 8264 §9.6: valid if appendix A of RFC 5892 allows the context. */
export const CONTEXTUAL = /[\u00b7\u0375\u05f3\u05f4\u0660-\u0669\u06f0-\u06f9\u30fb\u200c\u200d]/u
/** RFC 8264 §9.6 and §9.9: disallowed, whatever the properties say; and the conjoining jamo. */
export const EXCEPTIONALLY_DISALLOWED = /[\u0640\u07fa\u302e\u302f\u3031-\u3035\u303b\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7c6\ud7cb-\ud7fb]/u
/** RFC 8264 §9.1. */
export const LETTER_OR_DIGIT = /[\p{Ll}\p{Lu}\p{Lo}\p{Nd}\p{Lm}\p{Mn}\p{Mc}]/u

/** RFC 8264 §9.12, §9.13; unassigned, private and lone surrogate code points. */
const NEVER = /[\p{C}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}]/u
/** RFC 8264 §9.14 to §9.17: other letters and digits, spaces, symbols, punctuation. */
const FREE = /[\p{Lt}\p{Nl}\p{No}\p{Me}\p{Zs}\p{S}\p{P}]/u

/** Throws PrepError if a character is not in IdentifierClass (RFC 8264 §4.2). */
export function checkIdentifier (text: string): void {
  check(text, character => LETTER_OR_DIGIT.test(character) && character.normalize('NFKC') === character)
}

/** Throws PrepError if a character is not in FreeformClass (RFC 8264 §4.3). */
export function checkFreeform (text: string): void {
  check(text, character => {
    return LETTER_OR_DIGIT.test(character) || FREE.test(character) || character.normalize('NFKC') !== character
  })
}

/** Checks in the order of RFC 8264 §8. */
function check (text: string, inClass: (character: string) => boolean): void {
  let hasContext = false
  for (const character of text) {
    const isPrintableAscii = character >= '!' && character <= '~' && character.length === 1
    if (isPrintableAscii || EXCEPTIONALLY_VALID.test(character)) continue
    if (CONTEXTUAL.test(character)) hasContext = true
    else if (EXCEPTIONALLY_DISALLOWED.test(character) || NEVER.test(character) || !inClass(character)) {
      throw disallowed(character)
    }
  }
  if (hasContext) checkContexts(text)
}

/**
 * Returns the error for a character. Names it by number, because the character may be invisible or disturb the text
 * around it.
 */
export function disallowed (character: string): PrepError {
  const point = character.codePointAt(0) ?? 0
  const number = point.toString(16).toUpperCase().padStart(4, '0')
  return new PrepError(`has the character U+${number}, which is not allowed there`)
}
