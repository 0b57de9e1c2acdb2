/** The history of a room: the last messages, which somebody who enters is sent (XEP-0045 §7.2.13, §7.2.14). */
import { attributeOf, fromOctets, parseDateTime, StanzaError } from '../../lib/api.js'
import type { Batch, Element, Jid, Stanza } from '../../lib/api.js'

/** A message as it was said, with all that the room has added. `at`: in milliseconds since 1970. */
export interface Said { readonly message: Stanza<'message'>, readonly at: number, readonly id: string | undefined }

/** The bounds that somebody who enters asks for. */
export interface Wanted {
  readonly maxChars: number
  readonly maxStanzas: number
  /** The earliest moment, in milliseconds since 1970. */
  readonly since: number
}

export class History {
  readonly #most: number
  readonly #mostBytes: number
  readonly #said: { readonly said: Said, readonly bytes: number }[] = []
  #bytes = 0

  /** `most` messages with `mostBytes` bytes together at most; the oldest go first. */
  constructor (most: number, mostBytes: number) {
    this.#most = most
    this.#mostBytes = mostBytes
  }

  get bytes (): number { return this.#bytes }

  add (said: Said): void {
    const bytes = said.message.octets().length
    this.#said.push({ said, bytes })
    this.#bytes += bytes
    while (this.#said.length > this.#most || this.#bytes > this.#mostBytes) this.#drop(0)
  }

  /** Removes a message that was never stored, or that was retracted. */
  remove (matches: (said: Said) => boolean): void {
    for (let i = this.#said.length - 1; i >= 0; i--) {
      const entry = this.#said[i]
      if (entry !== undefined && matches(entry.said)) this.#drop(i)
    }
  }

  /** True if an occupant has said something with this id of the sender's. */
  holds (from: Jid, id: string): boolean {
    return this.#said.some(({ said: { message } }) => message.id === id && message.from.equals(from))
  }

  get all (): readonly Said[] { return this.#said.map(({ said }) => said) }

  /** Puts a message in the place of another, as long as the batch does not fail. */
  replace (old: Said, said: Said, batch: Batch): void {
    if (this.#put(old, said)) batch.failed(() => { this.#put(said, old) })
  }

  find (id: string): Said | undefined { return this.#said.find(({ said }) => said.id === id)?.said }

  /**
   * §7.2.14: returns the newest messages that meet all bounds, the oldest first. Messages are never cut. `more`: the
   * characters that are added to each.
   */
  page ({ maxChars, maxStanzas, since }: Wanted, more = 0): readonly Said[] {
    const found: Said[] = []
    let left = maxChars
    for (let i = this.#said.length - 1; i >= 0 && found.length < maxStanzas; i--) {
      const said = this.#said[i]?.said
      if (said === undefined || said.at < since) break
      if (left !== Infinity) left -= fromOctets(said.message.octets()).length + more
      if (left < 0) break
      found.push(said)
    }
    return found.reverse()
  }

  #put (old: Said, said: Said): boolean {
    const index = this.#said.findIndex(entry => entry.said === old)
    const entry = this.#said[index]
    if (entry === undefined) return false
    const bytes = said.message.octets().length
    this.#said[index] = { said, bytes }
    this.#bytes += bytes - entry.bytes
    return true
  }

  #drop (index: number): void {
    const [entry] = this.#said.splice(index, 1)
    this.#bytes -= entry?.bytes ?? 0
  }
}

/**
 * Reads `<history/>`; without one, the bound of the room alone counts. `most`: that bound; `now`: in milliseconds since
 * 1970. Throws bad-request for values that cannot be read.
 */
export function readWanted (history: Element | undefined, most: number, now: number): Wanted {
  const count = (name: string): number => {
    const text = history === undefined ? undefined : attributeOf(history, name)
    if (text === undefined) return Infinity
    if (!/^[0-9]{1,15}$/.test(text)) throw new StanzaError('bad-request', `${name} is not a number`)
    return Number(text)
  }
  const since = history === undefined ? undefined : attributeOf(history, 'since')
  return {
    maxChars: count('maxchars'),
    maxStanzas: Math.min(most, count('maxstanzas')),
    since: Math.max(now - count('seconds') * 1000, since === undefined ? -Infinity : parseDateTime(since)),
  }
}
