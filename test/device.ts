/** One device on the stage: a client as the server sees it, from the bound session on. */
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
/** How long an answer is waited for, in milliseconds. */
const PATIENCE = 120_000
const HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"

export class Device {
  readonly session: Session
  readonly #s: Scenario
  readonly #line: Line
  readonly #inbox: Element[] = []

  private constructor (s: Scenario, session: Session, line: Line) {
    this.#s = s
    this.session = session
    this.#line = line
    line.hears = element => { this.#inbox.push(element) }
  }

  /** `nat`: a box on its way forgets the connection when it was silent for longer, in milliseconds. */
  static async bind (s: Scenario, host: Host, jid: Jid, address: string, nat?: number): Promise<Device> {
    const line = new Line(s, address, nat)
    const session = await host.bind(jid.bare, jid.resource === '' ? undefined : jid.resource, line)
    line.speaksFor(host, session)
    return new Device(s, session, line)
  }

  /**
   * Another connection takes up the session (XEP-0198 §5), as the stream's negotiation would have it: the device on it, or what was
   * answered instead. What the device gets begins behind `<resumed/>`.
   */
  static async resume (
    s: Scenario, host: Host, account: Jid, request: string, address: string, nat?: number, isSlow = false,
  ): Promise<{ readonly device?: Device, readonly answer: Element }> {
    const feature = host.features.find(({ namespace }) => namespace === 'urn:xmpp:sm:3')
    const line = new Line(s, address, nat)
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
  /** Bytes that were written to it and that it has not read. */
  get backlog (): number { return this.#line.backlog }
  /** Everything that the server sends from now on, as octets. */
  overhear (to: (octets: string) => void): void { this.#line.overheard = to }
  /** What it has not read yet. */
  get unread (): readonly Element[] { return this.#inbox }

  /** Sends this, and waits until all that follows from it has happened. */
  async says (...stanzas: readonly string[]): Promise<void> {
    for (const stanza of stanzas) {
      this.#s.secrets.heard(stanza)
      this.#line.write(stanza)
    }
    await this.#s.settled()
  }

  /** Sends a request, and answers with its reply, result or error. */
  async asks (iq: string): Promise<Element> {
    const request = parseElement(iq)
    await this.says(iq)
    const until = Date.now() + PATIENCE // work of threads, such as deriving keys, is under way outside of our own turns
    for (;;) {
      const at = this.#inbox.findIndex(element => element.name === 'iq' && element.attrs['id'] === request.attrs['id'] &&
        (element.attrs['type'] === 'result' || element.attrs['type'] === 'error'))
      if (at >= 0) return this.#inbox.splice(at, 1)[0] as Element
      if (Date.now() > until) throw new Error(`${this.#name} got no answer to ${iq}; it got ${this.#shown()}`)
      await this.#s.settled()
    }
  }

  /** From now on it reads only when it is told to. */
  stopsReading (): void { this.#line.isSlow = true }

  /** Reads what waits, piece by piece as the server sends it, at most so many bytes; and waits until all that follows has happened. */
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

  /** The next stanza is like this pattern: what the pattern names is there. Answers with the stanza. */
  async gets (pattern: string): Promise<Element> {
    await this.#s.settled()
    const wanted = parseElement(pattern)
    const next = this.#inbox.shift()
    if (next === undefined) throw new Error(`${this.#name} got nothing, not ${pattern}`)
    if (!isLike(next, wanted)) throw new Error(`${this.#name} wanted ${pattern}\n  but got ${text(next)}\n  then ${this.#shown()}`)
    return next
  }

  /** The next stanzas are like these, in any order. */
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

  /** Forgets what it has not read, or this one of it. */
  forget (one?: Element): void {
    if (one === undefined) this.#inbox.length = 0
    else this.#inbox.splice(this.#inbox.indexOf(one), 1)
  }

  /** The connection is gone, without a word. */
  async loses (what: 'connection'): Promise<void> {
    this.#line.lose(new Error(`lost its ${what}`))
    await this.#s.settled()
  }

  /** The connection is gone, and nobody is told. */
  vanishes (): void { this.#line.isDark = true }
  /** What is said reaches nobody any more. */
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

/** Both ways between a device and its session; what the stream room does, without a stream. */
class Line implements Connection {
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

  /** From the device. */
  write (xml: string): void {
    if (!this.#passes) return
    this.lastRead = this.#s.clock.now()
    this.#up.write(Buffer.from(xml))
  }

  /** From the server. */
  send (text: string): void {
    if (this.closed || !this.#passes) return
    this.overheard(text)
    if (this.isSlow) this.#unread += text
    else this.#down.write(Buffer.from(text, 'latin1'))
  }

  get backlog (): number { return this.#unread.length }

  drained (then: () => void): void { this.#draining.push(then) }

  /** The device reads so many bytes of what waits. */
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

/** Whether all that the pattern names is in the element: name, namespace, attributes, children (in any order), text. */
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
