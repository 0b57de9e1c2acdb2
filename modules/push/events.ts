/** The events that cause notifications: messages and requests that arrive while a device is away (XEP-0357 §7). */
import {
  addressed, archiveIdIn, attributeOf, carbons, clientStates, deviceOf, follow, isMessage, NS, presences, rosters,
  storingOf, urgencyOf, urgencyRules,
} from '../../lib/api.js'
import type { Jid, Maybe, Message, MessageUndelivered, ModuleHost, PresenceArriving, Session, Stanza } from '../../lib/api.js'
import type { Devices } from './devices.js'
import type { Ending } from './ending.js'
import { bodyOf, importanceOf, messageIn, type Importance, type Questions } from './importance.js'
import type { PendingNotifications, Reason } from './notices.js'
import type { All, Registration, Registrations } from './registrations.js'
import { wishOf, type Wish } from './wishes.js'

/** The dependencies of Events. `delay` is in milliseconds. */
export interface EventsDeps {
  readonly registrations: Registrations
  readonly notices: PendingNotifications
  readonly devices: Devices
  readonly ending: Ending
  readonly rooms: Questions['rooms']
  readonly delay: number
}

/** The registrations of an account for which a message has arrived, and the sessions that got it. */
interface Arrival {
  readonly account: Jid
  readonly recipients: readonly Session[]
  readonly all: readonly Registration[]
}

/** Passes the events of a host's accounts on to their registrations. */
export class Events {
  readonly #host: ModuleHost
  readonly #parts: EventsDeps
  readonly #questions: Omit<Questions, 'nickIn' | 'wish'>

