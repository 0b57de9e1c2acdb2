/** XEP-0313 Message Archive Management, XEP-0441 preferences: what an account has said and heard, to be read on any device. */
import {
  accountExporting, accountImporting, accountRemoved, addressed, archives, attributeOf, costOfBytes, costOfRows, defineModule,
  follow, formatDateTime,
  fromOctets, hasForm, isFirstIn, isText, journal, Kept, localName, messageAddressed, messageSent, messageUndelivered, namespaceOf,
  NS, pagingElement, records, rosters, setting, StanzaError, xml,
} from '../../lib/api.js'
import type { Addressed, Archives, Batch, Element, Entry, Jid, Maybe, Message, Payer, Session } from '../../lib/api.js'
import { command } from './command.js'
import { arePreferences, bytesOf, preferencesElement, readPreferences, wishFor, type Preferences } from './preferences.js'
import { entryIn, written } from './moving.js'
import { find, queryForm, readQuery, resultStanza, type Query } from './query.js'
import { Retention, type Limits } from './retention.js'
import { aliasOf, retractionIn, Retractions } from './retraction.js'
import { isWorthArchiving, textIn } from './worth.js'

const HOUR = 3_600_000
/** Accounts whose preferences stay in memory, beside those that are in use. */
const IDLE = 10_000
const IDLE_BYTES = 16 * 1024 * 1024
/** Addresses that an account may list in its preferences. */
const ADDRESSES = 1000
const PREFERENCES = 'preferences'
/** Characters of a `queryid` (XEP-0313 §4.1). */
const LONGEST_QUERY_ID = 1024
/** What a search costs before anything is found, in units (lib/host/cost.ts). */
const SEARCH = 200

/** What goes with a message, and who pays for what it costs. */
interface Paid { readonly batch: Batch, readonly payer: Payer | undefined }

