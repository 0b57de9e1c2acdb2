/**
 * Stanzas that wait for the recipient's account without delaying their sender for more than a second. After that, the
 * sender's side is committed by itself, with a row that holds the stanza. The recipient's side is committed later, and
 * its commit removes the row. If a crash comes between the two commits, the stanza is delivered at the next start.
 */
import type { Clock, Timer } from '../../base/clock.js'
import type { Ids } from '../../base/ids.js'
import type { Logger } from '../../base/logger.js'
import { ownersAt } from '../../storage/owner.js'
import { hasForm } from '../../storage/shape.js'
import { checkedPage, journal, type Entry, type Journal, type Write } from '../../storage/store.js'
import { attributeOf } from '../../xml/element.js'
import { parseElement } from '../../xml/parse-element.js'
import { fromOctets, toOctets } from '../../xml/writer.js'
import { parseJid, type Jid } from '../../xmpp/jid.js'
import { stanza as stanzaOf, type Addressed } from '../../xmpp/stanza.js'
import { isLasting } from '../lasting.js'
import type { Passage } from './passage.js'
import type { Pipeline } from './pipeline.js'
import { Transfer, type TransferHome } from './transfer.js'
import { TransferRoom } from './transfer-room.js'

interface Row { readonly text: string }

/** The owner of a row is the bare address of its recipient. */
export const transfersShape = journal<Row>(1, undefined, {
  check: value => hasForm(value, { text: 'string' }), byHost: true,
})
export type TransferRows = Journal<Row>

/** Rows that are read at a time. */
const PAGE = 100
/** After this time a failed removal is tried again, in milliseconds. */
const RETRY = 1000

export interface TransfersHome {
  readonly domain: string
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly pipeline: Pick<Pipeline, 'commits' | 'replies' | 'storage' | 'turns'>
  readonly transfers: TransferRows
}

/** A stanza that the previous process left. `at` is when it was stored, in milliseconds since 1970. */
export interface LeftStanza { readonly id: string, readonly at: number, readonly stanza: Addressed }

export class Transfers implements TransferHome {
  readonly #home: TransfersHome
  /** All transfers that wait. */
  readonly #waiting = new Set<Transfer>()
  /** The number of stanzas between their two commits, by sender and recipient. */
  readonly #parted = new Map<string, number>()
  readonly room = new TransferRoom()
  /** Rows whose removal has failed, by owner. */
  #left = new Map<string, string[]>()
  #retry: Timer | undefined
  #isOver = false

  constructor (home: TransfersHome) { this.#home = home }

  get clock (): Clock { return this.#home.clock }
  get pipeline (): TransfersHome['pipeline'] { return this.#home.pipeline }
  get isOver (): boolean { return this.#isOver }

  /**
   * Lets a stanza wait for its recipient's account. It holds its place among its sender's stanzas for a second at most.
   * `offered` runs when the place is given up.
   */
  wait (passage: Passage, offered?: () => void): void {
    const { arrival, addressed: stanza } = passage
    // Stanzas to the sender's own account keep its order, however long they take (RFC 6120 §10.1).
    if (arrival === undefined || this.#isOver || stanza.to.bare.equals(stanza.from.bare)) return
    const transfer = new Transfer(this, passage, arrival, offered)
    passage.transit = transfer
    this.#waiting.add(transfer)
  }

  /** True if a stanza of this sender to this account is between its two commits: later ones must come after it. */
  hasAny (sender: Jid, account: Jid): boolean {
    return this.#parted.size > 0 && this.#parted.has(pairOf(sender, account))
  }

  /**
   * Ends all transfers because the host ends. Waiting stanzas are not delivered; those that are stored are delivered
   * after the next start.
   */
  end (): void {
    this.#isOver = true
    this.#retry?.cancel()
    for (const transfer of this.#waiting) transfer.end()
    this.#waiting.clear()
  }

  // ---- For each transfer --------------------------------------------------------------------------------

  isStored (stanza: Addressed): boolean {
    if (stanza.kind === 'message') return isLasting(stanza)
    // RFC 6121 §3: both sides of a subscription change, or neither.
    return stanza.kind === 'presence' && SUBSCRIPTION.has(stanza.type)
  }

  row (stanza: Addressed): { readonly id: string, readonly appending: Write } {
    const id = this.#home.ids.next()
    const value = { text: fromOctets(stanza.octets()) }
    const entry = { id, at: this.clock.now(), with: stanza.from.toString(), value }
    return { id, appending: this.#home.transfers.appending(stanza.to.bare.toString(), entry) }
  }

  removing (account: Jid, id: string): Write { return this.#home.transfers.removing(account.toString(), [id]) }

  begins (stanza: Addressed): void {
    const pair = pairOf(stanza.from, stanza.to)
    this.#parted.set(pair, (this.#parted.get(pair) ?? 0) + 1)
  }

  ends (stanza: Addressed): void {
    const pair = pairOf(stanza.from, stanza.to)
    const left = (this.#parted.get(pair) ?? 0) - 1
    if (left > 0) this.#parted.set(pair, left)
    else this.#parted.delete(pair)
  }

  forget (transfer: Transfer): void { this.#waiting.delete(transfer) }

  /** Removes the row of a refused stanza. If that fails, tries again until the host ends. */
  remove (account: Jid, id: string): void { this.#remove(new Map([[account.toString(), [id]]])) }

  #remove (rows: ReadonlyMap<string, readonly string[]>): void {
    const { transfers, pipeline, log } = this.#home
    const failed = (error: unknown): void => {
      log.warn('transfer not removed', { error })
      for (const [owner, ids] of rows) this.#left.set(owner, [...this.#left.get(owner) ?? [], ...ids])
      if (!this.#isOver) this.#retry ??= this.clock.after(RETRY, () => { this.#again() })
    }
    pipeline.commits.store([...rows].map(([owner, ids]) => transfers.removing(owner, ids)), failed)
  }

  #again (): void {
    this.#retry = undefined
    const left = this.#left
    this.#left = new Map()
    this.#remove(left)
  }

  // ---- After a start --------------------------------------------------------------------------------------

  /** The accounts of this host for which stanzas were left, in order. */
  async owners (): Promise<readonly string[]> {
    const found: string[] = []
    for await (const owner of ownersAt(this.#home.transfers, this.#home.domain)) found.push(owner)
    return found
  }

  /** The stanzas that were left for an account, in order. */
  async left (account: string): Promise<readonly LeftStanza[]> {
    const { transfers } = this.#home
    const found: LeftStanza[] = []
    for (let after: string | undefined; ;) {
      const query = { limit: PAGE, ...after === undefined ? {} : { after } }
      const { entries, complete } = await checkedPage(transfers, account, () => transfers.page(account, query), read)
      found.push(...entries.map(read))
      after = entries.at(-1)?.id
      if (complete || after === undefined) return found
    }
  }
}

const SUBSCRIPTION: ReadonlySet<string> = new Set(['subscribe', 'subscribed', 'unsubscribe', 'unsubscribed'])

/** Reads the stanza of a row. Throws if the row holds none. */
function read ({ id, at, value }: Entry<Row>): LeftStanza {
  const element = parseElement(toOctets(value.text))
  const from = parseJid(attributeOf(element, 'from') ?? '')
  const to = parseJid(attributeOf(element, 'to') ?? '')
  return { id, at, stanza: stanzaOf(element, from, to) }
}

/** The key of a sender and a recipient. No bare address contains a space. */
function pairOf (sender: Jid, account: Jid): string { return `${sender.bare.toString()} ${account.bare.toString()}` }
