/** The two errors XMPP knows (RFC 6120 §4.9, §8.3), and their elements. */
import { attributeOf, child, children, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'

const TYPES = ['auth', 'cancel', 'continue', 'modify', 'wait'] as const
export type ErrorType = typeof TYPES[number]

/** The conditions of RFC 6120 §8.3.3, each with the type the RFC gives it. */
const CONDITIONS = {
  'bad-request': 'modify',
  'conflict': 'cancel',
  'feature-not-implemented': 'cancel',
  'forbidden': 'auth',
  'gone': 'cancel',
  'internal-server-error': 'cancel',
  'item-not-found': 'cancel',
  'jid-malformed': 'modify',
  'not-acceptable': 'modify',
  'not-allowed': 'cancel',
  'not-authorized': 'auth',
  'policy-violation': 'modify',
  'recipient-unavailable': 'wait',
  'redirect': 'modify',
  'registration-required': 'auth',
  'remote-server-not-found': 'cancel',
  'remote-server-timeout': 'wait',
  'resource-constraint': 'wait',
  'service-unavailable': 'cancel',
  'subscription-required': 'auth',
  'undefined-condition': 'cancel',
  'unexpected-request': 'wait',
} as const satisfies Record<string, ErrorType>

export type StanzaCondition = keyof typeof CONDITIONS

export interface StanzaErrorOptions {
  readonly type?: ErrorType
  /** An application-specific condition, put behind the defined one (RFC 6120 §8.3.4). */
  readonly plus?: Element
  readonly cause?: unknown
}

/** Thrown by any handler: the sender gets it as an error reply, and the stanza goes no further. */
export class StanzaError extends Error {
  readonly condition: StanzaCondition
  readonly type: ErrorType
  readonly text: string | undefined
  readonly plus: Element | undefined

  constructor (condition: StanzaCondition, text?: string, options: StanzaErrorOptions = {}) {
    super(text === undefined ? condition : `${condition}: ${text}`, { cause: options.cause })
    this.condition = condition
    this.type = options.type ?? CONDITIONS[condition]
    this.text = text
    this.plus = options.plus
  }

  /** `<error/>` as RFC 6120 §8.3.2 orders it. `by`: who says so, where that is not the stanza's sender. */
  element (by?: string): Element {
    const children = [xml(this.condition, { xmlns: NS.STANZAS })]
    if (this.text !== undefined) children.push(xml('text', { xmlns: NS.STANZAS, 'xml:lang': 'en' }, this.text))
    if (this.plus !== undefined) children.push(this.plus)
    return xml('error', by === undefined ? { type: this.type } : { type: this.type, by }, ...children)
  }
}

/** The conditions of RFC 6120 §4.9.3. */
export type StreamCondition =
  | 'bad-format' | 'bad-namespace-prefix' | 'conflict' | 'connection-timeout' | 'host-gone' | 'host-unknown'
  | 'improper-addressing' | 'internal-server-error' | 'invalid-from' | 'invalid-namespace' | 'invalid-xml'
  | 'not-authorized' | 'not-well-formed' | 'policy-violation' | 'remote-connection-failed' | 'reset' | 'resource-constraint'
  | 'restricted-xml' | 'see-other-host' | 'system-shutdown' | 'undefined-condition' | 'unsupported-encoding'
  | 'unsupported-feature' | 'unsupported-stanza-type' | 'unsupported-version'

/** Ends the stream: `<stream:error/>` is sent, and the stream closed (RFC 6120 §4.9). */
export class StreamError extends Error {
  readonly condition: StreamCondition
  readonly text: string | undefined
  readonly plus: Element | undefined

  constructor (condition: StreamCondition, text?: string, options: { readonly plus?: Element, readonly cause?: unknown } = {}) {
    super(text === undefined ? condition : `${condition}: ${text}`, { cause: options.cause })
    this.condition = condition
    this.text = text
    this.plus = options.plus
  }

  /** `<stream:error/>`; the prefix is the stream's (RFC 6120 §4.8.5). */
  element (): Element {
    const children = [xml(this.condition, { xmlns: NS.STREAMS })]
    if (this.text !== undefined) children.push(xml('text', { xmlns: NS.STREAMS, 'xml:lang': 'en' }, this.text))
    if (this.plus !== undefined) children.push(this.plus)
    return xml('stream:error', {}, ...children)
  }
}

/**
 * The error that a stanza of type 'error' carries; undefined-condition where it says none that we know (RFC 6120 §8.3.3), and the type
 * that the RFC gives the condition where it says none (§8.3.2).
 */
export function stanzaErrorOf (element: Element): StanzaError {
  const error = child(element, NS.CLIENT, 'error')
  const defined = error === undefined ? [] : children(error, NS.STANZAS)
  const condition = defined.map(element => element.getName()).find(isCondition) ?? 'undefined-condition'
  const text = defined.find(element => element.getName() === 'text')
  const type = TYPES.find(type => error !== undefined && attributeOf(error, 'type') === type)
  return new StanzaError(condition, text === undefined ? undefined : textOf(text), type === undefined ? {} : { type })
}

function isCondition (name: string): name is StanzaCondition {
  return Object.hasOwn(CONDITIONS, name)
}
