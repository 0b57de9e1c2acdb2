/** Finds modules, orders them by what they require, and loads, reloads and unloads them. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { offersChanged } from './events.js'
import type { Host } from './host.js'
import type { Featured } from './iq.js'
import type { AnyModule } from './module.js'
import { Setup } from './setup.js'

/**
 * Returns every module in a folder, by name: `name.js` or `name/index.js`. Throws if a file exports no module, or one
 * with another name.
 */
export async function findModules (folder: string): Promise<ReadonlyMap<string, AnyModule>> {
  const found = new Map<string, AnyModule>()
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => a.name < b.name ? -1 : 1)) {
    const whole = join(folder, entry.name)
    const path = entry.isDirectory() ? inFolder(whole) : isCode(entry.name) ? whole : undefined
    if (path === undefined) continue
    const name = entry.name.replace(/\.[jt]s$/, '')
    const loaded: unknown = await import(pathToFileURL(path).href)
    if (!holdsModule(loaded) || loaded.default.name !== name) {
      throw new Error(`${path} does not export a module named '${name}' as its default`)
    }
    found.set(name, loaded.default)
  }
  return found
}

/** True if this is what `import` returns for a file whose default export is a module. */
export function holdsModule (loaded: unknown): loaded is { readonly default: AnyModule } {
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

/** A module that the conf turns on, with its settings after the check by its schema. */
export interface Wanted { readonly module: AnyModule, readonly settings: Readonly<Record<string, unknown>> }

/**
 * Returns the modules in an order in which each comes after those that it requires or names in `after`. Throws if a
 * required one is missing, and on a cycle.
 */
export function ordered (wanted: readonly Wanted[]): Wanted[] {
  const byName = new Map(wanted.map(one => [one.module.name, one]))
  const done = new Set<string>()
  const result: Wanted[] = []
  const visit = (one: Wanted, path: readonly string[]): void => {
    const { name, requires = [], after = [] } = one.module
    if (done.has(name)) return
    if (path.includes(name)) throw new Error(`modules require each other in a cycle: ${[...path, name].join(' → ')}`)
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

/** The loaded modules of one host. */
export class Modules {
  readonly #host: Host
  #loaded: Setup[] = []

  constructor (host: Host) { this.#host = host }

  get names (): readonly string[] { return this.#loaded.map(setup => setup.module.name) }
  get modules (): readonly AnyModule[] { return this.#loaded.map(setup => setup.module) }

  /** The metrics of all modules: the names in the host's counters, and the description of each. */
  get counts (): Readonly<Record<string, string>> {
    return Object.fromEntries(this.modules.flatMap(({ name, counts = {} }) =>
      Object.entries(counts).map(([metric, help]) => [`${name}.${metric}`, help] as const)))
  }

  /**
   * Makes these the loaded modules, with these settings. Unchanged modules stay. Changed ones are set up beside the old
   * ones, and then all are swapped at once. If a setup throws, or what it registered is registered already, nothing
   * changes.
   */
  async load (wanted: readonly Wanted[]): Promise<void> {
    const order = ordered(wanted)
    const old = new Map(this.#loaded.map(setup => [setup.module.name, setup]))
    const fresh = new Set<string>()
    const next: Setup[] = []
    try {
      for (const { module, settings } of order) {
        const before = old.get(module.name)
        const changed = before?.module !== module || !isSame(before.settings, settings) ||
          (module.requires ?? []).some(name => fresh.has(name))
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
    const come = next.filter(setup => fresh.has(setup.module.name))
    try {
      swap(gone, come)
    } catch (error) {
      for (const setup of come) await setup.dispose()
      throw error
    }
    this.#loaded = next
    this.#host.tell(offersChanged, {})
    for (const setup of gone.reverse()) await setup.dispose()
  }

  /** Lets modules that are turned off clean up what they left in their stores when they were on. */
  async forgo (modules: readonly AnyModule[]): Promise<void> {
    for (const module of modules) {
      const setup = new Setup(this.#host, module, {}, of => this.#features(this.#loaded, of))
      try {
        await setup.forgo()
      } catch (error) {
        this.#host.log.error('module cleanup failed', { module: module.name, error })
      }
      await setup.dispose()
    }
  }

  async unload (): Promise<void> {
    await this.load([])
  }

  #features (loaded: readonly Setup[], of: Featured): readonly string[] {
    return [...new Set(loaded.flatMap(setup => setup.module.features?.[of] ?? []))].sort()
  }
}

/**
 * Takes these setups out and puts the others in. There is no await in it: no stanza meets a host with half its modules.
 * If one cannot be installed, throws and leaves the old ones in.
 */
function swap (gone: readonly Setup[], come: readonly Setup[]): void {
  const names = new Set(come.map(setup => setup.module.name))
  for (const setup of gone) setup.uninstall(names.has(setup.module.name))
  try {
    for (const setup of come) setup.install()
  } catch (error) {
    for (const setup of [...come].reverse()) setup.uninstall(true)
    for (const setup of gone) setup.install()
    throw error
  }
}

function isSame (a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
