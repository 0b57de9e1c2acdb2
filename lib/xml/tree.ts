/** From tags to elements: namespaces resolved (Namespaces in XML), limits kept, each top-level element handed over with its source. */
import { define, ParsedElement, type Bindings, type Source } from './element.js'
import { CONTENT_NAMESPACES, NS } from './namespaces.js'
import { excessive, malformed, XmlError } from './xml-error.js'

/** What one top-level element may use. The stream's header is measured like one. */
export interface Limits {
  /** Octets, from `<` to the last `>`, counted while they come. */
  readonly bytes: number
  /** Elements, itself among them. */
  readonly elements: number
  /** Levels, itself being the first. */
  readonly depth: number
  /** Attributes and namespace declarations of one element; also prefixes in force at any place. */
  readonly attributes: number
  /** Octets of a name, with its prefix. */
  readonly name: number
}

export interface ParserHandlers {
  /** The stream has begun: its root, with attributes and no children. */
  opened (root: ParsedElement): void
  /** A top-level element is complete. */
  element (element: ParsedElement, source: Source): void
  /** The peer has closed its stream. Nothing comes after it. */
  closed (): void
}

/** A start tag, as it was scanned. One record is used for all. */
export interface Tag {
  name: string
  /** The name as it came, to be compared with that of the end tag. */
  octets: string
  /** Where the colon stands in the name; -1: nowhere. */
  colon: number
  attributes: Record<string, string>
  /** The default namespace, where it declares one. */
  xmlns: string | undefined
  declaresPrefix: boolean
  hasPrefixed: boolean
  isEmpty: boolean
}

/** The default namespace while the stanza has declared none: the content namespace of its stream. No document can spell this. */
const INHERITED = '\0'

export class Tree {
  limits: Limits
  content: string
  /** How many elements are open, the root among them. */
  depth = 0
  readonly #handlers: ParserHandlers
  /** Of each open element: its name as it came, and the default namespace around it. */
  readonly #names: string[] = []
  readonly #outer: string[] = []
  #default = ''
  /** How deep the outermost open element of a foreign namespace is; 0: none is open, and all content so far is the stream's own. */
  #foreign = 0
  #bindings: Bindings | undefined = undefined
  #current: ParsedElement | null = null
  #top: ParsedElement | null = null
  #elements = 0
  #portable = true
  #octets = ''
  #from = 0
  #head = 0

  constructor (limits: Limits, content: string, handlers: ParserHandlers) {
    this.limits = limits
    this.content = content
    this.#handlers = handlers
  }

  /** Waits for a new root. */
  reset (): void {
    this.depth = 0
    this.#default = ''
    this.#foreign = 0
    this.#bindings = undefined
    this.#octets = ''
    this.#portable = true
    this.#current = this.#top = null
  }

