/** How a client follows the affiliations of a room, and what it lacks that knows an older version (XEP-0463). */
import { NS, stanza, StanzaError, xml } from '../../lib/api.js'
import type { Addressed, Element, Jid } from '../../lib/api.js'
import type { Belonging, Room } from './room.js'
import { isRuling, type Affiliation } from './standing.js'
import type { Step } from './versions.js'

/** The most items of one message. */
const MOST_ITEMS = 200

/** Changes what is known of somebody. Returns the step to the new version; undefined if the affiliation stays. */
export function changeBelonging (room: Room, who: string, belonging: Belonging): Step | undefined {
  const since = room.versions.current
  room.belong(who, belonging)
  const until = room.versions.current
  return since === until ? undefined : { since, until }
}

/** Returns the element of a step, or of the current version. */
export function stepElement ({ since, until }: Step): Element {
  return xml('mav', { xmlns: NS.MUC_AFFILIATIONS, since, until })
}

/** §4: true for somebody who may read all affiliations but those of the banned. */
export function mayFollow (room: Room, jid: Jid): boolean {
  return (['owner', 'admin', 'member'] as const).every(affiliation => room.mayReadList(jid, affiliation))
}

/**
 * Yields what somebody lacks who enters and knows the version `since`, or none (§4.2). The banned are only for those
 * who may read the list of them. `id`: that of the presence, for the error of somebody who may not read the lists.
 */
export function * changesFor (
  room: Room, to: Jid, since: string | undefined, id: string | undefined,
): Generator<Addressed> {
  if (!mayFollow(room, to)) {
    yield stanza(xml('message', { type: 'error', id }, new StanzaError('forbidden').element(room.owner)), room.address, to)
    return
  }
  const { current } = room.versions
  const changed = since === undefined ? undefined : room.versions.since(since)
  const seesBanned = isRuling(room.affiliationOf(to))
  const items = changed === undefined ? allOf(room, seesBanned) : changedOf(changed, seesBanned)
  if (changed !== undefined && items.length === 0) return
  let before = changed === undefined ? undefined : since
  for (let at = 0; at === 0 || at < items.length; at += MOST_ITEMS) {
    const until = at + MOST_ITEMS < items.length ? `${current}/${at + MOST_ITEMS}` : current
    const x = xml('x', { xmlns: NS.MUC_USER }, stepElement({ ...before === undefined ? {} : { since: before }, until }),
      ...items.slice(at, at + MOST_ITEMS).map(([jid, affiliation]) => xml('item', { jid, affiliation })))
    yield stanza(xml('message', {}, x), room.address, to)
    before = until
  }
}

type Item = readonly [jid: string, affiliation: Affiliation]

function allOf (room: Room, seesBanned: boolean): readonly Item[] {
  return [...room.belongings].flatMap(([who, { affiliation }]): readonly Item[] =>
    affiliation === 'none' || affiliation === 'outcast' && !seesBanned ? [] : [[who, affiliation]])
}

/** Who is banned is nothing to the room, for those who may not know. */
function changedOf (changed: ReadonlyMap<string, Affiliation>, seesBanned: boolean): readonly Item[] {
  return [...changed].map(([who, affiliation]) => [who, affiliation === 'outcast' && !seesBanned ? 'none' : affiliation])
}
