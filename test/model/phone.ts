/** A phone as the model has it: a client of one account that keeps to XEP-0198, and notes what it gets. */
import type { Element } from '../../lib/xml/element.js'
import { Device, type Scenario } from '../scenario.js'

const SM = "xmlns='urn:xmpp:sm:3'"

/** One session, through all its connections and lives of the server. */
export interface Chain {
  readonly account: string
  /** Messages in the order in which they came. */
  readonly got: number[]
  isAlive: boolean
}

/** One stanza on its way to the server, until that acknowledges it. */
interface Posted { readonly xml: string, readonly message: number | undefined }

export class Phone {
  readonly account: string
  readonly #resource: string
  state: 'off' | 'on' | 'cut' = 'off'
  chain: Chain | undefined
  device: Device | undefined
  #id = ''
  /** Stanzas that came, and how many of them the server knows of. */
  received = 0
  acked = 0
  /** Stanzas that went and are acknowledged; and those that are not. */
  #confirmed = 0
  #outbox: Posted[] = []

  constructor (account: string, resource: string) {
    this.account = account
    this.#resource = resource
  }

  /** A new session. What the server has not acknowledged of the old one may have been taken or not. */
  async bind (s: Scenario): Promise<readonly number[]> {
    const unsure = this.over()
    const jid = await s.account(this.account)
    this.device = await Device.bind(s, s.host(jid.domain), jid.withResource(this.#resource), '192.0.2.1')
    await this.device.says(`<enable ${SM} resume='true'/>`)
    const enabled = await this.device.gets(`<enabled ${SM}/>`)
    this.#id = String(enabled.attrs['id'])
    this.received = this.acked = this.#confirmed = 0
    this.chain = { account: this.account, got: [], isAlive: true }
    this.state = 'on'
    await this.posts("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    await this.posts('<presence/>')
    return unsure
  }

  /** Its session is over; the messages of which it does not know whether they were taken. */
  over (): readonly number[] {
    if (this.chain !== undefined) this.chain.isAlive = false
    this.chain = undefined
    this.device = undefined
    this.state = 'off'
    return this.#outbox.splice(0).flatMap(({ message }) => message ?? [])
  }

  /** Says it, and keeps it until it is acknowledged. */
  async posts (xml: string, message?: number): Promise<void> {
    this.#outbox.push({ xml, message })
    await this.device?.says(xml)
    this.reads()
  }

  async asks (): Promise<void> {
    await this.device?.says(`<r ${SM}/>`)
    this.reads()
  }

  /** Acknowledges some of what it has, or all. */
  async acknowledges (share: number): Promise<void> {
    this.acked += Math.ceil((this.received - this.acked) * share)
    await this.device?.says(`<a ${SM} h='${this.acked}'/>`)
    this.reads()
  }

  /** Resumes, and says again what the server has not got. False where there is nothing to resume any more. */
  async resumes (s: Scenario): Promise<boolean> {
    this.reads()
    const { device, answer } = await s.resume(this.account, `<resume ${SM} previd='${this.#id}' h='${this.received}'/>`)
    if (device === undefined) return false
    this.device = device
    this.state = 'on'
    this.acked = this.received
    this.#acknowledged(Number(answer.attrs['h']))
    this.reads()
    for (const { xml } of [...this.#outbox]) await device.says(xml)
    this.reads()
    return true
  }

  /** Takes in what has come. */
  reads (): void {
    const { device, chain } = this
    if (device === undefined || chain === undefined) return
    for (const element of device.unread) this.#read(element, chain)
    device.forget()
    if (this.state === 'on' && device.closed) this.state = 'cut'
  }

  /** Of the messages that it has sent: those that it does not know to be taken. */
  get unsure (): readonly number[] { return this.#outbox.flatMap(({ message }) => message ?? []) }

  #read (element: Element, chain: Chain): void {
    if (element.name === 'a') this.#acknowledged(Number(element.attrs['h']))
    if (!['message', 'presence', 'iq'].includes(element.name)) return
    this.received++
    if (element.attrs['type'] === 'error') throw new Error(`${this.account} got ${element.toString()}`)
    const received = element.getChild('received')?.getChild('forwarded')?.getChild('message')
    const text = element.getChild('sent') === undefined ? (received ?? element).getChildText('body') : null
    if (text !== null) chain.got.push(Number(text))
  }

  #acknowledged (h: number): void {
    const count = h - this.#confirmed
    if (!(count >= 0) || count > this.#outbox.length) throw new Error(`${this.account} was told h=${h}, having sent ${this.#confirmed + this.#outbox.length}`)
    this.#outbox.splice(0, count)
    this.#confirmed = h
  }
}
