/** XEP-0227 §4.11: writes an archive to a file as query results, the oldest first, and reads it back. */
import {
  accountExporting, accountImporting, addressed, attributeOf, child, fromOctets, isArchiveId, isFirstInBatch,
  jidAt, localName, namespaceOf, NS, octets, parseDateTime, parseElement, Stanza, StanzaError, xml,
} from '../../lib/api.js'
import type { Element, Jid, Message, ModuleHost, NewEntry } from '../../lib/api.js'
import { createHash } from 'node:crypto'
import type { Archiver } from './archiver.js'
import { preferencesElement } from './preferences.js'
import { resultOf, type Archive } from './query.js'
import { aliasOf } from './retraction.js'
import { wishIn, type Wishes } from './wishes.js'
import { textIn } from './worth.js'

/** The number of entries read at a time, and their bytes. */
const PAGE = 200
const MOST_BYTES = 4_194_304
/** The longest id that an import keeps, in characters. */
const LONGEST_ID = 200

/** Exports archives and preferences, and imports them. */
export function moveArchives (host: ModuleHost, archive: Archive, archiver: Archiver, wishes: Wishes): void {
  host.on(accountExporting, ({ account, add }) => {
    add(written(archive, account.toString()), xml('archive', { xmlns: NS.PIE_MAM }))
    add(writtenPreferences(wishes, account))
  })

  host.on(accountImporting, async ({ account, element, within, batch }) => {
    if (within === undefined && namespaceOf(element) === NS.MAM && localName(element) === 'prefs') {
      wishes.take(account, await wishIn(host, element), batch)
      return 'handled'
    }
    if (within?.namespace !== NS.PIE_MAM || within.name !== 'archive') return undefined
    const entry = entryIn(element, account)
    // An import that runs twice adds the message once.
    const isFresh = isFirstInBatch(batch, 'mam.messages', account.toString(), entry.id)
    if (isFresh && !(await archiver.has(account, [entry.id])).has(entry.id)) archiver.take(account, entry, batch)
    return 'handled'
  })
}

async function * writtenPreferences (wishes: Wishes, account: Jid): AsyncGenerator<Element> {
  const wish = await wishes.stored(account)
  if (wish !== undefined) yield preferencesElement(wish)
}

/** Yields each message of an archive, the oldest first. */
async function * written (archive: Archive, owner: string): AsyncGenerator<Element> {
  for (let after: string | undefined; ;) {
    const wish = { limit: PAGE, bytes: MOST_BYTES, ...after === undefined ? {} : { after } }
    const page = await archive.page(owner, wish)
    for (const entry of page.entries) yield parseElement(octets(resultOf(entry)))
    after = page.entries.at(-1)?.id
    if (page.complete || after === undefined) return
  }
}

/**
 * Reads an archive entry from a result. Throws StanzaError if it holds no message, or one of a type that is not
 * archived.
 */
function entryIn (result: Element, account: Jid): NewEntry<string> {
  if (namespaceOf(result) !== NS.MAM || localName(result) !== 'result') throw new StanzaError('bad-request', 'not an archive result')
  const forwarded = child(result, NS.FORWARD, 'forwarded')
  const element = forwarded === undefined ? undefined : child(forwarded, NS.CLIENT, 'message')
  const delay = forwarded === undefined ? undefined : child(forwarded, NS.DELAY, 'delay')
  if (element === undefined || delay === undefined) throw new StanzaError('bad-request', 'a result without a message or its time')
  const message = messageIn(element, account)
  if (message.type !== 'chat' && message.type !== 'normal') throw new StanzaError('bad-request', 'a message of a type that is not archived')
  const at = parseDateTime(attributeOf(delay, 'stamp') ?? '')
  const value = fromOctets(message.octets())
  const contact = message.from.bare.equals(account) ? message.to : message.from
  return { id: idOf(result, `${at} ${value}`), at, with: contact.toString(), value, ...aliasOf(message), ...textIn(message) }
}

/**
 * Returns the entry's id, by which clients know the message. An empty or overlong id is replaced by a digest of the
 * content.
 */
function idOf (result: Element, content: string): string {
  const id = attributeOf(result, 'id') ?? ''
  return id !== '' && id.length <= LONGEST_ID ? id : createHash('sha256').update(`${id} ${content}`).digest('base64url')
}

/** Reads the message, without the archive id, which is added again when the message is sent. */
function messageIn (element: Element, account: Jid): Message {
  const from = jidAt(element, 'from') ?? account
  const to = jidAt(element, 'to') ?? account
  if (!from.bare.equals(account) && !to.bare.equals(account)) throw new StanzaError('bad-request', 'a message between two other addresses')
  const isId = (one: Element): boolean => isArchiveId(one, account)
  return addressed(new Stanza('message', element, from, to).with({ without: isId }), to)
}
