/** RFC 6121 §2, §3: the roster, and the subscriptions that are kept in it. */
import {
  accountExporting, accountImporting, accountRemoved, addressed, attributeOf, child, children, defineModule, flag, flatten, follow,
  iqArriving, localName, namespaceOf, NS, presenceArriving, presenceSent, records, rosters, sessionAvailable, sessionBound, sessionClosed,
  setting, slot, stanza, StanzaError, subscriptionChanged, textOf, unlessUnreadable, xml,
} from '../../lib/api.js'
import type { Addressed, Batch, Element, Jid, Maybe, RosterItem, Session } from '../../lib/api.js'
import { AccountRosters, contactOf, isStoredItem, withState, type AccountRoster, type StoredItem } from './items.js'
import { checkImport, checkRoom, requestElement, requestOf } from './requests.js'
import { hasFrom, hasTo, inbound, isSubscriptionType, outbound, type Step, type SubscriptionType } from './subscription.js'

/** RFC 6121 §2.2: has asked for the roster, and gets pushes. */
const interested = slot('roster.interested', { initial: () => false, codec: flag })

export default defineModule({
  name: 'roster',
  about: 'Keeps the contacts of an account, and who may see whose presence.',
  xeps: ['0237 v1.3'],
  features: { host: [NS.ROSTER] },
  settings: {
    items: setting.count({ min: 1, max: 100_000 }).default(1000).says('The most contacts of an account.'),
    bytes: setting.size({ min: '1KiB', max: '1MiB' }).default('512KiB').says('The most bytes that the contacts of an account may have together, their names and groups included: clients get them in one answer.'),
    requests: setting.count({ min: 1, max: 10_000 }).default(100).says('The most subscription requests that wait for an account to answer them. Those from one domain and its subdomains may be as many as there is room left for others.'),
    request: setting.size({ min: '256B', max: '256KiB' }).default('4KiB').says('The largest subscription request. A larger one is refused.'),
    requestBytes: setting.size({ min: '1KiB', max: '64MiB' }).default('128KiB').says('The most that the subscription requests that wait for an account may hold together.'),
    name: setting.size({ min: '64B', max: '16KiB' }).default('1023B').says('The longest name of a contact or of a group.'),
    groups: setting.count({ min: 1, max: 1000 }).default(50).says('The most groups that a contact is in.'),
  },
  // Nothing is written into `versions` any more: what 0.1 has written there goes with its accounts.
  stores: { items: records<StoredItem>(1, undefined, { check: isStoredItem }), versions: records<number>(1, undefined, { unreadable: 'moved' }) },

  setup (host) {
    const all = new AccountRosters(host.stores.items)

    host.provide(rosters, {
      of: account => all.of(account),
      put: (account, item, batch) => follow(all.of(account), roster => {
        keep(account, roster, item.jid, { ...roster.stored(item.jid), ...partsOf(item), listed: true }, batch)
      }),
    })
    host.offer({ namespace: NS.ROSTER_VERSION, offered: stream => stream.identity === undefined ? undefined : xml('ver', { xmlns: NS.ROSTER_VERSION }) })
    host.offer({ namespace: NS.PRE_APPROVAL, offered: stream => stream.identity === undefined ? undefined : xml('sub', { xmlns: NS.PRE_APPROVAL }) })

    // A roster that cannot be read keeps nobody from logging in; each stanza that asks for it is refused.
    host.on(sessionBound, ({ session }) => unlessUnreadable(all.pin(session.account)), 'record')
    host.on(sessionClosed, ({ session }) => { all.unpin(session.account) }, 'record')

    // ---- The roster itself ------------------------------------------------------------

    host.iq.get('self', NS.ROSTER, 'query', ({ session, payload }) => follow(all.of(session.account), roster => {
      session.put(interested, true)
      // §2.6.2: what the client has is what it is: an empty result.
      if (payload.attrs['ver'] === roster.version) return undefined
      return xml('query', { xmlns: NS.ROSTER, ver: roster.version }, ...[...roster.items()].map(itemElement))
    }))

    host.iq.set('self', NS.ROSTER, 'query', ({ session, payload, batch }) => {
      const items = children(payload, NS.ROSTER, 'item')
      const [item] = items
      if (item === undefined || items.length > 1) throw new StanzaError('bad-request', 'a roster set has exactly one item') // §2.3.3
      const contact = contactOf(attributeOf(item, 'jid'))
      return follow(all.of(session.account), roster => {
        if (item.attrs['subscription'] === 'remove') remove(session.account, roster, contact, batch)
        else update(session.account, roster, contact, item, batch)
      })
    })

    // §2.1.5, §2.3.3, §2.4.3: nobody changes the roster of another, be there such an account or not.
    host.iq.set('account', NS.ROSTER, 'query', () => { throw new StanzaError('forbidden') })

    // A push comes from the server alone (§2.1.6), by no way that leads through here: clients have taken it from anyone (CVE-2015-8688).
    host.on(iqArriving, ({ iq }) => {
      if (iq.type === 'set' && iq.to.resource !== '' && child(iq.element, NS.ROSTER) !== undefined) throw new StanzaError('service-unavailable')
    }, 'screen')

    function update (account: Jid, roster: AccountRoster, contact: Jid, item: Element, batch: Batch): void {
      if (contact.equals(account)) throw new StanzaError('not-allowed', 'an account is not its own contact')
      const { name, groups } = wantedOf(item, host.settings)
      const old = roster.stored(contact)
      keep(account, roster, contact, { ...old, name, groups, listed: true }, batch)
    }

    /** §2.5: with the item go the subscriptions in both directions, and what was asked. */
    function remove (account: Jid, roster: AccountRoster, contact: Jid, batch: Batch): void {
      if (roster.item(contact) === undefined) throw new StanzaError('item-not-found')
      const old = roster.stored(contact)
      all.change(account, roster, contact, undefined, batch)
      // §2.5.2: the push goes out first, then the result.
      batch.answering(() => { push(account, xml('item', { jid: contact.toString(), subscription: 'remove' }), roster.version) })
      batch.committed(() => { part(account, contact, old) })
      void host.fire(subscriptionChanged, { account, contact, batch })
    }

    /** Ends what there is between an account and a contact. */
    function part (account: Jid, contact: Jid, old: StoredItem): void {
      if (hasTo(old) || old.ask) tell(account, contact, 'unsubscribe')
      if (!hasFrom(old) && old.request === undefined) return
      if (hasFrom(old)) absent(account, contact)
      tell(account, contact, 'unsubscribed')
    }

    /** What makes it no larger is always taken: a roster may be larger than it may be now. */
    function room (roster: AccountRoster, contact: Jid, item: StoredItem): void {
      const growth = roster.growth(contact, item)
      const { items, bytes } = host.settings
      const isFull = !roster.has(contact) && roster.size >= items || growth > 0 && roster.shownBytes + growth > bytes
      if (isFull) throw new StanzaError('resource-constraint', 'the roster is full', { type: 'cancel' })
    }

    function keep (account: Jid, roster: AccountRoster, contact: Jid, item: StoredItem, batch: Batch): void {
      room(roster, contact, item)
      all.change(account, roster, contact, item, batch)
      pushLater(account, roster, contact, run => { batch.answering(run) }) // §2.1.6, §2.5.2: first the push, then the result
    }

    function pushLater (account: Jid, roster: AccountRoster, contact: Jid, later: (run: () => void) => void): void {
      const item = roster.item(contact)
      const { version } = roster
      if (item !== undefined) later(() => { push(account, itemElement(item), version) })
    }

    /** §2.1.6: to each interested device. */
    function push (account: Jid, item: Element, ver: string): void {
      for (const device of host.sessions.of(account)) {
        if (!device.get(interested)) continue
        device.send(xml('iq', { type: 'set', id: host.ids.next() }, xml('query', { xmlns: NS.ROSTER, ver }, item)))
      }
    }

    // ---- Subscriptions: what a device of the account says -----------------------------------

    host.on(presenceSent, event => {
      const { type, to } = event.presence
      if (!isSubscriptionType(type) || to === undefined) return undefined
      const { account } = event.session
      if (to.bare.equals(account)) return 'handled' // nobody subscribes to oneself
      // §3.1.2: from and to are bare.
      const leaving = addressed(event.presence.with({ from: account, to: to.bare }), to.bare)
      event.presence = leaving
      return follow(all.of(account), roster => says(account, roster, leaving, type, event.batch))
    })

    function says (account: Jid, roster: AccountRoster, presence: Addressed<'presence'>, type: SubscriptionType, batch: Batch): 'handled' | undefined {
      const contact = presence.to
      const before = roster.state(contact)
      const step = outbound(before, type)
      if (type === 'unsubscribed' && hasFrom(before)) absent(account, contact) // §3.2.2: unavailable first
      take(account, roster, contact, step, batch)
      // §3.1.5: whoever is let in sees at once who is there, but not before their own roster says so.
      if (type === 'subscribed' && step.pass) batch.committed(() => { batch.committed(() => { present(account, contact) }) })
      return step.pass ? undefined : 'handled'
    }

    // ---- Subscriptions: what a contact says -------------------------------------------------------

    host.on(presenceArriving, event => {
      const { type } = event.presence
      if (!isSubscriptionType(type)) return undefined
      const { account } = event
      // §3.1.3: whatever resource it came from or goes to, it is between accounts.
      const arriving = addressed(event.presence.with({ from: event.presence.from.bare, to: account }), account)
      event.presence = arriving
      // Before anything is known of the account, or the answer would tell whether there is one.
      const request = type === 'subscribe' ? requestOf(arriving.whole(), host.settings) : undefined
      return follow(all.of(account), roster => {
        if (!event.exists || !hears(account, roster, arriving, type, event.batch, request)) return 'handled'
        event.recipients = host.sessions.of(account).filter(device => type === 'subscribe' ? device.available : device.get(interested))
        return undefined
      })
    })

    function hears (
      account: Jid, roster: AccountRoster, presence: Addressed<'presence'>, type: SubscriptionType, batch: Batch, request: string | undefined,
    ): boolean {
      const contact = presence.from
      const before = roster.state(contact)
      const step = inbound(before, type)
      if (request !== undefined && step.state.pendingIn) {
        if (request === roster.stored(contact).request) return false
        if (!roster.has(contact)) checkSize(roster)
        checkRoom(roster.waiting(), contact, request, host.settings)
      }
      take(account, roster, contact, step, batch, request)
      if (step.answer !== undefined) {
        batch.committed(() => {
          tell(account, contact, 'subscribed')
          present(account, contact)
        })
      }
      // §3.3.3: whoever does not want to know any longer hears that everybody is gone.
      if (type === 'unsubscribe' && hasFrom(before)) batch.committed(() => { absent(account, contact) })
      return step.pass
    }

    function checkSize (roster: AccountRoster): void {
      if (roster.size >= host.settings.items + host.settings.requests) throw new StanzaError('resource-constraint', 'too many requests wait')
    }

    /** Takes over the state behind a step, on disk with the batch; devices hear of it where it shows (§2.1.6). */
    function take (account: Jid, roster: AccountRoster, contact: Jid, step: Step, batch: Batch, request?: string): void {
      const before = roster.state(contact)
      const old = roster.stored(contact)
      const item = withState(old, step.state, request ?? old.request)
      if (isSame(before, step.state) && request === undefined) return
      if (request === undefined) room(roster, contact, item)
      const shown = roster.item(contact)
      all.change(account, roster, contact, item, batch)
      const shows = roster.item(contact)
      if (shows !== undefined && !isSameItem(shown, shows)) pushLater(account, roster, contact, run => { batch.committed(run) })
      if (shows === undefined && shown !== undefined) {
        const { version } = roster
        batch.committed(() => { push(account, xml('item', { jid: contact.toString(), subscription: 'remove' }), version) })
      }
      if (before.subscription !== step.state.subscription) void host.fire(subscriptionChanged, { account, contact, batch })
    }

    // ---- Presence that follows from it ----------------------------------------------------------------

    function tell (account: Jid, contact: Jid, type: SubscriptionType): void {
      host.router.route(stanza(xml('presence', { type }), account, contact))
    }

    function present (account: Jid, contact: Jid): void {
      for (const device of host.sessions.of(account)) {
        if (device.presence !== undefined) host.router.route(addressed(device.presence, contact))
      }
    }

    function absent (account: Jid, contact: Jid): void {
      for (const device of host.sessions.of(account)) {
        if (device.available) host.router.route(stanza(xml('presence', { type: 'unavailable' }), device.jid, contact))
      }
    }

    /** §3.1.3: requests that wait are shown to each device that comes. */
    host.on(sessionAvailable, ({ session }) => follow(all.of(session.account), roster => { showRequests(session, roster) }), 'observe')

    function showRequests (session: Session, roster: AccountRoster): void {
      for (const [contact, { request }] of roster.all()) {
        if (request !== undefined) session.send(stanza(requestElement(request), contact, session.account))
      }
    }

    // ---- Accounts that move (XEP-0227 §4.4, §4.9) -----------------------------------------------------

    host.on(accountExporting, ({ account, add }) => {
      add(writtenItems(account), xml('query', { xmlns: NS.ROSTER }))
      add(writtenRequests(account))
    })

    async function * writtenItems (account: Jid): AsyncGenerator<Element> {
      for (const item of (await all.of(account)).items()) yield itemElement(item)
    }

    async function * writtenRequests (account: Jid): AsyncGenerator<Element> {
      for (const [contact, { request }] of (await all.of(account)).all()) {
        if (request !== undefined) yield fromContact(requestElement(request), contact)
      }
    }

    host.on(accountImporting, ({ account, element, within, batch, leavesOut }) => {
      if (within?.namespace === NS.ROSTER && localName(element) === 'item') {
        const contact = contactOf(attributeOf(element, 'jid'))
        const state = movedState(element)
        return follow(all.of(account), roster => {
          const { request } = roster.stored(contact)
          if (contact.equals(account)) throw new StanzaError('not-allowed', 'an account is not its own contact')
          const item = { ...wantedOf(element, host.settings, leavesOut), ...state, listed: true }
          keep(account, roster, contact, request === undefined ? item : { ...item, request }, batch)
          return 'handled'
        })
      }
      if (within !== undefined || namespaceOf(element) !== NS.CLIENT || localName(element) !== 'presence') return undefined
      if (attributeOf(element, 'type') !== 'subscribe') throw new StanzaError('bad-request', 'presence that is no request')
      const from = attributeOf(element, 'from')
      if (from === undefined) throw new StanzaError('bad-request', 'a request without a sender')
      const contact = contactOf(from)
      return follow(all.of(account), roster => {
        const old = roster.stored(contact)
        if (hasFrom(old) || contact.equals(account)) throw new StanzaError('not-allowed', 'nothing is to be asked for')
        const request = requestOf(element, host.settings)
        if (!roster.has(contact)) checkSize(roster)
        checkImport(roster.waiting(), contact, request, host.settings)
        all.change(account, roster, contact, { ...old, request }, batch)
        return 'handled'
      })
    })

    host.on(accountRemoved, ({ account, batch }): Maybe<void> => unlessUnreadable(follow(all.of(account), roster => {
      const contacts = [...roster.all()]
      batch.committed(() => {
        for (const [contact, item] of contacts) part(account, contact, item)
        all.forget(account)
      })
    })), 'record')
  },
})

