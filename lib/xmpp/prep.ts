/** The profiles that prepare names for comparison: PRECIS (RFC 8265, RFC 8266), SASLprep (RFC 4013), IDNA2008. */
import { saslprep } from '@mongodb-js/saslprep'
import { checkBidi } from './bidi.js'
import { checkFreeform, checkIdentifier, PrepError } from './precis.js'
import { lowerCase, narrow } from './mapping.js'

export { idnaDomain } from './idna.js'
export { PrepError } from './precis.js'

/** The name of an account (RFC 8265 §3.3). Throws PrepError. */
export function usernameCaseMapped (text: string): string {
  if (/^[!-~]+$/.test(text)) return text.toLowerCase()
  return nonEmpty(settled(text, username))
}

/** A password or resource (RFC 8265 §4.2): letters keep their case. Throws PrepError. */
export function opaqueString (text: string): string {
  if (/^[ -~]+$/.test(text)) return text
  return nonEmpty(settled(text, opaque))
}

/** Joiners, variation selectors and tags: emoji are made with them, and PRECIS has no place for most of them. */
const EMOJI_PARTS = /[\u200c\u200d\ufe00-\ufe0f\u{e0020}-\u{e007f}\u{e0100}-\u{e01ef}]/gu

/**
 * A resource as others have made it, or a nick in a room: OpaqueString (RFC 7622 §3.4), which also takes what emoji are made of, wherever
 * it stands. Throws PrepError.
 */
export function anyResource (text: string): string {
  if (/^[ -~]+$/.test(text)) return text
  return nonEmpty(settled(text, text => {
    checkFreeform(nonEmpty(text.replace(EMOJI_PARTS, '')))
    return spaced(text)
  }))
}

/** A nickname as it is shown (RFC 8266 §2.3). Throws PrepError. */
export function nickname (text: string): string {
  return nonEmpty(settled(text, named))
}

/** What two nicknames share where they are taken for the same (RFC 8266 §2.4). Throws PrepError. */
export function nicknameKey (text: string): string {
  return nonEmpty(settled(text, text => named(lowerCase(named(text)))))
}

/**
 * A password as SCRAM hashes it (RFC 4013). Characters that Unicode 3.2 does not have, such as emoji, stay as they are: a documented
 * deviation from RFC 5802 §2.2, which prepares a password as a "stored string" and so refuses them. Throws PrepError.
 */
export function saslPrep (text: string): string {
  if (/^[ -~]*$/.test(text)) return text
  if (/\p{Cs}/u.test(text)) throw new PrepError('is no Unicode text')
  try {
    return saslprep(text, { allowUnassigned: true })
  } catch (error) {
    throw new PrepError('has a character that passwords cannot have', { cause: error })
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

/** RFC 8264 §7: the rules are applied until they change nothing, at most three times more; and so the result is its own. */
function settled (text: string, rules: (text: string) => string): string {
  let last = text
  for (let round = 0; round <= 4; round++) {
    const next = rules(last)
    if (next === last) return next
    last = next
  }
  throw new PrepError('does not settle')
}

function nonEmpty (text: string): string {
  if (text === '') throw new PrepError('is empty')
  return text
}
