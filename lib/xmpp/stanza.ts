/** Message, presence and iq over an element (RFC 6120 §8): addresses checked once, content never changed. */
import { attributeOf, Element, child, clone, define, has, namespaceOf, withAttributes, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { escapeAttribute, flatten, stanzaContent, stanzaTag, toOctets, type StanzaTag } from '../xml/writer.js'
import type { Jid } from './jid.js'
import type { StanzaError } from './errors.js'

export type Kind = 'message' | 'presence' | 'iq'

/** What `with` changes. `without` says which direct children go; `plus` come last. */
export interface StanzaChange {
  readonly to?: Jid
  readonly from?: Jid
  readonly without?: (child: Element) => boolean
  readonly plus?: readonly Element[]
}

const NOTHING: readonly Element[] = []

/**
 * A stanza whose addresses were checked once, at the border. Never changed after it is routed: `with` copies.
 * Its content namespace reads as jabber:client whatever stream it came from.
 */
export class Stanza<K extends Kind = Kind> {
  readonly kind: K
  readonly element: Element
  readonly id: string | undefined
  /** The default filled in: 'available' for a presence, 'normal' for a message, also if its type is unknown (RFC 6121 §5.2.2). */
  readonly type: string
  readonly from: Jid
  /** undefined: sent without an address. The router sees addressed stanzas only. */
  readonly to: Jid | undefined
  readonly #source: Source | undefined
  readonly #plus: readonly Element[]
  /** The start tag without `from` and `to`, the same with `from`, and the content: shared by all copies of a broadcast. */
  #tag: StanzaTag | undefined
  #head: string | undefined
  #inner: string | undefined
  #octets: string | undefined

  constructor (kind: K, element: Element, from: Jid, to: Jid | undefined, source?: Source, plus: readonly Element[] = NOTHING) {
    this.kind = kind
    this.element = element
    this.id = attributeOf(element, 'id')
    this.type = typeOf(kind, attributeOf(element, 'type'))
    this.from = from
    this.to = to
    this.#source = source
    this.#plus = plus
    this.#tag = undefined
    this.#head = undefined
    this.#inner = undefined
    this.#octets = undefined
  }

  /** The first direct child of this namespace, and name where one is given. */
  child (namespace: string, name?: string): Element | undefined {
    return child(this.element, namespace, name) ?? this.#plus.find(element => matches(element, namespace, name))
  }

  has (namespace: string, name?: string): boolean {
    return has(this.element, namespace, name) || this.#plus.some(element => matches(element, namespace, name))
  }

  /** The direct child elements, those that were added last. */
  * children (): Iterable<Element> {
    for (const node of this.element.children) if (typeof node !== 'string') yield node
    yield* this.#plus
  }

  /** A copy that shares the children and the source; what is added stands beside them. */
  with (change: StanzaChange): Stanza<K> {
    const from = change.from ?? this.from
    const to = change.to ?? this.to
    const plus = change.plus === undefined ? this.#plus : [...this.#plus, ...change.plus]
    const { without } = change
    const element = without === undefined ? this.element : lessened(this.element, without)
    if (element !== this.element) return new Stanza(this.kind, element, from, to, undefined, plus)
    const copy = new Stanza(this.kind, this.element, from, to, this.#source, plus)
    if (change.plus === undefined) copy.#inner = this.#inside()
    copy.#tag = this.#tag
    if (from === this.from) copy.#head = this.#start()
    return copy
  }

  /** A copy that pins no network buffer, to be held for longer than its own way (design: substrings pin their chunk). */
  kept (): Stanza<K> {
    const source = this.#source?.portable === true ? { ...this.#source, octets: flatten(this.#source.octets) } : undefined
    return new Stanza(this.kind, clone(this.#element(NOTHING)), this.from, this.to, source, this.#plus.map(element => clone(element)))
  }

  /** The stanza as it goes out: UTF-8, one character a byte. Its own source wherever that can be forwarded. */
  octets (): string {
    return this.#octets ??= `${this.#start()}${this.#recipient()}>${this.#inside()}</${this.kind}>`
  }

  /** The stanza with its additions as one element, addresses written in, to be put into another element: never the node itself. */
  whole (namespace?: string): Element {
    return this.#element(this.#plus, namespace)
  }

  #element (plus: readonly Element[], namespace?: string): Element {
    const element = withAttributes(this.kind, this.#attributes(namespace))
    for (const node of this.element.children) element.children.push(node)
    for (const node of plus) element.children.push(node)
    return element
  }

  #attributes (namespace: string | undefined): Record<string, string> {
    const attributes: Record<string, string> = {}
    for (const name of Object.keys(this.element.attrs)) {
      if (name === 'xmlns' || name === 'from' || name === 'to') continue
      const value = attributeOf(this.element, name)
      if (value !== undefined) define(attributes, name, value)
    }
    if (namespace !== undefined) attributes['xmlns'] = namespace
    attributes['from'] = this.from.toString()
    if (this.to !== undefined) attributes['to'] = this.to.toString()
    return attributes
  }

  #opened (): StanzaTag { return this.#tag ??= stanzaTag(this.kind, this.element) }

  #start (): string {
    return this.#head ??= `${this.#opened().octets} from="${toOctets(escapeAttribute(this.from.toString()))}"`
  }

  #recipient (): string {
    return this.to === undefined ? '' : ` to="${toOctets(escapeAttribute(this.to.toString()))}"`
  }

  #inside (): string {
    return this.#inner ??= this.#content() + (this.#plus.length === 0 ? '' : stanzaContent(this.#plus, this.#opened()))
  }

  /** The octets that came, if they mean the same in every stream; else its nodes, written anew. */
  #content (): string {
    const source = this.#source
    if (source?.portable !== true) return stanzaContent(this.element.children, this.#opened())
    const { octets, head } = source
    return head === octets.length ? '' : octets.slice(head, octets.lastIndexOf('</'))
  }
}

