/** Summaries of attachments (XEP-0470 §4.6 to §4.8): counts, which each change of one attachment adjusts. */
import { attributeOf, child, children, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'
import { parsedPayload, type Item } from './items.js'

/** The most reactions of one publisher, the most bytes of a reaction, and the most different ones to an item. */
const MOST_OF_ONE = 20
const LONGEST = 64
const MOST = 200

/** How many have noticed an item, and how many have reacted with which emoji. */
export interface Tally { readonly noticed: number, readonly reactions: ReadonlyMap<string, number> }

export const NOTHING: Tally = { noticed: 0, reactions: new Map() }

/** Returns what one attachment counts for. Throws StanzaError if its reactions are too many or too long. */
export function checkedTally (attachments: Element): Tally {
  const tally = tallyOf(attachments)
  const all = [...tally.reactions.keys()]
  if (all.length > MOST_OF_ONE || all.some(one => Buffer.byteLength(one) > LONGEST)) {
    throw new StanzaError('not-acceptable', 'too many reactions, or one that is too long')
  }
  return tally
}

/** Returns what a stored attachment counts for. */
export function tallyOfItem (item: Item | undefined): Tally {
  return item?.payload === undefined ? NOTHING : tallyOf(parsedPayload(item.payload))
}

function tallyOf (attachments: Element): Tally {
  const reactions = new Set<string>()
  for (const one of children(attachments, NS.ATTACHMENTS, 'reactions')) {
    for (const reaction of children(one, NS.ATTACHMENTS, 'reaction')) reactions.add(textOf(reaction).trim())
  }
  reactions.delete('')
  const noticed = child(attachments, NS.ATTACHMENTS, 'noticed') === undefined ? 0 : 1
  return { noticed, reactions: new Map([...reactions].map(one => [one, 1])) }
}

/** Returns the counts of a stored summary. */
export function tallyOfSummary (item: Item | undefined): Tally {
  if (item?.payload === undefined) return NOTHING
  const summary = parsedPayload(item.payload)
  const noticed = child(summary, NS.ATTACHMENTS_SUMMARY, 'noticed')
  const reactions = child(summary, NS.ATTACHMENTS_SUMMARY, 'reactions')
  const counted = reactions === undefined ? [] : children(reactions, NS.ATTACHMENTS_SUMMARY, 'reaction')
  return {
    noticed: noticed === undefined ? 0 : countIn(noticed),
    reactions: new Map(counted.map(one => [textOf(one), countIn(one)])),
  }
}

/** Returns a stored count; 1 if it was damaged, or is the 1 that is not written. */
function countIn (counted: Element): number {
  const count = Number(attributeOf(counted, 'count') ?? 1)
  return Number.isSafeInteger(count) && count > 0 ? count : 1
}

/** Returns the sum without `old`, and with `now`. Throws StanzaError if there are too many different reactions. */
export function adjusted (sum: Tally, old: Tally, now: Tally): Tally {
  const reactions = new Map(sum.reactions)
  for (const one of old.reactions.keys()) {
    const left = (reactions.get(one) ?? 0) - 1
    if (left > 0) reactions.set(one, left)
    else reactions.delete(one)
  }
  for (const one of now.reactions.keys()) reactions.set(one, (reactions.get(one) ?? 0) + 1)
  if (reactions.size > MOST && reactions.size > sum.reactions.size) {
    throw new StanzaError('not-acceptable', 'the item has too many different reactions')
  }
  return { noticed: Math.max(0, sum.noticed - old.noticed + now.noticed), reactions }
}

/** Returns the payload of a summary; undefined if there is nothing to count. */
export function summaryElement ({ noticed, reactions }: Tally): Element | undefined {
  if (noticed === 0 && reactions.size === 0) return undefined
  return xml('summary', { xmlns: NS.ATTACHMENTS_SUMMARY },
    noticed === 0 ? undefined : xml('noticed', { count: noticed }),
    reactions.size === 0 ? undefined : xml('reactions', {}, ...[...reactions].map(([one, count]) =>
      xml('reaction', { count: count === 1 ? undefined : count }, one))))
}
