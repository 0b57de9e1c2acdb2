/** The profiles that prepare names for comparison: PRECIS (RFC 8265, RFC 8266), SASLprep (RFC 4013), IDNA2008. */
import { saslprep } from '@mongodb-js/saslprep'
import { checkBidi } from './bidi.js'
import { checkFreeform, checkIdentifier, PrepError } from './precis.js'
import { lowerCase, narrow } from './mapping.js'

export { idnaDomain } from './idna.js'
export { PrepError } from './precis.js'

/** Prepares the name of an account (RFC 8265 §3.3). Throws PrepError. */
export function usernameCaseMapped (text: string): string {
  if (/^[!-~]+$/.test(text)) return text.toLowerCase()
  return nonEmpty(settled(text, username))
}

/** Prepares a password or resource (RFC 8265 §4.2); keeps the case of letters. Throws PrepError. */
export function opaqueString (text: string): string {
  if (/^[ -~]+$/.test(text)) return text
  return nonEmpty(settled(text, opaque))
}

/** Joiners, variation selectors and tags, which are parts of emoji. PRECIS does not allow most of them. */
const EMOJI_PARTS = /[\u200c\u200d\ufe00-\ufe0f\u{e0020}-\u{e007f}\u{e0100}-\u{e01ef}]/gu

/**
 * Prepares a resource that another server made, or a nickname in a room: OpaqueString (RFC 7622 §3.4), but allows the
 * parts of emoji anywhere. Throws PrepError.
 */
export function anyResource (text: string): string {
  if (/^[ -~]+$/.test(text)) return text
  return nonEmpty(settled(text, text => {
    checkFreeform(nonEmpty(text.replace(EMOJI_PARTS, '')))
    return spaced(text)
  }))
}

/** Prepares a nickname for display (RFC 8266 §2.3). Throws PrepError. */
export function nickname (text: string): string {
  return nonEmpty(settled(text, named))
}

/**
 * Prepares a nickname for comparison: two nicknames are the same if their keys are (RFC 8266 §2.4). Throws PrepError.
 */
export function nicknameKey (text: string): string {
  return nonEmpty(settled(text, text => named(lowerCase(named(text)))))
}

/**
 * Prepares a password as SCRAM hashes it (RFC 4013). Characters that Unicode 3.2 does not have, such as emoji, stay
 * unchanged. That is a documented deviation from RFC 5802 §2.2, which prepares a password as a "stored string" and so
 * refuses them. Throws PrepError.
 */
export function saslPrep (text: string): string {
  if (/^[ -~]*$/.test(text)) return text
  if (/\p{Cs}/u.test(text)) throw new PrepError('is not valid Unicode text')
  try {
    return saslprep(text, { allowUnassigned: true })
  } catch (error) {
    throw new PrepError('has a character that is not allowed in passwords', { cause: error })
  }
}

function username (text: string): string {
  const narrowed = narrow(text)
  checkIdentifier(narrowed)
  const name = lowerCase(narrowed).normalize('NFC')
  checkBidi(name)
  return name
}

function opaque (text: string): string {
  checkFreeform(text)
  return spaced(text)
}

function spaced (text: string): string { return text.replace(/\p{Zs}/gu, ' ').normalize('NFC') }

function named (text: string): string {
  checkFreeform(text)
  return text.replace(/\p{Zs}+/gu, ' ').replace(/^ | $/g, '').normalize('NFKC')
}

/**
 * RFC 8264 §7: applies the rules until they change nothing, but at most three times more, so that preparing the result
 * again gives the same text.
 */
function settled (text: string, rules: (text: string) => string): string {
  let last = text
  for (let round = 0; round <= 4; round++) {
    const next = rules(last)
    if (next === last) return next
    last = next
  }
  throw new PrepError('has no stable form')
}

function nonEmpty (text: string): string {
  if (text === '') throw new PrepError('is empty')
  return text
}
