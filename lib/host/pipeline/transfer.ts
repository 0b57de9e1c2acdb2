/**
 * One stanza that waits for its recipient's account. After a second the sender's side is committed without the
 * recipient's.
 */
import type { Clock, Timer } from '../../base/clock.js'
import type { Write } from '../../storage/store.js'
import { StanzaError } from '../../xmpp/errors.js'
import type { Jid } from '../../xmpp/jid.js'
import type { Addressed } from '../../xmpp/stanza.js'
import type { Arrival } from '../arrivals.js'
import { handled, type Passage, type Transit } from './passage.js'
import type { Pipeline } from './pipeline.js'
import { sendersOf } from './senders.js'
import type { Taken, TransferRoom } from './transfer-room.js'

/** How long a stanza may delay its sender's later stanzas, in milliseconds. */
const LONGEST = 1000

/** The parts of `Transfers` that one transfer uses: its row, and the room for it. */
export interface TransferHome {
  readonly clock: Clock
  readonly pipeline: Pick<Pipeline, 'commits' | 'replies'>
  /** True if the host has ended: nothing is delivered any more. */
  readonly isOver: boolean
  /** True if a crash must not lose the stanza. */
  isStored (stanza: Addressed): boolean
  /** The room for rows. */
  readonly room: TransferRoom
  row (stanza: Addressed): { readonly id: string, readonly appending: Write }
  removing (account: Jid, id: string): Write
  remove (account: Jid, id: string): void
  /** The sender's side is committed between `begins` and `ends`, and the recipient's side is not finished. */
  begins (stanza: Addressed): void
  ends (stanza: Addressed): void
  forget (transfer: Transfer): void
}

/**
 * 'waiting': the stanza holds its place among its sender's stanzas. 'offered': it gives the place up when its turn
 * comes. 'parted': the sender's side is submitted without the recipient's. 'stored': the sender's side is stored.
 * 'failed': it is not, and the sender has got an error.
 */
const SENT = handled("the sender's side")

type State = 'waiting' | 'offered' | 'parted' | 'stored' | 'failed'

/** Takes the stanza's place in its sender's order. The recipient's side is committed after the sender's, or with it. */
export class Transfer implements Arrival, Transit {
  readonly #home: TransferHome
  readonly #passage: Passage
  readonly #arrival: Arrival
  readonly #offered: (() => void) | undefined
  #timer: Timer | undefined
  #state: State = 'waiting'
  #settle: (() => void) | undefined
  #row: string | undefined
  /** Bytes that are reserved for the row. */
  #bytes = 0

  /** `arrival` is the stanza's place. `offered` runs when the sender need not wait for the stanza any more. */
  constructor (
    home: TransferHome, passage: Passage, arrival: Arrival, offered: (() => void) | undefined,
  ) {
    this.#home = home
    this.#passage = passage
    this.#arrival = arrival
    this.#offered = offered
    this.#timer = home.clock.after(LONGEST, () => { this.#offer() })
  }

  // ---- Its place --------------------------------------------------------------------------------------

  get isFirst (): boolean { return this.#arrival.isFirst }
  whenFirst (run: () => void): void { this.#arrival.whenFirst(run) }

  /** Called when the recipient's side is ready or has failed. */
  settle (settle: () => void): void {
    if (this.isDropped) this.#drop()
    else if (this.#state === 'stored' || this.#settle !== undefined) settle()
    else this.#settle = settle
  }

  finish (): Promise<void> | undefined {
    const passage = this.#passage
    this.#timer?.cancel()
    this.#home.forget(this)
    if (this.#state === 'waiting' || this.#state === 'offered' || passage.isSettled) return undefined
    return new Promise(resolve => { passage.whenSettled(resolve) })
  }

  get isDropped (): boolean { return this.#state === 'failed' || this.#isStopped }

  /** Called when the host ends. */
  end (): void { this.#timer?.cancel() }

  get #isStopped (): boolean { return this.#row !== undefined && this.#home.isOver }

  // ---- Giving it up -------------------------------------------------------------------------------------

  #offer (): void {
    this.#timer = undefined
    if (!this.#passage.isUnderWay) return
    const taken = this.#home.isStored(this.#stanza) ? this.#takeRoom() : 'taken'
    if (taken === 'never') { this.#refuse(); return }
    if (taken === 'later') {
      // There is no room for the row: the sender waits until there is.
      this.#timer = this.#home.clock.after(LONGEST, () => { this.#offer() })
      return
    }
    this.#state = 'offered'
    this.#passage.arrival = this
    this.#arrival.settle(() => { this.#comes() })
    this.#offered?.()
  }

  get #stanza (): Addressed { return this.#passage.addressed }

  #takeRoom (): Taken {
    const bytes = this.#stanza.octets().length
    const taken = this.#home.room.take(this.#sender, bytes)
    if (taken === 'taken') this.#bytes = bytes
    return taken
  }

  get #sender (): readonly string[] { return sendersOf(this.#passage) }

  /** Answers with an error, so that the stanza keeps no other sender of its stream waiting. It is not delivered. */
  #refuse (): void {
    const sent = this.#passage.part(this.#arrival)
    this.#state = 'failed'
    const error = new StanzaError('resource-constraint', 'too many stanzas of this sender wait', { type: 'wait' })
    this.#home.pipeline.replies.refuse(sent, error)
    this.#offered?.()
  }

  /** Called when the stanza's turn among its sender's stanzas has come. */
  #comes (): void {
    const settle = this.#settle
    if (settle === undefined) { this.#part(); return }
    // The recipient's side was ready before: one commit stores both.
    this.#giveBack()
    this.#state = 'stored'
    settle()
  }

  #part (): void {
    const home = this.#home
    const { batch } = this.#passage
    const sent = this.#passage.part(this.#arrival)
    this.#state = 'parted'
    home.begins(this.#stanza)
    if (this.#bytes > 0) this.#store(sent)
    batch.committed(() => { this.#ends() })
    batch.failed(() => { this.#ends() })
    sent.batch.committed(() => { this.#stored() })
    sent.batch.failed(() => { this.#fails() })
    home.pipeline.commits.settle(sent, SENT)
  }

  /** Adds the row to the sender's batch, and its removal to the recipient's. */
  #store (sent: Passage): void {
    const home = this.#home
    const account = this.#stanza.to.bare
    const { id, appending } = home.row(this.#stanza)
    this.#row = id
    sent.batch.add(appending)
    this.#passage.batch.add(home.removing(account, id))
    this.#passage.batch.failed(() => {
      // A refused stanza is answered with an error, and its row is removed.
      if (this.#state !== 'failed' && !this.#isStopped) home.remove(account, id)
    })
  }

  #stored (): void {
    this.#state = 'stored'
    this.#settle?.()
  }

  /** The sender gets an error because the stanza could not be stored. Nothing of it is delivered. */
  #fails (): void {
    this.#state = 'failed'
    if (this.#settle !== undefined) this.#drop()
  }

  #drop (): void { this.#home.pipeline.replies.drop(this.#passage) }

  #ends (): void {
    this.#home.ends(this.#stanza)
    this.#giveBack()
  }

  #giveBack (): void {
    if (this.#bytes === 0) return
    this.#home.room.giveBack(this.#sender, this.#bytes)
    this.#bytes = 0
  }
}
