/**
 * A scene with devices that say, ask, get and lose. It has the real parser and the real core, with counted ids and its
 * own clock.
 */
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import type { Turns } from '../lib/base/turns.js'
import { readDuration, type Duration } from '../lib/base/units.js'
import type { Fields, Logger } from '../lib/base/logger.js'
import { findModules, type Wanted } from '../lib/host/loader.js'
import type { AnyModule } from '../lib/host/module.js'
import type { Host, HostSettings } from '../lib/host/host.js'
import { Server } from '../lib/host/server.js'
import { rosters } from '../lib/host/services.js'
import { PendingBatch } from '../lib/storage/batch.js'
import { MemoryStorage } from '../lib/storage/memory.js'
import type { Element } from '../lib/xml/element.js'
import { parseElement } from './parse.js'
import type { Journal, Records } from '../lib/storage/store.js'
import type { Table } from '../lib/storage/table.js'
import type { Schema } from '../lib/config/schema.js'
import { parseJid, type Jid } from '../lib/xmpp/jid.js'
import { Device } from './device.js'
import { FakeClock } from './fake-clock.js'
import { Secrets, STAGE_PASSWORD } from './secrets.js'

export { Device }

export interface Scene {
  /** Module names; the modules that they require are added. A module that is not in the folder is given as a value. */
  readonly modules?: readonly (string | AnyModule)[]
  readonly settings?: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  readonly hosts?: readonly string[]
  /** Hosts that are services, each with its modules. All other hosts run `modules`. */
  readonly services?: Services
  readonly host?: Partial<HostSettings>
  readonly storage?: MemoryStorage
  /** The prefix of generated ids. A test that restarts a server gives each process its own. */
  readonly ids?: string
  /** The time at the start, in milliseconds since 1970. */
  readonly now?: number
  /** The minimum length of a new password, in characters; 1 by default. */
  readonly shortest?: number
  /**
   * Shares the event loop as a started server does. Without it, each stanza is handled in the turn in which it arrives.
   */
  readonly turns?: Turns
  /** True if the log has a line for each step of each stanza; the default in `scenario`. */
  readonly debug?: boolean
}

/**
 * How a device connects: its first presence (`false` for none), its IP address, and after which silence a NAT on the
 * path drops the connection. `isSlow`: on the connection on which it resumes, the device reads only in `reads`.
 */
export interface Arriving {
  readonly presence?: string | false
  readonly address?: string
  readonly nat?: Duration
  readonly isSlow?: boolean
}

/** One line of the log. */
export interface Line { readonly level: string, readonly event: string, readonly fields: Fields }

const FOLDER = join(PACKAGE_ROOT, import.meta.url.endsWith('.ts') ? 'modules' : 'dist/modules')
const WORLD = { folder: '/', env: () => undefined, file: (path: string) => `the secret in ${path}` }
let known: Promise<ReadonlyMap<string, AnyModule>> | undefined

/** Modules by the domain of the service. */
type Services = Readonly<Record<string, readonly (string | AnyModule)[]>>

/** Starts a server with these modules. The caller has to end it. */
export async function startServer (scene: Scene): Promise<Scenario> {
  known ??= findModules(FOLDER)
  const s = new Scenario(scene, await known)
  s.server.open()
  await s.raise(scene.hosts ?? [])
  return s
}

/** A test of tap or of node:test: what `after` is given runs when the test ends. Only node:test has `passed`. */
interface Ending { after (end: () => Promise<void>): unknown, readonly passed?: boolean }

/**
 * Starts a server with these modules, and ends it with the test. Throws then if a timer is left, if an unexpected error
 * was logged, or if a log line holds a secret. The test shows this also if an assertion has failed before.
 */
export async function scenario (t: Ending, scene: Scene = {}): Promise<Scenario> {
  const s = await startServer({ debug: true, ...scene })
  t.after(async () => {
    await s.end()
    const wrong = wrongIn(s)
    // node:test drops what is thrown here if the test has failed already.
    if (wrong !== '' && t.passed === false) process.stderr.write(`${wrong}\n`)
    // Throw, because tap takes no assertion after the end of a test.
    if (wrong !== '') throw new Error(wrong)
    s.checkSecrets()
  })
  return s
}

/** Returns what is wrong at the end of a scene, or ''. */
function wrongIn (s: Scenario): string {
  const errors = s.lines.filter(line => line.level === 'error').map(line => [line.event, String(line.fields['error'])])
  return [
    ...isDeepStrictEqual(errors, s.expectedErrors) ? [] : [`something failed unforeseen: ${JSON.stringify(errors)}${stacksIn(s.lines)}`],
    ...s.clock.timers > 0 ? [`${s.clock.timers} timers are left`] : [],
  ].join('\n')
}

