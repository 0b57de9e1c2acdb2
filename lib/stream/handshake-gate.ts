/** A gate between a socket and TLS. It stops a peer's handshake that would cost too much (see peer-chain.ts). */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { measured } from '../base/cpu-time.js'
import { Turns } from '../base/turns.js'
import { HandshakeWatch } from './handshake-watch.js'

/** Verifying a chain takes up to 20 ms. If many come at once, some wait for a later turn of the event loop. */
const turns = new Turns()
/** The most bytes that wait here. A record is shorter, so one record can always be judged. */
const MOST_HELD = 64 * 1024

type Written = (error: Error | null | undefined) => void

export class HandshakeGate extends Duplex {
  readonly #socket: Socket
  readonly #watch: HandshakeWatch
  readonly #refused: (error: Error) => void
  readonly #spent: (ms: number) => void
  #isMeasured = false
  /** Input that was not passed on yet. */
  #held = Buffer.alloc(0)
  #state: 'judging' | 'waiting' | 'open' | 'closed' = 'judging'
  #hasEnded = false
  /** True after the handshake, when nothing waits in the queues of this stream: they are passed by from then on. */
  #readsDirectly = false
  #writesDirectly = false

  /**
   * `isServer`: true if we are the server of this handshake. `refused`: called at most once; must destroy both sockets.
   * `spent`: told the CPU time of the main thread that each part of the handshake used, in milliseconds.
   */
  constructor (
    socket: Socket, isServer: boolean, refused: (error: Error) => void, spent: (ms: number) => void = () => {},
  ) {
    super()
    this.#socket = socket
    this.#watch = new HandshakeWatch(isServer)
    this.#refused = refused
    this.#spent = spent
    socket.on('data', (chunk: Buffer) => { this.#arrived(chunk) })
    socket.on('end', () => { this.#ended() })
    socket.on('close', () => { this.destroy() })
  }

  /** Takes a line of the TLS socket's key log. */
  learn (line: Uint8Array): void {
    this.#watch.learn(line)
    process.nextTick(() => { this.#goOn() }) // not within a call of OpenSSL
  }

  override pause (): this {
    if (!this.#readsDirectly) return super.pause()
    this.#socket.pause()
    return this
  }

  override resume (): this {
    if (!this.#readsDirectly) return super.resume()
    this.#socket.resume()
    return this
  }

  /** TLS corks the stream before each of its writes. */
  override cork (): void {
    if (!this.#writesDirectly && this.#state === 'open' && this.writableLength === 0) this.#writesDirectly = true
    if (this.#writesDirectly) this.#socket.cork()
    else super.cork()
  }

  override uncork (): void {
    if (this.#writesDirectly) this.#socket.uncork()
    else super.uncork()
  }

  override write (chunk: Buffer, encoding?: BufferEncoding | Written, done?: Written): boolean {
    const written = typeof encoding === 'function' ? encoding : done
    return this.#writesDirectly ? this.#socket.write(chunk, written) : super.write(chunk, written)
  }

  override _read (): void { if (this.#held.length < MOST_HELD) this.#socket.resume() }

  override _write (chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#watchOurs(chunk)
    this.#socket.write(chunk, done)
  }

  override _writev (chunks: readonly { readonly chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'binary', done)
  }

  override _final (done: (error?: Error | null) => void): void { this.#socket.end(() => { done() }) }

  override _destroy (error: Error | null, done: (error?: Error | null) => void): void {
    this.#state = 'closed'
    this.#held = Buffer.alloc(0)
    this.#socket.destroy()
    done(error)
  }

  #watchOurs (chunk: Buffer): void {
    if (this.#state === 'open') return
    this.#attempt(() => { this.#watch.wrote(chunk) })
    process.nextTick(() => { this.#goOn() })
  }

  #arrived (chunk: Buffer): void {
    if (this.#readsDirectly) this.emit('data', chunk)
    else if (this.#state === 'open') this.#passOn(chunk)
    else if (this.#state !== 'closed') {
      this.#held = Buffer.concat([this.#held, chunk])
      if (this.#held.length >= MOST_HELD) this.#socket.pause()
      this.#goOn()
    }
  }

  #ended (): void {
    this.#hasEnded = true
    if (this.#state !== 'waiting') this.push(null)
  }

  #goOn (): void { if (this.#state === 'judging') this.#attempt(() => { this.#judge() }) }

  #judge (): void {
    while (this.#state === 'judging') {
      const length = HandshakeWatch.lengthOf(this.#held)
      if (length === undefined || this.#held.length < length) return
      const record = this.#held.subarray(0, length)
      const verdict = this.#watch.judge(record)
      if (verdict === 'hold') return
      this.#held = this.#held.subarray(length)
      if (verdict === 'certificates' && turns.isSpent) this.#later(record)
      else this.#passRecord(record)
    }
  }

  #later (record: Buffer): void {
    this.#state = 'waiting'
    turns.later(() => {
      if (this.#state !== 'waiting') return
      this.#state = 'judging'
      this.#attempt(() => {
        this.#passRecord(record)
        this.#judge()
        if (this.#hasEnded && this.#state === 'judging') this.push(null)
      })
    })
  }

  #passRecord (record: Buffer): void {
    if (!this.#watch.isDone) {
      this.#pass(record)
      return
    }
    // Input after the handshake must reach the listeners that learn now that it is over.
    this.#state = 'waiting'
    this.#pass(record)
    setImmediate(() => { this.#open() })
  }

  #open (): void {
    if (this.#state !== 'waiting') return
    const rest = this.#held
    this.#state = 'open'
    this.#held = Buffer.alloc(0)
    this.#socket.resume()
    if (rest.length > 0) this.#pass(rest)
    if (this.#hasEnded) this.push(null)
  }

  /** Passes input on after the handshake. */
  #passOn (bytes: Buffer): void {
    this.#readsDirectly = this.readableFlowing === true && this.readableLength === 0
    if (this.#readsDirectly) this.emit('data', bytes)
    else this.#pass(bytes)
  }

  #pass (bytes: Buffer): void { if (!this.push(bytes)) this.#socket.pause() }

  /** Runs a part of the handshake. OpenSSL reads what is passed on within this call. */
  #attempt (work: () => void): void {
    try {
      if (this.#isMeasured) work()
      else {
        this.#isMeasured = true
        measured(work, ms => {
          this.#isMeasured = false
          this.#spent(ms)
        })
      }
    } catch (error) {
      if (this.#state === 'closed') return
      this.#state = 'closed'
      this.#refused(error instanceof Error ? error : new Error(String(error)))
    }
  }
}
