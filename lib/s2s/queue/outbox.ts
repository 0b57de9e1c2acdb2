/**
 * Keeps stanzas on the disk until the other server has them. A message is stored in the batch that acknowledges it to
 * its sender, so a crash loses no acknowledged message: after the next start it returns to its sender, because nobody
 * knows whether it arrived. Stanzas that wait when the server is stopped go out after the next start.
 */
import type { Clock, Timer } from '../../base/clock.js'
import type { Ids } from '../../base/ids.js'
import type { Logger } from '../../base/logger.js'
import type { Broadcast } from '../../host/broadcast.js'
import { isLasting } from '../../host/lasting.js'
import { hasForm } from '../../storage/shape.js'
import { checkedPage, journal, records, type Batch, type Entry, type Journal, type Records, type Write } from '../../storage/store.js'
import type { Storage } from '../../storage/storage.js'
import { attributeOf } from '../../xml/element.js'
import { parseElement } from '../../xml/parse-element.js'
import { fromOctets, toOctets } from '../../xml/writer.js'
import { parseJid, type Jid } from '../../xmpp/jid.js'
import { stanza as stanzaOf, type Addressed, type Stanza } from '../../xmpp/stanza.js'
import type { S2sAcks, ManagedState } from '../acks/acks.js'
import { TRYING, type Handled, type Resumable } from '../acks/resumption.js'
import { isBounced, waiting, type QueuedStanza } from '../ground/queued-stanza.js'
import { pairKey } from '../ground/domain-pair.js'

/**
 * `isQueued`: unsent when the server was stopped. `stream`: the id of the stream on which it was sent. `to`: all
 * recipients of a broadcast, whose text has none.
 */
interface Row {
  readonly text: string
  readonly isQueued?: true
  readonly stream?: string
  readonly to?: readonly string[]
}

/** A stream between servers that may be resumed after the next start (XEP-0198 §5). */
export interface ParkedStream extends ManagedState {
  /** The side that opened it. */
  readonly side: 'ours' | 'theirs'
  /** The pairs of domains that it speaks for, the local one first. The first pair opened it. */
  readonly pairs: readonly string[]
  /** True if the peer's stream also carries our stanzas. */
  readonly isBidi: boolean
}

/** The stored form of streams, written when the server is stopped. `at`: in milliseconds since 1970. */
interface Streams { readonly at: number, readonly parked: readonly ParkedStream[], readonly ended: readonly Handled[] }

/** Finished rows are removed together, after this time in milliseconds at the latest. */
const GATHERED = 50
/** The number of rows that are read at a time. */
const PAGE = 100
/** The owner and key under which streams are stored. */
const STREAMS = 'streams'

export interface OutboxDeps {
  readonly storage: Storage
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
}

/** The stanzas and streams that the previous process left. */
export interface Left {
  /** Stanzas that were never sent. */
  readonly queued: readonly QueuedStanza[]
  /** Stanzas that may have arrived. */
  readonly unsure: readonly QueuedStanza[]
  /** Streams that may be resumed, each with its unacknowledged stanzas. */
  readonly streams: readonly (ParkedStream & { readonly items: readonly QueuedStanza[] })[]
  /** The counts of peers' streams that have ended. */
  readonly ended: readonly Handled[]
}

/**
 * The fate of a stanza after the next start: it is sent, returns to its sender, or waits for a stream to be resumed.
 */
export type Fate = 'queued' | 'unsure' | { readonly stream: string }

export class Outbox {
  readonly #parts: OutboxDeps
  readonly #rows: Journal<Row>
  /** The rows to be removed, by owner. */
  #done = new Map<string, string[]>()
  /** The rows of broadcasts, with the number of stanzas that are not finished. */
  readonly #shares = new Map<string, number>()
  #timer: Timer | undefined
  readonly #streams: Records<Streams>
  readonly #parked: ParkedStream[] = []

  static async open (parts: OutboxDeps): Promise<Outbox> {
    const { storage } = parts
    const rows = await storage.open('federation.outbox', journal<Row>(1, undefined, { check: isRow }))
    const streams = records<Streams>(1, undefined, { check: isStreams, unreadable: 'moved' })
    return new Outbox(parts, rows, await storage.open('federation.streams', streams))
  }

