/** An element as the text of a stream: namespaces declared where they change, all escaped, nothing that XML cannot carry. */
import { attributeOf, bound, isElement, namespaceOf, ParsedElement, prefixNamespace, StoredElement, type Attributes, type Element } from './element.js'
import { escapeAttribute, escapeText } from './escape.js'
import { CONTENT_NAMESPACES, NS } from './namespaces.js'
import { toOctets } from './octets.js'
import { QUALIFIED_NAME } from './names.js'

export { escapeAttribute, escapeText } from './escape.js'
export { flatten, fromOctets, shortened, toOctets } from './octets.js'

/**
 * The content namespace of the stream that the text is written to, as the default namespace around it: nobody has declared it, and no
 * document can spell this.
 */
const INHERITED = '\0'

/**
 * The element as octets, to stand directly in a stream, whose prefix for its own namespace is `stream`; or, if `around` is given, in a
 * document where that is the default namespace.
 *
 * In a stream, an element of a content namespace and its children of one are written without prefix and declaration, down to the first
 * element of another namespace (RFC 6120 §4.8.3, §4.8.5): they mean the same in every stream. Beneath that, jabber:client is declared
 * (XEP-0297 §4).
 *
 * Throws TypeError for what XML cannot carry: characters, names, prefixes that nobody declares.
 */
export function octets (element: Element, around?: string): string {
  const context = around ?? INHERITED
  const place = { context, inherits: context, scope: STREAM_SCOPE, isContent: around === undefined }
  return toOctets(written(element, namespaceOf(element), place))
}

/** A start tag as octets. Prefixes are the caller's to declare. Attributes of null and undefined are left out. Throws as `octets` does. */
export function startTag (name: string, attributes: Attributes): string {
  let text = '<' + checked(name)
  for (const key of Object.keys(attributes)) {
    const value = attributes[key]
    if (value !== undefined && value !== null) text += attribute(key, String(value))
  }
  return toOctets(text + '>')
}

/** The start tag of a stanza, and what of it matters to what is written inside. */
export interface StanzaTag {
  /** The octets up to the last attribute: further attributes, and `>` or `/>`, are still to come. */
  readonly octets: string
  readonly place: Place
}

/**
 * The start tag of a stanza of this kind with the attributes of its element; those that a server sets itself (`from`, `to`) and `xmlns` are
 * left out. Throws as `octets` does.
 */
export function stanzaTag (kind: string, element: Element): StanzaTag {
  const { text, scope } = attributesOf(element, STREAM_SCOPE, ADDRESSES)
  return { octets: toOctets(`<${kind}${text}`), place: { context: INHERITED, inherits: INHERITED, scope, isContent: true } }
}

/** What stands in a stanza as octets, to follow its start tag: nodes of its element, or others. Throws as `octets` does. */
export function stanzaContent (nodes: readonly unknown[], tag: StanzaTag): string {
  return toOctets(content(nodes, undefined, tag.place))
}

const ADDRESSES: ReadonlySet<string> = new Set(['from', 'to'])
const NOTHING: ReadonlySet<string> = new Set()

/** The prefixes declared around what is being written, innermost first. */
interface Scope { readonly prefix: string, readonly uri: string, readonly next: Scope | undefined }
const STREAM_SCOPE: Scope = { prefix: 'stream', uri: NS.STREAM, next: undefined }

/** Where an element is written. */
export interface Place {
  /** The default namespace there, as it is written. */
  readonly context: string
  /** The default namespace there, as the tree has it: another one beneath an element whose prefix is not written. */
  readonly inherits: string
  readonly scope: Scope | undefined
  /** Everything around it in the stream is of the content namespace. */
  readonly isContent: boolean
}

/** `namespace`: of the element, undefined if its prefix is bound by nothing around it. */
function written (element: Element, namespace: string | undefined, place: Place): string {
  const { context } = place
  const colon = element.name.indexOf(':')
  const isClients = namespace !== undefined && CONTENT_NAMESPACES.has(namespace)
  const isContent = place.isContent && isClients
  if (element instanceof StoredElement) return isClients && !isContent ? declaring(element) : element.stored
  const hasPrefix = colon >= 0 && !isClients
  const name = checked(hasPrefix || colon < 0 ? element.name : element.name.slice(colon + 1))
  const own = isContent ? INHERITED : isClients ? NS.CLIENT : hasPrefix ? attributeOf(element, 'xmlns') ?? context : namespace ?? context
  let text = '<' + name
  if (own !== context) {
    if (own === NS.XML || own === NS.XMLNS) throw new TypeError('a reserved namespace as the default')
    text += attribute('xmlns', own)
  }
  const { text: attributes, scope } = attributesOf(element, place.scope, NOTHING, hasPrefix ? element.name.slice(0, colon) : undefined)
  const inherits = colon < 0 ? own : attributeOf(element, 'xmlns') ?? place.inherits
  const inside = content(element.children, element, { context: own, inherits, scope, isContent })
  return inside === '' ? `${text}${attributes}/>` : `${text}${attributes}>${inside}</${name}>`
}

/** A stored stanza, to stand beneath a foreign element: a stream has its namespace as the default, and there it has to be declared. */
function declaring ({ name, stored }: StoredElement): string {
  const start = `<${name}`
  if (!stored.startsWith(start) || !/[ />]/.test(stored.charAt(start.length))) throw new TypeError('a stored element of another name')
  return `${start} xmlns="${NS.CLIENT}"${stored.slice(start.length)}`
}

/** All attributes but `xmlns` and those in `without`, with the prefixes declared that they and the name use. */
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
        if (declaring.prefix === 'xml' || CONTENT_NAMESPACES.has(value)) continue
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
    if ((attributeOf(element, `xmlns:${prefix}`) ?? uri) !== uri) throw new TypeError(`the prefix ${prefix} means two things`)
    text += attribute(`xmlns:${prefix}`, uri)
    scope = declared(prefix, uri, scope)
  }
  checkDistinct(element, scope)
  return { text, scope }
}

/** `parent`: whose nodes they are; undefined if they stand in a stanza, whoever made them. */
function content (nodes: readonly unknown[], parent: Element | undefined, place: Place): string {
  let text = ''
  for (const node of nodes) {
    if (typeof node === 'string') text += escapeText(node)
    else if (isElement(node)) text += written(node, namespaceWithin(node, parent, place.inherits), place)
    else if (typeof node === 'number') text += String(node)
  }
  return text
}

/** A plain element without a namespace of its own is in that of the element it is written into, unless it belongs to another. */
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
