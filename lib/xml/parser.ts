/** A strict streaming parser, from network chunks to elements (RFC 6120 §11). The only XML that reads what strangers send. */
import { Decoder } from './encoding.js'
import { Tokenizer } from './tokenizer.js'
import { Tree, type Limits, type ParserHandlers } from './tree.js'
import { excessive } from './xml-error.js'

export { XmlError, type XmlCondition } from './xml-error.js'
export type { Limits, ParserHandlers } from './tree.js'

export interface ParserSettings {
  readonly limits: Limits
  /** Of the stream: jabber:client, jabber:server or jabber:component:accept. */
  readonly contentNamespace: string
}

/** So many bytes may come while the parser is stopped: who stops it stops reading from the network too. */
const LONGEST_WAIT = 1_048_576

/**
 * Parses a stream as its chunks come. An element, its text and attributes are windows on the chunk they came in: see `flatten`.
 * The parser itself keeps nothing of an element once it is handed over.
 */
export class Parser {
  readonly #tree: Tree
  readonly #tokenizer: Tokenizer
  readonly #decoder = new Decoder()
  #waiting: Uint8Array[] = []
  #waitingBytes = 0
  #isRunning = false
  #isStopped = false
  #isOver = false

  constructor (how: ParserSettings, handlers: ParserHandlers) {
    this.#tree = new Tree(how.limits, how.contentNamespace, {
      opened: root => { handlers.opened(root) },
      element: (element, source) => { handlers.element(element, source) },
      closed: () => {
        this.#end() // RFC 6120 §4.4: what comes after the closing tag is not looked at
        handlers.closed()
      },
    })
    this.#tokenizer = new Tokenizer(this.#tree)
  }

  /** In force at once, also for an element that is not complete. */
  get limits (): Limits { return this.#tree.limits }
  set limits (limits: Limits) { this.#tree.limits = limits }

  /** Whether nothing is under way: no element, no token, no character is cut off. */
  get isIdle (): boolean {
    return this.#tree.depth < 2 && this.#tokenizer.isIdle && this.#decoder.isIdle && this.#waiting.length === 0
  }

  /**
   * Parses a chunk, calling the handlers on the way. Throws XmlError, or what a handler throws; after that, and after the stream's end,
   * nothing is looked at any more. While the parser is stopped the bytes are kept, up to 1 MiB.
   */
  write (chunk: Uint8Array): void {
    if (this.#isOver) return
    if (this.#isRunning || this.#isStopped || this.#waiting.length > 0) this.#wait(chunk)
    else this.#go(chunk)
  }

  /** Stops behind the element that is being handled: the rest is kept. To be called by a handler, or between two writes. */
  stop (): void {
    this.#isStopped = true
    this.#tokenizer.halt()
  }

  /** Goes on with the rest. Throws as `write` does. */
  resume (): void {
    this.#isStopped = false
    if (!this.#isRunning && !this.#isOver) this.#go(undefined)
  }

  /**
   * Expects a new stream (RFC 6120 §4.3.3). After STARTTLS what came before has to be dropped (§5.4.3.3), after SASL the rest may be the
   * new stream's. Does not resume.
   */
  reset (how: { readonly keepRest: boolean }): void {
    this.#tree.reset()
    this.#tokenizer.reset(how.keepRest)
    if (how.keepRest) return
    this.#waiting = []
    this.#waitingBytes = 0
    this.#decoder.drop()
  }

  #go (chunk: Uint8Array | undefined): void {
    this.#isRunning = true
    try {
      this.#work(chunk)
    } catch (error) {
      this.#end()
      throw error
    } finally {
      this.#isRunning = false
    }
  }

  #work (chunk: Uint8Array | undefined): void {
    const tokenizer = this.#tokenizer
    const decoder = this.#decoder
    let next = chunk
    for (;;) {
      if (next !== undefined) tokenizer.add(decoder.decode(next), decoder.high, decoder.low)
      do tokenizer.run(); while (!tokenizer.isDone && !this.#isStopped && !this.#isOver)
      if (this.#isStopped || this.#isOver) return
      if (decoder.fault !== undefined) throw decoder.fault
      next = this.#waiting.shift()
      if (next === undefined) return
      this.#waitingBytes -= next.length
    }
  }

  #wait (chunk: Uint8Array): void {
    this.#waitingBytes += chunk.length
    if (this.#waitingBytes > LONGEST_WAIT) {
      this.#end()
      excessive('too much came while nothing was read')
    }
    this.#waiting.push(new Uint8Array(chunk))
  }

  #end (): void {
    this.#isOver = true
    this.#waiting = []
    this.#tokenizer.reset(false)
    this.#tree.reset()
  }
}
