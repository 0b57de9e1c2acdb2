/** What the tests of clients' streams stand on: a server in memory, and clients that speak bytes. */
import { X509Certificate } from 'node:crypto'
import t, { type Test } from 'tap'
import type { Fields, Logger } from '../../lib/base/logger.js'
import { TokenBucket } from '../../lib/base/rate.js'
import { Throttle } from '../../lib/auth/throttle.js'
import type { SaslDialogue, SaslStep } from '../../lib/auth/mechanisms.js'
import { ClientStream } from '../../lib/c2s/client.js'
import type { ClientWorld, ListenerSettings } from '../../lib/c2s/settings.js'
import type { Host, HostSettings } from '../../lib/host/host.js'
import type { Wanted } from '../../lib/host/loader.js'
import type { AnyModule } from '../../lib/host/module.js'
import { Server } from '../../lib/host/server.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { memoryPair, type MemoryTransport } from '../../lib/stream/memory-transport.js'
import { selfSigned } from '../../lib/stream/self-signed.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { FakeClock } from '../fake-clock.js'
import { Secrets } from '../secrets.js'

export const PASSWORD = 'a secret of Verona'
export const DOMAIN = 'montague.lit'
export const OTHER = 'capulet.lit'

export interface StageSettings {
  readonly listener?: Partial<ListenerSettings>
  readonly limits?: Partial<ClientWorld['limits']>
  readonly authentication?: Partial<ClientWorld['authentication']>
  readonly host?: Partial<HostSettings>
  readonly modules?: readonly AnyModule[]
  /** TLS handshakes at once; then one a second. */
  readonly handshakes?: number
}

export interface Line { readonly level: string, readonly event: string, readonly fields: Fields }

