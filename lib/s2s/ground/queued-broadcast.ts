/** A broadcast to addresses of another domain: one entry while it waits, one stanza for each address on the stream. */
import { octetsFor } from '../../host/broadcast.js'
import { sizeOf } from '../../stream/acks/unacknowledged.js'
import type { Jid } from '../../xmpp/jid.js'
import { addressed, recipientAttribute, type Addressed, type Stanza, type StanzaFrame } from '../../xmpp/stanza.js'
import { bare, type QueuedStanza } from './queued-stanza.js'

/** The octets around the `to`, and all else that the stanzas of one broadcast share. */
interface Shared {
  readonly frame: StanzaFrame
  /** The stanza without its content. */
  readonly stanza: Stanza
  /** When it came, in milliseconds since 1970. */
  readonly since: number
  /** The id of the row on the disk that holds all of them; undefined if it is not stored. */
  readonly row: string | undefined
}

export class QueuedBroadcast {
  readonly #shared: Shared
  /** One stanza for each address. */
  readonly items: readonly QueuedStanza[]
  /** The bytes that the entry takes: one body, and the addresses. */
  readonly size: number

  /** `to` has at least one address; all are of one domain. */
  constructor (stanza: Stanza, frame: StanzaFrame, to: readonly Jid[], how: Pick<Shared, 'since' | 'row'>) {
    const shared = this.#shared = { ...how, frame, stanza: bare(stanza) }
    const items = to.map(jid => new SharedStanza(shared, jid))
    this.items = items
    const body = frame.head.length + frame.tail.length
    this.size = items.reduce((sum, item) => sum + item.size - body, body)
  }

  get since (): number { return this.#shared.since }
}

/** One stanza of a broadcast. */
class SharedStanza implements QueuedStanza {
  readonly #shared: Shared
  readonly #to: Jid
  readonly isAgain: boolean

  constructor (shared: Shared, to: Jid, isAgain = false) {
    this.#shared = shared
    this.#to = to
    this.isAgain = isAgain
  }

  get octets (): string { return octetsFor(this.#shared.frame, recipientAttribute(this.#to)) }
  get size (): number { return this.octets.length }
  get since (): number { return this.#shared.since }
  get row (): string | undefined { return this.#shared.row }
  get stanza (): Addressed { return addressed(this.#shared.stanza.with({ to: this.#to }), this.#to) }
  again (): QueuedStanza { return new SharedStanza(this.#shared, this.#to, true) }
}

/** An entry of a queue: a stanza, or a broadcast. */
export type QueueEntry = QueuedStanza | QueuedBroadcast

/** Returns the stanzas of an entry. */
export function itemsOf (entry: QueueEntry): readonly QueuedStanza[] {
  return entry instanceof QueuedBroadcast ? entry.items : [entry]
}

/** Returns the bytes that an entry takes. */
export function entryBytes (entry: QueueEntry): number {
  return entry instanceof QueuedBroadcast ? entry.size : sizeOf(entry)
}