export type Addressed<K extends Kind = Kind> = Stanza<K> & { readonly to: Jid }
export type Message = Addressed<'message'>
export type Presence = Stanza<'presence'>
export type Iq = Addressed<'iq'>

const DEFAULT_TYPE: Readonly<Record<Kind, string>> = { message: 'normal', presence: 'available', iq: '' }

/** RFC 6121 §5.2.2: a `type` of a message that is none of the five counts as `normal`. */
function typeOf (kind: Kind, written: string | undefined): string {
  if (kind !== 'message') return written ?? DEFAULT_TYPE[kind]
  switch (written) {
    case 'chat': case 'error': case 'groupchat': case 'headline': return written
    default: return DEFAULT_TYPE.message
  }
}

/** A stanza with a recipient. */
export function isAddressed<K extends Kind> (stanza: Stanza<K>): stanza is Addressed<K> {
  return stanza.to !== undefined
}

export function isMessage (stanza: Stanza): stanza is Stanza<'message'> { return stanza.kind === 'message' }
export function isPresence (stanza: Stanza): stanza is Stanza<'presence'> { return stanza.kind === 'presence' }
export function isIq (stanza: Stanza): stanza is Stanza<'iq'> { return stanza.kind === 'iq' }

/** A stanza of the server's own, from an element made with xml(). Throws where the element is no stanza. */
export function stanza (element: Element, from: Jid, to: Jid): Addressed {
  const kind = element.name
  if (kind !== 'message' && kind !== 'presence' && kind !== 'iq') throw new Error(`<${kind}/> is not a stanza`)
  return addressed(new Stanza(kind, element, from, to), to)
}

/** The same stanza, typed as addressed, with this recipient. */
export function addressed<K extends Kind> (stanza: Stanza<K>, to: Jid): Addressed<K> {
  const copy = stanza.to === to ? stanza : stanza.with({ to })
  if (!isAddressed(copy)) throw new Error('a stanza lost its recipient')
  return copy
}

/** The answer that carries an error back to the sender (RFC 6120 §8.3.1). `from` is left out where the request named nobody. */
export function errorReply (stanza: Stanza, error: StanzaError): Addressed {
  const element = new Element(stanza.kind, replyAttributes(stanza, 'error'))
  element.append(error.element())
  return addressed(new Stanza(stanza.kind, element, stanza.to ?? stanza.from.bare, stanza.from), stanza.from)
}

/** The result of a request, with its payload if there is one (RFC 6120 §8.2.3). */
export function resultReply (request: Addressed<'iq'>, payload: Element | undefined): Addressed<'iq'> {
  const element = new Element('iq', replyAttributes(request, 'result'))
  if (payload !== undefined) element.children.push(payload)
  return addressed(new Stanza('iq', element, request.to, request.from), request.from)
}

/** XEP-0297: the stanza inside `<forwarded/>`, its content a view of the stanza and not the node itself. */
export function forwarded (stanza: Stanza, before: readonly Element[] = NOTHING): Element {
  const element = new Element('forwarded', { xmlns: NS.FORWARD })
  for (const node of before) element.children.push(node)
  element.children.push(stanza.whole(NS.CLIENT))
  return element
}

function replyAttributes (stanza: Stanza, type: string): Record<string, string> {
  return stanza.id === undefined ? { type } : { type, id: stanza.id }
}

/** A copy without these children; the element itself if there are none. Asks once about each child. */
function lessened (element: Element, without: (child: Element) => boolean): Element {
  const kept = element.children.filter(node => typeof node === 'string' || !without(node))
  if (kept.length === element.children.length) return element
  const copy = withAttributes(element.name, element.attrs)
  copy.children = kept
  return copy
}

function matches (element: Element, namespace: string, name: string | undefined): boolean {
  return (name === undefined || element.getName() === name) && namespaceOf(element) === namespace
}
