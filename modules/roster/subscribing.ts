/** Presence subscriptions between an account and its contacts (RFC 6121 §3): what both sides send. */
import { addressed, follow, hasFrom, presenceArriving, presenceSent, sessionAvailable, stanza } from '../../lib/api.js'
import type { Batch, Jid, Maybe, ModuleHost, PresenceArriving, PresenceSent } from '../../lib/api.js'
import { interested, type RosterChanges } from './changes.js'
import type { AccountRoster } from './items.js'
import { absent, present, tell } from './presence.js'
import { checkRoom, requestElement, requestOf } from './requests.js'
import { inbound, isSubscriptionType, outbound, type SubscriptionType } from './subscription.js'

/** A subscription stanza between an account and a contact, with bare addresses. */
interface Subscribing {
  readonly account: Jid
  readonly contact: Jid
  readonly type: SubscriptionType
  readonly batch: Batch
}

/** Handles the subscription stanzas of accounts and of their contacts. */
export function handleSubscriptions (host: ModuleHost, changes: RosterChanges): void {
  host.on(presenceSent, event => sent(host, changes, event))
  host.on(presenceArriving, event => received(host, changes, event))
  // §3.1.3: each new available session is sent the pending requests.
  host.on(sessionAvailable, ({ session }) => follow(changes.rosters.of(session.account), roster => {
    for (const [contact, { request }] of roster.all()) {
      if (request !== undefined) session.send(stanza(requestElement(request), contact, session.account))
    }
  }), 'observe')
}

/** Takes presence that a session of the account sends. */
function sent (host: ModuleHost, changes: RosterChanges, event: PresenceSent): Maybe<'handled' | undefined> {
  const { type, to } = event.presence
  if (!isSubscriptionType(type) || to === undefined) return undefined
  const { batch, session: { account } } = event
  if (to.bare.equals(account)) return 'handled' // nobody subscribes to themselves
  // §3.1.2: both addresses are bare.
  event.presence = addressed(event.presence.with({ from: account, to: to.bare }), to.bare)
  return follow(changes.rosters.of(account), roster =>
    says(host, changes, roster, { account, contact: to.bare, type, batch }))
}

function says (host: ModuleHost, changes: RosterChanges, roster: AccountRoster, subscribing: Subscribing): 'handled' | undefined {
  const { account, contact, type, batch } = subscribing
  const before = roster.state(contact)
  const step = outbound(before, type)
  if (type === 'unsubscribed' && hasFrom(before)) absent(host, account, contact) // §3.2.2: unavailable presence is sent first
  changes.apply(account, roster, contact, step, batch)
  // §3.1.5: the new subscriber gets the current presence, but after the roster push.
  if (type === 'subscribed' && step.pass) batch.committed(() => { batch.committed(() => { present(host, account, contact) }) })
  return step.pass ? undefined : 'handled'
}

/** Takes presence that a contact sends. */
function received (host: ModuleHost, changes: RosterChanges, event: PresenceArriving): Maybe<'handled' | undefined> {
  const { type, from } = event.presence
  if (!isSubscriptionType(type)) return undefined
  const { account, batch } = event
  // §3.1.3: subscriptions are between accounts, whatever resources the stanza names.
  const arriving = addressed(event.presence.with({ from: from.bare, to: account }), account)
  event.presence = arriving
  // Checked before the account is looked up, or the error would reveal whether it exists.
  const request = type === 'subscribe' ? requestOf(arriving.toElement(), changes.bounds) : undefined
  return follow(changes.rosters.of(account), roster => {
    if (!event.exists || !hears(host, changes, roster, { account, contact: from.bare, type, batch }, request)) return 'handled'
    event.recipients = host.sessions.of(account).filter(device => type === 'subscribe' ? device.available : device.get(interested))
    return undefined
  })
}

/** Returns true if the stanza is passed on to the account's sessions. */
function hears (
  host: ModuleHost, changes: RosterChanges, roster: AccountRoster, subscribing: Subscribing,
  request: string | undefined,
): boolean {
  const { account, contact, type, batch } = subscribing
  const before = roster.state(contact)
  const step = inbound(before, type)
  if (request !== undefined && step.state.pendingIn) {
    if (request === roster.stored(contact).request) return false
    if (!roster.has(contact)) changes.checkSize(roster)
    checkRoom(roster.waiting(), contact, request, changes.bounds)
  }
  changes.apply(account, roster, contact, step, batch, request)
  if (step.answer !== undefined) {
    batch.committed(() => {
      tell(host, account, contact, 'subscribed')
      present(host, account, contact)
    })
  }
  // §3.3.3: the former subscriber gets unavailable presence.
  if (type === 'unsubscribe' && hasFrom(before)) batch.committed(() => { absent(host, account, contact) })
  return step.pass
}
