/** The cheapest XMPP client that can log in: no XML parser, it waits for marks in the text and afterwards only counts a byte. */
import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { once } from 'node:events'
import { ScramClient, type Mechanism } from './scram.js'

/** Where a server listens, and how one gets in. */
export interface Target {
  readonly host: string
  readonly port: number
  readonly secure: 'none' | 'starttls' | 'direct'
  readonly domain: string
  readonly mechanism: Mechanism
  readonly password: string
}

const PATIENCE = 30_000

/** One connection. What arrives is text until count() is called, then only counted. */
export class Client {
  readonly #domain: string
  #socket: Socket
  #text = ''
  #wanted: { readonly mark: RegExp, readonly found: (match: RegExpExecArray) => void } | undefined
  #failed: ((error: Error) => void) | undefined
  #ended: Error | undefined
  /** The full address, once bound. */
  jid = ''

  private constructor (socket: Socket, domain: string) {
    this.#socket = socket
    this.#domain = domain
    this.#listen()
  }

  /** Opens a stream, encrypts it if the target says so, logs in and binds. Throws where the server refuses. */
  static async login (target: Target, user: string, resource: string): Promise<Client> {
    const client = new Client(await open(target), target.domain)
    try {
      if (target.secure === 'starttls') await client.#startTls()
      await client.#authenticate(target, user)
      await client.#bind(resource)
    } catch (error) {
      client.destroy()
      throw error
    }
    return client
  }

  /** Writes text or octets; nobody waits. */
  send (text: string | Buffer): void {
    this.#socket.write(text)
  }

  /** Resolves with the first match in what has arrived and not been taken yet. Throws after 30 s, or when the connection ends. */
  async expect (mark: RegExp): Promise<RegExpExecArray> {
    if (this.#ended !== undefined) throw this.#ended
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => { this.#settle(); reject(new Error(`waited 30 s for ${mark}, got: ${this.#text.slice(-400)}`)) }, PATIENCE)
      this.#failed = error => { clearTimeout(timer); this.#settle(); reject(error) }
      this.#wanted = { mark, found: match => { clearTimeout(timer); this.#settle(); resolve(match) } }
      this.#look()
    })
  }

  /** From now on nothing is kept: `counted` hears how often the byte occurred in each chunk where it did. */
  count (byte: number, counted: (times: number) => void): void {
    this.#text = ''
    this.#socket.removeAllListeners('data')
    this.#socket.on('data', chunk => {
      const times = occurrences(chunk, byte)
      if (times > 0) counted(times)
    })
  }

  /** Closes the stream in order, and waits (at most 2 s) until the server has closed the connection. */
  async close (): Promise<void> {
    if (this.#ended !== undefined) return
    this.#socket.removeAllListeners('data').resume()
    const closed = new Promise(resolve => this.#socket.once('close', resolve))
    const timer = setTimeout(() => { this.#socket.destroy() }, 2000)
    this.#socket.end('</stream:stream>')
    await closed
    clearTimeout(timer)
  }

  /** Drops the connection at once. */
  destroy (): void {
    this.#socket.destroy()
  }

  async #startTls (): Promise<void> {
    await this.#restart()
    this.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    await this.expect(/<proceed[^>]*>/)
    const plain = this.#socket
    plain.removeAllListeners()
    this.#text = ''
    this.#socket = connectTls({ socket: plain, servername: this.#domain, rejectUnauthorized: false })
    this.#listen()
    await once(this.#socket, 'secureConnect')
  }

  async #authenticate (target: Target, user: string): Promise<void> {
    await this.#restart()
    const scram = new ScramClient(target.mechanism, user, target.password)
    this.send(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='${target.mechanism}'>${scram.first()}</auth>`)
    const [, challenge] = await this.expect(/<challenge[^>]*>([^<]+)<\/challenge>|<failure.*<\/failure>/)
    if (challenge === undefined) throw new Error(`${target.mechanism} was refused to ${user}`)
    this.send(`<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>${await scram.last(challenge)}</response>`)
    const [answer] = await this.expect(/<success[^>]*>|<failure.*<\/failure>/)
    if (!answer.startsWith('<success')) throw new Error(`${user} was not let in: ${answer}`)
  }

  async #bind (resource: string): Promise<void> {
    await this.#restart()
    this.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>" +
      `<resource>${resource}</resource></bind></iq>`)
    const [answer, jid] = await this.expect(/<jid>([^<]+)<\/jid>|<error.*<\/error>/)
    if (jid === undefined) throw new Error(`not bound: ${answer}`)
    this.jid = jid
  }

  async #restart (): Promise<void> {
    this.#text = ''
    this.send(`<?xml version='1.0'?><stream:stream to='${this.#domain}' version='1.0' xmlns='jabber:client' ` +
      "xmlns:stream='http://etherx.jabber.org/streams'>")
    await this.expect(/<\/stream:features>/)
  }

  #listen (): void {
    this.#socket.on('data', chunk => {
      this.#text += chunk.toString('latin1')
      this.#look()
    })
    this.#socket.on('error', error => { this.#end(error) })
    this.#socket.on('close', () => { this.#end(new Error(`the server closed the connection, its last words: ${this.#text.slice(-400)}`)) })
  }

  #look (): void {
    const wanted = this.#wanted
    const match = wanted?.mark.exec(this.#text)
    if (wanted === undefined || match === null || match === undefined) return
    this.#text = this.#text.slice(match.index + match[0].length)
    wanted.found(match)
  }

  #settle (): void {
    this.#wanted = undefined
    this.#failed = undefined
  }

  #end (error: Error): void {
    this.#ended ??= error
    this.#failed?.(error)
  }
}

async function open (target: Target): Promise<Socket> {
  if (target.secure === 'direct') {
    const socket = connectTls({ host: target.host, port: target.port, servername: target.domain, rejectUnauthorized: false, ALPNProtocols: ['xmpp-client'] })
    await once(socket, 'secureConnect')
    return socket
  }
  const socket = connectPlain({ host: target.host, port: target.port, noDelay: true })
  await once(socket, 'connect')
  return socket
}

function occurrences (chunk: Buffer, byte: number): number {
  let times = 0
  for (let at = chunk.indexOf(byte); at !== -1; at = chunk.indexOf(byte, at + 1)) times++
  return times
}
