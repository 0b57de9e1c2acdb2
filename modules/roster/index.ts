/** RFC 6121 §2, §3: the roster, and the presence subscriptions in it. */
import {
  accountRemoved, attributeOf, children, defineModule, follow, iqArriving, NS, records, refusePushes, rosters,
  sessionBound, sessionClosed, setting, StanzaError, unlessUnreadable, xml,
} from '../../lib/api.js'
import type { Maybe, ModuleHost } from '../../lib/api.js'
import { interested, RosterChanges } from './changes.js'
import { itemElement, wantedOf } from './elements.js'
import { AccountRosters, contactOf, isStoredItem, type StoredItem } from './items.js'
import { moveRosters } from './moving.js'
import { part } from './presence.js'
import { handleSubscriptions } from './subscribing.js'

export default defineModule({
  name: 'roster',
  about: 'Stores the contacts of an account, and who may see whose presence.',
  xeps: ['0237 v1.3'],
  features: { host: [NS.ROSTER] },
  settings: {
    items: setting.count({ min: 1, max: 100_000 }).default(1000).says('The most contacts of an account.'),
    bytes: setting.size({ min: '1KiB', max: '1MiB' }).default('512KiB').says('The most bytes of all contacts of an account together, with names and groups: clients get them in one answer.'),
    requests: setting.count({ min: 1, max: 10_000 }).default(100).says('The most pending subscription requests of an account. A domain with its subdomains may use at most half of what the others leave.'),
    bytesPerRequest: setting.size({ min: '256B', max: '256KiB' }).default('4KiB').was('request').says('The most bytes of a subscription request. A larger one is refused.'),
    requestBytes: setting.size({ min: '1KiB', max: '64MiB' }).default('128KiB').says('The most bytes of all pending subscription requests of an account together.'),
    bytesPerName: setting.size({ min: '64B', max: '16KiB' }).default('1023B').was('name').says('The most bytes in the name of a contact or group.'),
    groupsPerContact: setting.count({ min: 1, max: 1000 }).default(50).was('groups').says('The most groups of a contact.'),
  },
  // Only version 0.1 wrote `versions`; the store is kept so that its entries are removed with their accounts.
  stores: { items: records<StoredItem>(1, undefined, { check: isStoredItem }), versions: records<number>(1, undefined, { unreadable: 'moved' }) },

  setup (host) {
    const all = new AccountRosters(host.stores.items)
    const changes = new RosterChanges(host, all, host.settings)
    host.provide(rosters, {
      of: account => all.of(account),
      put: (account, { jid, name, groups, subscription, ask, approved }, batch) => follow(all.of(account), roster => {
        const item = { ...roster.stored(jid), name, groups, subscription, ask, approved, listed: true }
        changes.keep(account, roster, jid, item, batch)
      }),
    })
    host.offer({ namespace: NS.ROSTER_VERSION, offered: stream => stream.identity === undefined ? undefined : xml('ver', { xmlns: NS.ROSTER_VERSION }) })
    host.offer({ namespace: NS.PRE_APPROVAL, offered: stream => stream.identity === undefined ? undefined : xml('sub', { xmlns: NS.PRE_APPROVAL }) })

    // An unreadable roster does not prevent a login; each stanza that needs the roster is refused.
    host.on(sessionBound, ({ session }) => unlessUnreadable(all.pin(session.account)), 'record')
    host.on(sessionClosed, ({ session }) => { all.unpin(session.account) }, 'record')

    answerRequests(host, changes)
    host.on(iqArriving, refusePushes(NS.ROSTER), 'screen') // §2.1.6
    handleSubscriptions(host, changes)
    moveRosters(host, changes)
    host.on(accountRemoved, ({ account, batch }): Maybe<void> => unlessUnreadable(follow(all.of(account), roster => {
      const contacts = [...roster.all()]
      batch.committed(() => {
        for (const [contact, item] of contacts) part(host, account, contact, item)
        all.forget(account)
      })
    })), 'record')
  },
})

/** Answers requests for the roster, and to change it (§2.1 to §2.5). */
function answerRequests (host: ModuleHost, changes: RosterChanges): void {
  host.iq.get('self', NS.ROSTER, 'query', ({ session, payload }) => follow(changes.rosters.of(session.account), roster => {
    session.put(interested, true)
    // §2.6.2: the client's roster is current: the result is empty.
    if (payload.attrs['ver'] === roster.version) return undefined
    return xml('query', { xmlns: NS.ROSTER, ver: roster.version }, ...[...roster.items()].map(itemElement))
  }))

  host.iq.set('self', NS.ROSTER, 'query', ({ session: { account }, payload, batch }) => {
    const items = children(payload, NS.ROSTER, 'item')
    const [item] = items
    if (item === undefined || items.length > 1) throw new StanzaError('bad-request', 'a roster set has exactly one item') // §2.3.3
    const contact = contactOf(attributeOf(item, 'jid'))
    return follow(changes.rosters.of(account), roster => {
      if (item.attrs['subscription'] === 'remove') { changes.remove(account, roster, contact, batch); return }
      if (contact.equals(account)) throw new StanzaError('not-allowed', 'an account is not its own contact')
      const { name, groups } = wantedOf(item, changes.bounds)
      changes.keep(account, roster, contact, { ...roster.stored(contact), name, groups, listed: true }, batch)
    })
  })

  // §2.1.5, §2.3.3, §2.4.3: nobody changes another account's roster, whether that account exists or not.
  host.iq.set('account', NS.ROSTER, 'query', () => { throw new StanzaError('forbidden') })
}
