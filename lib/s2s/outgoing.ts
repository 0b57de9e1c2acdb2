/** A stream that we open to another server: secured, and then ours for each pair of domains that we prove (RFC 6120 §13.7, XEP-0220). */
import type { Maybe } from '../base/maybe.js'
import type { StreamHeader } from '../stream/header.js'
import { Stream, type StreamEnd, type StreamHandlers } from '../stream/stream.js'
import type { TlsInfo, Transport } from '../stream/transport.js'
import { child, childElements, children, localName, textOf, xml, type Element, type ParsedElement, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { octets } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { doubtOf } from './dane.js'
import { Dialogue } from './dialogue.js'
import { addressOf, asciiOf, type Target } from './resolve.js'
import { answerTo, type Managed } from './managed.js'
import { begin, type FormerHome } from './managing.js'
import { Questions } from './questions.js'
import { reasonOf } from './reason.js'
import { distrust } from './trust.js'
import { pairKey, type Carrier, type Waiting } from './waiting.js'
import { LinkError, limitsOnceProven, type FederationWorld } from './world.js'

/** What its owner hears of a stream. */
export interface OutgoingOwner extends FormerHome {
  /** The server stops, and takes nothing more. */
  isResting (): boolean
  /** A stanza that came back on it: it serves both directions (XEP-0288). */
  received (element: ParsedElement, source: Source): Maybe<void>
  over (end: StreamEnd): void
  /** The connection is gone too. */
  closed (): void
}

const NOBODY: OutgoingOwner = {
  isResting: () => false,
  received: () => { throw new StreamError('not-authorized') },
  former: () => undefined, resumed: () => {}, notResumed: () => {}, over: () => {}, closed: () => {},
}

export class Outgoing implements StreamHandlers, Carrier {
  readonly local: string
  readonly remote: string
  readonly target: Target
  readonly since: number
  owner: OutgoingOwner = NOBODY
  /** How the first pair was proven. */
  security: 'EXTERNAL' | 'dialback' | undefined
  /** It serves both directions. */
  isBidi = false
  lastUsed: number
  largest: number | undefined
  /** What was sent and has come on it; undefined until the first pair of domains is proven. */
  managed: Managed | undefined
  readonly #world: FederationWorld
  readonly #stream: Stream<Outgoing>
  readonly #manages: (remote: string) => Managed
  readonly #dialogue = new Dialogue()
  readonly #questions: Questions
  readonly #proven = new Set<string>()
  #features: ParsedElement | undefined
  #reason: Error | undefined
  #isAuthorising = false
  /** It is being agreed on whether a stream before this one is taken up. */
  #isBeginning = false
  #isEnding = false

  constructor (
    world: FederationWorld, local: string, remote: string, transport: Transport, target: Target, manages: (remote: string) => Managed,
  ) {
    const { clock, ids, limits } = world
    this.local = local
    this.remote = remote
    this.target = target
    this.#manages = manages
    this.since = this.lastUsed = clock.now()
    this.#world = world
    this.#stream = new Stream<Outgoing>(transport, {
      role: 'initiating',
      namespace: NS.SERVER, traffic: world.router.traffic.servers, turns: world.router.turns,
      clock,
      ids,
      log: world.log.with({ to: remote, address: transport.address }),
      limits: { bytes: limits.unauthenticated.stanza, elements: limits.unauthenticated.elements * 4, depth: 16, attributes: 32, name: 256 },
      domain: local,
    }, this)
    this.#questions = new Questions(clock, element => { this.#send(element) }, (ours, theirs) => { this.#prove(ours, theirs, 'dialback') })
  }

  get tls (): TlsInfo | undefined { return this.#stream.transport.tls }
  get isOver (): boolean { return this.#stream.isOver }
  charge (units: number, { domain }: Jid): void { this.#stream.charge(units, this.#world.budgets.of(domain)) }
  get backlog (): number { return this.#stream.transport.backlog }
  get address (): string { return this.#stream.transport.address }
  get proven (): ReadonlySet<string> { return this.#proven }
  get unacknowledged (): number { return this.managed?.unacknowledged ?? 0 }
  get hasRoom (): boolean { return this.managed?.hasRoom !== false }
  /** What the peer offers, by the names of the elements. */
  get features (): readonly string[] { return this.#features === undefined ? [] : childElements(this.#features).map(localName) }
  /** Why its certificate does not stand for this domain; undefined where it does. */
  distrust (domain: string): string | undefined {
    return domain === this.remote ? doubtOf(this.target, this.tls, domain, this.#world.clock.now()) : distrust(this.tls, domain)
  }

  // ---- Opening -------------------------------------------------------------------------

  /** Opens the stream, encrypts it, and reads what the peer offers. Rejects with LinkError. */
  async open (): Promise<void> {
    await this.#attempt(async () => {
      this.#stream.expire(this.#world.limits.negotiation)
      const isDirect = this.target.tls === 'direct'
      if (isDirect) await this.#shake()
      this.#stream.start()
      if (!isDirect) {
        const features = await this.#greet()
        if (child(features, NS.TLS, 'starttls') === undefined) throw new LinkError('remote-server-not-found', 'it does not offer TLS')
        this.#send(xml('starttls', { xmlns: NS.TLS }))
        const answer = await this.#dialogue.next()
        if (answer.ns !== NS.TLS || localName(answer) !== 'proceed') throw new LinkError('remote-server-not-found', 'it refuses TLS')
        await this.#shake()
      }
      this.#features = await this.#greet()
      this.#takeLimits()
      this.#dialogue.rest()
    })
  }

  async #greet (): Promise<ParsedElement> {
    this.#stream.open({ from: this.local, to: this.remote })
    await this.#dialogue.header()
    const features = await this.#dialogue.next()
    if (features.ns !== NS.STREAM || localName(features) !== 'features') throw new StreamError('unsupported-stanza-type')
    return features
  }

  async #shake (): Promise<void> {
    const { context, certificate } = this.#world.shows(undefined, this.local)
    this.#dialogue.forget()
    try {
      await this.#stream.startTls({
        servername: addressOf(this.remote) === undefined ? asciiOf(this.remote) : undefined,
        context,
        certificate,
        alpn: 'xmpp-server',
      })
    } catch (error) {
      const reason = error instanceof Error ? error : new Error(String(error))
      this.#stream.cut(reason)
      throw new LinkError('remote-server-timeout', 'TLS fails', { cause: reason })
    }
  }

  // ---- Proving who we are --------------------------------------------------------------------

  /**
   * Proves that `local` speaks here to `remote`, so that its stanzas are taken. The first pair by EXTERNAL where that is offered
   * (XEP-0178); all others, and where it is not, by dialback. Rejects with LinkError.
   */
  async authorise (local: string, remote: string): Promise<void> {
    if (this.#proven.has(pairKey(local, remote))) return
    const { trust } = this.#world.policy(local, remote)
    const doubt = this.distrust(remote)
    if (trust === 'refuse') throw new LinkError('not-allowed', `${local} does not talk to ${remote}`, { mender: 'us' })
    if (trust === 'certificate' && doubt !== undefined) throw new LinkError('remote-server-not-found', doubt)
    await this.#attempt(async () => {
      const isFirst = this.#proven.size === 0 && !this.#isAuthorising
      if (!isFirst || local !== this.local || remote !== this.remote) { await this.#dialback(local, remote); return }
      this.#isAuthorising = true
      if (doubt === undefined) this.#offerBidi()
      const how = await this.#external() ? 'EXTERNAL' : 'dialback'
      if (how === 'dialback') await this.#dialback(local, remote)
      else this.#prove(local, remote, how)
      await this.#manage()
    })
  }

  /** XEP-0198. The peer's answer is waited for as all of the negotiation is. */
  async #manage (): Promise<void> {
    this.#stream.expire(this.#world.limits.negotiation)
    this.#isBeginning = true
    await begin({
      home: this.owner,
      dialogue: this.#dialogue,
      bearer: { write: text => { this.#stream.send(text) }, cut: reason => { this.#stream.cut(reason) } },
      isOffered: this.#offers(NS.SM, 'sm'),
      say: element => { this.#send(element) },
      managed: () => this.#manages(this.remote),
      becomes: (managed, pairs) => {
        this.#isBeginning = false
        this.managed = managed
        for (const pair of pairs) this.#proven.add(pair)
      },
    })
    this.#stream.expire(undefined)
  }

  #offers (namespace: string, name: string): boolean {
    return this.#features !== undefined && child(this.#features, namespace, name) !== undefined
  }

  /** Whether another pair of domains may share this stream: XEP-0220 §2.6.2, where the peer says errors of it rather than hang up. */
  mayCarry (local: string, remote: string): boolean {
    if (this.isOver || this.managed === undefined) return false
    const feature = this.#features === undefined ? undefined : child(this.#features, NS.DIALBACK_FEATURE, 'dialback')
    if (feature === undefined || child(feature, NS.DIALBACK_FEATURE, 'errors') === undefined) return false
    const { trust } = this.#world.policy(local, remote)
    return trust === 'dialback' || trust === 'certificate' && this.distrust(remote) === undefined
  }

  /** At once, before the next element is read: it may be a stanza that needs it. */
  #prove (local: string, remote: string, how: 'EXTERNAL' | 'dialback'): void {
    if (this.isOver) throw reasonOf(this.#reason)
    const isFirst = this.#proven.size === 0
    this.#proven.add(pairKey(local, remote))
    if (!isFirst) return
    const { limits } = this.#world
    this.#stream.expire(undefined)
    this.#stream.limits = limitsOnceProven(limits.stanza)
    this.#stream.establish(this)
    this.#stream.watch({ keepalive: limits.keepalive, idle: Infinity })
    this.security = how
    this.#dialogue.rest()
  }

  /** XEP-0288 §2.2: before authentication, and only where we know who answers. */
  #offerBidi (): void {
    if (!this.#offers(NS.BIDI_FEATURE, 'bidi')) return
    this.isBidi = true
    this.#send(xml('bidi', { xmlns: NS.BIDI }))
  }

  /** XEP-0178 §3. False where the peer does not want it so. */
  async #external (): Promise<boolean> {
    const mechanisms = this.#features === undefined ? undefined : child(this.#features, NS.SASL, 'mechanisms')
    if (mechanisms === undefined || !children(mechanisms, NS.SASL, 'mechanism').some(one => textOf(one) === 'EXTERNAL')) return false
    const identity = Buffer.from(this.local).toString('base64')
    this.#send(xml('auth', { xmlns: NS.SASL, mechanism: 'EXTERNAL' }, identity))
    const answer = await this.#dialogue.next()
    if (answer.ns !== NS.SASL || localName(answer) !== 'success') {
      if (answer.ns === NS.SASL && localName(answer) === 'failure') { this.#dialogue.rest(); return false }
      throw new StreamError('unsupported-stanza-type')
    }
    this.#stream.restart()
    this.#features = await this.#greet()
    this.#takeLimits()
    return true
  }

  /** XEP-0220 §2.1.1: the peer asks our domain's own server whether the key is ours. */
  #dialback (local: string, remote: string): Promise<void> {
    const { id } = this.#stream
    if (id === undefined || id === '') return Promise.reject(new LinkError('remote-server-not-found', 'its stream has no id'))
    return this.#questions.claim(local, remote, this.#world.keys.key(remote, local, id))
  }

  /** Asks whether a key that somebody has shown `local` for `remote` is theirs (XEP-0220 §2.2.1). Rejects with LinkError. */
  verify (local: string, remote: string, id: string, key: string): Promise<boolean> {
    if (this.isOver) return Promise.reject(reasonOf(this.#reason))
    this.lastUsed = this.#world.clock.now()
    return this.#questions.verify(local, remote, id, key)
  }

  // ---- Once it stands ---------------------------------------------------------------------------

  send (item: Waiting): void {
    this.lastUsed = this.#world.clock.now()
    if (this.managed !== undefined) { this.managed.send(item); return }
    this.#stream.send(item.octets)
    this.#world.outbox.done(item)
  }

  /** Resolves once the peer has said that all has come; after so many milliseconds at the latest. */
  async confirmed (ms: number): Promise<void> { await this.managed?.confirmed(ms) }

  /**
   * A stanza that comes when nothing more is taken. A peer that can resume the stream says it again then, for it is not counted (XEP-0198
   * §5). Any other is told that it was not taken: the stream ends.
   */
  #late (): void {
    if (this.managed === undefined || this.managed.id === '') this.close(new StreamError('system-shutdown'))
  }

  /** Writes what is counted nowhere. */
  write (octets: string): void { this.#stream.send(octets) }

  /** Closes it in order, or with an error. XEP-0198 §4: the peer hears how far we have come. */
  close (error?: StreamError): void {
    this.managed?.farewell()
    this.#stream.close(error)
  }

  /**
   * Ends it once what has come is stored; nothing more is taken. Where it can be taken up behind the next start it is left unfinished
   * (XEP-0198 §7).
   */
  async finish (): Promise<void> {
    this.#isEnding = true
    await this.managed?.settled()
    if (this.managed === undefined || this.managed.id === '') { this.close(); return }
    this.managed.farewell()
    this.#stream.leave()
  }

  opened (header: StreamHeader): void {
    this.#stream.negotiate(this.tls !== undefined, undefined)
    this.#dialogue.opened(header)
  }

  element (element: ParsedElement, source: Source): Maybe<void> {
    if (element.ns === NS.CLIENT) {
      // RFC 6120 §8.1.1: a stream serves the one direction, unless both have agreed on more.
      if (!this.isBidi || this.#proven.size === 0) throw new StreamError('not-authorized')
      this.lastUsed = this.#world.clock.now()
      return this.#isEnding || this.owner.isResting() ? this.#late() : this.owner.received(element, source)
    }
    if (element.ns === NS.SM) return this.#managing(element)
    if (element.ns === NS.DIALBACK) { this.#questions.answered(element); return undefined }
    if (this.#proven.size > 0) throw new StreamError('unsupported-stanza-type')
    return this.#dialogue.receive(element)
  }

  ending (): Maybe<void> {
    return this.managed?.settled().then(() => { this.managed?.farewell() })
  }

  #managing (element: ParsedElement): Maybe<void> {
    const { managed } = this
    if (this.#isBeginning) return this.#dialogue.receive(element)
    if (managed === undefined) throw new StreamError('unsupported-stanza-type')
    this.lastUsed = this.#world.clock.now()
    answerTo(element, managed)
    return undefined
  }

  over ({ by, reason }: StreamEnd): void {
    this.#reason = reason
    const error = reasonOf(this.#reason)
    this.#dialogue.end(error)
    this.#questions.end(error)
    this.owner.over({ by, reason: by === 'loss' ? error : reason })
  }

  closed (): void { this.owner.closed() }

  // ---- Its own ------------------------------------------------------------------------------------

  /** XEP-0478 */
  #takeLimits (): void {
    const limits = this.#features === undefined ? undefined : child(this.#features, NS.STREAM_LIMITS, 'limits')
    const bytes = limits === undefined ? undefined : child(limits, NS.STREAM_LIMITS, 'max-bytes')
    const text = bytes === undefined ? '' : textOf(bytes).trim()
    this.largest = /^\d{1,12}$/.test(text) ? Number(text) : undefined
  }

  #send (element: Element): void { this.#stream.send(octets(element)) }

  async #attempt (work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (error instanceof LinkError) throw error
      if (error instanceof StreamError) {
        this.#stream.close(error)
        throw new LinkError('remote-server-not-found', `it does not keep to the protocol (${error.condition})`, { cause: error })
      }
      throw error
    }
  }
}
