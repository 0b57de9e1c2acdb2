/** What the streams between servers know of the world: handed in, so that scenes hand in another. */
import type { SecureContext } from 'node:tls'
import type { Clock } from '../base/clock.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import type { Budgets } from '../base/rate.js'
import type { Host } from '../host/host.js'
import type { Router } from '../host/router.js'
import type { Transport } from '../stream/transport.js'
import type { Limits } from '../xml/parser.js'
import { StanzaError, type StanzaCondition } from '../xmpp/errors.js'
import type { Anchors } from './chain.js'
import type { CountLinks } from './counts.js'
import type { DialbackKeys } from './dialback.js'
import type { Outbox } from './outbox.js'
import type { ByHand, Resolver, Target } from './resolve.js'

/** What the conf says of one other domain, to one of ours. */
export interface Policy {
  /**
   * 'certificate': its server proves by a valid certificate whose it is, wherever it is looked at. 'dialback': what DNS says is
   * enough (XEP-0220). 'refuse': nothing is sent or taken.
   */
  readonly trust: 'certificate' | 'dialback' | 'refuse'
  readonly byHand?: ByHand | undefined
  /** The server of this domain may be at a private address, wherever DNS says it is. */
  readonly isPrivate?: boolean
}

export interface FederationLimits {
  /** Of one pair of domains, while there is no link: stanzas, bytes, and milliseconds that one may wait. */
  readonly queue: { readonly stanzas: number, readonly size: number, readonly time: number }
  /** Milliseconds after which a link that nobody uses is closed. */
  readonly idle: number
  /** Milliseconds from dialling to being let in. */
  readonly negotiation: number
  /** Milliseconds of silence after which a space is sent. */
  readonly keepalive: number
  /** Bytes of the largest stanza that is taken from another server. */
  readonly stanza: number
  /** Bytes and elements of a top-level element before a peer has proved who it is. */
  readonly unauthenticated: { readonly stanza: number, readonly elements: number }
  /** Connections at once from one network. */
  readonly connections: number
}

export interface Dialer {
  /** Connects. Rejects if nobody answers or there is an objection; gives up when told to. */
  dial (target: Target, signal: AbortSignal): Promise<Transport>
  /** Why nobody may be sent to this place, for the operator; undefined if they may. */
  objection (target: Target): string | undefined
}

/** What a domain of ours shows in TLS. */
export interface Shown { readonly context: SecureContext, readonly certificate: Uint8Array }

export interface FederationWorld {
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly router: Router
  resolver: Resolver
  readonly dialer: Dialer
  readonly keys: DialbackKeys
  readonly outbox: Outbox
  /** The authorities that certify other servers. */
  anchors (): Anchors
  /** `servername`: what the peer asks for by SNI; else the certificate of `domain`. */
  shows (servername: string | undefined, domain: string): Shown
  limits: FederationLimits
  policy (local: string, remote: string): Policy
  host (domain: string): Host | undefined
  /** The domain that speaks to a peer that named none of ours. */
  readonly domain: string
  readonly count: CountLinks
  /** What each other domain may cost, on all its streams together. */
  readonly budgets: Budgets
}

/** Who has to mend it. */
export type Mender = 'them' | 'us' | 'network'

/** Why there is no link to another server. The message is for the operator: it may name addresses of our network. */
export class LinkError extends Error {
  readonly condition: StanzaCondition
  /** Trying again soon may help: it was away, not unwilling. */
  readonly isPassing: boolean
  readonly mender: Mender
  /** The part of the message that users read. */
  readonly text: string

  /** `detail`: what the operator alone reads besides `text`. */
  constructor (
    condition: StanzaCondition, text: string, how: Partial<Pick<LinkError, 'isPassing' | 'mender' | 'cause'>> & { readonly detail?: string } = {},
  ) {
    super(how.detail === undefined ? text : `${text} (${how.detail})`, { cause: how.cause })
    this.condition = condition
    this.text = text
    this.isPassing = how.isPassing ?? false
    this.mender = how.mender ?? 'them'
  }

  /** As the sender of a stanza gets to hear of it. */
  stanzaError (): StanzaError {
    return new StanzaError(this.condition, this.text, { cause: this })
  }
}

/** What a peer hears of it where its key could not be checked: nothing of our inside. */
export function verdictOf (error: unknown): StanzaError {
  return new StanzaError(error instanceof LinkError ? error.condition : 'remote-server-timeout')
}

/** Of a stream whose peer has proved who it is. */
export function limitsOnceProven (bytes: number): Limits {
  return { bytes, elements: 10_000, depth: 64, attributes: 64, name: 1024 }
}
