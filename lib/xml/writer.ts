/** An element as the text of a stream: namespaces declared where they change, all escaped, nothing that XML cannot carry. */
import { attributeOf, bound, isElement, namespaceOf, ParsedElement, prefixNamespace, type Attributes, type Element } from './element.js'
import { escapeAttribute, escapeText } from './escape.js'
import { NS } from './namespaces.js'
import { toOctets } from './octets.js'
import { QUALIFIED_NAME } from './names.js'

export { escapeAttribute, escapeText } from './escape.js'
export { flatten, fromOctets, shortened, toOctets } from './octets.js'

/**
 * The element as octets, to stand where `context` is the default namespace and `stream` the prefix of the stream's namespace.
 * Throws TypeError for what XML cannot carry: characters, names, prefixes that nobody declares.
 */
export function octets (element: Element, context: string = NS.CLIENT): string {
  return toOctets(written(element, namespaceOf(element), context, STREAM_SCOPE))
}

/** A start tag as octets. It looks after no prefixes. Attributes of null and undefined are left out. Throws as `octets` does. */
export function startTag (name: string, attributes: Attributes): string {
  let text = '<' + checked(name)
  for (const key of Object.keys(attributes)) {
    const value = attributes[key]
    if (value !== undefined && value !== null) text += attribute(key, String(value))
  }
  return toOctets(text + '>')
}

/** The prefixes declared around what is being written, innermost first. */
interface Scope { readonly prefix: string, readonly uri: string, readonly next: Scope | undefined }
const STREAM_SCOPE: Scope = { prefix: 'stream', uri: NS.STREAM, next: undefined }

function written (element: Element, namespace: string | undefined, context: string, around: Scope | undefined): string {
  const { name } = element
  let tag = '<' + checked(name)
  let scope = around
  let inner = context
  const colon = name.indexOf(':')
  const own = colon < 0 ? namespace ?? context : attributeOf(element, 'xmlns') ?? context
  if (own !== context) {
    if (own === NS.XML || own === NS.XMLNS) throw new TypeError('a reserved namespace as the default')
    tag += attribute('xmlns', own)
    inner = own
  }
  let prefixes: Set<string> | undefined
  for (const key of Object.keys(element.attrs)) {
    const value = attributeOf(element, key)
    if (value === undefined || key === 'xmlns') continue
    const at = key.indexOf(':')
    if (at >= 0) {
      if (key.startsWith('xmlns:')) {
        scope = declared(key.slice(6), value, scope)
        if (scope.prefix === 'xml') continue
      } else (prefixes ??= new Set()).add(key.slice(0, at))
    }
    tag += attribute(key, value)
  }
  if (colon >= 0) (prefixes ??= new Set()).add(name.slice(0, colon))
  if (prefixes !== undefined) {
    for (const prefix of prefixes) {
      const uri = meaning(element, prefix, scope)
      if (prefix === 'xml' || inScope(scope, prefix) === uri) continue
      if (Object.hasOwn(element.attrs, `xmlns:${prefix}`)) throw new TypeError(`the prefix ${prefix} means two things`)
      tag += attribute(`xmlns:${prefix}`, uri)
      scope = declared(prefix, uri, scope)
    }
    checkDistinct(element, scope)
  }
  return tag + content(element, inner, scope)
}

function content (element: Element, context: string, scope: Scope | undefined): string {
  let text = ''
  for (const node of element.children as readonly unknown[]) {
    if (typeof node === 'string') text += escapeText(node)
    else if (isElement(node)) text += written(node, namespaceWithin(node, element, context), context, scope)
    else if (typeof node === 'number') text += String(node)
  }
  return text === '' ? '/>' : `>${text}</${element.name}>`
}

/** A plain element without a namespace of its own is in that of the element it is written into, unless it belongs to another. */
function namespaceWithin (child: Element, parent: Element, context: string): string | undefined {
  if (child instanceof ParsedElement) return child.ns
  return attributeOf(child, 'xmlns') ?? (child.parent === null || child.parent === parent ? context : namespaceOf(child))
}

function meaning (element: Element, prefix: string, scope: Scope | undefined): string {
  if (element instanceof ParsedElement && element.name.startsWith(`${prefix}:`)) return element.ns
  const uri = element instanceof ParsedElement
    ? bound(element.bindings, prefix) ?? inScope(scope, prefix)
    : attributeOf(element, `xmlns:${prefix}`) ?? inScope(scope, prefix) ?? prefixNamespace(element, prefix)
  if (uri === undefined) throw new TypeError('a prefix that is not declared')
  return uri
}

function inScope (scope: Scope | undefined, prefix: string): string | undefined {
  if (prefix === 'xml') return NS.XML
  for (let at = scope; at !== undefined; at = at.next) if (at.prefix === prefix) return at.uri
  return undefined
}

/** Namespaces in XML §3 */
function declared (prefix: string, uri: string, scope: Scope | undefined): Scope {
  if (uri === '' || prefix === 'xmlns' || uri === NS.XMLNS || (prefix === 'xml') !== (uri === NS.XML)) {
    throw new TypeError('a prefix that cannot be declared so')
  }
  return { prefix, uri, next: scope }
}

/** Namespaces in XML §6.3 */
function checkDistinct (element: Element, scope: Scope | undefined): void {
  const seen = new Set<string>()
  for (const key of Object.keys(element.attrs)) {
    const colon = key.indexOf(':')
    if (colon < 0 || key.startsWith('xmlns:') || attributeOf(element, key) === undefined) continue
    const name = `${key.slice(colon + 1)} ${inScope(scope, key.slice(0, colon))}`
    if (seen.has(name)) throw new TypeError('an attribute twice')
    seen.add(name)
  }
}

function attribute (name: string, value: string): string {
  return ` ${checked(name)}="${escapeAttribute(value)}"`
}

/** Names that were found to be names. When it is full, others are looked at each time. */
const NAMES = new Set<string>()
const MOST_NAMES = 4096
const LONGEST_NAME = 64

function checked (name: string): string {
  if (NAMES.has(name)) return name
  if (!QUALIFIED_NAME.test(name)) throw new TypeError('not a name')
  if (NAMES.size < MOST_NAMES && name.length <= LONGEST_NAME) NAMES.add(name)
  return name
}
