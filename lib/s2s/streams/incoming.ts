/** A stream from another server, and the domains that it may speak for (RFC 6120 §13.7, XEP-0178, XEP-0220). */
import { TokenBucket } from '../../base/rate.js'
import { follow, type Maybe } from '../../base/maybe.js'
import { ReleaseOrder } from '../../host/order.js'
import type { AcceptedStream, AcceptedHome } from '../../stream/acceptor.js'
import { shakeHands } from '../../stream/handshake.js'
import type { StreamHeader } from '../../stream/header.js'
import { limitsAfterLogin, limitsBeforeLogin } from '../../stream/limits.js'
import { StreamOver } from '../../stream/negotiation.js'
import { Stream, type StreamEnd, type StreamHandlers, type StreamState } from '../../stream/stream.js'
import { failed } from '../../stream/acks/elements.js'
import type { TlsInfo, TlsSettings, Transport } from '../../stream/transport.js'
import { attributeOf, localName, textOf, xml, type Element, type ParsedElement, type Source } from '../../xml/element.js'
import { NS } from '../../xml/namespaces.js'
import { octets } from '../../xml/writer.js'
import { StreamError } from '../../xmpp/errors.js'
import type { Jid } from '../../xmpp/jid.js'
import type { Addressed } from '../../xmpp/stanza.js'
import { objectionToCaller } from '../trust/caller.js'
import { asServer } from '../trust/chain.js'
import { Claims, type ClaimsHome } from '../trust/claims.js'
import { dialbackElement } from '../trust/dialback.js'
import { pairKey, type DialbackAddresses } from '../ground/domain-pair.js'
import type { CountedArrival } from '../acks/arrived.js'
import { claimedIn, localIn } from './header.js'
import { IncomingManagement } from '../acks/negotiation.js'
import { receiver, type Receiver, type Receiving } from './receive.js'
import { identityIn } from '../trust/certificate-names.js'
import type { StanzaSink } from '../ground/stanza-sink.js'
import type { QueuedStanza } from '../ground/queued-stanza.js'
import type { StreamContext } from './context.js'
import type { IncomingHome } from './incoming-owner.js'
import type { ServerListenerSettings } from './settings.js'

/** How many seconds of its rate a peer may send at once. */
const BURST = 10
/** The most failed proofs on one stream. */
const MOST_FAILURES = 16
/** The most requests of stream management that are answered on one stream before a domain is proven. */
const MOST_EARLY = 10
/** How long a peer may be silent, in milliseconds. It may keep a link open: TCP detects peers that are gone. */
const LONGEST_SILENCE = 86_400_000

export class Incoming implements AcceptedStream, StreamHandlers, StanzaSink, Receiving, ClaimsHome {
  readonly since: number
  largest: number | undefined
  security: 'EXTERNAL' | 'dialback' | undefined
  isBidi = false
  readonly #world: StreamContext
  readonly #owner: IncomingHome
  readonly #settings: ServerListenerSettings
  readonly #home: AcceptedHome<Incoming>
  readonly #stream: Stream<Incoming>
  readonly #order: ReleaseOrder
  /** The pairs for which the peer may speak. */
  readonly #proven = new Map<string, DialbackAddresses>()
  readonly #claims: Claims
  readonly #receive: Receiver
  /** The connection's TLS as reported, and the same with the certificate judged as one for servers. */
  #shown: TlsInfo | undefined
  #tls: TlsInfo | undefined
  /** Why the peer's certificate is not valid for the domain that it claims; undefined if it is. */
  #doubt: string | undefined = 'not checked'
  #local: string | undefined
  /** The domain that the peer claims. It proves nothing. */
  #claimed: string | undefined
  /** The pair that SASL has proven. A new stream on this connection must be for the same pair. */
  #authenticated: DialbackAddresses | undefined
  #failures = 0
  /** Undefined until the first pair of domains is proven. */
  #management: IncomingManagement | undefined
  /** 'resting': takes no more stanzas. 'finishing': ends the stream as well. */
  #ending: 'no' | 'resting' | 'finishing' = 'no'
  /** The number of stream management requests that came too early. */
  #early = 0

