/** Stream negotiation as features see it (RFC 6120 §4.3): each one step that a peer may take until its stream is established. */
import type { Maybe } from '../base/maybe.js'
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
  /** Whom the peer says it is, by `from` of its stream header: it proves nothing (RFC 6120 §4.7.1). */
  readonly from: Jid | undefined
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
 * 'identity': it is authenticated, and is offered more on the same stream. 'session': the stream is established; with `identity` it is
 * authenticated by the same step, and hears what else there is (XEP-0388 §2.6.1).
 */
export type Outcome<S = unknown> =
  | { readonly go: 'restart', readonly identity?: Jid }
  | { readonly go: 'continue' }
  | { readonly go: 'identity', readonly identity: Jid }
  | { readonly go: 'session', readonly session: S, readonly identity?: Jid }

/** A step a peer may take before its session stands: STARTTLS, SASL, resume, bind. One value with its conditions. */
export interface StreamFeature<S = unknown> {
  readonly namespace: string
  /** What stands in `<stream:features/>`; undefined where it cannot be taken now. */
  offered (stream: Negotiation): Element | undefined
  /** The peer's request: a nonza of this namespace, or an iq with a payload of it. Left out: the feature is an announcement only. */
  take?(stream: Negotiation, request: Element): Promise<Outcome<S>>
  /** The answer to a nonza of this namespace that comes too early, after which the stream goes on; undefined: it does not. */
  refusal?(stream: Negotiation, request: Element): Element | undefined
}

/** What a client says of itself (XEP-0388 §2.3): for the owner of the account, and for nobody else. */
export interface UserAgent {
  /** What this installation goes by, whoever logs in with it; undefined where it does not say. */
  readonly id: string | undefined
  readonly software: string
  readonly device: string
}

/** What an inline feature may know: who has just proved to be whom, and at 'bind' the session that was made for it. */
export interface InlineContext<S = unknown> {
  readonly stream: Negotiation
  readonly account: Jid
  readonly session: S | undefined
  readonly userAgent: UserAgent
}

/** `element` goes into `<success/>` or `<bound/>`. `session`: the stream has this one from now on, and nothing is bound. */
export interface InlineResult<S = unknown> { readonly element?: Element, readonly session?: S }

/**
 * What may ride inside of SASL2's `<authenticate/>` (XEP-0388) or of Bind 2's `<bind/>` (XEP-0386), at no round trip of its own.
 * At 'authenticate' those that may bring a session come first: once one has, nothing is bound.
 */
export interface InlineFeature<S = unknown> {
  readonly at: 'authenticate' | 'bind'
  /** Of the request, and of what is offered. */
  readonly namespace: string
  /** What stands in `<inline/>`: an element of its own at 'authenticate', `<feature var=''/>` at 'bind'. */
  offered (stream: Negotiation): Element | undefined
  /** At 'bind' it is called for every session, `request` being undefined where the client asked for nothing. */
  take (context: InlineContext<S>, request: Element | undefined): Maybe<InlineResult<S> | undefined>
}

/** The stream ended while a feature was at work. */
export class StreamOver extends Error {
  constructor () { super('the stream is over') }
}
