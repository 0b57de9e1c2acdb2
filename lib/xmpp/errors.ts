/** The two kinds of errors in XMPP (RFC 6120 §4.9, §8.3), and their elements. */
import { attributeOf, child, children, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'

const TYPES = ['auth', 'cancel', 'continue', 'modify', 'wait'] as const
export type ErrorType = typeof TYPES[number]

/** The conditions of RFC 6120 §8.3.3, each with its type in the RFC. */
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
  /** An application-specific condition that follows the defined one (RFC 6120 §8.3.4). */
  readonly plus?: Element
  /** Content of the request that the error reply repeats: the entries that were refused (XEP-0060 §8.8.2.4). */
  readonly returned?: Element
  readonly cause?: unknown
}

/**
 * May be thrown by any handler: the sender gets it as an error reply, and the stanza is not processed further.
 *
 * The error has no stack trace, because strangers can cause many of these errors, and a stack costs more than the rest
 * of the reply. `cause` keeps the stack of an unexpected error.
 */
export class StanzaError extends Error {
  readonly condition: StanzaCondition
  readonly type: ErrorType
  readonly text: string | undefined
  readonly plus: Element | undefined
  readonly returned: Element | undefined

  constructor (condition: StanzaCondition, text?: string, options: StanzaErrorOptions = {}) {
    const frames = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(text === undefined ? condition : `${condition}: ${text}`, { cause: options.cause })
    Error.stackTraceLimit = frames
    this.condition = condition
    this.type = options.type ?? CONDITIONS[condition]
    this.text = text
    this.plus = options.plus
    this.returned = options.returned
  }

  /**
   * Returns `<error/>` in the order of RFC 6120 §8.3.2. `by` is the entity that reports the error, if it is not the
   * sender of the error stanza.
   */
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
  | 'not-authorized' | 'not-well-formed' | 'policy-violation' | 'remote-connection-failed' | 'reset'
  | 'resource-constraint' | 'restricted-xml' | 'see-other-host' | 'system-shutdown' | 'undefined-condition'
  | 'unsupported-encoding' | 'unsupported-feature' | 'unsupported-stanza-type' | 'unsupported-version'

/** Ends the stream: `<stream:error/>` is sent, and the stream is closed (RFC 6120 §4.9). */
export class StreamError extends Error {
  readonly condition: StreamCondition
  readonly text: string | undefined
  readonly plus: Element | undefined

  constructor (
    condition: StreamCondition, text?: string, options: { readonly plus?: Element, readonly cause?: unknown } = {},
  ) {
    super(text === undefined ? condition : `${condition}: ${text}`, { cause: options.cause })
    this.condition = condition
    this.text = text
    this.plus = options.plus
  }

  /** Returns `<stream:error/>` with the prefix of the stream (RFC 6120 §4.8.5). */
  element (): Element {
    const children = [xml(this.condition, { xmlns: NS.STREAMS })]
    if (this.text !== undefined) children.push(xml('text', { xmlns: NS.STREAMS, 'xml:lang': 'en' }, this.text))
    if (this.plus !== undefined) children.push(this.plus)
    return xml('stream:error', {}, ...children)
  }
}

/**
 * Reads the error of a stanza of type 'error'. Without a known condition it is undefined-condition (RFC 6120 §8.3.3);
 * without a known type it has the condition's type in the RFC (§8.3.2).
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
