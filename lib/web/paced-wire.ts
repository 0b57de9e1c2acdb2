/**
 * A connection whose input is processed in turns. Without it, a turn of the event loop would process what has come on
 * every connection, and many peers that send at once would hold up all others.
 */
import { Duplex } from 'node:stream'
import type { Turns } from '../base/turns.js'

/** The most bytes that are processed without a look at the turn. A byte costs most in a ping of a WebSocket. */
const PIECE = 16 * 1024
const NOTHING = Buffer.alloc(0)

type Done = (error?: Error | null) => void

export class PacedWire extends Duplex {
  readonly #socket: Duplex
  readonly #turns: Turns
  /** Input that was not passed on yet. The socket is paused as long as there is some. */
  #held: Buffer = NOTHING
  #isWaiting = false
  #isPassing = false
  #hasEnded = false

  /** `socket`: carries the connection, with or without TLS. Nobody else may read it or write to it. */
  constructor (socket: Duplex, turns: Turns) {
    super({ decodeStrings: false })
    this.#socket = socket
    this.#turns = turns
    socket.on('data', (piece: Buffer) => { this.#arrived(piece) })
    socket.on('end', () => {
      this.#hasEnded = true
      this.#pass()
    })
    socket.on('close', () => { this.destroy() })
    this.on('error', () => {}) // the stream destroys itself, and nobody asks why
  }

  /** Ends the connection after what was written, and then cuts it. Node's HTTP does so after its last answer. */
  destroySoon (): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => { this.destroy() })
  }

  override _read (): void {
    this.#pass()
    if (this.#held.length === 0 && !this.#hasEnded) this.#socket.resume()
  }

  override _write (chunk: Buffer | string, encoding: BufferEncoding, done: Done): void {
    this.#socket.write(chunk, encoding, done)
  }

  override _writev (
    chunks: readonly { readonly chunk: Buffer | string, readonly encoding: BufferEncoding }[], done: Done,
  ): void {
    const last = chunks.length - 1
    this.#socket.cork()
    for (const [index, { chunk, encoding }] of chunks.entries()) {
      this.#socket.write(chunk, encoding, index === last ? done : undefined)
    }
    this.#socket.uncork()
  }

  override _final (done: Done): void { this.#socket.end(() => { done() }) }

  override _destroy (error: Error | null, done: Done): void {
    this.#held = NOTHING
    this.#socket.destroy()
    done(error)
  }

  #arrived (bytes: Buffer): void {
    this.#held = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes])
    this.#pass()
    if (this.#held.length > 0) this.#socket.pause()
  }

  /** Passes input on until the reader has enough, or the turn is spent. */
  #pass (): void {
    if (this.#isWaiting || this.#isPassing || this.destroyed) return
    this.#isPassing = true
    let wants = true
    while (wants && this.#held.length > 0) {
      if (this.#turns.isSpent) {
        this.#isWaiting = true
        this.#turns.later(this.#goOn)
        break
      }
      const piece = this.#held.subarray(0, PIECE)
      this.#held = this.#held.subarray(piece.length)
      wants = this.push(piece)
    }
    if (!wants) this.#socket.pause()
    if (this.#hasEnded && this.#held.length === 0) this.push(null)
    this.#isPassing = false
  }

  readonly #goOn = (): void => {
    this.#isWaiting = false
    this.#pass()
    if (this.#held.length === 0 && this.readableLength < this.readableHighWaterMark) this.#socket.resume()
  }
}
