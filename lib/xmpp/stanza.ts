/**
 * Message, presence and iq stanzas (RFC 6120 §8), each over an element. Addresses are checked once, and content never
 * changes.
 */
import {
  attributeOf, child, clone, define, has, namespaceOf, weightOf, withAttributes, xml, type Element, type Source,
} from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { escapeAttribute, flatten, stanzaContent, stanzaTag, toOctets, type StanzaTag } from '../xml/writer.js'
import type { Jid } from './jid.js'
import type { StanzaError } from './errors.js'

export type Kind = 'message' | 'presence' | 'iq'

/** The changes that `with` makes. `without` is true for the direct children to remove; `plus` is added at the end. */
export interface StanzaChange {
  readonly to?: Jid
  readonly from?: Jid
  readonly without?: (child: Element) => boolean
  readonly plus?: readonly Element[]
}

/** The octets of a stanza before and after its `to`. They are shared by all copies of a broadcast. */
export interface StanzaFrame { readonly head: string, readonly tail: string }

const NOTHING: readonly Element[] = []

/** True for the name of a stanza (RFC 6120 §8). */
export function isKind (name: string): name is Kind {
  return name === 'message' || name === 'presence' || name === 'iq'
}

/**
 * A stanza whose addresses were checked when it arrived. A stanza never changes after it is routed: `with` returns a
 * copy. Its content namespace is replaced by jabber:client, whatever stream it came from.
 */
export class Stanza<K extends Kind = Kind> {
  readonly kind: K
  readonly element: Element
  readonly id: string | undefined
  /**
   * The type with its default: 'available' for a presence, 'normal' for a message, also if a message has an unknown
   * type (RFC 6121 §5.2.2).
   */
  readonly type: string
  readonly from: Jid
  /** undefined if the stanza was sent without an address. The router handles only addressed stanzas. */
  readonly to: Jid | undefined
  readonly #source: Source | undefined
  readonly #plus: readonly Element[]
  /**
   * The start tag without `from` and `to`, the start tag with `from`, and the content. All copies of a broadcast share
   * them.
   */
  #tag: StanzaTag | undefined
  #head: string | undefined
  #inner: string | undefined
  #octets: string | undefined

