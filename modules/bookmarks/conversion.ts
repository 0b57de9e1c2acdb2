/** Bookmarks of rooms in the forms of XEP-0402 (an item for each room) and XEP-0048 (one list). Pure functions. */
import { attributeOf, child, childElements, children, clone, JidError, namespaceOf, NS, parseJid, textOf, xml } from '../../lib/api.js'
import type { Element } from '../../lib/api.js'

/** A bookmark: the address of the room, which is the id of its item, and the payload of that item. */
export interface Bookmark { readonly room: string, readonly conference: Element }

/** Returns the bookmarks in a list of XEP-0048. What has no valid address is left out. */
export function bookmarksIn (storage: Element): readonly Bookmark[] {
  const found = new Map<string, Bookmark>()
  for (const conference of children(storage, NS.STORAGE_BOOKMARKS, 'conference')) {
    const room = roomOf(attributeOf(conference, 'jid'))
    if (room !== undefined) found.set(room, { room, conference: converted(conference) })
  }
  return [...found.values()]
}

/** Returns the address of a room as it names a bookmark; undefined if it is malformed. */
export function roomOf (text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : parseJid(text).bare.toString()
  } catch (error) {
    if (error instanceof JidError) return undefined
    throw error
  }
}

/** Returns the payload of XEP-0402 for a room in a list of XEP-0048. */
function converted (conference: Element): Element {
  const { name, autojoin, nick, password } = valuesOf(conference)
  return xml('conference', { xmlns: NS.BOOKMARKS, name, autojoin: autojoin ? 'true' : undefined },
    nick === undefined ? undefined : xml('nick', {}, nick),
    password === undefined ? undefined : xml('password', {}, password))
}

interface Values {
  readonly name: string | undefined
  readonly autojoin: boolean
  readonly nick: string | undefined
  readonly password: string | undefined
}

/** Returns what both forms say of a room. */
function valuesOf (conference: Element): Values {
  const namespace = namespaceOf(conference) ?? ''
  const text = (name: string): string | undefined => {
    const element = child(conference, namespace, name)
    return element === undefined ? undefined : textOf(element)
  }
  const autojoin = attributeOf(conference, 'autojoin')
  return {
    name: attributeOf(conference, 'name'), autojoin: autojoin === 'true' || autojoin === '1', nick: text('nick'), password: text('password'),
  }
}

/** True if two payloads say the same of a room, apart from extensions. */
export function isSame (some: Element, other: Element): boolean {
  const [a, b] = [valuesOf(some), valuesOf(other)]
  return a.name === b.name && a.autojoin === b.autojoin && a.nick === b.nick && a.password === b.password
}

/** Returns the new payload with the extensions of the old one, which the old form cannot carry (XEP-0402 §2). */
export function withExtensions (conference: Element, old: Element): Element {
  const extensions = child(old, NS.BOOKMARKS, 'extensions')
  if (extensions !== undefined) conference.cnode(clone(extensions))
  return conference
}

/** Returns the list of XEP-0048 with these bookmarks, and what the former list has besides rooms (links). */
export function storageOf (bookmarks: readonly Bookmark[], former: Element | undefined): Element {
  const others = former === undefined ? [] : childElements(former).filter(one => one.getName() !== 'conference')
  return xml('storage', { xmlns: NS.STORAGE_BOOKMARKS },
    ...bookmarks.map(({ room, conference }) => {
      const { name, autojoin, nick, password } = valuesOf(conference)
      return xml('conference', { jid: room, name, autojoin: autojoin ? 'true' : 'false' },
        nick === undefined ? undefined : xml('nick', {}, nick),
        password === undefined ? undefined : xml('password', {}, password))
    }),
    ...others.map(clone))
}