  /** The innermost open name, as it came. */
  get innermost (): string { return this.#names[this.depth - 1] as string }

  open (tag: Tag, data: string, start: number, end: number): void {
    const { depth } = this
    if (tag.declaresPrefix) this.#declare(tag.attributes, depth + 1)
    const outer = this.#default
    if (tag.xmlns !== undefined) this.#redefine(tag, tag.xmlns)
    const declared = tag.colon < 0 ? this.#default : this.#resolve(tag, tag.name.slice(0, tag.colon))
    if (tag.hasPrefixed) this.#checkAttributes(tag)
    const isContent = declared === INHERITED || CONTENT_NAMESPACES.has(declared)
    const namespace = isContent ? NS.CLIENT : declared
    if (depth === 0) this.#openRoot(tag, declared)
    else {
      if (depth === 1) this.#begin(tag, declared, start, end)
      if (++this.#elements > this.limits.elements) excessive('too many elements')
      if (depth > this.limits.depth) excessive('elements too deep in one another')
      if (isContent) this.#content(tag, depth)
      else if (this.#foreign === 0) this.#foreign = depth
      const parent = this.#current
      const element = new ParsedElement(tag.name, tag.attributes, parent, namespace, this.#bindings)
      if (parent === null) this.#top = element
      else parent.children.push(element)
      this.#current = element
    }
    this.#names[depth] = tag.octets
    this.#outer[depth] = outer
    this.depth = depth + 1
    if (depth === 0) this.#handlers.opened(new ParsedElement(tag.name, tag.attributes, null, declared, this.#bindings))
    if (tag.isEmpty && this.depth === depth + 1) this.close(data, end)
  }

  text (text: string): void {
    const children = (this.#current as ParsedElement).children
    const last = children.length - 1
    if (last >= 0 && typeof children[last] === 'string') children[last] += text
    else children.push(text)
  }

  close (data: string, end: number): void {
    const depth = --this.depth
    this.#default = this.#outer[depth] as string
    if (depth === this.#foreign) this.#foreign = 0
    while (this.#bindings !== undefined && this.#bindings.depth > depth) this.#bindings = this.#bindings.next
    if (depth > 1) this.#current = (this.#current as ParsedElement).parent as ParsedElement
    else if (depth === 1) this.#complete(data, end)
    else this.#handlers.closed()
  }

  /** This much of the data is done with, and more data follows. */
  carry (data: string, end: number): void {
    if (this.depth > 1) this.#octets += data.slice(this.#from, end)
    this.#from = 0
  }

  #openRoot (tag: Tag, namespace: string): void {
    // RFC 6120 §4.8.1, §4.9.3.10: the stream's namespace, and the content's as the default
    if (namespace !== NS.STREAM || tag.name.slice(tag.colon + 1) !== 'stream') throw new XmlError('invalid-namespace', 'this is not a stream')
    // RFC 6120 §4.8.5, §4.9.3.2
    if (tag.name !== 'stream:stream') throw new XmlError('bad-namespace-prefix', 'the stream has another prefix than stream')
    if (tag.xmlns !== this.content) throw new XmlError('invalid-namespace', 'not the content namespace of this stream')
    this.#default = INHERITED
  }

  #begin (tag: Tag, declared: string, start: number, end: number): void {
    // RFC 6120 §4.8.3: one content namespace a stream
    if (declared !== this.content && CONTENT_NAMESPACES.has(declared)) {
      throw new XmlError('invalid-namespace', 'the content namespace of another stream')
    }
    if (tag.colon >= 0 || declared !== INHERITED) this.#portable = false
    this.#elements = 0
    this.#octets = ''
    this.#from = start
    this.#head = end - start
  }

  #complete (data: string, end: number): void {
    const element = this.#current as ParsedElement
    const octets = data.slice(this.#from, end)
    const source = { octets: this.#octets === '' ? octets : this.#octets + octets, head: this.#head, portable: this.#portable }
    this.#current = this.#top = null
    this.#octets = ''
    this.#portable = true
    this.#handlers.element(element, source)
  }

  /** An element of the content namespace: whether its octets mean the same in any other stream. */
  #content (tag: Tag, depth: number): void {
    if (depth === 1) return // its start tag is written anew
    // RFC 6120 §4.8.5: the stanza's own content has neither a prefix nor a declaration.
    // XEP-0297 §4: beneath a foreign element, jabber:client is declared.
    const isPortable = tag.colon < 0 && (this.#foreign === 0 ? tag.xmlns === undefined : this.#default === NS.CLIENT)
    if (!isPortable) this.#portable = false
  }

  /** `xmlns` */
  #redefine (tag: Tag, namespace: string): void {
    this.#default = namespace
    if (this.depth === 0 || !CONTENT_NAMESPACES.has(namespace)) return
    tag.attributes['xmlns'] = NS.CLIENT
    // A stanza may repeat the namespace of its stream, which is not written again.
    if (this.depth === 1 && namespace === this.content) this.#default = INHERITED
  }

  /** `xmlns:…` */
  #declare (attributes: Record<string, string>, depth: number): void {
    for (const key of Object.keys(attributes)) {
      if (!key.startsWith('xmlns:')) continue
      const prefix = key.slice(6)
      const declared = attributes[key] as string
      // Namespaces in XML §2.2, §3
      if (declared === '') malformed('a prefix bound to nothing')
      if (prefix === 'xmlns' || declared === NS.XMLNS || (prefix === 'xml') !== (declared === NS.XML)) malformed('a reserved prefix')
      if (prefix === 'xml') {
        // Namespaces in XML §3: the prefix may be declared, and means the same without. Dropped, so that no writer has to know of it.
        Reflect.deleteProperty(attributes, key)
        this.#portable = false
        continue
      }
      let uri = declared
      if (CONTENT_NAMESPACES.has(uri)) {
        uri = NS.CLIENT
        if (depth > 1) {
          this.#portable = false
          attributes[key] = uri
        }
      }
      const size = (this.#bindings?.size ?? 0) + 1
      if (size > this.limits.attributes) excessive('too many prefixes')
      this.#bindings = { prefix, uri, declared, next: this.#bindings, depth, size }
    }
  }

  #resolve (tag: Tag, prefix: string): string {
    if (prefix === 'xml') return NS.XML
    for (let binding = this.#bindings; binding !== undefined; binding = binding.next) {
      if (binding.prefix !== prefix) continue
      if (binding.depth === 1 && this.depth > 0) this.#borrow(tag, binding)
      return binding.declared
    }
    // RFC 6120 §4.8.1: the stream's namespace has to be declared
    if (this.depth === 0 && prefix === 'stream') throw new XmlError('invalid-namespace', 'the stream declares no namespace')
    return malformed('a prefix that is not bound')
  }

  /** A prefix of the stream's root is used: the top-level element declares it from now on, to be whole by itself. */
  #borrow (tag: Tag, binding: Bindings): void {
    this.#portable = false
    const attributes = this.depth === 1 ? tag.attributes : (this.#top as ParsedElement).attrs
    define(attributes, `xmlns:${binding.prefix}`, binding.uri)
  }

  /** Namespaces in XML §6.3: no two attributes of the same name in the same namespace. */
  #checkAttributes (tag: Tag): void {
    const seen = new Set<string>()
    for (const key of Object.keys(tag.attributes)) {
      const colon = key.indexOf(':')
      if (colon < 0 || key.startsWith('xmlns:')) continue
      const namespace = this.#resolve(tag, key.slice(0, colon))
      // Content namespaces are one (see above): what differs in them alone could not be written again.
      const name = `${key.slice(colon + 1)} ${CONTENT_NAMESPACES.has(namespace) ? NS.CLIENT : namespace}`
      if (seen.has(name)) malformed('an attribute twice')
      seen.add(name)
    }
  }
}