  constructor (
    kind: K, element: Element, from: Jid, to: Jid | undefined, source?: Source, plus: readonly Element[] = NOTHING,
  ) {
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

  /** Returns the first direct child with this namespace, and with this name if one is given. */
  child (namespace: string, name?: string): Element | undefined {
    return child(this.element, namespace, name) ?? this.#plus.find(element => matches(element, namespace, name))
  }

  has (namespace: string, name?: string): boolean {
    return has(this.element, namespace, name) || this.#plus.some(element => matches(element, namespace, name))
  }

  /** Yields the direct child elements; those that were added come last. */
  * children (): Iterable<Element> {
    for (const node of this.element.children) if (typeof node !== 'string') yield node
    yield* this.#plus
  }

  /** Returns a copy that shares the children and the source; additions are kept apart from them. */
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

  /** Returns about how many bytes of memory the stanza takes while it waits. */
  weight (): number {
    const { length } = this.octets()
    return this.#source === undefined ? length : Math.max(length, weightOf(this.#source))
  }

  /** Returns a copy that refers to no network chunk, so that it can be kept after the stanza is delivered. */
  detached (): Stanza<K> {
    const old = this.#source
    const source = old?.portable === true ? { ...old, octets: flatten(old.octets) } : undefined
    const plus = this.#plus.map(element => clone(element))
    return new Stanza(this.kind, clone(this.#element(NOTHING)), this.from, this.to, source, plus)
  }

  /**
   * Returns the stanza as it is sent: UTF-8, one character for each byte. Uses the received octets if they can be
   * forwarded.
   */
  octets (): string {
    return this.#octets ??= `${this.#start()}${recipientAttribute(this.to)}>${this.#inside()}</${this.kind}>`
  }

  /** Returns the octets around the `to`, whatever that is, in memory of their own: they can be kept. */
  frame (): StanzaFrame {
    return { head: flatten(this.#start()), tail: flatten(`>${this.#inside()}</${this.kind}>`) }
  }

  /** Returns a new element with the stanza's content, additions and addresses, to be placed in another element. */
  toElement (namespace?: string): Element {
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

  #inside (): string {
    return this.#inner ??= this.#content() + (this.#plus.length === 0 ? '' : stanzaContent(this.#plus, this.#opened()))
  }

  /**
   * Returns the received octets of the content if they mean the same in every stream; otherwise writes the nodes anew.
   */
  #content (): string {
    const source = this.#source
    if (source?.portable !== true) return stanzaContent(this.element.children, this.#opened())
    const { octets, head } = source
    return head === octets.length ? '' : octets.slice(head, octets.lastIndexOf('</'))
  }
}

/** Returns the attribute `to` as octets that stand between the parts of a `StanzaFrame`; '' without a recipient. */
export function recipientAttribute (to: Jid | undefined): string {
  return to === undefined ? '' : ` to="${toOctets(escapeAttribute(to.toString()))}"`
}

export type Addressed<K extends Kind = Kind> = Stanza<K> & { readonly to: Jid }
export type Message = Addressed<'message'>
export type Presence = Stanza<'presence'>
export type Iq = Addressed<'iq'>

const DEFAULT_TYPE: Readonly<Record<Kind, string>> = { message: 'normal', presence: 'available', iq: '' }

/** RFC 6121 §5.2.2: a message `type` that is none of the five counts as `normal`. */
function typeOf (kind: Kind, written: string | undefined): string {
  if (kind !== 'message') return written ?? DEFAULT_TYPE[kind]
  switch (written) {
    case 'chat': case 'error': case 'groupchat': case 'headline': return written
    default: return DEFAULT_TYPE.message
  }
}

/** True if the stanza has a recipient. */
export function isAddressed<K extends Kind> (stanza: Stanza<K>): stanza is Addressed<K> {
  return stanza.to !== undefined
}

export function isMessage (stanza: Stanza): stanza is Stanza<'message'> { return stanza.kind === 'message' }
export function isPresence (stanza: Stanza): stanza is Stanza<'presence'> { return stanza.kind === 'presence' }
export function isIq (stanza: Stanza): stanza is Stanza<'iq'> { return stanza.kind === 'iq' }

/** Creates a stanza of the server itself from an element made with `xml`. Throws if the element is not a stanza. */
export function stanza (element: Element, from: Jid, to: Jid): Addressed {
  const kind = element.name
  if (kind !== 'message' && kind !== 'presence' && kind !== 'iq') throw new Error(`<${kind}/> is not a stanza`)
  return addressed(new Stanza(kind, element, from, to), to)
}

/** Returns the stanza with this recipient, typed as addressed. */
export function addressed<K extends Kind> (stanza: Stanza<K>, to: Jid): Addressed<K> {
  const copy = stanza.to === to ? stanza : stanza.with({ to })
  if (!isAddressed(copy)) throw new Error('the stanza has no recipient')
  return copy
}

/**
 * Returns the error reply to a stanza (RFC 6120 §8.3.1). Its sender is the recipient of the stanza, or the sender's
 * bare address if the stanza had no recipient.
 */
export function errorReply (stanza: Stanza, error: StanzaError): Addressed {
  const element = xml(stanza.kind, replyAttributes(stanza, 'error'), error.returned, error.element())
  return addressed(new Stanza(stanza.kind, element, stanza.to ?? stanza.from.bare, stanza.from), stanza.from)
}

/** Returns the result reply to a request, with its payload if there is one (RFC 6120 §8.2.3). */
export function resultReply (request: Addressed<'iq'>, payload: Element | undefined): Addressed<'iq'> {
  const element = xml('iq', replyAttributes(request, 'result'))
  if (payload !== undefined) element.children.push(payload)
  return addressed(new Stanza('iq', element, request.to, request.from), request.from)
}

/** Returns `<forwarded/>` with the stanza inside (XEP-0297). The element of the stanza itself is not moved. */
export function forwarded (stanza: Stanza, before: readonly Element[] = NOTHING): Element {
  const element = xml('forwarded', { xmlns: NS.FORWARD })
  for (const node of before) element.children.push(node)
  element.children.push(stanza.toElement(NS.CLIENT))
  return element
}

function replyAttributes (stanza: Stanza, type: string): Record<string, string> {
  return stanza.id === undefined ? { type } : { type, id: stanza.id }
}

/**
 * Returns a copy without the children for which `without` is true, or the element itself if there are none. Calls
 * `without` once for each child.
 */
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
