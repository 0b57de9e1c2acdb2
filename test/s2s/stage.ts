/**
 * Towns with servers, and a network between them in memory. The scene decides on names, connections, certificates and
 * lies.
 */
import { createSecureContext } from 'node:tls'
import t, { type Test } from 'tap'
import { GeneralName } from '@peculiar/asn1-x509'
import { Counters } from '../../lib/base/counters.js'
import { randomIds } from '../../lib/base/ids.js'
import { Budgets } from '../../lib/base/rate.js'
import { DOMAIN_BUDGET, DOMAINS } from '../../lib/host/cost.js'
import { Anchors } from '../../lib/s2s/trust/chain.js'
import { DialbackKeys } from '../../lib/s2s/trust/dialback.js'
import { DnsError } from '../../lib/s2s/connect/dns-client.js'
import type { ServerListenerSettings } from '../../lib/s2s/streams/settings.js'
import { DomainQueues } from '../../lib/s2s/queue/domain-queues.js'
import { ServerListener } from '../../lib/s2s/streams/listener.js'
import { Outbox } from '../../lib/s2s/queue/outbox.js'
import { NoServer, type Resolver } from '../../lib/s2s/connect/resolve.js'
import type { Target } from '../../lib/s2s/ground/target.js'
import type { Dialer } from '../../lib/s2s/connect/context.js'
import type { FederationLimits, Policy } from '../../lib/s2s/ground/policy.js'
import type { FederationContext } from '../../lib/s2s/queue/context.js'
import { memoryPair } from '../../lib/stream/memory-transport.js'
import type { ClientTlsSettings, TlsInfo, TlsSettings, Transport, TransportHandlers } from '../../lib/stream/transport.js'
import { makeAuthority, type Authority, type Wanted } from '../auth/authority.js'
import { FakeClock } from '../fake-clock.js'
import { scenario, type Scenario, type Scene } from '../scenario.js'

export const OURS = 'montague.test'
export const THEIRS = 'capulet.test'

export const LIMITS: FederationLimits = {
  queue: { stanzas: 10, size: 20_000, time: 30_000 },
  idle: 600_000, negotiation: 30_000, keepalive: 300_000, stanza: 262_144,
  unauthenticated: { stanza: 10_000, elements: 64 }, connections: 50,
}
const SETTINGS: ServerListenerSettings = { tls: 'required', stanza: 262_144, rate: 1_000_000 }
const MODULES = ['roster', 'presence', 'message', 'disco'] // no ping: it would take the scene's devices for dead
const NO_CERTIFICATE = new Uint8Array()

let authority: Promise<Authority> | undefined
const issued = new Map<string, Promise<Uint8Array>>()

/** Returns a certificate with these names, as DER; equal wishes get the same certificate. */
export function certificateFor (wanted: Wanted): Promise<Uint8Array> {
  authority ??= makeAuthority('Verona')
  const key = JSON.stringify(wanted)
  let made = issued.get(key)
  if (made === undefined) issued.set(key, made = authority.then(by => by.issue(wanted)).then(({ der }) => der))
  return made
}

export function dns (...domains: readonly string[]): Wanted {
  return { names: domains.map(name => new GeneralName({ dNSName: name })) }
}

/** Runs a test on a network of its own, and checks that no connection left a timer. */
export function scene (title: string, play: (t: Test, net: Net) => Promise<void>): void {
  void t.test(title, async t => {
    const net = new Net(t)
    try {
      await play(t, net)
    } finally {
      await net.end()
    }
    t.equal(net.clock.timers, 0, 'no connection has left a timer')
  })
}

/** Accepts the connections to one domain. */
export type Answer = (transport: Transport, address: string) => void

