/** Export and import of stored messages (XEP-0227 §4.5). */
import {
  accountExporting, accountImporting, attributeOf, children, clone, fromOctets, isFirstInBatch, jidAt, localName,
  namespaceOf, NS, octets, parseElement, Stanza, StanzaError, xml,
} from '../../lib/api.js'
import type { Element, Entry, Jid, ModuleHost } from '../../lib/api.js'
import { createHash } from 'node:crypto'
import { delayed, timeOf } from './delay.js'
import type { OfflineStore } from './store.js'

/** Exports stored messages, and imports them. */
export function moveMessages (host: ModuleHost, store: OfflineStore): void {
  host.on(accountExporting, ({ account, add }) => { add(written(host.domain, store, account), xml('offline-messages', { xmlns: NS.PIE })) })

  host.on(accountImporting, async ({ account, element, within, batch }) => {
    if (within?.namespace !== NS.PIE || within.name !== 'offline-messages') return undefined
    const entry = movedEntry(element, host.domain, host.clock.now())
    // The id is a digest of the content: an import that runs twice adds the message once.
    if (!isFirstInBatch(batch, 'offline.messages', account.toString(), entry.id)) return 'handled'
    if (!await store.has(account, entry.id)) store.keep(account, await store.amountOf(account), entry, batch)
    return 'handled'
  })
}

async function * written (domain: string, store: OfflineStore, account: Jid): AsyncGenerator<Element> {
  for await (const entry of store.all(account)) yield parseElement(delayed(domain, entry, account).octets())
}

/** Makes an entry from an imported message, as if the message had been stored here. */
function movedEntry (element: Element, domain: string, now: number): Entry<string> {
  if (namespaceOf(element) !== NS.CLIENT || localName(element) !== 'message') throw new StanzaError('bad-request', 'not a message')
  const [from, to] = [jidAt(element, 'from'), jidAt(element, 'to')]
  if (from === undefined) throw new StanzaError('bad-request', 'a message without a sender')
  const { type } = new Stanza('message', element, from, to)
  if (type !== 'chat' && type !== 'normal') throw new StanzaError('bad-request', 'a message of a type that is not stored')
  const delays = [...children(element, NS.DELAY, 'delay'), ...children(element, NS.DELAY_LEGACY, 'x')]
  // The time is taken from the delay that the former server wrote. A new delay replaces it on delivery.
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