  constructor (
    world: StreamContext, owner: IncomingHome, settings: ServerListenerSettings, transport: Transport,
    home: AcceptedHome<Incoming>,
  ) {
    const { clock, ids, limits } = world
    this.since = clock.now()
    this.#world = world
    this.#owner = owner
    this.#settings = settings
    this.#home = home
    this.#order = new ReleaseOrder(world.pipeline.storage)
    this.#claims = new Claims(world, owner, this)
    this.#receive = receiver(world, this)
    this.#stream = new Stream<Incoming>(transport, {
      role: 'receiving',
      namespace: NS.SERVER, traffic: world.pipeline.traffic.servers, turns: world.pipeline.turns,
      clock,
      ids,
      log: world.log.with({ address: transport.address }),
      limits: limitsBeforeLogin(limits.unauthenticated),
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

  /** Begins to read, after the TLS handshake if the listener wants TLS from the first byte (XEP-0368). */
  async begin (): Promise<void> {
    this.#stream.expire(this.#world.limits.negotiation)
    if (this.#settings.tls === 'direct') await this.#shake(() => {}).catch(() => {}) // the connection is cut then
    this.#stream.start()
  }

  charge (units: number, { domain }: Jid): void { this.#stream.charge(units, this.#world.budgets.of(domain)) }
  end (error: StreamError): void { this.#stream.close(error) }
  close (): void { this.#stream.close() }
  cut (reason: Error): void { this.#stream.cut(reason) }
  drained (then: () => void): void { this.#stream.drained(then) }
  send (item: QueuedStanza): void { this.#management?.managed.send(item) }

  /** Resolves once the peer has acknowledged what it received, or after `ms` milliseconds. */
  async confirmed (ms: number): Promise<void> { await this.#management?.managed.confirmed(ms) }

  /**
   * Takes no more stanzas, because the server stops. A peer that can resume the stream sends them again then. Any other
   * peer must not lose what it sends from now on: its stream ends; or, if the stream also carries our stanzas to the
   * peer, it ends at the next stanza that comes.
   */
  rest (): void {
    if (this.#ending !== 'no') return
    this.#ending = 'resting'
    if (this.isProven && !this.isBidi) this.#late()
  }

  #late (): void {
    const mustEnd = this.#ending === 'resting' && this.#management?.isResumable !== true
    if (mustEnd) void this.finish(new StreamError('system-shutdown'))
  }

  /** Takes no more stanzas, and ends the stream once all that came is stored. */
  async finish (error: StreamError): Promise<void> {
    if (this.#ending === 'finishing') return
    this.#ending = 'finishing'
    await this.#management?.farewell()
    // XEP-0198 §7: a closed stream could not be resumed after our next start.
    if (this.#management?.isResumable === true) this.#stream.leave()
    else this.#stream.close(error)
  }

  get unacknowledged (): number { return this.#management?.managed.unacknowledged ?? 0 }
  get hasRoom (): boolean { return this.#management?.managed.hasRoom === true }

  // ---- For its stream -------------------------------------------------------------------------

  /** Checks the domains in the peer's header and answers it (RFC 6120 §4.7). */
  opened (header: StreamHeader): void {
    const { router } = this.#world
    const local = localIn(header, router)
    const claimed = claimedIn(header, router)
    const before = this.#authenticated
    // CVE-2018-10847: what was proved to one host proves nothing to another.
    if (before !== undefined && local !== before.to) {
      throw new StreamError('not-authorized', 'authenticated to another host')
    }
    if (before !== undefined && claimed !== undefined && claimed !== before.from) throw new StreamError('invalid-from')
    this.#local = local
    this.#claimed = claimed ?? before?.from
    if (this.#claimed !== undefined && this.#world.policy(local, this.#claimed).trust === 'refuse') {
      this.#world.count('refused', 1, { reason: 'policy' })
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

  /** Checks the peer's certificate, and then sends features. Nothing more is read until then. */
  #judge (local: string): void {
    const claimed = this.#claimed
    const doubt = claimed === undefined
      ? 'it does not name its domain'
      : objectionToCaller(this.#world, local, claimed, this.tls)
    if (doubt instanceof Promise) this.#stream.pause()
    void follow(doubt, found => {
      this.#doubt = found
      if (this.isOver) return
      this.#offer()
      this.#stream.resume()
    })
  }

  #offerAll (): void {
    if (this.isBidi) for (const { to, from } of this.#proven.values()) this.#owner.offer(to, from, this)
  }

  #manage (remote: string): IncomingManagement {
    const stream = this.#stream
    return new IncomingManagement({
      get isOver () { return stream.isOver },
      isBidi: this.isBidi, // from here on it stays as it is
      proven: this.#proven,
      allows: ({ to, from }) => this.#world.policy(to, from).trust !== 'refuse',
      write: text => { stream.send(text) },
      cut: reason => { stream.cut(reason) },
      say: element => { this.say(element) },
      end: error => { stream.close(error) },
      offer: () => { this.#offerAll() },
    }, this.#owner.resumables, this.#owner.managed(remote))
  }

  element (element: ParsedElement, source: Source): Maybe<void> {
    // RFC 6120 §5.3.1: if TLS is required, nothing else may come before it.
    if (!this.#isSecure) {
      if (element.ns === NS.TLS && localName(element) === 'starttls') return this.#startTls()
      throw new StreamError('policy-violation', 'TLS is required first')
    }
    switch (element.ns) {
      case NS.CLIENT:
        if (!this.isProven) throw new StreamError('not-authorized')
        if (this.#ending !== 'no') { this.#late(); return undefined }
        this.#management?.stanza()
        return this.#receive(element, source)
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

  /** XEP-0198 §3: refuses a request that comes too early. The stream goes on, but the number of answers is bounded. */
  #tooEarly (): void {
    if (++this.#early > MOST_EARLY) throw new StreamError('policy-violation', 'too many requests came too early')
    this.say(failed('unexpected-request'))
  }

  ending (): Maybe<void> { return this.#management?.farewell() }

  over ({ by, reason }: StreamEnd): void {
    const why = reason ?? (by === 'loss' ? new Error('the connection was lost') : undefined)
    this.#management?.over(by)
    for (const { to, from } of this.#proven.values()) if (this.isBidi) this.#owner.withdraw(to, from, this, why)
    const { isProven, address } = this
    if (isProven) this.#world.log.info('s2s stream closed', { from: this.#claimed, address, reason: reason?.message })
  }

  closed (): void { this.#home.gone(this) }

  // ---- Negotiation -------------------------------------------------------------------------------

  #offer (): void {
    const features: Element[] = []
    if (!this.#isSecure) features.push(xml('starttls', { xmlns: NS.TLS }, xml('required')))
    else {
      const external = xml('mechanisms', { xmlns: NS.SASL }, xml('mechanism', {}, 'EXTERNAL'))
      if (this.#mayAuthenticate()) features.push(external)
      if (!this.isProven) features.push(xml('bidi', { xmlns: NS.BIDI_FEATURE }))
      features.push(xml('dialback', { xmlns: NS.DIALBACK_FEATURE }, xml('errors')))
      features.push(xml('sm', { xmlns: NS.SM })) // offered before authentication, because no features follow dialback
      const bytes = this.isProven ? this.#settings.stanza : this.#world.limits.unauthenticated.stanza
      features.push(xml('limits', { xmlns: NS.STREAM_LIMITS },
        // XEP-0478
        xml('max-bytes', {}, String(bytes)), xml('idle-seconds', {}, String(Math.floor(LONGEST_SILENCE / 1000)))))
    }
    this.#stream.send(octets(xml('stream:features', {}, ...features)))
  }

  /** XEP-0178 §3 step 9: true if the peer's certificate is valid for the domain that it claims. */
  #mayAuthenticate (): boolean {
    return !this.isProven && this.#doubt === undefined
  }

  async #startTls (): Promise<void> {
    if (this.#settings.tls !== 'required' || this.tls !== undefined) throw new StreamError('policy-violation')
    // the connection is cut then
    await this.#shake(() => { this.#stream.send(octets(xml('proceed', { xmlns: NS.TLS }))) }).catch(() => {})
  }

  async #shake (proceed: () => void): Promise<void> {
    const { clock } = this.#world
    const local = this.#local ?? this.#world.domain
    const contextFor: TlsSettings['contextFor'] = name => this.#world.shows(name, local)
    const how: TlsSettings = { contextFor, alpn: 'xmpp-server', asksPeer: true, spent: this.#home.spent }
    await shakeHands(this.#stream, how, this.#world, async () => {
      await this.#home.handshake(ms => new Promise(resolve => { clock.after(ms, resolve) }))
      if (this.isOver) throw new StreamOver()
      proceed()
    })
  }

  /** Handles EXTERNAL (XEP-0178 §3). */
  #sasl (element: ParsedElement): void {
    if (localName(element) === 'abort') { this.#refuse('aborted'); return }
    if (localName(element) !== 'auth') throw new StreamError('unsupported-stanza-type')
    if (this.isProven) throw new StreamError('policy-violation', 'authenticated already')
    const [local, claimed] = [this.#local, this.#claimed]
    const isExternal = attributeOf(element, 'mechanism') === 'EXTERNAL'
    if (!isExternal || !this.#mayAuthenticate()) { this.#refuse('invalid-mechanism'); return }
    const identity = identityIn(textOf(element).trim())
    if (identity === undefined) { this.#refuse('incorrect-encoding'); return }
    // The peer may name the domain that it has claimed, and no other.
    const isClaimed = identity === '' || identity === claimed
    if (local === undefined || claimed === undefined || !isClaimed) { this.#refuse('invalid-authzid'); return }
    this.#authenticated = { from: claimed, to: local }
    this.#stream.send(octets(xml('success', { xmlns: NS.SASL })))
    this.#prove({ from: claimed, to: local }, 'EXTERNAL')
    this.#stream.restart()
  }

  #refuse (condition: string): void {
    this.#world.count('refused', 1, { reason: 'EXTERNAL' })
    this.#stream.send(octets(xml('failure', { xmlns: NS.SASL }, xml(condition))))
    this.fail()
  }

  /** Counts a failed proof. Too many end the stream. */
  fail (): void {
    if (++this.#failures < MOST_FAILURES) return
    this.#stream.close(new StreamError('policy-violation', 'too many failed proofs'))
  }

  #wantsBidi (): void {
    if (this.isProven) throw new StreamError('policy-violation') // XEP-0288 §2.2: before authentication
    this.isBidi = true
  }

  #prove (pair: DialbackAddresses, how: 'EXTERNAL' | 'dialback'): void {
    const isFirst = !this.isProven
    this.#proven.set(pairKey(pair.to, pair.from), pair)
    this.#world.count('accepted', 1, { security: how })
    this.#world.log.info('s2s domain accepted', { from: pair.from, to: pair.to, address: this.address, security: how })
    if (isFirst) {
      this.security = how
      this.#stream.limits = limitsAfterLogin(this.#settings.stanza)
      this.#stream.watch({ keepalive: this.#world.limits.keepalive, idle: LONGEST_SILENCE })
      this.#home.established(this)
      this.#management = this.#manage(pair.from)
      if (how === 'dialback') this.#establish()
    }
    this.#owner.alive(pair.to, pair.from)
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
    if (this.isBidi) this.#owner.offer(pair.to, pair.from, this)
  }

  answerClaim ({ from, to }: DialbackAddresses, type: 'valid' | 'invalid'): void {
    this.say(dialbackElement('result', { from: to, to: from, type }))
  }

  say (element: Element): void { this.#stream.send(octets(element)) }

  // ---- Stanzas --------------------------------------------------------------------------------------

  get order (): ReleaseOrder { return this.#order }
  get lang (): string | undefined { return this.#stream.header?.lang }
  mayCarry (local: string, remote: string): boolean { return this.#proven.has(pairKey(local, remote)) }
  answer (reply: Addressed): void { this.#world.pipeline.route(reply) }
  arrive (): CountedArrival | undefined { return this.#management?.managed.arrive(this.#order) }
  isAnswer (local: string, remote: string, id: string): boolean { return this.#owner.isAnswer(local, remote, id) }
}
