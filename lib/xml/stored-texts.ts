/** Checks stored elements once, so that they can be sent unchanged from then on. */
import { createHash } from 'node:crypto'
import { Cache } from '../base/cache.js'
import { StoredElement } from './element.js'
import { checkElementText } from './parse-element.js'

/** The most texts whose digests are remembered as well-formed. */
const MOST = 20_000

export class CheckedTexts {
  readonly #sound = new Cache<string, true>({ max: MOST })

  /** Returns the element with this text, which `octets` wrote and a store kept. Throws as `checkElementText` does. */
  element (name: string, namespace: string, text: string): StoredElement {
    const digest = createHash('sha256').update(text).digest('base64url')
    if (!this.#sound.has(digest)) {
      checkElementText(text)
      this.#sound.set(digest, true)
    }
    return new StoredElement(name, namespace, text)
  }
}
