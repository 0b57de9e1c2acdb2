/**
 * XEP-0313 Message Archive Management and XEP-0441 preferences: the archive of an account's messages, for all its
 * devices, and at a service the archives of its entities.
 */
import {
  accountRemoved, archives, defineModule, discovery, entityArchives, follow, hasForm, isElementText, journal,
  messageAddressed, messageSent, messageUndelivered, NS, records, setting,
} from '../../lib/api.js'
import type { ModuleHost } from '../../lib/api.js'
import { Archiver } from './archiver.js'
import { command } from './command.js'
import { ArchivesOfEntities, type EntityArchivesDeps } from './entity-archives.js'
import { moveArchives } from './moving.js'
import { arePreferences, type Preferences } from './preferences.js'
import { answerQueries } from './requests.js'
import { Retention, type Limits } from './retention.js'
import { Retractions } from './retraction.js'
import { answerPreferences, Wishes } from './wishes.js'

/** The interval between the removals of old messages, in milliseconds. */
const HOUR = 3_600_000
export default defineModule({
  name: 'mam',
  about: 'Archives messages, so that each device of an account can read what it missed.',
  at: 'everywhere',
  xeps: ['0313 v1.1.3', '0334 v1.0.0', '0424 v0.4.2', '0431 v0.2.0', '0441 v0.2.0'],
  features: {
    account: [NS.MAM, NS.MAM_EXTENDED, NS.MAM_GROUPCHAT, NS.STANZA_ID, NS.FULLTEXT, NS.RETRACT_TOMBSTONE],
  },
  // After carbons: when the archive's end is reported inline (XEP-0386), the session already gets copies of all later
  // messages.
  after: ['roster', 'carbons', 'stream-management', 'disco'],
  settings: {
    default: setting.choice('always', 'roster', 'never').default('always').says('The messages that are archived for accounts without preferences of their own: all, those from and to contacts in the roster, or none.'),
    expire: setting.duration({ min: '1d', max: '100y' }).default('1y').says('The age at which messages are removed.'),
    keep: setting.count({ min: 100, max: 100_000_000 }).default(200_000).says('The most messages of an account. The oldest are removed first.'),
    bytes: setting.size({ min: '1MiB', max: '1TiB' }).default('1GiB').says('The most bytes of the messages of an account together. The oldest are removed first.'),
    pageSize: setting.count({ min: 10, max: 5000 }).default(250).was('page').says('The most messages in one page.'),
  },
  stores: {
    messages: journal<string>(1, undefined, { check: isElementText, byHost: true }),
    preferences: records<Preferences>(1, undefined, { check: arePreferences }),
    limits: records<Limits>(1, undefined, { check: value => hasForm(value, { expire: 'number?', keep: 'number?' }), unreadable: 'moved' }),
  },

  setup (host) {
    const { settings, stores: { messages, preferences, limits } } = host
    const wishes = new Wishes(preferences, settings.default)
    const retention = new Retention({
      domain: host.domain, messages, limits, settings, log: host.log, now: () => host.clock.now(),
    })
    const parts = { messages, wishes, retention, pageSize: settings.pageSize }
    if (host.isService) host.provide(entityArchives, new ArchivesOfEntities(host, parts))
    else archiveAccounts(host, parts)

    const sweep = host.clock.every(HOUR, () => { void retention.sweep() })
    host.defer(() => { sweep.cancel() })
    host.command('mam', args => command(args, messages, retention))
  },
})

/** Archives the messages of the accounts of a host, and answers their queries. */
function archiveAccounts (host: ModuleHost, { messages, wishes, retention, pageSize }: EntityArchivesDeps): void {
  const retractions = new Retractions({
    archive: messages,
    now: () => host.clock.now(),
    batch: () => host.batch(),
    failed: error => { host.log.warn('message retraction failed', { error }) },
  })
  const archiver = new Archiver(host, { messages, wishes, retention, retractions })
  host.provide(archives, archiver)
  host.whileUp(() => host.find(discovery)?.feature('host', () => [NS.STANZA_ID]) ?? (() => {}))

  host.on(messageSent, event => archiver.sent(event), 'record')
  host.on(messageAddressed, event => archiver.received(event), 'stamp')
  // An archived message counts as kept: without a recipient it is not refused, for it can be found in the archive.
  host.on(messageAddressed, event => {
    if (archiver.hasArchived(event.message)) event.kept = true
  })
  host.on(messageUndelivered, event => {
    if (event.kept || event.recipients.length > 0) return undefined
    return follow(archiver.keeps(event.account, event.message), isThere => { if (isThere) event.kept = true })
  })

  answerQueries(host, messages, pageSize)
  answerPreferences(host, wishes)
  moveArchives(host, messages, archiver, wishes)
  host.on(accountRemoved, ({ account, batch }) => { batch.committed(() => { wishes.forget(account) }) }, 'record')
}
