/** From octets to tags and text (XML 1.0), over a string whose index is the offset of the byte. */
import { fromOctets } from './octets.js'
import { decodeReferences } from './entities.js'
import { CLASS, internName, internNamespace, NAME, NAME_START, SPACE, wideName } from './scan.js'
import { Held, type Awaited } from './held.js'
import { checkDeclaration } from './declaration.js'
import { NS } from './namespaces.js'
import { define } from './element.js'
import type { Tag, Tree } from './tree.js'
import { excessive, malformed, XmlError } from './xml-error.js'

const LT = 60, GT = 62, SLASH = 47, BANG = 33, QUESTION = 63, EQUALS = 61, COLON = 58, QUOTE = 34, APOSTROPHE = 39
const UNKNOWN = -2
const NOWHERE = -1
const WHITESPACE = /\r\n|[\t\n\r]/g
const NEWLINE = /\r\n?/g
const HIGH = /[\x80-\xff]/g
const CDATA = '<![CDATA['

/**
 * A tag is judged when its end has come, or a `<` that cannot stand in it; a text when the next `<` has come. So what a stream is
 * found guilty of depends on its bytes alone and not on how they were cut.
 */
export class Tokenizer {
  readonly #tree: Tree
  readonly #held = new Held()
  readonly #tag: Tag = {
    name: '', octets: '', colon: -1, attributes: {}, xmlns: undefined, declaresPrefix: false, hasPrefixed: false, isEmpty: false,
  }

  #data = ''
  #at = 0
  /** What to add to a place in the data for the octets of this top-level element up to there. */
  #offset = 0
  #halted = false
  #mayDeclare = true
  /** Whether there may be bytes above 0x7F, or below 0x20. */
  #high = false
  #low = false
  /** The next of each from some place on: UNKNOWN, or NOWHERE, or behind which nothing is known. They spare a scan of each value. */
  #nextLt = UNKNOWN
  #nextAmp = UNKNOWN
  #nextHigh = UNKNOWN
  #nextCdataEnd = UNKNOWN
  /** Of the name scanned last. */
  #name = ''
  #nameOctets = ''
  #colon = -1

  constructor (tree: Tree) {
    this.#tree = tree
  }

  /** More octets. To be called only when all before are done with. */
  add (octets: string, high: boolean, low: boolean): void {
    if (octets === '') return
    const held = this.#held
    this.#high = high || !held.isEmpty && this.#high
    this.#low = low || !held.isEmpty && this.#low
    if (!held.completes(octets)) {
      this.#measure(held.length)
      return
    }
    this.#data = held.take(octets)
    this.#at = 0
    this.#nextLt = this.#nextAmp = this.#nextCdataEnd = UNKNOWN
    this.#nextHigh = this.#high ? UNKNOWN : NOWHERE
  }

  /** Goes through what was added, until it is done or `halt` was called. Throws XmlError, and what a handler throws. */
  run (): void {
    this.#halted = false
    const { length } = this.#data
    while (this.#at < length) {
      const whole = this.#data.charCodeAt(this.#at) === LT ? this.#markup() : this.#characters()
      if (this.#halted && this.#at < length) return
      if (!whole) break
    }
    this.#tree.carry(this.#data, this.#at)
    this.#offset += this.#at
    this.#data = ''
    this.#at = 0
  }

  /** Whether all that was added is done with. */
  get isDone (): boolean { return this.#at === this.#data.length }

  get isIdle (): boolean { return this.isDone && this.#held.isEmpty }

  /** Stops after the handler that runs now. */
  halt (): void { this.#halted = true }

  /** Expects a new stream; of what is left, forgets all or goes on with it. */
  reset (keepRest: boolean): void {
    const rest = keepRest ? this.#held.take(this.#data.slice(this.#at)) : ''
    this.#held.drop()
    this.#mayDeclare = true
    this.#data = ''
    this.#at = this.#offset = 0
    this.#halted = true
    this.add(rest, this.#high, this.#low)
  }

  #markup (): boolean {
    const start = this.#at
    if (this.#tree.depth < 2) this.#offset = -start
    if (start + 1 === this.#data.length) return this.#hold('little')
    switch (this.#data.charCodeAt(start + 1)) {
      case SLASH: return this.#endTag(start)
      case BANG: return this.#section(start)
      case QUESTION: return this.#declaration(start)
      default: return this.#startTag(start)
    }
  }

  #characters (): boolean {
    const start = this.#at
    if (this.#tree.depth < 2) return this.#whitespace()
    const end = this.#lessThan(start)
    if (end === NOWHERE) return this.#hold('text')
    this.#measure(end)
    const data = this.#data
    if (this.#nextCdataEnd !== NOWHERE && this.#nextCdataEnd < start) this.#nextCdataEnd = data.indexOf(']]>', start)
    // XML 1.0 §2.4
    if (this.#nextCdataEnd !== NOWHERE && this.#nextCdataEnd < end) malformed(']]> in text')
    let text = data.slice(start, end)
    if (this.#isHigh(start, end)) text = fromOctets(text)
    if (this.#low) text = newlines(text)
    if (this.#hasReference(start, end)) text = decodeReferences(text)
    this.#at = end
    this.#tree.text(text)
    return true
  }

  /** Outside of top-level elements. RFC 6120 §4.6.1: whitespace keeps a stream alive. */
  #whitespace (): boolean {
    const data = this.#data
    let at = this.#at
    for (; at < data.length; at++) {
      const code = data.charCodeAt(at)
      if (code === LT) break
      if (code >= 128 || CLASS[code] !== SPACE) this.#stray()
    }
    this.#at = at
    this.#mayDeclare = false
    return true
  }

  /** Text in no stanza. XML allows it inside the root, XMPP does not (RFC 6120 §4.9.3.1: XML that cannot be processed). */
  #stray (): never {
    if (this.#tree.depth === 0) malformed('text outside of the root')
    throw new XmlError('bad-format', 'text outside of any stanza')
  }

  #startTag (start: number): boolean {
    let end
    try {
      end = this.#scanTag(start + 1)
    } catch (error) {
      if (!(error instanceof XmlError)) throw error
      return this.#judge(start, error)
    }
    if (end < 0) return this.#judge(start, undefined)
    this.#measure(end)
    this.#at = end
    this.#mayDeclare = false
    const tag = this.#tag
    this.#tree.open(tag, this.#data, start, end)
    return true
  }

  /** A tag that is cut off, or wrong: waits until its end is there. */
  #judge (start: number, error: XmlError | undefined): boolean {
    const end = this.#held.tagEnd(this.#data, start + 1)
    if (end < 0) return this.#hold('tag')
    this.#measure(end)
    throw error ?? new XmlError('not-well-formed', 'a < in a tag')
  }

  /** Scans a start tag into the record: where it ends, or -1 where it is cut off. */
  #scanTag (start: number): number {
    const data = this.#data
    const tag = this.#tag
    let at = this.#scanName(start)
    if (at < 0) return -1
    const attributes: Record<string, string> = {}
    tag.name = this.#name
    tag.octets = this.#nameOctets
    tag.colon = this.#colon
    tag.attributes = attributes
    tag.xmlns = undefined
    tag.declaresPrefix = tag.hasPrefixed = tag.isEmpty = false
    for (let count = 0; ; count++) {
      const before = at
      at = this.#skipSpace(at)
      const code = data.charCodeAt(at)
      if (code === GT) return at + 1
      if (code === SLASH) {
        if (at + 1 === data.length) return -1
        if (data.charCodeAt(at + 1) !== GT) malformed('a slash in a tag')
        tag.isEmpty = true
        return at + 2
      }
      if (at === data.length) return -1
      if (at === before) malformed('no space before an attribute')
      if (count === this.#tree.limits.attributes) excessive('too many attributes')
      at = this.#scanAttribute(at, attributes)
      if (at < 0) return -1
    }
  }

  #scanAttribute (start: number, attributes: Record<string, string>): number {
    const data = this.#data
    let at = this.#scanName(start)
    if (at < 0) return -1
    const name = this.#name
    const isPrefixed = this.#colon >= 0
    if (data.charCodeAt(at) !== EQUALS) {
      at = this.#skipSpace(at)
      if (at === data.length) return -1
      if (data.charCodeAt(at) !== EQUALS) malformed('an attribute without a value')
    }
    let code = data.charCodeAt(++at)
    if (code !== QUOTE && code !== APOSTROPHE) {
      at = this.#skipSpace(at)
      if (at >= data.length) return -1
      code = data.charCodeAt(at)
      if (code !== QUOTE && code !== APOSTROPHE) malformed('a value without quotes')
    }
    const from = at + 1
    const end = data.indexOf(code === QUOTE ? '"' : "'", from)
    if (end < 0) return -1
    const less = this.#lessThan(from)
    if (less !== NOWHERE && less < end) malformed('a < in a value')
    if (name === 'xmlns') this.#setDefault(attributes, from, end)
    else this.#set(attributes, name, isPrefixed, from, end)
    return end + 1
  }

  #set (attributes: Record<string, string>, name: string, isPrefixed: boolean, from: number, end: number): void {
    let value = this.#data.slice(from, end)
    if (this.#isHigh(from, end)) value = fromOctets(value)
    if (this.#low) value = value.replace(WHITESPACE, ' ') // XML 1.0 §3.3.3
    if (this.#hasReference(from, end)) value = decodeReferences(value)
    if (isPrefixed) {
      if (name.startsWith('xmlns:')) {
        this.#tag.declaresPrefix = true
        value = internNamespace(value, 0, value.length)
      } else this.#tag.hasPrefixed = true
    }
    if (attributes[name] === undefined) attributes[name] = value
    else if (Object.hasOwn(attributes, name)) malformed('an attribute twice')
    else define(attributes, name, value) // a name that every object has, such as toString or __proto__
  }

  #setDefault (attributes: Record<string, string>, from: number, end: number): void {
    if (attributes['xmlns'] !== undefined) malformed('an attribute twice')
    let value
    if (this.#low || this.#isHigh(from, end) || this.#hasReference(from, end)) {
      value = decodeReferences(fromOctets(this.#data.slice(from, end)).replace(WHITESPACE, ' '))
      value = internNamespace(value, 0, value.length)
    } else value = internNamespace(this.#data, from, end)
    if (value === NS.XML || value === NS.XMLNS) malformed('a reserved namespace as the default')
    attributes['xmlns'] = value
    this.#tag.xmlns = value
  }

  /** Scans a qualified name: where it ends, or -1 where the data does. */
  #scanName (start: number): number {
    const data = this.#data
    const { length } = data
    let code = data.charCodeAt(start)
    if (code < 128 && ((CLASS[code] as number) & NAME_START) === 0) malformed('a name that begins with another character')
    let hash = 0
    let colon = -1
    let isWide = false
    let at = start
    for (; at < length; at++) {
      code = data.charCodeAt(at)
      if (code >= 128) {
        isWide = true
        continue
      }
      if (((CLASS[code] as number) & NAME) === 0) break
      if (code === COLON) {
        if (colon >= 0) malformed('two colons in a name')
        colon = at
      }
      hash = hash * 31 + code | 0
    }
    if (at === length) return -1
    if (at - start > this.#tree.limits.name) excessive('too long a name')
    if (colon >= 0) this.#checkColon(colon, at)
    if (isWide) {
      this.#nameOctets = data.slice(start, at)
      this.#name = wideName(this.#nameOctets)
      this.#colon = this.#name.indexOf(':')
    } else {
      this.#name = this.#nameOctets = internName(data, start, at, hash)
      this.#colon = colon < 0 ? -1 : colon - start
    }
    return at
  }

  #checkColon (colon: number, end: number): void {
    const code = this.#data.charCodeAt(colon + 1)
    if (colon + 1 === end || code < 128 && ((CLASS[code] as number) & NAME_START) === 0) malformed('a prefix without a name')
  }

  #skipSpace (at: number): number {
    const data = this.#data
    for (; at < data.length; at++) {
      const code = data.charCodeAt(at)
      if (code >= 128 || CLASS[code] !== SPACE) break
    }
    return at
  }

  #endTag (start: number): boolean {
    if (this.#tree.depth === 0) malformed('an end tag that ends nothing')
    const data = this.#data
    const name = this.#tree.innermost
    let end = start + 2 + name.length
    const isRight = data.startsWith(name, start + 2)
    if (!isRight || data.charCodeAt(end) !== GT) {
      const less = this.#lessThan(start + 1)
      const greater = data.indexOf('>', start + 2)
      if (less === NOWHERE && greater < 0) return this.#hold('end')
      const last = greater < 0 || less !== NOWHERE && less < greater ? less : greater
      this.#measure(last + 1)
      if (!isRight || last < end || this.#skipSpace(end) !== greater || last !== greater) malformed('not the end tag of what is open')
      end = greater
    }
    this.#measure(end + 1)
    this.#at = end + 1
    this.#tree.close(data, end + 1)
    return true
  }

  /** `<!`: a CDATA section, or what RFC 6120 §11.1 forbids. */
  #section (start: number): boolean {
    const data = this.#data
    if (start + 2 === data.length) return this.#hold('little')
    const third = data.charAt(start + 2)
    if (third !== '[') {
      if (/[-A-Za-z]/.test(third)) throw new XmlError('restricted-xml', 'a comment or a document type')
      malformed('an exclamation mark that begins nothing')
    }
    if (this.#tree.depth < 2) this.#stray()
    if (!data.startsWith(CDATA, start)) {
      if (CDATA.startsWith(data.slice(start, start + CDATA.length))) return this.#hold('little')
      malformed('a section that is not CDATA')
    }
    const end = data.indexOf(']]>', start + CDATA.length)
    if (end < 0) return this.#hold('section')
    this.#measure(end + 3)
    const text = newlines(fromOctets(data.slice(start + CDATA.length, end)))
    this.#at = end + 3
    if (text !== '') this.#tree.text(text)
    return true
  }

  /** `<?`: the XML declaration, or what RFC 6120 §11.1 forbids. */
  #declaration (start: number): boolean {
    const data = this.#data
    const head = data.slice(start, start + 6)
    const isCut = head.length < 6
    if (!this.#mayDeclare || !'<?xml'.startsWith(head.slice(0, 5)) || !isCut && !/\s/.test(head.charAt(5))) {
      throw new XmlError('restricted-xml', 'a processing instruction')
    }
    if (isCut) return this.#hold('little')
    const end = data.indexOf('>', start) + 1
    if (end === 0) return this.#hold('end')
    this.#measure(end)
    checkDeclaration(data.slice(start, end))
    this.#mayDeclare = false
    this.#at = end
    return true
  }

  /** Keeps what is left until its end has come. */
  #hold (awaited: Awaited): boolean {
    this.#measure(this.#data.length)
    this.#held.keep(this.#data, this.#at, awaited)
    return false
  }

  /** Limits count while an element comes, and before it is looked at: up to this place it may be so long. */
  #measure (at: number): void {
    if (at + this.#offset > this.#tree.limits.bytes) excessive('too many octets')
  }

  #lessThan (from: number): number {
    if (this.#nextLt !== NOWHERE && this.#nextLt < from) this.#nextLt = this.#data.indexOf('<', from)
    return this.#nextLt
  }

  #hasReference (from: number, end: number): boolean {
    if (this.#nextAmp !== NOWHERE && this.#nextAmp < from) this.#nextAmp = this.#data.indexOf('&', from)
    return this.#nextAmp !== NOWHERE && this.#nextAmp < end
  }

  #isHigh (from: number, end: number): boolean {
    if (this.#nextHigh === NOWHERE) return false
    if (this.#nextHigh < from) {
      HIGH.lastIndex = from
      this.#nextHigh = HIGH.test(this.#data) ? HIGH.lastIndex - 1 : NOWHERE
    }
    return this.#nextHigh !== NOWHERE && this.#nextHigh < end
  }
}

/** XML 1.0 §2.11 */
function newlines (text: string): string {
  return text.includes('\r') ? text.replace(NEWLINE, '\n') : text
}
