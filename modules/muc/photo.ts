/** The picture in the vCard of a room (XEP-0153 §3, XEP-0486). */
import { child, NS, parseElement, textOf, toOctets } from '../../lib/api.js'
import { createHash } from 'node:crypto'

/** Returns the SHA-1 hash of the picture in a stored vCard; '' if there is none. */
export function avatarHash (card: string): string {
  const photo = child(parseElement(toOctets(card)), NS.VCARD, 'PHOTO')
  const binary = photo === undefined ? undefined : child(photo, NS.VCARD, 'BINVAL')
  const text = binary === undefined ? '' : textOf(binary).replace(/\s+/g, '')
  return text === '' ? '' : createHash('sha1').update(Buffer.from(text, 'base64')).digest('hex')
}
