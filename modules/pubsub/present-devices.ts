/** The devices that have sent their presence to the service: it learns when they are gone (XEP-0060 §12.5). */
import { FairCache } from '../../lib/api.js'
import type { Jid } from '../../lib/api.js'

/** The most bytes of the devices of one domain, and of all, about: 10,000 and 40,000 devices. */
const EACH = 1024 * 1024
const ALL = 4 * EACH
/** Bytes of a device beside its address. */
const ENTRY = 64

/** If there are too many, those that came first are forgotten; they can send their presence again. */
export class PresentDevices {
  readonly #devices = new FairCache<true>({ each: EACH, all: ALL, sizeOf: key => ENTRY + key.length })

  came (device: Jid): void { if (device.resource !== '') this.#devices.set(device.domain, device.toString(), true) }

  left (device: Jid): void { this.#devices.delete(device.domain, device.toString()) }

  has (device: Jid): boolean { return this.#devices.get(device.domain, device.toString()) === true }
}
