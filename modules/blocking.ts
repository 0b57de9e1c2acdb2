/** XEP-0191 Blocking Command: nothing to the blocked, nothing from them. */
import {
  accountExporting, accountImporting, accountRemoved, addressed, attributeOf, blocklists, child, childElements, children,
  defineModule, flag, follow, iqArriving, iqSent, JidError, Kept, localName, messageArriving, messageSent, namespaceOf, NS, parseJid,
  presenceArriving, presences, presenceSent, records, rosters, sessionBound, sessionClosed, setting, slot, stanza, StanzaError,
  unlessUnreadable, xml,
} from '../lib/api.js'
import type { Addressed, Batch, Element, Jid, Maybe, Session } from '../lib/api.js'

/** §3.2: has asked for the list, and gets pushes. */
const interested = slot('blocking.interested', { initial: () => false, codec: flag })

/** Block lists kept in memory although nobody of the account is there. */
const IDLE = 5000
const IDLE_BYTES = 16 * 1024 * 1024
/** What an address costs in an answer beside itself, `<item jid=""/>`, in bytes. */
const ITEM_TAG = 15

export default defineModule({
  name: 'blocking',
  about: 'Lets a user block others: nothing is exchanged with them.',
  xeps: ['0191 v1.3'],
  features: { host: [NS.BLOCKING] },
  after: ['roster'],
  settings: {
    items: setting.count({ min: 1, max: 100_000 }).default(1000).says('The most addresses that an account may block.'),
    bytes: setting.size({ min: '1KiB', max: '1MiB' }).default('256KiB').says('The most bytes that these addresses may have together: clients get them in one answer.'),
  },
  stores: { blocked: records<true>(1, undefined, { check: value => value === true }) },

  setup (host) {
    const { blocked } = host.stores
    const lists = new Kept(listOfOwner, IDLE, { bytes: IDLE_BYTES, sizeOf: bytesOf })
    const listOf = (account: Jid): Maybe<Set<string>> => lists.of(account.bare.toString())

    host.provide(blocklists, {
      blocks: (account, other) => follow(listOf(account), list => matches(list, account, other)),
      of: account => follow(listOf(account), list => [...list].map(parseJid)),
    })
    // A list that cannot be read keeps nobody from logging in; each stanza that asks for it is refused.
    host.on(sessionBound, ({ session }) => unlessUnreadable(lists.hold(session.account.toString())), 'record')
    host.on(sessionClosed, ({ session }) => { lists.release(session.account.toString()) }, 'record')

    /** Fails closed: with one address that cannot be read, nobody knows who is blocked. */
    async function listOfOwner (owner: string): Promise<Set<string>> {
      const list = new Set((await blocked.all(owner)).keys())
      for (const address of list) {
        try {
          parseJid(address)
        } catch (error) {
          await blocked.setAside(owner, address, true, error)
        }
      }
      return list
    }

    // Whoever takes the name next has a list of their own.
    host.on(accountRemoved, ({ account, batch }) => { batch.committed(() => { lists.forget(account.toString()) }) }, 'record')

    // ---- The list ---------------------------------------------------------------------

    host.iq.get('self', NS.BLOCKING, 'blocklist', ({ session }) => follow(listOf(session.account), list => {
      session.put(interested, true)
      return xml('blocklist', { xmlns: NS.BLOCKING }, ...[...list].map(jid => xml('item', { jid })))
    }))

    host.iq.set('self', NS.BLOCKING, 'block', ({ session, payload, batch }) => {
      const named = children(payload, NS.BLOCKING, 'item')
      if (named.length === 0) throw new StanzaError('bad-request', 'nobody is named') // §3.3
      return follow(addressesOf(named), items => follow(listOf(session.account), list => {
        const fresh = items.filter(jid => !list.has(jid.toString()))
        room(list, fresh)
        leave(session.account, fresh) // while it may still be sent to them
        change(session.account, list, fresh, true, batch)
        batch.committed(() => { push(session.account, payload) })
      }))
    })

    /** Their preparation may take long: others have their turns meanwhile. */
    function addressesOf (items: readonly Element[]): Maybe<readonly Jid[]> {
      const addresses: Jid[] = []
      return follow(host.router.each(items, item => { addresses.push(addressIn(attributeOf(item, 'jid'))) }), () => addresses)
    }

    host.iq.set('self', NS.BLOCKING, 'unblock', ({ session, payload, batch }) => follow(addressesOf(children(payload, NS.BLOCKING, 'item')), items => follow(listOf(session.account), list => {
      // §3.5: none named, all meant
      const gone = items.length === 0 ? [...list].map(parseJid) : items.filter(jid => list.has(jid.toString()))
      change(session.account, list, gone, false, batch)
      batch.committed(() => {
        push(session.account, payload)
        comeBack(session.account, list, gone)
      })
    })))

    // The next who has the name blocks nobody.
    host.on(accountRemoved, ({ account, batch }) => { batch.committed(() => { lists.forget(account.toString()) }) }, 'record')

    // A push comes from the server alone (§3.3), by no way that leads through here.
    host.on(iqArriving, ({ iq }) => {
      if (iq.type === 'set' && iq.to.resource !== '' && child(iq.element, NS.BLOCKING) !== undefined) throw new StanzaError('service-unavailable')
    }, 'screen')

    function room (list: ReadonlySet<string>, fresh: readonly Jid[]): void {
      const { items, bytes } = host.settings
      if (list.size + fresh.length > items || fresh.length > 0 && bytesOf(list) + bytesOf(textsOf(fresh)) > bytes) {
        throw new StanzaError('resource-constraint', 'the block list is full', { type: 'cancel' })
      }
    }

    function change (account: Jid, list: Set<string>, items: readonly Jid[], isBlocked: boolean, batch: Batch): void {
      const owner = account.toString()
      for (const jid of items) {
        if (isBlocked) list.add(jid.toString())
        else list.delete(jid.toString())
        batch.add(blocked.putting(owner, jid.toString(), isBlocked ? true : undefined))
      }
      if (items.length > 0) {
        void lists.hold(owner)
        batch.committed(() => { lists.release(owner) })
        batch.failed(() => {
          lists.forget(owner)
          lists.release(owner)
        })
      }
      host.find(presences)?.forget(account) // whom one sees again says nothing old
    }

    function push (account: Jid, payload: Element): void {
      for (const device of host.sessions.of(account)) {
        if (!device.get(interested)) continue
        device.send(xml('iq', { type: 'set', id: host.ids.next() }, xml(payload.getName(), { xmlns: NS.BLOCKING },
          ...itemsOf(payload).map(jid => xml('item', { jid: jid.toString() })))))
      }
    }

    // ---- Accounts that move (XEP-0227 §4.8) ------------------------------------------------

    // Some read the one, some the other.
    host.on(accountExporting, ({ account, add }) => {
      add(writtenList(account), xml('blocklist', { xmlns: NS.BLOCKING }))
      add(privacyListOf(account))
    })

    async function * writtenList (account: Jid): AsyncGenerator<Element> {
      for (const jid of await listOf(account)) yield xml('item', { jid })
    }

    async function * privacyListOf (account: Jid): AsyncGenerator<Element> {
      const list = await listOf(account)
      if (list.size > 0) yield privacyList(list)
    }

    host.on(accountImporting, ({ account, element, within, batch }) => {
      const isItem = within?.namespace === NS.BLOCKING && localName(element) === 'item'
      const isPrivacy = within === undefined && namespaceOf(element) === NS.PRIVACY && localName(element) === 'query'
      if (!isItem && !isPrivacy) return undefined
      const wanted = isItem ? [addressIn(attributeOf(element, 'jid'))] : blockedBy(element)
      return follow(listOf(account), list => {
        const fresh = wanted.filter(jid => !list.has(jid.toString()))
        room(list, fresh)
        change(account, list, fresh, true, batch)
        return 'handled'
      })
    })

    // ---- Presence that follows from it ----------------------------------------------------

    /** §3.3: the blocked see that the user is gone, those too whom a device alone has told of itself. */
    function leave (account: Jid, others: readonly Jid[]): void {
      const items = textsOf(others)
      const tell = (device: Session, contact: Jid): void => { host.router.route(stanza(xml('presence', { type: 'unavailable' }), device.jid, contact)) }
      const heard = new Set<string>()
      eachSubscriber(account, items, contact => {
        heard.add(contact.toString())
        for (const device of host.sessions.of(account)) if (device.available) tell(device, contact)
      })
      for (const device of host.sessions.of(account)) {
        for (const to of host.find(presences)?.told(device) ?? []) {
          const hasHeard = device.available && heard.has(to.bare.toString())
          if (!hasHeard && matches(items, account, to)) tell(device, to)
        }
        host.find(presences)?.untell(device, to => matches(items, account, to))
      }
    }

    /** §3.5: who is unblocked sees the user again, unless another item still means them. */
    function comeBack (account: Jid, list: ReadonlySet<string>, others: readonly Jid[]): void {
      eachSubscriber(account, textsOf(others), contact => {
        if (matches(list, account, contact)) return
        for (const { presence } of host.sessions.of(account)) {
          if (presence !== undefined) host.router.route(addressed(presence.with({ to: contact }), contact))
        }
      })
    }

    /** The contacts that these items mean and that see the account's presence. */
    function eachSubscriber (account: Jid, items: ReadonlySet<string>, tell: (contact: Jid) => void): void {
      const roster = host.find(rosters)?.of(account)
      if (roster === undefined || items.size === 0) return
      void follow(roster, contacts => {
        for (const { jid, subscription } of contacts.items()) {
          if ((subscription === 'from' || subscription === 'both') && matches(items, account, jid)) tell(jid)
        }
      })
    }

    // ---- What stops at it ---------------------------------------------------------------------

    host.on(messageSent, ({ message, session }) => refuse(session.account, message.to), 'screen')
    host.on(iqSent, ({ iq, session }) => refuse(session.account, iq.to), 'screen')
    host.on(presenceSent, ({ presence, session }) => presence.to === undefined ? undefined : refuse(session.account, presence.to), 'screen')

    /** §3.3: whoever writes to somebody they have blocked is told so. */
    function refuse (account: Jid, to: Jid): Maybe<undefined> {
      return follow(listOf(account), list => {
        if (!matches(list, account, to)) return undefined
        throw new StanzaError('not-acceptable', undefined, { type: 'cancel', plus: xml('blocked', { xmlns: NS.BLOCKING_ERRORS }) })
      })
    }

    host.on(messageArriving, ({ message, account }) => stop(account, message), 'screen')
    host.on(presenceArriving, ({ presence, account }) => stop(account, presence), 'screen')
    host.on(iqArriving, ({ iq, account }) => stop(account, iq), 'screen')

    /** §3.3: presence, replies and errors vanish; a message or a request finds nobody. */
    function stop (account: Jid, arriving: Addressed): Maybe<'handled' | undefined> {
      return follow(listOf(account), list => {
        if (!matches(list, account, arriving.from)) return undefined
        const answers = arriving.kind === 'message' ? arriving.type !== 'error' : arriving.type === 'get' || arriving.type === 'set'
        if (arriving.kind !== 'presence' && answers) throw new StanzaError('service-unavailable')
        return 'handled'
      })
    }
  },
})

