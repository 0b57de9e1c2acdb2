/**
 * Reads a document of any size piece by piece, for what an operator imports (XEP-0227). sax finds where pieces begin
 * and end. The strict parser that reads network input also reads the content of each piece.
 */
import sax from 'sax'
import { meansUtf8 } from './declaration.js'
import type { ParsedElement } from './element.js'
import { escapeAttribute } from './escape.js'
import { toOctets } from './octets.js'
import { parseElement } from './parse-element.js'
import { XmlError } from './xml-error.js'

/** The start tag of an element that is read in pieces. */
export interface Opened {
  readonly name: string
  readonly namespace: string
  readonly attributes: ReadonlyMap<string, string>
}

export type Piece =
  | { readonly kind: 'open', readonly tag: Opened, readonly line: number }
  | { readonly kind: 'close', readonly tag: Opened, readonly line: number }
  | { readonly kind: 'element', readonly element: ParsedElement, readonly line: number }
  /** An element that is not accepted; `text` is the reason. Reading continues after it. */
  | { readonly kind: 'refused', readonly name: string, readonly text: string, readonly line: number }

export interface Reading {
  /** True if this element is to be read in pieces. Called only if all elements around it are read in pieces. */
  opens (around: readonly Opened[], tag: Opened): boolean
  /** The most characters that a piece may have. */
  readonly longest: number
}

/** Thrown if a document cannot be read any further. */
export class DocumentError extends Error {
  readonly line: number

  constructor (line: number, text: string) {
    super(text)
    this.line = line
  }
}

/**
 * Yields the pieces of a document in UTF-8. Throws DocumentError if the document is ill-formed, has a document type, or
 * is in another encoding.
 */
export async function * readDocument (chunks: AsyncIterable<Uint8Array>, how: Reading): AsyncGenerator<Piece> {
  const reader = new Reader(how)
  const utf8 = new TextDecoder('utf-8', { fatal: true })
  const decoded = (chunk: Uint8Array | undefined): string => {
    try {
      return utf8.decode(chunk, { stream: chunk !== undefined })
    } catch {
      throw new DocumentError(reader.line, 'not UTF-8')
    }
  }
  for await (const chunk of chunks) {
    reader.write(decoded(chunk))
    yield * reader.take()
    reader.check()
  }
  reader.write(decoded(undefined))
  reader.end()
  yield * reader.take()
  reader.check()
}

/** strictEntities is missing in sax's types. It allows no entities except the five predefined ones of XML. */
const OPTIONS: sax.SAXOptions & { readonly strictEntities: true } = {
  xmlns: true, position: true, strictEntities: true,
}

interface Begun {
  readonly tag: sax.QualifiedTag
  readonly start: number
  readonly line: number
  readonly cut: [number, number][]
  depth: number
}

class Reader {
  readonly #how: Reading
  readonly #sax = sax.parser(true, OPTIONS)
  readonly #opened: Opened[] = []
  #pieces: Piece[] = []
  #failure: DocumentError | undefined
  /** The text that may still be needed, and its offset in the document. */
  #text = ''
  #base = 0
  /**
   * The piece that is being read. `cut` lists the places of comments and processing instructions in it, which are left
   * out.
   */
  #piece: Begun | undefined
  #any = false

