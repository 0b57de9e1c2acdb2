/** XEP-0160 Offline Messages, with XEP-0203 delays: what finds nobody waits. */
import { createHash } from 'node:crypto'
import {
  accountExporting, accountImporting, accountRemoved, addressed, archives, attributeOf, boundInline, checkedPage, children, clone,
  defineModule, follow, formatDateTime, fromOctets, isFirstIn, isText, JidError, journal, Kept, localName, messageAddressed,
  messageUndelivered, namespaceOf, NS, octets, offlineMessages, parseDateTime, parseElement, parseJid,
  sessionPresent, setting, Stanza, StanzaError, toOctets, xml,
} from '../lib/api.js'
import type { Batch, Element, Entry, Jid, JournalPage, JournalQuery, Maybe, Message, Session } from '../lib/api.js'

/** How much waits for an account. */
interface Waiting { entries: number, bytes: number }

/** Accounts whose amount is kept in memory. */
const IDLE = 10_000
/** Messages that are read at a time. */
const PAGE = 50
/** Expired messages that are removed at a time, and how often that is looked for. */
const SWEEP = 1000
const HOUR = 3_600_000
/** Messages that are remembered as handed over while they cannot be removed. */
const MOST_GIVEN = 100_000

export default defineModule({
  name: 'offline',
  about: 'Keeps messages for accounts of which no device is there.',
  xeps: ['0160 v1.0.1', '0203 v2.0'],
  features: { host: [NS.MSG_OFFLINE] },
  requires: ['message'],
  settings: {
    keep: setting.count({ min: 1, max: 1_000_000 }).default(200).says('The most messages that wait for an account.'),
    bytes: setting.size({ min: '10KiB', max: '1GiB' }).default('5MiB').says('The most that they may hold together.'),
    expire: setting.duration({ min: '1h', max: '10y' }).default('30d').says('How long a message waits.'),
  },
  stores: { messages: journal<string>(1, undefined, { check: isText }) },

  setup (host) {
    const { messages } = host.stores
    const waiting = new Kept<Waiting>(async owner => ({ ...await messages.size(owner) }), IDLE)
    /** Messages that a device has had and that are still stored, because their removal could not be. */
    const given = new Set<string>()

    host.on(messageAddressed, event => {
      if (event.recipients.length > 0 || event.kept) return undefined
      event.kept = true
      if (!isWorthKeeping(event.message)) return undefined
      const { message, account, batch } = event
      return follow(waiting.of(account.toString()), amount => {
        // What is archived is not refused for want of room here.
        if (isFull(amount, message.octets().length) && host.find(archives)?.idOf(account, message) !== undefined) return
        keep(account, amount, entryOf(message), batch)
      })
    }, 'record')

    function isFull (amount: Waiting, bytes: number): boolean {
      return amount.entries >= host.settings.keep || amount.bytes + bytes > host.settings.bytes
    }

    // What a device had not confirmed when its session ended waits as it would have in the first place, under the time when it came.
    host.on(messageUndelivered, event => {
      if (event.recipients.length > 0 || event.kept) return undefined
      event.kept = true
      if (!isWorthKeeping(event.message)) return undefined
      const { account, batch } = event
      const { message, at } = undelayed(event.message, event.at)
      return follow(waiting.of(account.toString()), amount => {
        const isFound = isFull(amount, message.octets().length) && host.find(archives)?.keeps(account, message)
        return follow(isFound, found => { if (found !== true) keep(account, amount, { ...entryOf(message), at }, batch) })
      })
    }, 'record')

    /** Without the delay that was written when it waited before. */
    function undelayed (message: Message, at: number): { readonly message: Message, readonly at: number } {
      const isOurs = (element: Element): boolean => namespaceOf(element) === NS.DELAY && attributeOf(element, 'from') === host.domain
      const delay = [...message.children()].find(isOurs)
      if (delay === undefined) return { message, at }
      return { message: addressed(message.with({ without: isOurs }), message.to), at: timeOf(delay) }
    }

    function entryOf (message: Message): Entry<string> {
      return { id: host.ids.next(), at: host.clock.now(), with: message.from.toString(), value: fromOctets(message.octets()) }
    }

    function keep (account: Jid, amount: Waiting, entry: Entry<string>, batch: Batch): void {
      const owner = account.toString()
      const bytes = Buffer.byteLength(entry.value)
      if (isFull(amount, bytes)) throw new StanzaError('service-unavailable', 'too many messages wait') // XEP-0160 §3
      amount.entries++
      amount.bytes += bytes
      batch.add(messages.appending(owner, entry))
      batch.failed(() => { waiting.forget(owner) })
    }

    // The next who has the name has room for all.
    host.on(accountRemoved, ({ account, batch }) => { batch.committed(() => { waiting.forget(account.toString()) }) }, 'record')

    // ---- Handing over ------------------------------------------------------------------

    /** XEP-0160 §2: to the first device whose priority is not negative. */
    host.on(sessionPresent, ({ session, before }) => {
      if (session.priority < 0 || before.available && before.priority >= 0) return
      // In the account's turn: what found nobody before is stored by then, and what comes later comes after it.
      host.turn(session.account, () => handOver(session).catch((error: unknown) => {
        host.log.error('offline messages stay', { jid: session.jid.toString(), error })
      }))
    }, 'observe')

    async function handOver (session: Session): Promise<void> {
      const owner = session.account.toString()
      if (!mayTake(session) || (await waiting.of(owner)).entries === 0) return
      for (let after: string | undefined; ;) {
        const { entries: found, complete } = await readable(session.account, { limit: PAGE, ...after === undefined ? {} : { after } })
        // What a device has had already, and could not be removed then: a full disk must not bring it again at each login.
        const old = found.filter(({ id }) => given.has(id))
        const all = found.filter(({ id }) => !given.has(id))
        if (old.length > 0 && !await isRemoved(owner, old)) after = old.at(-1)?.id
        const entries = session.get(boundInline) ? await remaining(session, all) : all
        if (session.manager !== undefined) {
          await move(session, owner, entries)
          if (complete) return
          continue
        }
        const sent = entries.filter(entry => session.connection === 'attached' && session.send(delayed(entry, session.account)) === 'sent')
        if (sent.length > 0 && !await isRemoved(owner, sent)) after = sent.at(-1)?.id
        if (complete || sent.length < entries.length) return
      }
    }

    /** RFC 6121 §8.5.2.1.1: a device that is gone by now, or wants nothing, leaves the messages to the next. */
    function mayTake (session: Session): boolean {
      return session.connection !== 'closed' && session.available && session.priority >= 0
    }

    /**
     * XEP-0386 §3.2: who has bound within the login takes from the archive what had come by then, and is not sent that. What the archive
     * does not have is; and so is what came since, which may stand behind the last page that was asked for.
     */
    async function remaining (session: Session, all: readonly Entry<string>[]): Promise<readonly Entry<string>[]> {
      const owner = session.account.toString()
      const ids = new Map(all.filter(({ at }) => at < session.since).flatMap(entry => {
        const id = archivedAs(entry.value, owner)
        return id === undefined ? [] : [[entry, id] as const]
      }))
      const there = ids.size === 0 ? undefined : await host.find(archives)?.has(session.account, [...ids.values()])
      const archived = all.filter(entry => there?.has(ids.get(entry) ?? '') === true)
      if (archived.length > 0) await remove(owner, archived)
      return all.filter(entry => !archived.includes(entry))
    }

    /** From here to what the device has not confirmed (XEP-0198), in one transaction: at any time they are in one of both. */
    async function move (session: Session, owner: string, entries: readonly Entry<string>[]): Promise<void> {
      const batch = host.batch()
      batch.add(messages.removing(owner, entries.map(entry => entry.id)))
      for (const entry of entries) session.sendWith(batch, delayed(entry, session.account))
      await batch.commit()
      waiting.forget(owner)
    }

    /** Removes what a device has had; if that cannot be stored, it is remembered as long as the process lives, and tried again. */
    async function isRemoved (owner: string, sent: readonly Entry<string>[]): Promise<boolean> {
      try {
        await remove(owner, sent)
        for (const { id } of sent) given.delete(id)
        return true
      } catch (error) {
        if (given.size + sent.length > MOST_GIVEN) throw error
        for (const { id } of sent) given.add(id)
        host.log.warn('offline messages not removed', { account: owner, messages: sent.length, error })
        return false
      }
    }

    async function remove (owner: string, sent: readonly Entry<string>[]): Promise<void> {
      const batch = host.batch()
      batch.add(messages.removing(owner, sent.map(entry => entry.id)))
      await batch.commit()
      waiting.forget(owner)
    }

    /** What waits, but for what cannot be written as a message any more: that is put aside. */
    async function readable (account: Jid, query: JournalQuery): Promise<JournalPage<string>> {
      const owner = account.toString()
      let read = 0
      let unread = 0
      const look = async (): Promise<JournalPage<string>> => {
        const page = await messages.page(owner, query)
        unread += page.unread?.length ?? 0
        read += page.entries.length
        return page
      }
      const page = await checkedPage(messages, owner, look, entry => { delayed(entry, account) })
      // What is put aside waits no longer: it makes room.
      if (unread > 0 || read > page.entries.length) waiting.forget(owner)
      return page
    }

    /** XEP-0203 §2: when it came, said by the server that kept it. One that a sender wrote stays beside it. */
    function delayed (entry: Entry<string>, account: Jid): Message {
      const element = parseElement(toOctets(entry.value))
      const to = recipientOf(element, account)
      const delay = xml('delay', { xmlns: NS.DELAY, from: host.domain, stamp: formatDateTime(entry.at) })
      return addressed(new Stanza('message', element, parseJid(entry.with), to).with({ plus: [delay] }), to)
    }

    // ---- Keeping it bounded, and for others --------------------------------------------------

    const sweep = host.clock.every(HOUR, () => { void expire() })
    host.defer(() => { sweep.cancel() })

    async function expire (): Promise<void> {
      try {
        while (await messages.expire(host.clock.now() - host.settings.expire, SWEEP) >= SWEEP) continue
      } catch (error) {
        host.log.warn('expired messages stay', { error })
      }
    }

    host.provide(offlineMessages, {
      count: async account => (await messages.size(account.toString())).entries,
      async * all (account) {
        for await (const { at, value } of entriesOf(account)) yield { at, octets: toOctets(value) }
      },
      add: (account, { at, from, octets }, batch): Maybe<void> => follow(waiting.of(account.toString()), amount => {
        keep(account, amount, { id: host.ids.next(), at, with: from.toString(), value: fromOctets(octets) }, batch)
      }),
    })

    async function * entriesOf (account: Jid): AsyncGenerator<Entry<string>> {
      for (let after: string | undefined; ;) {
        const page = await readable(account, { limit: PAGE, ...after === undefined ? {} : { after } })
        yield * page.entries
        after = page.entries.at(-1)?.id
        if (page.complete || after === undefined) return
      }
    }

    // ---- Accounts that move (XEP-0227 §4.5) -----------------------------------------------------

    host.on(accountExporting, ({ account, add }) => { add(written(account), xml('offline-messages', { xmlns: NS.PIE })) })

    async function * written (account: Jid): AsyncGenerator<Element> {
      for await (const entry of entriesOf(account)) yield parseElement(delayed(entry, account).octets())
    }

    host.on(accountImporting, async ({ account, element, within, batch }) => {
      if (within?.namespace !== NS.PIE || within.name !== 'offline-messages') return undefined
      const entry = movedEntry(element, host.domain, host.clock.now())
      const owner = account.toString()
      // Its id is made of what it says: brought once and again, it is there once.
      if (!isFirstIn(batch, 'offline.messages', owner, entry.id)) return 'handled'
      const { entries } = await messages.page(owner, { ids: [entry.id], limit: 1 })
      if (entries.length === 0) keep(account, await waiting.of(owner), entry, batch)
      return 'handled'
    })
  },
})

