/** The last part of a stanza's way: to a local account or to the host itself (RFC 6121 §8.5). */
import type { Hook, Hooks } from '../base/hook.js'
import { follow, type Maybe } from '../base/maybe.js'
import { StanzaError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { addressed, isIq, isMessage, isPresence, resultReply, type Addressed, type Message } from '../xmpp/stanza.js'
import { PendingBatch } from '../storage/batch.js'
import type { Write } from '../storage/store.js'
import { attributeOf, namespaceOf, xml } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { formatDateTime } from '../xmpp/datetime.js'
import { iqArriving, messageAddressed, messageArriving, messageDelivered, messageUndelivered, presenceArriving } from './events.js'
import { payloadOf, type IqHandlers, type IqTarget, type PendingRequests } from './iq.js'
import { costOfBytes, PER_RECIPIENT } from './cost.js'
import type { Arrival } from './arrivals.js'
import { Handed } from './handed.js'
import { Lanes } from './lanes.js'
import { Transfers, type TransfersHome } from './transfers.js'
import { unlessHandled, type Passage } from './router.js'
import type { Session } from './session.js'
import type { Sessions } from './sessions.js'

/** What delivery needs of its host. */
export interface DeliveryHome extends TransfersHome {
  readonly hooks: Hooks
  readonly sessions: Sessions
  readonly handlers: IqHandlers
  readonly requests: PendingRequests
  exists (account: Jid): Maybe<boolean>
  /** A module that takes every stanza of this host. undefined: there is none. */
  readonly served: ((stanza: Addressed) => Maybe<'handled' | undefined | void>) | undefined
  defect (error: unknown): void
  tell<E> (hook: Hook<E>, event: E): void
}

const NOBODY: readonly Session[] = []

/** The place of a stanza on a stream that keeps no order of arrival. */
const UNORDERED: Arrival = { isFirst: true, whenFirst: run => { run() }, settle: settle => { settle() } }

export class Delivery {
  readonly #home: DeliveryHome
  /** Accounts for which something waits: what comes behind keeps its place. */
  readonly #lanes: Lanes
  readonly #transfers: Transfers
  /** Stanzas of the process before this one that are being delivered. */
  readonly #resuming = new Set<Passage>()

  constructor (home: DeliveryHome) {
    this.#home = home
    const { storage, turns } = home.router
    this.#transfers = new Transfers(home)
    this.#lanes = new Lanes({ storage, turns, defect: error => { home.defect(error) } })
  }

  /** Resolves when nothing waits for a handler any more: what it was to store has been handed to storage. */
  idle (): Promise<void> { return this.#lanes.idle() }

  /** Runs `work` once all that came for the account is stored; what comes later waits until it is done. */
  turn (account: Jid, work: () => Promise<void>): void { this.#lanes.turn(account.toString(), work) }

  /** Resolves once all that has come for the account so far is stored; undefined where it is. */
  stored (account: Jid): Promise<void> | undefined { return this.#lanes.stored(account.toString()) }

  /** Takes a stanza to its recipients; errors are thrown. */
  deliver (stanza: Addressed, passage: Passage): Maybe<void> {
    const { served } = this.#home
    if (served === undefined) return this.#deliver(stanza, passage)
    return follow(served(stanza), verdict => {
      if (verdict !== 'handled') return this.#deliver(stanza, passage)
      this.#home.router.settle(stanza, passage, () => {})
      return undefined
    })
  }

  #deliver (stanza: Addressed, passage: Passage): Maybe<void> {
    if (stanza.to.local === '') return this.#toHost(stanza, passage)
    // Whether the account exists is not asked here: the same handlers answer for both, so that nobody can tell one from the other.
    if (isIq(stanza)) return this.#iq(stanza, passage)
    return this.#inLane(stanza, passage, () => this.#pass(stanza, passage))
  }

  /** A message or presence, once its turn has come in the lane of its account. */
  #pass (stanza: Addressed, passage: Passage): Maybe<void> {
    if (isPresence(stanza)) return follow(this.#exists(stanza.to.bare), exists => this.#presenceToAccount(stanza, exists, passage))
    return this.#existing(stanza, () => this.#toAccount(stanza, passage))
  }

  /** What another account takes long to answer holds up its sender for a second at most. */
  #iq (iq: Addressed<'iq'>, passage: Passage): Maybe<void> {
    const account = iq.to.bare
    const { session, order } = passage
    const isOwn = session === undefined ? order === undefined : session.account.equals(account)
    if (isOwn) return this.#iqToAccount(iq, passage)
    // RFC 6120 §10.1: after what its sender has said to the account before, and does not wait for any more.
    if (this.#transfers.hasAny(iq.from, account)) return this.#inLane(iq, passage, () => this.#iqToAccount(iq, passage))
    passage.batch = passage.batch.divide()
    const wait = this.#iqToAccount(iq, passage)
    if (!(wait instanceof Promise)) return undefined
    return new Promise(resolve => {
      if (session === undefined) passage.arrival ??= UNORDERED
      this.#waits(iq, passage, resolve)
      void this.#home.router.guard(iq, passage, () => wait)?.then(() => {
        void this.#finish(iq, passage)
        resolve()
      })
    })
  }

  /** Takes up what the process before this one has left on its way. What comes for these accounts waits until that is delivered. */
  async resume (): Promise<void> {
    for (const account of await this.#transfers.owners()) this.#lanes.turn(account, () => this.#resume(account))
  }

  async #resume (account: string): Promise<void> {
    const { router } = this.#home
    const transfers = this.#transfers
    for (const { id, at, stanza } of await transfers.left(account)) {
      if (transfers.isOver) return
      const passage: Passage = { session: undefined, batch: new PendingBatch(), at }
      this.#resuming.add(passage)
      passage.batch.add(transfers.removing(stanza.to.bare, id))
      // A stanza that is refused is answered with an error, and nothing else becomes of it.
      passage.batch.failed(() => { if (!transfers.isOver) transfers.remove(stanza.to.bare, id) })
      await router.guard(stanza, passage, () => this.#pass(stanza, passage))
      router.close(stanza, passage)
      this.#resuming.delete(passage)
    }
  }

  /** The host ends: what waits, and is stored, is delivered after the next start. */
  end (): void {
    this.#transfers.end()
    for (const passage of this.#resuming) passage.isDropped = true
  }

  /** A message whose devices ended before they confirmed it: to those that are there now, or to wait. `removing` is stored with that. */
  redeliver (message: Message, at: number, removing: Write | undefined): void {
    const { router } = this.#home
    const batch = new PendingBatch()
    const passage: Passage = { session: undefined, batch }
    if (removing !== undefined) {
      batch.add(removing)
      // A message that is refused is answered with an error, and nothing else becomes of it.
      batch.failed(() => { if (!batch.isSubmitted) router.storage.submit([removing]) })
    }
    const again = (): Maybe<void> => this.#existing(message, () => this.#again(message, at, passage))
    void router.guard(message, passage, () => this.#inLane(message, passage, again))
  }

  #again (message: Message, at: number, passage: Passage): Maybe<void> {
    const { hooks, router, sessions, domain } = this.#home
    if (message.type === 'groupchat') throw new StanzaError('service-unavailable') // RFC 6121 §8.5.3.2.1
    if (message.type === 'error' || message.type === 'headline') { router.settle(message, passage, () => {}); return undefined }
    const account = message.to.bare
    // One that has much to acknowledge is not given what another has left: it would end, too, and so would the next.
    const recipients = sessions.of(account).filter(session =>
      session.available && session.priority >= 0 && !session.isFrozen && session.manager?.hasRoom !== false)
    const event = { message, account, recipients, at, kept: false, batch: passage.batch }
    return follow(hooks.fire(messageUndelivered, event), () => {
      if (recipients.length === 0 && !event.kept) throw new StanzaError('service-unavailable')
      const handed = new Handed()
      const stamped = recipients.length === 0 ? message : late(message, at, domain)
      for (const session of recipients) session.sendWith(passage.batch, stamped, handed)
      router.settle(message, passage, () => {})
    })
  }

  /** Messages and presence to an account keep their order, also where one of them waits for the disk. */
  #inLane (stanza: Addressed, passage: Passage, work: () => Maybe<void>): Maybe<void> {
    const key = stanza.to.bare.toString()
    const { router } = this.#home
    passage.batch = passage.batch.divide() // from here on it is the recipient's side
    if (this.#lanes.isBusy(key)) {
      const isTaken = this.#lanes.after(key, stanza.octets().length, () => {
        if (passage.isDropped === true) passage.transfer?.settle(() => {})
        else {
          const wait = router.guard(stanza, passage, work)
          if (wait !== undefined) return wait.then(() => this.#finish(stanza, passage))
        }
        return this.#finish(stanza, passage)
      })
      if (!isTaken) throw new StanzaError('resource-constraint')
      this.#waits(stanza, passage)
      return undefined
    }
    const wait = router.guard(stanza, passage, work)
    if (wait === undefined) return undefined
    this.#waits(stanza, passage)
    this.#lanes.begin(key, wait.then(() => this.#finish(stanza, passage)))
    return undefined
  }

  /** It waits, and its sender's next stanza does not: that is settled after it all the same, unless the wait is long. */
  #waits (stanza: Addressed, passage: Passage, offered?: () => void): void {
    passage.isWaiting = true
    passage.arrival ??= passage.session?.input.arrive()
    this.#transfers.wait(stanza, passage, offered)
  }

  /** Every handler is done with it. The next in the lane goes on after this: a side that is stored by itself is submitted by then. */
  #finish (stanza: Addressed, passage: Passage): Promise<void> | undefined {
    passage.isWaiting = false
    if (passage.isDropped !== true) this.#home.router.close(stanza, passage)
    return passage.transfer?.finish()
  }

  /** Settles what has its recipients: if it has to wait for its sender's other stanzas, whoever comes next to this account knows. */
  #settle (stanza: Addressed, passage: Passage): void {
    const { router } = this.#home
    router.settle(stanza, passage, () => {})
    if (passage.isOver !== true) this.#lanes.passes(stanza.to.bare.toString(), new Promise(resolve => { passage.over = resolve }))
  }

  #exists (account: Jid): Maybe<boolean> {
    return this.#home.sessions.of(account).length > 0 || this.#home.exists(account)
  }

  /** A message, if there is its recipient. RFC 6121 §8.5.1: if there is no such account, its sender is told. */
  #existing (stanza: Addressed, next: () => Maybe<void>): Maybe<void> {
    return follow(this.#exists(stanza.to.bare), exists => {
      if (exists) return next()
      if (isMessage(stanza) && (stanza.type === 'headline' || stanza.type === 'error')) return undefined
      throw new StanzaError('service-unavailable')
    })
  }

  #toAccount (stanza: Addressed, passage: Passage): Maybe<void> {
    return isMessage(stanza) ? this.#messageToAccount(stanza, passage) : undefined
  }

  #messageToAccount (message: Addressed<'message'>, passage: Passage): Maybe<void> {
    const { hooks, router } = this.#home
    const event = { message, account: message.to.bare, session: passage.session, recipients: NOBODY, batch: passage.batch }
    return unlessHandled(hooks.fire(messageArriving, event), () => {
      const { batch } = passage
      const handed = new Handed()
      const payer = passage.session ?? passage.payer
      const chosen = { message: event.message, account: event.account, recipients: event.recipients, kept: false, batch, payer, handed }
      return unlessHandled(hooks.fire(messageAddressed, chosen), () => {
        if (chosen.recipients.length === 0 && !chosen.kept) throw new StanzaError('service-unavailable')
        const sent = passage.at === undefined ? chosen.message : late(chosen.message, passage.at, this.#home.domain)
        for (const session of chosen.recipients) session.sendWith(batch, sent, handed)
        charge(passage, message, chosen.recipients.length * PER_RECIPIENT)
        batch.committed(() => { this.#home.tell(messageDelivered, chosen) })
        this.#settle(message, passage)
      }, () => { router.settle(message, passage, () => {}) })
    }, () => { router.settle(message, passage, () => {}) })
  }

  /** RFC 6121 §4.3.2, §8.5.1: presence to a name that nobody has is answered as a stranger's to an account is. */
  #presenceToAccount (presence: Addressed<'presence'>, exists: boolean, passage: Passage): Maybe<void> {
    const { hooks } = this.#home
    const event = { presence, account: presence.to.bare, exists, session: passage.session, recipients: NOBODY, batch: passage.batch }
    const deliver = (): void => {
      charge(passage, presence, event.recipients.length * PER_RECIPIENT)
      for (const session of event.recipients) session.sendWith(passage.batch, event.presence)
      this.#settle(presence, passage)
    }
    return unlessHandled(hooks.fire(presenceArriving, event), deliver, () => {
      event.recipients = NOBODY
      deliver()
    })
  }

  #iqToAccount (iq: Addressed<'iq'>, passage: Passage): Maybe<void> {
    const payload = payloadOf(iq)
    const account = iq.to.bare
    const verdict = this.#home.hooks.fire(iqArriving, { iq, account, session: passage.session })
    return unlessHandled(verdict, () => {
      if (iq.to.resource !== '') return this.#iqToSession(iq, passage)
      if (payload === undefined) { this.#home.requests.settle(iq); return undefined }
      const own = passage.session?.account.equals(account) === true
      return this.#answer(own ? ['self', 'account'] : ['account'], iq, payload, passage)
    }, () => { this.#home.router.settle(iq, passage, () => {}) })
  }

  /** RFC 6121 §8.5.3.1, §8.5.3.2.3: to the session as it is, or service-unavailable. */
  #iqToSession (iq: Addressed<'iq'>, passage: Passage): void {
    const session = this.#home.sessions.at(iq.to)
    if (session !== undefined) {
      session.sendWith(passage.batch, iq)
      this.#home.router.settle(iq, passage, () => {})
    } else if (iq.type === 'get' || iq.type === 'set') throw new StanzaError('service-unavailable')
  }

  #toHost (stanza: Addressed, passage: Passage): Maybe<void> {
    if (isIq(stanza)) {
      const payload = payloadOf(stanza)
      if (payload === undefined) { this.#home.requests.settle(stanza); return undefined }
      if (stanza.to.resource !== '') throw new StanzaError('service-unavailable')
      return this.#answer(['host'], stanza, payload, passage)
    }
    // Presence to a server has no meaning here (RFC 6121 §8.5.1 of its like); a message finds nobody who reads it.
    if (isMessage(stanza) && stanza.type !== 'error' && stanza.type !== 'headline') throw new StanzaError('service-unavailable')
    return undefined
  }

  /**
   * One answer to each request: what the handler returns, or the error it throws (RFC 6120 §8.2.3). The handler sees all that the same
   * device said before (RFC 6120 §10.1).
   */
  #answer (targets: readonly IqTarget[], iq: Addressed<'iq'>, payload: Parameters<IqHandlers['find']>[2], passage: Passage): Maybe<void> {
    const { router, handlers } = this.#home
    for (const target of targets) {
      const answer = handlers.find(target, iq.type, payload)
      if (answer === undefined) continue
      const handle = (): Maybe<void> => follow(answer({ stanza: iq, payload, session: passage.session, batch: passage.batch }), result => {
        router.settle(iq, passage, () => {
          const reply = resultReply(iq, result ?? undefined)
          if (result !== undefined) charge(passage, iq, costOfBytes(reply.octets().length))
          router.reply(reply, passage)
        })
      })
      const caughtUp = passage.session?.caughtUp(passage.arrival)
      return caughtUp === undefined ? handle() : caughtUp.then(handle)
    }
    throw new StanzaError('service-unavailable')
  }
}

function charge ({ session, payer }: Passage, { from }: Addressed, units: number): void {
  if (session !== undefined) session.charge(units)
  else payer?.charge(units, from)
}

/** XEP-0198 §4, XEP-0203: with the time when it first came; a delay that we have written already says that. */
function late (message: Message, at: number, domain: string): Message {
  for (const child of message.children()) {
    if (namespaceOf(child) === NS.DELAY && attributeOf(child, 'from') === domain) return message
  }
  const delay = xml('delay', { xmlns: NS.DELAY, from: domain, stamp: formatDateTime(at) })
  return addressed(message.with({ plus: [delay] }), message.to)
}
