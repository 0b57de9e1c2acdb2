/** Export and import of rosters and pending requests (XEP-0227 §4.4, §4.9). */
import {
  accountExporting, accountImporting, attributeOf, follow, hasFrom, hasTo, localName, namespaceOf, NS, StanzaError, xml,
} from '../../lib/api.js'
import type { AccountImporting, Element, Jid, Maybe, ModuleHost } from '../../lib/api.js'
import type { RosterChanges } from './changes.js'
import { itemElement, wantedOf } from './elements.js'
import { contactOf, type AccountRosters, type StoredItem } from './items.js'
import { checkImport, requestElement, requestOf } from './requests.js'

/** Exports rosters and pending requests, and imports them. */
export function moveRosters (host: ModuleHost, changes: RosterChanges): void {
  host.on(accountExporting, ({ account, add }) => {
    add(writtenItems(changes.rosters, account), xml('query', { xmlns: NS.ROSTER }))
    add(writtenRequests(changes.rosters, account))
  })

  host.on(accountImporting, event => {
    const { element, within } = event
    if (within?.namespace === NS.ROSTER && localName(element) === 'item') return takeItem(changes, event)
    if (within !== undefined || namespaceOf(element) !== NS.CLIENT || localName(element) !== 'presence') return undefined
    return takeRequest(changes, event)
  })
}

async function * writtenItems (rosters: AccountRosters, account: Jid): AsyncGenerator<Element> {
  for (const item of (await rosters.of(account)).items()) yield itemElement(item)
}

async function * writtenRequests (rosters: AccountRosters, account: Jid): AsyncGenerator<Element> {
  for (const [contact, { request }] of (await rosters.of(account)).all()) {
    if (request !== undefined) yield fromContact(requestElement(request), contact)
  }
}

/** Imports an item. Throws StanzaError. */
function takeItem (changes: RosterChanges, { account, element, batch, leavesOut }: AccountImporting): Maybe<'handled'> {
  const contact = contactOf(attributeOf(element, 'jid'))
  const state = movedState(element)
  return follow(changes.rosters.of(account), roster => {
    const { request } = roster.stored(contact)
    if (contact.equals(account)) throw new StanzaError('not-allowed', 'an account is not its own contact')
    const item = { ...wantedOf(element, changes.bounds, leavesOut), ...state, listed: true }
    changes.keep(account, roster, contact, request === undefined ? item : { ...item, request }, batch)
    return 'handled' as const
  })
}

/** Imports a pending request. Throws StanzaError. */
function takeRequest (changes: RosterChanges, { account, element, batch }: AccountImporting): Maybe<'handled'> {
  if (attributeOf(element, 'type') !== 'subscribe') throw new StanzaError('bad-request', 'presence that is not a subscription request')
  const from = attributeOf(element, 'from')
  if (from === undefined) throw new StanzaError('bad-request', 'a request without a sender')
  const contact = contactOf(from)
  return follow(changes.rosters.of(account), roster => {
    const old = roster.stored(contact)
    if (hasFrom(old) || contact.equals(account)) throw new StanzaError('not-allowed', 'the sender needs no subscription request')
    const request = requestOf(element, changes.bounds)
    if (!roster.has(contact)) changes.checkSize(roster)
    checkImport(roster.waiting(), contact, request, changes.bounds)
    changes.rosters.change(account, roster, contact, { ...old, request }, batch)
    return 'handled' as const
  })
}

/** Adds the sender to a request (XEP-0227 §4.9). */
function fromContact (request: Element, contact: Jid): Element {
  request.attr('xmlns', NS.CLIENT)
  request.attr('from', contact.toString())
  return request
}

/** Reads the subscription of an item from another server. */
function movedState (item: Element): Pick<StoredItem, 'subscription' | 'ask' | 'approved'> {
  const subscription = attributeOf(item, 'subscription') ?? 'none'
  if (subscription !== 'none' && subscription !== 'to' && subscription !== 'from' && subscription !== 'both') {
    throw new StanzaError('bad-request', 'unknown subscription state')
  }
  const approved = attributeOf(item, 'approved')
  return {
    subscription,
    ask: attributeOf(item, 'ask') === 'subscribe' && !hasTo({ subscription }),
    approved: (approved === 'true' || approved === '1') && !hasFrom({ subscription }),
  }
}
