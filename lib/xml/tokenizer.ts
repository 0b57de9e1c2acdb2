/** Turns octets into tags and text (XML 1.0), over a string in which the index is the byte offset. */
import { checkDeclaration } from './declaration.js'
import { PartialToken, type Awaited } from './partial-token.js'
import { CLASS, SPACE } from './names.js'
import { Scanner } from './scanner.js'
import type { Tree } from './tree.js'
import { excessive, malformed, XmlError } from './xml-error.js'

const LT = 60, GT = 62, SLASH = 47, BANG = 33, QUESTION = 63
const NOWHERE = -1
const CDATA = '<![CDATA['

/**
 * Splits octets into tokens. Checks a tag only when its end has arrived, or a `<` that is not allowed in it; checks a
 * text only when the next `<` has arrived. So the errors of a stream depend on its bytes alone, not on how they are
 * divided into chunks.
 */
export class Tokenizer {
  readonly #tree: Tree
  readonly #held = new PartialToken()
  readonly #scanner = new Scanner()
  #at = 0
  /**
   * The sum of this and a place in the data is the number of octets of the current top-level element up to that place.
   */
  #offset = 0
  #halted = false
  #mayDeclare = true
  #isRestarted = false
  /** `high`: there may be bytes above 0x7F. `low`: there may be bytes below 0x20. */
  #high = false
  #low = false

  constructor (tree: Tree) {
    this.#tree = tree
  }

  /** Adds octets. Must be called only when all earlier octets are consumed. */
  add (octets: string, high: boolean, low: boolean): void {
    if (octets === '') return
    const held = this.#held
    this.#high = high || !held.isEmpty && this.#high
    this.#low = low || !held.isEmpty && this.#low
    if (!held.completes(octets)) {
      this.#measure(held.length)
      return
    }
    this.#scanner.begin(held.take(octets), this.#high, this.#low)
    this.#at = 0
  }