  constructor (how: Reading) {
    this.#how = how
    this.#sax.onerror = error => { this.#fail(error.message.split('\n', 1)[0] ?? '') }
    this.#sax.ondoctype = () => { this.#fail('a document type is not allowed') }
    this.#sax.onprocessinginstruction = ({ name, body }) => {
      const encoding = name === 'xml' ? /\bencoding\s*=\s*["']([^"']*)["']/.exec(body)?.[1] : undefined
      if (encoding !== undefined && !meansUtf8(encoding)) {
        this.#fail(`the encoding ${encoding} is not supported, only UTF-8`)
      }
      this.#skip(0)
    }
    this.#sax.oncomment = () => { this.#skip(1) } // sax calls this before the last character of the comment
    this.#sax.onopentag = tag => { if (this.#failure === undefined) this.#open(tag as sax.QualifiedTag) }
    this.#sax.onclosetag = () => { if (this.#failure === undefined) this.#close() }
  }

  get line (): number { return this.#sax.line + 1 }

  write (text: string): void {
    if (text === '') return
    this.#text += text
    this.#sax.write(text)
    this.#forget()
  }

  end (): void {
    if (this.#failure !== undefined) return
    this.#sax.close()
    if (!this.#any) this.#fail('the document has no element')
  }

  take (): readonly Piece[] {
    const pieces = this.#pieces
    this.#pieces = []
    return pieces
  }

  check (): void {
    if (this.#failure !== undefined) throw this.#failure
  }

  #fail (text: string): void { this.#failure ??= new DocumentError(this.line, text) }

  /**
   * Drops all text except the piece that is being read, or the tag with which one may begin. Drops a piece that is
   * longer than the limit too.
   */
  #forget (): void {
    const start = this.#piece?.start ?? Math.max(0, this.#sax.startTagPosition - 1)
    const from = Math.max(this.#base, this.#sax.position - start > this.#how.longest ? this.#sax.position : start)
    this.#text = this.#text.slice(from - this.#base)
    this.#base = from
  }

  #open (tag: sax.QualifiedTag): void {
    this.#any = true
    if (this.#piece !== undefined) {
      this.#piece.depth++
      return
    }
    const opened = openedBy(tag)
    if (this.#how.opens(this.#opened, opened)) {
      this.#opened.push(opened)
      this.#pieces.push({ kind: 'open', tag: opened, line: this.line })
    } else {
      this.#piece = { tag, start: this.#sax.startTagPosition - 1, line: this.line, cut: [], depth: 1 }
    }
  }

  #close (): void {
    const piece = this.#piece
    if (piece === undefined) {
      const tag = this.#opened.pop()
      if (tag !== undefined) this.#pieces.push({ kind: 'close', tag, line: this.line })
    } else if (--piece.depth === 0) {
      this.#piece = undefined
      const { tag, start, line, cut } = piece
      if (start < this.#base || this.#sax.position - start > this.#how.longest) this.#refuse(tag, line, 'too large')
      else this.#read(tag, line, this.#between(start, this.#sax.position, cut))
    }
  }

  /** Marks the comment or instruction that has just ended; it began where sax says that the last tag began. */
  #skip (left: number): void { this.#piece?.cut.push([this.#sax.startTagPosition - 1, this.#sax.position + left]) }

  #between (start: number, end: number, cut: readonly (readonly [number, number])[]): string {
    let text = ''
    let from = start
    for (const [first, behind] of cut) {
      text += this.#text.slice(from - this.#base, first - this.#base)
      from = behind
    }
    return text + this.#text.slice(from - this.#base, end - this.#base)
  }

  #read (tag: sax.QualifiedTag, line: number, text: string): void {
    try {
      this.#pieces.push({ kind: 'element', element: parseElement(toOctets(standingAlone(tag, text))), line })
    } catch (error) {
      // a TypeError is thrown for a namespace that XML cannot carry
      if (!(error instanceof XmlError || error instanceof TypeError)) throw error
      this.#refuse(tag, line, error.message)
    }
  }

  #refuse ({ local }: sax.QualifiedTag, line: number, text: string): void {
    this.#pieces.push({ kind: 'refused', name: local, text, line })
  }
}

function openedBy (tag: sax.QualifiedTag): Opened {
  return {
    name: tag.local,
    namespace: tag.uri,
    attributes: new Map(Object.values(tag.attributes)
      .filter(({ prefix }) => prefix === '').map(({ local, value }) => [local, value])),
  }
}

/** True if the text may use the prefix: most prefixes are declared at the top, for only a few elements below. */
function isUsed (prefix: string, text: string): boolean {
  return prefix === '' || text.includes(`${prefix}:`)
}

/** Returns the text of an element with the inherited default namespace and prefixes declared in its start tag. */
function standingAlone (tag: sax.QualifiedTag, text: string): string {
  let inherited = ''
  // The element's own declarations are in its tag already; the others are inherited.
  const around = tag.ns
  for (const prefix in around) {
    const uri = around[prefix]
    const attribute = prefix === '' ? 'xmlns' : `xmlns:${prefix}`
    if (uri === undefined || prefix === 'xml' || prefix === 'xmlns' || !isUsed(prefix, text)) continue
    if (Object.hasOwn(tag.attributes, attribute)) continue
    inherited += ` ${attribute}="${escapeAttribute(uri)}"`
  }
  if (around[''] === undefined && !Object.hasOwn(tag.attributes, 'xmlns')) inherited += ' xmlns=""'
  const end = 1 + tag.name.length
  return text.slice(0, end) + inherited + text.slice(end)
}