export default defineModule({
  name: 'mam',
  about: 'Keeps what is said and heard, so that each device of an account can catch up.',
  xeps: ['0313 v1.1.3', '0334 v1.0.0', '0424 v0.4.2', '0431 v0.2.0', '0441 v0.2.0'],
  features: {
    host: [NS.STANZA_ID],
    account: [NS.MAM, NS.MAM_EXTENDED, NS.MAM_GROUPCHAT, NS.STANZA_ID, NS.FULLTEXT, NS.RETRACT_TOMBSTONE],
  },
  // Behind carbons: within a login it says how far the archive goes when all that comes later is heard already.
  after: ['roster', 'carbons', 'stream-management'],
  settings: {
    default: setting.choice('always', 'roster', 'never').default('always').says('What is archived of accounts that have not said what they want: everything, what comes from and goes to contacts, or nothing.'),
    expire: setting.duration({ min: '1d', max: '100y' }).default('1y').says('Messages are removed once they are so old.'),
    keep: setting.count({ min: 100, max: 100_000_000 }).default(200_000).says('The most messages that are kept of an account. The oldest go first.'),
    bytes: setting.size({ min: '1MiB', max: '1TiB' }).default('1GiB').says('The most that the messages of an account may hold together. The oldest go first.'),
    page: setting.count({ min: 10, max: 5000 }).default(250).says('The most messages that are sent for one request.'),
  },
  stores: {
    messages: journal<string>(1, undefined, { check: isText }),
    preferences: records<Preferences>(1, undefined, { check: arePreferences }),
    limits: records<Limits>(1, undefined, { check: value => hasForm(value, { expire: 'number?', keep: 'number?' }), unreadable: 'moved' }),
  },

  setup (host) {
    const { settings, stores: { messages, preferences, limits } } = host
    const usual: Preferences = { habit: settings.default, always: [], never: [] }
    const wishes = new Kept<Preferences>(async owner => await preferences.get(owner, PREFERENCES) ?? usual, IDLE, {
      bytes: IDLE_BYTES, sizeOf: bytesOf,
    })
    /** What was archived under which id, for as long as somebody holds the message. */
    const ids = new WeakMap<object, { readonly account: Jid, readonly id: string }>()
    const retractions = new Retractions({
      archive: messages,
      now: () => host.clock.now(),
      batch: () => host.batch(),
      failed: error => { host.log.warn('a retracted message stays', { error }) },
    })
    const retention = new Retention({ domain: host.domain, messages, limits, settings, log: host.log, now: () => host.clock.now() })

    // ---- Archiving (§3, §5.1) ---------------------------------------------------------------

    host.on(messageSent, ({ message, session, batch }) => {
      const { account } = session
      if (!isWorthArchiving(message)) return undefined
      return follow(wants(account, message.to), wanted => {
        if (!wanted) return
        const id = host.ids.next()
        // A note to self arrives as well, and is archived then, once. Copies of what was sent name its id already.
        if (!message.to.bare.equals(account)) append(id, account, message.to, message, { batch, payer: session })
        ids.set(message, { account, id })
      })
    }, 'record')

    host.on(messageAddressed, event => {
      const { message, account } = event
      if (!isWorthArchiving(message)) return undefined
      const known = idOf(account, message)
      return follow(known !== undefined || wants(account, message.from), wanted => {
        if (!wanted) return
        const id = known ?? host.ids.next()
        append(id, account, message.from, message, event)
        event.message = addressed(message.with({ plus: [xml('stanza-id', { xmlns: NS.STANZA_ID, by: account.toString(), id })] }), message.to)
        ids.set(event.message, { account, id })
      })
    }, 'stamp')

    /** What is archived is not refused where nobody is there: it will be found. */
    host.on(messageAddressed, event => {
      if (ids.has(event.message)) event.kept = true
    })
    host.on(messageUndelivered, event => {
      if (event.kept || event.recipients.length > 0) return undefined
      return follow(keeps(event.account, event.message), isThere => { if (isThere) event.kept = true })
    })

    function append (id: string, account: Jid, contact: Jid, message: Message, { batch, payer }: Paid): void {
      const owner = account.toString()
      // Its time is that of its commit: who pages by time misses nothing that had to wait on its way (§4.1.2).
      batch.submitting(() => {
        const at = host.clock.now()
        const value = fromOctets(message.octets())
        batch.add(messages.appending(owner, { id, at, with: contact.toString(), value, ...aliasOf(message), ...textIn(message) }))
      })
      retention.grew(owner)
      const retraction = retractionIn(message)
      // Once it is stored: then so is all that came before it, and what it takes back is found.
      if (retraction !== undefined) batch.committed(() => { retractions.add(owner, contact.bare.toString(), retraction, payer) })
    }

    function wants (account: Jid, contact: Jid): Maybe<boolean> {
      return follow(wishes.of(account.toString()), preferences => {
        const wish = wishFor(preferences, contact)
        if (wish !== 'undecided') return wish === 'keep'
        return follow(host.find(rosters)?.of(account), roster => roster?.item(contact.bare) !== undefined)
      })
    }

    const idOf: Archives['idOf'] = (account, message) => {
      const known = ids.get(message)
      return known?.account.equals(account) === true ? known.id : undefined
    }

    async function has (account: Jid, wanted: readonly string[]): Promise<ReadonlySet<string>> {
      const { entries } = await messages.page(account.toString(), { ids: wanted, limit: wanted.length })
      return new Set(entries.map(entry => entry.id))
    }

    function keeps (account: Jid, message: Message): Maybe<boolean> {
      if (idOf(account, message) !== undefined) return true
      const id = archivedAs(message.children(), account)
      return id === undefined ? false : has(account, [id]).then(found => found.has(id))
    }

    host.provide(archives, { idOf, keeps, has })

    // ---- Asking (§4) ----------------------------------------------------------------------------

    host.iq.get('self', NS.MAM, 'query', () => queryForm())

    host.iq.set('self', NS.MAM, 'query', async ({ session, payload }) => {
      const query = readQuery(payload)
      const id = attributeOf(payload, 'queryid')
      // Each result repeats it: a client needs no long one.
      if (id !== undefined && id.length > LONGEST_QUERY_ID) throw new StanzaError('bad-request', 'the queryid is too long')
      const { account } = session
      await host.stored(account) // no page ends before a message that this device would not be sent
      const { entries, complete, count } = await find(messages, account.toString(), query, settings.page)
      charge(session, query, entries)
      const isSent = await host.outlet(account).draw(session, results(query.isFlipped ? [...entries].reverse() : entries, session, id))
      if (!isSent) throw new StanzaError('resource-constraint', 'the answer is not read', { type: 'wait' })
      return xml('fin', { xmlns: NS.MAM, ...complete ? { complete: 'true' } : {} },
        pagingElement({ first: entries[0]?.id, last: entries.at(-1)?.id, count }))
    })

    /** The page, each result made when it is about to go. */
    function * results (entries: readonly Entry<string>[], { account, jid }: Session, queryId: string | undefined): Generator<Addressed> {
      for (const entry of entries) yield addressed(resultStanza(entry, account, jid, queryId), jid)
    }

    host.iq.get('self', NS.MAM, 'metadata', ({ session }) => metadata(session.account))

    /** §4.4 */
    async function metadata (account: Jid): Promise<Element> {
      await host.stored(account)
      const owner = account.toString()
      const [oldest] = (await messages.page(owner, { limit: 1 })).entries
      const [newest] = (await messages.page(owner, { limit: 1, last: true })).entries
      const edge = (name: string, entry: Entry<string> | undefined): Element | undefined =>
        entry === undefined ? undefined : xml(name, { id: entry.id, timestamp: formatDateTime(entry.at, { milliseconds: true }) })
      return xml('metadata', { xmlns: NS.MAM }, edge('start', oldest), edge('end', newest))
    }

    // XEP-0386: who binds within its login learns at once how far the archive goes.
    host.offerInline({
      at: 'bind',
      namespace: NS.MAM,
      offered: () => xml('feature', { var: NS.MAM }),
      take: async ({ account }) => ({ element: await metadata(account) }),
    })

    // §7.1: an archive is its owner's, and nobody else's.
    const forbidden = (): never => { throw new StanzaError('forbidden') }
    for (const name of ['query', 'metadata', 'prefs']) {
      host.iq.get('account', NS.MAM, name, forbidden)
      host.iq.set('account', NS.MAM, name, forbidden)
    }

    // ---- Preferences (XEP-0441) -----------------------------------------------------------------------

    host.iq.get('self', NS.MAM, 'prefs', ({ session }) => follow(wishes.of(session.account.toString()), preferencesElement))

    host.iq.set('self', NS.MAM, 'prefs', ({ session, payload, batch }) => {
      const owner = session.account.toString()
      return follow(readPreferences(payload, ADDRESSES, host.router.each), wanted => {
        batch.add(preferences.putting(owner, PREFERENCES, wanted))
        // They hold for what comes next; until they are stored, nobody may read the old ones.
        wishes.holdAs(owner, wanted)
        batch.committed(() => { wishes.release(owner) })
        batch.failed(() => {
          wishes.forget(owner)
          wishes.release(owner)
        })
        return preferencesElement(wanted)
      })
    })

    // ---- Accounts that move (XEP-0227 §4.11) ------------------------------------------------------------

    host.on(accountExporting, ({ account, add }) => {
      const owner = account.toString()
      add(written(messages, owner), xml('archive', { xmlns: NS.PIE_MAM }))
      add(writtenPreferences(owner))
    })

    async function * writtenPreferences (owner: string): AsyncGenerator<Element> {
      const wish = await preferences.get(owner, PREFERENCES)
      if (wish !== undefined) yield preferencesElement(wish)
    }

    host.on(accountImporting, async ({ account, element, within, batch }) => {
      const owner = account.toString()
      if (within === undefined && namespaceOf(element) === NS.MAM && localName(element) === 'prefs') {
        batch.add(preferences.putting(owner, PREFERENCES, await readPreferences(element, ADDRESSES, host.router.each)))
        batch.committed(() => { wishes.forget(owner) })
        return 'handled'
      }
      if (within?.namespace !== NS.PIE_MAM || within.name !== 'archive') return undefined
      const entry = entryIn(element, account)
      // Brought once and again, it is there once.
      if (isFirstIn(batch, 'mam.messages', owner, entry.id) && !(await has(account, [entry.id])).has(entry.id)) {
        batch.add(messages.appending(owner, entry))
        retention.grew(owner)
      }
      return 'handled'
    })

    // ---- Keeping it bounded ----------------------------------------------------------------------------

    const sweep = host.clock.every(HOUR, () => { void retention.sweep() })
    host.defer(() => { sweep.cancel() })
    host.command('mam', args => command(args, messages, retention))

    host.on(accountRemoved, ({ account, batch }) => {
      batch.committed(() => { wishes.forget(account.toString()) })
    }, 'record')
  },
})

function charge (session: Session, { filter }: Query, entries: readonly Entry<string>[]): void {
  const bytes = entries.reduce((sum, { value }) => sum + value.length, 0)
  session.charge(costOfRows(entries.length) + costOfBytes(bytes) + (filter.text === undefined ? 0 : SEARCH))
}

/** XEP-0359: the id that the archive of this account has given it; nobody else can have written that. */
function archivedAs (children: Iterable<Element>, account: Jid): string | undefined {
  for (const child of children) {
    if (namespaceOf(child) === NS.STANZA_ID && attributeOf(child, 'by') === account.toString()) return attributeOf(child, 'id')
  }
  return undefined
}