  /**
   * Processes what was added, until all is consumed or `halt` is called. Throws XmlError, and what a handler throws.
   */
  run (): void {
    this.#halted = false
    const { length } = this.#scanner.data
    while (this.#at < length) {
      const whole = this.#scanner.data.charCodeAt(this.#at) === LT ? this.#markup() : this.#characters()
      if (this.#isHalted() && this.#at < length) return
      if (!whole) break
    }
    this.#tree.carry(this.#scanner.data, this.#at)
    this.#offset += this.#at
    this.#scanner.forget()
    this.#at = 0
  }

  /** True if all that was added is consumed. */
  get isDone (): boolean { return this.#at === this.#scanner.data.length }

  get isIdle (): boolean { return this.isDone && this.#held.isEmpty }

  /** Stops after the handler that is running. */
  halt (): void { this.#halted = true }

  /** A method, because a handler may have called `halt` since the last check. */
  #isHalted (): boolean { return this.#halted }

  /** Expects a new stream; drops the remaining octets, or continues with them if `keepRest` is true. */
  reset (keepRest: boolean): void {
    const rest = keepRest ? this.#held.take(this.#scanner.data.slice(this.#at)) : ''
    this.#held.drop()
    this.#mayDeclare = true
    this.#isRestarted = true
    this.#scanner.forget()
    this.#at = this.#offset = 0
    this.#halted = true
    this.add(rest, this.#high, this.#low)
  }

  #markup (): boolean {
    const start = this.#at
    if (this.#tree.depth < 2) this.#offset = -start
    if (start + 1 === this.#scanner.data.length) return this.#hold('little')
    switch (this.#scanner.data.charCodeAt(start + 1)) {
      case SLASH: return this.#endTag(start)
      case BANG: return this.#section(start)
      case QUESTION: return this.#declaration(start)
      default: return this.#startTag(start)
    }
  }

  #characters (): boolean {
    const start = this.#at
    if (this.#tree.depth < 2) return this.#whitespace()
    const end = this.#scanner.lessThan(start)
    if (end === NOWHERE) return this.#hold('text')
    this.#measure(end)
    const text = this.#scanner.text(this.#at, end)
    this.#at = end
    this.#tree.text(text)
    return true
  }

  /** Reads whitespace between top-level elements (RFC 6120 §4.6.1: whitespace keepalive). */
  #whitespace (): boolean {
    const data = this.#scanner.data
    let at = this.#at
    for (; at < data.length; at++) {
      const code = data.charCodeAt(at)
      if (code === LT) break
      if (code >= 128 || CLASS[code] !== SPACE) this.#stray()
    }
    this.#at = at
    // COMPAT(go-xmpp): a line feed after the last element of the previous stream is not the beginning of this one.
    this.#mayDeclare &&= this.#isRestarted
    return true
  }

  /**
   * Throws for text outside of stanzas. XML allows it inside the root, but XMPP does not (RFC 6120 §4.9.3.1: XML that
   * cannot be processed).
   */
  #stray (): never {
    if (this.#tree.depth === 0) malformed('text outside of the root')
    throw new XmlError('bad-format', 'text outside of any stanza')
  }

  #startTag (start: number): boolean {
    let end
    try {
      end = this.#scanner.scanTag(start + 1, this.#tree.limits)
    } catch (error) {
      if (!(error instanceof XmlError)) throw error
      return this.#judge(start, error)
    }
    if (end < 0) return this.#judge(start, undefined)
    this.#measure(end)
    this.#at = end
    this.#mayDeclare = false
    this.#tree.open(this.#scanner.tag, this.#scanner.data, start, end)
    return true
  }

  /** Handles a tag that is incomplete or has an error: waits until its end has arrived, then throws. */
  #judge (start: number, error: XmlError | undefined): boolean {
    const end = this.#held.tagEnd(this.#scanner.data, start + 1)
    if (end < 0) return this.#hold('tag')
    this.#measure(end)
    throw error ?? new XmlError('not-well-formed', 'a < in a tag')
  }

  #endTag (start: number): boolean {
    if (this.#tree.depth === this.#tree.floor) malformed('an end tag without a start tag')
    const data = this.#scanner.data
    const name = this.#tree.innermost
    let end = start + 2 + name.length
    const isRight = data.startsWith(name, start + 2)
    if (!isRight || data.charCodeAt(end) !== GT) {
      const less = this.#scanner.lessThan(start + 1)
      const greater = data.indexOf('>', start + 2)
      if (less === NOWHERE && greater < 0) return this.#hold('end')
      const last = greater < 0 || less !== NOWHERE && less < greater ? less : greater
      this.#measure(last + 1)
      if (!isRight || last < end || this.#scanner.skipSpace(end) !== greater || last !== greater) {
        malformed('an end tag that does not match its start tag')
      }
      end = greater
    }
    this.#measure(end + 1)
    this.#at = end + 1
    this.#tree.close(data, end + 1)
    return true
  }

  /** Handles `<!`: a CDATA section, or something that RFC 6120 §11.1 forbids. */
  #section (start: number): boolean {
    const data = this.#scanner.data
    if (start + 2 === data.length) return this.#hold('little')
    const third = data.charAt(start + 2)
    if (third !== '[') {
      if (/[-A-Za-z]/.test(third)) throw new XmlError('restricted-xml', 'a comment or a document type')
      malformed('an exclamation mark that begins no section')
    }
    if (this.#tree.depth < 2) this.#stray()
    if (!data.startsWith(CDATA, start)) {
      if (CDATA.startsWith(data.slice(start, start + CDATA.length))) return this.#hold('little')
      malformed('a section that is not CDATA')
    }
    const end = data.indexOf(']]>', start + CDATA.length)
    if (end < 0) return this.#hold('section')
    this.#measure(end + 3)
    const text = this.#scanner.section(start + CDATA.length, end)
    this.#at = end + 3
    if (text !== '') this.#tree.text(text)
    return true
  }

  /** Handles `<?`: the XML declaration, or something that RFC 6120 §11.1 forbids. */
  #declaration (start: number): boolean {
    const data = this.#scanner.data
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

  /** Holds the rest until its end has arrived. */
  #hold (awaited: Awaited): boolean {
    this.#measure(this.#scanner.data.length)
    this.#held.keep(this.#scanner.data, this.#at, awaited)
    return false
  }

  /**
   * Throws if the element is too long up to this place. Limits apply while an element arrives, and before its content
   * is examined.
   */
  #measure (at: number): void {
    if (at + this.#offset > this.#tree.limits.bytes) excessive('too many octets')
  }
}
