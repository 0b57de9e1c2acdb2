/** A stanza on its way to another server, and what is left of it should it come back. */
import { attributeOf, Element } from '../xml/element.js'
import { flatten } from '../xml/writer.js'
import type { DialbackAddresses } from './dialback.js'
import { Stanza, addressed, type Addressed } from '../xmpp/stanza.js'

export interface Waiting {
  /** As it goes out. */
  readonly octets: string
  /** When it came, in milliseconds since 1970. */
  readonly since: number
  /** The stanza without its content: enough to answer it with an error. */
  readonly stanza: Addressed
  /** It was sent before on a stream that ended, and had not come. Once is enough: it may be what ends streams. */
  readonly isAgain?: boolean
  /** Where it is written down until the other server has it (lib/s2s/outbox.ts); undefined: nowhere. */
  readonly row: string | undefined
}

/** Pins no buffer of the network: it may wait for long. */
export function waiting (stanza: Addressed, now: number, row?: string): Waiting {
  const attributes: Record<string, string> = {}
  for (const name of ['id', 'type']) {
    const value = attributeOf(stanza.element, name)
    if (value !== undefined) attributes[name] = flatten(value)
  }
  return {
    octets: flatten(stanza.octets()),
    since: now,
    stanza: addressed(new Stanza(stanza.kind, new Element(stanza.kind, attributes), stanza.from, stanza.to), stanza.to),
    row,
  }
}

/** Whether its sender is told where it cannot be delivered. Not of presence and errors, which two servers would throw at each other. */
export function isBounced ({ kind, type }: Addressed): boolean {
  return type !== 'error' && (kind === 'message' || kind === 'iq' && type !== 'result')
}

/** The same, and of presence that enters a room: whoever sends that waits for an answer. */
export function isAnswered (stanza: Addressed): boolean {
  const { kind, type, to } = stanza
  return isBounced(stanza) || kind === 'presence' && type === 'available' && to.local !== '' && to.resource !== ''
}

/** An answer to a question (RFC 6120 §8.2.3). Where it is lost nobody hears so, and who has asked waits in vain. */
export function isAnswer ({ kind, type }: Addressed): boolean { return kind === 'iq' && (type === 'result' || type === 'error') }

/** What takes the stanzas of a pair of domains to the other server. */
export interface Carrier {
  readonly isOver: boolean
  /** It takes stanzas of the other direction as well (XEP-0288). */
  readonly isBidi: boolean
  /** How the peer was convinced. */
  readonly security: string | undefined
  readonly address: string
  readonly since: number
  /** Bytes that the peer has not taken yet. */
  readonly backlog: number
  /** Bytes of the largest stanza that the peer takes (XEP-0478); undefined: it does not say. */
  readonly largest: number | undefined
  /** Stanzas that the peer has not acknowledged. */
  readonly unacknowledged: number
  /** It takes another one: what is not acknowledged is bounded. */
  readonly hasRoom: boolean
  send (what: Waiting): void
}

/** Domains as one key. A space is in no domain. */
export function pairKey (local: string, remote: string): string { return `${local} ${remote}` }

/** The domains of a key: from theirs, to ours. */
export function addressesIn (pair: string): DialbackAddresses {
  const [to = '', from = ''] = pair.split(' ')
  return { from, to }
}

/** Each with its pair of domains, in their order. */
export function byPair (items: readonly Waiting[]): ReadonlyMap<string, readonly Waiting[]> {
  const found = new Map<string, Waiting[]>()
  for (const item of items) {
    const pair = pairKey(item.stanza.from.domain, item.stanza.to.domain)
    const others = found.get(pair)
    if (others === undefined) found.set(pair, [item])
    else others.push(item)
  }
  return found
}
