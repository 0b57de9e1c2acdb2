/**
 * A phone that talks to a server that is killed: it resumes, sends unacknowledged stanzas again, and notes what it got.
 */
import type { Element } from '../../lib/xml/element.js'
import { Line } from './line.js'
import { SM } from '../stanzas.js'

/** The number of unacknowledged stanzas at which it waits, as a phone would. */
const WINDOW = 50

/** One session, through all its connections and restarts of the server. `isThere`: its presence is acknowledged. */
export interface Chain { readonly account: string, readonly got: number[], isThere: boolean, isAlive: boolean }

/** The stanzas that each session begins with: the request for carbons, and its presence. */
const FIRST = 2

interface Posted { readonly xml: string, readonly message: number | undefined }

export class Caller {
  readonly account: string
  readonly #resource: string
  readonly chains: Chain[] = []
  /** Called with each message that came back, and the reason; if undefined, none may come back. */
  failed: ((message: number, why: string) => void) | undefined
  /** Called with each presence. */
  sees: ((presence: Element) => void) | undefined
  /** True if it connects by direct TLS. */
  isEncrypted = false
  /**
   * The stream error that ended the last stream, or '' if there was none, as on a stream that can be resumed (XEP-0198
   * §5).
   */
  ending = ''
  /** The last answer that refused to resume its session. */
  refused = ''
  #line: Line | undefined
  #id = ''
  #received = 0
  #confirmed = 0
  #outbox: Posted[] = []
  #posted = 0
  #progress: (() => void) | undefined

  /** `account` is a bare address. */
  constructor (account: string, resource: string) {
    this.#resource = resource
    this.account = account
  }

  /** Its session, while there is one. */
  get chain (): Chain | undefined {
    const chain = this.chains.at(-1)
    return chain?.isAlive === true ? chain : undefined
  }

  get isOn (): boolean { return this.#line?.isOver === false }
  /** True if it may send more. */
  get isFree (): boolean { return this.isOn && this.#outbox.length < WINDOW }
  /** The messages that it sent and that may or may not have been handled. */
  get unsure (): readonly number[] { return this.#outbox.flatMap(({ message }) => message ?? []) }

  /** Comes online, by resuming if it can. If it cannot, returns the messages that may or may not have been handled. */
  async arrives (port: number): Promise<readonly number[]> {
    // Stanzas that an abandoned connection still brings are not counted: they come again after the count that is sent
    // now.
    this.#line?.listen(() => {})
    const [user = '', domain = ''] = this.account.split('@')
    const line = this.#line = await Line.login(port, user, domain, this.isEncrypted)
    this.ending = ''
    if (this.chain !== undefined) {
      line.send(`<resume ${SM} previd='${this.#id}' h='${this.#received}'/>`)
      const answer = await line.next()
      if (answer.name === 'resumed') {
        this.#acknowledged(Number(answer.attrs['h']))
        line.listen(element => { this.#read(element) })
        line.send(`${this.#outbox.map(({ xml }) => xml).join('')}<r ${SM}/>`)
        return []
      }
      this.refused = answer.toString()
      this.chain.isAlive = false
    }
    return await this.#binds(line)
  }

  async #binds (line: Line): Promise<readonly number[]> {
    const unsure = this.#outbox.splice(0).flatMap(({ message }) => message ?? [])
    line.send(`<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>${this.#resource}</resource></bind></iq>`)
    await line.next()
    line.send(`<enable ${SM} resume='true'/>`)
    const enabled = await line.next()
    this.#id = String(enabled.attrs['id'])
    this.#received = this.#confirmed = 0
    this.chains.push({ account: this.account, got: [], isThere: false, isAlive: true })
    line.listen(element => { this.#read(element) })
    this.#post("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    this.#post('<presence/>')
    line.send(`<r ${SM}/>`)
    return unsure
  }

  says (to: string, message: number, type: 'chat' | 'groupchat' = 'chat'): void {
    this.#post(`<message to='${to}' type='${type}' id='${message}'><body>${message}</body></message>`, message)
    if (++this.#posted % 5 === 0) this.#line?.send(`<r ${SM}/>`)
  }

  /** Sends another stanza. */
  posts (xml: string): void { this.#post(xml) }

  /** Resolves once its session has got this many messages. Rejects if the connection is cut first. */
  async gets (count: number): Promise<void> {
    while ((this.chain?.got.length ?? 0) < count) await this.#goesOn()
  }

  /** Resolves once all that it sent is acknowledged. Rejects if the connection is cut first. */
  async settles (): Promise<void> {
    this.#line?.send(`<r ${SM}/>`)
    while (this.#outbox.length > 0) await this.#goesOn()
  }

  async #goesOn (): Promise<void> {
    if (!this.isOn) throw new Error(`${this.account}/${this.#resource} was cut off`)
    await Promise.race([this.#line?.gone, new Promise<void>(resolve => { this.#progress = resolve })])
  }

  async leaves (): Promise<void> {
    this.#line?.cut()
    await this.#line?.gone
  }

  get gone (): Promise<void> | undefined { return this.#line?.gone }
  /** True if the server has closed its stream, after which nothing can be resumed (XEP-0198 §5). */
  get isClosed (): boolean { return this.#line?.isClosed === true }

  #post (xml: string, message?: number): void {
    this.#outbox.push({ xml, message })
    this.#line?.send(xml)
  }

  #read (element: Element): void {
    if (element.name === 'a') this.#acknowledged(Number(element.attrs['h']))
    if (element.name === 'stream:error') this.ending = element.toString()
    if (element.name === 'r') this.#line?.send(`<a ${SM} h='${this.#received}'/>`)
    if (!['message', 'presence', 'iq'].includes(element.name)) return
    this.#received++
    if (element.name === 'presence') this.sees?.(element)
    if (element.attrs['type'] === 'error') { this.#returned(element); return }
    const received = element.getChild('received')?.getChild('forwarded')?.getChild('message')
    const text = element.getChild('sent') === undefined ? (received ?? element).getChildText('body') : null
    if (text !== null) this.chain?.got.push(Number(text))
    this.#progress?.()
  }

  #returned (element: Element): void {
    if (element.name !== 'message' || this.failed === undefined) throw new Error(`${this.account} got ${element.toString()}`)
    this.failed(Number(element.attrs['id']), element.getChild('error')?.getChildText('text') ?? '')
    this.#progress?.()
  }

  #acknowledged (h: number): void {
    const count = h - this.#confirmed
    if (!(count >= 0) || count > this.#outbox.length) throw new Error(`${this.account} got h=${h}, having sent ${this.#confirmed + this.#outbox.length}`)
    this.#outbox.splice(0, count)
    this.#confirmed = h
    if (this.chain !== undefined && h >= FIRST) this.chain.isThere = true
    this.#progress?.()
  }
}
