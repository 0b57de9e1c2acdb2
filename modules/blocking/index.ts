/** XEP-0191 Blocking Command: nothing is exchanged with a blocked address. XEP-0377: it can be reported. */
import {
  accountRemoved, blocklists, defineModule, follow, iqArriving, NS, parseJid, presences, records, refusePushes,
  sessionBound, sessionClosed, setting, unlessUnreadable,
} from '../../lib/api.js'
import { BlockLists } from './lists.js'
import { moveLists } from './moving.js'
import { Reports } from './reports.js'
import { answerRequests } from './requests.js'
import { screenStanzas } from './screening.js'

export default defineModule({
  name: 'blocking',
  about: 'Lets users block addresses, so that no stanzas are exchanged with them, and report them to the administrators.',
  xeps: ['0191 v1.3', '0377 v0.4.1'],
  features: { host: [NS.BLOCKING, NS.REPORTING] },
  after: ['roster'],
  settings: {
    items: setting.count({ min: 1, max: 100_000 }).default(1000).says('The most addresses that an account may block.'),
    bytes: setting.size({ min: '1KiB', max: '1MiB' }).default('256KiB').says('The most bytes of these addresses together: clients get them in one answer.'),
  },
  stores: { blocked: records<true>(1, undefined, { check: value => value === true }) },

  setup (host) {
    const lists = new BlockLists(host.stores.blocked, host.settings, account => {
      // Presence after an unblock is not compared with what was known before.
      host.find(presences)?.forget(account)
    })
    host.provide(blocklists, {
      blocks: (account, other) => lists.blocks(account, other),
      of: account => follow(lists.of(account), list => [...list].map(parseJid)),
    })
    // An unreadable list does not prevent a login; each stanza that needs the list is refused.
    host.on(sessionBound, ({ session }) => unlessUnreadable(lists.pin(session.account)), 'record')
    host.on(sessionClosed, ({ session }) => { lists.unpin(session.account) }, 'record')
    // A new account with the same name starts with an empty list.
    host.on(accountRemoved, ({ account, batch }) => { batch.committed(() => { lists.forget(account) }) }, 'record')

    answerRequests(host, lists, new Reports(host))
    host.on(iqArriving, refusePushes(NS.BLOCKING), 'screen') // §3.3
    moveLists(host, lists)
    screenStanzas(host, lists)
  },
})
