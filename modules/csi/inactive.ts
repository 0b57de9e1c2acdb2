/** The inactive devices of a host, and what waits for them. */
import { service, SharedLedger, slot } from '../../lib/api.js'
import type { ModuleHost, Session, Stanza, Urgency } from '../../lib/api.js'
import { DelayedStanzas } from './delayed-stanzas.js'

/** The stanzas that wait for an inactive device; undefined if it is active. §5: a new or resumed stream is active. */
const inactive = slot<DelayedStanzas | undefined>('csi.inactive', { initial: () => undefined, onResume: 'reset' })

/** The bytes that wait for inactive devices, of all hosts. */
const waitingBytes = service<SharedLedger>('csi.waiting')

/** The most stanzas and bytes that wait for a device, and the most bytes for the devices of all hosts. */
export interface Bounds { readonly stanzas: number, readonly bytes: number, readonly totalBytes: number }

/** Delays what is not urgent for inactive devices, within bounds. */
export class InactiveDevices {
  readonly #host: ModuleHost
  readonly #bounds: Bounds
  readonly #urgencyOf: (stanza: Stanza) => Urgency
  readonly #ledger: SharedLedger

  constructor (host: ModuleHost, bounds: Bounds, urgencyOf: (stanza: Stanza) => Urgency) {
    this.#host = host
    this.#bounds = bounds
    this.#urgencyOf = urgencyOf
    this.#ledger = host.shared(waitingBytes, () => new SharedLedger())
  }

  /** True if the device is inactive. */
  has (session: Session): boolean { return session.get(inactive) !== undefined }

  /** Notes that a device is inactive. */
  add (session: Session): void {
    if (!this.has(session)) session.put(inactive, new DelayedStanzas(() => { this.flush(session) }))
  }

  /** Notes that a device is active, and sends what waits for it. */
  remove (session: Session): void {
    this.flush(session)
    session.put(inactive, undefined)
  }

  /**
   * Counts what sessions held before a reload of the module. Returns a function that counts it no longer; unless the
   * module is replaced, it sends what waits, for nothing would send it later.
   */
  start (): (isReplaced: boolean) => void {
    const release = this.#ledger.bound(this.#bounds.totalBytes)
    for (const [session, held] of this.#all()) {
      held.share.shrink = () => { this.flush(session) }
      this.#count(held)
    }
    return isReplaced => {
      for (const [session, { share }] of this.#all()) {
        if (!isReplaced) this.flush(session)
        this.#ledger.change(share, -share.bytes)
      }
      release()
    }
  }

  /**
   * Decides about a stanza to a device. 'handled': it waits here, or is dropped. undefined: it goes on, though the
   * session's stream management may delay it.
   */
  decide (session: Session, stanza: Stanza): 'handled' | undefined {
    const held = session.get(inactive)
    if (held === undefined) return undefined
    const urgency = this.#urgencyOf(stanza)
    if (urgency === 'now') {
      this.flush(session)
      return undefined
    }
    const isPatient = urgency === 'hold' && session.manager !== undefined
    if (isPatient) this.#delay(session, held, stanza)
    else this.#hold(held, stanza, urgency)
    if (held.length > this.#bounds.stanzas || held.bytes > this.#bounds.bytes) this.flush(session)
    else this.#count(held)
    return isPatient ? undefined : 'handled'
  }

  /** Sends all waiting stanzas in order, past the module's own hook. */
  flush (session: Session): void {
    session.mayBeDelayed = false
    const held = session.get(inactive)
    const { length } = held ?? { length: 0 }
    if (held === undefined || length === 0) return
    this.#host.count('wakeups.spared', length)
    const all = held.take()
    this.#count(held)
    for (const stanza of all) session.pass(stanza)
    session.manager?.flushDelayed()
  }

  /** Removes and returns the stanzas that wait for a session that was closed. */
  take (session: Session): readonly Stanza[] {
    const held = session.get(inactive)
    const all = held?.take() ?? []
    if (held !== undefined) this.#count(held)
    return all
  }

  #all (): readonly (readonly [Session, DelayedStanzas])[] {
    return [...this.#host.sessions.all()].flatMap(session => {
      const held = session.get(inactive)
      return held === undefined ? [] : [[session, held] as const]
    })
  }

  /** Updates the ledger after the stanzas of a device changed. */
  #count ({ share, bytes }: DelayedStanzas): void { this.#ledger.change(share, bytes - share.bytes) }

  /**
   * Numbers and stores the stanza as usual and delays only its sending, until an urgent one goes out. Neither a crash
   * nor the end of the session loses it.
   */
  #delay (session: Session, held: DelayedStanzas, stanza: Stanza): void {
    this.#host.count('waited', 1, { kind: stanza.kind })
    session.mayBeDelayed = true
    // RFC 6120 §10.1: stanzas from one address keep their order.
    const before = held.remove(keyOf('presence', stanza))
    if (before !== undefined) {
      held.note(before)
      session.pass(before)
    }
    held.note(stanza)
  }

  /** Keeps the stanza here, or drops it or the one that it replaces. */
  #hold (held: DelayedStanzas, stanza: Stanza, urgency: 'hold' | 'last' | 'drop'): void {
    this.#host.count('waited', 1, { kind: stanza.kind })
    if (urgency === 'hold') held.add(stanza)
    else {
      const spared = urgency === 'drop' ? stanza : held.replace(keyOf(stanza.kind, stanza), stanza)
      if (spared === undefined) return
      this.#host.count('spared.stanzas', 1, { kind: stanza.kind })
      this.#host.count('spared.bytes', spared.octets().length, { kind: stanza.kind })
    }
  }
}

/** Returns the key of a sender's last stanza of this kind. */
function keyOf (kind: string, { from }: Stanza): string { return `${kind} ${from.toString()}` }
