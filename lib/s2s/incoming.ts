/** A stream from another server, and for which domains it may speak (RFC 6120 §13.7, XEP-0178, XEP-0220). */
import { TokenBucket } from '../base/rate.js'
import { follow, type Maybe } from '../base/maybe.js'
import { ReleaseOrder } from '../host/order.js'
import type { Accepted, AcceptedHome } from '../stream/acceptor.js'
import type { StreamHeader } from '../stream/header.js'
import { Stream, type StreamEnd, type StreamHandlers, type StreamState } from '../stream/stream.js'
import { failed } from '../stream/stream-management.js'
import type { TlsInfo, Transport } from '../stream/transport.js'
import { attributeOf, localName, textOf, xml, type Element, type ParsedElement, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { octets } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed } from '../xmpp/stanza.js'
import { doubtOfCaller } from './caller.js'
import { asServer } from './chain.js'
import { Claims, type ClaimsHome } from './claims.js'
import { dialbackElement, type DialbackAddresses } from './dialback.js'
import type { Place } from './inbound.js'
import type { Links } from './links.js'
import { claimedIn, localIn } from './header.js'
import { IncomingManagement } from './managing.js'
import { receive, type Receiving } from './receive.js'
import { identityIn } from './trust.js'
import { pairKey, type Carrier, type Waiting } from './waiting.js'
import { limitsOnceProven, type FederationWorld } from './world.js'

export interface ServerListenerSettings {
  readonly tls: 'required' | 'direct' | 'none'
  /** Bytes of the largest stanza. */
  readonly stanza: number
  /** Bytes a second that a connection may send on average. */
  readonly rate: number
}

/** So many seconds of its rate a peer may send at once. */
const BURST = 10
/** Failures to prove anything on one stream. */
const MOST_FAILURES = 16
/** Requests of stream management on one stream before anything is proven that are answered. */
const MOST_EARLY = 10
/** A peer keeps a link open as long as it likes: TCP finds out who is gone. In milliseconds. */
const LONGEST_SILENCE = 86_400_000

export class Incoming implements Accepted, StreamHandlers, Carrier, Receiving, ClaimsHome {
  readonly since: number
  largest: number | undefined
  security: 'EXTERNAL' | 'dialback' | undefined
  isBidi = false
  readonly #world: FederationWorld
  readonly #links: Links
  readonly #settings: ServerListenerSettings
  readonly #home: AcceptedHome<Incoming>
  readonly #stream: Stream<Incoming>
  readonly #order: ReleaseOrder
  /** Pairs for which the peer may speak. */
  readonly #proven = new Map<string, DialbackAddresses>()
  readonly #claims: Claims
  /** What TLS says of the connection, and what is made of that. */
  #shown: TlsInfo | undefined
  #tls: TlsInfo | undefined
  /** Why its certificate does not stand for whom it says it is; undefined if it does. */
  #doubt: string | undefined = 'not looked at'
  #local: string | undefined
  /** Whom the peer says it is; it proves nothing. */
  #claimed: string | undefined
  /** The pair that SASL has proven: a new stream on this connection is for the same two. */
  #authenticated: DialbackAddresses | undefined
  #failures = 0
  /** Until the first pair of domains is proven there is none. */
  #management: IncomingManagement | undefined
  /** 'resting': nothing more is taken. 'finishing': and the stream ends. */
  #ending: 'no' | 'resting' | 'finishing' = 'no'
  /** Requests of stream management that came too early. */
  #early = 0

