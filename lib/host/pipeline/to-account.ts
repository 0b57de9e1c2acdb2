/** The steps of a stanza to a local account (RFC 6121 §8.5). */
import type { Hook, Hooks } from '../../base/hook.js'
import { follow, type Maybe } from '../../base/maybe.js'
import { StanzaError } from '../../xmpp/errors.js'
import type { Jid } from '../../xmpp/jid.js'
import { isMessage } from '../../xmpp/stanza.js'
import { PER_RECIPIENT } from '../cost.js'
import { DeliveryTracker } from '../delivery-tracker.js'
import { iqArriving, messageAddressed, messageArriving, messageDelivered, presenceArriving } from '../events.js'
import { payloadOf, type IqTarget } from '../iq.js'
import type { Session } from '../session.js'
import type { Sessions } from '../sessions.js'
import type { AccountLanes } from './account-lanes.js'
import { withDelay } from './delay.js'
import { handled, NEXT, unlessHandled, type Outcome, type Passage } from './passage.js'
import { answerer, type HostHome } from './to-host.js'

/** The host of the account, as the steps use it. */
export interface AccountHome extends HostHome {
  readonly domain: string
  readonly hooks: Hooks
  readonly sessions: Sessions
  readonly lanes: AccountLanes
  exists (account: Jid): Maybe<boolean>
  /** Fires a hook about something that has happened. */
  tell<E> (hook: Hook<E>, event: E): void
}

const NOBODY: readonly Session[] = []

// ---- All stanzas ------------------------------------------------------------------------------------------

/** Waits for the turn in the lane of the account: messages and presence to one account keep their order. */
export function awaitTurn (passage: Passage, { lanes }: AccountHome): Maybe<Outcome> { return lanes.enter(passage) }

function exists (home: AccountHome, account: Jid): Maybe<boolean> {
  return home.sessions.of(account).length > 0 || home.exists(account)
}

// ---- Messages -----------------------------------------------------------------------------------------------

const NO_ACCOUNT = handled('there is no such account')

/** RFC 6121 §8.5.1: if there is no such account, the sender gets an error, or nothing is done. */
export function mustExist (passage: Passage, home: AccountHome): Maybe<Outcome> {
  const { addressed: stanza } = passage
  return follow(exists(home, stanza.to.bare), exists => {
    if (exists) return NEXT
    if (isMessage(stanza) && (stanza.type === 'headline' || stanza.type === 'error')) return NO_ACCOUNT
    throw new StanzaError('service-unavailable')
  })
}

/** Lets modules refuse the message, and choose the sessions that it is for. */
export function fireMessageArriving (passage: Passage, { hooks }: AccountHome): Maybe<Outcome> {
  const { message, session, batch } = passage
  const event = { message, account: message.to.bare, session, recipients: NOBODY, batch }
  return follow(hooks.run(messageArriving, event), by => {
    passage.stanza = event.message
    passage.recipients = event.recipients
    return unlessHandled(by)
  })
}

/** Lets modules store and copy the message, now that its sessions are known. */
export function fireMessageAddressed (passage: Passage, { hooks }: AccountHome): Maybe<Outcome> {
  const { message, recipients, batch } = passage
  const payer = passage.session ?? passage.peer
  const handed = new DeliveryTracker()
  const chosen = { message, account: message.to.bare, recipients, kept: false, batch, payer, handed }
  passage.chosen = chosen
  return follow(hooks.run(messageAddressed, chosen), unlessHandled)
}

/** Delivers the message to its sessions after the commit. RFC 6121 §8.5.2.2.1: without any, it is kept or refused. */
export function deliverMessage (passage: Passage, home: AccountHome): Outcome {
  const { chosen, batch, at } = passage
  if (chosen === undefined) throw new Error('the recipients of the message are not known')
  const { recipients, storedFor, kept, handed } = chosen
  if (recipients.length === 0 && !kept) throw new StanzaError('service-unavailable')
  const sent = at === undefined ? chosen.message : withDelay(chosen.message, at, home.domain)
  for (const session of recipients) if (storedFor?.includes(session) !== true) session.sendWith(batch, sent, handed)
  passage.charge(recipients.length * PER_RECIPIENT)
  batch.committed(() => { home.tell(messageDelivered, chosen) })
  return recipients.length === 0 ? { go: 'kept' } : { go: 'delivered', to: recipients }
}

// ---- Presence -----------------------------------------------------------------------------------------------

/**
 * RFC 6121 §4.3.2, §8.5.1: presence to a name that does not exist is answered like presence from a stranger to an
 * account.
 */
export function firePresenceArriving (passage: Passage, home: AccountHome): Maybe<Outcome> {
  const { presence, session, batch } = passage
  const account = presence.to.bare
  return follow(exists(home, account), exists => {
    const event = { presence, account, exists, session, recipients: NOBODY, batch }
    return follow(home.hooks.run(presenceArriving, event), by => {
      passage.stanza = event.presence
      passage.recipients = event.recipients
      return unlessHandled(by)
    })
  })
}

export function deliverPresence (passage: Passage): Outcome {
  const { presence, recipients, batch } = passage
  passage.charge(recipients.length * PER_RECIPIENT)
  for (const session of recipients) session.sendWith(batch, presence)
  return { go: 'delivered', to: recipients }
}

// ---- Requests and replies -------------------------------------------------------------------------------------

/**
 * A slow answer of another account delays the sender's next stanzas for a second at most. RFC 6120 §10.1: the iq comes
 * after earlier stanzas of its sender to this account that no longer delay the sender.
 */
export function delayBriefly (passage: Passage, { lanes }: AccountHome): Maybe<Outcome> {
  return lanes.delayBriefly(passage)
}

/** Lets modules refuse the iq. They do not learn whether the account exists, so nobody can tell from the answer. */
export function fireIqArriving (passage: Passage, { hooks }: AccountHome): Maybe<Outcome> {
  const { iq, session } = passage
  passage.payload = payloadOf(iq)
  return follow(hooks.run(iqArriving, { iq, account: iq.to.bare, session }), unlessHandled)
}

const NO_SESSION = handled('there is no such session')

/** RFC 6121 §8.5.3.1, §8.5.3.2.3: an iq to a full address goes to that session unchanged, or is refused. */
export function deliverIq (passage: Passage, { sessions }: AccountHome): Outcome {
  const { iq, batch } = passage
  if (iq.to.resource === '') return NEXT
  const session = sessions.at(iq.to)
  if (session !== undefined) {
    session.sendWith(batch, iq)
    return { go: 'delivered', to: [session] }
  }
  if (iq.type === 'get' || iq.type === 'set') throw new StanzaError('service-unavailable')
  return NO_SESSION
}

const OWN: readonly IqTarget[] = ['self', 'account']
const FOREIGN: readonly IqTarget[] = ['account']

/** Finds the handler of a request to the account. */
export function findAccountHandler (passage: Passage, { handlers }: AccountHome): Outcome {
  const { iq, session } = passage
  passage.answering = answerer(handlers, session?.account.equals(iq.to.bare) === true ? OWN : FOREIGN, passage)
  return NEXT
}