/** XEP-0359: the id that the archive of this account has given it; nobody else can have written that. */
function archivedAs (value: string, account: string): string | undefined {
  const ids = children(parseElement(toOctets(value)), NS.STANZA_ID, 'stanza-id')
  const own = ids.find(element => attributeOf(element, 'by') === account)
  return own === undefined ? undefined : attributeOf(own, 'id')
}

/** XEP-0160 §3, XEP-0334 §4: what a user wants to find later. */
function isWorthKeeping (message: Message): boolean {
  if (message.has(NS.HINTS, 'no-store') || message.has(NS.MAM, 'result')) return false
  if (message.type !== 'chat' && message.type !== 'normal') return false
  if (message.has(NS.HINTS, 'store')) return true
  return message.type === 'normal' || [...message.children()].some(isContent)
}

/** Chat states say how it is now, and mean nothing later. */
function isContent (element: Element): boolean {
  const namespace = namespaceOf(element)
  if (namespace === NS.CLIENT) return element.getName() !== 'thread'
  return !PASSING.has(namespace)
}

/** What alone means nothing later: chat states, and what only says something of the message. */
const PASSING: ReadonlySet<string | undefined> = new Set([NS.CHAT_STATES, NS.HINTS, NS.STANZA_ID, NS.DELAY, NS.DELAY_LEGACY])