  constructor (host: ModuleHost, parts: EventsDeps) {
    const rules = urgencyRules({ urgentNamespaces: [], delayedNamespaces: [] })
    this.#host = host
    this.#parts = parts
    this.#questions = {
      rooms: parts.rooms,
      urgencyOf: stanza => host.find(clientStates)?.urgencyOf(stanza) ?? urgencyOf(stanza, rules),
    }
  }

  /** Takes a message that was delivered to these sessions. */
  delivered (message: Message, account: Jid, recipients: readonly Session[]): Maybe<void> {
    return this.#parts.registrations.ifAny(account, all => {
      this.#arrived(message, account, recipients, [...all.values()])
    })
  }

  /** Takes a broadcast that was delivered to these sessions. */
  broadcast (stanza: Stanza, recipients: readonly Session[]): void {
    if (!isMessage(stanza)) return
    for (const session of recipients) {
      const { account, jid } = session
      this.quietly(this.#parts.registrations.ifAny(account, all => {
        this.#arrived(addressed(stanza.with({ to: jid }), jid), account, [session], [...all.values()])
      }))
    }
  }

  /**
   * Takes a message that no device acknowledged. For an archived message the device was notified when it arrived. A
   * device that was notified of anything and has not come back will find this message as well.
   */
  undelivered ({ message, account, recipients, batch }: MessageUndelivered): Maybe<void> {
    const { registrations, notices } = this.#parts
    return registrations.ifAny(account, all => {
      if (archiveIdIn(message.children(), account) !== undefined) return
      batch.committed(() => {
        const withoutPush = [...all.values()].filter(({ key }) => notices.of(account, key).messages === 0)
        this.#arrived(message, account, recipients, withoutPush)
      })
    })
  }

  /** Takes presence for an account: a subscription request is an event. */
  presence ({ presence, account, batch }: PresenceArriving): Maybe<void> {
    if (presence.type !== 'subscribe' || presence.from.bare.equals(account) || this.#host.find(rosters) === undefined) return undefined
    const { registrations, devices, ending, notices } = this.#parts
    return registrations.ifAny(account, all => {
      batch.committed(() => {
        for (const registration of all.values()) {
          const own = devices.sessionsOf(account, registration)
          if (devices.isHere(own, false) || ending.isOver(account, registration)) continue
          const reason = { importance: 'request', from: presence.from } as const
          notices.add(account, registration, reason, devices.waitFor(account, registration, own))
        }
      })
    })
  }

  /** Notifies a session's device of the messages that it has not acknowledged. */
  missed (session: Session): Maybe<void> {
    const { account, manager } = session
    if (manager === undefined) return undefined
    const all = this.#parts.registrations.of(account)
    // Read now: the session may be gone once the registrations are known.
    const texts = all instanceof Promise ? [...manager.unconfirmed()] : undefined
    return follow(all, all => { this.#tellMissed(session, all, () => texts ?? manager.unconfirmed()) })
  }

  /** Takes a message that the account sends: a displayed marker (XEP-0333), or an answer, shows what was read. */
  sent (message: Message, account: Jid): Maybe<void> {
    return this.#parts.registrations.ifAny(account, () => {
      const marker = message.child(NS.CHAT_MARKERS, 'displayed')
      const id = marker === undefined ? undefined : attributeOf(marker, 'id')
      if (id !== undefined) this.quietly(this.read(account, message.to, id))
      // An answer shows that the contact's messages were read.
      else if (marker === undefined && message.type !== 'error' && this.#questions.urgencyOf(message) === 'now') {
        this.quietly(this.read(account, message.to, undefined))
      }
    })
  }

  /** Notes that the messages of a contact were read on one device, up to this id; all if it is undefined. */
  read (account: Jid, contact: Jid, id: string | undefined): Maybe<void> {
    const { registrations, notices } = this.#parts
    return registrations.ifAny(account, all => {
      for (const key of all.keys()) notices.read(account, key, contact, id)
    })
  }

  /** Logs a failure of work that nobody waits for. */
  quietly (work: Maybe<void>): void {
    if (work instanceof Promise) work.catch((error: unknown) => { this.#host.log.warn('push registrations not read', { error }) })
  }

  /** The settings of a chat may have to be read: nobody waits for that. */
  #arrived (message: Message, account: Jid, recipients: readonly Session[], all: readonly Registration[]): void {
    this.quietly(follow(this.#importance(message, account), kind => {
      if (kind !== undefined) this.#notify(kind, message, { account, recipients, all })
    }))
  }

  #notify (kind: Importance, message: Message, { account, recipients, all }: Arrival): void {
    const { devices, ending, notices } = this.#parts
    const archived = archiveIdIn(message.children(), account)
    const isStored = archived !== undefined || recipients.length === 0 && waits(message)
    const copies = this.#host.find(carbons)
    for (const registration of all) {
      const own = devices.sessionsOf(account, registration)
      if (devices.isHere(own, false)) continue
      const isMeant = isStored ||
        own.some(device => recipients.includes(device) || copies?.goesTo(message, device) === true)
      if (!isMeant || ending.isOver(account, registration)) continue
      notices.add(account, registration, reasonOf(kind, message, archived), devices.waitFor(account, registration, own))
    }
  }

  #tellMissed (session: Session, all: All, texts: () => Iterable<string>): void {
    const { account } = session
    const device = deviceOf(session)
    const { devices, notices, delay } = this.#parts
    const mine = [...all.values()].filter(one =>
      one.device === device && !devices.isHere(devices.sessionsOf(account, one), false))
    if (mine.length === 0) return
    for (const text of texts()) {
      const message = messageIn(text)
      if (message === undefined) continue
      this.quietly(follow(this.#importance(message, account), kind => {
        if (kind === undefined) return
        const reason = reasonOf(kind, message, archiveIdIn(message.children(), account))
        for (const registration of mine) notices.add(account, registration, reason, delay)
      }))
    }
  }

  /** Asks for the settings of a chat only if they matter. */
  #importance (message: Message, account: Jid): Maybe<Importance | undefined> {
    const questions = { ...this.#questions, nickIn: (room: Jid) => this.#nickIn(account, room) }
    const kind = (wish: Wish | undefined): Importance | undefined =>
      importanceOf(message, account, { ...questions, wish })
    return kind('always') === undefined ? undefined : follow(wishOf(this.#host, account, message.from), kind)
  }

  /** Returns the resource with which a device joined the room: its nickname (XEP-0045 §7.2). */
  #nickIn (account: Jid, room: Jid): string | undefined {
    for (const device of this.#host.sessions.of(account)) {
      for (const told of this.#host.find(presences)?.directedAt(device, room) ?? []) if (told.resource !== '') return told.resource
    }
    return undefined
  }
}

function reasonOf (importance: Importance, message: Message, archived: string | undefined): Reason {
  return { importance, from: message.from, archived, id: message.id, body: bodyOf(message) }
}

/** True if a message waits for a device that comes later, archived or not. An important one always holds something. */
function waits (message: Message): boolean {
  // XEP-0160 §3, XEP-0334 §4.2
  return (message.type === 'chat' || message.type === 'normal') && !storingOf(message).noStore
}
