/** Decides which messages are archived (XEP-0313 §5.1, XEP-0334 §4): conversations, and messages that refer to them. */
import { isEncrypted, namespaceOf, NS, storingOf, textOf } from '../../lib/api.js'
import type { Element, Message } from '../../lib/api.js'

/**
 * True if the account will want the message later. Rooms have their own archives; headlines and errors are not kept.
 */
export function isWorthArchiving (message: Message): boolean {
  if (message.type !== 'chat' && message.type !== 'normal') return false // XEP-0313 §5.1
  const { noStore, noPermanentStore, store, isResult, holds } = storingOf(message)
  if (noStore || noPermanentStore || isResult) return false // XEP-0334 §4.1: an archive is a permanent store
  return store || holds === 'content'
}

/**
 * Returns the text for full-text search: bodies and subject. An encrypted message has none; its body only says that it
 * is encrypted.
 */
export function textIn (message: Message): { readonly text?: string } {
  if (isEncrypted(message)) return {}
  const texts = [...message.children()].filter(isText).map(textOf)
  return texts.length === 0 ? {} : { text: texts.join('\n') }
}

function isText (element: Element): boolean {
  return namespaceOf(element) === NS.CLIENT && (element.getName() === 'body' || element.getName() === 'subject')
}
