/** Reads requests for a slot (XEP-0363 §4, §5), and writes slots. */
import { attributeOf, childElements, formatDateTime, localName, namespaceOf, NS, parseDateTime, StanzaError, xml } from '../../lib/api.js'
import type { Element } from '../../lib/api.js'
import { allows, mediaType, safeName } from './names.js'
import type { Rules } from './rules.js'
import { PURPOSES, type Purpose, type Upload } from './uploads.js'

export type SlotRequest = Pick<Upload, 'name' | 'size' | 'type' | 'purpose' | 'before'>

/** An answer to a request: where the file is sent to and read from, and the header that only its sender has. */
export interface Slot { readonly url: string, readonly authorization: string }

/** Reads a request. Throws StanzaError if it is malformed, or asks for what the rules do not allow. */
export function readRequest (request: Element, rules: Rules, now: number): SlotRequest {
  const name = attributeOf(request, 'filename') ?? ''
  const size = sizeIn(attributeOf(request, 'size') ?? '')
  if (name === '') throw new StanzaError('bad-request', 'the file has no name')
  const { purpose, before } = purposeIn(request, now)
  if (!rules.purposes.includes(purpose)) throw new StanzaError('not-acceptable', `no files are kept for the purpose '${purpose}'`)
  const largest = rules.largest(purpose)
  if (size > largest) throw tooLarge(largest)
  const declared = attributeOf(request, 'content-type')
  const type = declared === undefined || declared === '' ? '' : mediaType(declared)
  if (type === undefined) throw new StanzaError('bad-request', 'the content-type is no media type')
  if (!allows(rules.settings.types, type)) throw new StanzaError('not-acceptable', 'files of this type are not accepted')
  return { name: safeName(name), size, type, purpose, ...before === undefined ? {} : { before } }
}

export function slotElement ({ url, authorization }: Slot): Element {
  return xml('slot', { xmlns: NS.UPLOAD },
    xml('put', { url }, xml('header', { name: 'Authorization' }, authorization)),
    xml('get', { url }))
}

/** XEP-0363 §3: the form that tells the largest size. */
export function sizeForm (rules: Rules): Element {
  const field = (name: string, value: string, type?: string): Element =>
    xml('field', type === undefined ? { var: name } : { var: name, type }, xml('value', {}, value))
  return xml('x', { xmlns: NS.DATA, type: 'result' },
    field('FORM_TYPE', NS.UPLOAD, 'hidden'), field('max-file-size', String(rules.largest('message'))))
}

function sizeIn (text: string): number {
  const size = /^[0-9]{1,15}$/.test(text) ? Number(text) : 0
  if (size === 0) throw new StanzaError('bad-request', 'the size is not a number of bytes')
  return size
}

/** XEP-0363 §5: without a purpose it is 'message'. */
function purposeIn (request: Element, now: number): Pick<SlotRequest, 'purpose' | 'before'> {
  const [element, other] = childElements(request).filter(child => namespaceOf(child) === NS.UPLOAD_PURPOSE)
  if (element === undefined) return { purpose: 'message' }
  const purpose = PURPOSES.find((name): name is Purpose => name === localName(element))
  if (purpose === undefined || other !== undefined) throw new StanzaError('bad-request', 'one purpose that is known here')
  if (purpose !== 'ephemeral') return { purpose }
  const before = parseDateTime(attributeOf(element, 'expire-before') ?? '')
  if (before <= now) throw new StanzaError('not-acceptable', `the file would have ended before ${formatDateTime(now)}`)
  return { purpose, before }
}

function tooLarge (largest: number): StanzaError {
  return new StanzaError('not-acceptable', `the file is too large: at most ${largest} bytes`, {
    plus: xml('file-too-large', { xmlns: NS.UPLOAD }, xml('max-file-size', {}, String(largest))),
  })
}
