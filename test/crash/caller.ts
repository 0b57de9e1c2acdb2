/** A phone that talks to a server that is killed: it resumes, says again what was not acknowledged, and notes what it got. */
import type { Element } from '../../lib/xml/element.js'
import { Line } from './line.js'

const SM = "xmlns='urn:xmpp:sm:3'"
/** What may be unacknowledged before it waits, as a phone would. */
const WINDOW = 50

/** One session, through all its connections and lives of the server. `since`: when it was enabled, in milliseconds since 1970. */
export interface Chain { readonly account: string, readonly got: number[], readonly since: number, isAlive: boolean }

interface Posted { readonly xml: string, readonly message: number | undefined }

export class Caller {
  readonly account: string
  readonly #resource: string
  readonly chains: Chain[] = []
  /** Told of each message that came back, and why; without it, none may. */
  failed: ((message: number, why: string) => void) | undefined
  /** Told of each presence. */
  sees: ((presence: Element) => void) | undefined
  /** It connects by TLS from the first byte. */
  isEncrypted = false
  /** How the server has ended the last stream: '' where it said nothing, as one does that can be resumed (XEP-0198 §5). */
  ending = ''
  /** What was answered last in place of its session. */
  refused = ''
  #line: Line | undefined
  #id = ''
  #received = 0
  #confirmed = 0
  #outbox: Posted[] = []
  #posted = 0
  #progress: (() => void) | undefined

  /** `account`: a bare address. */
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
  /** It may say more. */
  get isFree (): boolean { return this.isOn && this.#outbox.length < WINDOW }
  /** Messages of which it does not know whether they were taken. */
  get unsure (): readonly number[] { return this.#outbox.flatMap(({ message }) => message ?? []) }

  /** Comes online: by resuming where it can. Answers with the messages that it does not know to be taken, where it could not. */
  async arrives (port: number): Promise<readonly number[]> {
    // What a line that is given up still brings is not counted: it will come again behind the count that is told now.
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
    this.chains.push({ account: this.account, got: [], since: Date.now(), isAlive: true })
    line.listen(element => { this.#read(element) })
    this.#post("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    this.#post('<presence/>')
    return unsure
  }

  says (to: string, message: number): void {
    this.#post(`<message to='${to}' type='chat' id='${message}'><body>${message}</body></message>`, message)
    if (++this.#posted % 5 === 0) this.#line?.send(`<r ${SM}/>`)
  }

  /** Says something else that is a stanza. */
  posts (xml: string): void { this.#post(xml) }

  /** Resolves once its session has got so many messages. Rejects where the line is cut first. */
  async gets (count: number): Promise<void> {
    while ((this.chain?.got.length ?? 0) < count) await this.#goesOn()
  }

  /** Resolves once all that it said is acknowledged. Rejects where the line is cut first. */
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
  /** The server has closed its stream, after which nothing can be resumed (XEP-0198 §5). */
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
    if (!(count >= 0) || count > this.#outbox.length) throw new Error(`${this.account} was told h=${h}, having said ${this.#confirmed + this.#outbox.length}`)
    this.#outbox.splice(0, count)
    this.#confirmed = h
    this.#progress?.()
  }
}
