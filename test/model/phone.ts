/** A phone of the model: a client of one account, with or without XEP-0198, that notes what it gets. */
import { boundInline } from '../../lib/host/slots.js'
import type { Element } from '../../lib/xml/element.js'
import { Device, type Scenario } from '../scenario.js'
import { heardIn, History, pagedIn, type Heard } from './history.js'
import { SM } from '../stanzas.js'

/**
 * How a session begins. 'managed': by XEP-0198. 'inline': by XEP-0198 within the login (XEP-0386), so that missed
 * messages are in the archive only. 'plain': without XEP-0198.
 */
export type Manner = 'managed' | 'inline' | 'plain'

/** One session, through all its connections and restarts of the server. */
export interface Chain {
  readonly account: string
  readonly isManaged: boolean
  /** Messages in the order in which they came, carbons included. */
  readonly got: (Heard & { readonly place: number })[]
  /** How many of them are acknowledged to the server. */
  confirmed: number
  isAlive: boolean
}

/** One stanza that was sent and is not acknowledged yet. */
interface Posted { readonly xml: string, readonly message: number | undefined }

export class Phone {
  readonly account: string
  readonly resource: string
  readonly history = new History()
  /** 'cut': the connection is gone, and the session can be resumed. */
  state: 'off' | 'on' | 'cut' = 'off'
  chain: Chain | undefined
  device: Device | undefined
  #id = ''
  /** The stanzas that it received, and how many of them it has acknowledged. */
  #received = 0
  #acked = 0
  /** The number of acknowledged stanzas that it sent, and the list of unacknowledged ones. */
  #confirmed = 0
  #outbox: Posted[] = []

  constructor (account: string, resource: string) {
    this.account = account
    this.resource = resource
  }

  /**
   * Begins a new session. Returns the messages of the old one that may or may not have been handled. `meanwhile` runs
   * right before the presence is sent, and is not over by then.
   */
  async bind (
    s: Scenario, manner: Manner, meanwhile: () => Promise<void> = () => Promise.resolve(),
  ): Promise<readonly number[]> {
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

  /** Ends its session. Returns the messages that may or may not have been handled. */
  over (): readonly number[] {
    if (this.chain !== undefined) this.chain.isAlive = false
    this.chain = undefined
    this.device = undefined
    this.state = 'off'
    this.history.away()
    return this.#outbox.splice(0).flatMap(({ message }) => message ?? [])
  }

  /** Loses the connection without the server's noticing. Returns the same as `over`. */
  fades (): readonly number[] {
    if (this.chain?.isManaged !== true) return this.over()
    this.device = undefined
    this.state = 'cut'
    return []
  }

  /** Sends a stanza, and keeps it until it is acknowledged. */
  async posts (xml: string, message?: number): Promise<void> {
    this.#outbox.push({ xml, message })
    if (message !== undefined) this.history.known.add(message)
    await this.device?.says(xml)
  }

  /** Sends something that is not acknowledged. */
  async says (xml: string): Promise<void> { await this.device?.says(xml) }

  async asks (): Promise<void> {
    if (this.chain?.isManaged === true) await this.says(`<r ${SM}/>`)
  }

  /** Acknowledges a share of the received stanzas, or all. */
  async acknowledges (share: number): Promise<void> {
    if (this.chain?.isManaged !== true) return
    this.#acked += Math.ceil((this.#received - this.#acked) * share)
    this.#tells()
    await this.says(`<a ${SM} h='${this.#acked}'/>`)
  }

  /** Resumes, and sends again what the server has not handled. Resolves with false if the session cannot be resumed. */
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

  /** Reads the stanzas that arrived. */
  reads (): void {
    const { device, chain } = this
    if (device === undefined || chain === undefined) return
    for (const element of device.unread) this.#read(element, chain)
    device.forget()
    if (this.state !== 'on' || !device.closed) return
    if (chain.isManaged) this.state = 'cut'
    else this.over()
  }

  /** Without XEP-0198: counts all sent stanzas as handled, and all received ones as acknowledged. */
  trusts (): void {
    if (this.chain?.isManaged !== false) return
    this.#outbox = []
    this.#acked = this.#received
    this.#tells()
  }

  /** The messages that it sent and that are not acknowledged. */
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

  /** Marks the messages that the server knows to be received. */
  #tells (): void {
    const { chain } = this
    while (chain !== undefined && (chain.got[chain.confirmed]?.place ?? Infinity) <= this.#acked) chain.confirmed++
  }

  #acknowledged (h: number): void {
    const count = h - this.#confirmed
    if (!(count >= 0) || count > this.#outbox.length) throw new Error(`${this.account} got h=${h}, having sent ${this.#confirmed + this.#outbox.length}`)
    this.#outbox.splice(0, count)
    this.#confirmed = h
  }
}