/** XEP-0227 §4.9: a request names who has sent it. */
function fromContact (request: Element, contact: Jid): Element {
  request.attr('xmlns', NS.CLIENT)
  request.attr('from', contact.toString())
  return request
}

/** An item as another server had it. */
function movedState (item: Element): Pick<StoredItem, 'subscription' | 'ask' | 'approved'> {
  const subscription = attributeOf(item, 'subscription') ?? 'none'
  if (subscription !== 'none' && subscription !== 'to' && subscription !== 'from' && subscription !== 'both') {
    throw new StanzaError('bad-request', 'there is no such subscription')
  }
  const approved = attributeOf(item, 'approved')
  return {
    subscription,
    ask: attributeOf(item, 'ask') === 'subscribe' && !hasTo({ subscription }),
    approved: (approved === 'true' || approved === '1') && !hasFrom({ subscription }),
  }
}

function itemElement (item: RosterItem): Element {
  const attributes: Record<string, string> = { jid: item.jid.toString(), subscription: item.subscription }
  if (item.name !== '') attributes['name'] = item.name
  if (item.ask) attributes['ask'] = 'subscribe'
  if (item.approved) attributes['approved'] = 'true'
  return xml('item', attributes, ...item.groups.map(group => xml('group', {}, group)))
}

interface Bounds { readonly name: number, readonly groups: number }

