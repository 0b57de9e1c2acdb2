/**
 * The lanes of the accounts of one host, as steps use them: a stanza waits there for its turn, and delays its sender
 * for a second at most.
 */
import type { Maybe } from '../../base/maybe.js'
import { StanzaError } from '../../xmpp/errors.js'
import type { Jid } from '../../xmpp/jid.js'
import type { Arrival } from '../arrivals.js'
import { Lanes, type Waiting } from './lanes.js'
import { NEXT, type Hold, type Outcome, type Passage } from './passage.js'
import { sendersOf } from './senders.js'
import { Transfers, type TransfersHome } from './transfers.js'

export interface AccountLanesHome extends TransfersHome {
  /** Called with an unexpected error, to log it. */
  defect (error: unknown): void
}

/** The arrival of a stanza on a stream that keeps no order of arrival. */
const UNORDERED: Arrival = { isFirst: true, whenFirst: run => { run() }, settle: settle => { settle() } }

export class AccountLanes {
  readonly #lanes: Lanes
  readonly transfers: Transfers
  /** For a stanza that is in its lane alone: if it waits, the lane becomes busy. */
  readonly #alone: Hold = {
    waits: (passage, rest) => { this.#lanes.begin(keyOf(passage), this.#waits(passage, rest)) },
    lags: passage => { this.#lags(passage) },
  }

  /** For a stanza that waits after others in its lane. */
  readonly #queued: Hold = {
    waits: (passage, rest) => { void this.#waits(passage, rest) },
    lags: passage => { this.#lags(passage) },
  }

  /** For an iq that takes no lane, and delays its sender for a second at most. */
  readonly #brief: Hold = { waits: (passage, rest) => this.#waitsBriefly(passage, rest), lags () {} }

  constructor (home: AccountLanesHome) {
    const { storage, turns } = home.pipeline
    this.transfers = new Transfers(home)
    this.#lanes = new Lanes({ storage, turns, defect: error => { home.defect(error) } })
  }

  /**
   * Puts a stanza into the lane of its recipient's account, and waits for its turn. From here on its batch is the
   * recipient's side. Throws resource-constraint if there is no room for its sender.
   */
  enter (passage: Passage): Maybe<Outcome> {
    const key = keyOf(passage)
    passage.batch = passage.batch.divide()
    if (!this.#lanes.isBusy(key)) {
      passage.hold = this.#alone
      return NEXT
    }
    let go: (outcome: Outcome) => void = () => {}
    const isTaken = this.#lanes.after(key, waitingOf(passage), () => {
      go(NEXT)
      return passage.gone
    })
    if (!isTaken) throw new StanzaError('resource-constraint')
    passage.hold = this.#queued
    return new Promise(resolve => { go = resolve })
  }

  /** Lets an iq to another account delay its sender for a second at most. */
  delayBriefly (passage: Passage): Maybe<Outcome> {
    const { iq, session, peer } = passage
    const account = iq.to.bare
    const isOwn = session === undefined ? peer === undefined : session.account.equals(account)
    if (isOwn) return NEXT
    if (this.transfers.hasAny(iq.from, account)) return this.enter(passage)
    passage.batch = passage.batch.divide()
    passage.hold = this.#brief
    return NEXT
  }

  /** True if stanzas wait in the lane of this account. */
  isBusy (account: Jid): boolean { return this.#lanes.isBusy(account.toString()) }

  /** Resolves when no stanza waits for a handler any more. All that the handlers store is then submitted to storage. */
  idle (): Promise<void> { return this.#lanes.idle() }

  /**
   * Runs `work` after all that came for the account is stored. Later stanzas for the account wait until the work ends.
   */
  turn (account: string, work: () => Promise<void>): void { this.#lanes.turn(account, work) }

  /** Resolves after all that has come for the account so far is stored; returns undefined if it is stored already. */
  stored (account: Jid): Promise<void> | undefined { return this.#lanes.stored(account.toString()) }

  /** Ends all transfers because the host ends. Waiting stanzas that are stored are delivered after the next start. */
  end (): void { this.transfers.end() }

  /**
   * Lets the sender's next stanzas go on. They are still settled later, unless the wait is long. The result resolves
   * when the lane can go on: a recipient's side that is stored by itself is submitted by then.
   */
  #waits (passage: Passage, rest: Promise<void>): Promise<void> {
    passage.stage = 'waiting'
    passage.arrival ??= passage.session?.input.arrive()
    this.transfers.wait(passage)
    return passage.gone = rest.then(() => passage.transit?.finish())
  }

  #waitsBriefly (passage: Passage, rest: Promise<void>): Promise<void> {
    passage.stage = 'waiting'
    passage.arrival ??= passage.session === undefined ? UNORDERED : passage.session.input.arrive()
    return new Promise(resolve => {
      this.transfers.wait(passage, resolve)
      void rest.then(() => {
        void passage.transit?.finish()
        resolve()
      })
    })
  }

  /** A turn in the lane waits for a stanza that has left it, and is submitted after its sender's other stanzas. */
  #lags (passage: Passage): void {
    this.#lanes.passes(keyOf(passage), new Promise(resolve => { passage.whenSettled(resolve) }))
  }
}

function keyOf ({ addressed: { to } }: Passage): string { return to.bare.toString() }

/** The senders that share the room of an account. What was found stored at the start is never refused. */
function waitingOf (passage: Passage): Waiting {
  return { bytes: passage.stanza.weight(), sender: passage.at === undefined ? sendersOf(passage) : undefined }
}
