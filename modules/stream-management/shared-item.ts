/** A broadcast in the outgoing order of one device: a reference to a body that all its recipients share. */
import { octetsFor } from '../../lib/api.js'
import type { Reservation } from '../../lib/api.js'
import type { Item } from './outgoing-order.js'
import type { SharedBody } from './shared-body.js'

/** The session of a shared item. */
export interface SharedItemHome {
  /** The attribute `to` of the device, as octets. */
  readonly toAttribute: string
  /** Called when the item's commit has succeeded: it is sent when its turn comes. */
  readied (item: Item): void
  /** Called when the item's commit has failed: it is never sent. */
  voided (item: Item): void
}

const NOTHING = (): void => {}

/** An item and its own reservation, so that a device costs one small object for each broadcast. */
export class SharedItem implements Item, Reservation {
  readonly body: SharedBody
  readonly #home: SharedItemHome
  row: string | undefined
  seq: number | undefined
  pinned: number | undefined
  state: Item['state']
  isPatient: boolean

  constructor (home: SharedItemHome, body: SharedBody, state: Item['state'], isPatient: boolean) {
    this.body = body
    this.#home = home
    this.row = undefined
    this.seq = undefined
    this.pinned = undefined
    this.state = state
    this.isPatient = isPatient
  }

  get octets (): string { return octetsFor(this.body.frame, this.#home.toAttribute) }
  get size (): number { return this.body.bytes + this.#home.toAttribute.length }
  get at (): number { return this.body.at }
  get handed (): undefined { return undefined }
  get confirmed (): () => void { return NOTHING }

  ready (): void { this.#home.readied(this) }
  failed (): void { this.#home.voided(this) }
}