/** §2.2, from the narrowest to the widest. The account itself and its server are never blocked: without them nothing works. */
function matches (list: ReadonlySet<string>, account: Jid, other: Jid): boolean {
  if (list.size === 0 || other.bare.equals(account.bare) || other.toString() === account.domain) return false
  return list.has(other.toString()) || list.has(other.bare.toString()) || list.has(other.domain) ||
    other.resource !== '' && list.has(`${other.domain}/${other.resource}`)
}

/** Bytes of the answer that shows a list, but for what escaping adds. */
function bytesOf (list: ReadonlySet<string>): number {
  let bytes = 0
  for (const address of list) bytes += ITEM_TAG + Buffer.byteLength(address)
  return bytes
}

function textsOf (jids: readonly Jid[]): ReadonlySet<string> {
  return new Set(jids.map(jid => jid.toString()))
}

function itemsOf (payload: Element): Jid[] {
  return children(payload, NS.BLOCKING, 'item').map(item => addressIn(attributeOf(item, 'jid')))
}

function addressIn (text: string | undefined): Jid {
  try {
    return parseJid(text ?? '')
  } catch (error) {
    if (!(error instanceof JidError)) throw error
    throw new StanzaError('jid-malformed', undefined, { cause: error })
  }
}

/** XEP-0191 §5: a block list as XEP-0016 says it. */
function privacyList (list: ReadonlySet<string>): Element {
  const items = [...list].map((value, index) => xml('item', { type: 'jid', value, action: 'deny', order: String(index + 1) }))
  return xml('query', { xmlns: NS.PRIVACY }, xml('default', { name: 'blocked' }), xml('list', { name: 'blocked' }, ...items))
}

