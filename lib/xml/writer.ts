/**
 * Writes elements as text for a stream: declares namespaces where they change, escapes all values, and throws for what
 * XML cannot carry.
 */
import {
  attributeOf, namespaceOfBinding, isElement, namespaceOf, ParsedElement, prefixNamespace, StoredElement,
  type Attributes, type Element,
} from './element.js'
import { escapeAttribute, escapeText } from './escape.js'
import { isContentNamespace, NS } from './namespaces.js'
import { toOctets } from './octets.js'
import { QUALIFIED_NAME } from './names.js'

export { escapeAttribute, escapeText } from './escape.js'
export { flatten, fromOctets, shortened, toOctets } from './octets.js'

/**
 * The content namespace of the stream as the default namespace around the text. The text does not declare it, and no
 * document can contain this value.
 */
const INHERITED = '\0'

/**
 * Writes an element as octets to be placed directly in a stream, in which the prefix `stream` is bound to the namespace
 * of streams; or, if `around` is given, in a document with that default namespace.
 *
 * In a stream, elements of a content namespace are written without prefix and declaration, down to the first element of
 * another namespace (RFC 6120 §4.8.3, §4.8.5): they mean the same in every stream. Inside such an element jabber:client
 * is declared (XEP-0297 §4).
 *
 * Throws TypeError for what XML cannot carry: characters, names, and prefixes without a declaration.
 */
export function octets (element: Element, around?: string): string {
  const context = around ?? INHERITED
  const place = { context, inherits: context, scope: STREAM_SCOPE, isContent: around === undefined }
  return toOctets(writeElement(element, namespaceOf(element), place))
}

/**
 * Writes a start tag as octets. The caller must declare its prefixes. Attributes that are null or undefined are left
 * out. Throws as `octets` does.
 */
export function startTag (name: string, attributes: Attributes): string {
  let text = '<' + checked(name)
  for (const key of Object.keys(attributes)) {
    const value = attributes[key]
    if (value !== undefined && value !== null) text += attribute(key, String(value))
  }
  return toOctets(text + '>')
}

/** The start tag of a stanza, and what its content must know about it. */
export interface StanzaTag {
  /** The octets up to the last attribute; further attributes, and `>` or `/>`, follow. */
  readonly octets: string
  readonly place: Place
}

/**
 * Writes the start tag of a stanza of this kind with the attributes of its element, except `xmlns` and those that a
 * server sets itself (`from`, `to`). Throws as `octets` does.
 */
export function stanzaTag (kind: string, element: Element): StanzaTag {
  const { text, scope } = attributesOf(element, STREAM_SCOPE, ADDRESSES)
  const place = { context: INHERITED, inherits: INHERITED, scope, isContent: true }
  return { octets: toOctets(`<${kind}${text}`), place }
}

/**
 * Writes the content of a stanza as octets that follow its start tag; `nodes` are the nodes of its element or others.
 * Throws as `octets` does.
 */
export function stanzaContent (nodes: readonly unknown[], tag: StanzaTag): string {
  return toOctets(content(nodes, undefined, tag.place))
}

const ADDRESSES: ReadonlySet<string> = new Set(['from', 'to'])
const NOTHING: ReadonlySet<string> = new Set()

/** The prefixes that are declared around the text, innermost first. */
interface Scope { readonly prefix: string, readonly uri: string, readonly next: Scope | undefined }
const STREAM_SCOPE: Scope = { prefix: 'stream', uri: NS.STREAM, next: undefined }

/** The place at which an element is written. */
export interface Place {
  /** The default namespace there in the written text. */
  readonly context: string
  /**
   * The default namespace there in the tree. It differs from `context` inside an element whose prefix is not written.
   */
  readonly inherits: string
  readonly scope: Scope | undefined
  /** True if everything around the place in the stream is of the content namespace. */
  readonly isContent: boolean
}

/** Writes an element. `namespace` is that of the element; undefined if its prefix is not bound around it. */
// eslint-disable-next-line complexity -- a hot path: divided, it took 2 to 4 % longer
function writeElement (element: Element, namespace: string | undefined, place: Place): string {
  const { context } = place
  const colon = element.name.indexOf(':')
  const isClients = namespace !== undefined && isContentNamespace(namespace)
  const isContent = place.isContent && isClients
  if (element instanceof StoredElement) {
    return isClients && !isContent ? declareContent(element.name, element.stored) : element.stored
  }
  const hasPrefix = colon >= 0 && !isClients
  const name = checked(hasPrefix || colon < 0 ? element.name : element.name.slice(colon + 1))
  const own = isContent
    ? INHERITED
    : isClients ? NS.CLIENT : hasPrefix ? attributeOf(element, 'xmlns') ?? context : namespace ?? context
  let text = '<' + name
  if (own !== context) {
    if (own === NS.XML || own === NS.XMLNS) throw new TypeError('a reserved namespace as the default namespace')
    text += attribute('xmlns', own)
  }
  const ownPrefix = hasPrefix ? element.name.slice(0, colon) : undefined
  const { text: attributes, scope } = attributesOf(element, place.scope, NOTHING, ownPrefix)
  const inherits = colon < 0 ? own : attributeOf(element, 'xmlns') ?? place.inherits
  const inside = content(element.children, element, { context: own, inherits, scope, isContent })
  return inside === '' ? `${text}${attributes}/>` : `${text}${attributes}>${inside}</${name}>`
}

/**
 * Returns a stored stanza for a place inside a foreign element: in a stream jabber:client is the default namespace, but
 * there it must be declared.
 */
