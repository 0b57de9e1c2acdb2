/**
 * What is on its way to other servers, on the disk until they have it. A message is written in the batch of its sender's acknowledgement,
 * so that none that was acknowledged is lost by a crash: what is found at the next start comes back to its sender, for nobody knows whether
 * it has arrived. What waits when the server is stopped goes out behind its next start.
 */
import type { Clock, Timer } from '../base/clock.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import { hasForm } from '../storage/shape.js'
import { checkedPage, journal, records, type Batch, type Entry, type Journal, type Records, type Storage, type Write } from '../storage/store.js'
import { attributeOf, localName, namespaceOf } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { parseElement } from '../xml/parse-element.js'
import { fromOctets, toOctets } from '../xml/writer.js'
import { parseJid } from '../xmpp/jid.js'
import { stanza as stanzaOf, type Addressed } from '../xmpp/stanza.js'
import type { Managed, ManagedState } from './managed.js'
import { TRYING, type Handled, type Resumable } from './resumption.js'
import { isBounced, pairKey, waiting, type Waiting } from './waiting.js'

/** `isQueued`: the server was stopped before it went out. `stream`: it went out on the stream of this id. */
interface Row { readonly text: string, readonly isQueued?: true, readonly stream?: string }

/** A stream between servers that may be taken up behind the next start (XEP-0198 §5). */
export interface ParkedStream extends ManagedState {
  /** Who has opened it. */
  readonly side: 'ours' | 'theirs'
  /** For whom it speaks, as pairs of a domain of ours and one of theirs; the first has opened it. */
  readonly pairs: readonly string[]
  /** One of theirs takes what we have for them as well. */
  readonly isBidi: boolean
}

/** What is written down of streams when the server is stopped, at so many milliseconds since 1970. */
interface Streams { readonly at: number, readonly parked: readonly ParkedStream[], readonly ended: readonly Handled[] }

/** What is done with is removed together, after so many milliseconds at the latest. */
const GATHERED = 50
/** Rows that are read at a time. */
const PAGE = 100
/** Owner and key of what is written down of streams. */
const STREAMS = 'streams'

export interface OutboxParts { readonly storage: Storage, readonly clock: Clock, readonly ids: Ids, readonly log: Logger }

/** What was left behind by the process before this one. */
export interface Left {
  /** It never went out. */
  readonly queued: readonly Waiting[]
  /** It may have arrived. */
  readonly unsure: readonly Waiting[]
  /** Streams that may be taken up, with what went out there and was not acknowledged. */
  readonly streams: readonly (ParkedStream & { readonly items: readonly Waiting[] })[]
  /** How far streams of others had come that have ended. */
  readonly ended: readonly Handled[]
}

/** What becomes of a stanza behind the next start: it goes out, comes back, or waits for this stream to be taken up. */
export type Fate = 'queued' | 'unsure' | { readonly stream: string }

export class Outbox {
  readonly #parts: OutboxParts
  readonly #rows: Journal<Row>
  /** Rows to be removed, by owner. */
  #done = new Map<string, string[]>()
  #timer: Timer | undefined
  readonly #streams: Records<Streams>
  readonly #parked: ParkedStream[] = []

  static async open (parts: OutboxParts): Promise<Outbox> {
    const { storage } = parts
    return new Outbox(parts, await storage.open('federation.outbox', journal<Row>(1, undefined, { check: isRow })), await storage.open('federation.streams', records<Streams>(1, undefined, {
      check: value => hasForm(value, { at: 'number' }) && Array.isArray(value['parked']) && Array.isArray(value['ended']), unreadable: 'moved',
    })))
  }

  private constructor (parts: OutboxParts, rows: Journal<Row>, streams: Records<Streams>) {
    this.#parts = parts
    this.#rows = rows
    this.#streams = streams
  }

