/**
 * Scans tags and text in a piece of data. Remembers the places of the next `<`, `&`, `]]>` and high byte, so that
 * values need not be searched.
 */
import { fromOctets } from './octets.js'
import { decodeReferences } from './entities.js'
import { CLASS, internName, internNamespace, NAME, NAME_START, SPACE, wideName } from './names.js'
import { NS } from './namespaces.js'
import { define } from './element.js'
import type { Limits, Tag } from './tree.js'
import { excessive, malformed } from './xml-error.js'

const GT = 62, SLASH = 47, EQUALS = 61, COLON = 58, QUOTE = 34, APOSTROPHE = 39
/** UNKNOWN: the place has not been searched for yet. NOWHERE: there is none in the data. */
const UNKNOWN = -2
const NOWHERE = -1
const NONE: Record<string, string> = {}
const WHITESPACE = /\r\n|[\t\n\r]/g
const NEWLINE = /\r\n?/g
const HIGH = /[\x80-\xff]/g

export class Scanner {
  /** The start tag that was scanned last. */
  readonly tag: Tag = {
    name: '', octets: '', colon: -1, attributes: NONE, xmlns: undefined,
    declaresPrefix: false, hasPrefixed: false, isEmpty: false,
  }

  data = ''
  #low = false
  #nextLt = UNKNOWN
  #nextAmp = UNKNOWN
  #nextHigh = UNKNOWN
  #nextCdataEnd = UNKNOWN
  /** The name that was scanned last. */
  #name = ''
  #nameOctets = ''
  #colon = -1

  /** Begins with new data. `high`: it may have bytes above 0x7F; `low`: it may have bytes below 0x20. */
  begin (data: string, high: boolean, low: boolean): void {
    this.data = data
    this.#low = low
    this.#nextLt = this.#nextAmp = this.#nextCdataEnd = UNKNOWN
    this.#nextHigh = high ? UNKNOWN : NOWHERE
  }

  /** Releases the data and the contents of the tag. */
  forget (): void {
    this.data = ''
    this.tag.attributes = NONE
    this.tag.xmlns = undefined
  }

  /** Returns the text between tags, decoded. */
  text (start: number, end: number): string {
    if (this.#nextCdataEnd !== NOWHERE && this.#nextCdataEnd < start) {
      this.#nextCdataEnd = this.data.indexOf(']]>', start)
    }
    if (this.#nextCdataEnd !== NOWHERE && this.#nextCdataEnd < end) malformed(']]> in text') // XML 1.0 §2.4
    const text = this.section(start, end)
    return this.#hasReference(start, end) ? decodeReferences(text) : text
  }

  /** Returns the content of a CDATA section, decoded. */
  section (start: number, end: number): string {
    let text = this.data.slice(start, end)
    if (this.#isHigh(start, end)) text = fromOctets(text)
    return this.#low && text.includes('\r') ? text.replace(NEWLINE, '\n') : text // XML 1.0 §2.11
  }

  /** Scans a start tag into `tag`. Returns the place after it, or -1 if it is incomplete. */
  scanTag (start: number, limits: Limits): number {
    const data = this.data
    const tag = this.tag
    let at = this.#scanName(start, limits.name)
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
      at = this.skipSpace(at)
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
      if (count === limits.attributes) excessive('too many attributes')
      at = this.#scanAttribute(at, attributes, limits)
      if (at < 0) return -1
    }
  }

  #scanAttribute (start: number, attributes: Record<string, string>, limits: Limits): number {
    const data = this.data
    let at = this.#scanName(start, limits.name)
    if (at < 0) return -1
    const name = this.#name
    const isPrefixed = this.#colon >= 0
    if (data.charCodeAt(at) !== EQUALS) {
      at = this.skipSpace(at)
      if (at === data.length) return -1
      if (data.charCodeAt(at) !== EQUALS) malformed('an attribute without a value')
    }
    let code = data.charCodeAt(++at)
    if (code !== QUOTE && code !== APOSTROPHE) {
      at = this.skipSpace(at)
      if (at >= data.length) return -1
      code = data.charCodeAt(at)
      if (code !== QUOTE && code !== APOSTROPHE) malformed('a value without quotes')
    }
    const from = at + 1
    const end = data.indexOf(code === QUOTE ? '"' : "'", from)
    if (end < 0) return -1
    const less = this.lessThan(from)
    if (less !== NOWHERE && less < end) malformed('a < in a value')
    if (name === 'xmlns') this.#setDefault(attributes, from, end)
    else this.#set(attributes, name, isPrefixed, from, end)
    return end + 1
  }

