/** A client's stream, from the first byte to the last stanza: header, features, session. */
import { createHash } from 'node:crypto'
import type { Maybe } from '../base/maybe.js'
import { TokenBucket } from '../base/rate.js'
import type { Host } from '../host/host.js'
import { heartbeats } from '../host/services.js'
import { Session, type Connection } from '../host/session.js'
import { clientOf, watchedOver } from '../host/slots.js'
import type { Accepted, AcceptedHome } from '../stream/acceptor.js'
import type { StreamHeader } from '../stream/header.js'
import { StreamOver, type Negotiation, type StreamFeature } from '../stream/negotiation.js'
import { Negotiator } from '../stream/negotiator.js'
import { starttls } from '../stream/starttls.js'
import { Stream, type StreamEnd, type StreamHandlers, type StreamState } from '../stream/stream.js'
import type { TrafficKind } from '../stream/traffic.js'
import type { TlsInfo, TlsSettings, Transport } from '../stream/transport.js'
import { xml, type Element, type ParsedElement, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import type { Limits } from '../xml/parser.js'
import { octets } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { bindFeature, legacySession } from './bind.js'
import { bind2 } from './bind2.js'
import { Login } from './login.js'
import { saslFeature } from './sasl.js'
import { configVersionElement, sasl2Feature } from './sasl2.js'
import type { ClientWorld, ListenerSettings } from './settings.js'

/** So many seconds of its rate a client may send at once. */
const BURST = 10

export class ClientStream implements Accepted, Negotiation, Connection, StreamHandlers {
  readonly role = 'client'
  readonly #world: ClientWorld
  readonly #settings: ListenerSettings
  readonly #home: AcceptedHome<ClientStream>
  readonly #stream: Stream<Session>
  readonly #negotiator: Negotiator<Session>
  readonly #own: readonly StreamFeature<Session>[]
  readonly #login: Login
  readonly #waits = new Set<() => void>()
  #host: Host | undefined
  #identity: Jid | undefined
  #session: Session | undefined
  #isReleased = false
  /** Which of the account's clients it is; '' where it does not say. */
  #clientKey = ''
  #configVersion: string | undefined
  /** What the session sends before the client knows that it has one. */
  #early: string | undefined = ''

  constructor (world: ClientWorld, settings: ListenerSettings, transport: Transport, home: AcceptedHome<ClientStream>) {
    this.#world = world
    this.#settings = settings
    this.#home = home
    const { clock, ids, limits } = world
    this.#stream = new Stream<Session>(transport, {
      role: 'receiving',
      namespace: NS.CLIENT,
      clock,
      ids,
      log: world.log,
      limits: { bytes: limits.unauthenticated.stanza, elements: limits.unauthenticated.elements, depth: 16, attributes: 32, name: 256 },
      domain: world.domain,
      traffic: world.traffic,
      turns: world.turns,
      rate: { bytes: new TokenBucket(clock, settings.rate, settings.rate * BURST) },
    }, this)
    this.#negotiator = new Negotiator<Session>(this, {
      features: () => this.#features(),
      send: text => { this.#stream.send(text) },
      restart: () => { this.#stream.restart() },
      version: rest => this.#version(rest),
      identified: identity => { this.#identified(identity) },
      established: (session, announce) => { this.#established(session, announce) },
      abandoned: session => { if (session.isOn(this)) session.close(new StreamOver()) },
      refusal: element => this.#host?.features.find(({ namespace }) => namespace === element.ns)?.refusal?.(this, element),
      failed: error => { if (!(error instanceof StreamOver)) this.#stream.fail(error) },
    })
    const login = this.#login = new Login(world, () => this.#host, reason => { this.end(reason) })
    this.#own = [this.#sasl2(login), saslFeature(login), login.channelBinding, bindFeature(this, () => this.#host), legacySession]
  }

  /** Begins to read; before that, with TLS where the listener wants it from the first byte (XEP-0368). */
  async begin (): Promise<void> {
    this.#stream.expire(this.#world.limits.negotiation)
    if (this.#settings.tls === 'direct') await this.#shake(() => {}).catch(() => {}) // it is cut then
    this.#stream.start()
  }

  /** Ends the stream, and its session if that cannot be resumed. */
  end (error: StreamError): void { this.#stream.close(error) }

  /** Cuts the connection without a word. */
  cut (reason: Error): void { this.#stream.cut(reason) }

  // ---- As its features see it -----------------------------------------------------------

  get address (): string { return this.#stream.transport.address }
  get domain (): string { return this.#host?.domain ?? this.#world.domain }
  get secure (): boolean { return this.tls !== undefined || this.#settings.tls === 'none' }
  get from (): Jid | undefined { return this.#stream.header?.from }
  get identity (): Jid | undefined { return this.#identity }
  get tls (): TlsInfo | undefined { return this.#stream.transport.tls }
  get state (): StreamState<Session> { return this.#stream.state }
  /** It has, or had, a session. */
  get hasSession (): boolean { return this.#session !== undefined }
  get isOver (): boolean { return this.#stream.isOver }

  next (): Promise<Element> { return this.#negotiator.next() }

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

  /** An element of the negotiation goes out at once; what the session sends (octets) comes behind the result of binding. */
  send (what: Element | string, kind?: TrafficKind): void {
    if (typeof what !== 'string') this.#stream.send(octets(what))
    else if (this.#early === undefined) this.#stream.send(what, kind)
    else this.#early += what
  }

  // ---- As its session sees it -----------------------------------------------------------

  get lang (): string | undefined { return this.#stream.header?.lang }
  get lastRead (): number { return this.#stream.lastRead }
  get backlog (): number { return this.#stream.transport.backlog + (this.#early?.length ?? 0) }
  drained (then: () => void): void { this.#stream.drained(then) }
  pause (): void { this.#stream.pause() }
  resume (): void { this.#stream.resume() }
  /** Called by the session, which has let go of this connection: it may have another by now, and is not to hear of the end of this one. */
  close (error?: StreamError): void {
    this.#isReleased = true
    this.#stream.close(error)
  }

  leave (): void {
    this.#isReleased = true
    this.#stream.leave()
  }

  // ---- As its stream sees it --------------------------------------------------------------

  /** RFC 6120 §4.7. */
  opened (header: StreamHeader): void {
    const host = this.#hostOf(header)
    this.#checkSame(header, host)
    this.#host = host
    this.#stream.reply(host.domain)
    this.#stream.negotiate(this.secure, this.#identity)
    this.#negotiator.offer()
  }

  element (element: ParsedElement, source: Source): Maybe<void> {
    const session = this.#session
    if (session === undefined || this.#host === undefined) return this.#negotiator.receive(element)
    if (!session.isOn(this)) return undefined // it has another connection by now, and has said there how far it had come
    return this.#host.receive(session, element, source)
  }

  /** RFC 6120 §4.4: what its device has asked for is answered before the stream ends. */
  ending (): Maybe<void> { return this.#session?.isOn(this) === true ? this.#session.input.taken() : undefined }

  waits (): void { if (this.#session?.isOn(this) === true) this.#session.manager?.waits(this.#isBusy) }

  over ({ by, reason }: StreamEnd): void {
    for (const cancel of this.#waits) cancel()
    this.#waits.clear()
    this.#login.over()
    this.#negotiator.end()
    this.#early = undefined
    const session = this.#session
    if (session === undefined || this.#isReleased) return
    // Whose line broke may come back to the session; whose stream was closed in order, or for a fault, has ended it (XEP-0198 §5).
    const mayResume = by === 'loss' || reason instanceof StreamError && reason.condition === 'connection-timeout'
    if (mayResume) session.detach(this, reason)
    else session.close(reason)
  }

  closed (): void { this.#home.gone(this) }

  // ---- Its own ------------------------------------------------------------------------------

  /** RFC 6120 §4.7.2, §4.9.3.6. */
  #hostOf (header: StreamHeader): Host {
    const { to } = header
    if (to === undefined) throw new StreamError('improper-addressing', "the stream is 'to' nobody")
    const host = to.local === '' && to.resource === '' ? this.#world.host(to.domain) : undefined
    if (host === undefined) throw new StreamError('host-unknown')
    return host
  }

  /** What was proved to one host is nothing to another: CVE-2018-10847. RFC 6120 §4.7.1 for `from`. */
  #checkSame (header: StreamHeader, host: Host): void {
    const identity = this.#identity
    if (identity === undefined) return
    if (host !== this.#host) throw new StreamError('not-authorized', 'logged in at another host')
    if (header.from !== undefined && !header.from.bare.equals(identity)) throw new StreamError('invalid-from')
  }

  /** RFC 6120 §5.3.1: where TLS is required, nothing else is offered before. */
  #features (): readonly StreamFeature<Session>[] {
    if (!this.secure) return [starttls]
    return [...this.#own, ...this.#host?.features.map(ofSessions) ?? [], this.#limits]
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
      trouble: error => { this.#world.log.error('client not noted', { error }) },
    })
  }

  /** XEP-0509: before login, the features have a name by which a client may ask for them without waiting to be offered them. */
  #version (features: string): Element | undefined {
    if (this.tls === undefined || this.#identity !== undefined) return undefined
    this.#configVersion = createHash('sha256').update(features).digest('base64')
    return configVersionElement(this.#configVersion)
  }

  readonly #isBusy = (): boolean => this.#stream.isBusy

  /** XEP-0478: what is taken from now on. */
  readonly #limits: StreamFeature<Session> = {
    namespace: NS.STREAM_LIMITS,
    offered: () => {
      const { limits } = this.#world
      const isKnown = this.#identity !== undefined
      const bytes = isKnown ? this.#settings.stanza : limits.unauthenticated.stanza
      return xml('limits', { xmlns: NS.STREAM_LIMITS },
        xml('max-bytes', {}, String(bytes)),
        xml('idle-seconds', {}, String(Math.floor((isKnown ? this.#silence : limits.negotiation) / 1000))))
    },
  }

  /** How long it may say nothing before it is asked whether it is there, or disconnected. */
  get #silence (): number {
    const { idle } = this.#world.limits
    return Math.min(idle, this.#host?.service(heartbeats)?.silenceAt(this.address) ?? idle)
  }

  async #shake (ready: () => void): Promise<void> {
    const { log, clock } = this.#world
    const began = clock.now()
    try {
      await this.#home.handshake(ms => this.wait(ms))
      ready()
      await this.#stream.startTls(this.#tlsSettings())
    } catch (error) {
      log.debug('handshake failed', { address: this.address, after: clock.now() - began, error })
      this.#stream.cut(error instanceof Error ? error : new Error(String(error)))
      throw new StreamOver()
    }
  }

  #tlsSettings (): TlsSettings {
    const { certificates } = this.#world
    const { domain } = this
    return { contextFor: name => certificates.contextFor(name, domain), alpn: 'xmpp-client', asksPeer: certificates.asksClients }
  }

  #identified (identity: Jid): void {
    this.#identity = identity
    this.#stream.limits = limitsAfterLogin(this.#settings.stanza)
    this.#stream.negotiate(this.secure, identity)
  }

  #established (session: Session, announce: boolean): void {
    const { limits } = this.#world
    this.#session = session
    this.#login.over()
    if (this.#clientKey !== '' && session.isOn(this)) session.put(clientOf, this.#clientKey)
    this.#stream.expire(undefined)
    this.#stream.establish(session)
    this.#home.established(this)
    this.#stream.watch({ keepalive: limits.keepalive, idle: limits.idle }, () => session.get(watchedOver))
    if (!session.isOn(this)) session.attach(this) // XEP-0198 §9.2: features are not sent to who resumes
    else if (announce) this.#negotiator.announce()
    const early = this.#early ?? ''
    this.#early = undefined
    if (early !== '') this.#stream.send(early)
  }
}

function limitsAfterLogin (bytes: number): Limits {
  return { bytes, elements: 10_000, depth: 64, attributes: 64, name: 1024 }
}

/** A module's feature: what it calls a session has to be one. */
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
