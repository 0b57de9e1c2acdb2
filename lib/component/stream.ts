/** The stream of an external component (XEP-0114): it proves a shared secret, and then speaks for its domain. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../base/clock.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import type { Maybe } from '../base/maybe.js'
import { TokenBucket } from '../base/rate.js'
import type { ComponentDoor, ComponentDoors, ComponentLine } from '../host/components.js'
import { ReleaseOrder } from '../host/order.js'
import { takeFromComponent } from '../host/pipeline/entry.js'
import type { ServerHome } from '../host/pipeline/from-server.js'
import type { Pipeline } from '../host/pipeline/pipeline.js'
import type { AcceptedHome, AcceptedStream } from '../stream/acceptor.js'
import type { Certificates } from '../stream/certificates.js'
import { shakeHands } from '../stream/handshake.js'
import type { StreamHeader } from '../stream/header.js'
import { limitsAfterLogin, limitsBeforeLogin, type UnauthenticatedLimits } from '../stream/limits.js'
import { StreamOver } from '../stream/negotiation.js'
import { Stream, type StreamEnd, type StreamHandlers } from '../stream/stream.js'
import type { Transport } from '../stream/transport.js'
import { localName, textOf, type ParsedElement, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError } from '../xmpp/errors.js'
import type { Addressed } from '../xmpp/stanza.js'
import { COMPONENT_STREAM } from './framing.js'
import { readStanza } from './reading.js'

/** The limits of components. Times are in milliseconds. */
export interface ComponentLimits {
  readonly negotiation: number
  readonly keepalive: number
  readonly unauthenticated: UnauthenticatedLimits
  readonly connections: number
}

export interface ComponentDeps {
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly pipeline: Pipeline
  readonly doors: ComponentDoors
  readonly certificates: Pick<Certificates, 'contextFor'>
  readonly host: ServerHome['host']
  readonly limits: () => ComponentLimits
}

export interface ComponentSettings {
  /** 'direct': TLS from the first byte. XEP-0114 has no other. */
  readonly tls: 'direct' | 'none'
  /** The largest stanza, in bytes. */
  readonly stanza: number
  /** The bytes per second that a connection may send on average. */
  readonly rate: number
}

/** How many seconds of its rate a component may send at once. */
const BURST = 10
/** How long a component may be silent, in milliseconds. TCP detects one that is gone. */
const LONGEST_SILENCE = 86_400_000

export class ComponentStream implements AcceptedStream, StreamHandlers, ComponentLine {
  readonly #deps: ComponentDeps
  readonly #settings: ComponentSettings
  readonly #home: AcceptedHome<ComponentStream>
  readonly #stream: Stream<ComponentStream>
  readonly #entry: ServerHome
  #domain = ''
  #door: ComponentDoor | undefined
  /** Undefined until the component has proved the secret. */
  #leave: (() => void) | undefined

  constructor (
    deps: ComponentDeps, settings: ComponentSettings, transport: Transport, home: AcceptedHome<ComponentStream>,
  ) {
    const { clock, ids, pipeline } = deps
    this.#deps = deps
    this.#settings = settings
    this.#home = home
    this.#stream = new Stream<ComponentStream>(transport, {
      role: 'receiving',
      framing: COMPONENT_STREAM,
      namespace: NS.COMPONENT,
      traffic: pipeline.traffic.servers,
      turns: pipeline.turns,
      clock,
      ids,
      log: deps.log.with({ address: transport.address }),
      limits: limitsBeforeLogin(deps.limits().unauthenticated),
      domain: undefined,
      rate: { bytes: new TokenBucket(clock, settings.rate, settings.rate * BURST) },
    }, this)
    this.#entry = {
      router: pipeline.router,
      // The operator trusts a component: it has no budget, and speaks for its domain alone.
      stream: {
        order: new ReleaseOrder(pipeline.storage), lang: undefined, charge: () => {}, mayCarry: () => true,
        isAnswer: () => false,
      },
      host: deps.host,
    }
  }

  get address (): string { return this.#stream.transport.address }
  get backlog (): number { return this.#stream.transport.backlog }

  /** Begins to read, after the TLS handshake if the listener has TLS. */
  async begin (): Promise<void> {
    this.#stream.expire(this.#deps.limits().negotiation)
    if (this.#settings.tls === 'direct') await this.#shake().catch(() => {}) // the connection is cut then
    this.#stream.start()
  }

  cut (reason: Error): void { this.#stream.cut(reason) }
  end (error: StreamError): void { this.#stream.close(error) }
  send (stanza: Addressed): void { this.#stream.send(stanza.octets()) }

  // ---- For its stream -------------------------------------------------------------------------

  /** XEP-0114 §3: the header names the domain of the component. */
  opened ({ to }: StreamHeader): void {
    const domain = to?.toString() ?? ''
    const door = this.#deps.doors.at(domain)
    if (door === undefined) throw new StreamError('host-unknown')
    this.#domain = domain
    this.#door = door
    this.#stream.reply(domain)
    this.#stream.negotiate(this.#settings.tls === 'direct', undefined)
  }

  element (element: ParsedElement, source: Source): Maybe<void> {
    if (this.#leave === undefined) {
      this.#prove(element)
      return undefined
    }
    const stanza = readStanza(this.#deps.pipeline, this.#domain, element, source)
    return stanza === undefined ? undefined : takeFromComponent(this.#deps.pipeline, this.#entry, stanza)
  }

  over ({ reason }: StreamEnd): void {
    if (this.#leave === undefined) return
    this.#leave()
    this.#deps.log.info('component gone', { domain: this.#domain, address: this.address, reason: reason?.message })
  }

  closed (): void { this.#home.gone(this) }

  // ---- Proof --------------------------------------------------------------------------------------

  #prove (element: ParsedElement): void {
    const { log, limits } = this.#deps
    const door = this.#door
    const isHandshake = element.ns === NS.CLIENT && localName(element) === 'handshake'
    if (door === undefined || !isHandshake) throw new StreamError('not-authorized')
    if (!isProof(textOf(element).trim(), this.#stream.id ?? '', door.secret)) {
      log.warn('component refused', { domain: this.#domain, address: this.address })
      throw new StreamError('not-authorized')
    }
    const leave = door.enter(this)
    this.#leave = leave
    this.#stream.limits = limitsAfterLogin(this.#settings.stanza)
    this.#stream.expire(undefined)
    this.#stream.watch({ keepalive: limits().keepalive, idle: LONGEST_SILENCE })
    this.#home.established(this)
    this.#stream.send('<handshake/>')
    this.#stream.establish(this)
    log.info('component connected', { domain: this.#domain, address: this.address })
  }

  async #shake (): Promise<void> {
    const { clock, certificates } = this.#deps
    const how = { contextFor: (name: string | undefined) => certificates.contextFor(name), alpn: 'xmpp-server', asksPeer: false }
    await shakeHands(this.#stream, how, this.#deps, async () => {
      await this.#home.handshake(ms => new Promise(resolve => { clock.after(ms, resolve) }))
      if (this.#stream.isOver) throw new StreamOver()
    })
  }
}

/** XEP-0114 §3: the SHA-1 of the stream's id and the secret, in hexadecimal. */
function isProof (text: string, id: string, secret: string): boolean {
  const wanted = Buffer.from(createHash('sha1').update(id + secret).digest('hex'))
  const given = Buffer.from(text)
  return given.length === wanted.length && timingSafeEqual(given, wanted)
}
