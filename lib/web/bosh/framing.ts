/**
 * The framing of BOSH (XEP-0206): a stream has no header and no end of its own. The first `<body/>`, and one that asks
 * for a restart, stand for the client's header; each payload is complete by itself.
 */
import type { Framing, Reader, ReaderHandlers } from '../../stream/framing.js'
import { readHeader, type OwnHeader, type StreamHeader } from '../../stream/header.js'
import { define, ParsedElement, type Source } from '../../xml/element.js'
import { Parser, XmlError, type Limits, type ParserSettings } from '../../xml/parser.js'
import { standalone } from '../frames.js'
import { isRestart, WRAPPER, xboshAttribute } from './head.js'
import { WaitingInput } from '../waiting-input.js'

/** Written instead of an end tag: no element is like it. */
export const END_OF_STREAM = '</>'

/** Returns the framing of one session. `opened`: told our header, which the transport puts into its next `<body/>`. */
export function boshFraming (opened: (own: OwnHeader) => void): Framing {
  return {
    hasStartTls: false, // XEP-0206 §3: encryption is below HTTP
    keepalive: undefined,
    end: END_OF_STREAM,
    reader: (how, handlers) => new BodyReader(how, handlers),
    readHeader: wrapperHeader,
    header: own => {
      opened(own)
      return ''
    },
    element: standalone,
  }
}

/** XEP-0206 §2: the version is in a namespace of its own. A client that leaves it out means 1.0. */
function wrapperHeader (root: ParsedElement): StreamHeader {
  const attributes: Record<string, string> = {}
  for (const name of ['to', 'from', 'xml:lang']) {
    const value: unknown = root.attrs[name]
    if (typeof value === 'string') define(attributes, name, value)
  }
  define(attributes, 'version', xboshAttribute(root, 'version') ?? '1.0')
  return readHeader(new ParsedElement(root.name, attributes, null, root.ns, root.bindings))
}

/** Reads the bodies of one session, each of which is a document. */
class BodyReader implements Reader {
  readonly #how: ParserSettings
  readonly #handlers: ReaderHandlers
  #limits: Limits
  readonly #waiting = new WaitingInput()
  /** The parser of a body that is not read to its end. */
  #parser: Parser | undefined
  #isTerminate = false
  #isRestart = false
  #isComplete = false
  #isStopped = false
  #isReading = false
  #isOpen = false
  #isFirst = true
  #isOver = false

  constructor (how: ParserSettings, handlers: ReaderHandlers) {
    this.#how = how
    this.#handlers = handlers
    this.#limits = how.limits
  }

  get limits (): Limits { return this.#limits }
  set limits (limits: Limits) {
    this.#limits = limits
    if (this.#parser !== undefined) this.#parser.limits = limits
  }

  write (body: Uint8Array): void {
    if (this.#isOver) return
    this.#waiting.push(body)
    this.#readAll()
    const { excess } = this.#waiting
    if (excess === undefined) return
    this.#end()
    throw excess
  }

  stop (): void {
    this.#isStopped = true
    this.#parser?.stop()
  }

  resume (): void {
    this.#isStopped = false
    if (this.#isReading) this.#parser?.resume() // the parser continues after its handler returns
    else this.#readAll()
  }

  reset ({ keepRest }: { readonly keepRest: boolean }): void {
    this.#isOpen = false
    if (keepRest) return
    this.#waiting.clear()
  }

  #readAll (): void {
    if (this.#isReading) return
    this.#isReading = true
    try {
      while (!this.#isStopped && !this.#isOver && this.#readOne());
    } catch (error) {
      this.#end()
      throw error
    } finally {
      this.#isReading = false
    }
  }

  /** Reads on in the present body, or in the next one. Returns false if there is none. */
  #readOne (): boolean {
    const parser = this.#parser
    if (parser !== undefined) parser.resume()
    else {
      const body = this.#waiting.shift()
      if (body === undefined) return false
      this.#isComplete = false
      this.#parser = this.#parserOfOne()
      this.#parser.write(body)
    }
    if (this.#isComplete) this.#completed()
    // Everything has been read, unless the reader was stopped: a body ends with its end tag.
    else if (!this.#isStopped) throw new XmlError('not-well-formed', 'half a body')
    return true
  }

  #completed (): void {
    this.#parser = undefined
    if (!this.#isTerminate || this.#isOver) return
    this.#end()
    this.#handlers.closed()
  }

  #parserOfOne (): Parser {
    const { contentNamespace } = this.#how
    return new Parser({ limits: this.#limits, contentNamespace, root: WRAPPER }, {
      opened: root => { this.#opened(root) },
      element: (element, source) => { this.#element(element, source) },
      closed: () => { this.#isComplete = true },
    })
  }

  #opened (root: ParsedElement): void {
    this.#isTerminate = root.attrs['type'] === 'terminate'
    this.#isRestart = isRestart(root)
    if (this.#isRestart && this.#isOpen) throw new XmlError('bad-format', 'a restart out of place')
    if (!this.#isFirst && !this.#isRestart) return
    this.#isFirst = false
    this.#isOpen = true
    this.#handlers.opened(root)
  }

  #element (element: ParsedElement, source: Source): void {
    if (this.#isRestart) return // XEP-0206 §5: ignored
    if (!this.#isOpen) throw new XmlError('not-well-formed', 'a payload before the restart')
    if (element.ns === '') throw new XmlError('invalid-namespace', 'a payload without a namespace')
    this.#handlers.element(element, source)
  }

  #end (): void {
    this.#isOver = true
    this.#waiting.clear()
    this.#parser = undefined
  }
}
