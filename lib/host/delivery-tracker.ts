/**
 * Tracks one message on the devices of an account. If one device has it, it is not lost when another ends without
 * acknowledging it.
 */
import type { Batch } from '../storage/store.js'
import { attributeOf, child } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { parseJid } from '../xmpp/jid.js'
import { addressed, Stanza, type Message } from '../xmpp/stanza.js'
import type { Arrival } from './arrivals.js'
import type { Broadcast } from './broadcast.js'

export class DeliveryTracker {
  #id: string | undefined
  #isConfirmed: boolean
  /** Callbacks of the devices that have not acknowledged the message: they run when another device has it. */
  #watching: Set<() => void> | undefined
  /** The number of devices that the message was sent to, carbons included. */
  devices = 0

  /** `id`, `isConfirmed`: the values from before a restart. */
  constructor (id?: string, isConfirmed = false) {
    this.#id = id
    this.#isConfirmed = isConfirmed
  }

  /** True if a device has the message. */
  get isConfirmed (): boolean { return this.#isConfirmed }
  /** True if managed devices have not acknowledged the message yet. */
  get isOpen (): boolean { return this.#watching !== undefined && this.#watching.size > 0 }
  get id (): string | undefined { return this.#id }

  /** The id that finds the message after a restart; undefined while only one device has it. */
  idFor (make: () => string): string | undefined {
    if (this.#id === undefined && this.devices > 1) this.#id = make()
    return this.#id
  }

  /** Notes that a managed device was sent the message. `confirmed` runs if another device has it first. */
  give (confirmed: () => void): void { (this.#watching ??= new Set()).add(confirmed) }

  /** Notes that a device has the message. `mine` is the callback that was given with it, if the device is managed. */
  confirm (mine?: () => void): void {
    if (mine !== undefined) this.#watching?.delete(mine)
    if (this.#isConfirmed) return
    this.#isConfirmed = true
    for (const confirmed of this.#watching ?? []) confirmed()
  }

  /**
   * Notes that a device ended without acknowledging the message. True if the message would be lost with this device.
   */
  lose (mine: () => void): boolean {
    this.#watching?.delete(mine)
    return !this.#isConfirmed && !this.isOpen
  }
}

/** A reservation in a session's outgoing order. It is made before the batch of its stanza is stored. */
export interface Reservation {
  /** The commit succeeded: the stanza is sent when its turn comes. */
  ready (): void
  /** The commit failed: the stanza is never sent. */
  failed (): void
}

/**
 * Counts what a session sends and receives, and keeps what its device has not acknowledged (XEP-0198). A module
 * provides it.
 */
export interface StreamManager {
  /** True if the session hibernates when its connection is lost, so that nothing is lost. */
  readonly isResumable: boolean
  /** Sends a stanza that has passed the gate, after those that wait for their commit. */
  send (stanza: Stanza): 'sent' | 'kept' | 'full'
  /** Reserves the next place in the outgoing order. A stanza that must survive a crash is written in the batch. */
  reserve (stanza: Stanza, handed: DeliveryTracker | undefined, batch: Batch): Reservation
  /**
   * Reserves the next place for a broadcast. `stanza` is the copy for this session, which has passed the gate. Its body
   * is kept, and written, once for all sessions.
   */
  reserveShared (broadcast: Broadcast, stanza: Stanza, batch: Batch): Reservation
  /** Counts one received stanza. */
  arrive (): Arrival
  /** Lets what the device sends wait for earlier stanzas as long as `isSo` returns true. */
  waits (isSo: () => boolean): void
  /** Resolves when all that has come so far is submitted to storage, or answered. */
  settled (): Promise<void>
  /**
   * Called right before the batch of a received stanza is stored. `isEmpty`: the batch holds nothing so far.
   * `isAnswered`: the device gets a result, once the batch is stored.
   */
  settling (batch: Batch, isEmpty: boolean, isAnswered: boolean): void
  /** True while far less is unacknowledged than the limit. A long answer goes on while this is true. */
  readonly hasRoom: boolean
  /** Runs `then` once, when the device acknowledges something, its connection is lost, or its session ends. */
  confirming (then: () => void): void
  /** The stanzas that the device has not acknowledged, as sent, the oldest first. */
  unconfirmed (): Iterable<string>
  /** Called when there is a new connection: sends the unacknowledged stanzas again. */
  attached (): void
  /** Sends at once what the client state delayed. */
  flushDelayed (): void
  /**
   * Called when a slot's value or the presence of the session changed. `decides`: what the session receives depends on
   * it, so a crash must not lose it.
   */
  changed (decides: boolean): void
}

/**
 * Returns what to deliver again if a device did not get this message. That is the message itself; for a received carbon
 * (XEP-0280) the message in it; for a sent carbon, or a message from any archive (XEP-0313), nothing.
 */
export function messageToRedeliver (message: Message): Message | undefined {
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