/** A message out of an import, as it would have been kept here. */
function movedEntry (element: Element, domain: string, now: number): Entry<string> {
  if (namespaceOf(element) !== NS.CLIENT || localName(element) !== 'message') throw new StanzaError('bad-request', 'not a message')
  const [from, to] = [addressIn(element, 'from'), addressIn(element, 'to')]
  if (from === undefined) throw new StanzaError('bad-request', 'a message without a sender')
  const { type } = new Stanza('message', element, from, to)
  if (type !== 'chat' && type !== 'normal') throw new StanzaError('bad-request', 'a message of a type that is not kept')
  const delays = [...children(element, NS.DELAY, 'delay'), ...children(element, NS.DELAY_LEGACY, 'x')]
  // The delay that the server there has written is what is kept as the time; one that is written here will stand for it.
  const own = delays.find(delay => attributeOf(delay, 'from') === domain || attributeOf(delay, 'from') === to?.domain) ?? delays[0]
  const at = own === undefined ? now : timeOf(own)
  const message = clone(element)
  if (own !== undefined) {
    const index = element.children.indexOf(own)
    message.children.splice(index, 1)
  }
  const value = fromOctets(octets(message))
  const id = createHash('sha256').update(`${own === undefined ? '' : at} ${value}`).digest('base64url').slice(0, ID_LENGTH)
  return { id, at, with: from.toString(), value }
}

const ID_LENGTH = 22
/** XEP-0091 §3 */
const LEGACY_TIME = /^(\d{4})(\d{2})(\d{2})T(\d{2}:\d{2}:\d{2})$/

function timeOf (delay: Element): number {
  return parseDateTime((attributeOf(delay, 'stamp') ?? '').replace(LEGACY_TIME, '$1-$2-$3T$4Z'))
}

function addressIn (element: Element, name: string): Jid | undefined {
  const text = attributeOf(element, name)
  try {
    return text === undefined ? undefined : parseJid(text)
  } catch (error) {
    if (!(error instanceof JidError)) throw error
    throw new StanzaError('jid-malformed', undefined, { cause: error })
  }
}

function recipientOf (element: Element, account: Jid): Jid {
  const to = attributeOf(element, 'to')
  return to === undefined ? account : parseJid(to)
}
