/** A token that is cut off, and its pieces as they come: each octet is looked at once, however small the pieces are. */
import { flatten } from './octets.js'

/**
 * What ends it. `little`: it is too short to tell what it is, and any octet may do. `text`: `<`. `section`: `]]>`.
 * `tag`: a `>` outside of quotes, or `<`. `end`: `>` or `<`.
 */
export type Awaited = 'little' | 'text' | 'section' | 'tag' | 'end'

const QUOTE = 34, APOSTROPHE = 39, LT = 60, GT = 62
/** So many small strings are joined at once: a string of strings takes 32 bytes for each. */
const PIECES = 512
/** A chunk this long is worth a copy of its rest. */
const LONG = 2048

export class Held {
  #text = ''
  #recent = ''
  #pieces = 0
  #awaited: Awaited = 'little'
  #quote = 0
  #last = ''

  get isEmpty (): boolean { return this.length === 0 }
  get length (): number { return this.#text.length + this.#recent.length }

  /** Holds the data from here on. */
  keep (data: string, from: number, awaited: Awaited): void {
    const text = data.slice(from)
    // A short rest must not keep a long chunk alive while its connection waits
    this.#text = from > LONG && from > 4 * text.length ? flatten(text) : text
    this.#awaited = awaited
    if (awaited === 'section') this.#last = text.slice(-2)
  }

  /** Whether its end is in these octets. Where it is not, they are held too. */
  completes (octets: string): boolean {
    if (this.isEmpty || this.#isEnd(octets)) return true
    this.#recent += octets
    if (++this.#pieces >= PIECES) this.#join()
    return false
  }

  /** Everything held and these octets; nothing is held any more. */
  take (octets: string): string {
    const all = this.isEmpty ? octets : this.#text + this.#recent + octets
    this.drop()
    return all
  }

  drop (): void {
    this.#text = this.#recent = this.#last = ''
    this.#pieces = 0
  }

  /** Where a tag ends that began before this place; -1 where it does not, and then the next call goes on from there with `isEnd`. */
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
