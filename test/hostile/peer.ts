/** A client on a real socket that sends any bytes. */
import { connect, type Socket } from 'node:net'
import { connect as connectTls, TLSSocket, type ConnectionOptions } from 'node:tls'
import { ScramClient } from '../../bench/scram.js'
import { DOMAIN, PASSWORD } from './server.js'

export const SASL = 'urn:ietf:params:xml:ns:xmpp-sasl'
export const STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
export const HEADER = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='${DOMAIN}'>`
/** Only a hang lasts longer, in milliseconds. */
const PATIENCE = 600_000

/**
 * Opens a connection and goes on with `start`. On a busy machine the time to negotiate may be over before that is done;
 * then begins anew.
 */
export async function started (
  open: () => Promise<RawClient>, start: (peer: RawClient) => Promise<unknown>,
): Promise<RawClient> {
  for (;;) {
    const peer = await open()
    try {
      await start(peer)
      peer.heard = ''
      return peer
    } catch (error) {
      if (peer.error !== 'connection-timeout') throw error
    }
  }
}

export class RawClient {
  socket: Socket
  heard = ''
  isClosed = false
  /** The number of bytes that it received. */
  bytes = 0
  /** Discards what it receives: an attacker does not wait for answers. */
  isDeaf = false
  /** Called at each change: a connection, data, an end. */
  readonly #waiting = new Set<() => void>()

  static async at (port: number, from = '127.0.0.1'): Promise<RawClient> {
    const socket = connect({ port, host: '127.0.0.1', localAddress: from, noDelay: true })
    const peer = new RawClient(socket)
    await peer.#happens(() => !socket.connecting || peer.isClosed, 'a connection')
    return peer
  }

  private constructor (socket: Socket) {
    this.socket = socket
    socket.on('connect', () => { this.#changed() })
    this.#hear(socket)
  }

  says (text: string | Uint8Array): void { this.socket.write(text) }

  /**
   * Waits until the received text contains `text`. Returns all of it and forgets it. Throws if the connection closes
   * first.
   */
  async gets (text: string): Promise<string> {
    await this.#happens(() => this.heard.includes(text) || this.isClosed, text)
    if (!this.heard.includes(text)) throw new Error(`closed without ${text}: ${this.heard.slice(-300)}`)
    const { heard } = this
    this.heard = ''
    return heard
  }

  /** Waits until the connection closes. Returns the stream error that came before, or '' if there was none. */
  async closes (): Promise<string> {
    await this.#happens(() => this.isClosed, 'the end')
    return this.error
  }

  /** The TLS socket; undefined if the connection is not encrypted. */
  get tls (): TLSSocket | undefined { return this.socket instanceof TLSSocket ? this.socket : undefined }

  get error (): string { return /<stream:error><([a-z-]+) xmlns=/.exec(this.heard)?.[1] ?? '' }

  async encrypts (options: ConnectionOptions = {}): Promise<void> {
    const plain = this.socket
    plain.removeAllListeners()
    plain.on('error', () => {})
    const socket = connectTls({ socket: plain, rejectUnauthorized: false, servername: DOMAIN, ...options })
    this.socket = socket
    this.heard = ''
    let isSecure = false
    socket.once('secureConnect', () => { isSecure = true; this.#changed() })
    plain.once('close', () => { this.isClosed = true; this.#changed() })
    this.#hear(socket)
    await this.#happens(() => isSecure || this.isClosed, 'a handshake')
    if (!isSecure) throw new Error('no handshake')
  }

  async opens (): Promise<void> {
    this.says(HEADER)
    await this.gets('</stream:features>')
  }

  /** Sends the first message of a login. Returns a function that sends the second. */
  async begins (name: string): Promise<() => Promise<void>> {
    const scram = new ScramClient('SCRAM-SHA-1', name, PASSWORD)
    this.says(`<auth xmlns='${SASL}' mechanism='SCRAM-SHA-1'>${scram.first()}</auth>`)
    const challenge = /<challenge[^>]*>([^<]+)</.exec(await this.gets('</challenge>'))?.[1] ?? ''
    return async () => {
      this.says(`<response xmlns='${SASL}'>${await scram.last(challenge)}</response>`)
      await this.gets('<success')
    }
  }

  async logsIn (name: string): Promise<void> {
    await this.opens()
    await (await this.begins(name))()
    await this.opens()
  }

  async binds (resource: string): Promise<void> {
    this.says(`<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>${resource}</resource></bind></iq>`)
    await this.gets('</jid>')
  }

  async comes (name: string, resource: string): Promise<this> {
    await this.logsIn(name)
    await this.binds(resource)
    return this
  }

  /** Returns how long the server takes to answer a ping, in milliseconds. */
  async pings (): Promise<number> {
    const id = `ping-${Math.random()}`
    const began = performance.now()
    this.says(`<iq type='get' id='${id}'><ping xmlns='urn:xmpp:ping'/></iq>`)
    await this.gets(id)
    return performance.now() - began
  }

  drops (how: 'end' | 'reset' | 'destroy' = 'destroy'): void {
    if (how === 'end') this.socket.end()
    else if (how === 'reset' && !(this.socket instanceof TLSSocket)) this.socket.resetAndDestroy()
    else this.socket.destroy()
  }

  /** Waits until the connection is gone, also by a reset. */
  async gone (): Promise<void> { await this.#happens(() => this.isClosed, 'the end') }

  #hear (socket: Socket): void {
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length
      if (this.isDeaf) return
      this.heard += chunk.toString('latin1')
      this.#changed()
    })
    socket.on('close', () => { this.isClosed = true; this.#changed() })
  }

  async #happens (done: () => boolean, what: string): Promise<void> {
    if (done()) return
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(look)
        reject(new Error(`waited for ${what}; heard: ${this.heard.slice(-300)}`))
      }, PATIENCE)
      const look = (): void => {
        if (!done()) return
        clearTimeout(timer)
        this.#waiting.delete(look)
        resolve()
      }
      this.#waiting.add(look)
    })
  }

  #changed (): void { for (const look of this.#waiting) look() }
}
