/** Stored elements that were parsed once and go out as they are stored from then on. */
import { createHash } from 'node:crypto'
import { Cache } from '../base/cache.js'
import { StoredElement } from './element.js'
import { toOctets } from './octets.js'
import { checkElement } from './parse-element.js'

/** Texts that are known to be sound, by their digests. */
const MOST = 20_000

export class StoredTexts {
  readonly #sound = new Cache<string, true>({ max: MOST })

  /** The element of this text, which `octets` has made and a store has kept. Throws what `checkElement` throws if it cannot be read. */
  element (name: string, namespace: string, text: string): StoredElement {
    const digest = createHash('sha256').update(text).digest('base64url')
    if (!this.#sound.has(digest)) {
      checkElement(toOctets(text))
      this.#sound.set(digest, true)
    }
    return new StoredElement(name, namespace, text)
  }
}