export function declareContent (name: string, stored: string): string {
  const start = `<${name}`
  if (!stored.startsWith(start) || !/[ />]/.test(stored.charAt(start.length))) {
    throw new TypeError('a stored element with another name')
  }
  return `${start} xmlns="${NS.CLIENT}"${stored.slice(start.length)}`
}

/**
 * Writes all attributes except `xmlns` and those in `without`, and declares the prefixes that they and the element's
 * name use.
 */
// eslint-disable-next-line complexity -- a hot path: divided, it took 2 to 4 % longer
function attributesOf (
  element: Element, around: Scope | undefined, without: ReadonlySet<string>, ownPrefix?: string,
): { readonly text: string, readonly scope: Scope | undefined } {
  let text = ''
  let scope = around
  let prefixes: Set<string> | undefined
  for (const key of Object.keys(element.attrs)) {
    const value = attributeOf(element, key)
    if (value === undefined || key === 'xmlns' || without.has(key)) continue
    const at = key.indexOf(':')
    if (at >= 0) {
      if (key.startsWith('xmlns:')) {
        const declaring = declared(key.slice(6), value, scope)
        // The prefix xml needs no declaration, and a content namespace needs no prefix.
        if (declaring.prefix === 'xml' || isContentNamespace(value)) continue
        scope = declaring
      } else if (!key.startsWith('xml:')) (prefixes ??= new Set()).add(key.slice(0, at))
    }
    text += attribute(key, value)
  }
  if (ownPrefix !== undefined) (prefixes ??= new Set()).add(ownPrefix)
  if (prefixes === undefined) return { text, scope }
  for (const prefix of prefixes) {
    const uri = meaning(element, prefix, scope)
    if (prefix === 'xml' || inScope(scope, prefix) === uri) continue
    if ((attributeOf(element, `xmlns:${prefix}`) ?? uri) !== uri) {
      throw new TypeError(`the prefix ${prefix} is bound to two namespaces`)
    }
    text += attribute(`xmlns:${prefix}`, uri)
    scope = declared(prefix, uri, scope)
  }
  checkDistinct(element, scope)
  return { text, scope }
}

/**
 * Writes the nodes. `parent` is their parent; undefined if they are written directly into a stanza, whoever made them.
 */
function content (nodes: readonly unknown[], parent: Element | undefined, place: Place): string {
  let text = ''
  for (const node of nodes) {
    if (typeof node === 'string') text += escapeText(node)
    else if (isElement(node)) text += writeElement(node, namespaceWithin(node, parent, place.inherits), place)
    else if (typeof node === 'number') text += String(node)
  }
  return text
}

/**
 * Returns the namespace of a child. A plain element without a namespace of its own takes the one of the element into
 * which it is written, unless it belongs to another parent.
 */
function namespaceWithin (child: Element, parent: Element | undefined, inherits: string): string | undefined {
  if (child instanceof ParsedElement) return child.ns
  if (child.name.includes(':')) return namespaceOf(child)
  const own = attributeOf(child, 'xmlns')
  if (own !== undefined) return own
  if (child.parent !== null && child.parent !== parent) return namespaceOf(child)
  return inherits === INHERITED ? NS.CLIENT : inherits
}

function meaning (element: Element, prefix: string, scope: Scope | undefined): string {
  if (element instanceof ParsedElement && element.name.startsWith(`${prefix}:`)) return element.ns
  const uri = element instanceof ParsedElement
    ? namespaceOfBinding(element.bindings, prefix) ?? inScope(scope, prefix)
    : attributeOf(element, `xmlns:${prefix}`) ?? inScope(scope, prefix) ?? prefixNamespace(element, prefix)
  if (uri === undefined) throw new TypeError('an undeclared prefix')
  return uri
}

function inScope (scope: Scope | undefined, prefix: string): string | undefined {
  if (prefix === 'xml') return NS.XML
  for (let at = scope; at !== undefined; at = at.next) if (at.prefix === prefix) return at.uri
  return undefined
}

/**
 * Returns the scope with one more prefix (Namespaces in XML §3). Throws TypeError for a reserved prefix or namespace.
 */
function declared (prefix: string, uri: string, scope: Scope | undefined): Scope {
  if (uri === '' || prefix === 'xmlns' || uri === NS.XMLNS || (prefix === 'xml') !== (uri === NS.XML)) {
    throw new TypeError('a prefix that cannot be bound to this namespace')
  }
  return { prefix, uri, next: scope }
}

/** Throws TypeError if two attributes have the same name in the same namespace (Namespaces in XML §6.3). */
function checkDistinct (element: Element, scope: Scope | undefined): void {
  const seen = new Set<string>()
  for (const key of Object.keys(element.attrs)) {
    const colon = key.indexOf(':')
    if (colon < 0 || key.startsWith('xmlns:') || attributeOf(element, key) === undefined) continue
    const name = `${key.slice(colon + 1)} ${inScope(scope, key.slice(0, colon))}`
    if (seen.has(name)) throw new TypeError('a duplicate attribute')
    seen.add(name)
  }
}

function attribute (name: string, value: string): string {
  return ` ${checked(name)}="${escapeAttribute(value)}"`
}

/** Names that were found valid. When the set is full, other names are checked each time. */
const NAMES = new Set<string>()
const MOST_NAMES = 4096
const LONGEST_NAME = 64

function checked (name: string): string {
  if (NAMES.has(name)) return name
  if (!QUALIFIED_NAME.test(name)) throw new TypeError('an invalid name')
  if (NAMES.size < MOST_NAMES && name.length <= LONGEST_NAME) NAMES.add(name)
  return name
}
