/**
 * A stream that we open to another server: encrypted, then authorised for each pair of domains (RFC 6120 §13.7,
 * XEP-0220).
 */
import type { Maybe } from '../../base/maybe.js'
import { shakeHands } from '../../stream/handshake.js'
import type { StreamHeader } from '../../stream/header.js'
import { limitsAfterLogin, limitsBeforeLogin } from '../../stream/limits.js'
import { Stream, type StreamEnd, type StreamHandlers } from '../../stream/stream.js'
import type { TlsInfo, Transport } from '../../stream/transport.js'
import {
  child, childElements, children, localName, textOf, xml, type Element, type ParsedElement, type Source,
} from '../../xml/element.js'
import { NS } from '../../xml/namespaces.js'
import { octets } from '../../xml/writer.js'
import { StreamError } from '../../xmpp/errors.js'
import type { Jid } from '../../xmpp/jid.js'
import { doubtOf } from '../trust/dane.js'
import { Dialogue } from '../ground/dialogue.js'
import { addressOf, asciiOf } from '../ground/domain.js'
import type { Target } from '../ground/target.js'
import type { S2sAcks } from '../acks/acks.js'
import { answerTo, begin, type FormerHome } from '../acks/negotiation.js'
import { Questions } from '../trust/dialback-requests.js'
import { reasonOf } from './reason.js'
import { distrust } from '../trust/certificate-names.js'
import { pairKey } from '../ground/domain-pair.js'
import type { StanzaSink } from '../ground/stanza-sink.js'
import type { QueuedStanza } from '../ground/queued-stanza.js'
import { LinkError } from '../ground/link-error.js'
import type { StreamContext } from './context.js'

/** The needs of a stream, met by its owner. */
export interface OutgoingOwner extends FormerHome {
  /** True if the server stops and takes no more stanzas. */
  isResting (): boolean
  /** Takes a stanza that the peer sent on this stream, which serves both directions (XEP-0288). */
  received (element: ParsedElement, source: Source): Maybe<void>
  over (end: StreamEnd): void
  /** The connection is gone as well. */
  closed (): void
}

const NOBODY: OutgoingOwner = {
  isResting: () => false,
  received: () => { throw new StreamError('not-authorized') },
  former: () => undefined, resumed: () => {}, notResumed: () => {}, over: () => {}, closed: () => {},
}

export class Outgoing implements StreamHandlers, StanzaSink {
  readonly local: string
  readonly remote: string
  readonly target: Target
  readonly since: number
  owner: OutgoingOwner = NOBODY
  /** How the first pair was proven. */
  security: 'EXTERNAL' | 'dialback' | undefined
  /** True if the stream serves both directions. */
  isBidi = false
  lastUsed: number
  largest: number | undefined
  /** The stanzas that were sent and received on the stream; undefined until the first pair of domains is proven. */
  managed: S2sAcks | undefined
  readonly #world: StreamContext
  readonly #stream: Stream<Outgoing>
  readonly #manages: (remote: string) => S2sAcks
  readonly #dialogue = new Dialogue()
  readonly #questions: Questions
  readonly #proven = new Set<string>()
  #features: ParsedElement | undefined
  #reason: Error | undefined
  #isAuthorising = false
  /** True while it is negotiated whether an earlier stream is resumed. */
  #isBeginning = false
  #isEnding = false

