/** XEP-0227 §4.11: an archive in a file, as the results that a client would get, the oldest first; and out of it again. */
import { createHash } from 'node:crypto'
import {
  addressed, attributeOf, checkedPage, child, fromOctets, JidError, localName, namespaceOf, NS, octets, parseDateTime, parseElement,
  parseJid, Stanza, StanzaError,
} from '../../lib/api.js'
import type { Element, Jid, Journal, Message, NewEntry } from '../../lib/api.js'
import { checkEntry, resultOf } from './query.js'
import { aliasOf } from './retraction.js'
import { textIn } from './worth.js'

/** Entries that are read at a time, and octets of them. */
const PAGE = 200
const MOST_BYTES = 4_194_304
/** Characters of an id that stays as it is. */
const LONGEST_ID = 200

/** Each message of an archive, the oldest first. */
export async function * written (archive: Journal<string>, owner: string): AsyncGenerator<Element> {
  for (let after: string | undefined; ;) {
    const wish = { limit: PAGE, bytes: MOST_BYTES, ...after === undefined ? {} : { after } }
    const page = await checkedPage(archive, owner, () => archive.page(owner, wish), checkEntry)
    for (const entry of page.entries) yield parseElement(octets(resultOf(entry)))
    after = page.entries.at(-1)?.id
    if (page.complete || after === undefined) return
  }
}

/** A message as it is archived, out of a result. Throws StanzaError where it is none, or of a kind that is not archived. */
export function entryIn (result: Element, account: Jid): NewEntry<string> {
  if (namespaceOf(result) !== NS.MAM || localName(result) !== 'result') throw new StanzaError('bad-request', 'not a result of an archive')
  const forwarded = child(result, NS.FORWARD, 'forwarded')
  const element = forwarded === undefined ? undefined : child(forwarded, NS.CLIENT, 'message')
  const delay = forwarded === undefined ? undefined : child(forwarded, NS.DELAY, 'delay')
  if (element === undefined || delay === undefined) throw new StanzaError('bad-request', 'a result without a message, or without its time')
  const message = messageIn(element, account)
  if (message.type !== 'chat' && message.type !== 'normal') throw new StanzaError('bad-request', 'a message of a type that is not archived')
  const at = parseDateTime(attributeOf(delay, 'stamp') ?? '')
  const value = fromOctets(message.octets())
  const contact = message.from.bare.equals(account) ? message.to : message.from
  return { id: idOf(result, `${at} ${value}`), at, with: contact.toString(), value, ...aliasOf(message), ...textIn(message) }
}

/** It keeps its id: clients know it by that. What has none, or one that no archive of ours could have, has one of its content's. */
function idOf (result: Element, content: string): string {
  const id = attributeOf(result, 'id') ?? ''
  return id !== '' && id.length <= LONGEST_ID ? id : createHash('sha256').update(`${id} ${content}`).digest('base64url')
}

/** Without the id that the archive writes in when it sends it. */
function messageIn (element: Element, account: Jid): Message {
  const from = addressIn(element, 'from') ?? account
  const to = addressIn(element, 'to') ?? account
  if (!from.bare.equals(account) && !to.bare.equals(account)) throw new StanzaError('bad-request', 'a message between others')
  const isId = (one: Element): boolean => namespaceOf(one) === NS.STANZA_ID && attributeOf(one, 'by') === account.toString()
  return addressed(new Stanza('message', element, from, to).with({ without: isId }), to)
}

function addressIn (element: Element, name: string): Jid | undefined {
  const text = attributeOf(element, name)
  try {
    return text === undefined ? undefined : parseJid(text)
  } catch (error) {
    if (!(error instanceof JidError)) throw error
    throw new StanzaError('jid-malformed', undefined, { cause: error })
  }
}
