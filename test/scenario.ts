/** Devices on a stage: they say, ask, get, lose; over the real parser and the real core, with counted ids and a clock of their own. */
import type { Test } from 'tap'
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
import type { Schema } from '../lib/config/schema.js'
import { parseJid, type Jid } from '../lib/xmpp/jid.js'
import { Device } from './device.js'
import { FakeClock } from './fake-clock.js'
import { Secrets, STAGE_PASSWORD } from './secrets.js'

export { Device }

export interface Scene {
  /** Names of modules, those they require included; a table beside the name holds settings. */
  readonly modules?: readonly (string | AnyModule)[]
  readonly settings?: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  readonly hosts?: readonly string[]
  readonly host?: Partial<HostSettings>
  readonly storage?: MemoryStorage
  /** What its ids begin with: another life of a server makes others. */
  readonly ids?: string
  /** When it begins, in milliseconds since 1970. */
  readonly now?: number
  /** The least characters of a new password; one where it is left out. */
  readonly shortest?: number
  /** Shares the event loop as a started server does; without it each stanza is taken in the turn in which it comes. */
  readonly turns?: Turns
}

/**
 * How a device comes: its first presence, its IP address, and how long a box on its way lets it be silent. `isSlow`: on the connection by
 * which it resumes it reads only when it is told to.
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
const WORLD = { folder: '/', env: () => undefined, file: () => '' }
let known: Promise<ReadonlyMap<string, AnyModule>> | undefined

/** A server with these modules, which nobody takes down. */
export async function stand (scene: Scene): Promise<Scenario> {
  known ??= findModules(FOLDER)
  const s = new Scenario(scene, await known)
  s.server.open()
  await s.raise(scene.hosts ?? [])
  return s
}

/** A server with these modules, taken down when the test ends: then no timer may be left. */
export async function scenario (t: Test, scene: Scene = {}): Promise<Scenario> {
  const s = await stand(scene)
  t.teardown(async () => {
    await s.end()
    // Thrown, for tap takes no assertion once a test has ended.
    if (s.clock.timers > 0) throw new Error(`${s.clock.timers} timers are left`)
    const errors = s.lines.filter(line => line.level === 'error').map(line => [line.event, String(line.fields['error'])])
    if (!isDeepStrictEqual(errors, s.expectedErrors)) throw new Error(`something failed unforeseen: ${JSON.stringify(errors)}`)
    s.checkSecrets()
  })
  return s
}

export class Scenario {
  readonly clock: FakeClock
  readonly storage: MemoryStorage
  readonly lines: Line[] = []
  /** What none of them may hold. */
  readonly secrets = new Secrets()
  /** Log lines of level error that the test wants: [event, text of the error]. */
  readonly expectedErrors: (readonly [string, string])[] = []
  readonly server: Server
  readonly log: Logger = this.#log({})
  readonly #known: ReadonlyMap<string, AnyModule>
  readonly #devices: Device[] = []
  #scene: Scene
  #ids = 0

