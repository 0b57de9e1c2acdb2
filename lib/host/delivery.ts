/** The last part of a stanza's way: to a local account or to the host itself (RFC 6121 §8.5). */
import type { Hook, Hooks } from '../base/hook.js'
import { follow, type Maybe } from '../base/maybe.js'
import { Queue } from '../base/queue.js'
import { StanzaError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { addressed, isIq, isMessage, isPresence, resultReply, stanza as stanzaOf, type Addressed } from '../xmpp/stanza.js'
import { xml } from '../xml/element.js'
import { iqArriving, messageAddressed, messageArriving, messageDelivered, presenceArriving } from './events.js'
import { payloadOf, type IqHandlers, type IqTarget, type PendingRequests } from './iq.js'
import { unlessHandled, type Passage, type Router } from './router.js'
import type { Session } from './session.js'
import type { Sessions } from './sessions.js'

/** What delivery needs of its host. */
export interface DeliveryHome {
  readonly hooks: Hooks
  readonly router: Router
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
/** How many stanzas may wait for one account while a handler waits for the disk. */
const LANE = 1000

export class Delivery {
  readonly #home: DeliveryHome
  /** Accounts for which something waits: what comes behind keeps its place. */
  readonly #lanes = new Map<string, Queue>()
  #idle: (() => void)[] = []

  constructor (home: DeliveryHome) { this.#home = home }

  /** Resolves when nothing waits for a handler any more: what it was to store has been handed to storage. */
  idle (): Promise<void> {
    return new Promise(resolve => {
      if (this.#lanes.size === 0) resolve()
      else this.#idle.push(resolve)
    })
  }

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
    if (isIq(stanza)) return this.#existing(stanza, passage, () => this.#iqToAccount(stanza, passage))
    return this.#inLane(stanza, passage)
  }

  /** Messages and presence to an account keep their order, also where one of them waits for the disk. */
  #inLane (stanza: Addressed, passage: Passage): Maybe<void> {
    const key = stanza.to.bare.toString()
    const lane = this.#lanes.get(key)
    const work = (): Maybe<void> => this.#existing(stanza, passage, () => this.#toAccount(stanza, passage))
    if (lane !== undefined) {
      if (!lane.run(() => this.#home.router.guard(stanza, passage, work))) throw new StanzaError('resource-constraint')
      return undefined
    }
    const wait = this.#home.router.guard(stanza, passage, work)
    if (wait === undefined) return undefined
    const queue = new Queue(LANE, error => { this.#home.defect(error) }, () => { this.#emptied(key) })
    this.#lanes.set(key, queue)
    queue.run(() => wait)
    return undefined
  }

  #emptied (key: string): void {
    this.#lanes.delete(key)
    if (this.#lanes.size > 0) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  #existing (stanza: Addressed, passage: Passage, next: () => Maybe<void>): Maybe<void> {
    const account = stanza.to.bare
    if (this.#home.sessions.of(account).length > 0) return next()
    return follow(this.#home.exists(account), exists => exists ? next() : this.#toNobody(stanza, passage))
  }

  /** RFC 6121 §8.5.1: no such account. */
  #toNobody (stanza: Addressed, passage: Passage): void {
    if (isPresence(stanza)) {
      // RFC 6121 §4.3.2: to a probe, the same answer as where there is no subscription.
      if (stanza.type === 'probe') {
        this.#home.router.route(stanzaOf(xml('presence', { type: 'unsubscribed' }), stanza.to.bare, stanza.from.bare))
      }
      return
    }
    if (isMessage(stanza) && (stanza.type === 'headline' || stanza.type === 'error')) return
    throw new StanzaError('service-unavailable')
  }

  #toAccount (stanza: Addressed, passage: Passage): Maybe<void> {
    if (isMessage(stanza)) return this.#messageToAccount(stanza, passage)
    if (isPresence(stanza)) return this.#presenceToAccount(addressed(stanza, stanza.to), passage)
    return undefined
  }

  #messageToAccount (message: Addressed<'message'>, passage: Passage): Maybe<void> {
    const { hooks, router } = this.#home
    const event = { message, account: message.to.bare, session: passage.session, recipients: NOBODY, batch: passage.batch }
    return unlessHandled(hooks.fire(messageArriving, event), () => {
      const chosen = { message: event.message, account: event.account, recipients: event.recipients, kept: false, batch: passage.batch }
      return unlessHandled(hooks.fire(messageAddressed, chosen), () => {
        if (chosen.recipients.length === 0 && !chosen.kept) throw new StanzaError('service-unavailable')
        router.settle(message, passage, () => {
          for (const session of chosen.recipients) session.send(chosen.message)
          this.#home.tell(messageDelivered, chosen)
        })
      }, () => { router.settle(message, passage, () => {}) })
    }, () => { router.settle(message, passage, () => {}) })
  }

  #presenceToAccount (presence: Addressed<'presence'>, passage: Passage): Maybe<void> {
    const { hooks, router } = this.#home
    const event = { presence, account: presence.to.bare, session: passage.session, recipients: NOBODY, batch: passage.batch }
    const deliver = (): void => {
      router.settle(presence, passage, () => {
        for (const session of event.recipients) session.send(event.presence)
      })
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
    if (session !== undefined) this.#home.router.settle(iq, passage, () => { session.send(iq) })
    else if (iq.type === 'get' || iq.type === 'set') throw new StanzaError('service-unavailable')
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

  /** One answer to each request: what the handler returns, or the error it throws (RFC 6120 §8.2.3). */
  #answer (targets: readonly IqTarget[], iq: Addressed<'iq'>, payload: Parameters<IqHandlers['find']>[2], passage: Passage): Maybe<void> {
    const { router, handlers } = this.#home
    for (const target of targets) {
      const answer = handlers.find(target, iq.type, payload)
      if (answer === undefined) continue
      return follow(answer({ stanza: iq, payload, session: passage.session, batch: passage.batch }), result => {
        router.settle(iq, passage, () => { router.reply(resultReply(iq, result ?? undefined), passage) })
      })
    }
    throw new StanzaError('service-unavailable')
  }
}
