/** A client's connection to a real server over TCP: negotiates up to login, then passes on each element. */
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { once } from 'node:events'
import { ScramClient } from '../../bench/scram.js'
import { Parser } from '../../lib/xml/parser.js'
import { textOf, type Element } from '../../lib/xml/element.js'

/** The default domain. */
export const DOMAIN = 'localhost'
export const PASSWORD = 'a secret of Verona'
const LIMITS = { bytes: 16_777_216, elements: 100_000, depth: 64, attributes: 64, name: 256 }
const PATIENCE = 600_000

export class Line {
  readonly #socket: Socket
  readonly #domain: string
  #parser: Parser | undefined
  #came: Element[] = []
  #wake: (() => void) | undefined
  /** Gets each element once the stream is open. */
  hears: ((element: Element) => void) | undefined
  isOver = false
  /** True if the server has closed its stream (RFC 6120 §4.4). */
  isClosed = false
  /** Resolves when the connection is gone. */
  readonly gone: Promise<void>

  private constructor (socket: Socket, domain: string) {
    this.#socket = socket
    this.#domain = domain
    socket.on('data', chunk => {
      try {
        this.#parser?.write(chunk)
      } catch {
        socket.destroy() // cut in the middle of an element
      }
    })
    socket.on('error', () => {})
    this.gone = new Promise(resolve => {
      socket.on('close', () => {
        this.isOver = true
        this.#wake?.()
        resolve()
      })
    })
  }

  /** Logs in; binding or resuming comes next. */
  static async login (port: number, user: string, domain = DOMAIN, isEncrypted = false): Promise<Line> {
    const line = await Line.open(port, { domain, isEncrypted })
    const scram = new ScramClient('SCRAM-SHA-1', user, PASSWORD)
    line.send(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>${scram.first()}</auth>`)
    line.send(`<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>${await scram.last(textOf(await line.next()))}</response>`)
    const outcome = await line.next()
    if (outcome.name !== 'success') throw new Error(`${user} was not let in: ${outcome.toString()}`)
    await line.#open()
    return line
  }

  /** Opens a stream and reads its features. `isEncrypted`: by direct TLS. */
  static async open (port: number, { domain = DOMAIN, isEncrypted = false } = {}): Promise<Line> {
    const to = { host: '127.0.0.1', port }
    const socket = isEncrypted
      ? connectTls({ ...to, servername: domain, rejectUnauthorized: false })
      : connect({ ...to, noDelay: true })
    await once(socket, isEncrypted ? 'secureConnect' : 'connect')
    const line = new Line(socket, domain)
    await line.#open()
    return line
  }

  send (xml: string): void { this.#socket.write(xml) }

  /** Resolves with the next element, before `listen` is called. Throws if the connection is cut. */
  async next (): Promise<Element> {
    const timer = setTimeout(() => { this.#socket.destroy() }, PATIENCE)
    while (this.#came.length === 0) {
      if (this.isOver) { clearTimeout(timer); throw new Error('the connection is cut') }
      await new Promise<void>(resolve => { this.#wake = resolve })
    }
    clearTimeout(timer)
    return this.#came.shift() as Element
  }

  /** Passes each element to `hears` from now on, beginning with those that are waiting. */
  listen (hears: (element: Element) => void): void {
    this.hears = hears
    for (const element of this.#came.splice(0)) hears(element)
  }

  cut (): void { this.#socket.destroy() }

  async #open (): Promise<void> {
    this.#parser = new Parser({ limits: LIMITS, contentNamespace: 'jabber:client' }, {
      opened () {},
      element: element => {
        if (this.hears !== undefined) { this.hears(element); return }
        this.#came.push(element)
        this.#wake?.()
      },
      closed: () => { this.isClosed = true },
    })
    this.send(`<?xml version='1.0'?><stream:stream to='${this.#domain}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`)
    await this.next()
  }
}
