/** Delays (XEP-0203): the time at which a stored message arrived. */
import {
  addressed, attributeOf, formatDateTime, namespaceOf, NS, parseDateTime, parseElement, parseJid, Stanza, toOctets, xml,
} from '../../lib/api.js'
import type { Element, Entry, Jid, Message } from '../../lib/api.js'

/** The time format of XEP-0091 §3. */
const LEGACY_TIME = /^(\d{4})(\d{2})(\d{2})T(\d{2}:\d{2}:\d{2})$/

/** Returns the time of a delay, in milliseconds since 1970. Throws StanzaError if it has none. */
export function timeOf (delay: Element): number {
  return parseDateTime((attributeOf(delay, 'stamp') ?? '').replace(LEGACY_TIME, '$1-$2-$3T$4Z'))
}

/**
 * Makes the message of an entry, with a delay from this server that says when it arrived (XEP-0203 §2). A delay that
 * the sender wrote stays. Throws if the entry is no message.
 */
export function delayed (domain: string, entry: Entry<string>, account: Jid): Message {
  const element = parseElement(toOctets(entry.value))
  const to = recipientOf(element, account)
  const delay = xml('delay', { xmlns: NS.DELAY, from: domain, stamp: formatDateTime(entry.at) })
  return addressed(new Stanza('message', element, parseJid(entry.with), to).with({ plus: [delay] }), to)
}

/** Removes the delay that was added when the message was stored before, and returns its time; `at` if there is none. */
export function undelayed (
  domain: string, message: Message, at: number,
): { readonly message: Message, readonly at: number } {
  const isOurs = (element: Element): boolean => namespaceOf(element) === NS.DELAY && attributeOf(element, 'from') === domain
  const delay = [...message.children()].find(isOurs)
  if (delay === undefined) return { message, at }
  return { message: addressed(message.with({ without: isOurs }), message.to), at: timeOf(delay) }
}

function recipientOf (element: Element, account: Jid): Jid {
  const to = attributeOf(element, 'to')
  return to === undefined ? account : parseJid(to)
}
