/** Forwards messages to those who belong to a room and are mentioned while they are not in it (XEP-0452). */
import { attributeOf, child, follow, formatDateTime, forwarded, localName, namespaceOf, NS, parseJid, stanza, xml } from '../../lib/api.js'
import type { Addressed, Element, Jid, Maybe, Stanza, ToEntity } from '../../lib/api.js'
import type { Room } from './room.js'
import type { MucService } from './service.js'
import { isMember } from './standing.js'

/** The most mentions of one message that the room looks at. */
const MOST = 20

/** True for a message that mentions somebody, whether the room knows them or not. */
export function mentions (message: Stanza<'message'>): boolean {
  for (const element of message.children()) if (isMention(element)) return true
  return false
}

/** Forwards a message, as the room sends it, with the batch of its arrival. Who has sent it pays for each copy. */
export function forwardMentions (
  service: MucService, room: Room, { stanza: { from }, batch, payer }: ToEntity<'message'>, message: Addressed<'message'>,
): Maybe<void> {
  if (!room.config.forwardsMentions) return undefined
  const mentioning = mentionsIn(message)
  if (mentioning.length === 0) return undefined
  const hasIds = mentioning.some(one => occupantIdIn(one) !== undefined)
  const learnt = hasIds ? room.learnIds(service.host.router.each) : undefined
  return follow(learnt, () => {
    const absent = absentOf(room, mentioning)
    if (absent.length === 0) return
    payer?.charge(absent.length, from)
    const delay = xml('delay', { xmlns: NS.DELAY, stamp: formatDateTime(service.now) })
    const copy = xml('message', { id: service.host.ids.next() },
      xml('mentions', { xmlns: NS.MENTIONS_FORWARDED }, forwarded(message, [delay])), xml('store', { xmlns: NS.HINTS }))
    service.broadcast(room, batch, stanza(copy, room.address, room.address), absent)
  })
}

/** Returns the mentions of a message that the room looks at. */
function mentionsIn (message: Stanza<'message'>): readonly Element[] {
  const found: Element[] = []
  for (const element of message.children()) {
    if (found.length === MOST) break
    if (isMention(element)) found.push(element)
  }
  return found
}

/** Returns the bare addresses of those who are mentioned, belong to the room, and are not in it. */
function absentOf (room: Room, mentioning: readonly Element[]): readonly Jid[] {
  const found = new Map<string, Jid>()
  for (const element of mentioning) {
    const jid = mentioned(room, element)
    if (jid === undefined || !isMember(room.affiliationOf(jid)) || room.ofUser(jid).length > 0) continue
    found.set(jid.toString(), jid)
  }
  return [...found.values()]
}

/** True for a mention of one user: XEP-0372 §3.2, or XEP-0513 §3.1 unless nobody is to be notified (§5.2). */
function isMention (element: Element): boolean {
  switch (namespaceOf(element)) {
    case NS.REFERENCE: return localName(element) === 'reference' && attributeOf(element, 'type') === 'mention'
    case NS.MENTIONS: return localName(element) === 'mention' && attributeOf(element, 'mentions') === undefined &&
      child(element, NS.MENTIONS, 'noping') === undefined
    default: return false
  }
}

function occupantIdIn (mention: Element): string | undefined {
  return namespaceOf(mention) === NS.MENTIONS ? attributeOf(mention, 'occupantid') : undefined
}

/** Returns the bare address of the user that is mentioned; undefined if it is none that the room knows. */
function mentioned (room: Room, element: Element): Jid | undefined {
  const id = occupantIdIn(element)
  if (id !== undefined) return room.withId(id)
  const jid = addressIn(attributeOf(element, namespaceOf(element) === NS.MENTIONS ? 'jid' : 'uri') ?? '')
  return jid?.bare.equals(room.address) === true ? room.withReservedNick(jid.resource) : jid?.bare
}

/** Reads an address, or the URI of one (RFC 5122). Undefined if it is neither. */
function addressIn (text: string): Jid | undefined {
  const [, path = ''] = /^(?:xmpp:)?([^?#]+)/i.exec(text) ?? []
  try {
    return parseJid(/^xmpp:/i.test(text) ? decodeURIComponent(path) : path)
  } catch {
    return undefined // whoever wrote it, it is no address
  }
}
