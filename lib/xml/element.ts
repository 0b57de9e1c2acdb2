/** Elements: ltx's, those our parser makes, and the ways to look into them by namespace. The only callers of getChild. */
import createElement, { Element } from '@xmpp/xml' // ltx's class: imported from 'ltx' itself it would be its twin
import { NS } from './namespaces.js'
import { flatten } from './octets.js'

export { Element }

export type Attributes = Readonly<Record<string, string | number | boolean | null | undefined>>
/** What `xml` takes as a child: an empty text, null, undefined and booleans are left out. */
export type Child = Element | string | number | boolean | null | undefined | readonly Child[]

/** An element made here: `xml('a', { xmlns: NS.X }, 'text', xml('b'))`. Attributes of null or undefined are left out. */
export function xml (name: string, attributes?: string | Attributes | null, ...children: readonly Child[]): Element {
  const given = typeof attributes === 'object' && attributes !== null ? { ...attributes } : attributes ?? undefined
  return createElement(name, given, ...children as string[])
}

/** Prefixes in force, innermost first. Never changed once made, so that elements may share it. */
export interface Bindings {
  readonly prefix: string
  /** A content namespace reads as jabber:client. */
  readonly uri: string
  /** The namespace as it was written. */
  readonly declared: string
  readonly next: Bindings | undefined
  /** The depth of the element that declares it: 1 is the stream's root. */
  readonly depth: number
  /** How many there are from here on. */
  readonly size: number
}

/** An element as the parser read it. `ns` is its namespace, resolved; a content namespace reads as jabber:client. */
export class ParsedElement extends Element {
  readonly ns: string
  /** The prefixes in force here: they stay known where the element is taken out of its parent. */
  readonly bindings: Bindings | undefined

  constructor (name: string, attributes: Record<string, string>, parent: ParsedElement | null, ns: string, bindings?: Bindings) {
    super(name)
    this.parent = parent
    this.attrs = attributes
    this.ns = ns
    this.bindings = bindings
  }

  override getNS (): string { return this.ns }

  override findNS (prefix?: string): string | undefined {
    if (prefix !== undefined && prefix !== '') return bound(this.bindings, prefix)
    return defaultNamespace(this)
  }

  override getXmlns (): Record<string, string> {
    const found: Record<string, string> = {}
    for (let b = this.bindings; b !== undefined; b = b.next) if (!Object.hasOwn(found, b.uri)) define(found, b.uri, b.prefix)
    return found
  }

  override getAttr (name: string, xmlns?: string): string | undefined {
    if (xmlns === undefined || xmlns === '') return attributeOf(this, name)
    for (const key of Object.keys(this.attrs)) {
      const colon = key.indexOf(':')
      if (colon > 0 && key.slice(colon + 1) === name && bound(this.bindings, key.slice(0, colon)) === xmlns) return attributeOf(this, key)
    }
    return undefined
  }
}

/**
 * An element that was written before, and that is written again as it stands: an archived message, a stored vCard. Nobody parses it, so it
 * shows its name and namespace, and neither attributes nor children.
 */
export class StoredElement extends ParsedElement {
  /** All of it, start tag and end tag included. */
  readonly stored: string

  /** `stored`: what `octets` or `Stanza.octets` of such an element made, decoded from UTF-8, and nothing that a stranger wrote. */
  constructor (name: string, ns: string, stored: string) {
    super(name, {}, null, ns)
    this.stored = stored
  }
}

/** What this prefix means here; undefined where it is not bound. */
export function bound (bindings: Bindings | undefined, prefix: string): string | undefined {
  if (prefix === 'xml') return NS.XML
  for (let b = bindings; b !== undefined; b = b.next) if (b.prefix === prefix) return b.uri
  return undefined
}

/** Sets an attribute whatever it is called: `__proto__` is a name like others. */
export function define (attributes: Record<string, string>, name: string, value: string): void {
  Object.defineProperty(attributes, name, { value, writable: true, enumerable: true, configurable: true })
}

/** The attribute's value, and never what every object inherits. */
export function attributeOf (element: Element, name: string): string | undefined {
  return Object.hasOwn(element.attrs, name) ? spelled(element.attrs[name]) : undefined
}

/** ltx lets an attribute be anything that can say what it is. */
function spelled (value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return value === undefined || value === null ? undefined : (value as { toString (): string }).toString()
}

/**
 * The element's namespace. One that declares none and has no parent that does is in jabber:client, for there it will be written;
 * undefined: its prefix is not bound.
 */
export function namespaceOf (element: Element): string | undefined {
  if (element instanceof ParsedElement) return element.ns
  const colon = element.name.indexOf(':')
  return colon < 0 ? defaultNamespace(element) : prefixNamespace(element, element.name.slice(0, colon))
}

/** The name without its prefix. */
export function localName (element: Element): string {
  const { name } = element
  const colon = name.indexOf(':')
  return colon < 0 ? name : name.slice(colon + 1)
}

/** The first child element of this namespace, and of this name where one is given. */
export function child (element: Element, namespace: string, name?: string): Element | undefined {
  for (const node of element.children) if (isMatch(node, namespace, name)) return node
  return undefined
}

/** The child elements, in order: all, or those of a namespace, or of a namespace and name. */
export function children (element: Element, namespace?: string, name?: string): Element[] {
  return element.children.filter((node): node is Element => isMatch(node, namespace, name))
}

/** The child elements, in order. */
export function childElements (element: Element): Element[] {
  return children(element)
}

export function has (element: Element, namespace: string, name?: string): boolean {
  return child(element, namespace, name) !== undefined
}

/** The text that stands directly in the element. */
export function textOf (element: Element): string {
  let text = ''
  for (const node of element.children as readonly unknown[]) {
    if (typeof node === 'string') text += node
    else if (typeof node === 'number') text += String(node)
  }
  return text
}

/** A deep copy that stands alone, in memory too: its namespace and prefixes are written at it where it had them from around it. */
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
  if (element instanceof StoredElement) return element // it never changes, and nothing of it is a window on a chunk
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

/** An element with exactly these attributes, which it takes over: ltx's own constructor loses one that is called `__proto__`. */
export function withAttributes (name: string, attributes: Element['attrs']): Element {
  const element = new Element(name)
  element.attrs = attributes
  return element
}

/** Whether this child is an element. ltx takes numbers and null for children too, whatever its types say. */
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

/** What a prefix means at an element, by what is declared around it. */
export function prefixNamespace (element: Element, prefix: string): string | undefined {
  if (prefix === 'xml') return NS.XML
  for (let at: Element | null = element; at !== null; at = at.parent) {
    if (at instanceof ParsedElement) return bound(at.bindings, prefix)
    const declared = attributeOf(at, `xmlns:${prefix}`)
    if (declared !== undefined) return declared
  }
  return undefined
}

/** The bytes of a top-level element as they came, one character a byte. */
export interface Source {
  /** The whole element. */
  readonly octets: string
  /** The length of its start tag; that of the whole where it is an empty-element tag. */
  readonly head: number
  /**
   * What stands between its start tag and its end tag may be put into another stream of ours behind a start tag written anew:
   * the root has no prefix, and nothing inside depends on the stream's own root or on its content namespace.
   */
  readonly portable: boolean
}