export const LISTENER: ListenerSettings = { tls: 'required', stanza: 262_144, rate: 1_000_000 }
export const LIMITS: ClientWorld['limits'] = {
  negotiation: 30_000, keepalive: 300_000, idle: 86_400_000, connections: 100, unauthenticated: { stanza: 10_000, elements: 64 },
}
const MECHANISMS = ['EXTERNAL', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN']
/** How long work in threads is waited for, in milliseconds. */
const PATIENCE = 120_000
let certificate: Promise<Uint8Array> | undefined

/** A test with romeo@ and juliet@ at two hosts. When it has been played, nothing may be left of any connection. */
export function scene (title: string, how: StageSettings, play: (t: Test, s: Stage) => Promise<void>): void {
  void t.test(title, async t => {
    certificate ??= selfSigned(DOMAIN, DOMAIN, Date.now()).then(pair => new X509Certificate(pair.certificate).raw)
    const stage = new Stage(how, await certificate)
    await stage.raise()
    await play(t, stage)
    await stage.end()
    t.equal(stage.gone, stage.clients.length, 'each connection was given back')
    t.equal(stage.clock.timers, 0, 'no timer is left')
    t.same(stage.lines.filter(line => line.level === 'error' && !stage.expected.includes(line.event)), [], 'nothing failed unforeseen')
    t.equal(stage.lines.map(({ event, fields }) => stage.secrets.in(event, fields)).find(secret => secret !== undefined), undefined, 'no log line holds a secret')
  })
}

export class Stage {
  readonly clock = new FakeClock()
  readonly storage = new MemoryStorage()
  readonly lines: Line[] = []
  /** What no line may hold. */
  readonly secrets = new Secrets(PASSWORD)
  readonly clients: Client[] = []
  readonly server: Server
  readonly world: ClientWorld
  readonly settings: ListenerSettings
  readonly certificate: Uint8Array
  /** Events of level error that the test wants. */
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
      traffic: this.server.router.traffic.clients,
      limits: { ...LIMITS, ...how.limits },
      authentication: { mechanisms: MECHANISMS, attempts: 3, fast: true, token: 21 * 86_400_000, ...how.authentication },
      host: domain => this.server.host(domain),
      domain: DOMAIN,
    }
  }

  async raise (): Promise<void> {
    const settings: HostSettings = { admins: [], resources: 2, conflict: 'replace', ...this.#how.host }
    await this.server.load([DOMAIN, OTHER].map(domain => ({ domain, settings, modules: (this.#how.modules ?? []).map(withDefaults) })))
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

  /** A connection without a word said. `secure`: inside TLS already. */
  connect (how: { readonly secure?: boolean, readonly address?: string } = {}): Client {
    const [ours, theirs] = memoryPair({ clock: this.clock, certificate: this.certificate, ...how })
    const stream = new ClientStream(this.world, this.settings, ours, {
      handshake: async wait => {
        const ms = this.#handshakes.claim(1, 10_000)
        if (ms === undefined) throw new Error('too many handshakes')
        if (ms > 0) await wait(ms)
      },
      established: () => {},
      gone: () => { this.gone++ },
    })
    const client = new Client(this, stream, ours, theirs)
    this.clients.push(client)
    void stream.begin()
    return client
  }

  /** A client that has logged in, and stands before binding. */
  async loggedIn (how: { readonly account?: string, readonly address?: string } = {}): Promise<Client> {
    const client = this.connect({ secure: true, ...how })
    const [local = '', domain = ''] = (how.account ?? `romeo@${DOMAIN}`).split('@')
    await client.opens(domain)
    await client.says(auth('PLAIN', `\0${local}\0${PASSWORD}`))
    await client.until('<success')
    await client.opens(domain)
    client.forget()
    return client
  }

  /** A client with a session. */
  async bound (resource?: string, how: { readonly account?: string, readonly address?: string } = {}): Promise<Client> {
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

  /** Waits until nothing is under way that is not waiting for time or threads. */
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

/** One client, which hears what comes as text. */
export class Client {
  readonly stream: ClientStream
  readonly transport: MemoryTransport
  /** The server's end. */
  readonly served: MemoryTransport
  heard = ''
  /** How much it has said. */
  saidBytes = 0
  isClosed = false
  readonly #stage: Stage

  constructor (stage: Stage, stream: ClientStream, served: MemoryTransport, transport: MemoryTransport) {
    this.#stage = stage
    this.stream = stream
    this.served = served
    this.transport = transport
    transport.open({
      data: chunk => {
        const text = Buffer.from(chunk).toString()
        stage.secrets.heard(text)
        this.heard += text
      },
      drained: () => {},
      closed: () => { this.isClosed = true },
    })
  }

  async says (...texts: readonly string[]): Promise<void> {
    for (const text of texts) {
      this.#stage.secrets.heard(text)
      this.saidBytes += Buffer.byteLength(text)
      this.transport.write(Buffer.from(text).toString('latin1'))
    }
    await this.#stage.settled()
  }

  async opens (domain = DOMAIN): Promise<void> {
    await this.says(header(domain))
  }

  /** Waits for work in threads, until one of these is heard: passwords are checked there. */
  async until (...texts: readonly string[]): Promise<void> {
    const isHeard = (): boolean => texts.some(text => this.heard.includes(text))
    const until = Date.now() + PATIENCE // threads have the time that the machine gives them, however many turns that is of ours
    while (Date.now() < until && !isHeard() && !this.isClosed) {
      await new Promise(resolve => { setImmediate(resolve) })
    }
    await this.#stage.settled()
    if (!isHeard()) throw new Error(`no ${texts.join(' or ')} in ${this.heard}`)
  }

  forget (): void { this.heard = '' }

  /** The stream error it got, by condition. */
  get error (): string | undefined {
    return /<stream:error><([a-z-]+) xmlns=.urn:ietf:params:xml:ns:xmpp-streams/.exec(this.heard)?.[1]
  }

  /** A login as a dialogue, as lib/auth has them. */
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

export function auth (mechanism: string, message: string): string {
  return `<auth xmlns='${SASL}' mechanism='${mechanism}'>${Buffer.from(message).toString('base64')}</auth>`
}

export function bind (resource?: string): string {
  return `<iq type='set' id='b'><bind xmlns='${BIND}'>${resource === undefined ? '' : `<resource>${resource}</resource>`}</bind></iq>`
}

function logInto (lines: Line[], fields: Fields): Logger {
  const at = (level: string) => (event: string, more: Fields = {}): void => { lines.push({ level, event, fields: { ...fields, ...more } }) }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), with: more => logInto(lines, { ...fields, ...more }) }
}
