/** A client's stream, from the first byte to the last stanza: header, features, session. */
import { createHash } from 'node:crypto'
import type { Maybe } from '../base/maybe.js'
import { TokenBucket } from '../base/rate.js'
import type { Host } from '../host/host.js'
import { heartbeats } from '../host/services.js'
import { Session, type Connection } from '../host/session.js'
import { clientOf, isPinged } from '../host/slots.js'
import type { AcceptedStream, AcceptedHome } from '../stream/acceptor.js'
import { XML_STREAM, type Framing } from '../stream/framing.js'
import type { StreamHeader } from '../stream/header.js'
import { shakeHands } from '../stream/handshake.js'
import { limitsAfterLogin, limitsBeforeLogin } from '../stream/limits.js'
import { StreamOver, type Negotiation, type StreamFeature } from '../stream/negotiation.js'
import { Negotiator } from '../stream/negotiator.js'
import { starttls } from '../stream/starttls.js'
import { Stream, type StreamEnd, type StreamHandlers, type StreamState } from '../stream/stream.js'
import type { TrafficKind } from '../stream/traffic.js'
import type { TlsInfo, TlsSettings, Transport } from '../stream/transport.js'
import { xml, type Element, type ParsedElement, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { octets } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { bindFeature, legacySession } from './bind.js'
import { bind2 } from './bind2.js'
import { Login } from './login.js'
import { saslFeature } from './sasl.js'
import { configVersionElement, sasl2Feature } from './sasl2.js'
import type { ClientDeps, ListenerSettings } from './settings.js'

/** How many seconds of its rate a client may send at once. */
const BURST = 10

/** The parts of a stream that is negotiated. `own`: the features that no module offers. */
interface BeforeSession {
  readonly negotiator: Negotiator<Session>
  readonly login: Login
  readonly own: readonly StreamFeature<Session>[]
}

export class ClientStream implements AcceptedStream, Negotiation, Connection, StreamHandlers {
  readonly role = 'client'
  readonly #world: ClientDeps
  readonly #settings: ListenerSettings
  readonly #home: AcceptedHome<ClientStream>
  readonly #framing: Framing
  readonly #stream: Stream<Session>
  /** The parts that only a stream without a session needs; undefined once it has one. */
  #before: BeforeSession | undefined
  readonly #waits = new Set<() => void>()
  #host: Host | undefined
  #identity: Jid | undefined
  #session: Session | undefined
  #isReleased = false
  /** The key of the client in the account's clients; '' if the client does not identify itself. */
  #clientKey = ''
  #configVersion: string | undefined
  /** The elements that the session sends before the bind result; undefined after that. */
  #early: string[] | undefined = []

  /** `framing`: how the client's stream is laid out on the transport. */
  constructor (
    world: ClientDeps, settings: ListenerSettings, transport: Transport, home: AcceptedHome<ClientStream>,
    framing: Framing = XML_STREAM,
  ) {
    this.#world = world
    this.#framing = framing
    this.#settings = settings
    this.#home = home
    const { clock, ids, limits } = world
    this.#stream = new Stream<Session>(transport, {
      role: 'receiving',
      framing,
      namespace: NS.CLIENT,
      clock,
      ids,
      log: world.log,
      limits: limitsBeforeLogin(limits.unauthenticated),
      domain: world.domain,
      traffic: world.traffic,
      turns: world.turns,
      rate: { bytes: new TokenBucket(clock, settings.rate, settings.rate * BURST) },
    }, this)
    const login = new Login(world, () => this.#host, reason => { this.end(reason) })
    const bind = bindFeature(this, () => this.#host)
    this.#before = {
      negotiator: this.#negotiator(),
      login,
      own: [this.#sasl2(login), saslFeature(login), login.channelBinding, bind, legacySession],
    }
  }

  /** Begins to read. With direct TLS (XEP-0368) the handshake comes first. */
  async begin (): Promise<void> {
    this.#stream.expire(this.#world.limits.negotiation)
    // a failed handshake has cut the connection
    if (this.#settings.tls === 'direct') await this.#shake(() => {}).catch(() => {})
    this.#stream.start()
  }

  /** Ends the stream with this error, and its session if that cannot be resumed. */
  end (error: StreamError): void { this.#stream.close(error) }

  /** Cuts the connection without closing the stream. */
  cut (reason: Error): void { this.#stream.cut(reason) }

  // ---- For the features -----------------------------------------------------------------

  get address (): string { return this.#stream.transport.address }
  get domain (): string { return this.#host?.domain ?? this.#world.domain }
  get secure (): boolean { return this.tls !== undefined || this.#settings.tls === 'none' }
  get from (): Jid | undefined { return this.#stream.header?.from }
  get identity (): Jid | undefined { return this.#identity }
  get tls (): TlsInfo | undefined { return this.#stream.transport.tls }
  get state (): StreamState<Session> { return this.#stream.state }
  /** True if the stream has or had a session. */
  get hasSession (): boolean { return this.#session !== undefined }
  get isOver (): boolean { return this.#stream.isOver }

  next (): Promise<Element> { return this.#before?.negotiator.next() ?? Promise.reject(new StreamOver()) }

  wait (ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.isOver) { reject(new StreamOver()); return }
      const timer = this.#world.clock.after(ms, () => {
        this.#waits.delete(cancel)
        resolve()
      })
      const cancel = (): void => {
        timer.cancel()
        reject(new StreamOver())
      }
      this.#waits.add(cancel)
    })
  }

  startTls (proceed: Element): Promise<void> {
    return this.#shake(() => { this.send(proceed) })
  }

  /** Sends an element of the negotiation at once. What the session sends (as octets) waits for the bind result. */
  send (what: Element | string, kind?: TrafficKind): void {
    if (typeof what !== 'string') this.#stream.send(octets(what))
    else if (this.#early === undefined) this.#stream.send(what, kind)
    else this.#early.push(what)
  }

  // ---- For the session ------------------------------------------------------------------

  get lang (): string | undefined { return this.#stream.header?.lang }
  get lastRead (): number { return this.#stream.lastRead }
  get backlog (): number {
    return this.#stream.transport.backlog + (this.#early?.reduce((bytes, { length }) => bytes + length, 0) ?? 0)
  }

  drained (then: () => void): void { this.#stream.drained(then) }
  pause (): void { this.#stream.pause() }
  resume (): void { this.#stream.resume() }
  /**
   * Called by the session after it has released this connection. The session may have another one, so it is not told
   * when this one ends.
   */
  close (error?: StreamError): void {
    this.#isReleased = true
    this.#stream.close(error)
  }

  leave (): void {
    this.#isReleased = true
    this.#stream.leave()
  }

  // ---- For the stream ---------------------------------------------------------------------

  /** RFC 6120 §4.7: answers the client's stream header. */
  opened (header: StreamHeader): void {
    const host = this.#hostOf(header)
    this.#checkSame(header, host)
    if (!this.secure && !this.#framing.hasStartTls) throw new StreamError('policy-violation', 'TLS is required')
    this.#host = host
    this.#stream.reply(host.domain)
    this.#stream.negotiate(this.secure, this.#identity)
    this.#before?.negotiator.offer()
  }

  element (element: ParsedElement, source: Source): Maybe<void> {
    const session = this.#session
    if (session === undefined || this.#host === undefined) return this.#before?.negotiator.receive(element)
    // the session was resumed on another connection, with the stanzas counted so far
    if (!session.isOn(this)) return undefined
    return this.#host.receive(session, element, source)
  }

  /** RFC 6120 §4.4: requests of the device are answered before the stream ends. */
  ending (): Maybe<void> { return this.#session?.isOn(this) === true ? this.#session.input.taken() : undefined }

  waits (): void { if (this.#session?.isOn(this) === true) this.#session.manager?.waits(this.#isBusy) }

  over ({ by, reason }: StreamEnd): void {
    for (const cancel of this.#waits) cancel()
    this.#waits.clear()
    this.#before?.login.over()
    this.#before?.negotiator.end()
    this.#before = this.#early = undefined
    const session = this.#session
    if (session === undefined || this.#isReleased) return
    // XEP-0198 §5: after a lost connection the session can be resumed; a stream that was closed, or ended by an error,
    // ends its session.
    const mayResume = by === 'loss' || reason instanceof StreamError && reason.condition === 'connection-timeout'
    if (mayResume) session.detach(this, reason)
    else session.close(reason)
  }

  closed (): void { this.#home.gone(this) }

  // ---- Internal -----------------------------------------------------------------------------

  /** Returns the host of a stream header (RFC 6120 §4.7.2, §4.9.3.6). Throws StreamError. */
  #hostOf (header: StreamHeader): Host {
    const { to } = header
    if (to === undefined) throw new StreamError('improper-addressing', "the stream header has no 'to'")
    const host = to.local === '' && to.resource === '' ? this.#world.host(to.domain) : undefined
    if (host === undefined) throw new StreamError('host-unknown')
    return host
  }

  /**
   * Checks the header after a login: a login at one host is not valid at another (CVE-2018-10847), and `from` must
   * match (RFC 6120 §4.7.1).
   */
  #checkSame (header: StreamHeader, host: Host): void {
    const identity = this.#identity
    if (identity === undefined) return
    if (host !== this.#host) throw new StreamError('not-authorized', 'the client has logged in at another host')
    if (header.from !== undefined && !header.from.bare.equals(identity)) throw new StreamError('invalid-from')
  }

  /** RFC 6120 §5.3.1: if TLS is required, nothing else is offered before it. */
  #features (): readonly StreamFeature<Session>[] {
    if (!this.secure) return [starttls]
    return [...this.#before?.own ?? [], ...this.#host?.features.map(ofSessions) ?? [], this.#limits()]
  }

  #negotiator (): Negotiator<Session> {
    return new Negotiator<Session>(this, {
      features: () => this.#features(),
      send: text => { this.#stream.send(text) },
      restart: () => { this.#stream.restart() },
      version: rest => this.#version(rest),
      identified: identity => { this.#identified(identity) },
      established: (session, announce) => { this.#established(session, announce) },
      abandoned: session => { if (session.isOn(this)) session.close(new StreamOver()) },
      refusal: element => {
        const feature = this.#host?.features.find(({ namespace }) => namespace === element.ns)
        return feature?.refusal?.(this, element)
      },
      failed: error => { if (!(error instanceof StreamOver)) this.#stream.fail(error) },
    })
  }

  #sasl2 (login: Login): StreamFeature<Session> {
    return sasl2Feature({
      login,
      now: () => this.#world.clock.now(),
      host: () => this.#host,
      authentication: () => this.#world.authentication,
      bind: bind2(this, () => this.#host),
      configVersion: () => this.#configVersion,
      recognised: key => { this.#clientKey = key },
      trouble: error => { this.#world.log.error('client not stored', { error }) },
    })
  }

  /**
   * XEP-0509: returns the version of the features before login. A client that knows it need not wait for the features.
   */
  #version (features: string): Element | undefined {
    if (this.tls === undefined || this.#identity !== undefined) return undefined
    this.#configVersion = createHash('sha256').update(features).digest('base64')
    return configVersionElement(this.#configVersion)
  }

  readonly #isBusy = (): boolean => this.#stream.isBusy

  /** Announces the current limits (XEP-0478). */
  #limits (): StreamFeature<Session> {
    const { limits } = this.#world
    const isKnown = this.#identity !== undefined
    const bytes = isKnown ? this.#settings.stanza : limits.unauthenticated.stanza
    const seconds = Math.floor((isKnown ? this.#silence : limits.negotiation) / 1000)
    return {
      namespace: NS.STREAM_LIMITS,
      offered: () => xml('limits', { xmlns: NS.STREAM_LIMITS },
        xml('max-bytes', {}, String(bytes)), xml('idle-seconds', {}, String(seconds))),
    }
  }

  /** How long the device may be silent before it is pinged or disconnected, in milliseconds. */
  get #silence (): number {
    const { idle } = this.#world.limits
    return Math.min(idle, this.#host?.service(heartbeats)?.silenceAt(this.address) ?? idle)
  }

  async #shake (proceed: () => void): Promise<void> {
    const ready = async (): Promise<void> => {
      await this.#home.handshake(ms => this.wait(ms))
      proceed()
    }
    await shakeHands(this.#stream, this.#tlsSettings(), this.#world, ready).catch(() => { throw new StreamOver() })
  }

  #tlsSettings (): TlsSettings {
    const { certificates } = this.#world
    const { domain } = this
    return {
      contextFor: name => certificates.contextFor(name, domain),
      alpn: 'xmpp-client',
      asksPeer: certificates.asksClients,
      spent: this.#home.spent,
    }
  }

  #identified (identity: Jid): void {
    this.#identity = identity
    this.#stream.limits = limitsAfterLogin(this.#settings.stanza)
    this.#stream.negotiate(this.secure, identity)
  }

  #established (session: Session, announce: boolean): void {
    const { limits } = this.#world
    this.#session = session
    this.#before?.login.over()
    if (this.#clientKey !== '' && session.isOn(this)) session.put(clientOf, this.#clientKey)
    this.#stream.expire(undefined)
    this.#stream.establish(session)
    this.#home.established(this)
    this.#stream.watch({ keepalive: limits.keepalive, idle: limits.idle }, () => session.get(isPinged))
    if (!session.isOn(this)) session.attach(this) // XEP-0198 §9.2: a resumed stream gets no features
    else if (announce) this.#before?.negotiator.announce()
    this.#before = undefined
    const early = this.#early ?? []
    this.#early = undefined
    for (const element of early) this.#stream.send(element)
  }
}

/** Wraps a module's feature: checks that the session it makes is a Session. */
function ofSessions (feature: StreamFeature): StreamFeature<Session> {
  const announced = { namespace: feature.namespace, offered: feature.offered.bind(feature) }
  const take = feature.take?.bind(feature)
  if (take === undefined) return announced
  return {
    ...announced,
    async take (stream, request) {
      const outcome = await take(stream, request)
      if (outcome.go !== 'session') return outcome
      const { session } = outcome
      if (!(session instanceof Session)) throw new Error(`the feature ${feature.namespace} made no session`)
      return { go: 'session', session }
    },
  }
}