/**
 * Whom the default privacy list blocks. Throws StanzaError where it says more than that: what only half of it would do is not what its
 * user asked for.
 */
function blockedBy (query: Element): Jid[] {
  const chosen = child(query, NS.PRIVACY, 'default') ?? child(query, NS.PRIVACY, 'active')
  const name = chosen === undefined ? undefined : attributeOf(chosen, 'name')
  const list = children(query, NS.PRIVACY, 'list').find(list => attributeOf(list, 'name') === name)
  if (name === undefined || list === undefined) return [] // none is in force
  const rules = children(list, NS.PRIVACY, 'item').sort((a, b) => Number(attributeOf(a, 'order')) - Number(attributeOf(b, 'order')))
  // What comes last and allows all is what happens anyway.
  const last = rules.at(-1)
  if (last !== undefined && attributeOf(last, 'action') === 'allow' && attributeOf(last, 'type') === undefined && childElements(last).length === 0) rules.pop()
  return rules.map(rule => {
    const kinds = childElements(rule).length
    if (attributeOf(rule, 'action') !== 'deny' || attributeOf(rule, 'type') !== 'jid' || kinds > 0 && kinds < ALL_KINDS) {
      throw new StanzaError('not-acceptable', 'the privacy list does more than block addresses')
    }
    return addressIn(attributeOf(rule, 'value'))
  })
}

/** XEP-0016 §2.1: message, iq, presence-in, presence-out. */
const ALL_KINDS = 4
