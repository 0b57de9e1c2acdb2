/** Server Dialback (XEP-0220): keys as in XEP-0185, and the elements that carry them. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { shortened } from '../../base/text.js'
import { attributeOf, child, localName, textOf, xml, type Element } from '../../xml/element.js'
import { NS } from '../../xml/namespaces.js'
import type { StanzaError } from '../../xmpp/errors.js'
import { domainOf } from '../ground/domain.js'
import type { DialbackAddresses } from '../ground/domain-pair.js'

/**
 * Makes and checks dialback keys. XEP-0185 §3: a key can be made again with the secret, and cannot be guessed without
 * it.
 */
export class DialbackKeys {
  readonly #secret: string

  /** `secret`: the same for all processes that answer for a domain. */
  constructor (secret: Uint8Array = randomBytes(32)) {
    this.#secret = createHash('sha256').update(secret).digest('hex')
  }

  /** Returns the key for a stream from `originating` to `receiving`, which gave the stream this id. */
  key (receiving: string, originating: string, id: string): string {
    return createHmac('sha256', this.#secret).update(`${receiving} ${originating} ${id}`).digest('hex')
  }

  isRight (key: string, receiving: string, originating: string, id: string): boolean {
    const right = Buffer.from(this.key(receiving, originating, id))
    const given = Buffer.from(key)
    return given.length === right.length && timingSafeEqual(given, right)
  }
}

/** Makes an element of dialback. */
export function dialbackElement (
  name: 'result' | 'verify', attributes: Readonly<Record<string, string | undefined>>, content?: string | Element,
): Element {
  return xml(`db:${name}`, { 'xmlns:db': NS.DIALBACK, ...attributes }, content)
}

/** XEP-0220 §2.4: an error about one pair of domains. The stream goes on. */
export function dialbackError (
  name: 'result' | 'verify', { from, to }: DialbackAddresses, error: StanzaError, id?: string,
): Element {
  return dialbackElement(name, { from, to, id, type: 'error' }, error.element())
}

/**
 * Returns the domains that a dialback element is from and to, prepared; undefined if one is missing or not a domain.
 */
export function addressesOf (element: Element): DialbackAddresses | undefined {
  const from = domainOf(attributeOf(element, 'from'))
  const to = domainOf(attributeOf(element, 'to'))
  return from === undefined || to === undefined ? undefined : { from, to }
}

export function isDialback (element: Element, name: 'result' | 'verify'): boolean {
  return localName(element) === name
}

export function keyIn (element: Element): string { return textOf(element).trim() }

/** Returns the condition of `<db:result type='error'/>`, or 'undefined-condition' if the peer gives none. */
export function conditionIn (element: Element): string {
  const error = child(element, NS.CLIENT, 'error') ?? child(element, NS.DIALBACK, 'error')
  const condition = error === undefined ? undefined : child(error, NS.STANZAS)
  return condition === undefined ? 'undefined-condition' : shortened(localName(condition), 64)
}
