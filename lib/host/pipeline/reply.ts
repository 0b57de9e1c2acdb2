/** The one place where errors become replies, and where replies are sent. */
import type { Logger } from '../../base/logger.js'
import type { PendingBatch } from '../../storage/batch.js'
import { Unreadable } from '../../storage/aside.js'
import { StorageUnavailable } from '../../storage/store.js'
import { xml, type Element } from '../../xml/element.js'
import { NS } from '../../xml/namespaces.js'
import { StanzaError, StreamError } from '../../xmpp/errors.js'
import { errorReply, isAddressed, type Addressed, type Stanza } from '../../xmpp/stanza.js'
import { costOfBytes } from '../cost.js'
import type { Passage } from './passage.js'

export interface RepliesHome {
  readonly log: Logger
  /** Routes a stanza of the server itself. */
  route (stanza: Addressed): void
  /** Called with each error reply made for a stanza of this domain. */
  bounced (domain: string, stanza: Addressed, error: StanzaError): void
  /** Returns what the recipient of a refused stanza wants in the error reply besides the error. */
  returned (stanza: Addressed): Element | undefined
}

export class Replies {
  readonly #home: RepliesHome

  constructor (home: RepliesHome) { this.#home = home }

  /**
   * Answers a stanza with an error if it may be answered (RFC 6120 §8.3.1, §8.2.3). Unless its batch is stored already,
   * none of it ever is: reservations are released, and caches forget its values. A StreamError ends the session. Never
   * throws.
   */
  refuse (passage: Passage, thrown: unknown): void {
    if (passage.isDropped) { this.drop(passage); return }
    const { stanza, session } = passage
    this.#giveBack(passage.batch, thrown)
    passage.settle()
    passage.arrival?.settle(() => {})
    if (thrown instanceof StreamError) {
      if (session === undefined) this.#defect(passage, thrown)
      session?.close(thrown)
      return
    }
    const error = thrown instanceof StanzaError ? thrown : this.#unforeseen(passage, thrown)
    if (isAddressed(stanza)) this.#home.bounced(stanza.from.domain, stanza, error)
    if (stanza.type === 'error' || stanza.kind === 'iq' && stanza.type === 'result') return
    if (session === undefined) this.#answer(passage, error)
    else session.release(0, () => { this.#answer(passage, error) })
  }

  /** Ends a stanza that is dropped: nothing of its batch is ever stored, and nobody is answered. Never throws. */
  drop (passage: Passage): void {
    this.#giveBack(passage.batch, new Error('the stanza is not delivered'))
    passage.settle()
  }

  /** Sends the result of a request to its sender, who pays for its bytes. */
  result (passage: Passage, reply: Addressed<'iq'>): void {
    if (reply.element.children.length > 0) passage.charge(costOfBytes(reply.octets().length))
    this.#send(passage, reply)
  }

  /** Sends a reply to the sender. A local session gets it directly, whatever it blocks. */
  #send ({ session }: Passage, reply: Addressed): void {
    if (session === undefined) this.#home.route(reply)
    else session.send(reply)
  }

  #answer (passage: Passage, error: StanzaError): void {
    try {
      this.#send(passage, errorReply(passage.stanza, this.#completed(passage.stanza, error)))
    } catch (thrown) {
      this.#defect(passage, thrown)
    }
  }

  /**
   * XEP-0045 §7.2: the error of a presence to a room holds `<x/>`, without which clients do not know that the room
   * refuses them. That also holds for a room on a server that cannot be reached.
   */
  #completed (stanza: Stanza, error: StanzaError): StanzaError {
    if (stanza.kind !== 'presence' || error.returned !== undefined) return error
    const returned = stanza.child(NS.MUC, 'x') === undefined ? this.#returned(stanza) : xml('x', { xmlns: NS.MUC })
    if (returned === undefined) return error
    const { condition, text, type, plus, cause } = error
    return new StanzaError(condition, text, { type, cause, returned, ...plus === undefined ? {} : { plus } })
  }

  #returned (stanza: Stanza): Element | undefined {
    return isAddressed(stanza) ? this.#home.returned(stanza) : undefined
  }

  #giveBack (batch: PendingBatch, thrown: unknown): void {
    try {
      batch.fail(thrown instanceof Error ? thrown : new Error(String(thrown)))
    } catch (error) {
      this.#home.log.error('batch not released', { error })
    }
  }

  #unforeseen (passage: Passage, thrown: unknown): StanzaError {
    // Logged once where it was read (lib/storage/aside.ts), and not for each stanza.
    if (thrown instanceof Unreadable) return new StanzaError('internal-server-error', undefined, { cause: thrown })
    return thrown instanceof StorageUnavailable ? later(thrown) : this.#defect(passage, thrown)
  }

  /** Logs an unexpected error once. The reply says nothing about the server's inside. */
  #defect ({ number, stanza }: Passage, thrown: unknown): StanzaError {
    const { kind, type, from, to } = stanza
    this.#home.log.error('stanza failed', { number, kind, type, from: from.toString(), to: to?.toString(), error: thrown })
    return new StanzaError('internal-server-error', undefined, { cause: thrown })
  }
}

/** Returns the error for a stanza that cannot be stored or read at the moment. */
export function later (cause: Error): StanzaError {
  return new StanzaError('resource-constraint', 'try again later', { type: 'wait', cause })
}
