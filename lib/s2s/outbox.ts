/**
 * What is on its way to other servers, on the disk until they have it. A message is written in the batch of its sender's acknowledgement,
 * so that none that was acknowledged is lost by a crash: what is found at the next start comes back to its sender, for nobody knows whether
 * it has arrived. What waits when the server is stopped goes out behind its next start.
 */
import type { Clock, Timer } from '../base/clock.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import { journal, type Batch, type Entry, type Journal, type Storage, type Write } from '../storage/store.js'
import { attributeOf, localName, namespaceOf } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { parseElement } from '../xml/parse-element.js'
import { fromOctets, toOctets } from '../xml/writer.js'
import { parseJid } from '../xmpp/jid.js'
import { stanza as stanzaOf, type Addressed } from '../xmpp/stanza.js'
import { isBounced, waiting, type Waiting } from './waiting.js'

/** `isQueued`: the server was stopped before it went out. */
interface Row { readonly text: string, readonly isQueued?: true }

/** What is done with is removed together, after so many milliseconds at the latest. */
const GATHERED = 200
/** Rows that are read at a time. */
const PAGE = 100

export interface OutboxParts { readonly storage: Storage, readonly clock: Clock, readonly ids: Ids, readonly log: Logger }

/** What was left behind by the process before this one. */
export interface Left {
  /** It never went out. */
  readonly queued: readonly Waiting[]
  /** It may have arrived. */
  readonly unsure: readonly Waiting[]
}

export class Outbox {
  readonly #parts: OutboxParts
  readonly #rows: Journal<Row>
  /** Rows to be removed, by owner. */
  #done = new Map<string, string[]>()
  #timer: Timer | undefined

  static async open (parts: OutboxParts): Promise<Outbox> {
    return new Outbox(parts, await parts.storage.open('federation.outbox', journal<Row>(1)))
  }

  private constructor (parts: OutboxParts, rows: Journal<Row>) {
    this.#parts = parts
    this.#rows = rows
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
  park (items: readonly Waiting[], state: keyof Left): void {
    const writes = items.flatMap(item => this.#parking(item, state === 'queued'))
    if (writes.length > 0) this.#parts.storage.submit(writes)
  }

  #parking ({ row, octets, since, stanza }: Waiting, isQueued: boolean): readonly Write[] {
    const owner = stanza.from.domain
    if (!isQueued && (row !== undefined || !isBounced(stanza))) return []
    const value: Row = { text: fromOctets(octets), ...isQueued ? { isQueued } : {} }
    const parked = this.#rows.appending(owner, { id: this.#parts.ids.next(), at: since, with: stanza.to.toString(), value })
    // Anew, for its place is among what was not written down before.
    return row === undefined ? [parked] : [this.#rows.removing(owner, [row]), parked]
  }

  /** All that was left behind for domains of ours, each in its order; what belongs to others is forgotten. */
  async left (isOurs: (domain: string) => boolean): Promise<Left> {
    const left: { readonly queued: Waiting[], readonly unsure: Waiting[] } = { queued: [], unsure: [] }
    for (const owner of await this.#rows.owners({ limit: 10_000 })) {
      if (!isOurs(owner)) { this.#parts.storage.submit([this.#rows.clearing(owner)]); continue }
      let after: string | undefined
      for (let isComplete = false; !isComplete;) {
        const page = await this.#rows.page(owner, { limit: PAGE, ...after === undefined ? {} : { after } })
        for (const entry of page.entries) {
          const item = this.#itemOf(entry)
          if (item === undefined) this.#parts.storage.submit([this.#rows.removing(owner, [entry.id])])
          else (entry.value.isQueued === true ? left.queued : left.unsure).push(item)
        }
        after = page.entries.at(-1)?.id
        isComplete = page.complete || after === undefined
      }
    }
    return left
  }

  #itemOf ({ id, at, value }: Entry<Row>): Waiting | undefined {
    try {
      const element = parseElement(toOctets(value.text))
      const stanza = stanzaOf(element, parseJid(attributeOf(element, 'from') ?? ''), parseJid(attributeOf(element, 'to') ?? ''))
      return waiting(stanza, at, id)
    } catch (error) {
      this.#parts.log.error('outbox entry not readable', { id, error })
      return undefined
    }
  }
}

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
