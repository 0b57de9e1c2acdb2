/** What no log line may hold: passwords, tokens and bodies that a test uses. Each stage scans its lines at debug when it is taken down. */
import { inspect } from 'node:util'
import type { Fields } from '../lib/base/logger.js'

/** The password of every account on the stages; no other text is like it. */
export const STAGE_PASSWORD = 'a secret for tests'
/** Shorter texts than this stand in lines by chance: `1`, `now?`, `phone`. */
const SHORTEST = 12
/** Texts that are looked for: a test that says thousands of them says the first of each kind soon. */
const MOST = 300
/** What is a secret in what a device says: bodies, what a SASL mechanism sends, tokens, new passwords. */
const SPOKEN = /<(body|password|response|auth|initial-response|token|subject|status)\b[^>]*>([^<]{12,})</g

/** XEP-0484 §3.3: a token as its client gets it. */
const TOKEN = /\stoken=["']([^"']{12,})/g

export class Secrets {
  readonly #texts = new Set<string>([STAGE_PASSWORD])

  constructor (...texts: readonly string[]) { this.add(...texts) }

  /** This is one from now on. */
  add (...texts: readonly string[]): void {
    for (const text of texts) if (text.length >= SHORTEST && this.#texts.size < MOST) this.#texts.add(text)
  }

  /** All that is secret in a stanza or nonza. */
  heard (xml: string): void {
    for (const [, , text = ''] of xml.matchAll(SPOKEN)) this.add(text)
    for (const [, token = ''] of xml.matchAll(TOKEN)) this.add(token)
  }

  /** The first secret that a line holds, in its fields or in an error's message, stack, cause or properties; undefined if there is none. */
  in (event: string, fields: Fields): string | undefined {
    const line = `${event} ${inspect(fields, { depth: 8, maxStringLength: null, maxArrayLength: null, breakLength: Infinity })}`
    return this.inText(line)
  }

  /** The same of a line as it was written. */
  inText (line: string): string | undefined { return [...this.#texts].find(text => line.includes(text)) }
}
