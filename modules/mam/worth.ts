/** What belongs into a user's archive (XEP-0313 §5.1, XEP-0334 §4): conversations, and what supplements them. */
import { namespaceOf, NS, textOf } from '../../lib/api.js'
import type { Element, Message } from '../../lib/api.js'

/** Whether the account wants to find it later. Rooms keep their own history; headlines and errors are for now. */
export function isWorthArchiving (message: Message): boolean {
  if (message.type !== 'chat' && message.type !== 'normal') return false
  if (message.has(NS.MAM, 'result')) return false // a page of an archive elsewhere, for the one who asked for it
  if (message.has(NS.HINTS, 'no-store') || message.has(NS.HINTS, 'no-permanent-store')) return false
  if (message.has(NS.HINTS, 'store')) return true
  return [...message.children()].some(isContent)
}

/** What a search finds it by: its bodies and its subject. Of what is encrypted the body says only that. */
export function textIn (message: Message): { readonly text?: string } {
  if (ENCRYPTED.some(namespace => message.has(namespace))) return {}
  const texts = [...message.children()].filter(isText).map(textOf)
  return texts.length === 0 ? {} : { text: texts.join('\n') }
}

const ENCRYPTED: readonly string[] = [NS.ENCRYPTION, NS.OMEMO, NS.OMEMO_LEGACY]

/** What alone means nothing later: chat states, news of nodes, and what only says something of the message. */
const PASSING: ReadonlySet<string | undefined> = new Set([
  NS.CHAT_STATES, NS.PUBSUB_EVENT, NS.HINTS, NS.STANZA_ID, NS.DELAY, NS.DELAY_LEGACY, NS.CARBONS,
])

function isContent (element: Element): boolean {
  const namespace = namespaceOf(element)
  return namespace === NS.CLIENT ? isText(element) : !PASSING.has(namespace)
}

function isText (element: Element): boolean {
  return namespaceOf(element) === NS.CLIENT && (element.getName() === 'body' || element.getName() === 'subject')
}
