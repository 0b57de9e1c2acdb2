/** Drawing: one long answer, while it is sent piece by piece to one recipient, as fast as that reads. */
import type { Clock } from '../base/clock.js'
import type { Maybe } from '../base/maybe.js'
import type { Turns } from '../base/turns.js'
import { LARGEST_ANSWER } from '../stream/bounds.js'
import type { Addressed } from '../xmpp/stanza.js'
import type { StreamManager } from './delivery-tracker.js'
import type { Room } from './router.js'
import type { Session } from './session.js'

/** The pieces of a long answer. Each piece is made right before it is sent. */
export type Pieces = Iterable<Addressed> | AsyncIterable<Addressed>

/** How long a long answer waits for a device to acknowledge something before it is given up, in milliseconds. */
const ACK_TIMEOUT = 60_000
/** How often the way to another server is looked at while a long answer waits, in milliseconds. */
const LOOK_AGAIN = 1000

/** How many pieces are sent between two looks at the time that this turn of the event loop has taken. */
const AT_ONCE = 16

/** One long answer, while it is sent to one recipient. */
export class Drawing {
  readonly #recipient: Recipient | undefined
  readonly #turns: Turns | undefined
  readonly #send: (stanza: Addressed) => void
  readonly #next: () => Maybe<IteratorResult<Addressed, unknown>>
  readonly #stop: () => unknown
  /** Stanzas to send after the last piece. */
  readonly #after: Addressed[] = []
  #bytes = 0
  /** Resolves when the answer has ended and the stanzas after it were sent. */
  over: Promise<void> = Promise.resolve()

  /** `recipient`: undefined if there is always room. */
  constructor (
    recipient: Recipient | undefined, pieces: Pieces, send: (stanza: Addressed) => void, turns?: Turns,
  ) {
    const iterator = Symbol.asyncIterator in pieces ? pieces[Symbol.asyncIterator]() : pieces[Symbol.iterator]()
    this.#recipient = recipient
    this.#turns = turns
    this.#send = send
    this.#next = () => iterator.next()
    this.#stop = () => iterator.return?.()
  }

  /** Sends pieces at once while the recipient has room, and this turn of the event loop is not used up. */
  run (): Maybe<boolean> {
    for (let sent = 0; this.#hasRoom && !this.#isTurnOver(sent); sent++) {
      const next = this.#next()
      if (next instanceof Promise) return this.#rest(next)
      if (next.done === true) return true
      this.#send(next.value)
    }
    return this.#rest(undefined)
  }

  /** Keeps a stanza to the same recipient until the answer has ended. */
  follow (stanza: Addressed): void {
    this.#after.push(stanza)
    this.#bytes += stanza.octets().length
  }

  /** Removes and returns the stanzas to send after the answer. */
  take (): readonly Addressed[] { return this.#after.splice(0) }

  async #rest (first: Promise<IteratorResult<Addressed, unknown>> | undefined): Promise<boolean> {
    const turns = this.#turns
    let next = first
    for (let sent = 0; ; sent++) {
      if (turns !== undefined && this.#isTurnOver(sent)) await new Promise<void>(resolve => { turns.later(resolve) })
      const result = await (next ?? (await this.#isReady() ? this.#next() : undefined))
      next = undefined
      if (result === undefined) {
        await this.#stop()
        return false
      }
      if (result.done === true) return true
      if (this.#isGone) continue
      this.#send(result.value)
    }
  }

  #isTurnOver (sent: number): boolean {
    return sent % AT_ONCE === 0 && sent > 0 && this.#turns?.isSpent === true
  }

  get #isGone (): boolean { return this.#recipient?.isGone === true || this.#bytes > LARGEST_ANSWER }
  get #hasRoom (): boolean { return this.#recipient?.hasRoom !== false }

  /** Resolves with true when the next piece can be sent, and with false if it never can. */
  async #isReady (): Promise<boolean> {
    const recipient = this.#recipient
    while (recipient !== undefined && !this.#isGone && !this.#hasRoom) if (!await recipient.waits()) return false
    return !this.#isGone
  }
}

/** The recipient of a long answer. */
export interface Recipient {
  readonly isGone: boolean
  readonly hasRoom: boolean
  /** Resolves with true when there may be room, and with false if it is too late. Called while there is none. */
  waits (): Promise<boolean>
}

/** Returns a device as a recipient. */
export function deviceOf (session: Session, clock: Clock): Recipient {
  return {
    get isGone () { return session.connection === 'closed' },
    get hasRoom () { return (session.connection === 'waiting' || session.hasRoom) && session.manager?.hasRoom !== false },
    async waits () {
      const { manager } = session
      if (manager?.hasRoom !== false) return await within(clock, undefined, then => { session.drained(then) })
      return session.connection !== 'waiting' && await isAcknowledged(session, manager, clock)
    },
  }
}

/**
 * Resolves with true if the device acknowledges something in time. If so much of it waits for this answer that it is
 * not read, neither are its acknowledgements: then resolves with false.
 */
async function isAcknowledged (session: Session, manager: StreamManager, clock: Clock): Promise<boolean> {
  let cancel: (() => void) | undefined
  const isFull = new Promise<boolean>(resolve => { cancel = session.input.whenFull(() => { resolve(false) }) })
  const isConfirmed = within(clock, ACK_TIMEOUT, then => { manager.confirming(then) })
  try {
    return await Promise.race([isFull, isConfirmed])
  } finally {
    cancel?.()
  }
}

/** Returns another server as a recipient. Its link may change while something waits, so it is checked each second. */
export function serverOf (room: Room, clock: Clock): Recipient {
  let since: number | undefined
  return {
    get isGone () { return room.isGone },
    get hasRoom () {
      if (!room.hasRoom) return false
      since = undefined
      return true
    },
    async waits () {
      since ??= clock.now()
      if (clock.now() - since >= ACK_TIMEOUT) return false
      await within(clock, LOOK_AGAIN, then => { room.drained(then) })
      return true
    },
  }
}

/** Resolves with true when `wait` calls back, and with false after `ms` milliseconds; without `ms` never with false. */
function within (clock: Clock, ms: number | undefined, wait: (then: () => void) => void): Promise<boolean> {
  return new Promise(resolve => {
    const timer = ms === undefined ? undefined : clock.after(ms, () => { resolve(false) })
    wait(() => {
      timer?.cancel()
      resolve(true)
    })
  })
}
