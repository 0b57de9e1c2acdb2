/** Messages that are delivered again: those that no device acknowledged, and those that the previous process left. */
import { follow, type Maybe } from '../../base/maybe.js'
import type { Write } from '../../storage/store.js'
import { StanzaError } from '../../xmpp/errors.js'
import type { Message } from '../../xmpp/stanza.js'
import { DeliveryTracker } from '../delivery-tracker.js'
import { messageUndelivered } from '../events.js'
import { withDelay } from './delay.js'
import { handled, NEXT, Passage, type Outcome, type Step, type Transit } from './passage.js'
import type { Pipeline } from './pipeline.js'
import { LEFT, LEFT_TO_ENTITY } from './steps.js'
import { awaitTurn, mustExist, type AccountHome } from './to-account.js'
import type { EntityHome } from './to-entity.js'

export interface RedeliveryHome extends AccountHome, EntityHome {
  /** True if the host is a service: its stanzas are for entities. */
  readonly isService: boolean
  readonly pipeline: Pipeline
}

/** A message whose devices ended before they acknowledged it. */
const UNDELIVERED: readonly Step<AccountHome>[] = [awaitTurn, mustExist, onlyIfKept, fireUndelivered]

export class Redelivery {
  readonly #home: RedeliveryHome

  constructor (home: RedeliveryHome) { this.#home = home }

  /**
   * Delivers a message again because its devices ended before they acknowledged it: to the sessions that are there now,
   * or to the offline store. `at` is when it came, in milliseconds since 1970. `removing` is stored in the same batch.
   */
  again (message: Message, at: number, removing: Write | undefined): void {
    const { pipeline } = this.#home
    const passage = new Passage(message, { at })
    const { batch } = passage
    if (removing !== undefined) {
      batch.add(removing)
      // A refused message is answered with an error, and `removing` is stored all the same.
      batch.failed(() => {
        if (!batch.isSubmitted) this.store(removing)
      })
    }
    void pipeline.run(passage, UNDELIVERED, this.#home)
  }

  /** Stores a write by itself: there is nothing to deliver again. */
  store (write: Write): void { this.#home.pipeline.storage.submit([write]) }

  /** Delivers the stanzas that the previous process left. Later stanzas for these accounts wait until that is done. */
  async resume (): Promise<void> {
    const { lanes } = this.#home
    for (const account of await lanes.transfers.owners()) lanes.turn(account, () => this.#resume(account))
  }

  async #resume (account: string): Promise<void> {
    const { pipeline, lanes: { transfers } } = this.#home
    // If the host ends meanwhile, the row stays for the next start.
    const transit: Transit = { get isDropped () { return transfers.isOver }, finish: () => undefined }
    for (const { id, at, stanza } of await transfers.left(account)) {
      if (transfers.isOver) return
      const passage = new Passage(stanza, { at, transit })
      passage.batch.add(transfers.removing(stanza.to.bare, id))
      // A refused stanza is answered with an error, and its row is removed.
      passage.batch.failed(() => { if (!transfers.isOver) transfers.remove(stanza.to.bare, id) })
      if (this.#home.isService) await pipeline.run(passage, LEFT_TO_ENTITY[stanza.kind], this.#home)
      else await pipeline.run(passage, LEFT[stanza.kind], this.#home)
    }
  }
}

/** RFC 6121 §8.5.3.2.1: room messages are refused once their device is gone; errors and headlines are not kept. */
function onlyIfKept ({ message: { type } }: Passage): Outcome {
  if (type === 'groupchat') throw new StanzaError('service-unavailable')
  return type === 'error' || type === 'headline' ? handled(`a message of type ${type} is not delivered again`) : NEXT
}

/** Delivers to the sessions that are there now, after modules have seen them. */
function fireUndelivered (passage: Passage, { hooks, sessions, domain }: AccountHome): Maybe<Outcome> {
  const { message, batch, at = 0 } = passage
  const account = message.to.bare
  // A session with much to acknowledge does not get what another session left. It would end too, and so would the
  // next one.
  const recipients = sessions.of(account).filter(session =>
    session.available && session.priority >= 0 && !session.isFrozen && session.manager?.hasRoom !== false)
  const event = { message, account, recipients, at, kept: false, batch }
  return follow(hooks.fire(messageUndelivered, event), () => {
    if (recipients.length === 0 && !event.kept) throw new StanzaError('service-unavailable')
    const handed = new DeliveryTracker()
    const stamped = recipients.length === 0 ? message : withDelay(message, at, domain)
    for (const session of recipients) session.sendWith(batch, stamped, handed)
    return recipients.length === 0 ? { go: 'kept' } : { go: 'delivered', to: recipients }
  })
}
