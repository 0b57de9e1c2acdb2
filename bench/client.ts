/**
 * The cheapest XMPP client that can log in. It has no XML parser: it waits for patterns in the text, and afterwards
 * only counts a byte.
 */
import { connect as connectPlain, type Socket } from 'node:net'
import { createHash, createHmac } from 'node:crypto'
import { connect as connectTls, TLSSocket } from 'node:tls'
import { once } from 'node:events'
import { ScramClient, type Mechanism } from './scram.js'

/** The place where a server listens, and how to log in. */
export interface Target {
  readonly host: string
  readonly port: number
  readonly secure: 'none' | 'starttls' | 'direct'
  readonly domain: string
  readonly mechanism: Mechanism
  readonly password: string
}

const ANSWER_TIMEOUT = 30_000

/** One connection. Received data is kept as text until listen() or count() is called. */
export class Client {
  readonly #domain: string
  #socket: Socket
  #text = ''
  #wanted: { readonly mark: RegExp, readonly found: (match: RegExpExecArray) => void } | undefined
  #failed: ((error: Error) => void) | undefined
  #ended: Error | undefined
  /** The full address, after binding. */
  jid = ''

  private constructor (socket: Socket, domain: string) {
    this.#socket = socket
    this.#domain = domain
    this.#listen()
  }

  /** Opens a stream, encrypts it if the target says so, logs in and binds. Throws if the server refuses. */
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

  /** Logs in and resumes a session in which nothing was received (XEP-0198 §5). Throws if the server refuses. */
  static async resume (target: Target, user: string, id: string): Promise<Client> {
    const client = new Client(await open(target), target.domain)
    try {
      if (target.secure === 'starttls') await client.#startTls()
      await client.#authenticate(target, user)
      await client.#restart()
      client.send(resumption(id))
      await client.#resumed(/<resumed [^>]*>|<failed[^]*<\/failed>/)
    } catch (error) {
      client.destroy()
      throw error
    }
    return client
  }

  /**
   * Resumes with a token, in one message after the stream header (XEP-0388, XEP-0484). The target must use direct TLS.
   */
  static async resumeAtOnce (target: Target, user: string, id: string, token: string): Promise<Client> {
    const client = new Client(await open(target), target.domain)
    client.send(client.#header() + authenticate(TOKENS, client.#tokenMessage(user, token), user, "<fast xmlns='urn:xmpp:fast:0'/>" + resumption(id)))
    try {
      await client.#resumed(/<resumed [^>]*>|<failed[^]*<\/failed>|<failure[^]*<\/failure>/)
    } catch (error) {
      client.destroy()
      throw error
    }
    return client
  }

  /** Logs in with the password and binds, over direct TLS. Also returns a token for the next login. */
  static async loginForToken (
    target: Target, user: string,
  ): Promise<{ readonly client: Client, readonly token: string }> {
    const client = new Client(await open(target), target.domain)
    const password = Buffer.from(`\0${user}\0${target.password}`).toString('base64')
    client.send(client.#header() + authenticate('PLAIN', password, user,
      `<bind xmlns='urn:xmpp:bind:0'><tag>bench</tag></bind><request-token xmlns='urn:xmpp:fast:0' mechanism='${TOKENS}'/>`))
    const [answer] = await client.expect(/<success[^]*<\/success>|<failure[^]*<\/failure>/)
    const token = /<token [^>]*token=['"]([^'"]+)['"]/.exec(answer)?.[1]
    if (token === undefined) throw new Error(`${user} received no token: ${answer}`)
    client.jid = /<authorization-identifier>([^<]+)</.exec(answer)?.[1] ?? ''
    return { client, token }
  }

  /** Writes text or bytes without waiting. */
  send (text: string | Buffer): void {
    this.#socket.write(text)
  }

  /** Resolves with the first match in the data not yet consumed. Throws after 30 s, or when the connection ends. */
  async expect (mark: RegExp): Promise<RegExpExecArray> {
    if (this.#ended !== undefined) throw this.#ended
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => { this.#settle(); reject(new Error(`waited 30 s for ${mark}, got: ${this.#text.slice(-400)}`)) }, ANSWER_TIMEOUT)
      this.#failed = error => { clearTimeout(timer); this.#settle(); reject(error) }
      this.#wanted = { mark, found: match => { clearTimeout(timer); this.#settle(); resolve(match) } }
      this.#look()
    })
  }

