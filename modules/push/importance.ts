/** What somebody is to be woken up for. */
import { addressed, attributeOf, isMessage, namespaceOf, NS, original, parseElement, parseJid, Stanza, textOf } from '../../lib/api.js'
import type { Jid, Message, Urgency } from '../../lib/api.js'

/** 'call': it rings. 'message': it is to be read. */
export type Importance = 'call' | 'message'

/** What is asked about a message. */
export interface Questions {
  urgencyOf (stanza: Stanza): Urgency
  /** What of a room's talk counts. */
  readonly rooms: 'never' | 'mentions' | 'all'
  /** What the account is called in this room. */
  nickIn (room: Jid): string | undefined
}

/** Of a message that has come for the account; undefined: it can wait. What a device itself has sent is no news to another. */
export function importanceOf (message: Message, account: Jid, questions: Questions): Importance | undefined {
  if (message.from.bare.equals(account) || message.type === 'error') return undefined
  if (message.type === 'groupchat') return isSaidToUs(message, account, questions) ? 'message' : undefined
  if (questions.urgencyOf(message) !== 'now') return undefined
  if (message.has(NS.JINGLE_MESSAGE, 'propose')) return 'call'
  // The rest of what is said around a call concerns a device that knows of it.
  return message.has(NS.JINGLE_MESSAGE) && !message.has(NS.CLIENT, 'body') ? undefined : 'message'
}

/** The message that was written out for a device, itself or as a copy (XEP-0280); undefined where it was none that had come. */
export function messageIn (text: string): Message | undefined {
  const element = parseElement(text)
  const [from, to] = [attributeOf(element, 'from'), attributeOf(element, 'to')]
  if (element.getName() !== 'message' || from === undefined || to === undefined) return undefined
  const recipient = parseJid(to)
  const stanza = new Stanza('message', element, parseJid(from), recipient)
  return isMessage(stanza) ? original(addressed(stanza, recipient)) : undefined
}

/** The id under which the account's archive has it (XEP-0359): only the server itself can have written that. */
export function archivedAs (message: Message, account: Jid): string | undefined {
  for (const element of message.children()) {
    const isMark = namespaceOf(element) === NS.STANZA_ID && element.getName() === 'stanza-id'
    if (isMark && attributeOf(element, 'by') === account.toString()) return attributeOf(element, 'id')
  }
  return undefined
}

/** The words of it that may be shown; of what is encrypted they say only that. */
export function bodyOf (message: Message): string | undefined {
  if (ENCRYPTED.some(namespace => message.has(namespace))) return undefined
  const body = message.child(NS.CLIENT, 'body')
  return body === undefined ? undefined : textOf(body)
}

const ENCRYPTED: readonly string[] = [NS.ENCRYPTION, NS.OMEMO, NS.OMEMO_LEGACY, NS.OPENPGP]

function isSaidToUs (message: Message, account: Jid, questions: Questions): boolean {
  const { rooms } = questions
  const body = message.child(NS.CLIENT, 'body')
  // What was said before the device came in is history.
  if (rooms === 'never' || body === undefined && !message.has(NS.OMEMO) && !message.has(NS.OMEMO_LEGACY) || message.has(NS.DELAY, 'delay')) return false
  const nick = questions.nickIn(message.from.bare)
  if (nick !== undefined && nick === message.from.resource) return false // what we have said ourselves
  if (rooms === 'all') return true
  return isReferred(message, account, nick) || nick !== undefined && body !== undefined && hasWord(textOf(body), nick)
}

/** XEP-0372 §3: a mention, by the account's address or by the name in the room. */
function isReferred (message: Message, account: Jid, nick: string | undefined): boolean {
  const wanted = [`xmpp:${account.toString()}`, ...nick === undefined ? [] : [`xmpp:${message.from.bare.toString()}/${nick}`]]
  for (const element of message.children()) {
    if (namespaceOf(element) !== NS.REFERENCE || attributeOf(element, 'type') !== 'mention') continue
    const uri = (attributeOf(element, 'uri') ?? '').split('?')[0] ?? ''
    if (wanted.includes(uri) || wanted.includes(decoded(uri))) return true
  }
  return false
}

/** RFC 5122 §2.2: an address in a URI is percent-encoded. */
function decoded (uri: string): string {
  try {
    return decodeURIComponent(uri)
  } catch (error) {
    if (error instanceof URIError) return uri
    throw error
  }
}

function hasWord (text: string, word: string): boolean {
  const [where, what] = [text.toLowerCase(), word.toLowerCase()]
  if (what === '') return false
  for (let at = where.indexOf(what); at >= 0; at = where.indexOf(what, at + what.length)) {
    if (!isWordy(where, at - 1) && !isWordy(where, at + what.length)) return true
  }
  return false
}

/** Between letters and digits a name is part of another word. */
function isWordy (text: string, at: number): boolean { return /[\p{L}\p{N}_]/u.test(text.charAt(at)) }
