/** Decides which messages a device is woken up for. */
import {
  addressed, attributeOf, isEncrypted, isMessage, messageToRedeliver, namespaceOf, NS, parseElement, parseJid, Stanza,
  textOf,
} from '../../lib/api.js'
import type { Jid, Message, Urgency } from '../../lib/api.js'
import { roomsFor, type Rooms, type Wish } from './wishes.js'

/** 'call': the device rings. 'message': there is something to read. */
export type Importance = 'call' | 'message'

/** The functions and settings that importanceOf uses. */
export interface Questions {
  urgencyOf (stanza: Stanza): Urgency
  /** Which messages of a group chat count. */
  readonly rooms: Rooms
  /** When the user wants to be notified of the chat; undefined if the user has not chosen. */
  readonly wish: Wish | undefined
  /** Returns the account's nickname in a room, if it is known. */
  nickIn (room: Jid): string | undefined
}

/**
 * Returns the importance of a message that arrived for the account; undefined if no device needs to be woken. A message
 * that a device of the account sent is never important.
 */
export function importanceOf (message: Message, account: Jid, questions: Questions): Importance | undefined {
  if (message.from.bare.equals(account) || message.type === 'error') return undefined
  if (message.type === 'groupchat') return isSaidToUs(message, account, questions) ? 'message' : undefined
  if (questions.urgencyOf(message) !== 'now') return undefined
  if (message.has(NS.JINGLE_MESSAGE, 'propose')) return 'call'
  // Other call signalling concerns only the device that is in the call.
  if (message.has(NS.JINGLE_MESSAGE) && !message.has(NS.CLIENT, 'body')) return undefined
  // Calls ring also in a chat whose messages notify of nothing.
  const isWanted = questions.wish !== 'never' && (questions.wish !== 'on-mention' || isReferred(message, account, undefined))
  return isWanted ? 'message' : undefined
}

/**
 * Parses a message as it was written for a device, and unwraps a carbon copy (XEP-0280); undefined if it is no received
 * message.
 */
export function messageIn (text: string): Message | undefined {
  const element = parseElement(text)
  const [from, to] = [attributeOf(element, 'from'), attributeOf(element, 'to')]
  if (element.getName() !== 'message' || from === undefined || to === undefined) return undefined
  const recipient = parseJid(to)
  const stanza = new Stanza('message', element, parseJid(from), recipient)
  return isMessage(stanza) ? messageToRedeliver(addressed(stanza, recipient)) : undefined
}

/** Returns the body that may be shown; undefined if the message is encrypted, for its body only says that. */
export function bodyOf (message: Message): string | undefined {
  if (isEncrypted(message)) return undefined
  const body = message.child(NS.CLIENT, 'body')
  return body === undefined ? undefined : textOf(body)
}

function isSaidToUs (message: Message, account: Jid, questions: Questions): boolean {
  const rooms = roomsFor(questions.rooms, questions.wish)
  const body = message.child(NS.CLIENT, 'body')
  // A message with a delay is history from before the device joined.
  if (rooms === 'never' || body === undefined && !isEncrypted(message) || message.has(NS.DELAY, 'delay')) return false
  const nick = questions.nickIn(message.from.bare)
  if (nick !== undefined && nick === message.from.resource) return false // the account's own message
  if (rooms === 'all') return true
  return isReferred(message, account, nick) || nick !== undefined && body !== undefined && hasWord(textOf(body), nick)
}

/** XEP-0372 §3: true if a mention refers to the account's address or to its occupant address in the room. */
function isReferred (message: Message, account: Jid, nick: string | undefined): boolean {
  const wanted = [`xmpp:${account.toString()}`, ...nick === undefined ? [] : [`xmpp:${message.from.bare.toString()}/${nick}`]]
  for (const element of message.children()) {
    if (namespaceOf(element) !== NS.REFERENCE || attributeOf(element, 'type') !== 'mention') continue
    const uri = (attributeOf(element, 'uri') ?? '').split('?')[0] ?? ''
    if (wanted.includes(uri) || wanted.includes(decoded(uri))) return true
  }
  return false
}

/** Decodes an address in a URI (RFC 5122 §2.2). */
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

/** True for a letter, digit or underscore: next to one, the nickname is part of another word. */
function isWordy (text: string, at: number): boolean { return /[\p{L}\p{N}_]/u.test(text.charAt(at)) }