  /** From now on no data is kept: `heard` gets each chunk, beginning with the data not yet consumed. */
  listen (heard: (chunk: Buffer) => void): void {
    const before = Buffer.from(this.#text, 'latin1')
    this.#text = ''
    this.#socket.removeAllListeners('data')
    this.#socket.on('data', heard)
    if (before.length > 0) heard(before)
  }

  /**
   * Listens as listen() does, and calls `counted` with the number of occurrences of the byte in each chunk that has
   * any.
   */
  count (byte: number, counted: (times: number) => void): void {
    this.listen(chunk => {
      const times = occurrences(chunk, byte)
      if (times > 0) counted(times)
    })
  }

  /** Enables stream management (XEP-0198). Returns the id for resuming the session. */
  async enable (): Promise<string> {
    this.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    const [answer] = await this.expect(/<enabled [^>]*>|<failed[^]*<\/failed>/)
    const id = /\bid=['"]([^'"]+)['"]/.exec(answer)?.[1]
    if (id === undefined) throw new Error(`stream management was not enabled: ${answer}`)
    return id
  }

  /** Closes the stream in order, and waits at most 2 s for the server to close the connection. */
  async close (): Promise<void> {
    if (this.#ended !== undefined) return
    this.#socket.removeAllListeners('data').resume()
    const closed = new Promise(resolve => this.#socket.once('close', resolve))
    const timer = setTimeout(() => { this.#socket.destroy() }, 2000)
    this.#socket.end('</stream:stream>')
    await closed
    clearTimeout(timer)
  }

  /** Closes the connection at once. */
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
    if (challenge === undefined) throw new Error(`${target.mechanism} was refused for ${user}`)
    this.send(`<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>${await scram.last(challenge)}</response>`)
    const [answer] = await this.expect(/<success[^>]*>|<failure.*<\/failure>/)
    if (!answer.startsWith('<success')) throw new Error(`${user} could not log in: ${answer}`)
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
    this.send(this.#header())
    await this.expect(/<\/stream:features>/)
  }

  #header (): string {
    return `<?xml version='1.0'?><stream:stream to='${this.#domain}' version='1.0' xmlns='jabber:client' ` +
      "xmlns:stream='http://etherx.jabber.org/streams'>"
  }

  async #resumed (end: RegExp): Promise<void> {
    const [answer] = await this.expect(end)
    if (!answer.startsWith('<resumed')) throw new Error(`not resumed: ${answer}`)
  }

  /** Makes the message of a login by token with channel binding (draft-schmaus-kitten-sasl-ht). */
  #tokenMessage (user: string, token: string): string {
    if (!(this.#socket instanceof TLSSocket)) throw new Error('tokens need TLS')
    const binding = this.#socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0))
    const proof = createHmac('sha256', token).update('Initiator').update(binding).digest()
    return Buffer.concat([Buffer.from(`${user}\0`), proof]).toString('base64')
  }

  #listen (): void {
    this.#socket.on('data', chunk => {
      this.#text += chunk.toString('latin1')
      this.#look()
    })
    this.#socket.on('error', error => { this.#end(error) })
    this.#socket.on('close', () => { this.#end(new Error(`the server closed the connection; its last data: ${this.#text.slice(-400)}`)) })
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

/** The mechanism for tokens with channel binding. */
const TOKENS = 'HT-SHA-256-EXPR'

function authenticate (mechanism: string, message: string, user: string, more: string): string {
  return `<authenticate xmlns='urn:xmpp:sasl:2' mechanism='${mechanism}'><initial-response>${message}</initial-response>` +
    `<user-agent id='${agentOf(user)}'><software>bench</software></user-agent>${more}</authenticate>`
}

/** Returns a UUID that is always the same for a user. */
function agentOf (user: string): string {
  const hex = createHash('sha256').update(user).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

function resumption (id: string): string {
  return `<resume xmlns='urn:xmpp:sm:3' previd='${id}' h='0'/>`
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

/** Returns how often a byte occurs in a chunk. */
export function occurrences (chunk: Buffer, byte: number): number {
  let times = 0
  for (let at = chunk.indexOf(byte); at !== -1; at = chunk.indexOf(byte, at + 1)) times++
  return times
}