  constructor (world: FederationWorld, links: Links, settings: ServerListenerSettings, transport: Transport, home: AcceptedHome<Incoming>) {
    const { clock, ids, limits } = world
    this.since = clock.now()
    this.#world = world
    this.#links = links
    this.#settings = settings
    this.#home = home
    this.#order = new ReleaseOrder(world.router.storage)
    this.#claims = new Claims(world, links, this)
    this.#stream = new Stream<Incoming>(transport, {
      role: 'receiving',
      namespace: NS.SERVER, traffic: world.router.traffic.servers, turns: world.router.turns,
      clock,
      ids,
      log: world.log.with({ address: transport.address }),
      limits: { bytes: limits.unauthenticated.stanza, elements: limits.unauthenticated.elements, depth: 16, attributes: 32, name: 256 },
      domain: world.domain,
      rate: { bytes: new TokenBucket(clock, settings.rate, settings.rate * BURST) },
    }, this)
  }

  get state (): StreamState { return this.#stream.state }
  get isOver (): boolean { return this.#stream.isOver }
  get backlog (): number { return this.#stream.transport.backlog }
  get address (): string { return this.#stream.transport.address }
  get id (): string | undefined { return this.#stream.id }
  get size (): number { return this.#proven.size }
  get tls (): TlsInfo | undefined {
    const { tls } = this.#stream.transport
    if (tls !== this.#shown) {
      this.#shown = tls
      this.#tls = tls === undefined ? undefined : asServer(tls, this.#world.anchors(), this.#world.clock.now())
    }
    return this.#tls
  }
  get isProven (): boolean { return this.#proven.size > 0 }
  get pairs (): readonly DialbackAddresses[] { return [...this.#proven.values()] }
  get #isSecure (): boolean { return this.tls !== undefined || this.#settings.tls === 'none' }

  /** Begins to read; before that, with TLS where the listener wants it from the first byte (XEP-0368). */
  async begin (): Promise<void> {
    this.#stream.expire(this.#world.limits.negotiation)
    if (this.#settings.tls === 'direct') await this.#shake(() => {}).catch(() => {}) // it is cut then
    this.#stream.start()
  }

  charge (units: number, { domain }: Jid): void { this.#stream.charge(units, this.#world.budgets.of(domain)) }
  end (error: StreamError): void { this.#stream.close(error) }
  close (): void { this.#stream.close() }
  cut (reason: Error): void { this.#stream.cut(reason) }
  send (item: Waiting): void { this.#management?.managed.send(item) }

  /** Resolves once the peer has said what has come to it; after this number of milliseconds at the latest. */
  async confirmed (ms: number): Promise<void> { await this.#management?.managed.confirmed(ms) }

  /**
   * The server stops: takes nothing more. A peer that can resume says it again then. Any other must not lose what it says from now on: its
   * stream ends, or, if that carries stanzas to the peer as well, ends by the next stanza that comes.
   */
  rest (): void {
    if (this.#ending !== 'no') return
    this.#ending = 'resting'
    if (this.isProven && !this.isBidi) this.#late()
  }

  #late (): void {
    if (this.#ending === 'resting' && this.#management?.isResumable !== true) void this.finish(new StreamError('system-shutdown'))
  }

  /** Takes nothing more, and ends once what has come is stored. */
  async finish (error: StreamError): Promise<void> {
    if (this.#ending === 'finishing') return
    this.#ending = 'finishing'
    await this.#management?.farewell()
    // XEP-0198 §7: closed, it could not be taken up behind our next start.
    if (this.#management?.isResumable === true) this.#stream.leave()
    else this.#stream.close(error)
  }

  get unacknowledged (): number { return this.#management?.managed.unacknowledged ?? 0 }
  get hasRoom (): boolean { return this.#management?.managed.hasRoom === true }

  // ---- As its stream sees it ------------------------------------------------------------------

  /** RFC 6120 §4.7. */
  opened (header: StreamHeader): void {
    const { router } = this.#world
    const local = localIn(header, router)
    const claimed = claimedIn(header, router)
    const before = this.#authenticated
    // What was proved to one host is nothing to another: CVE-2018-10847.
    if (before !== undefined && local !== before.to) throw new StreamError('not-authorized', 'authenticated to another host')
    if (before !== undefined && claimed !== undefined && claimed !== before.from) throw new StreamError('invalid-from')
    this.#local = local
    this.#claimed = claimed ?? before?.from
    if (this.#claimed !== undefined && this.#world.policy(local, this.#claimed).trust === 'refuse') {
      this.#world.count('refused', 1, { why: 'policy' })
      throw new StreamError('policy-violation', `${local} does not talk to ${this.#claimed}`)
    }
    this.#stream.reply(local)
    this.#stream.negotiate(this.#isSecure, undefined)
    if (this.isProven) {
      this.#offer()
      this.#establish()
      this.#offerAll()
    } else this.#judge(local)
  }

  /** Looks at its certificate, and then says what it may do. Until then nothing more is read. */
  #judge (local: string): void {
    const claimed = this.#claimed
    const doubt = claimed === undefined ? 'it does not say who it is' : doubtOfCaller(this.#world, local, claimed, this.tls)
    if (doubt instanceof Promise) this.#stream.pause()
    void follow(doubt, found => {
      this.#doubt = found
      if (this.isOver) return
      this.#offer()
      this.#stream.resume()
    })
  }

  #offerAll (): void {
    if (this.isBidi) for (const { to, from } of this.#proven.values()) this.#links.offer(to, from, this)
  }

  #manage (remote: string): IncomingManagement {
    const stream = this.#stream
    return new IncomingManagement({
      get isOver () { return stream.isOver },
      isBidi: this.isBidi, // nobody asks for it any more
      proven: this.#proven,
      allows: ({ to, from }) => this.#world.policy(to, from).trust !== 'refuse',
      write: text => { stream.send(text) },
      cut: reason => { stream.cut(reason) },
      say: element => { this.say(element) },
      end: error => { stream.close(error) },
      offer: () => { this.#offerAll() },
    }, this.#links.resumables, this.#links.managed(remote))
  }

  element (element: ParsedElement, source: Source): Maybe<void> {
    // RFC 6120 §5.3.1: where TLS is required, there is nothing else before.
    if (!this.#isSecure) {
      if (element.ns === NS.TLS && localName(element) === 'starttls') return this.#startTls()
      throw new StreamError('policy-violation', 'TLS comes first')
    }
    switch (element.ns) {
      case NS.CLIENT:
        if (!this.isProven) throw new StreamError('not-authorized')
        if (this.#ending !== 'no') { this.#late(); return undefined }
        this.#management?.stanza()
        return receive(this.#world, this, element, source)
      case NS.DIALBACK: this.#claims.element(element); return undefined
      case NS.SASL: this.#sasl(element); return undefined
      case NS.BIDI: this.#wantsBidi(); return undefined
      case NS.SM:
        if (this.#management !== undefined) return this.#management.element(element)
        this.#tooEarly()
        return undefined
      default: throw new StreamError(element.ns === NS.TLS ? 'policy-violation' : 'unsupported-stanza-type')
    }
  }

  /** XEP-0198 §3: the stream goes on. A stranger does not have it answer for ever. */
  #tooEarly (): void {
    if (++this.#early > MOST_EARLY) throw new StreamError('policy-violation', 'too many requests that come too early')
    this.say(failed('unexpected-request'))
  }

  ending (): Maybe<void> { return this.#management?.farewell() }

  over ({ by, reason }: StreamEnd): void {
    const why = reason ?? (by === 'loss' ? new Error('the connection is gone') : undefined)
    this.#management?.over(by)
    for (const { to, from } of this.#proven.values()) if (this.isBidi) this.#links.withdraw(to, from, this, why)
    if (this.isProven) this.#world.log.info('server gone', { from: this.#claimed, address: this.address, reason: reason?.message })
  }

  closed (): void { this.#home.gone(this) }

  // ---- Negotiation -------------------------------------------------------------------------------

  #offer (): void {
    const features: Element[] = []
    if (!this.#isSecure) features.push(xml('starttls', { xmlns: NS.TLS }, xml('required')))
    else {
      if (this.#mayAuthenticate()) features.push(xml('mechanisms', { xmlns: NS.SASL }, xml('mechanism', {}, 'EXTERNAL')))
      if (!this.isProven) features.push(xml('bidi', { xmlns: NS.BIDI_FEATURE }))
      features.push(xml('dialback', { xmlns: NS.DIALBACK_FEATURE }, xml('errors')))
      features.push(xml('sm', { xmlns: NS.SM })) // also before it is allowed: behind dialback there are no features any more
      const bytes = this.isProven ? this.#settings.stanza : this.#world.limits.unauthenticated.stanza
      features.push(xml('limits', { xmlns: NS.STREAM_LIMITS },
        xml('max-bytes', {}, String(bytes)), xml('idle-seconds', {}, String(Math.floor(LONGEST_SILENCE / 1000))))) // XEP-0478
    }
    this.#stream.send(octets(xml('stream:features', {}, ...features)))
  }

  /** XEP-0178 §3 step 9: only whose certificate is right for whom it says it is. */
  #mayAuthenticate (): boolean {
    return !this.isProven && this.#doubt === undefined
  }

  async #startTls (): Promise<void> {
    if (this.#settings.tls !== 'required' || this.tls !== undefined) throw new StreamError('policy-violation')
    await this.#shake(() => { this.#stream.send(octets(xml('proceed', { xmlns: NS.TLS }))) }).catch(() => {}) // it is cut then
  }

  async #shake (ready: () => void): Promise<void> {
    const { log, clock } = this.#world
    try {
      await this.#home.handshake(ms => new Promise(resolve => { clock.after(ms, resolve) }))
      if (this.isOver) return
      ready()
      const local = this.#local ?? this.#world.domain
      await this.#stream.startTls({ contextFor: name => this.#world.shows(name, local), alpn: 'xmpp-server', asksPeer: true })
    } catch (error) {
      log.debug('handshake failed', { address: this.address, error })
      this.#stream.cut(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
  }

  /** XEP-0178 §3. */
  #sasl (element: ParsedElement): void {
    if (localName(element) === 'abort') { this.#refuse('aborted'); return }
    if (localName(element) !== 'auth') throw new StreamError('unsupported-stanza-type')
    if (this.isProven) throw new StreamError('policy-violation', 'authenticated already')
    const [local, claimed] = [this.#local, this.#claimed]
    if (attributeOf(element, 'mechanism') !== 'EXTERNAL' || !this.#mayAuthenticate()) { this.#refuse('invalid-mechanism'); return }
    const identity = identityIn(textOf(element).trim())
    if (identity === undefined) { this.#refuse('incorrect-encoding'); return }
    // Whom the certificate is for, it may say again; nobody else.
    if (local === undefined || claimed === undefined || identity !== '' && identity !== claimed) { this.#refuse('invalid-authzid'); return }
    this.#authenticated = { from: claimed, to: local }
    this.#stream.send(octets(xml('success', { xmlns: NS.SASL })))
    this.#prove({ from: claimed, to: local }, 'EXTERNAL')
    this.#stream.restart()
  }

  #refuse (condition: string): void {
    this.#world.count('refused', 1, { why: 'EXTERNAL' })
    this.#stream.send(octets(xml('failure', { xmlns: NS.SASL }, xml(condition))))
    this.fail()
  }

  /** One more attempt to prove something has failed. */
  fail (): void {
    if (++this.#failures >= MOST_FAILURES) this.#stream.close(new StreamError('policy-violation', 'too many failures'))
  }

  #wantsBidi (): void {
    if (this.isProven) throw new StreamError('policy-violation') // XEP-0288 §2.2: before authentication
    this.isBidi = true
  }

  #prove (pair: DialbackAddresses, how: 'EXTERNAL' | 'dialback'): void {
    const isFirst = !this.isProven
    this.#proven.set(pairKey(pair.to, pair.from), pair)
    this.#world.count('accepted', 1, { security: how })
    this.#world.log.info('server accepted', { from: pair.from, to: pair.to, address: this.address, security: how })
    if (isFirst) {
      this.security = how
      this.#stream.limits = limitsOnceProven(this.#settings.stanza)
      this.#stream.watch({ keepalive: this.#world.limits.keepalive, idle: LONGEST_SILENCE })
      this.#home.established(this)
      this.#management = this.#manage(pair.from)
      if (how === 'dialback') this.#establish()
    }
    this.#links.alive(pair.to, pair.from)
  }

  #establish (): void {
    this.#stream.expire(undefined)
    this.#stream.establish(this)
  }

  // ---- Dialback ------------------------------------------------------------------------------------

  has (name: string): boolean { return this.#proven.has(name) }

  accept (pair: DialbackAddresses): void {
    this.#prove(pair, 'dialback')
    this.answerClaim(pair, 'valid')
    if (this.isBidi) this.#links.offer(pair.to, pair.from, this)
  }

  answerClaim ({ from, to }: DialbackAddresses, type: 'valid' | 'invalid'): void {
    this.say(dialbackElement('result', { from: to, to: from, type }))
  }

  say (element: Element): void { this.#stream.send(octets(element)) }

  // ---- Stanzas --------------------------------------------------------------------------------------

  get order (): ReleaseOrder { return this.#order }
  get lang (): string | undefined { return this.#stream.header?.lang }
  mayCarry (local: string, remote: string): boolean { return this.#proven.has(pairKey(local, remote)) }
  answer (reply: Addressed): void { this.#world.router.route(reply) }
  arrive (): Place | undefined { return this.#management?.managed.arrive(this.#order) }
  isAnswer (local: string, remote: string, id: string): boolean { return this.#links.isAnswer(local, remote, id) }
}
