/**
 * A strict streaming parser from network chunks to elements (RFC 6120 §11). All XML from clients and peers is read by
 * it.
 */
import { Decoder } from './encoding.js'
import { Tokenizer } from './tokenizer.js'
import { Tree, type Limits, type ParserHandlers, type Root } from './tree.js'
import { excessive } from './xml-error.js'

export { XmlError } from './xml-error.js'
export type { Limits, ParserHandlers } from './tree.js'

export interface ParserSettings {
  readonly limits: Limits
  /** The content namespace of the stream: jabber:client, jabber:server or jabber:component:accept. */
  readonly contentNamespace: string
  /** True if elements come one by one without a root around them, each with all its namespaces (RFC 7395 §3.3). */
  readonly isRootless?: boolean
  /** The root if it is not that of a stream (RFC 6120 §4.8). */
  readonly root?: Root
}

/**
 * The most bytes that `write` keeps while the parser is stopped: whoever stops the parser must stop reading from the
 * network too.
 */
const LONGEST_WAIT = 1_048_576

/**
 * Parses a stream chunk by chunk. The texts and attributes of an element refer to the chunk from which they were cut:
 * see `flatten`. The parser keeps nothing of an element after handing it to the handler.
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
    this.#tree = new Tree(how.limits, how.contentNamespace, how.isRootless === true ? 1 : 0, {
      opened: root => { handlers.opened(root) },
      element: (element, source) => { handlers.element(element, source) },
      closed: () => {
        this.#end() // RFC 6120 §4.4: input after the closing tag is ignored
        handlers.closed()
      },
    }, how.root)
    this.#tokenizer = new Tokenizer(this.#tree)
  }

  /** The limits. A change takes effect at once, also for an incomplete element. */
  get limits (): Limits { return this.#tree.limits }
  set limits (limits: Limits) { this.#tree.limits = limits }

  /** True if no element, token or character is incomplete, and no input waits. */
  get isIdle (): boolean {
    return this.#tree.depth < 2 && this.#tokenizer.isIdle && this.#decoder.isIdle && this.#waiting.length === 0
  }

  /**
   * Parses a chunk and calls the handlers. Throws XmlError, or what a handler throws. After an error, and after the end
   * of the stream, all further input is ignored. While the parser is stopped it keeps up to 1 MiB of input, without a
   * copy: nobody may change a chunk later.
   */
  write (chunk: Uint8Array): void {
    if (this.#isOver) return
    if (this.#isRunning || this.#isStopped || this.#waiting.length > 0) this.#wait(chunk)
    else this.#go(chunk)
  }

  /**
   * Stops after the element that is being handled and keeps the rest. Must be called by a handler, or between two
   * writes.
   */
  stop (): void {
    this.#isStopped = true
    this.#tokenizer.halt()
  }

  /** Continues with the rest. Throws as `write` does. */
  resume (): void {
    this.#isStopped = false
    if (!this.#isRunning && !this.#isOver) this.#go(undefined)
  }

  /**
   * Expects a new stream (RFC 6120 §4.3.3). After STARTTLS earlier input must be dropped (§5.4.3.3); after SASL the
   * rest may belong to the new stream. A stopped parser stays stopped.
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
      excessive('too much input while the parser was stopped')
    }
    this.#waiting.push(chunk)
  }

  #end (): void {
    this.#isOver = true
    this.#waiting = []
    this.#tokenizer.reset(false)
    this.#tree.reset()
  }
}
