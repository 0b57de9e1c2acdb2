/**
 * Stanzas that wait for the recipient's account, and do not hold up their sender for longer than a second. Then the sender's side of such a
 * stanza is committed by itself, together with a row that holds the stanza; the recipient's side is committed later, and its commit removes
 * the row. What a crash leaves between the two commits is delivered at the next start.
 */
import type { Clock, Timer } from '../base/clock.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import { hasForm } from '../storage/shape.js'
import { checkedPage, journal, type Entry, type Journal, type Storage, type Write } from '../storage/store.js'
import { BACKLOG } from '../stream/bounds.js'
import { attributeOf } from '../xml/element.js'
import { parseElement } from '../xml/parse-element.js'
import { fromOctets, toOctets } from '../xml/writer.js'
import { parseJid, type Jid } from '../xmpp/jid.js'
import { stanza as stanzaOf, type Addressed } from '../xmpp/stanza.js'
import { isLasting } from './lasting.js'
import type { Passage, Router } from './router.js'
import { Transfer, type TransferHome } from './transfer.js'

interface Row { readonly text: string }

/** The owner of a row is the bare address of its recipient. */
export const transfersShape = journal<Row>(1, undefined, { check: value => hasForm(value, { text: 'string' }) })
export type TransferRows = Journal<Row>

/** Rows that one sender may have: an account of this server, or another domain. */
const MOST = 1000
/** And their bytes, for one sender and over all. A sender with less than the least is always given room. */
const MOST_BYTES = BACKLOG / 8
const MOST_OVER_ALL = 4 * BACKLOG
const LEAST = BACKLOG / 256
/** Rows that are read at a time. */
const PAGE = 100
/** After this time, in milliseconds, a removal that failed is tried again. */
const RETRY = 1000

export interface TransfersHome {
  readonly domain: string
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly router: Router
  readonly storage: Storage
  readonly transfers: TransferRows
}

/** A stanza that the process before this one has left. `at`: when it was stored, in milliseconds since 1970. */
export interface LeftStanza { readonly id: string, readonly at: number, readonly stanza: Addressed }

/** What one sender has under way. */
interface Share { rows: number, bytes: number }

export class Transfers implements TransferHome {
  readonly #home: TransfersHome
  /** All that wait. */
  readonly #waiting = new Set<Transfer>()
  /** By sender and recipient: how many are stored on their way. */
  readonly #parted = new Map<string, number>()
  readonly #shares = new Map<string, Share>()
  /** Bytes of all of them. */
  #bytes = 0
  /** Rows whose removal has failed, by owner. */
  #left = new Map<string, string[]>()
  #retry: Timer | undefined
  #isOver = false

  constructor (home: TransfersHome) { this.#home = home }

  get clock (): Clock { return this.#home.clock }
  get router (): Router { return this.#home.router }
  get isOver (): boolean { return this.#isOver }

  /**
   * The stanza waits for its recipient's account, and holds its place among those of its sender: for a second at most. `offered` runs when
   * the place is given up.
   */
  wait (stanza: Addressed, passage: Passage, offered?: () => void): void {
    const { arrival } = passage
    // What is for the sender's own account is seen in its order, however long it takes (RFC 6120 §10.1).
    if (arrival === undefined || this.#isOver || stanza.to.bare.equals(stanza.from.bare)) return
    const transfer = new Transfer(this, stanza, passage, arrival, offered)
    passage.transfer = transfer
    this.#waiting.add(transfer)
  }

  /** Whether something of this sender is stored on its way to this account: what comes later goes after it. */
  hasAny (sender: Jid, account: Jid): boolean { return this.#parted.size > 0 && this.#parted.has(pairOf(sender, account)) }

  /** The host ends: what waits is not delivered any more. What is stored is delivered after the next start. */
  end (): void {
    this.#isOver = true
    this.#retry?.cancel()
    for (const transfer of this.#waiting) transfer.end()
    this.#waiting.clear()
  }

  // ---- For each of them ---------------------------------------------------------------------------------

  isStored (stanza: Addressed): boolean {
    if (stanza.kind === 'message') return isLasting(stanza)
    // RFC 6121 §3: both sides of a subscription change, or neither.
    return stanza.kind === 'presence' && SUBSCRIPTION.has(stanza.type)
  }

  reserve (sender: string, bytes: number): boolean {
    const share = this.#shares.get(sender) ?? { rows: 0, bytes: 0 }
    if (share.rows >= MOST || share.bytes + bytes > MOST_BYTES) return false
    if (this.#bytes + bytes > MOST_OVER_ALL && share.bytes + bytes > LEAST) return false
    share.rows++
    share.bytes += bytes
    this.#bytes += bytes
    this.#shares.set(sender, share)
    return true
  }

  giveBack (sender: string, bytes: number): void {
    const share = this.#shares.get(sender)
    if (share === undefined) return
    share.rows--
    share.bytes -= bytes
    this.#bytes -= bytes
    if (share.rows === 0) this.#shares.delete(sender)
  }

  row (stanza: Addressed): { readonly id: string, readonly appending: Write } {
    const id = this.#home.ids.next()
    const entry = { id, at: this.clock.now(), with: stanza.from.toString(), value: { text: fromOctets(stanza.octets()) } }
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

  /** Removes the row of a stanza that was refused. If that fails, it is tried again until the host ends. */
  remove (account: Jid, id: string): void { this.#remove(new Map([[account.toString(), [id]]])) }

  #remove (rows: ReadonlyMap<string, readonly string[]>): void {
    const { transfers, storage, log } = this.#home
    const failed = (error: unknown): void => {
      log.warn('transfer not removed', { error })
      for (const [owner, ids] of rows) this.#left.set(owner, [...this.#left.get(owner) ?? [], ...ids])
      if (!this.#isOver) this.#retry ??= this.clock.after(RETRY, () => { this.#again() })
    }
    try {
      storage.after(storage.submit([...rows].map(([owner, ids]) => transfers.removing(owner, ids))), error => {
        if (error !== undefined) failed(error)
      })
    } catch (error) {
      failed(error)
    }
  }

  #again (): void {
    this.#retry = undefined
    const left = this.#left
    this.#left = new Map()
    this.#remove(left)
  }

  // ---- After a start --------------------------------------------------------------------------------------

  /** Accounts of this host for which something was left, in order. */
  async owners (): Promise<readonly string[]> {
    const found: string[] = []
    for (let after: string | undefined; ;) {
      const owners = await this.#home.transfers.owners({ limit: PAGE, ...after === undefined ? {} : { after } })
      found.push(...owners.filter(owner => parseJid(owner).domain === this.#home.domain))
      after = owners.at(-1)
      if (after === undefined || owners.length < PAGE) return found
    }
  }

  /** What was left for the account, in its order. */
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

/** Throws if the row holds no stanza. */
function read ({ id, at, value }: Entry<Row>): LeftStanza {
  const element = parseElement(toOctets(value.text))
  return { id, at, stanza: stanzaOf(element, parseJid(attributeOf(element, 'from') ?? ''), parseJid(attributeOf(element, 'to') ?? '')) }
}

/** A space is in no bare address. */
function pairOf (sender: Jid, account: Jid): string { return `${sender.bare.toString()} ${account.bare.toString()}` }