export interface TownHow {
  readonly scene?: Scene
  readonly trust?: Policy['trust']
  readonly limits?: Partial<FederationLimits>
  readonly listener?: Partial<ServerListenerSettings>
  /** The names in its certificate; by default its domains. */
  readonly shows?: Wanted | 'nothing'
  /** Whether others trust its certificate; by default they do. */
  readonly trusted?: boolean
  /** The budget of another domain, in units per second; ten times that at once. */
  readonly cost?: number
}

export class Net {
  readonly t: Test
  readonly clock = new FakeClock()
  /** The DNS answers: targets, or the error that a lookup fails with. */
  readonly names = new Map<string, readonly Target[] | Error>()
  /** Addresses that accept connections and then say nothing. */
  readonly silent = new Set<string>()
  /** Addresses that DNS records of a stranger may not lead to. */
  readonly forbidden = new Set<string>()
  /** Each connection that was attempted, as 'address:port'. */
  readonly dialled: string[] = []
  readonly #servers = new Map<string, Answer>()
  readonly #trusted = new Set<Uint8Array>()
  readonly #towns: Town[] = []
  readonly #lines: Line[] = []
  readonly #wires: Transport[] = []
  #last = 0

  constructor (t: Test) { this.t = t }

  /** Starts a Sestina server with its domains. */
  async town (domains: string | readonly string[], how: TownHow = {}): Promise<Town> {
    const all = typeof domains === 'string' ? [domains] : domains
    const s = await scenario(this.t, { modules: MODULES, hosts: all, ...how.scene })
    const shown = how.shows === 'nothing' ? NO_CERTIFICATE : await certificateFor(how.shows ?? dns(...all))
    const { clock, log, server: { storage } } = s
    const outbox = await Outbox.open({ storage, clock, log, ids: randomIds })
    const town = new Town(this, s, all, shown, outbox, how)
    this.#towns.push(town)
    if (how.trusted !== false) this.trust(shown)
    const tls = town.settings.tls === 'direct' ? 'direct' : 'required'
    this.settle(all, town.address, transport => { town.listener.accept(transport, town.address) }, tls)
    return town
  }

  /** Makes a server that the scene plays by hand. */
  async peer (domains: string | readonly string[], how: Pick<TownHow, 'shows' | 'trusted'> & { readonly tls?: Target['tls'] } = {}): Promise<Peer> {
    const all = typeof domains === 'string' ? [domains] : domains
    const shown = how.shows === 'nothing' ? NO_CERTIFICATE : await certificateFor(how.shows ?? dns(...all))
    const peer = new Peer(this, shown)
    if (how.trusted !== false) this.trust(shown)
    this.settle(all, peer.address, transport => { peer.called(transport) }, how.tls)
    return peer
  }

  /** Adds a server to DNS. */
  settle (domains: readonly string[], address: string, answer: Answer, tls: Target['tls'] = 'required'): void {
    this.#servers.set(`${address}:5269`, answer)
    for (const domain of domains) this.names.set(domain, [{ host: `xmpp.${domain}`, address, port: 5269, tls, secure: false }])
  }