  constructor (
    world: StreamContext, local: string, remote: string, transport: Transport, target: Target,
    manages: (remote: string) => S2sAcks,
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
      namespace: NS.SERVER, traffic: world.pipeline.traffic.servers, turns: world.pipeline.turns,
      clock,
      ids,
      log: world.log.with({ to: remote, address: transport.address }),
      // The features of a server have more elements than what a client sends before its login.
      limits: limitsBeforeLogin({ ...limits.unauthenticated, elements: limits.unauthenticated.elements * 4 }),
      domain: local,
    }, this)
    this.#questions = new Questions(clock, element => { this.#send(element) }, (ours, theirs) => {
      this.#prove(ours, theirs, 'dialback')
    })
  }

  get tls (): TlsInfo | undefined { return this.#stream.transport.tls }
  get isOver (): boolean { return this.#stream.isOver }
  charge (units: number, { domain }: Jid): void { this.#stream.charge(units, this.#world.budgets.of(domain)) }
  get backlog (): number { return this.#stream.transport.backlog }
  get address (): string { return this.#stream.transport.address }
  get proven (): ReadonlySet<string> { return this.#proven }
  get unacknowledged (): number { return this.managed?.unacknowledged ?? 0 }
  get hasRoom (): boolean { return this.managed?.hasRoom !== false }
  /** The names of the features that the peer offers. */
  get features (): readonly string[] {
    return this.#features === undefined ? [] : childElements(this.#features).map(localName)
  }
  /** Returns why the peer's certificate is not valid for a domain; undefined if it is. */
  distrust (domain: string): string | undefined {
    if (domain !== this.remote) return distrust(this.tls, domain)
    return doubtOf(this.target, this.tls, domain, this.#world.clock.now())
  }

  // ---- Opening -------------------------------------------------------------------------

  /** Opens the stream, encrypts it, and reads the peer's features. Rejects with LinkError. */
  async open (): Promise<void> {
    await this.#attempt(async () => {
      this.#stream.expire(this.#world.limits.negotiation)
      const isDirect = this.target.tls === 'direct'
      if (isDirect) await this.#shake()
      this.#stream.start()
      if (!isDirect) {
        const features = await this.#greet()
        if (child(features, NS.TLS, 'starttls') === undefined) {
          throw new LinkError('remote-server-not-found', 'it does not offer TLS')
        }
        this.#send(xml('starttls', { xmlns: NS.TLS }))
        const answer = await this.#dialogue.next()
        if (answer.ns !== NS.TLS || localName(answer) !== 'proceed') {
          throw new LinkError('remote-server-not-found', 'it refused TLS')
        }
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
    const isFeatures = features.ns === NS.STREAM && localName(features) === 'features'
    if (!isFeatures) throw new StreamError('unsupported-stanza-type')
    return features
  }

  async #shake (): Promise<void> {
    const { context, certificate } = this.#world.shows(undefined, this.local)
    this.#dialogue.forget()
    const servername = addressOf(this.remote) === undefined ? asciiOf(this.remote) : undefined
    await shakeHands(this.#stream, { servername, context, certificate, alpn: 'xmpp-server' }, this.#world)
      .catch((reason: unknown) => {
        throw new LinkError('remote-server-timeout', 'the TLS handshake failed', { cause: reason })
      })
  }

  // ---- Authentication ------------------------------------------------------------------------

  /**
   * Proves that `local` speaks to `remote` on this stream, so that its stanzas are accepted. Uses EXTERNAL for the
   * first pair if the peer offers it (XEP-0178), else dialback. Rejects with LinkError.
   */
  async authorise (local: string, remote: string): Promise<void> {
    if (this.#proven.has(pairKey(local, remote))) return
    const { trust } = this.#world.policy(local, remote)
    const doubt = this.distrust(remote)
    if (trust === 'refuse') throw new LinkError('not-allowed', `${local} does not talk to ${remote}`, { fault: 'us' })
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

  /** Negotiates XEP-0198. The peer has as long to answer as for the rest of the negotiation. */
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

  /**
   * True if another pair of domains may share this stream: the peer has to report dialback errors, not hang up
   * (XEP-0220 §2.6.2).
   */
  mayCarry (local: string, remote: string): boolean {
    if (this.isOver || this.managed === undefined) return false
    const feature = this.#features === undefined ? undefined : child(this.#features, NS.DIALBACK_FEATURE, 'dialback')
    if (feature === undefined || child(feature, NS.DIALBACK_FEATURE, 'errors') === undefined) return false
    const { trust } = this.#world.policy(local, remote)
    return trust === 'dialback' || trust === 'certificate' && this.distrust(remote) === undefined
  }

  /** Marks a pair as proven at once, before the next element is read, because that may be a stanza that needs it. */
  #prove (local: string, remote: string, how: 'EXTERNAL' | 'dialback'): void {
    if (this.isOver) throw reasonOf(this.#reason)
    const isFirst = this.#proven.size === 0
    this.#proven.add(pairKey(local, remote))
    if (!isFirst) return
    const { limits } = this.#world
    this.#stream.expire(undefined)
    this.#stream.limits = limitsAfterLogin(limits.stanza)
    this.#stream.establish(this)
    this.#stream.watch({ keepalive: limits.keepalive, idle: Infinity })
    this.security = how
    this.#dialogue.rest()
  }

  /** XEP-0288 §2.2: offers both directions, before authentication and only if the peer's certificate is valid. */
  #offerBidi (): void {
    if (!this.#offers(NS.BIDI_FEATURE, 'bidi')) return
    this.isBidi = true
    this.#send(xml('bidi', { xmlns: NS.BIDI }))
  }

  /** Authenticates with EXTERNAL (XEP-0178 §3). Resolves with false if the peer refuses it. */
  async #external (): Promise<boolean> {
    const mechanisms = this.#features === undefined ? undefined : child(this.#features, NS.SASL, 'mechanisms')
    const offered = mechanisms === undefined ? [] : children(mechanisms, NS.SASL, 'mechanism').map(textOf)
    if (!offered.includes('EXTERNAL')) return false
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

  /** XEP-0220 §2.1.1: sends the key of a pair; the peer asks the local domain's own server whether it is right. */
  #dialback (local: string, remote: string): Promise<void> {
    const { id } = this.#stream
    if (id === undefined || id === '') {
      return Promise.reject(new LinkError('remote-server-not-found', 'its stream has no id'))
    }
    return this.#questions.claim(local, remote, this.#world.keys.key(remote, local, id))
  }

  /** Asks whether a key that `local` was shown comes from `remote` (XEP-0220 §2.2.1). Rejects with LinkError. */
  verify (local: string, remote: string, id: string, key: string): Promise<boolean> {
    if (this.isOver) return Promise.reject(reasonOf(this.#reason))
    this.lastUsed = this.#world.clock.now()
    return this.#questions.verify(local, remote, id, key)
  }

  // ---- Established ------------------------------------------------------------------------------

  drained (then: () => void): void { this.#stream.drained(then) }
  send (item: QueuedStanza): void {
    this.lastUsed = this.#world.clock.now()
    if (this.managed !== undefined) { this.managed.send(item); return }
    this.#stream.send(item.octets)
    this.#world.outbox.done(item)
  }

  /** Resolves once the peer has confirmed all that was sent, or after `ms` milliseconds. */
  async confirmed (ms: number): Promise<void> { await this.managed?.confirmed(ms) }

  /**
   * Handles a stanza that comes when no more are taken. It is not counted, so a peer that can resume the stream sends
   * it again (XEP-0198 §5). For any other peer the stream ends, so that it knows.
   */
  #late (): void {
    if (this.managed === undefined || this.managed.id === '') this.close(new StreamError('system-shutdown'))
  }

  /** Writes text that is not counted. */
  write (octets: string): void { this.#stream.send(octets) }

  /** Closes the stream in order, or with an error. XEP-0198 §4: sends the last `<a/>` before. */
  close (error?: StreamError): void {
    this.managed?.sendFinalAck()
    this.#stream.close(error)
  }

  /**
   * Ends the stream once all that came is stored, and takes nothing more. If the stream can be resumed after the next
   * start, it is not closed (XEP-0198 §7).
   */
  async finish (): Promise<void> {
    this.#isEnding = true
    await this.managed?.settled()
    if (this.managed === undefined || this.managed.id === '') { this.close(); return }
    this.managed.sendFinalAck()
    this.#stream.leave()
  }

  opened (header: StreamHeader): void {
    this.#stream.negotiate(this.tls !== undefined, undefined)
    this.#dialogue.opened(header)
  }

  element (element: ParsedElement, source: Source): Maybe<void> {
    if (element.ns === NS.CLIENT) {
      // RFC 6120 §8.1.1: a stream serves one direction, unless both sides have agreed on two.
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
    return this.managed?.settled().then(() => { this.managed?.sendFinalAck() })
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

  // ---- Internal -----------------------------------------------------------------------------------

  /** Reads the largest stanza that the peer takes (XEP-0478). */
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
        throw new LinkError('remote-server-not-found', `it broke the protocol (${error.condition})`, { cause: error })
      }
      throw error
    }
  }
}
