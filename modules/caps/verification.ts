/** XEP-0115 §5: the verification string, and answers that must not be hashed. Pure functions. */
import { childElements, children, flatten, namespaceOf, NS, textOf, toOctets } from '../../lib/api.js'
import type { Element } from '../../lib/api.js'
import { createHash } from 'node:crypto'

/** Supported hash functions by IANA name (§7.1 requires SHA-1; MD5 and MD2 are too weak). */
const HASHES: Readonly<Record<string, string>> = { 'sha-1': 'sha1', 'sha-256': 'sha256', 'sha-512': 'sha512' }

/** True if hashes with this function can be verified. */
export function isKnownHash (name: string): boolean {
  return Object.hasOwn(HASHES, name)
}

/**
 * Returns the hash of a disco#info answer in base64 (§5.1); undefined if the answer is ill-formed (§5.4), so that it
 * never matches.
 */
export function verificationOf (info: Element, hash = 'sha-1'): string | undefined {
  const algorithm = HASHES[hash]
  const text = algorithm === undefined ? undefined : textToHash(info)
  return algorithm === undefined || text === undefined ? undefined : createHash(algorithm).update(text, 'latin1').digest('base64')
}

/** Returns the features in a disco#info answer. */
export function featuresOf (info: Element): readonly string[] {
  return children(info, NS.DISCO_INFO, 'feature').map(feature => String(feature.attrs['var'] ?? ''))
}

/**
 * Builds the text to hash as octets, one character per byte: they sort like UTF-8 ("i;octet", §5.1) without a buffer
 * per comparison.
 */
function textToHash (info: Element): string | undefined {
  const identities = children(info, NS.DISCO_INFO, 'identity').map(({ attrs }) =>
    [attrs['category'], attrs['type'], attrs['xml:lang'], attrs['name']].map(part => String(part ?? '')).join('/')).map(toOctets)
  const features = featuresOf(info).map(toOctets)
  const forms = childElements(info).filter(element => namespaceOf(element) === NS.DATA && element.getName() === 'x').map(formText)
  if (hasTwins(identities) || hasTwins(features)) return undefined
  const known = forms.filter(form => form !== undefined)
  if (known.some(form => form === 'ill-formed') || hasTwins(known.map(form => form.split('<', 1)[0] ?? ''))) return undefined
  // "<" ends each part. If a part contained one, two different answers could have the same text.
  if ([...identities, ...features].some(part => part.includes('<'))) return undefined
  return [...identities, ...features].length === 0 && known.length === 0
    ? ''
    : [...identities.sort(byOctets), ...features.sort(byOctets)].map(part => `${part}<`).join('') + known.sort(byOctets).join('')
}

/**
 * Builds the text of a form (§5.1 rules 6 and 7); undefined for a form without a hidden FORM_TYPE, which is ignored
 * (§5.4).
 */
function formText (form: Element): string | undefined {
  const fields = children(form, NS.DATA, 'field').map(field => ({
    name: toOctets(String(field.attrs['var'] ?? '')),
    type: String(field.attrs['type'] ?? ''),
    values: children(field, NS.DATA, 'value').map(value => toOctets(textOf(value))),
  }))
  const type = fields.find(field => field.name === 'FORM_TYPE')
  if (type?.type !== 'hidden') return undefined
  if (new Set(type.values).size > 1) return 'ill-formed'
  if (fields.some(field => [field.name, ...field.values].some(part => part.includes('<')))) return 'ill-formed'
  const others = fields.filter(field => field !== type).sort((a, b) => byOctets(a.name, b.name))
  return `${type.values[0] ?? ''}<` + others.map(({ name, values }) => [name, ...values.sort(byOctets)].map(part => `${part}<`).join('')).join('')
}

function hasTwins (texts: readonly string[]): boolean {
  return new Set(texts).size < texts.length
}

function byOctets (a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** The caps in a device's presence (§4): hash function, hash, and the node that names the software. */
export interface Caps { readonly hash: string, readonly ver: string, readonly node: string }

/** Reads a `<c/>` element; undefined if it is incomplete or too long. */
export function capsOf (element: Element | undefined): Caps | undefined {
  if (element === undefined) return undefined
  const hash: unknown = element.attrs['hash']
  const ver: unknown = element.attrs['ver']
  const node: unknown = element.attrs['node']
  if (typeof hash !== 'string' || typeof ver !== 'string' || typeof node !== 'string' || ver.length > 128) return undefined
  return { hash: flatten(hash), ver: flatten(ver), node }
}
