/** The picture in a vCard (XEP-0153 §4), and in the nodes of an avatar (XEP-0084 §4). Pure functions. */
import { attributeOf, child, childElements, children, NS, textOf, xml } from '../../lib/api.js'
import type { Element } from '../../lib/api.js'
import { createHash } from 'node:crypto'

/** A picture, and its media type if that is known. */
export interface Photo { readonly data: Buffer, readonly type: string | undefined }

const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/

/** Returns the picture in this text; undefined if it is not base64. White space is ignored (XEP-0153 §4.5). */
export function decoded (text: string): Buffer | undefined {
  const joined = text.replace(/\s+/g, '')
  return BASE64.test(joined) ? Buffer.from(joined, 'base64') : undefined
}

/** Returns the hash that names a picture: its SHA-1 in hexadecimal digits. */
export function hashOf (data: Buffer): string { return createHash('sha1').update(data).digest('hex') }

/** Returns the picture in a vCard; undefined if it has none. */
export function photoIn (card: Element | undefined): Photo | undefined {
  const photo = card === undefined ? undefined : child(card, NS.VCARD, 'PHOTO')
  const binary = photo === undefined ? undefined : child(photo, NS.VCARD, 'BINVAL')
  const data = binary === undefined ? undefined : decoded(textOf(binary))
  if (photo === undefined || data === undefined) return undefined
  const type = child(photo, NS.VCARD, 'TYPE')
  return { data, type: type === undefined ? undefined : textOf(type).trim() }
}

/** Returns the vCard with this picture, or without one. */
export function withPhoto (card: Element | undefined, photo: Photo | undefined): Element {
  const others = card === undefined ? [] : childElements(card).filter(one => one.getName() !== 'PHOTO')
  const picture = photo === undefined ? undefined : xml('PHOTO', {},
    photo.type === undefined ? undefined : xml('TYPE', {}, photo.type), xml('BINVAL', {}, photo.data.toString('base64')))
  return xml('vCard', { xmlns: NS.VCARD }, ...others, picture)
}

/** A picture as the metadata of an avatar name it. */
export interface AvatarInfo { readonly id: string, readonly type: string | undefined }

/** Returns the picture that the metadata name and that is stored here (XEP-0398 §3.1); undefined if there is none. */
export function infoIn (metadata: Element): AvatarInfo | undefined {
  const info = children(metadata, NS.AVATAR_METADATA, 'info').find(one => attributeOf(one, 'url') === undefined)
  const id = info === undefined ? undefined : attributeOf(info, 'id')
  return info === undefined || id === undefined ? undefined : { id, type: attributeOf(info, 'type') }
}

/** Returns the payloads of the two nodes of an avatar for a picture (XEP-0084 §4.2). */
export function avatarOf ({ data, type }: Photo, id: string): { readonly data: Element, readonly metadata: Element } {
  return {
    data: xml('data', { xmlns: NS.AVATAR_DATA }, data.toString('base64')),
    metadata: xml('metadata', { xmlns: NS.AVATAR_METADATA }, xml('info', { id, bytes: data.length, type: type ?? 'image/png' })),
  }
}
