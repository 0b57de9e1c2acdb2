/** From octets to tags and text (XML 1.0), over a string whose index is the offset of the byte. */
import { checkDeclaration } from './declaration.js'
import { Held, type Awaited } from './held.js'
import { CLASS, SPACE } from './names.js'
import { Scanner } from './scanner.js'
import type { Tree } from './tree.js'
import { excessive, malformed, XmlError } from './xml-error.js'

const LT = 60, GT = 62, SLASH = 47, BANG = 33, QUESTION = 63
const NOWHERE = -1
const CDATA = '<![CDATA['

/**
 * A tag is judged when its end has come, or a `<` that cannot stand in it; a text when the next `<` has come. So what a stream is
 * found guilty of depends on its bytes alone and not on how they were cut.
 */
export class Tokenizer {
  readonly #tree: Tree
  readonly #held = new Held()
  readonly #scanner = new Scanner()
  #at = 0
  /** What to add to a place in the data for the octets of this top-level element up to there. */
  #offset = 0
  #halted = false
  #mayDeclare = true
  #isRestarted = false
  /** Whether there may be bytes above 0x7F, or below 0x20. */
  #high = false
  #low = false

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
    this.#scanner.begin(held.take(octets), this.#high, this.#low)
    this.#at = 0
  }

  /** Goes through what was added, until it is done or `halt` was called. Throws XmlError, and what a handler throws. */
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

  /** Whether all that was added is done with. */
  get isDone (): boolean { return this.#at === this.#scanner.data.length }

  get isIdle (): boolean { return this.isDone && this.#held.isEmpty }

  /** Stops after the handler that runs now. */
  halt (): void { this.#halted = true }

  /** A handler may have halted it meanwhile. */
  #isHalted (): boolean { return this.#halted }

  /** Expects a new stream; of what is left, forgets all or goes on with it. */
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

  /** Outside of top-level elements. RFC 6120 §4.6.1: whitespace keeps a stream alive. */
  #whitespace (): boolean {
    const data = this.#scanner.data
    let at = this.#at
    for (; at < data.length; at++) {
      const code = data.charCodeAt(at)
      if (code === LT) break
      if (code >= 128 || CLASS[code] !== SPACE) this.#stray()
    }
    this.#at = at
    // COMPAT(go-xmpp): a line feed behind the last element of the stream before is not the beginning of this one.
    this.#mayDeclare &&= this.#isRestarted
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

  /** A tag that is cut off, or wrong: waits until its end is there. */
  #judge (start: number, error: XmlError | undefined): boolean {
    const end = this.#held.tagEnd(this.#scanner.data, start + 1)
    if (end < 0) return this.#hold('tag')
    this.#measure(end)
    throw error ?? new XmlError('not-well-formed', 'a < in a tag')
  }

  #endTag (start: number): boolean {
    if (this.#tree.depth === 0) malformed('an end tag that ends nothing')
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
      if (!isRight || last < end || this.#scanner.skipSpace(end) !== greater || last !== greater) malformed('not the end tag of what is open')
      end = greater
    }
    this.#measure(end + 1)
    this.#at = end + 1
    this.#tree.close(data, end + 1)
    return true
  }

  /** `<!`: a CDATA section, or what RFC 6120 §11.1 forbids. */
  #section (start: number): boolean {
    const data = this.#scanner.data
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
    const text = this.#scanner.section(start + CDATA.length, end)
    this.#at = end + 3
    if (text !== '') this.#tree.text(text)
    return true
  }

  /** `<?`: the XML declaration, or what RFC 6120 §11.1 forbids. */
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

  /** Keeps what is left until its end has come. */
  #hold (awaited: Awaited): boolean {
    this.#measure(this.#scanner.data.length)
    this.#held.keep(this.#scanner.data, this.#at, awaited)
    return false
  }

  /** Limits count while an element comes, and before it is looked at: up to this place it may be so long. */
  #measure (at: number): void {
    if (at + this.#offset > this.#tree.limits.bytes) excessive('too many octets')
  }
}
