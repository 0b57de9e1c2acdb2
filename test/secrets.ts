/**
 * The texts that no log line may hold: passwords, tokens and bodies that a test uses. Each scene scans its log at level
 * debug when it ends.
 */
import { inspect } from 'node:util'
import type { Fields } from '../lib/base/logger.js'

/** The password of every account in scenes. No other text contains it. */
export const STAGE_PASSWORD = 'a secret for tests'
/** The minimum length of a secret, in characters. Shorter texts occur in log lines by chance: `1`, `now?`, `phone`. */
const SHORTEST = 12
/** The most secrets that are searched for. A test that sends thousands sends one of each kind early. */
const MOST = 300
/** Matches the secrets in XML that a device sends: bodies, SASL messages, tokens and new passwords. */
const SPOKEN = /<(body|password|response|auth|initial-response|token|subject|status)\b[^>]*>([^<]{12,})</g

/** XEP-0484 §3.3: matches a token in the element that the client gets. */
const TOKEN = /\stoken=["']([^"']{12,})/g

export class Secrets {
  readonly #texts = new Set<string>([STAGE_PASSWORD])

  constructor (...texts: readonly string[]) { this.add(...texts) }

  /** Adds secrets. */
  add (...texts: readonly string[]): void {
    for (const text of texts) if (text.length >= SHORTEST && this.#texts.size < MOST) this.#texts.add(text)
  }

  /** Adds all secrets of a stanza or nonza. */
  heard (xml: string): void {
    for (const [, , text = ''] of xml.matchAll(SPOKEN)) this.add(text)
    for (const [, token = ''] of xml.matchAll(TOKEN)) this.add(token)
  }

  /**
   * Returns the first secret in a log line: in its fields, or in an error's message, stack, cause or properties.
   * Undefined if there is none.
   */
  in (event: string, fields: Fields): string | undefined {
    const line = `${event} ${inspect(fields, { depth: 8, maxStringLength: null, maxArrayLength: null, breakLength: Infinity })}`
    return this.inText(line)
  }

  /** Returns the first secret in a line as it was written; undefined if there is none. */
  inText (line: string): string | undefined { return [...this.#texts].find(text => line.includes(text)) }
}