  #set (attributes: Record<string, string>, name: string, isPrefixed: boolean, from: number, end: number): void {
    let value = this.data.slice(from, end)
    if (this.#isHigh(from, end)) value = fromOctets(value)
    if (this.#low) value = value.replace(WHITESPACE, ' ') // XML 1.0 §3.3.3
    if (this.#hasReference(from, end)) value = decodeReferences(value)
    if (isPrefixed) {
      if (name.startsWith('xmlns:')) {
        this.tag.declaresPrefix = true
        value = internNamespace(value, 0, value.length)
      } else this.tag.hasPrefixed = true
    }
    if (attributes[name] === undefined) attributes[name] = value
    else if (Object.hasOwn(attributes, name)) malformed('a duplicate attribute')
    else define(attributes, name, value) // a name that every object inherits, such as toString or __proto__
  }

  #setDefault (attributes: Record<string, string>, from: number, end: number): void {
    if (attributes['xmlns'] !== undefined) malformed('a duplicate attribute')
    let value
    if (this.#low || this.#isHigh(from, end) || this.#hasReference(from, end)) {
      value = decodeReferences(fromOctets(this.data.slice(from, end)).replace(WHITESPACE, ' '))
      value = internNamespace(value, 0, value.length)
    } else value = internNamespace(this.data, from, end)
    if (value === NS.XML || value === NS.XMLNS) malformed('a reserved namespace as the default namespace')
    attributes['xmlns'] = value
    this.tag.xmlns = value
  }

  /** Scans a qualified name. Returns the place after it, or -1 if the data ends first. */
  #scanName (start: number, longest: number): number {
    const data = this.data
    const { length } = data
    let code = data.charCodeAt(start)
    if (code < 128 && ((CLASS[code] as number) & NAME_START) === 0) malformed('a name with an invalid first character')
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
    if (at - start > longest) excessive('a name that is too long')
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
    const code = this.data.charCodeAt(colon + 1)
    if (colon + 1 === end || code < 128 && ((CLASS[code] as number) & NAME_START) === 0) {
      malformed('a prefix without a name')
    }
  }

  /** Returns the next place without whitespace. */
  skipSpace (at: number): number {
    const data = this.data
    for (; at < data.length; at++) {
      const code = data.charCodeAt(at)
      if (code >= 128 || CLASS[code] !== SPACE) break
    }
    return at
  }

  /** Returns the place of the next `<` from `from` on; -1 if there is none. Calls must not go backwards. */
  lessThan (from: number): number {
    if (this.#nextLt !== NOWHERE && this.#nextLt < from) this.#nextLt = this.data.indexOf('<', from)
    return this.#nextLt
  }

  #hasReference (from: number, end: number): boolean {
    if (this.#nextAmp !== NOWHERE && this.#nextAmp < from) this.#nextAmp = this.data.indexOf('&', from)
    return this.#nextAmp !== NOWHERE && this.#nextAmp < end
  }

  #isHigh (from: number, end: number): boolean {
    if (this.#nextHigh === NOWHERE) return false
    if (this.#nextHigh < from) {
      HIGH.lastIndex = from
      this.#nextHigh = HIGH.test(this.data) ? HIGH.lastIndex - 1 : NOWHERE
    }
    return this.#nextHigh !== NOWHERE && this.#nextHigh < end
  }
}
