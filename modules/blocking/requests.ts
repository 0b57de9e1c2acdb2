/** The requests that read and change a block list (XEP-0191 §3.2 to §3.5), and the pushes that they cause. */
import { attributeOf, children, flag, follow, NS, parseJid, readJid, slot, StanzaError, xml } from '../../lib/api.js'
import type { Element, Jid, Maybe, ModuleHost } from '../../lib/api.js'
import type { BlockLists } from './lists.js'
import { comeBack, leave } from './presence.js'
import { reportIn, type Reports } from './reports.js'

/** XEP-0191 §3.2: true if the session has requested the block list. It then receives pushes. */
const interested = slot('blocking.interested', { initial: () => false, codec: flag })

/** Answers requests for the list, and to block and unblock addresses. */
export function answerRequests (host: ModuleHost, lists: BlockLists, reports: Reports): void {
  host.iq.get('self', NS.BLOCKING, 'blocklist', ({ session }) => follow(lists.of(session.account), list => {
    session.put(interested, true)
    return xml('blocklist', { xmlns: NS.BLOCKING }, ...[...list].map(jid => xml('item', { jid })))
  }))

  host.iq.set('self', NS.BLOCKING, 'block', ({ session: { account }, payload, batch }) => {
    const named = children(payload, NS.BLOCKING, 'item')
    if (named.length === 0) throw new StanzaError('bad-request', 'no address is given') // §3.3
    return follow(addressesOf(host, named), items => follow(lists.of(account), list => {
      const reported = named.flatMap((item, at) => reportIn(item, items[at]) ?? [])
      const fresh = items.filter(jid => !list.has(jid.toString()))
      lists.checkRoom(list, fresh)
      leave(host, account, fresh)
      lists.change(account, list, fresh, true, batch)
      batch.committed(() => {
        push(host, account, payload)
        reports.tell(account, reported)
      })
    }))
  })

  host.iq.set('self', NS.BLOCKING, 'unblock', ({ session: { account }, payload, batch }) => {
    const named = children(payload, NS.BLOCKING, 'item')
    return follow(addressesOf(host, named), items => follow(lists.of(account), list => {
      // §3.5: without an item, all addresses are unblocked
      const gone = items.length === 0 ? [...list].map(parseJid) : items.filter(jid => list.has(jid.toString()))
      lists.change(account, list, gone, false, batch)
      batch.committed(() => {
        push(host, account, payload)
        comeBack(host, account, list, gone)
      })
    }))
  })
}

/** Parses the addresses of items, over several turns of the event loop if there are many. */
function addressesOf (host: ModuleHost, items: readonly Element[]): Maybe<readonly Jid[]> {
  const addresses: Jid[] = []
  return follow(host.router.each(items, item => { addresses.push(addressOf(item)) }), () => addresses)
}

/** Reads the address of an item. Throws StanzaError. */
export function addressOf (item: Element): Jid { return readJid(attributeOf(item, 'jid') ?? '') }

/** Sends what was blocked or unblocked to each interested session (§3.3, §3.5). */
function push (host: ModuleHost, account: Jid, payload: Element): void {
  for (const device of host.sessions.of(account)) {
    if (!device.get(interested)) continue
    const items = children(payload, NS.BLOCKING, 'item').map(item => xml('item', { jid: addressOf(item).toString() }))
    device.send(xml('iq', { type: 'set', id: host.ids.next() }, xml(payload.getName(), { xmlns: NS.BLOCKING }, ...items)))
  }
}
