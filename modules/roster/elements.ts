/** Roster items as XML (RFC 6121 §2.1.2). */
import { attributeOf, children, flatten, NS, StanzaError, textOf, xml } from '../../lib/api.js'
import type { Element, RosterItem } from '../../lib/api.js'

/** Writes an item. */
export function itemElement (item: RosterItem): Element {
  const attributes: Record<string, string> = { jid: item.jid.toString(), subscription: item.subscription }
  if (item.name !== '') attributes['name'] = item.name
  if (item.ask) attributes['ask'] = 'subscribe'
  if (item.approved) attributes['approved'] = 'true'
  return xml('item', attributes, ...item.groups.map(group => xml('group', {}, group)))
}

/** The most bytes of a name, and the most groups of a contact. */
interface Bounds { readonly bytesPerName: number, readonly groupsPerContact: number }

/**
 * Reads name and groups of an item, and throws StanzaError for a client's errors (§2.3.3). With `leavesOut`, the item
 * is an import: empty and repeated groups, which some servers allowed, are left out and reported.
 */
export function wantedOf (item: Element, bounds: Bounds, leavesOut?: (what: string) => void): Pick<RosterItem, 'name' | 'groups'> {
  // Copied, because they stay in memory and must not keep their input buffer.
  const name = flatten(attributeOf(item, 'name') ?? '')
  const named = children(item, NS.ROSTER, 'group').map(group => flatten(textOf(group)))
  const groups = leavesOut === undefined ? named : [...new Set(named)].filter(group => group !== '')
  if (leavesOut !== undefined && groups.length < named.length) {
    leavesOut(`${attributeOf(item, 'jid') ?? ''}: groups that are empty or named twice are left out, the contact is taken`)
  }
  if ([name, ...groups].some(text => Buffer.byteLength(text) > bounds.bytesPerName)) throw new StanzaError('not-acceptable', 'a name is too long')
  if (groups.includes('')) throw new StanzaError('not-acceptable', 'a group needs a name')
  if (groups.length > bounds.groupsPerContact) throw new StanzaError('not-acceptable', 'too many groups')
  if (new Set(groups).size < groups.length) throw new StanzaError('bad-request', 'a group is named twice')
  return { name, groups }
}