/** Returns the stacks of the logged errors, each on lines of its own. */
function stacksIn (lines: readonly Line[]): string {
  return lines.flatMap(({ fields: { error } }) => error instanceof Error ? [`\n${error.stack}`] : []).join('')
}

export class Scenario {
  readonly clock: FakeClock
  readonly storage: MemoryStorage
  readonly lines: Line[] = []
  /** Texts that no log line may hold. */
  readonly secrets = new Secrets()
  /** Log lines of level error that the test expects: [event, text of the error]. */
  readonly expectedErrors: (readonly [string, string])[] = []
  readonly server: Server
  readonly log: Logger
  readonly #known: ReadonlyMap<string, AnyModule>
  readonly #devices: Device[] = []
  #scene: Scene
  #ids = 0

  constructor (scene: Scene, known: ReadonlyMap<string, AnyModule>) {
    this.#scene = scene
    this.#known = known
    this.log = this.#log({})
    this.clock = new FakeClock(scene.now)
    this.storage = scene.storage ?? new MemoryStorage()
    this.server = new Server({ clock: this.clock, ids: { next: () => `${scene.ids ?? 'id'}-${++this.#ids}` }, log: this.log, storage: this.storage, cached: 100, ...scene.turns === undefined ? {} : { turns: scene.turns },
      shortest: () => scene.shortest ?? 1 })
  }

  host (domain: string): Host {
    const host = this.server.host(domain)
    if (host === undefined) throw new Error(`no host ${domain}`)
    return host
  }

  async raise (domains: readonly string[]): Promise<void> {
    const { services = {} } = this.#scene
    const standing = this.server.hosts.filter(host => !host.isService).map(host => host.domain)
    const all = new Set([...standing, ...Object.keys(services), ...domains])
    await this.server.load([...all].map(domain => ({
      domain,
      isService: Object.hasOwn(services, domain),
      settings: { admins: [], resources: 20, conflict: 'replace' as const, ...this.#scene.host },
      modules: this.#wanted(Object.hasOwn(services, domain) ? services[domain] : undefined),
      forgone: Object.hasOwn(services, domain) ? [] : this.#forgone(),
    })))
  }

  /** Makes these the services of the server, by a reload. */
  async offers (services: Services): Promise<void> {
    this.#scene = { ...this.#scene, services }
    await this.raise([])
    await this.settled()
  }

  /** Turns the module off by a reload. */
  async turnsOff (name: string): Promise<void> {
    this.#scene = { ...this.#scene, modules: this.#scene.modules?.filter(module => module !== name) ?? [] }
    await this.raise([])
    await this.settled()
  }

  /** Turns a module on by a reload. */
  async turnsOn (name: string): Promise<void> {
    this.#scene = { ...this.#scene, modules: [...this.#scene.modules ?? [], name] }
    await this.raise([])
    await this.settled()
  }

  /** Creates the account if it does not exist. Binds no device. */
  async account (address: string): Promise<Jid> {
    const jid = parseJid(address).bare
    if (this.server.host(jid.domain) === undefined) await this.raise([jid.domain])
    const { accounts } = this.host(jid.domain)
    if (!await accounts.exists(jid)) await this.host(jid.domain).createAccount(jid, STAGE_PASSWORD)
    return jid
  }

  /** Binds a device, and makes it available unless `how` says otherwise. Creates its account if it does not exist. */
  async device (address: string, how: Arriving = {}): Promise<Device> {
    const jid = parseJid(address)
    await this.account(address)
    const device = await Device.bind(this, this.host(jid.domain), jid, how.address ?? '192.0.2.1', natOf(how))
    this.#devices.push(device)
    const presence = how.presence ?? (this.#has('presence') ? '<presence/>' : false)
    if (presence !== false) await device.says(presence)
    for (const one of this.#devices) one.forget()
    return device
  }

  /** Asks to resume a session on a new connection (XEP-0198 §5). */
  async resume (
    address: string, request: string, how: Arriving = {},
  ): Promise<{ readonly device?: Device, readonly answer: Element }> {
    const account = parseJid(address).bare
    const resumed = await Device.resume(this, this.host(account.domain), account, request, how.address ?? '192.0.2.2', natOf(how), how.isSlow)
    if (resumed.device !== undefined) this.#devices.push(resumed.device)
    return resumed
  }

  /** Parses an element, as a module would make it. */
  element (text: string): Element { return parseElement(text) }

  /** Puts a contact with the subscription `both` into the account's roster. */
  async contact (address: string, contact: string): Promise<void> {
    const account = parseJid(address)
    const host = this.host(account.domain)
    const batch = new PendingBatch()
    await host.service(rosters)?.put(account, { jid: parseJid(contact), name: '', groups: [], subscription: 'both', ask: false, approved: false }, batch)
    await host.commit(batch)
  }

  /** Returns the names of the stores that hold something of this owner. */
  async traces (owner: string): Promise<readonly string[]> {
    const found: string[] = []
    for (const { module } of this.#wanted()) {
      for (const [name, shape] of Object.entries(module.stores ?? {})) {
        const opened = await this.storage.open(`${module.name}.${name}`, shape)
        if (shape.kind === 'table') {
          if (await (opened as Table<unknown>).count({ owner }) > 0) found.push(`${module.name}.${name}`)
          continue
        }
        const store = opened as Partial<Records<unknown> & Journal<unknown>>
        const isEmpty = store.all === undefined
          ? (await store.page?.(owner, { limit: 1 }))?.entries.length === 0
          : (await store.all(owner)).size === 0
        if (!isEmpty) found.push(`${module.name}.${name}`)
      }
    }
    return found
  }

  /** Lets time pass, and waits until the server is idle. */
  async pass (time: Duration): Promise<void> {
    this.clock.pass(readDuration(time))
    await this.settled()
  }

  /** Reloads the module, with other settings if some are given. */
  async reload (name: string, settings?: Readonly<Record<string, unknown>>): Promise<void> {
    const hosts = this.server.hosts.filter(host => !host.isService).map(host => host.domain)
    this.#scene = { ...this.#scene, settings: { ...this.#scene.settings, [name]: settings ?? { ...this.#scene.settings?.[name], ' ': this.#ids++ } } }
    await this.raise(hosts)
    await this.settled()
  }

  /** Waits until the server is idle: everything is stored and every promise has run. */
  async settled (): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet++) {
      await this.storage.flush()
      await new Promise(resolve => { setImmediate(resolve) })
    }
  }

  /** Throws if a log line of any level holds a password, a token or a body. */
  checkSecrets (): void {
    for (const { event, fields } of this.lines) {
      // Many tests give a message its text as id, which is no secret.
      const secret = this.secrets.in(event, { ...fields, id: undefined })
      if (secret !== undefined) throw new Error(`the log line '${event}' holds '${secret}'`)
    }
  }

  async end (): Promise<void> {
    await this.server.stop()
    await this.settled()
  }

  #has (name: string): boolean {
    return this.#wanted().some(wanted => wanted.module.name === name)
  }

