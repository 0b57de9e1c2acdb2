/** A phone as the model has it: a client of one account that keeps to XEP-0198, or has no idea of it, and notes what it gets. */
import { boundInline } from '../../lib/host/slots.js'
import type { Element } from '../../lib/xml/element.js'
import { Device, type Scenario } from '../scenario.js'
import { heardIn, History, pagedIn, type Heard } from './history.js'

const SM = "xmlns='urn:xmpp:sm:3'"

/**
 * How a session begins. 'managed': by XEP-0198. 'inline': the same within the login (XEP-0386), so that the archive is all there is of what
 * came meanwhile. 'plain': without XEP-0198.
 */
export type Manner = 'managed' | 'inline' | 'plain'

/** One session, through all its connections and lives of the server. */
export interface Chain {
  readonly account: string
  readonly isManaged: boolean
  /** Messages in the order in which they came, copies included. */
  readonly got: (Heard & { readonly place: number })[]
  /** How many of them the server has heard of, by an acknowledgement. */
  confirmed: number
  isAlive: boolean
}

/** One stanza on its way to the server, until that acknowledges it. */
interface Posted { readonly xml: string, readonly message: number | undefined }

export class Phone {
  readonly account: string
  readonly resource: string
  readonly history = new History()
  /** 'cut': its session waits for it. */
  state: 'off' | 'on' | 'cut' = 'off'
  chain: Chain | undefined
  device: Device | undefined
  #id = ''
  /** Stanzas that came, and how many of them the server knows of. */
  #received = 0
  #acked = 0
  /** Stanzas that went and are acknowledged; and those that are not. */
  #confirmed = 0
  #outbox: Posted[] = []

  constructor (account: string, resource: string) {
    this.account = account
    this.resource = resource
  }

  /**
   * A new session. What the server has not acknowledged of the old one may have been taken or not. `meanwhile`: happens right before its
   * presence comes, and is not over by then.
   */
  async bind (s: Scenario, manner: Manner, meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<readonly number[]> {
    const unsure = this.over()
    const isManaged = manner !== 'plain'
    const jid = await s.account(this.account)
    this.device = await Device.bind(s, s.host(jid.domain), jid.withResource(this.resource), '192.0.2.1')
    if (manner === 'inline') this.device.session.put(boundInline, true)
    if (isManaged) {
      await this.device.says(`<enable ${SM} resume='true'/>`)
      this.#id = String((await this.device.gets(`<enabled ${SM}/>`)).attrs['id'])
    }
    this.#received = this.#acked = this.#confirmed = 0
    this.chain = { account: this.account, isManaged, got: [], confirmed: 0, isAlive: true }
    this.state = 'on'
    await this.posts("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    await meanwhile()
    await this.posts('<presence/>')
    return unsure
  }

  /** Its session is over; the messages of which it does not know whether they were taken. */
  over (): readonly number[] {
    if (this.chain !== undefined) this.chain.isAlive = false
    this.chain = undefined
    this.device = undefined
    this.state = 'off'
    this.history.away()
    return this.#outbox.splice(0).flatMap(({ message }) => message ?? [])
  }

  /** Its line is dead, and nobody but it knows. Answers as `over` does. */
  fades (): readonly number[] {
    if (this.chain?.isManaged !== true) return this.over()
    this.device = undefined
    this.state = 'cut'
    return []
  }

  /** Says it, and keeps it until it is acknowledged. */
  async posts (xml: string, message?: number): Promise<void> {
    this.#outbox.push({ xml, message })
    if (message !== undefined) this.history.known.add(message)
    await this.device?.says(xml)
  }

  /** Says it without waiting for what comes of it. */
  async says (xml: string): Promise<void> { await this.device?.says(xml) }

  async asks (): Promise<void> {
    if (this.chain?.isManaged === true) await this.says(`<r ${SM}/>`)
  }

  /** Acknowledges some of what it has, or all. */
  async acknowledges (share: number): Promise<void> {
    if (this.chain?.isManaged !== true) return
    this.#acked += Math.ceil((this.#received - this.#acked) * share)
    this.#tells()
    await this.says(`<a ${SM} h='${this.#acked}'/>`)
  }

  /** Resumes, and says again what the server has not got. False where there is nothing to resume any more. */
  async resumes (s: Scenario): Promise<boolean> {
    this.reads()
    const { device, answer } = await s.resume(this.account, `<resume ${SM} previd='${this.#id}' h='${this.#received}'/>`)
    if (device === undefined) return false
    this.device = device
    this.state = 'on'
    this.#acked = this.#received
    this.#tells()
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
    if (this.state !== 'on' || !device.closed) return
    if (chain.isManaged) this.state = 'cut'
    else this.over()
  }

  /** Without XEP-0198 nothing is acknowledged: what the server has gone through is taken, and what has come counts as had. */
  trusts (): void {
    if (this.chain?.isManaged !== false) return
    this.#outbox = []
    this.#acked = this.#received
    this.#tells()
  }

  /** Of the messages that it has sent: those that it does not know to be taken. */
  get unsure (): readonly number[] { return this.#outbox.flatMap(({ message }) => message ?? []) }

  #read (element: Element, chain: Chain): void {
    if (element.name === 'a') this.#acknowledged(Number(element.attrs['h']))
    if (!['message', 'presence', 'iq'].includes(element.name)) return
    this.#received++
    if (element.attrs['type'] === 'error') throw new Error(`${this.account} got ${element.toString()}`)
    if (element.name === 'iq') { this.history.turns(element); return }
    const paged = pagedIn(element)
    if (paged !== undefined) { this.history.reads(paged); return }
    const heard = heardIn(element, this.account)
    if (heard === undefined) return
    this.history.hears(heard)
    chain.got.push({ ...heard, place: this.#received })
  }

  /** The server knows that it has these. */
  #tells (): void {
    const { chain } = this
    while (chain !== undefined && (chain.got[chain.confirmed]?.place ?? Infinity) <= this.#acked) chain.confirmed++
  }

  #acknowledged (h: number): void {
    const count = h - this.#confirmed
    if (!(count >= 0) || count > this.#outbox.length) throw new Error(`${this.account} was told h=${h}, having sent ${this.#confirmed + this.#outbox.length}`)
    this.#outbox.splice(0, count)
    this.#confirmed = h
  }
}