  private constructor (parts: OutboxDeps, rows: Journal<Row>, streams: Records<Streams>) {
    this.#parts = parts
    this.#rows = rows
    this.#streams = streams
  }

  /** Stores a message with the batch, unless it is not worth it. Returns the id of its row. */
  keep (stanza: Addressed, batch: Batch): string | undefined {
    if (!isKept(stanza)) return undefined
    const row = this.#parts.ids.next()
    batch.add(this.#rows.appending(stanza.from.domain, {
      id: row, at: this.#parts.clock.now(), with: stanza.to.toString(), value: { text: fromOctets(stanza.octets()) },
    }))
    return row
  }

  /**
   * Stores a message to several addresses of one domain with the batch, in one row, unless it is not worth it. Returns
   * the id of the row, which goes when all of its stanzas are finished.
   */
  keepAll ({ stanza, frame: { head, tail } }: Broadcast, to: readonly Jid[], batch: Batch): string | undefined {
    const [first] = to
    if (first === undefined || !isKept(stanza)) return undefined
    const row = this.#parts.ids.next()
    batch.add(this.#rows.appending(stanza.from.domain, {
      id: row, at: this.#parts.clock.now(), with: first.domain,
      value: { text: fromOctets(head + tail), to: to.map(jid => jid.toString()) },
    }))
    this.#shares.set(row, to.length)
    batch.failed(() => { this.#shares.delete(row) })
    return row
  }

  /** Marks a stanza as finished: the other server has it, or its sender has it back. */
  done ({ row, stanza }: Pick<QueuedStanza, 'row' | 'stanza'>): void {
    if (row === undefined || !this.#isOver(row)) return
    const owner = stanza.from.domain
    const rows = this.#done.get(owner)
    if (rows === undefined) this.#done.set(owner, [row])
    else rows.push(row)
    this.#timer ??= this.#parts.clock.after(GATHERED, () => { this.flush() })
  }

  /** Notes how many stanzas share a row, and returns them. */
  #shared (row: string, items: readonly QueuedStanza[]): readonly QueuedStanza[] {
    if (items.length > 1) this.#shares.set(row, items.length)
    return items
  }

  /** Notes that a stanza of a row is finished. True if all of them are. */
  #isOver (row: string): boolean {
    const left = (this.#shares.get(row) ?? 1) - 1
    if (left > 0) this.#shares.set(row, left)
    else this.#shares.delete(row)
    return left <= 0
  }

  /** Removes the rows of finished stanzas. */
  flush (): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const done = this.#done
    if (done.size === 0) return
    this.#done = new Map()
    const { storage } = this.#parts
    storage.after(storage.submit([...done].map(([owner, rows]) => this.#rows.removing(owner, rows))), error => {
      if (error === undefined) return
      // the remaining rows return to their senders after the next start
      this.#parts.log.warn('s2s outbox not cleared', { error })
    })
  }

  /** Stores stanzas for the next start, because the server is stopped. */
  park (items: readonly QueuedStanza[], fate: Fate): void {
    const writes = items.flatMap(item => this.#parking(item, fate))
    if (writes.length > 0) this.#parts.storage.submit(writes)
  }

  #parking ({ row, octets, since, stanza }: QueuedStanza, fate: Fate): readonly Write[] {
    const owner = stanza.from.domain
    // A row that several stanzas share is divided: each of them has a fate of its own.
    const isOwn = row !== undefined && !this.#shares.has(row)
    if (fate === 'unsure' && (isOwn || !isBounced(stanza))) return []
    const value: Row = {
      text: fromOctets(octets),
      ...fate === 'queued' ? { isQueued: true } : {},
      ...typeof fate === 'object' ? { stream: fate.stream } : {},
    }
    const entry = { id: this.#parts.ids.next(), at: since, with: stanza.to.toString(), value }
    const parked = this.#rows.appending(owner, entry)
    // Stored again, because its place is among stanzas that had no row.
    return row === undefined ? [parked] : [this.#rows.removing(owner, [row]), parked]
  }

  /** Stores a stream that we opened, for the next start. If it cannot be resumed, its stanzas may have arrived. */
  parkOurs (managed: S2sAcks, own: string, pairs: Iterable<string>): void {
    this.#parkStream(managed, { side: 'ours', pairs: [own, ...[...pairs].filter(pair => pair !== own)], isBidi: false })
  }

  /** Stores a peer's stream for the next start. */
  parkTheirs ({ managed, pairs, isBidi }: Resumable): void {
    this.#parkStream(managed, { side: 'theirs', pairs: pairs.map(({ to, from }) => pairKey(to, from)), isBidi })
  }

  #parkStream (managed: S2sAcks, stream: Pick<ParkedStream, 'side' | 'pairs' | 'isBidi'>): void {
    const parked = managed.saveForRestart()
    if (parked === undefined) { this.park(managed.finish().lost, 'unsure'); return }
    this.#parked.push({ ...stream, ...parked.state })
    this.park(parked.waiting, { stream: parked.state.id })
    this.park(parked.lost, 'unsure')
  }

  /** Removes finished rows and stores the streams. The last call. */
  async close (ended: readonly Handled[]): Promise<void> {
    this.flush()
    const { clock, log } = this.#parts
    const value = { at: clock.now(), parked: this.#parked, ended }
    await this.#streams.put(STREAMS, STREAMS, value).catch((error: unknown) => {
      log.warn('s2s streams not stored', { error }) // their stanzas return to the senders
    })
  }

  /**
   * Returns all that was left for local domains, each domain's stanzas in order, and removes what belongs to other
   * domains. `isOurs`: true for a local domain.
   */
  async left (isOurs: (domain: string) => boolean): Promise<Left> {
    const { clock, storage } = this.#parts
    const { at, parked, ended } = await this.#streams.get(STREAMS, STREAMS) ?? { at: 0, parked: [], ended: [] }
    // streams are resumed only once
    if (parked.length > 0) storage.submit([this.#streams.putting(STREAMS, STREAMS, { at, parked: [], ended })])
    const queued: QueuedStanza[] = []
    const unsure: QueuedStanza[] = []
    const streams = clock.now() - at >= TRYING
      ? []
      : parked.map(stream => ({ ...stream, items: new Array<QueuedStanza>() }))
    for (const owner of await this.#rows.owners({ limit: 10_000 })) {
      if (!isOurs(owner)) { storage.submit([this.#rows.clearing(owner)]); continue }
      let after: string | undefined
      for (let isComplete = false; !isComplete;) {
        const query = { limit: PAGE, ...after === undefined ? {} : { after } }
        const page = await checkedPage(this.#rows, owner, () => this.#rows.page(owner, query), itemsIn)
        for (const entry of page.entries) {
          const items = this.#shared(entry.id, itemsIn(entry))
          const { isQueued, stream } = entry.value
          const sentOn = stream === undefined ? undefined : streams.find(({ id }) => id === stream)?.items
          ;(sentOn ?? (isQueued === true ? queued : unsure)).push(...items)
        }
        after = page.entries.at(-1)?.id
        isComplete = page.complete || after === undefined
      }
    }
    return { queued, unsure, streams, ended }
  }
}

/** Parses stored stanzas: one, or those of a broadcast. Throws if they are none. */
function itemsIn ({ id, at, value }: Entry<Row>): readonly QueuedStanza[] {
  const element = parseElement(toOctets(value.text))
  const from = parseJid(attributeOf(element, 'from') ?? '')
  const all = (value.to ?? [attributeOf(element, 'to') ?? '']).map(parseJid)
  return all.map(to => waiting(stanzaOf(element, from, to), at, id))
}

function isKept (stanza: Stanza): boolean { return stanza.kind === 'message' && isBounced(stanza) && isLasting(stanza) }

function isRow (value: unknown): boolean {
  return hasForm(value, { text: 'string', isQueued: 'boolean?', stream: 'string?', to: 'strings?' })
}

function isStreams (value: unknown): boolean {
  return hasForm(value, { at: 'number' }) && Array.isArray(value['parked']) && Array.isArray(value['ended'])
}
