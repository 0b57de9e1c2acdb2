/**
 * Numbers the stanzas to a device, and sends them in the order in which their places were reserved, whatever waits for
 * its commit.
 */
import { management } from '../../lib/api.js'
import type { DeliveryTracker } from '../../lib/api.js'
import type { SharedBody } from './shared-body.js'

const { counted, distance } = management

/** A stanza to the device, sent or not, that the device has not acknowledged yet. */
export interface Item extends management.Sized {
  /** The tracker of the message's other recipients in the account. */
  readonly handed: DeliveryTracker | undefined
  /** When it was first sent, in milliseconds since 1970. */
  readonly at: number
  /** The id of its stored row; undefined if it is not stored. */
  row: string | undefined
  /** Its number among all sent stanzas; undefined if it was not sent while the numbers are unknown. */
  seq: number | undefined
  /** Called when another device of the account has acknowledged it. */
  readonly confirmed: () => void
  /** 'waiting': for its commit. */
  state: 'waiting' | 'ready'
  /** True if it may wait for the next urgent stanza (XEP-0352). */
  isPatient: boolean
  /** The body that the stanza shares with those to other devices; absent if it has its own. */
  readonly body?: SharedBody
  /** Its number in the stored row of the body; undefined if the row does not name it. */
  pinned?: number | undefined
}

/** The bytes that a stanza with a shared body takes itself. */
const OWN_BYTES = 150

/** Returns the bytes of a stanza that it shares with others. */
function sharedBytesOf (item: Item): number {
  return item.body === undefined ? 0 : Math.max(0, management.sizeOf(item) - OWN_BYTES)
}

/** The functions that OutgoingOrder asks of its session. */
export interface OutgoingOrderHome extends management.OutboundHome {
  /** Called if the number of an item has changed. */
  moved (item: Item): void
}

/** The outgoing side of one managed session. */
export class OutgoingOrder {
  readonly #home: OutgoingOrderHome
  readonly #sent: management.Outbound<Item>
  /** Stanzas that are not sent yet, because a commit before them is pending or because they may wait. */
  #places: Item[] = []
  #placedBytes = 0
  /** The bytes of all of these stanzas, and of the sent ones, that they share with others. */
  #sharedBytes = 0
  #isHeld: boolean
  /** After a crash: stanzas that were not stored may have been sent, so the numbers are unknown. */
  #isVague: boolean

  /** `confirmed`: how many stanzas the device has acknowledged. `isHeld`: nothing is sent before `begin`. */
  constructor (
    home: OutgoingOrderHome, how: { readonly confirmed: number, readonly isHeld: boolean, readonly isVague: boolean },
  ) {
    this.#home = home
    this.#sent = new management.Outbound(home, how.confirmed)
    this.#isHeld = how.isHeld
    this.#isVague = how.isVague
  }