/**
 * §2.3.3: the errors a client may make. `leavesOut`: the item comes from another server, which allowed groups that are empty or doubled;
 * they are left out, and told.
 */
function wantedOf (item: Element, bounds: Bounds, leavesOut?: (what: string) => void): Pick<RosterItem, 'name' | 'groups'> {
  // Kept in memory: no windows on their chunk.
  const name = flatten(attributeOf(item, 'name') ?? '')
  const named = children(item, NS.ROSTER, 'group').map(group => flatten(textOf(group)))
  const groups = leavesOut === undefined ? named : [...new Set(named)].filter(group => group !== '')
  if (leavesOut !== undefined && groups.length < named.length) {
    leavesOut(`${attributeOf(item, 'jid') ?? ''}: groups that are empty or named twice are left out, the contact is taken`)
  }
  if ([name, ...groups].some(text => Buffer.byteLength(text) > bounds.name)) throw new StanzaError('not-acceptable', 'a name is too long')
  if (groups.includes('')) throw new StanzaError('not-acceptable', 'a group has a name')
  if (groups.length > bounds.groups) throw new StanzaError('not-acceptable', 'too many groups')
  if (new Set(groups).size < groups.length) throw new StanzaError('bad-request', 'a group is named twice')
  return { name, groups }
}

function partsOf ({ name, groups, subscription, ask, approved }: RosterItem): Omit<RosterItem, 'jid'> {
  return { name, groups, subscription, ask, approved }
}

function isSame (a: Step['state'], b: Step['state']): boolean {
  return a.subscription === b.subscription && a.ask === b.ask && a.approved === b.approved && a.pendingIn === b.pendingIn
}

function isSameItem (a: RosterItem | undefined, b: RosterItem): boolean {
  return a?.subscription === b.subscription && a.ask === b.ask && a.approved === b.approved
}
