/** Stream negotiation as features see it (RFC 6120 §4.3). Each feature is one step towards an established stream. */
import type { Maybe } from '../base/maybe.js'
import type { Element } from '../xml/element.js'
import type { Jid } from '../xmpp/jid.js'
import type { StreamState } from './stream.js'
import type { TlsInfo } from './transport.js'

/** A stream as a feature sees it during negotiation. */
export interface Negotiation {
  readonly state: StreamState
  /** The kind of peer. */
  readonly role: 'client' | 'server'
  /** The domain that the stream was opened to. */
  readonly domain: string
  /** The peer's IP address, as text. */
  readonly address: string
  /** The xml:lang of the peer's stream header. */
  readonly lang: string | undefined
  readonly tls: TlsInfo | undefined
  /** True if the stream is encrypted, or the listener allows it not to be. */
  readonly secure: boolean
  /** The address that the peer claims in its stream header. It proves nothing (RFC 6120 §4.7.1). */
  readonly from: Jid | undefined
  /** The address that the peer has proved. */
  readonly identity: Jid | undefined
  /** True if the stream is gone: the result of a running step is of no use. */
  readonly isOver: boolean
  send (nonza: Element): void
  /**
   * Resolves with the peer's next nonza, so that a dialogue such as SASL can be a loop. Rejects if the stream ends
   * first.
   */
  next (): Promise<Element>
  /** Resolves after a number of milliseconds. Rejects if the stream ends first. */
  wait (ms: number): Promise<void>
  /**
   * Sends `proceed`, drops what came too early, and encrypts. If the handshake fails, cuts the connection and rejects.
   */
  startTls (proceed: Element): Promise<void>
}

/**
 * The consequence of a step:
 * - 'restart': a new stream on the same connection (RFC 6120 §4.3.3).
 * - 'continue': the peer may take another offered step.
 * - 'identity': the peer is authenticated, and gets new offers on the same stream.
 * - 'session': the stream is established. With `identity`, the same step authenticated the peer, which is then told the
 *   other features (XEP-0388 §2.6.1).
 */
export type Outcome<S = unknown> =
  | { readonly go: 'restart', readonly identity?: Jid }
  | { readonly go: 'continue' }
  | { readonly go: 'identity', readonly identity: Jid }
  | { readonly go: 'session', readonly session: S, readonly identity?: Jid }

/** A step before a stream is established: STARTTLS, SASL, resume, bind. */
export interface StreamFeature<S = unknown> {
  readonly namespace: string
  /** Returns the element for `<stream:features/>`; undefined if the step cannot be taken now. */
  offered (stream: Negotiation): Element | undefined
  /**
   * Handles the peer's request: a nonza of this namespace, or an iq with such a payload. Absent: nothing can be
   * requested.
   */
  take?(stream: Negotiation, request: Element): Promise<Outcome<S>>
  /**
   * Returns the answer to a nonza of this namespace that comes too early. The stream goes on then; if undefined, it
   * ends.
   */
  refusal?(stream: Negotiation, request: Element): Element | undefined
}

/** The description that a client gives of itself (XEP-0388 §2.3). Only the owner of the account may see it. */
export interface UserAgent {
  /** The id of the installation, the same for all who log in with it; undefined if the client gives none. */
  readonly id: string | undefined
  readonly software: string
  readonly device: string
}

/** The knowledge of an inline feature. `session`: at 'bind', the session that was made. */
export interface InlineContext<S = unknown> {
  readonly stream: Negotiation
  readonly account: Jid
  readonly session: S | undefined
  readonly userAgent: UserAgent
}

/** `element` goes into `<success/>` or `<bound/>`. `session`: the stream gets this session, and nothing is bound. */
export interface InlineResult<S = unknown> { readonly element?: Element, readonly session?: S }

/**
 * A request inside of SASL2's `<authenticate/>` (XEP-0388) or Bind 2's `<bind/>` (XEP-0386), which needs no round trip.
 * At 'authenticate', those that may bring a session come first; after one has, nothing is bound.
 */
export interface InlineFeature<S = unknown> {
  readonly at: 'authenticate' | 'bind'
  /** The namespace of the request and of the offer. */
  readonly namespace: string
  /** Returns the element for `<inline/>`: one of its own at 'authenticate', `<feature var=''/>` at 'bind'. */
  offered (stream: Negotiation): Element | undefined
  /** Handles the request. At 'bind', called for every session, with undefined if the client requested nothing. */
  take (context: InlineContext<S>, request: Element | undefined): Maybe<InlineResult<S> | undefined>
}

/** The stream ended while a feature waited for it. */
export class StreamOver extends Error {
  constructor () { super('the stream is over') }
}