  address (): string { return `198.51.100.${++this.#last}` }
  trust (certificate: Uint8Array): void { this.#trusted.add(certificate) }
  trusts (certificate: Uint8Array): boolean { return this.#trusted.has(certificate) }

  readonly resolver: { isDane: boolean, resolve: Resolver['resolve'] } = {
    isDane: false,
    resolve: domain => {
      const found = this.names.get(domain)
      if (found === undefined) return Promise.reject(new NoServer(`${domain} has no address in DNS`))
      return found instanceof Error ? Promise.reject(found) : Promise.resolve(found)
    },
  }

  dialer (from: string): Dialer {
    return {
      objection: ({ address, isAllowed = false }) => this.forbidden.has(address) && !isAllowed ? `${address} is a private address` : undefined,
      dial: ({ address, port }, signal) => new Promise((resolve, reject) => {
        const place = `${address}:${port}`
        this.dialled.push(place)
        if (this.silent.has(place)) { signal.addEventListener('abort', () => { reject(new Error('given up')) }); return }
        const answer = this.#servers.get(place)
        if (answer === undefined) { reject(new Error('connection refused')); return }
        resolve(this.connect(from, address, answer))
      }),
    }
  }

  connect (from: string, to: string, answer: Answer): Transport {
    const [a, b] = memoryPair({ clock: this.clock })
    const handshake: Handshake = { client: undefined, server: undefined, servername: undefined }
    answer(new Wire(this, b, handshake, 'server', from), from)
    this.#wires.push(a)
    return new Wire(this, a, handshake, 'client', to)
  }

  /** Cuts all open connections, as if a cable was cut. */
  cut (): void {
    for (const wire of this.#wires) wire.destroy(new Error('cut'))
    this.#wires.length = 0
  }

  /** Registers a connection that the scene made by hand; `end` closes it. */
  keep (line: Line): void { this.#lines.push(line) }

  async pass (ms: number): Promise<void> {
    await this.settled()
    for (const clock of [this.clock, ...this.#towns.map(town => town.s.clock)]) clock.pass(ms)
    await this.settled()
  }

  /** Waits until nothing is under way except timers. */
  async settled (): Promise<void> {
    for (let quiet = 0; quiet < 4; quiet++) {
      for (const { s } of this.#towns) await s.settled()
      await new Promise(resolve => { setImmediate(resolve) })
    }
  }

  async end (): Promise<void> {
    await this.settled()
    for (const line of this.#lines) line.transport.destroy()
    const closed = Promise.all(this.#towns.flatMap(({ links, listener }) => [links.close(), listener.close()]))
    await this.pass(10_000)
    await this.pass(10_000)
    await closed
  }
}

/** One Sestina server in this network. */
export class Town {
  readonly s: Scenario
  readonly world: FederationContext
  readonly links: DomainQueues
  readonly listener: ServerListener
  readonly settings: ServerListenerSettings
  readonly address: string
  readonly counters = new Counters()
  readonly keys = new DialbackKeys(Buffer.from('a secret'))
  /** The policy for a pair of domains; the scene may change it. */
  policy: (local: string, remote: string) => Policy
  readonly #net: Net

  constructor (net: Net, s: Scenario, domains: readonly string[], shown: Uint8Array, outbox: Outbox, how: TownHow) {
    const context = createSecureContext()
    const { server: { pipeline, router } } = s
    this.#net = net
    this.s = s
    this.address = net.address()
    this.policy = () => ({ trust: how.trust ?? 'certificate' })
    this.settings = { ...SETTINGS, ...how.listener }
    let ids = 0
    this.world = {
      clock: s.clock,
      ids: { next: () => `stream-${++ids}` },
      log: s.log,
      pipeline,
      router,
      resolver: net.resolver,
      dialer: net.dialer(this.address),
      keys: this.keys,
      outbox,
      anchors: () => new Anchors([]),
      shows: () => ({ context, certificate: shown }),
      limits: { ...LIMITS, ...how.limits },
      policy: (local, remote) => this.policy(local, remote),
      host: domain => s.server.host(domain),
      domain: domains[0] ?? '',
      count: (metric, by, labels) => { this.counters.count(metric, by, labels) },
      budgets: new Budgets(s.clock, how.cost ?? DOMAIN_BUDGET.rate, (how.cost ?? DOMAIN_BUDGET.rate) * 10, DOMAINS),
    }
    this.links = new DomainQueues(this.world, () => 0.5)
    this.listener = new ServerListener(this.world, this.links, this.settings)
    router.remote = this.links
  }

  /** Returns the fields of each log line with this event. */
  logged (event: string): readonly Readonly<Record<string, unknown>>[] {
    return this.s.lines.filter(line => line.event === event).map(line => line.fields)
  }

  /** Returns the one link to this domain, as the operator sees it. */
  link (remote: string): ReturnType<DomainQueues['report']>[number] | undefined {
    return this.links.report().find(link => link.remote === remote)
  }

  async settled (): Promise<void> { await this.#net.settled() }
}

/** A server that the scene plays by hand: it accepts connections and makes some. */
export class Peer {
  readonly address: string
  /** The accepted connections that the scene has not looked at yet. */
  readonly waiting: Line[] = []
  readonly #net: Net
  readonly #shown: Uint8Array

  constructor (net: Net, shown: Uint8Array) {
    this.#net = net
    this.address = net.address()
    this.#shown = shown
  }

  called (transport: Transport): void { this.waiting.push(new Line(this.#net, transport, this.#shown)) }

  /** Returns the next connection to this server. */
  async next (): Promise<Line> {
    await this.#net.settled()
    const line = this.waiting.shift()
    if (line === undefined) throw new Error('nobody has called')
    return line
  }

  /**
   * Returns the next connection, encrypted, with its stream opened as this domain; `features` are what it is offered.
   */
  async takes (domain: string, features = DIALBACK): Promise<Line> {
    const line = await this.next()
    const starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
    await line.says(`${header(domain, { id: line.id })}<stream:features>${starttls}</stream:features>`)
    line.gets('<starttls')
    await line.says("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    await line.encrypts('server')
    line.forget()
    await line.says(`${header(domain, { id: line.id })}<stream:features>${features}</stream:features>`)
    return line
  }

  /** Connects to a Sestina server, and sends nothing yet. */
  dials (town: Town, network = this.address): Line {
    const transport = this.#net.connect(this.address, town.address, theirs => { town.listener.accept(theirs, network) })
    return new Line(this.#net, transport, this.#shown)
  }

  /** Connects to a Sestina server, starts TLS and opens a stream from one domain to another. */
  async opens (town: Town, from: string | undefined, to: string): Promise<Line> {
    const line = this.dials(town)
    await line.says(header(from, { to }))
    await line.says("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    line.gets('<proceed')
    await line.encrypts('client')
    line.forget()
    await line.says(header(from, { to }))
    return line
  }

  /** Opens a stream and authenticates with EXTERNAL. */
  async enters (town: Town, from: string, to: string): Promise<Line> {
    const line = await this.opens(town, from, to)
    await line.says(external())
    line.gets('<success')
    await line.says(header(from, { to }))
    line.forget()
    return line
  }
}

/** One connection that the scene plays by hand. What arrives is text. */
export class Line {
  readonly transport: Transport
  readonly id: string
  heard = ''
  isClosed = false
  readonly #net: Net
  readonly #shown: Uint8Array

  constructor (net: Net, transport: Transport, shown: Uint8Array) {
    this.#net = net
    this.transport = transport
    this.#shown = shown
    this.id = `by-hand-${lines++}`
    net.keep(this)
    transport.open({
      data: chunk => { this.heard += Buffer.from(chunk).toString() },
      drained: () => {},
      closed: () => { this.isClosed = true },
    })
  }

  async says (text: string): Promise<void> {
    this.transport.write(Buffer.from(text).toString('latin1'))
    await this.#net.settled()
  }

  async encrypts (side: 'client' | 'server'): Promise<void> {
    const context = createSecureContext()
    const certificate = this.#shown
    await this.transport.startTls(side === 'client'
      ? { servername: undefined, context, certificate, alpn: 'xmpp-server' }
      : { contextFor: () => ({ context, certificate }), alpn: 'xmpp-server', asksPeer: true })
    await this.#net.settled()
  }

  /** Expects this text and forgets all up to its end. Returns the match; throws if it has not arrived. */
  gets (what: string | RegExp): string {
    const found = typeof what === 'string' ? { 0: what, index: this.heard.indexOf(what) } : what.exec(this.heard)
    if (found === null || found.index < 0) throw new Error(`wanted ${what}, but heard ${this.heard || 'nothing'}`)
    this.heard = this.heard.slice(found.index + found[0].length)
    return found[0]
  }

  forget (): void { this.heard = '' }

  /** The id of the stream that was opened to this side. */
  get streamId (): string { return / id=['"]([^'"]+)/.exec(this.heard)?.[1] ?? '' }
  /** The condition of the stream error that arrived. */
  get error (): string | undefined { return /<stream:error><([a-z-]+) xmlns=.urn:ietf:params:xml:ns:xmpp-streams/.exec(this.heard)?.[1] }
  /** The dialback key in the `<db:result/>` or `<db:verify/>` that arrived. */
  get key (): string { return /<db:(?:result|verify)[^>]*>([0-9a-f]+)</.exec(this.heard)?.[1] ?? '' }
}
let lines = 0

export const DIALBACK = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
export const EXTERNAL = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>"
/** The namespace of stanza errors (RFC 6120 §8.3.3). */
export const STANZAS = 'urn:ietf:params:xml:ns:xmpp-stanzas'
/** The feature of stream management (XEP-0198). */
export const SM_FEATURE = "<sm xmlns='urn:xmpp:sm:3'/>"
export const BIDI = "<bidi xmlns='urn:xmpp:features:bidi'/>"
export const SUCCESS = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"

export function header (from: string | undefined, more: { readonly to?: string, readonly id?: string } = {}): string {
  const { to, id } = more
  return "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' version='1.0' " +
    `xmlns:stream='http://etherx.jabber.org/streams'${from === undefined ? '' : ` from='${from}'`}${to === undefined ? '' : ` to='${to}'`}` +
    `${id === undefined ? '' : ` id='${id}'`}>`
}

export function external (identity = '='): string {
  return `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>${identity}</auth>`
}

export function message (from: string, to: string, body: string, more = ''): string {
  return `<message from='${from}' to='${to}' ${more}><body>${body}</body></message>`
}

export { DnsError, NoServer }

interface Handshake {
  client: Uint8Array | undefined
  server: (() => Uint8Array) | undefined
  servername: string | undefined
}

/** One end of a connection in memory that sees the other end's certificate, and whether this network trusts it. */
class Wire implements Transport {
  readonly address: string
  readonly #net: Net
  readonly #inner: Transport
  readonly #handshake: Handshake
  readonly #side: 'client' | 'server'

  constructor (net: Net, inner: Transport, handshake: Handshake, side: 'client' | 'server', address: string) {
    this.#net = net
    this.#inner = inner
    this.#handshake = handshake
    this.#side = side
    this.address = address
  }

  get backlog (): number { return this.#inner.backlog }
  get isClosed (): boolean { return this.#inner.isClosed }
  get tls (): TlsInfo | undefined {
    const { tls } = this.#inner
    if (tls === undefined) return undefined
    const shown = (this.#side === 'client' ? this.#handshake.server?.() : this.#handshake.client) ?? NO_CERTIFICATE
    const authorized = this.#net.trusts(shown)
    const distrust = authorized ? undefined : 'unable to verify the first certificate'
    return { ...tls, peerCertificates: shown.length === 0 ? [] : [shown], authorized, distrust }
  }

  open (handlers: TransportHandlers): void { this.#inner.open(handlers) }
  write (octets: string): void { this.#inner.write(octets) }
  awaitDrain (): void { this.#inner.awaitDrain() }
  pause (): void { this.#inner.pause() }
  resume (): void { this.#inner.resume() }
  end (): void { this.#inner.end() }
  destroy (reason?: Error): void { this.#inner.destroy(reason) }

  async startTls (how: TlsSettings | ClientTlsSettings): Promise<TlsInfo> {
    if ('contextFor' in how) this.#handshake.server = () => how.contextFor(this.#handshake.servername).certificate
    else {
      this.#handshake.client = how.certificate
      this.#handshake.servername = how.servername
    }
    const info = await this.#inner.startTls(how)
    return this.tls ?? info
  }
}
