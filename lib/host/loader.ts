/** Finds modules, orders them by what they require, loads, reloads and unloads them. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { offersChanged } from './events.js'
import type { Host } from './host.js'
import type { AnyModule } from './module.js'
import { Setup } from './setup.js'

/** Every module in a folder, by name: `name.js` or `name/index.js`. Throws where a file is none, or is named otherwise. */
export async function findModules (folder: string): Promise<ReadonlyMap<string, AnyModule>> {
  const found = new Map<string, AnyModule>()
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => a.name < b.name ? -1 : 1)) {
    const path = entry.isDirectory() ? inFolder(join(folder, entry.name)) : isCode(entry.name) ? join(folder, entry.name) : undefined
    if (path === undefined) continue
    const name = entry.name.replace(/\.[jt]s$/, '')
    const loaded: unknown = await import(pathToFileURL(path).href)
    if (!holdsModule(loaded) || loaded.default.name !== name) throw new Error(`${path} does not export a module named '${name}' as its default`)
    found.set(name, loaded.default)
  }
  return found
}

function holdsModule (loaded: unknown): loaded is { readonly default: AnyModule } {
  if (typeof loaded !== 'object' || loaded === null || !('default' in loaded)) return false
  const { default: module } = loaded
  return typeof module === 'object' && module !== null && 'name' in module && 'setup' in module
}

function inFolder (folder: string): string | undefined {
  return ['index.js', 'index.ts'].map(name => join(folder, name)).find(path => existsSync(path))
}

function isCode (name: string): boolean {
  return /\.[jt]s$/.test(name) && !name.endsWith('.d.ts')
}

/** A module that the conf asks for, with its settings as checked by its schema. */
export interface Wanted { readonly module: AnyModule, readonly settings: Readonly<Record<string, unknown>> }

/** The same modules, each behind those it requires or comes after. Throws on a missing one, and on a circle. */
export function ordered (wanted: readonly Wanted[]): Wanted[] {
  const byName = new Map(wanted.map(one => [one.module.name, one]))
  const done = new Set<string>()
  const result: Wanted[] = []
  const visit = (one: Wanted, path: readonly string[]): void => {
    const { name, requires = [], after = [] } = one.module
    if (done.has(name)) return
    if (path.includes(name)) throw new Error(`modules require each other in a circle: ${[...path, name].join(' → ')}`)
    for (const needed of requires) {
      if (!byName.has(needed)) throw new Error(`module '${name}' requires '${needed}', which is off`)
    }
    for (const earlier of [...requires, ...after]) {
      const other = byName.get(earlier)
      if (other !== undefined) visit(other, [...path, name])
    }
    done.add(name)
    result.push(one)
  }
  for (const one of wanted) visit(one, [])
  return result
}

/** The modules of one host, while they are up. */
export class Modules {
  readonly #host: Host
  #loaded: Setup[] = []

  constructor (host: Host) { this.#host = host }

  get names (): readonly string[] { return this.#loaded.map(setup => setup.module.name) }
  get modules (): readonly AnyModule[] { return this.#loaded.map(setup => setup.module) }

  /** What they count, by the names under which the host's counters have it, and what each number says. */
  get counts (): Readonly<Record<string, string>> {
    return Object.fromEntries(this.modules.flatMap(({ name, counts = {} }) =>
      Object.entries(counts).map(([metric, help]) => [`${name}.${metric}`, help] as const)))
  }

  /**
   * Makes the modules be these, with these settings. What has not changed stays as it is; what has is set up anew beside the
   * old and swapped in at once. Where a setup throws, everything stays as it was.
   */
  async load (wanted: readonly Wanted[]): Promise<void> {
    const order = ordered(wanted)
    const old = new Map(this.#loaded.map(setup => [setup.module.name, setup]))
    const fresh = new Set<string>()
    const next: Setup[] = []
    try {
      for (const { module, settings } of order) {
        const before = old.get(module.name)
        const changed = before === undefined || !isSame(before.settings, settings) || (module.requires ?? []).some(name => fresh.has(name))
        if (!changed) { next.push(before); continue }
        fresh.add(module.name)
        const setup = new Setup(this.#host, module, settings, of => this.#features(next, of))
        next.push(setup)
        await setup.prepare(next)
      }
    } catch (error) {
      for (const setup of next) if (fresh.has(setup.module.name)) await setup.dispose()
      throw error
    }
    const gone = this.#loaded.filter(setup => !next.includes(setup))
    // From here to the end of the swap nothing waits: no stanza meets a host with half its modules.
    for (const setup of gone) setup.uninstall(fresh.has(setup.module.name))
    for (const setup of next) if (fresh.has(setup.module.name)) setup.install()
    this.#loaded = next
    this.#host.tell(offersChanged, {})
    for (const setup of gone.reverse()) await setup.dispose()
  }

  /** These are off: what they have left from another life of the host comes to an end. */
  async forgo (modules: readonly AnyModule[]): Promise<void> {
    for (const module of modules) {
      const setup = new Setup(this.#host, module, {}, of => this.#features(this.#loaded, of))
      try {
        await setup.forgo()
      } catch (error) {
        this.#host.log.error('left over', { module: module.name, error })
      }
      await setup.dispose()
    }
  }

  async unload (): Promise<void> {
    await this.load([])
  }

  #features (loaded: readonly Setup[], of: 'host' | 'account'): readonly string[] {
    return [...new Set(loaded.flatMap(setup => setup.module.features?.[of] ?? []))].sort()
  }
}

function isSame (a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
