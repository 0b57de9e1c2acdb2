/** The stage of the tests of client streams: a server in memory, and clients that send bytes. */
import { X509Certificate } from 'node:crypto'
import t, { type Test } from 'tap'
import type { Fields, Logger } from '../../lib/base/logger.js'
import { TokenBucket } from '../../lib/base/rate.js'
import { Throttle } from '../../lib/auth/throttle.js'
import type { SaslDialogue, SaslStep } from '../../lib/auth/mechanism.js'
import { ClientStream } from '../../lib/c2s/client.js'
import type { ClientDeps, ListenerSettings } from '../../lib/c2s/settings.js'
import { UnavailableLogins } from '../../lib/c2s/unavailable.js'
import type { Host, HostSettings } from '../../lib/host/host.js'
import type { Wanted } from '../../lib/host/loader.js'
import type { AnyModule } from '../../lib/host/module.js'
import { Server } from '../../lib/host/server.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { memoryPair } from '../../lib/stream/memory-transport.js'
import { XML_STREAM } from '../../lib/stream/framing.js'
import { selfSigned } from '../../lib/stream/self-signed.js'
import type { Transport } from '../../lib/stream/transport.js'
import { WEB_FRAMES } from '../../lib/web/frames.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { FakeClock } from '../fake-clock.js'
import { Secrets } from '../secrets.js'
import { framePair } from '../web-frames.js'

export const PASSWORD = 'a secret of Verona'
export const DOMAIN = 'montague.lit'
export const OTHER = 'capulet.lit'

export interface StageSettings {
  readonly listener?: Partial<ListenerSettings>
  readonly limits?: Partial<ClientDeps['limits']>
  readonly authentication?: Partial<ClientDeps['authentication']>
  readonly host?: Partial<HostSettings>
  readonly modules?: readonly AnyModule[]
  /** The burst of TLS handshakes; after it, one a second. */
  readonly handshakes?: number
}

/** How a client connects. `secure`: as if inside TLS. `frames`: each element in one message (RFC 7395). */
export interface Connecting { readonly secure?: boolean, readonly address?: string, readonly frames?: boolean }

/** How a client connects and logs in. Without an account, as romeo@. */
export interface LoggingIn extends Connecting { readonly account?: string }

export interface Line { readonly level: string, readonly event: string, readonly fields: Fields }

