/**
 * Elements: the class of ltx, the elements that our parser makes, and functions to read them by namespace. Only
 * lib/xml may call getChild.
 */
import { Element } from '@xmpp/xml' // the class of ltx; an import from 'ltx' would be another copy of it
import { NS } from './namespaces.js'
import { flatten } from './octets.js'

export { Element }

export type Attributes = Readonly<Record<string, string | number | boolean | null | undefined>>
/** The children that `xml` takes. It leaves out empty strings, null, undefined and booleans. */
export type Child = Element | string | number | boolean | null | undefined | readonly Child[]

/**
 * Creates an element: `xml('a', { xmlns: NS.X }, 'text', xml('b'))`. Attributes that are null or undefined are left
 * out; a string instead of attributes is the namespace. `createElement` of @xmpp/xml does the same, but deletes
 * properties, which makes each later access to the attributes slow.
 */
export function xml (name: string, attributes?: string | Attributes | null, ...children: readonly Child[]): Element {
  const element = new Element(name)
  if (typeof attributes === 'string') element.attrs['xmlns'] = attributes
  else if (attributes !== undefined && attributes !== null) setAttributes(element.attrs, attributes)
  for (const child of children) append(element, child)
  return element
}

function setAttributes (target: Element['attrs'], attributes: Attributes): void {
  for (const key of Object.keys(attributes)) {
    const value = attributes[key]
    if (value === undefined || value === null) continue
    if (key === '__proto__') define(target, key, String(value))
    else target[key] = String(value)
  }
}

function append (element: Element, child: Child): void {
  if (Array.isArray(child)) for (const one of child as readonly Child[]) append(element, one)
  else if (isElement(child)) element.cnode(child)
  else if (typeof child === 'string' || typeof child === 'number') {
    if (child !== '') element.children.push(String(child))
  }
}

/** The prefixes in force, innermost first. A binding never changes, so that elements can share it. */
export interface Bindings {
  readonly prefix: string
  /** The namespace; a content namespace is replaced by jabber:client. */
  readonly uri: string
  /** The namespace as it was declared. */
  readonly declared: string
  readonly next: Bindings | undefined
  /** The depth of the element with the declaration: 1 is the root of the stream. */
  readonly depth: number
  /** The number of bindings from here on. */
  readonly size: number
}

/**
 * An element that the parser has read. `ns` is its resolved namespace; a content namespace is replaced by
 * jabber:client.
 */
export class ParsedElement extends Element {
  readonly ns: string
  /** The prefixes in force at this element. They stay known if the element is removed from its parent. */
  readonly bindings: Bindings | undefined

  constructor (
    name: string, attributes: Record<string, string>, parent: ParsedElement | null, ns: string, bindings?: Bindings,
  ) {
    super(name)
    this.parent = parent
    this.attrs = attributes
    this.ns = ns
    this.bindings = bindings
  }

  override getNS (): string { return this.ns }

  override findNS (prefix?: string): string | undefined {
    if (prefix !== undefined && prefix !== '') return namespaceOfBinding(this.bindings, prefix)
    return defaultNamespace(this)
  }

  override getXmlns (): Record<string, string> {
    const found: Record<string, string> = {}
    for (let b = this.bindings; b !== undefined; b = b.next) {
      if (!Object.hasOwn(found, b.uri)) define(found, b.uri, b.prefix)
    }
    return found
  }

  override getAttr (name: string, xmlns?: string): string | undefined {
    if (xmlns === undefined || xmlns === '') return attributeOf(this, name)
    for (const key of Object.keys(this.attrs)) {
      const colon = key.indexOf(':')
      if (colon <= 0 || key.slice(colon + 1) !== name) continue
      if (namespaceOfBinding(this.bindings, key.slice(0, colon)) === xmlns) return attributeOf(this, key)
    }
    return undefined
  }
}

/**
 * An element that was written before and is sent again unchanged, such as an archived message or a stored vCard. It is
 * not parsed: it has a name and a namespace, but shows neither attributes nor children.
 */
export class StoredElement extends ParsedElement {
  /** The whole element, from start tag to end tag. */
  readonly stored: string

  /**
   * `stored` must be what `octets` or `Stanza.octets` wrote for such an element, decoded from UTF-8, and never input
   * from a client or peer.
   */
  constructor (name: string, ns: string, stored: string) {
    super(name, {}, null, ns)
    this.stored = stored
  }
}

/** Returns the namespace of a prefix; undefined if the prefix is not bound. */
export function namespaceOfBinding (bindings: Bindings | undefined, prefix: string): string | undefined {
  if (prefix === 'xml') return NS.XML
  for (let b = bindings; b !== undefined; b = b.next) if (b.prefix === prefix) return b.uri
  return undefined
}

/** Sets an attribute, even one named `__proto__`. */
export function define (attributes: Record<string, string>, name: string, value: string): void {
  Object.defineProperty(attributes, name, { value, writable: true, enumerable: true, configurable: true })
}

/** Returns the value of an attribute, and never a property that all objects inherit. */
export function attributeOf (element: Element, name: string): string | undefined {
  return Object.hasOwn(element.attrs, name) ? spelled(element.attrs[name]) : undefined
}

/** Converts an attribute value to text: ltx accepts any value with a `toString`. */
function spelled (value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return value === undefined || value === null ? undefined : (value as { toString (): string }).toString()
}

