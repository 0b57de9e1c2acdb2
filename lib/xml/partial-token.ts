/**
 * Holds the beginning of an incomplete token while its other pieces arrive. Each octet is examined once, however small
 * the pieces are.
 */
import { flatten } from './octets.js'

/**
 * The end of the token. `little`: it is too short to tell its kind, and any octet may decide. `text`: `<`. `section`:
 * `]]>`. `tag`: a `>` outside of quotes, or `<`. `end`: `>` or `<`.
 */
export type Awaited = 'little' | 'text' | 'section' | 'tag' | 'end'

const QUOTE = 34, APOSTROPHE = 39, LT = 60, GT = 62
/** After this many short strings, they are copied into one: until then V8 holds 32 more bytes for each. */
const PIECES = 512
/** If the chunk was longer than this, its rest may be copied. */
const LONG = 2048

export class PartialToken {
  #text = ''
  #recent = ''
  #pieces = 0
  #awaited: Awaited = 'little'
  #quote = 0
  #last = ''

  get isEmpty (): boolean { return this.length === 0 }
  get length (): number { return this.#text.length + this.#recent.length }

  /** Holds the data from `from` on. */
  keep (data: string, from: number, awaited: Awaited): void {
    const text = data.slice(from)
    // A short rest must not keep a long chunk in memory while its connection waits.
    this.#text = from > LONG && from > 4 * text.length ? flatten(text) : text
    this.#awaited = awaited
    if (awaited === 'section') this.#last = text.slice(-2)
  }

  /** True if these octets end the token, or if nothing is held. Otherwise holds the octets too. */
  completes (octets: string): boolean {
    if (this.isEmpty || this.#isEnd(octets)) return true
    this.#recent += octets
    if (++this.#pieces >= PIECES) this.#join()
    return false
  }

  /** Returns all that is held followed by these octets, and holds nothing afterwards. */
  take (octets: string): string {
    const all = this.isEmpty ? octets : this.#text + this.#recent + octets
    this.drop()
    return all
  }

  drop (): void {
    this.#text = this.#recent = this.#last = ''
    this.#pieces = 0
  }

  /**
   * Returns the end of a tag that began before `from`. Returns -1 if the data ends first; the search then continues in
   * `completes`.
   */
  tagEnd (data: string, from: number): number {
    this.#quote = 0
    return this.#scanTag(data, from)
  }

  #isEnd (octets: string): boolean {
    switch (this.#awaited) {
      case 'little': return true
      case 'text': return octets.includes('<')
      case 'end': return octets.includes('>') || octets.includes('<')
      case 'tag': return this.#scanTag(octets, 0) >= 0
      case 'section': {
        const seen = this.#last + octets
        this.#last = seen.slice(-2)
        return seen.includes(']]>')
      }
    }
  }

  #scanTag (data: string, from: number): number {
    let quote = this.#quote
    for (let at = from; at < data.length; at++) {
      const code = data.charCodeAt(at)
      if (code === LT) return at + 1
      if (quote !== 0) {
        if (code === quote) quote = 0
      } else if (code === QUOTE || code === APOSTROPHE) quote = code
      else if (code === GT) return at + 1
    }
    this.#quote = quote
    return -1
  }

  #join (): void {
    this.#text += flatten(this.#recent)
    this.#recent = ''
    this.#pieces = 0
  }
}