  #forgone (): readonly AnyModule[] {
    return [...this.#known.values()].filter(module => module.forgo !== undefined && !this.#has(module.name))
  }

  #wanted (modules = this.#scene.modules ?? []): Wanted[] {
    const wanted = new Map<string, AnyModule>()
    const add = (module: AnyModule): void => {
      if (wanted.has(module.name)) return
      for (const name of module.requires ?? []) add(this.#module(name))
      wanted.set(module.name, module)
    }
    for (const module of modules) add(typeof module === 'string' ? this.#module(module) : module)
    const settings = this.#scene.settings ?? {}
    return [...wanted.values()].map(module => ({ module, settings: settingsOf(module, settings[module.name] ?? {}) }))
  }

  #module (name: string): AnyModule {
    const module = this.#known.get(name)
    if (module === undefined) throw new Error(`there is no module '${name}'`)
    return module
  }

  #log (fields: Fields): Logger {
    const at = (level: string) => (event: string, more: Fields = {}): void => {
      this.lines.push({ level, event, fields: { ...fields, ...more } })
    }
    const isDebugging = this.#scene.debug === true
    return { isDebugging, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), with: more => this.#log({ ...fields, ...more }) }
  }
}

function natOf ({ nat }: Arriving): number | undefined {
  return nat === undefined ? undefined : readDuration(nat)
}

/** The defaults of the module's schema, overridden by the settings of the scene, which are written as in the conf. */
function settingsOf (module: AnyModule, given: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const schema: Schema = module.settings ?? {}
  const read = Object.entries(schema).map(([name, kind]) => [name, kind.zod(WORLD).parse(given[name])])
  return { ...Object.fromEntries(read), ...' ' in given ? { ' ': given[' '] } : {} }
}
