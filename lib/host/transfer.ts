/** One stanza that waits for its recipient's account: after a second its sender's side is committed without the recipient's. */
import type { Clock, Timer } from '../base/clock.js'
import type { Write } from '../storage/store.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed } from '../xmpp/stanza.js'
import type { Arrival } from './arrivals.js'
import type { Passage, Router } from './router.js'

/** A stanza may hold up what its sender says after it for this time, in milliseconds. */
const LONGEST = 1000

/** Where the stanza is stored in between, and how much may be. */
export interface TransferHome {
  readonly clock: Clock
  readonly router: Router
  /** The host has ended: nothing is delivered any more. */
  readonly isOver: boolean
  /** Whether a crash is not to lose the stanza. */
  isStored (stanza: Addressed): boolean
  /** Takes room for a row. False: there is none. */
  reserve (sender: string, bytes: number): boolean
  giveBack (sender: string, bytes: number): void
  row (stanza: Addressed): { readonly id: string, readonly appending: Write }
  removing (account: Jid, id: string): Write
  remove (account: Jid, id: string): void
  /** Between these two calls the sender's side is committed and the recipient's is not done with. */
  begins (stanza: Addressed): void
  ends (stanza: Addressed): void
  forget (transfer: Transfer): void
}

/**
 * 'waiting': its place among its sender's stanzas is held. 'offered': the place is given up once its turn comes. 'parted': the sender's
 * side is on its way to storage, without the recipient's. 'stored': it is there. 'failed': it is not, and its sender has been told so.
 */
type State = 'waiting' | 'offered' | 'parted' | 'stored' | 'failed'

/** Takes the place of the stanza's own among its sender's: the recipient's side is committed after the sender's, or with it. */
export class Transfer implements Arrival {
  readonly #home: TransferHome
  readonly #stanza: Addressed
  readonly #passage: Passage
  readonly #arrival: Arrival
  readonly #offered: (() => void) | undefined
  #timer: Timer | undefined
  #state: State = 'waiting'
  #settle: (() => void) | undefined
  #row: string | undefined
  /** Bytes that are reserved for its row. */
  #bytes = 0

  /** `arrival`: its place. `offered` runs when the sender need not wait for it any more. */
  constructor (home: TransferHome, stanza: Addressed, passage: Passage, arrival: Arrival, offered: (() => void) | undefined) {
    this.#home = home
    this.#stanza = stanza
    this.#passage = passage
    this.#arrival = arrival
    this.#offered = offered
    this.#timer = home.clock.after(LONGEST, () => { this.#offer() })
  }

  // ---- Its place --------------------------------------------------------------------------------------

  get isFirst (): boolean { return this.#arrival.isFirst }
  whenFirst (run: () => void): void { this.#arrival.whenFirst(run) }

  /** The recipient's side is ready, or has failed. */
  settle (settle: () => void): void {
    if (this.#state === 'failed' || this.#isStopped) this.#drop()
    else if (this.#state === 'stored' || this.#settle !== undefined) settle()
    else this.#settle = settle
  }

  /** Nobody waits for the stanza any more in its lane; the next may go on once this resolves. */
  finish (): Promise<void> | undefined {
    const passage = this.#passage
    this.#timer?.cancel()
    this.#home.forget(this)
    if (this.#state === 'waiting' || this.#state === 'offered' || passage.isOver === true) return undefined
    const { over } = passage
    return new Promise(resolve => {
      passage.over = () => {
        over?.()
        resolve()
      }
    })
  }

  /** The host ends. */
  end (): void {
    this.#timer?.cancel()
    if (this.#row !== undefined) this.#passage.isDropped = true
  }

  get #isStopped (): boolean { return this.#row !== undefined && this.#home.isOver }

  // ---- Giving it up -------------------------------------------------------------------------------------

  #offer (): void {
    this.#timer = undefined
    if (this.#passage.ended === true) return
    if (this.#home.isStored(this.#stanza) && !this.#reserve()) {
      // There is no room for its row: its sender waits for it, as long as that is so.
      this.#timer = this.#home.clock.after(LONGEST, () => { this.#offer() })
      return
    }
    this.#state = 'offered'
    this.#passage.arrival = this
    this.#arrival.settle(() => { this.#comes() })
    this.#offered?.()
  }

  #reserve (): boolean {
    const bytes = this.#stanza.octets().length
    if (!this.#home.reserve(this.#sender, bytes)) return false
    this.#bytes = bytes
    return true
  }

  get #sender (): string { return this.#passage.session?.account.toString() ?? this.#stanza.from.domain }

  /** Its turn has come among its sender's stanzas. */
  #comes (): void {
    const settle = this.#settle
    if (settle === undefined) { this.#part(); return }
    // The recipient's side was ready before: one commit has both.
    this.#giveBack()
    this.#state = 'stored'
    settle()
  }

  #part (): void {
    const home = this.#home
    const { session, order, payer, batch } = this.#passage
    const sent: Passage = { session, order, payer, batch: batch.part(), arrival: this.#arrival }
    this.#state = 'parted'
    home.begins(this.#stanza)
    if (this.#bytes > 0) this.#store(sent)
    batch.committed(() => { this.#ends() })
    batch.failed(() => { this.#ends() })
    sent.batch.committed(() => { this.#stored() })
    sent.batch.failed(() => { this.#fails() })
    home.router.settle(this.#stanza, sent, () => {})
  }

  /** Adds the row to the sender's side, and its removal to the recipient's. */
  #store (sent: Passage): void {
    const home = this.#home
    const account = this.#stanza.to.bare
    const { id, appending } = home.row(this.#stanza)
    this.#row = id
    sent.batch.add(appending)
    this.#passage.batch.add(home.removing(account, id))
    this.#passage.batch.failed(() => {
      // What was refused is answered with an error, and nothing else becomes of it.
      if (this.#state !== 'failed' && !this.#isStopped) home.remove(account, id)
    })
  }

  #stored (): void {
    this.#state = 'stored'
    this.#settle?.()
  }

  /** Its sender hears that it could not be stored: nothing of it is delivered. */
  #fails (): void {
    this.#state = 'failed'
    this.#passage.isDropped = true
    if (this.#settle !== undefined) this.#drop()
  }

  #drop (): void {
    const passage = this.#passage
    passage.batch.fail(new Error('the stanza is not delivered'))
    passage.isOver = true
    passage.over?.()
  }

  #ends (): void {
    this.#home.ends(this.#stanza)
    this.#giveBack()
  }

  #giveBack (): void {
    if (this.#bytes === 0) return
    this.#home.giveBack(this.#sender, this.#bytes)
    this.#bytes = 0
  }
}