export const LISTENER: ListenerSettings = { tls: 'required', stanza: 262_144, rate: 1_000_000 }
export const LIMITS: ClientDeps['limits'] = {
  negotiation: 30_000, keepalive: 300_000, idle: 86_400_000, connections: 100,
  unauthenticated: { stanza: 10_000, elements: 64 },
}
const MECHANISMS = ['EXTERNAL', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN']
/** How long to wait for work in threads, in milliseconds. */
const PATIENCE = 600_000
let certificate: Promise<Uint8Array> | undefined

/**
 * Runs a test with romeo@ and juliet@ on two hosts. Checks at its end that no connection, timer or unexpected error is
 * left.
 */
export function scene (title: string, how: StageSettings, play: (t: Test, s: Stage) => Promise<void>): void {
  void t.test(title, async t => {
    certificate ??= selfSigned(DOMAIN, DOMAIN, Date.now()).then(pair => new X509Certificate(pair.certificate).raw)
    const stage = new Stage(how, await certificate)
    await stage.raise()
    await play(t, stage)
    await stage.end()
    t.equal(stage.gone, stage.clients.length, 'each connection was closed')
    t.equal(stage.clock.timers, 0, 'no timer is left')
    t.same(stage.lines.filter(line => line.level === 'error' && !stage.expected.includes(line.event)), [], 'no unexpected error was logged')
    t.equal(stage.lines.map(({ event, fields }) => stage.secrets.in(event, fields)).find(secret => secret !== undefined), undefined, 'no log line holds a secret')
  })
}

export class Stage {
  readonly clock = new FakeClock()
  readonly storage = new MemoryStorage()
  readonly lines: Line[] = []
  /** Texts that no log line may hold. */
  readonly secrets = new Secrets(PASSWORD)
  readonly clients: Client[] = []
  readonly server: Server
  readonly world: ClientDeps
  readonly settings: ListenerSettings
  readonly certificate: Uint8Array
  /** Events of level error that the test expects. */
  readonly expected: string[] = []
  gone = 0
  #ids = 0
  readonly #how: StageSettings
  readonly #handshakes: TokenBucket

  constructor (how: StageSettings, certificate: Uint8Array) {
    const { clock, storage } = this
    const ids = { next: () => `id-${++this.#ids}` }
    const log = logInto(this.lines, {})
    this.#how = how
    this.certificate = certificate
    this.settings = { ...LISTENER, ...how.listener }
    this.server = new Server({ clock, ids, log, storage })
    this.#handshakes = new TokenBucket(clock, 1, how.handshakes ?? 1000)
    this.world = {
      clock,
      ids,
      log,
      certificates: { contextFor: () => { throw new Error('there is no TLS in memory') }, asksClients: false },
      throttle: new Throttle({ clock, delay: 1000, forget: 600_000 }),
      unavailable: new UnavailableLogins(clock, log),
      traffic: this.server.pipeline.traffic.clients,
      limits: { ...LIMITS, ...how.limits },
      authentication: {
        mechanisms: MECHANISMS, attempts: 3, fast: true, token: 21 * 86_400_000, ...how.authentication,
      },
      host: domain => this.server.host(domain),
      domain: DOMAIN,
    }
  }

  async raise (): Promise<void> {
    const settings: HostSettings = { admins: [], resources: 2, conflict: 'replace', ...this.#how.host }
    await this.server.load([DOMAIN, OTHER].map(domain => {
      return { domain, settings, modules: (this.#how.modules ?? []).map(withDefaults) }
    }))
    for (const name of ['romeo', 'juliet']) await this.host.createAccount(parseJid(`${name}@${DOMAIN}`), PASSWORD)
    await this.server.host(OTHER)?.createAccount(parseJid(`juliet@${OTHER}`), PASSWORD)
  }

  async end (): Promise<void> {
    for (const client of this.clients) client.transport.destroy()
    await this.settled()
    await this.server.stop()
    await this.settled()
  }

  get host (): Host {
    const host = this.server.host(DOMAIN)
    if (host === undefined) throw new Error('no host')
    return host
  }

  /** Opens a connection without sending anything. */
  connect (how: Connecting = {}): Client {
    const { clock, certificate } = this
    const [ours, theirs] = how.frames === true
      ? framePair(clock, how.secure === true ? certificate : undefined)
      : memoryPair({ clock, certificate, ...how })
    const stream = new ClientStream(this.world, this.settings, ours, {
      handshake: async wait => {
        const ms = this.#handshakes.claim(1, 10_000)
        if (ms === undefined) throw new Error('too many handshakes')
        if (ms > 0) await wait(ms)
      },
      spent: () => {},
      established: () => {},
      gone: () => { this.gone++ },
    }, how.frames === true ? WEB_FRAMES : XML_STREAM)
    const client = new Client(this, stream, theirs, how.frames === true)
    this.clients.push(client)
    void stream.begin()
    return client
  }

  /** Returns a client that has logged in and not bound yet. */
  async loggedIn (how: LoggingIn = {}): Promise<Client> {
    const client = this.connect({ secure: true, ...how })
    const [local = '', domain = ''] = (how.account ?? `romeo@${DOMAIN}`).split('@')
    await client.opens(domain)
    await client.says(auth('PLAIN', `\0${local}\0${PASSWORD}`))
    await client.until('<success')
    await client.opens(domain)
    client.forget()
    return client
  }

  /** Returns a client with a session. */
  async bound (resource?: string, how: LoggingIn = {}): Promise<Client> {
    const client = await this.loggedIn(how)
    await client.says(bind(resource))
    await client.until('</iq>')
    client.forget()
    return client
  }

  async pass (ms: number): Promise<void> {
    this.clock.pass(ms)
    await this.settled()
  }

  /** Waits until nothing is left to do except for timers and threads. */
  async settled (): Promise<void> {
    for (let quiet = 0; quiet < 5; quiet++) {
      await this.storage.flush()
      await new Promise(resolve => { setImmediate(resolve) })
    }
  }

  logged (event: string): Line[] { return this.lines.filter(line => line.event === event) }
}

function withDefaults (module: AnyModule): Wanted {
  const world = { folder: '/', env: () => undefined, file: () => '' }
  const settings = Object.entries(module.settings ?? {}).map(([name, kind]) => [name, kind.zod(world).parse(undefined)])
  return { module, settings: Object.fromEntries(settings) }
}

/** One client, which keeps what it receives as text. */
export class Client {
  readonly stream: ClientStream
  readonly transport: Transport
  heard = ''
  /** The messages that it received, if its connection has frames. */
  frames: string[] = []
  /** The number of bytes that it sent. */
  saidBytes = 0
  isClosed = false
  readonly #stage: Stage
  readonly #isFramed: boolean

  constructor (stage: Stage, stream: ClientStream, transport: Transport, isFramed: boolean) {
    this.#stage = stage
    this.stream = stream
    this.transport = transport
    this.#isFramed = isFramed
    transport.open({
      data: chunk => {
        const text = Buffer.from(chunk).toString()
        stage.secrets.heard(text)
        this.heard += text
        if (isFramed) this.frames.push(text)
      },
      drained: () => {},
      closed: () => { this.isClosed = true },
    })
  }

  /** Sends texts; in frames, each as one message, with the namespace that a stream would give to a stanza. */
  async says (...texts: readonly string[]): Promise<void> {
    for (const text of this.#isFramed ? texts.map(standalone) : texts) {
      this.#stage.secrets.heard(text)
      this.saidBytes += Buffer.byteLength(text)
      this.transport.write(Buffer.from(text).toString('latin1'))
    }
    await this.#stage.settled()
  }

  async opens (domain = DOMAIN): Promise<void> {
    await this.says(this.#isFramed ? openFrame(domain) : header(domain))
  }

  /** Waits until one of these texts was received. Needed for work in threads, such as checking passwords. */
  async until (...texts: readonly string[]): Promise<void> {
    const isHeard = (): boolean => texts.some(text => this.heard.includes(text))
    // not a number of turns of the event loop, because threads depend on the machine
    const until = Date.now() + PATIENCE
    while (Date.now() < until && !isHeard() && !this.isClosed) {
      await new Promise(resolve => { setImmediate(resolve) })
    }
    await this.#stage.settled()
    if (!isHeard()) throw new Error(`no ${texts.join(' or ')} in ${this.heard}`)
  }

  forget (): void {
    this.heard = ''
    this.frames = []
  }

  /** The condition of the stream error that the client got. */
  get error (): string | undefined {
    return /<stream:error[^>]*><([a-z-]+) xmlns=.urn:ietf:params:xml:ns:xmpp-streams/.exec(this.heard)?.[1]
  }

  /** A login as a SaslDialogue, as in lib/auth. */
  dialogue (mechanism: string): SaslDialogue {
    let isFirst = true
    return {
      mechanism,
      step: async message => {
        const text = message === undefined ? '' : Buffer.from(message).toString('base64')
        this.forget()
        await this.says(isFirst ? `<auth xmlns='${SASL}' mechanism='${mechanism}'>${text}</auth>` : `<response xmlns='${SASL}'>${text}</response>`)
        isFirst = false
        return this.#step()
      },
    }
  }

  #step (): SaslStep {
    const [, name, data = ''] = /^<(challenge|success|failure)[^>]*>(.*)<\/\1>$/.exec(this.heard) ?? []
    if (name === 'challenge') return { kind: 'challenge', data: Buffer.from(data, 'base64') }
    if (name === 'success') return { kind: 'success', account: parseJid(`romeo@${DOMAIN}`), data: Buffer.from(data, 'base64') }
    return { kind: 'failure', condition: 'not-authorized', reason: this.heard }
  }
}

export const SASL = 'urn:ietf:params:xml:ns:xmpp-sasl'
export const BIND = 'urn:ietf:params:xml:ns:xmpp-bind'
export const STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"

export function header (domain = DOMAIN, more = ''): string {
  return "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' " +
    `to='${domain}' ${more}>`
}

/** Returns the header of a stream in frames. */
export function openFrame (domain = DOMAIN, more = ''): string {
  return `<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0' to='${domain}' ${more}/>`
}

function standalone (text: string): string {
  return text.replace(/^<(iq|message|presence)(?=[ />])(?! xmlns=)/, "<$1 xmlns='jabber:client'")
}

export function auth (mechanism: string, message: string): string {
  return `<auth xmlns='${SASL}' mechanism='${mechanism}'>${Buffer.from(message).toString('base64')}</auth>`
}

export function bind (resource?: string): string {
  return `<iq type='set' id='b'><bind xmlns='${BIND}'>${resource === undefined ? '' : `<resource>${resource}</resource>`}</bind></iq>`
}

function logInto (lines: Line[], fields: Fields): Logger {
  const at = (level: string) => (event: string, more: Fields = {}): void => {
    lines.push({ level, event, fields: { ...fields, ...more } })
  }
  return { isDebugging: true, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), with: more => logInto(lines, { ...fields, ...more }) }
}