  constructor (scene: Scene, known: ReadonlyMap<string, AnyModule>) {
    this.#scene = scene
    this.#known = known
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
    const standing = new Set([...this.server.hosts.map(host => host.domain), ...domains])
    await this.server.load([...standing].map(domain => ({
      domain,
      settings: { admins: [], resources: 20, conflict: 'replace' as const, ...this.#scene.host },
      modules: this.#wanted(),
      forgone: this.#forgone(),
    })))
  }

  /** The module is turned off. */
  async turnsOff (name: string): Promise<void> {
    this.#scene = { ...this.#scene, modules: this.#scene.modules?.filter(module => module !== name) ?? [] }
    await this.raise([])
    await this.settled()
  }

  /** An account without a device; made where it is not there. */
  async account (address: string): Promise<Jid> {
    const jid = parseJid(address).bare
    if (this.server.host(jid.domain) === undefined) await this.raise([jid.domain])
    const { accounts } = this.host(jid.domain)
    if (!await accounts.exists(jid)) await this.host(jid.domain).createAccount(jid, STAGE_PASSWORD)
    return jid
  }

  /** A device whose stream is established; available, unless told otherwise. Its account is made where it is not there. */
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

  /** Another connection wants to take up a session (XEP-0198 §5). */
  async resume (address: string, request: string, how: Arriving = {}): Promise<{ readonly device?: Device, readonly answer: Element }> {
    const account = parseJid(address).bare
    const resumed = await Device.resume(this, this.host(account.domain), account, request, how.address ?? '192.0.2.2', natOf(how), how.isSlow)
    if (resumed.device !== undefined) this.#devices.push(resumed.device)
    return resumed
  }

  /** An element, as a module would make it. */
  element (text: string): Element { return parseElement(text) }

  /** Puts a contact into a roster that sees the account, and is seen. */
  async contact (address: string, contact: string): Promise<void> {
    const account = parseJid(address)
    const host = this.host(account.domain)
    const batch = new PendingBatch()
    await host.service(rosters)?.put(account, { jid: parseJid(contact), name: '', groups: [], subscription: 'both', ask: false, approved: false }, batch)
    await host.commit(batch)
  }

  /** The stores of modules that hold something of this owner. */
  async traces (owner: string): Promise<readonly string[]> {
    const found: string[] = []
    for (const { module } of this.#wanted()) {
      for (const [name, shape] of Object.entries(module.stores ?? {})) {
        const store = await this.storage.open(`${module.name}.${name}`, shape) as Partial<Records<unknown> & Journal<unknown>>
        const isEmpty = store.all === undefined
          ? (await store.page?.(owner, { limit: 1 }))?.entries.length === 0
          : (await store.all(owner)).size === 0
        if (!isEmpty) found.push(`${module.name}.${name}`)
      }
    }
    return found
  }

  /** Time passes. */
  async pass (time: Duration): Promise<void> {
    this.clock.pass(readDuration(time))
    await this.settled()
  }

  /** The module is set up anew, with other settings if some are given. */
  async reload (name: string, settings?: Readonly<Record<string, unknown>>): Promise<void> {
    const hosts = this.server.hosts.map(host => host.domain)
    this.#scene = { ...this.#scene, settings: { ...this.#scene.settings, [name]: settings ?? { ...this.#scene.settings?.[name], ' ': this.#ids++ } } }
    await this.raise(hosts)
    await this.settled()
  }

  /** Waits until nothing is under way any more: all is stored, every promise has run. */
  async settled (): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet++) {
      await this.storage.flush()
      await new Promise(resolve => { setImmediate(resolve) })
    }
  }

  /** Throws if a line of the log, at any level, holds a password, a token or a body. */
  checkSecrets (): void {
    for (const { event, fields } of this.lines) {
      const secret = this.secrets.in(event, fields)
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

  #wanted (): Wanted[] {
    const wanted = new Map<string, AnyModule>()
    const add = (module: AnyModule): void => {
      if (wanted.has(module.name)) return
      for (const name of module.requires ?? []) add(this.#module(name))
      wanted.set(module.name, module)
    }
    for (const module of this.#scene.modules ?? []) add(typeof module === 'string' ? this.#module(module) : module)
    return [...wanted.values()].map(module => ({ module, settings: settingsOf(module, this.#scene.settings?.[module.name] ?? {}) }))
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
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), with: more => this.#log({ ...fields, ...more }) }
  }
}

function natOf ({ nat }: Arriving): number | undefined {
  return nat === undefined ? undefined : readDuration(nat)
}

/** Defaults of the module's schema, and over them what the scene says, written as in the conf. */
function settingsOf (module: AnyModule, given: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const schema: Schema = module.settings ?? {}
  const read = Object.entries(schema).map(([name, kind]) => [name, kind.zod(WORLD).parse(given[name])])
  return { ...Object.fromEntries(read), ...' ' in given ? { ' ': given[' '] } : {} }
}
