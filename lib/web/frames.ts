/** The framing of RFC 7395: each element is one message, with all the namespaces that it uses. */
import { LANGUAGE, type Framing, type Reader, type ReaderHandlers } from '../stream/framing.js'
import { readHeader } from '../stream/header.js'
import { localName, xml, type ParsedElement, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { Parser, XmlError, type Limits, type ParserSettings } from '../xml/parser.js'
import { octets } from '../xml/writer.js'
import { WaitingInput } from './waiting-input.js'

/** A start tag as our writer writes it. */
const START = /^<([^ />]+)((?: [^ =]+="[^"]*")*)/
const LESS_THAN = 0x3c

export const WEB_FRAMES: Framing = {
  hasStartTls: false, // RFC 7395 §3.9
  keepalive: undefined, // RFC 7395 §3.8
  end: octets(xml('close', { xmlns: NS.FRAMING })),
  reader: (how, handlers) => new FrameReader(how, handlers),
  readHeader,
  // RFC 7395 §3.4
  header: ({ id, from, to }) =>
    octets(xml('open', { 'xmlns': NS.FRAMING, id, from, to, 'version': '1.0', 'xml:lang': LANGUAGE })),
  element: standalone,
}

/**
 * RFC 7395 §3.3.3: declares what an element takes from the stream around it. `text`: the element as our writer writes
 * it inside of a stream of clients.
 */
export function standalone (text: string): string {
  const [start = '', name = '', attributes = ''] = START.exec(text) ?? []
  const isContent = !name.includes(':') && !attributes.startsWith(' xmlns="')
  // the prefix may also be used further inside
  const usesStream = text.includes('stream:') && !attributes.includes(' xmlns:stream="')
  const declared = (isContent ? ` xmlns="${NS.CLIENT}"` : '') + (usesStream ? ` xmlns:stream="${NS.STREAM}"` : '')
  return declared === '' ? text : `<${name}${declared}${attributes}${text.slice(start.length)}`
}

class FrameReader implements Reader {
  readonly #parser: Parser
  readonly #handlers: ReaderHandlers
  readonly #waiting = new WaitingInput()
  #found: { readonly element: ParsedElement, readonly source: Source } | undefined
  #isStopped = false
  #isReading = false
  #isOpen = false
  #isOver = false

  constructor (how: ParserSettings, handlers: ReaderHandlers) {
    this.#handlers = handlers
    this.#parser = new Parser({ ...how, isRootless: true }, {
      opened: () => {},
      element: (element, source) => {
        if (this.#found !== undefined) throw new XmlError('not-well-formed', 'two elements in one frame')
        this.#found = { element, source }
      },
      closed: () => {},
    })
  }

  get limits (): Limits { return this.#parser.limits }
  set limits (limits: Limits) { this.#parser.limits = limits }

  write (frame: Uint8Array): void {
    if (this.#isOver) return
    this.#waiting.push(frame)
    this.#readAll()
    const { excess } = this.#waiting
    if (excess === undefined) return
    this.#end()
    throw excess
  }

  stop (): void { this.#isStopped = true }

  resume (): void {
    this.#isStopped = false
    this.#readAll()
  }

  reset ({ keepRest }: { readonly keepRest: boolean }): void {
    this.#parser.reset({ keepRest: false })
    this.#isOpen = false
    if (!keepRest) this.#drop()
  }

  #readAll (): void {
    if (this.#isReading) return
    this.#isReading = true
    try {
      while (!this.#isStopped && !this.#isOver) {
        const frame = this.#waiting.shift()
        if (frame === undefined) return
        this.#read(frame)
      }
    } catch (error) {
      this.#end()
      throw error
    } finally {
      this.#isReading = false
    }
  }

  #read (frame: Uint8Array): void {
    // RFC 7395 §3.3.3: the first character of a message is '<'
    if (frame[0] !== LESS_THAN) throw new XmlError('not-well-formed', 'a frame does not begin with an element')
    this.#found = undefined
    this.#parser.write(frame)
    const { element, source } = this.#one()
    const isFraming = element.ns === NS.FRAMING
    if (!this.#isOpen) {
      // RFC 7395 §3.4
      if (!isFraming || localName(element) !== 'open') throw new XmlError('invalid-namespace', 'the first frame is not open')
      this.#isOpen = true
      this.#handlers.opened(element)
    } else if (!isFraming) this.#handlers.element(element, source)
    else if (localName(element) === 'close') {
      this.#end()
      this.#handlers.closed()
    } else throw new XmlError('bad-format', 'a frame out of place')
  }

  #one (): { readonly element: ParsedElement, readonly source: Source } {
    const found = this.#found
    if (found === undefined || !this.#parser.isIdle) throw new XmlError('not-well-formed', 'a frame is not one element')
    if (found.element.ns === '') throw new XmlError('invalid-namespace', 'a frame without a namespace')
    return found
  }

  #end (): void {
    this.#isOver = true
    this.#drop()
  }

  #drop (): void {
    this.#waiting.clear()
  }
}
