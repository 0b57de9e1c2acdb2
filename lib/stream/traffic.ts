/** What comes and goes, by kind, in stanzas and bytes of XML: counted in numbers that are there from the start. */
import { shortened } from '../base/text.js'
import type { ParsedElement, Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import type { Stanza } from '../xmpp/stanza.js'

/** Kinds by their number. 'nonza': acknowledgements, client states. 'keepalive': spaces. 'stream': headers, features, login, the end. */
export const KINDS = ['chat', 'groupchat', 'other message', 'presence', 'iq', 'nonza', 'keepalive', 'stream'] as const
const [CHAT, GROUPCHAT, MESSAGE, PRESENCE, IQ, NONZA, KEEPALIVE, STREAM] = [0, 1, 2, 3, 4, 5, 6, 7] as const
/** One of `KINDS`, as its index. */
export type TrafficKind = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7

/** One direction: of each kind how many, and their bytes. */
export class Counts {
  readonly #counts = new Float64Array(2 * KINDS.length)

  add (kind: TrafficKind, bytes: number): void {
    const counts = this.#counts
    counts[2 * kind] = (counts[2 * kind] ?? 0) + 1
    counts[2 * kind + 1] = (counts[2 * kind + 1] ?? 0) + bytes
  }

  /** How many of a kind, and their bytes. */
  of (kind: number): readonly [count: number, bytes: number] { return [this.#counts[2 * kind] ?? 0, this.#counts[2 * kind + 1] ?? 0] }
}

/** Both directions. */
export class Meter {
  readonly in = new Counts()
  readonly out = new Counts()
}

/** What the whole server takes and sends. */
export class Traffic {
  readonly clients = new Meter()
  readonly servers = new Meter()

  /** A line for each kind, in the order of `KINDS`, for clients and then for servers. */
  lines (): readonly TrafficLine[] {
    return (['clients', 'servers'] as const).flatMap(peers => KINDS.map((kind, index) => {
      const [taken, takenBytes] = this[peers].in.of(index)
      const [sent, sentBytes] = this[peers].out.of(index)
      return { peers, kind, in: taken, inBytes: takenBytes, out: sent, outBytes: sentBytes }
    }))
  }
}

/** How much of one kind has come and gone. */
export interface TrafficLine {
  readonly peers: 'clients' | 'servers'
  readonly kind: typeof KINDS[number]
  readonly in: number
  readonly inBytes: number
  readonly out: number
  readonly outBytes: number
}

/** What one stream adds to a meter. */
export class Tally {
  readonly #meter: Meter
  /** Bytes that came and belong to no element so far. */
  #rest = 0

  constructor (meter: Meter) { this.#meter = meter }

  chunk (chunk: Uint8Array): void {
    if (isSpace(chunk[0]) && chunk.every(isSpace)) this.#meter.in.add(KEEPALIVE, chunk.length)
    else this.#rest += chunk.length
  }

  element (element: ParsedElement, { octets }: Source, isEstablished: boolean): void {
    this.#rest -= octets.length
    this.#meter.in.add(isEstablished ? kindOfElement(element) : STREAM, octets.length)
  }

  /** `kind`: where the sender knows it; else it is read from the octets. */
  sent (octets: string, isEstablished: boolean, kind?: TrafficKind): void {
    this.#meter.out.add(isEstablished ? kind ?? kindOfOctets(octets) : STREAM, octets.length)
  }

  /** Our header, our end: of the stream itself. */
  framed (octets: string): void { this.#meter.out.add(STREAM, octets.length) }

  /** The stream is over: what was left is its own. */
  end (): void {
    if (this.#rest > 0) this.#meter.in.add(STREAM, this.#rest)
    this.#rest = 0
  }
}

/** Of a stanza, which knows. */
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

/** So far into a start tag its type is looked for. */
const FAR = 2000
const TYPE = /^[^>]*? type=["'](\w+)["']/

/** One element as we write it. */
function kindOfOctets (octets: string): TrafficKind {
  switch (octets.charCodeAt(1)) {
    case 0x6d: return octets.startsWith('<message') ? kindOfMessage(TYPE.exec(shortened(octets, FAR))?.[1]) : NONZA
    case 0x70: return octets.startsWith('<presence') ? PRESENCE : NONZA
    case 0x69: return octets.startsWith('<iq') ? IQ : NONZA
    default: return octets === ' ' ? KEEPALIVE : NONZA
  }
}

/** XML 1.0 §2.3. */
function isSpace (byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}
