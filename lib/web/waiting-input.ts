/** Input that waits while a reader is stopped: whole messages of WebSocket, or whole bodies of BOSH. */
import { Fifo } from '../base/fifo.js'
import { XmlError } from '../xml/parser.js'

/** The most bytes that may wait. One piece may always wait. */
const MOST_BYTES = 1_048_576

export class WaitingInput {
  readonly #pieces = new Fifo<Uint8Array>()
  #bytes = 0

  push (piece: Uint8Array): void {
    this.#pieces.push(piece)
    this.#bytes += piece.length
  }

  /** Removes and returns the first piece; undefined if there is none. */
  shift (): Uint8Array | undefined {
    const piece = this.#pieces.shift()
    this.#bytes -= piece?.length ?? 0
    return piece
  }

  clear (): void {
    this.#pieces.clear()
    this.#bytes = 0
  }

  /** The error of the stream if too much waits. */
  get excess (): XmlError | undefined {
    if (this.#pieces.length <= 1 || this.#bytes <= MOST_BYTES) return undefined
    return new XmlError('policy-violation', 'too much input while the reader was stopped')
  }
}
