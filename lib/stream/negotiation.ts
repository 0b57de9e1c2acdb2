/** Stream negotiation as features see it (RFC 6120 §4.3): each one step that a peer may take until its stream is established. */
import type { Element } from '../xml/element.js'
import type { Jid } from '../xmpp/jid.js'
import type { StreamState } from './stream.js'
import type { TlsInfo } from './transport.js'

/** A stream as a feature sees it while it negotiates. */
export interface Negotiation {
  readonly state: StreamState
  /** What the peer is. */
  readonly role: 'client' | 'server'
  /** The domain that the stream was opened to. */
  readonly domain: string
  /** The peer's IP address, as text. */
  readonly address: string
  /** xml:lang of the peer's stream header. */
  readonly lang: string | undefined
  readonly tls: TlsInfo | undefined
  /** Encrypted, or on a listener that may do without. */
  readonly secure: boolean
  /** Whom the peer has proved to be. */
  readonly identity: Jid | undefined
  /** The stream is gone: what a feature still had in hand is for nobody. */
  readonly isOver: boolean
  send (nonza: Element): void
  /** The peer's next nonza: a dialogue such as SASL is written as a loop. Rejects where the stream ends first. */
  next (): Promise<Element>
  /** Resolves after so many milliseconds. Rejects where the stream ends first. */
  wait (ms: number): Promise<void>
  /** Sends `proceed`, drops what came too early, and encrypts. Rejects, the connection being cut, where the handshake fails. */
  startTls (proceed: Element): Promise<void>
}

/**
 * 'restart': a new stream over the same connection (RFC 6120 §4.3.3). 'continue': the peer may take another of what it was offered.
 * 'identity': it is authenticated, and is offered more on the same stream. 'session': the stream is established.
 */
export type Outcome<S = unknown> =
  | { readonly go: 'restart', readonly identity?: Jid }
  | { readonly go: 'continue' }
  | { readonly go: 'identity', readonly identity: Jid }
  | { readonly go: 'session', readonly session: S }

/** A step a peer may take before its session stands: STARTTLS, SASL, resume, bind. One value with its conditions. */
export interface StreamFeature<S = unknown> {
  readonly namespace: string
  /** What stands in `<stream:features/>`; undefined where it cannot be taken now. */
  offered (stream: Negotiation): Element | undefined
  /** The peer's request: a nonza of this namespace, or an iq with a payload of it. Left out: the feature is an announcement only. */
  take?(stream: Negotiation, request: Element): Promise<Outcome<S>>
}

/** The stream ended while a feature was at work. */
export class StreamOver extends Error {
  constructor () { super('the stream is over') }
}
