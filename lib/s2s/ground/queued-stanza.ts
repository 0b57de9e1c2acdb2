/** A stanza on its way to another server, and what is kept of it to answer its sender. */
import { attributeOf, xml } from '../../xml/element.js'
import { flatten } from '../../xml/writer.js'
import { Stanza, addressed, type Addressed } from '../../xmpp/stanza.js'
import { pairKey } from './domain-pair.js'

export interface QueuedStanza {
  /** The stanza as it is sent. */
  readonly octets: string
  /** When it came, in milliseconds since 1970. */
  readonly since: number
  /** The stanza without its content: enough to reply with an error. */
  readonly stanza: Addressed
  /** True if it was sent again once. It is not sent a third time: it may be the reason why the streams end. */
  readonly isAgain?: boolean
  /** The id of its row on the disk (lib/s2s/queue/outbox.ts); undefined if it is not stored. */
  readonly row: string | undefined
  /** The bytes of `octets`, given if these are made each time they are read. */
  readonly size?: number
  /** Returns a copy with `isAgain`; absent if the fields can be copied. */
  again? (): QueuedStanza
}

/** Returns a stanza that is sent once more. */
export function repeated (item: QueuedStanza): QueuedStanza { return item.again?.() ?? { ...item, isAgain: true } }

/** Returns a stanza without its content, which holds no network buffer: enough to reply with an error. */
export function bare ({ kind, element, from, to }: Stanza): Stanza {
  const attributes: Record<string, string> = {}
  for (const name of ['id', 'type']) {
    const value = attributeOf(element, name)
    if (value !== undefined) attributes[name] = flatten(value)
  }
  return new Stanza(kind, xml(kind, attributes), from, to)
}

/** Makes a waiting stanza. Copies what it keeps, so that it holds no network buffer while it waits. */
export function waiting (stanza: Addressed, now: number, row?: string): QueuedStanza {
  return { octets: flatten(stanza.octets()), since: now, stanza: addressed(bare(stanza), stanza.to), row }
}

/**
 * True if the sender is told of a failure. Not for presence and errors: two servers could send them back and forth
 * without end.
 */
export function isBounced ({ kind, type }: Stanza): boolean {
  return type !== 'error' && (kind === 'message' || kind === 'iq' && type !== 'result')
}

/** True if `isBounced`, and for presence that enters a room, because its sender waits for an answer. */
export function isAnswered (stanza: Addressed): boolean {
  const { kind, type, to } = stanza
  return isBounced(stanza) || kind === 'presence' && type === 'available' && to.local !== '' && to.resource !== ''
}

/** True for a reply to an iq (RFC 6120 §8.2.3). If it is lost, nobody is told, and the requester waits in vain. */
export function isAnswer ({ kind, type }: Addressed): boolean {
  return kind === 'iq' && (type === 'result' || type === 'error')
}

/** Groups stanzas by pair of domains, and keeps their order. */
export function byPair (items: readonly QueuedStanza[]): ReadonlyMap<string, readonly QueuedStanza[]> {
  const found = new Map<string, QueuedStanza[]>()
  for (const item of items) {
    const pair = pairKey(item.stanza.from.domain, item.stanza.to.domain)
    const others = found.get(pair)
    if (others === undefined) found.set(pair, [item])
    else others.push(item)
  }
  return found
}