  /** True if it is known what was sent. */
  get isWhole (): boolean { return !this.#isVague }
  /** How many stanzas the device has acknowledged. */
  get confirmed (): number { return this.#sent.acknowledged }
  /** The number of unacknowledged stanzas, including those not sent yet. */
  get length (): number { return this.#sent.length + this.#places.length }
  get bytes (): number { return this.#sent.bytes + this.#placedBytes }
  /** The bytes of these stanzas that no others share. */
  get ownBytes (): number { return this.bytes - this.#sharedBytes }
  /** The count of stanzas that were sent. */
  get sent (): number { return this.#sent.sent }
  /** True if sent stanzas are unacknowledged. */
  get isOpen (): boolean { return this.#sent.length > 0 }
  /** True if no stanza waits to be sent. */
  get isClear (): boolean { return this.#places.length === 0 }
  /** The number of the next stanza; undefined if it is unknown. */
  get next (): number | undefined {
    return this.#isVague ? undefined : counted(this.#sent.sent, this.#places.length + 1)
  }

  /** Takes the next place in the outgoing order. */
  place (item: Item): void {
    this.#places.push(item)
    this.#placedBytes += management.sizeOf(item)
    this.#sharedBytes += sharedBytesOf(item)
    if (item.state === 'ready') this.drain()
  }

  /**
   * Restores a stanza that the previous process stored. Stanzas before it that were not stored were lost and never
   * sent.
   */
  restore (item: Item): void {
    this.#sent.push(item)
    this.#sharedBytes += sharedBytesOf(item)
    if (this.#isVague || item.seq === this.#sent.sent) return
    item.seq = this.#sent.sent
    this.#home.moved(item)
  }

  /** Starts sending. */
  begin (): void {
    this.#isHeld = false
    this.drain()
  }

  /** Stops sending for the rest of the process. */
  hold (): void { this.#isHeld = true }

  /** Sends all stanzas that are due. */
  drain (): void {
    if (this.#isHeld) return
    for (const item of this.#places.splice(0, this.#due())) {
      this.#placedBytes -= management.sizeOf(item)
      this.#sent.push(item)
    }
    this.#sent.flush()
  }

  /** Returns how many stanzas are due: all up to the last urgent one, if no commit before it is pending. */
  #due (): number {
    let due = 0
    let place = 0
    for (const { state, isPatient } of this.#places) {
      if (state === 'waiting') break
      place++
      if (!isPatient) due = place
    }
    return due
  }

  /** Makes all stanzas urgent. */
  rouse (): void {
    for (const item of this.#places) item.isPatient = false
    this.drain()
  }

  /** Removes a stanza whose commit failed; later ones get new numbers. */
  drop (item: Item): void {
    const place = this.#places.indexOf(item)
    if (place < 0) return
    this.#places.splice(place, 1)
    this.#placedBytes -= management.sizeOf(item)
    this.#sharedBytes -= sharedBytesOf(item)
    if (!this.#isVague) this.#number(place)
    this.drain()
  }

  /** Numbers the stanzas that are not sent yet, from a place on. */
  #number (from: number): void {
    for (let place = from; place < this.#places.length; place++) {
      const item = this.#places[place]
      if (item === undefined) continue
      item.seq = counted(this.#sent.sent, place + 1)
      this.#home.moved(item)
    }
  }

  /**
   * Returns the stanzas that the device newly acknowledges. Throws StreamError for an impossible count (XEP-0198 §6).
   */
  confirm (h: number): readonly Item[] {
    const handled = this.#isVague ? this.#believe(h) : this.#sent.acknowledge(h)
    for (const item of handled) this.#sharedBytes -= sharedBytesOf(item)
    return handled
  }

  /** Accepts the device's count after a crash: only the device knows what was sent. */
  #believe (h: number): readonly Item[] {
    const before = this.#sent.acknowledged
    this.#isVague = false
    const handled = this.#sent.restart(h).filter(item => {
      if (item.seq !== undefined && distance(before, item.seq) <= distance(before, h)) return true
      this.#sent.push(item)
      item.seq = this.#sent.sent
      this.#home.moved(item)
      return false
    })
    // Those that wait for their commits are in rows without a number too.
    this.#number(0)
    return handled
  }

  /** Sends all unacknowledged stanzas again on a new connection. */
  repeat (): void { this.#sent.repeat() }

  /** Yields all unacknowledged stanzas, the oldest first. */
  * items (): Generator<Item> {
    for (let place = 0; place < this.#sent.length; place++) {
      const item = this.#sent.at(place)
      if (item !== undefined) yield item
    }
    yield * this.#places
  }

  /** Yields all unacknowledged stanzas as octets. */
  * octets (): Generator<string> { for (const { octets } of this.items()) yield octets }

  /** Returns all unacknowledged stanzas, the oldest first, numbered if the numbers are known. */
  all (): readonly Item[] {
    const all = [...this.#sent.all(), ...this.#places]
    if (!this.#isVague) all.forEach((item, index) => { item.seq = counted(this.#sent.acknowledged, index + 1) })
    return all
  }

  /** Returns and removes all unacknowledged stanzas, also those that wait for their commits. */
  take (): readonly Item[] {
    const places = this.#places
    this.#places = []
    this.#placedBytes = this.#sharedBytes = 0
    return [...this.#sent.take(), ...places]
  }
}
