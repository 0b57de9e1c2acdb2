/** Counts received and sent traffic by kind, in stanzas and bytes of XML. All counters exist from the start. */
import { shortened } from '../base/text.js'
import type { ParsedElement, Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import type { Stanza } from '../xmpp/stanza.js'

/**
 * The kinds of traffic. 'nonza': acknowledgements, client states. 'keepalive': spaces. 'stream': headers, features,
 * login, the end tag.
 */
export const KINDS = ['chat', 'groupchat', 'other message', 'presence', 'iq', 'nonza', 'keepalive', 'stream'] as const
const [CHAT, GROUPCHAT, MESSAGE, PRESENCE, IQ, NONZA, STREAM] = [0, 1, 2, 3, 4, 5, 7] as const
/** One of `KINDS`, as its index. */
export type TrafficKind = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7
/** The kind of what shows that a connection works. */
export const KEEPALIVE = 6

/** The counts of one direction: for each kind, the number of elements and of their bytes. */
export class Counts {
  readonly #counts = new Float64Array(2 * KINDS.length)

  add (kind: TrafficKind, bytes: number): void {
    const counts = this.#counts
    counts[2 * kind] = (counts[2 * kind] ?? 0) + 1
    counts[2 * kind + 1] = (counts[2 * kind + 1] ?? 0) + bytes
  }

  /** Returns the number of elements of a kind, and of their bytes. */
  of (kind: number): readonly [count: number, bytes: number] {
    return [this.#counts[2 * kind] ?? 0, this.#counts[2 * kind + 1] ?? 0]
  }
}

/** The counts of both directions. */
export class Meter {
  readonly in = new Counts()
  readonly out = new Counts()
}

/** The counts of the whole server. */
export class Traffic {
  readonly clients = new Meter()
  readonly servers = new Meter()

  /** Returns a line for each kind in the order of `KINDS`, for clients and then for servers. */
  lines (): readonly TrafficLine[] {
    return (['clients', 'servers'] as const).flatMap(peers => KINDS.map((kind, index) => {
      const [taken, takenBytes] = this[peers].in.of(index)
      const [sent, sentBytes] = this[peers].out.of(index)
      return { peers, kind, in: taken, inBytes: takenBytes, out: sent, outBytes: sentBytes }
    }))
  }
}

/** The counts of one kind of traffic. */
export interface TrafficLine {
  readonly peers: 'clients' | 'servers'
  readonly kind: typeof KINDS[number]
  readonly in: number
  readonly inBytes: number
  readonly out: number
  readonly outBytes: number
}

/**
 * The most bytes that are examined for a keepalive, which is one space (RFC 6120 §4.6.1). Longer pieces of spaces count
 * as a part of the stream: to look at each byte of what many peers send would take too long.
 */
const LONGEST_KEEPALIVE = 16

/** Adds the traffic of one stream to a meter. */
export class Tally {
  readonly #meter: Meter
  /** Bytes that were received and belong to no element so far. */
  #rest = 0

  constructor (meter: Meter) { this.#meter = meter }

  chunk (chunk: Uint8Array): void {
    const { length } = chunk
    if (length <= LONGEST_KEEPALIVE && isSpace(chunk[0]) && chunk.every(isSpace)) this.#meter.in.add(KEEPALIVE, length)
    else this.#rest += length
  }

  element (element: ParsedElement, { octets }: Source, isEstablished: boolean): void {
    this.#rest -= octets.length
    this.#meter.in.add(isEstablished ? kindOfElement(element) : STREAM, octets.length)
  }

  /** Counts an element that was sent. `kind`: if the sender knows it; otherwise it is read from the octets. */
  sent (octets: string, isEstablished: boolean, kind?: TrafficKind): void {
    this.#meter.out.add(isEstablished ? kind ?? kindOfOctets(octets) : STREAM, octets.length)
  }

  /** Counts our header or end tag. */
  framed (octets: string): void { this.#meter.out.add(STREAM, octets.length) }

  /** Counts the bytes that belong to no element, because the stream is over. */
  end (): void {
    if (this.#rest > 0) this.#meter.in.add(STREAM, this.#rest)
    this.#rest = 0
  }
}

/** Returns the kind of a stanza. */
export function kindOfStanza ({ kind, type }: Stanza): TrafficKind {
  return kind === 'message' ? kindOfMessage(type) : kind === 'presence' ? PRESENCE : IQ
}

function kindOfMessage (type: unknown): TrafficKind {
  return type === 'chat' ? CHAT : type === 'groupchat' ? GROUPCHAT : MESSAGE
}

function kindOfElement (element: ParsedElement): TrafficKind {
  if (element.ns !== NS.CLIENT) return NONZA
  switch (element.name) {
    case 'message': return kindOfMessage(element.attrs['type'])
    case 'presence': return PRESENCE
    case 'iq': return IQ
    default: return NONZA
  }
}

/** How many characters of a start tag are searched for its type. */
const FAR = 2000
const TYPE = /^[^>]*? type=["'](\w+)["']/

/** Returns the kind of an element in the form in which we write it. */
function kindOfOctets (octets: string): TrafficKind {
  switch (octets.charCodeAt(1)) {
    case 0x6d: return octets.startsWith('<message') ? kindOfMessage(TYPE.exec(shortened(octets, FAR))?.[1]) : NONZA
    case 0x70: return octets.startsWith('<presence') ? PRESENCE : NONZA
    case 0x69: return octets.startsWith('<iq') ? IQ : NONZA
    default: return NONZA
  }
}

/** XML 1.0 §2.3. */
function isSpace (byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}
