/** Broadcast: one body for many recipients. Only the `to` is written for each of them. */
import type { Maybe } from '../base/maybe.js'
import type { Batch } from '../storage/store.js'
import type { Jid } from '../xmpp/jid.js'
import { addressed, type Addressed, type Stanza, type StanzaFrame } from '../xmpp/stanza.js'

/** A stanza that is sent to many. */
export class Broadcast {
  /** The stanza, whose `to` means nothing. */
  readonly stanza: Stanza
  #frame: StanzaFrame | undefined

  constructor (stanza: Stanza) { this.stanza = stanza }

  /** The octets before and after the `to`. They refer to no network chunk, so they can be kept. */
  get frame (): StanzaFrame { return this.#frame ??= this.stanza.frame() }

  /** Returns the stanza for one recipient. It shares the body with all others. */
  to (recipient: Jid): Addressed { return addressed(this.stanza.with({ to: recipient }), recipient) }
}

/** Returns the octets of a broadcast for one recipient. `attribute`: what `recipientAttribute` returns for it. */
export function octetsFor ({ head, tail }: StanzaFrame, attribute: string): string { return head + attribute + tail }

/** The part of a broadcast that one destination takes: all its recipients there. */
export interface BroadcastPart {
  /** The recipients that this destination does not take: each is sent a stanza of its own in the usual way. */
  readonly apart: readonly Jid[]
  /** Sends to all others. Called once, after the batch is stored. */
  deliver (): Maybe<void>
  /** The batch is not stored: nothing is ever sent. */
  fail (): void
}

/** A destination that takes broadcasts. */
export interface BroadcastTaker {
  /**
   * Takes a broadcast to these addresses, right before its batch is submitted: what must survive a crash is written in
   * the batch, and places in outgoing orders are reserved.
   */
  broadcast (broadcast: Broadcast, to: readonly Jid[], batch: Batch): BroadcastPart
}