/**
 * Returns the namespace of an element. Without a declaration on it or on a parent, this is jabber:client, because it
 * will be written into a stream. Returns undefined if its prefix is not bound.
 */
export function namespaceOf (element: Element): string | undefined {
  if (element instanceof ParsedElement) return element.ns
  const colon = element.name.indexOf(':')
  return colon < 0 ? defaultNamespace(element) : prefixNamespace(element, element.name.slice(0, colon))
}

/** Returns the name of an element without its prefix. */
export function localName (element: Element): string {
  const { name } = element
  const colon = name.indexOf(':')
  return colon < 0 ? name : name.slice(colon + 1)
}

/** Returns the first child element with this namespace, and with this name if one is given. */
export function child (element: Element, namespace: string, name?: string): Element | undefined {
  for (const node of element.children) if (isMatch(node, namespace, name)) return node
  return undefined
}

/** Returns the child elements in order: all, those of a namespace, or those of a namespace and name. */
export function children (element: Element, namespace?: string, name?: string): Element[] {
  return element.children.filter((node): node is Element => isMatch(node, namespace, name))
}

/** Returns all child elements in order. */
export function childElements (element: Element): Element[] {
  return children(element)
}

export function has (element: Element, namespace: string, name?: string): boolean {
  return child(element, namespace, name) !== undefined
}

/** Returns the text directly inside the element. */
export function textOf (element: Element): string {
  let text = ''
  for (const node of element.children as readonly unknown[]) {
    if (typeof node === 'string') text += node
    else if (typeof node === 'number') text += String(node)
  }
  return text
}

/**
 * Returns a deep copy that depends on nothing around the original: it declares the namespace and the prefixes that it
 * inherited, and shares no memory with the network chunk.
 */
export function clone (element: Element): Element {
  const copy = copied(element, null)
  if (copy === element) return copy
  const namespace = namespaceOf(element)
  if (namespace !== undefined && !element.name.includes(':')) copy.attrs['xmlns'] = namespace
  for (let up: Element | null = element.parent; up !== null; up = up.parent) {
    if (up instanceof ParsedElement) break // its children know their prefixes
    for (const key of Object.keys(up.attrs)) {
      if (key.startsWith('xmlns:') && !Object.hasOwn(copy.attrs, key)) define(copy.attrs, key, String(up.attrs[key]))
    }
  }
  return copy
}

function copied (element: Element, parent: Element | null): Element {
  // a StoredElement never changes and does not refer to a network chunk
  if (element instanceof StoredElement) return element
  const attributes: Record<string, string> = {}
  for (const key of Object.keys(element.attrs)) {
    const value = attributeOf(element, key)
    if (value !== undefined) define(attributes, flatten(key), flatten(value))
  }
  const copy = element instanceof ParsedElement
    ? new ParsedElement(element.name, attributes, null, element.ns, element.bindings)
    : withAttributes(element.name, attributes)
  copy.parent = parent
  copy.children = element.children.map(node => isElement(node) ? copied(node, copy) : typeof node === 'string' ? flatten(node) : node)
  return copy
}

/**
 * Creates an element with exactly these attributes; keeps the object itself. The constructor of ltx loses an attribute
 * named `__proto__`.
 */
export function withAttributes (name: string, attributes: Element['attrs']): Element {
  const element = new Element(name)
  element.attrs = attributes
  return element
}

/** True if the child is an element. ltx also accepts numbers and null as children, contrary to its types. */
export function isElement (node: unknown): node is Element {
  return typeof node === 'object' && node !== null
}

function isMatch (node: unknown, namespace: string | undefined, name: string | undefined): node is Element {
  if (!isElement(node)) return false
  if (namespace !== undefined && namespaceOf(node) !== namespace) return false
  return name === undefined || node.name === name || localName(node) === name
}

function defaultNamespace (element: Element): string {
  for (let at: Element | null = element; at !== null; at = at.parent) {
    const declared = attributeOf(at, 'xmlns')
    if (declared !== undefined) return declared
    if (at instanceof ParsedElement && !at.name.includes(':')) return at.ns
  }
  return NS.CLIENT
}

/** Returns the namespace of a prefix at an element, by the declarations on it and around it. */
export function prefixNamespace (element: Element, prefix: string): string | undefined {
  if (prefix === 'xml') return NS.XML
  for (let at: Element | null = element; at !== null; at = at.parent) {
    if (at instanceof ParsedElement) return namespaceOfBinding(at.bindings, prefix)
    const declared = attributeOf(at, `xmlns:${prefix}`)
    if (declared !== undefined) return declared
  }
  return undefined
}

/** The bytes of a top-level element as they were received, one character for each byte. */
export interface Source {
  /** The whole element. */
  readonly octets: string
  /** The length of the start tag; the length of the whole element if it is an empty-element tag. */
  readonly head: number
  /**
   * True if the content between start tag and end tag can be copied into another stream after a new start tag: the root
   * has no prefix, and nothing inside depends on the root of the stream or on its content namespace.
   */
  readonly portable: boolean
  /** The number of elements, including this one. */
  readonly elements: number
}

/** The bytes of memory that an element takes besides its texts, about. */
const ELEMENT = 160

/**
 * Returns about how many bytes of memory a received element takes while it waits. Many small elements take far more
 * than their octets.
 */
export function weightOf ({ octets, elements }: Source): number { return Math.max(octets.length, ELEMENT * elements) }