  /** Writes it down with the batch, where it is worth that. Answers with its row. */
  keep (stanza: Addressed, batch: Batch): string | undefined {
    if (!isKept(stanza)) return undefined
    const row = this.#parts.ids.next()
    batch.add(this.#rows.appending(stanza.from.domain, {
      id: row, at: this.#parts.clock.now(), with: stanza.to.toString(), value: { text: fromOctets(stanza.octets()) },
    }))
    return row
  }

  /** The other server has it, or its sender has it back. */
  done ({ row, stanza }: Pick<Waiting, 'row' | 'stanza'>): void {
    if (row === undefined) return
    const owner = stanza.from.domain
    const rows = this.#done.get(owner)
    if (rows === undefined) this.#done.set(owner, [row])
    else rows.push(row)
    this.#timer ??= this.#parts.clock.after(GATHERED, () => { this.flush() })
  }

  /** Removes what is done with. */
  flush (): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const done = this.#done
    if (done.size === 0) return
    this.#done = new Map()
    const { storage } = this.#parts
    storage.after(storage.submit([...done].map(([owner, rows]) => this.#rows.removing(owner, rows))), error => {
      if (error === undefined) return
      this.#parts.log.warn('outbox not cleared', { error }) // what stays there comes back at the next start
    })
  }

  /** The server is stopped: these are there again behind its next start. */
  park (items: readonly Waiting[], fate: Fate): void {
    const writes = items.flatMap(item => this.#parking(item, fate))
    if (writes.length > 0) this.#parts.storage.submit(writes)
  }

  #parking ({ row, octets, since, stanza }: Waiting, fate: Fate): readonly Write[] {
    const owner = stanza.from.domain
    if (fate === 'unsure' && (row !== undefined || !isBounced(stanza))) return []
    const value: Row = {
      text: fromOctets(octets), ...fate === 'queued' ? { isQueued: true } : {}, ...typeof fate === 'object' ? { stream: fate.stream } : {},
    }
    const parked = this.#rows.appending(owner, { id: this.#parts.ids.next(), at: since, with: stanza.to.toString(), value })
    // Anew, for its place is among what was not written down before.
    return row === undefined ? [parked] : [this.#rows.removing(owner, [row]), parked]
  }

  /** This stream of ours may be taken up behind the next start. Where it cannot be, what was sent on it may have arrived. */
  parkOurs (managed: Managed, own: string, pairs: Iterable<string>): void {
    this.#parkStream(managed, { side: 'ours', pairs: [own, ...[...pairs].filter(pair => pair !== own)], isBidi: false })
  }

  /** The same for one of theirs. */
  parkTheirs ({ managed, pairs, isBidi }: Resumable): void {
    this.#parkStream(managed, { side: 'theirs', pairs: pairs.map(({ to, from }) => pairKey(to, from)), isBidi })
  }

  #parkStream (managed: Managed, stream: Pick<ParkedStream, 'side' | 'pairs' | 'isBidi'>): void {
    const parked = managed.park()
    if (parked === undefined) { this.park(managed.finish().lost, 'unsure'); return }
    this.#parked.push({ ...stream, ...parked.state })
    this.park(parked.waiting, { stream: parked.state.id })
    this.park(parked.lost, 'unsure')
  }

  /** The last before the end: what is done with is removed, and what was said of streams is stored. */
  async close (ended: readonly Handled[]): Promise<void> {
    this.flush()
    const { clock, log } = this.#parts
    await this.#streams.put(STREAMS, STREAMS, { at: clock.now(), parked: this.#parked, ended }).catch((error: unknown) => {
      log.warn('streams not stored', { error }) // what was sent on them comes back to its senders
    })
  }

  /** All that was left behind for domains of ours, each in its order; what belongs to others is forgotten. */
  async left (isOurs: (domain: string) => boolean): Promise<Left> {
    const { clock, storage } = this.#parts
    const { at, parked, ended } = await this.#streams.get(STREAMS, STREAMS) ?? { at: 0, parked: [], ended: [] }
    if (parked.length > 0) storage.submit([this.#streams.putting(STREAMS, STREAMS, { at, parked: [], ended })]) // they are taken up once
    const queued: Waiting[] = []
    const unsure: Waiting[] = []
    const streams = clock.now() - at >= TRYING ? [] : parked.map(stream => ({ ...stream, items: new Array<Waiting>() }))
    for (const owner of await this.#rows.owners({ limit: 10_000 })) {
      if (!isOurs(owner)) { storage.submit([this.#rows.clearing(owner)]); continue }
      let after: string | undefined
      for (let isComplete = false; !isComplete;) {
        const query = { limit: PAGE, ...after === undefined ? {} : { after } }
        const page = await checkedPage(this.#rows, owner, () => this.#rows.page(owner, query), itemOf)
        for (const entry of page.entries) {
          const item = itemOf(entry)
          const { isQueued, stream } = entry.value
          const sentOn = stream === undefined ? undefined : streams.find(({ id }) => id === stream)?.items
          ;(sentOn ?? (isQueued === true ? queued : unsure)).push(item)
        }
        after = page.entries.at(-1)?.id
        isComplete = page.complete || after === undefined
      }
    }
    return { queued, unsure, streams, ended }
  }

}

/** Throws if what is stored is no stanza. */
function itemOf ({ id, at, value }: Entry<Row>): Waiting {
  const element = parseElement(toOctets(value.text))
  const stanza = stanzaOf(element, parseJid(attributeOf(element, 'from') ?? ''), parseJid(attributeOf(element, 'to') ?? ''))
  return waiting(stanza, at, id)
}

function isRow (value: unknown): boolean { return hasForm(value, { text: 'string', isQueued: 'boolean?', stream: 'string?' }) }

/** A message that says something, and that its sender has not asked not to be stored (XEP-0334). */
function isKept (stanza: Addressed): boolean {
  if (stanza.kind !== 'message' || !isBounced(stanza)) return false
  let says = false
  for (const element of stanza.children()) {
    const namespace = namespaceOf(element)
    if (namespace === NS.HINTS && NOT_STORED.has(localName(element))) return false
    says ||= namespace !== NS.CHAT_STATES && namespace !== NS.HINTS
  }
  return says
}

const NOT_STORED: ReadonlySet<string> = new Set(['no-store', 'no-permanent-store'])
