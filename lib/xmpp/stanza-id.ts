/** Stanza ids (XEP-0359): the id that an archive gave a message. */
import { attributeOf, localName, namespaceOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import type { Jid } from './jid.js'

/** True for the id that this archive (an account, a room) gave a message. */
export function isArchiveId (element: Element, archive: Jid): boolean {
  return namespaceOf(element) === NS.STANZA_ID && localName(element) === 'stanza-id' &&
    attributeOf(element, 'by') === archive.toString()
}

/**
 * Returns the id that this archive gave a message with these children; undefined if there is none. In a message that
 * was delivered here, only this server can have written the id of a local account's archive: forged ones are removed
 * at the border (lib/host/forged.ts).
 */
export function archiveIdIn (children: Iterable<Element>, archive: Jid): string | undefined {
  for (const element of children) if (isArchiveId(element, archive)) return attributeOf(element, 'id')
  return undefined
}
