/** XEP-0220 Server Dialback: keys by XEP-0185, and the elements that carry them. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { shortened } from '../base/text.js'
import { attributeOf, child, localName, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import type { StanzaError } from '../xmpp/errors.js'
import { JidError, parseJid } from '../xmpp/jid.js'

/** A pair of domains as an element of dialback names them. */
export interface DialbackAddresses { readonly from: string, readonly to: string }

/** XEP-0185 §3: who has the secret can make the key again, and nobody can guess it. */
export class DialbackKeys {
  readonly #secret: string

  /** `secret`: the same for all processes that answer for a domain. */
  constructor (secret: Uint8Array = randomBytes(32)) {
    this.#secret = createHash('sha256').update(secret).digest('hex')
  }

  /** For a stream that `originating` has opened to `receiving`, and that the latter has given this id. */
  key (receiving: string, originating: string, id: string): string {
    return createHmac('sha256', this.#secret).update(`${receiving} ${originating} ${id}`).digest('hex')
  }

  isRight (key: string, receiving: string, originating: string, id: string): boolean {
    const right = Buffer.from(this.key(receiving, originating, id))
    const given = Buffer.from(key)
    return given.length === right.length && timingSafeEqual(given, right)
  }
}

export function dialbackElement (name: 'result' | 'verify', attributes: Readonly<Record<string, string | undefined>>, content?: string | Element): Element {
  return xml(`db:${name}`, { 'xmlns:db': NS.DIALBACK, ...attributes }, content)
}

/** XEP-0220 §2.4: an error of one pair of domains, on a stream that goes on. */
export function dialbackError (name: 'result' | 'verify', { from, to }: DialbackAddresses, error: StanzaError, id?: string): Element {
  return dialbackElement(name, { from, to, id, type: 'error' }, error.element())
}

/** The domains an element of dialback is from and to, prepared; undefined where one of them is missing or no domain. */
export function addressesOf (element: Element): DialbackAddresses | undefined {
  const from = domainOf(attributeOf(element, 'from'))
  const to = domainOf(attributeOf(element, 'to'))
  return from === undefined || to === undefined ? undefined : { from, to }
}

export function isDialback (element: Element, name: 'result' | 'verify'): boolean {
  return localName(element) === name
}

export function keyIn (element: Element): string { return textOf(element).trim() }

/** The condition of `<db:result type='error'/>`, as far as one is told. */
export function conditionIn (element: Element): string {
  const error = child(element, NS.CLIENT, 'error') ?? child(element, NS.DIALBACK, 'error')
  const condition = error === undefined ? undefined : child(error, NS.STANZAS)
  return condition === undefined ? 'undefined-condition' : shortened(localName(condition), 64)
}

/** A domain, prepared; undefined where it is none. */
export function domainOf (text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  try {
    const jid = parseJid(text)
    return jid.local === '' && jid.resource === '' ? jid.domain : undefined
  } catch (error) {
    if (error instanceof JidError) return undefined
    throw error
  }
}
