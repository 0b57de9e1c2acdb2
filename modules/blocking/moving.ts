/** Export and import of block lists (XEP-0227 §4.8). */
import {
  accountExporting, accountImporting, attributeOf, child, childElements, children, follow, localName, namespaceOf, NS,
  readJid, StanzaError, xml,
} from '../../lib/api.js'
import type { Element, Jid, ModuleHost } from '../../lib/api.js'
import type { BlockLists } from './lists.js'
import { addressOf } from './requests.js'

/** Exports block lists, and imports both forms of them. */
export function moveLists (host: ModuleHost, lists: BlockLists): void {
  // Two formats, because servers read either one or the other.
  host.on(accountExporting, ({ account, add }) => {
    add(writtenList(lists, account), xml('blocklist', { xmlns: NS.BLOCKING }))
    add(writtenPrivacyList(lists, account))
  })

  host.on(accountImporting, ({ account, element, within, batch }) => {
    const isItem = within?.namespace === NS.BLOCKING && localName(element) === 'item'
    const isPrivacy = within === undefined && namespaceOf(element) === NS.PRIVACY && localName(element) === 'query'
    if (!isItem && !isPrivacy) return undefined
    const wanted = isItem ? [addressOf(element)] : blockedBy(element)
    return follow(lists.of(account), list => {
      const fresh = wanted.filter(jid => !list.has(jid.toString()))
      lists.checkRoom(list, fresh)
      lists.change(account, list, fresh, true, batch)
      return 'handled'
    })
  })
}

async function * writtenList (lists: BlockLists, account: Jid): AsyncGenerator<Element> {
  for (const jid of await lists.of(account)) yield xml('item', { jid })
}

async function * writtenPrivacyList (lists: BlockLists, account: Jid): AsyncGenerator<Element> {
  const list = await lists.of(account)
  if (list.size > 0) yield privacyList(list)
}

/** Writes a block list as a privacy list (XEP-0191 §5, XEP-0016). */
function privacyList (list: ReadonlySet<string>): Element {
  const items = [...list].map((value, index) => xml('item', { type: 'jid', value, action: 'deny', order: String(index + 1) }))
  return xml('query', { xmlns: NS.PRIVACY }, xml('default', { name: 'blocked' }), xml('list', { name: 'blocked' }, ...items))
}

/**
 * Returns the addresses that the default privacy list blocks. Throws StanzaError if the list does more than block
 * addresses: a partial import is not what the user asked for.
 */
function blockedBy (query: Element): Jid[] {
  const chosen = child(query, NS.PRIVACY, 'default') ?? child(query, NS.PRIVACY, 'active')
  const name = chosen === undefined ? undefined : attributeOf(chosen, 'name')
  const list = children(query, NS.PRIVACY, 'list').find(list => attributeOf(list, 'name') === name)
  if (name === undefined || list === undefined) return [] // no list is in force
  const orderOf = (rule: Element): number => Number(attributeOf(rule, 'order'))
  const rules = children(list, NS.PRIVACY, 'item').sort((a, b) => orderOf(a) - orderOf(b))
  const last = rules.at(-1)
  if (last !== undefined && allowsAll(last)) rules.pop() // says the same as no item
  return rules.map(rule => {
    const kinds = childElements(rule).length
    const isDeny = attributeOf(rule, 'action') === 'deny' && attributeOf(rule, 'type') === 'jid'
    if (!isDeny || kinds > 0 && kinds < ALL_KINDS) {
      throw new StanzaError('not-acceptable', 'the privacy list does more than block addresses')
    }
    return readJid(attributeOf(rule, 'value') ?? '')
  })
}

function allowsAll (rule: Element): boolean {
  return attributeOf(rule, 'action') === 'allow' && attributeOf(rule, 'type') === undefined && childElements(rule).length === 0
}

/** XEP-0016 §2.1: message, iq, presence-in and presence-out. */
const ALL_KINDS = 4
