/** One device in a scene: a client as the server sees it, from its bound session on. */
import { isDeepStrictEqual } from 'node:util'
import type { Connection, Session } from '../lib/host/session.js'
import type { Host } from '../lib/host/host.js'
import { Parser, type Limits } from '../lib/xml/parser.js'
import { childElements, namespaceOf, textOf, type Element, type ParsedElement, type Source } from '../lib/xml/element.js'
import { fromOctets, octets } from '../lib/xml/writer.js'
import type { StreamError } from '../lib/xmpp/errors.js'
import type { Jid } from '../lib/xmpp/jid.js'
import { Queue } from '../lib/base/queue.js'
import { parseElement } from './parse.js'
import type { Scenario } from './scenario.js'

const LIMITS: Limits = { bytes: 262_144, elements: 10_000, depth: 64, attributes: 64, name: 256 }
/** How long to wait for an answer, in milliseconds. */
const ANSWER_TIMEOUT = 120_000
const HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"

export class Device {
  readonly session: Session
  readonly #s: Scenario
  readonly #line: DeviceConnection
  readonly #inbox: Element[] = []

  private constructor (s: Scenario, session: Session, line: DeviceConnection) {
    this.#s = s
    this.session = session
    this.#line = line
    line.hears = element => { this.#inbox.push(element) }
  }

  /** Binds a session. `nat`: the silence in milliseconds after which a NAT on the path drops the connection. */
  static async bind (s: Scenario, host: Host, jid: Jid, address: string, nat?: number): Promise<Device> {
    const line = new DeviceConnection(s, address, nat)
    const session = await host.bind(jid.bare, jid.resource === '' ? undefined : jid.resource, line)
    line.speaksFor(host, session)
    return new Device(s, session, line)
  }

  /**
   * Resumes a session on a new connection (XEP-0198 §5), as the stream negotiation does. Returns the server's answer,
   * and the device if the session was resumed. The device then gets what follows `<resumed/>`.
   */
  static async resume (
    s: Scenario, host: Host, account: Jid, request: string, address: string, nat?: number, isSlow = false,
  ): Promise<{ readonly device?: Device, readonly answer: Element }> {
    const feature = host.features.find(({ namespace }) => namespace === 'urn:xmpp:sm:3')
    const line = new DeviceConnection(s, address, nat)
    line.isSlow = isSlow
    let answer: Element | undefined
    const outcome = await feature?.take?.({
      state: { at: 'opening' }, role: 'client', domain: host.domain, address, lang: undefined, tls: undefined, secure: true, from: undefined,
      identity: account, isOver: false,
      send: nonza => { answer = nonza },
      next: () => Promise.reject(new Error('nothing is asked')),
      wait: () => Promise.resolve(),
      startTls: () => Promise.reject(new Error('no TLS')),
    }, parseElement(request))
    if (answer === undefined) throw new Error('no answer')
    const session = outcome?.go === 'session' ? host.sessions.at(account.withResource(resourceOf(host, outcome.session))) : undefined
    if (session === undefined) return { answer }
    line.speaksFor(host, session)
    const device = new Device(s, session, line)
    session.attach(line)
    await s.settled()
    return { device, answer }
  }

  get jid (): Jid { return this.session.jid }
  /** The stream error that ended its stream. */
  get error (): StreamError | undefined { return this.#line.error }
  get closed (): boolean { return this.#line.closed }
  get paused (): boolean { return this.#line.paused }
  /** The number of bytes that the server wrote and the device has not read. */
  get backlog (): number { return this.#line.backlog }
  /** Calls `to` with all octets that the server sends from now on. */
  overhear (to: (octets: string) => void): void { this.#line.overheard = to }
  /** The stanzas that the test has not read yet. */
  get unread (): readonly Element[] { return this.#inbox }

  /** Sends the stanzas, and waits until the server is idle. */
  async says (...stanzas: readonly string[]): Promise<void> {
    for (const stanza of stanzas) {
      this.#s.secrets.heard(stanza)
      this.#line.write(stanza)
    }
    await this.#s.settled()
  }

  /** Sends a request and returns its reply, a result or an error. */
  async asks (iq: string): Promise<Element> {
    const request = parseElement(iq)
    await this.says(iq)
    // threads, for example those that derive keys, work outside of this event loop
    const until = Date.now() + ANSWER_TIMEOUT
    for (;;) {
      const at = this.#inbox.findIndex(element => element.name === 'iq' && element.attrs['id'] === request.attrs['id'] &&
        (element.attrs['type'] === 'result' || element.attrs['type'] === 'error'))
      if (at >= 0) return this.#inbox.splice(at, 1)[0] as Element
      if (Date.now() > until) throw new Error(`${this.#name} got no answer to ${iq}; it got ${this.#shown()}`)
      await this.#s.settled()
    }
  }

  /** Stops reading: from now on the device reads only in `reads`. */
  stopsReading (): void { this.#line.isSlow = true }

  /**
   * Reads at most `bytes` bytes of the backlog, in the pieces that the server sends, and waits until the server is
   * idle.
   */
  async reads (bytes = Infinity): Promise<void> {
    let left = bytes
    while (left > 0 && this.#line.backlog > 0) {
      const size = Math.min(left, this.#line.backlog)
      left -= size
      this.#line.read(size)
      await new Promise(resolve => { setImmediate(resolve) })
    }
    await this.#s.settled()
  }

  /** Returns the next stanza. Throws if it does not match the pattern (`isLike`) or if there is none. */
  async gets (pattern: string): Promise<Element> {
    await this.#s.settled()
    const wanted = parseElement(pattern)
    const next = this.#inbox.shift()
    if (next === undefined) throw new Error(`${this.#name} got nothing, not ${pattern}`)
    if (!isLike(next, wanted)) throw new Error(`${this.#name} wanted ${pattern}\n  but got ${text(next)}\n  then ${this.#shown()}`)
    return next
  }

  /** Takes the next stanzas. Throws unless each pattern matches one of them, in any order. */
  async getsInAnyOrder (...patterns: readonly string[]): Promise<void> {
    await this.#s.settled()
    const next = this.#inbox.splice(0, patterns.length)
    for (const pattern of patterns) {
      const wanted = parseElement(pattern)
      const at = next.findIndex(element => isLike(element, wanted))
      if (at < 0) throw new Error(`${this.#name} wanted ${pattern}\n  among ${next.map(text).join('\n  ')}`)
      next.splice(at, 1)
    }
  }

  async getsNothing (): Promise<void> {
    await this.#s.settled()
    if (this.#inbox.length > 0) throw new Error(`${this.#name} wanted nothing, but got ${this.#shown()}`)
  }

  /** Forgets one unread stanza, or all of them. */
  forget (one?: Element): void {
    if (one === undefined) this.#inbox.length = 0
    else this.#inbox.splice(this.#inbox.indexOf(one), 1)
  }

  /** Breaks the connection without a closing tag. */
  async loses (what: 'connection'): Promise<void> {
    this.#line.lose(new Error(`lost its ${what}`))
    await this.#s.settled()
  }

  /** Breaks the connection silently: neither side notices. */
  vanishes (): void { this.#line.isDark = true }
  /** True if nothing passes the connection any more, in either direction. */
  get isDark (): boolean { return this.#line.isDark }

  get #name (): string { return this.session.jid.toString() }

  #shown (): string {
    return this.#inbox.length === 0 ? 'nothing' : this.#inbox.map(text).join('\n  ')
  }
}

function resourceOf (host: Host, what: unknown): string {
  for (const session of host.sessions.all()) if (session === what) return session.jid.resource
  throw new Error('resumed what is no session')
}

/** The connection between a device and its session. Does what the stream layer does, without a stream. */
class DeviceConnection implements Connection {
  readonly address: string
  readonly secure = true
  readonly lang = undefined
  readonly #s: Scenario
  readonly #up: Parser
  readonly #down: Parser
  readonly #queue: Queue
  #session: Session | undefined
  hears: (element: Element) => void = () => {}
  overheard: (octets: string) => void = () => {}
  lastRead: number
  isSlow = false
  #unread = ''
  #draining: (() => void)[] = []
  error: StreamError | undefined
  closed = false
  paused = false
  isDark = false
  readonly #nat: number
  #passed: number
  #receive: (element: ParsedElement, source: Source) => void | Promise<void> = () => {}

  constructor (s: Scenario, address: string, nat = Infinity) {
    this.#s = s
    this.#nat = nat
    this.#passed = s.clock.now()
    this.address = address
    this.lastRead = s.clock.now()
    this.#queue = new Queue(10_000, error => { this.#session?.close(error as Error) })
    this.#up = this.#parser((element, source) => {
      const isHeard = (): boolean => !this.closed && this.#session?.isOn(this) !== false
      if (!this.closed) this.#queue.run(() => isHeard() ? this.#receive(element, source) : undefined)
    })
    this.#down = this.#parser(element => { this.hears(element) })
  }

  speaksFor (host: Host, session: Session): void {
    this.#session = session
    this.#receive = (element, source) => host.receive(session, element, source)
  }

  /** Sends XML from the device to the server. */
  write (xml: string): void {
    if (!this.#passes) return
    this.lastRead = this.#s.clock.now()
    this.#up.write(Buffer.from(xml))
  }

  /** Sends octets from the server to the device. */
  send (text: string): void {
    if (this.closed || !this.#passes) return
    this.overheard(text)
    if (this.isSlow) this.#unread += text
    else this.#down.write(Buffer.from(text, 'latin1'))
  }

  get backlog (): number { return this.#unread.length }

  drained (then: () => void): void { this.#draining.push(then) }

  /** Makes the device read `bytes` bytes of its backlog. */
  read (bytes: number): void {
    const text = this.#unread.slice(0, bytes)
    this.#unread = this.#unread.slice(bytes)
    this.#down.write(Buffer.from(text, 'latin1'))
    if (this.#unread === '') for (const then of this.#draining.splice(0)) then()
  }

  get #passes (): boolean {
    const now = this.#s.clock.now()
    if (now - this.#passed > this.#nat) this.isDark = true
    this.#passed = now
    return !this.isDark
  }

  close (error?: StreamError): void {
    this.closed = true
    this.error = error
    this.#session?.detach(this, error)
  }

  lose (reason: Error): void {
    this.closed = true
    this.#session?.detach(this, reason)
  }

  leave (): void { this.closed = true }
  pause (): void { this.paused = true }
  resume (): void { this.paused = false }

  #parser (heard: (element: ParsedElement, source: Source) => void): Parser {
    const parser = new Parser({ limits: LIMITS, contentNamespace: 'jabber:client' }, { opened () {}, element: heard, closed () {} })
    parser.write(Buffer.from(HEADER))
    return parser
  }
}

function text (element: Element): string { return fromOctets(octets(element)) }

/** True if the element has everything in the pattern: name, namespace, attributes, children (in any order) and text. */
export function isLike (element: Element, pattern: Element): boolean {
  if (element.getName() !== pattern.getName() || namespaceOf(element) !== namespaceOf(pattern)) return false
  for (const [name, value] of Object.entries(pattern.attrs)) {
    if (name.startsWith('xmlns')) continue
    if (!isDeepStrictEqual(element.attrs[name], value)) return false
  }
  const wanted = textOf(pattern).trim()
  if (wanted !== '' && textOf(element).trim() !== wanted) return false
  const left = childElements(element)
  return childElements(pattern).every(child => {
    const at = left.findIndex(other => isLike(other, child))
    if (at >= 0) left.splice(at, 1)
    return at >= 0
  })
}
