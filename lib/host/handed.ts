/** One message on the devices of an account: what one of them never confirms is no loss where another one has it. */
import type { Batch } from '../storage/store.js'
import { attributeOf, child } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { parseJid } from '../xmpp/jid.js'
import { addressed, Stanza, type Message } from '../xmpp/stanza.js'
import type { Arrival } from './arrivals.js'

export class Handed {
  #id: string | undefined
  #isConfirmed: boolean
  /** Those who have it still to confirm: told once somebody has. */
  #watching: Set<() => void> | undefined
  /** How many devices it was meant for, carbons included. */
  devices = 0

  /** `id`, `isConfirmed`: as they were before a restart. */
  constructor (id?: string, isConfirmed = false) {
    this.#id = id
    this.#isConfirmed = isConfirmed
  }

  /** A device has it. */
  get isConfirmed (): boolean { return this.#isConfirmed }
  /** Managed devices have it that have not confirmed it. */
  get isOpen (): boolean { return this.#watching !== undefined && this.#watching.size > 0 }
  get id (): string | undefined { return this.#id }

  /** What it is found again by after a restart; undefined while one device alone has it. */
  idFor (make: () => string): string | undefined {
    if (this.#id === undefined && this.devices > 1) this.#id = make()
    return this.#id
  }

  /** A managed device is given it; `confirmed` runs where another has it first. */
  give (confirmed: () => void): void { (this.#watching ??= new Set()).add(confirmed) }

  /** A device has it: `mine` was given with it, where that is managed. */
  confirm (mine?: () => void): void {
    if (mine !== undefined) this.#watching?.delete(mine)
    if (this.#isConfirmed) return
    this.#isConfirmed = true
    for (const confirmed of this.#watching ?? []) confirmed()
  }

  /** A device ends without having confirmed it. True where the message would be lost with it. */
  lose (mine: () => void): boolean {
    this.#watching?.delete(mine)
    return !this.#isConfirmed && !this.isOpen
  }
}

/** A place in what a session sends, taken before the batch of its stanza is stored. */
export interface Booking {
  /** It is stored: it may go. */
  ready (): void
  /** It is not: it never does. */
  failed (): void
}

/** Counts what a session sends and takes, and keeps what its device has not confirmed (XEP-0198). Put in place by a module. */
export interface Manager {
  /** Its session waits for its device when the connection is lost: nothing is lost with that. */
  readonly isResumable: boolean
  /** What has passed the gate goes out, behind what waits for its commit. */
  send (stanza: Stanza): 'sent' | 'kept' | 'full'
  /** The next place; what is to outlive a crash is written down in the batch. */
  book (stanza: Stanza, handed: Handed | undefined, batch: Batch): Booking
  /** One stanza has come. */
  arrive (): Arrival
  /** What the device says waits for stanzas before it that are at work, as long as `isSo` says so. */
  waits (isSo: () => boolean): void
  /** Resolves once all that has come so far is on its way to storage, or answered. */
  settled (): Promise<void>
  /** The batch of a stanza that has come is about to be stored. `isEmpty`: it holds nothing so far. */
  settling (batch: Batch, isEmpty: boolean): void
  /** Far less is unconfirmed than may be: a long answer goes on while this holds. */
  readonly hasRoom: boolean
  /** Runs `then` once, when the device has confirmed something, or its connection is gone, or its session has ended. */
  confirming (then: () => void): void
  /** What its device has not confirmed, as it goes out, the oldest first. */
  unconfirmed (): Iterable<string>
  /** There is a new connection: what the device has not confirmed goes out again. */
  attached (): void
  /** What was sent while the session was patient waits no longer. */
  rouse (): void
  /** The session has a value in a slot, or a presence, that it had not. */
  changed (): void
}

/**
 * What is to be delivered again where a device has not got this: the message itself; of a copy of one that had come (XEP-0280), that
 * message; of a copy of one that was sent, or out of an archive (XEP-0313), whosever that is, nothing.
 */
export function original (message: Message): Message | undefined {
  if (message.has(NS.MAM, 'result')) return undefined
  if (!message.from.equals(message.to.bare)) return message
  if (message.has(NS.CARBONS, 'sent')) return undefined
  const received = message.child(NS.CARBONS, 'received')
  if (received === undefined) return message
  const forwarded = child(received, NS.FORWARD, 'forwarded')
  const inner = forwarded === undefined ? undefined : child(forwarded, NS.CLIENT, 'message')
  const from = inner === undefined ? undefined : attributeOf(inner, 'from')
  if (inner === undefined || from === undefined) return undefined
  const to = parseJid(attributeOf(inner, 'to') ?? message.to.bare.toString())
  return addressed(new Stanza('message', inner, parseJid(from), to), to)
}
