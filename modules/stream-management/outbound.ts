/** What goes out to a device (XEP-0198 §4): numbered, kept until it is confirmed, and sent again on a new connection. */
import { management } from '../../lib/api.js'
import type { Handed } from '../../lib/api.js'

const { counted, distance, tooHigh, Unacknowledged } = management

/** One stanza on its way to the device. */
export interface Item {
  readonly octets: string
  /** Who else of the account was given it. */
  readonly handed: Handed | undefined
  /** When it was first sent, in milliseconds since 1970. */
  readonly at: number
  /** The id under which it is written down; undefined where it is not. */
  row: string | undefined
  /** Its number among all that was sent; undefined where it has not been sent, and what has is not known. */
  seq: number | undefined
  /** Runs where another device of the account has it. */
  readonly confirmed: () => void
  /** 'waiting': for its commit. 'void': that has failed, and it never goes. */
  state: 'waiting' | 'ready' | 'void'
  /** It goes with the next that may not wait (XEP-0352). */
  isPatient: boolean
}

export interface OutboundHome {
  /** Writes one stanza to the device, if it is there. */
  write (octets: string): void
  /** The device is there, and little of what was written waits for it. */
  hasRoom (): boolean
  /** Runs `then` once what was written has been taken, or the connection is another. False, and nothing is run, if there is none. */
  drained (then: () => void): boolean
  /** It has another number now. */
  moved (item: Item): void
}

export class Outbound {
  readonly #home: OutboundHome
  #sent: management.Unacknowledged<Item>
  /** What may not go yet: a commit stands before it. */
  #places: Item[] = []
  #placedBytes = 0
  /** How many of what was sent, from the first that is not confirmed, are written to the connection that there is now. */
  #written = 0
  #isWaiting = false
  #isHeld: boolean
  /** Something was sent of which nothing is known any more: what was not written down has gone with a crash. */
  #isVague: boolean

  /** `confirmed`: how many the device has confirmed so far. `isHeld`: nothing goes before `begin`. */
  constructor (home: OutboundHome, how: { readonly confirmed: number, readonly isHeld: boolean, readonly isVague: boolean }) {
    this.#home = home
    this.#sent = new Unacknowledged(how.confirmed)
    this.#isHeld = how.isHeld
    this.#isVague = how.isVague
  }

  /** It is known what has been sent. */
  get isWhole (): boolean { return !this.#isVague }
  get confirmed (): number { return this.#sent.acknowledged }
  /** Stanzas, and bytes, that are not confirmed, those included that have not gone yet. */
  get length (): number { return this.#sent.length + this.#places.length }
  get bytes (): number { return this.#sent.bytes + this.#placedBytes }
  /** Stanzas have gone out that are not confirmed. */
  get isOpen (): boolean { return this.#sent.length > 0 }
  /** Nothing waits. */
  get isClear (): boolean { return this.#places.length === 0 }
  /** The number that the next one will have; undefined where it cannot be known. */
  get next (): number | undefined { return this.#isVague ? undefined : counted(this.#sent.sent, this.#places.length + 1) }

  /** Takes the next place. */
  place (item: Item): void {
    this.#places.push(item)
    this.#placedBytes += item.octets.length
    if (item.state === 'ready') this.drain()
  }

  /** One of another life of the process. What stood before it and was not written down is gone, and has never been sent. */
  restore (item: Item): void {
    this.#sent.push(item)
    if (this.#isVague || item.seq === this.#sent.sent) return
    item.seq = this.#sent.sent
    this.#home.moved(item)
  }

  /** What waited for this may go. */
  begin (): void {
    this.#isHeld = false
    this.drain()
  }

  /** What is placed from now on does not go out in this life of the process. */
  hold (): void { this.#isHeld = true }

  drain (): void {
    if (this.#isHeld) return
    for (const item of this.#places.splice(0, this.#due())) {
      this.#placedBytes -= item.octets.length
      if (item.state !== 'void') this.#sent.push(item)
    }
    this.#write()
  }

  /**
   * Writes as much as the device takes; the rest waits here until the connection has drained. So whatever may be unconfirmed can be sent
   * again, however slowly the device reads. Writing may end the session, which takes whatever is here.
   */
  #write (): void {
    while (this.#written < this.#sent.length) {
      if (!this.#home.hasRoom()) {
        this.#isWaiting ||= this.#home.drained(() => {
          this.#isWaiting = false
          this.#write()
        })
        return
      }
      const item = this.#sent.at(this.#written++)
      if (item !== undefined) this.#home.write(item.octets)
    }
  }

  /** How many may go: as far as the last that may not wait, if no commit stands before that. */
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

  /** None is patient any longer. */
  rouse (): void {
    for (const item of this.#places) item.isPatient = false
    this.drain()
  }

  /** It never goes: those behind it have other numbers than were written down. */
  drop (item: Item): void {
    item.state = 'void'
    let seq = this.#sent.sent
    let isBehind = false
    for (const place of this.#places) {
      if (place === item) isBehind = true
      if (place.state === 'void') continue
      seq = counted(seq)
      if (!isBehind) continue
      place.seq = seq
      this.#home.moved(place)
    }
    this.drain()
  }

  /** The device has so many: those that it had not before. Throws the StreamError where that cannot be (XEP-0198 §6). */
  confirm (h: number): readonly Item[] {
    if (this.#isVague) return this.#believe(h)
    const handled = this.#sent.acknowledge(h)
    if (handled === undefined) throw tooHigh(h, this.#sent.sent)
    this.#written = Math.max(0, this.#written - handled.length)
    return handled
  }

  /** Behind a crash the device's word is taken for what was sent: it alone knows. */
  #believe (h: number): readonly Item[] {
    const before = this.#sent.acknowledged
    const all = this.#sent.take()
    this.#isVague = false
    this.#sent = new Unacknowledged(h)
    return all.filter(item => {
      if (item.seq !== undefined && distance(before, item.seq) <= distance(before, h)) return true
      this.#sent.push(item)
      item.seq = this.#sent.sent
      this.#home.moved(item)
      return false
    })
  }

  /** Sends again what is not confirmed, on a new connection. */
  repeat (): void {
    this.#written = 0
    this.#write()
  }

  /** All there is, as it goes out. */
  * octets (): Generator<string> {
    for (const { octets } of this.#sent.all()) yield octets
    for (const { octets, state } of this.#places) if (state !== 'void') yield octets
  }

  /** All there is, numbered where that can be known, the oldest first. */
  all (): readonly Item[] {
    const all = [...this.#sent.all(), ...this.#places.filter(({ state }) => state !== 'void')]
    if (!this.#isVague) all.forEach((item, index) => { item.seq = counted(this.#sent.acknowledged, index + 1) })
    return all
  }

  /** The same, and nothing is left. */
  take (): readonly Item[] {
    const places = this.#places
    this.#places = []
    this.#placedBytes = 0
    this.#written = 0
    return [...this.#sent.take(), ...places]
  }
}
