/**
 * Turns the conf file and the files it includes into the settings in force, or reports all mistakes in them at once.
 */
import { readFileSync } from 'node:fs'
import { dirname, resolve, sep } from 'node:path'
import type { z } from 'zod'
import { useNames, type FormerName } from './former.js'
import { OUTSIDE } from './outside.js'
import { ConfigProblems, type Problem } from './problem.js'
import { isTree, type Path, type Tree } from './read.js'
import { MISSING, table, type Kind, type Schema, type Values, type ConfDeps } from './schema.js'
import { contradictions, host as hostSchema, server as serverSchema, type HostSettings, type ServerSettings } from './server.js'
import { mayRun, misplacedModules, misplacedParents, misplacedSettings, type ModulePlace } from './services.js'
import { ConfFiles } from './source.js'
import { didYouMean, dotted, shown } from './words.js'

/** The settings of one module at one host, as its schema has read them. */
export type ModuleSettings = Values<Schema>

export interface HostConfig extends HostSettings {
  readonly domain: string
  /** The modules this host runs, each with its settings. A module that is not in this map is off. */
  readonly modules: ReadonlyMap<string, ModuleSettings>
}

export interface Config {
  /** The path of the conf file, as the operator wrote it. */
  readonly file: string
  readonly server: ServerSettings
  /** The hosts by domain, in the order of the file. */
  readonly hosts: ReadonlyMap<string, HostConfig>
  /** The settings that the conf file writes by a former name. They are in force. */
  readonly formerNames: readonly FormerName[]
  /** The written settings and their places, for `describe`. */
  readonly source: ConfFiles
  readonly terms: AllModules
}

/** The facts about a module that the conf needs. A module itself has this shape. */
export interface ModuleDeclaration {
  readonly settings?: Schema
  /** The modules that this one needs in order to run. */
  readonly requires?: readonly string[]
  /** The module is off unless the conf turns it on. */
  readonly isOff?: boolean
  /** The hosts that may run the module. */
  readonly at?: ModulePlace
}

/** All existing modules, by name. */
export type AllModules = ReadonlyMap<string, ModuleDeclaration>
/** Looks up an environment variable, for secrets. The caller passes it in, because only `bin` may read the process. */
export type Environment = (name: string) => string | undefined

/** Reads the conf file. Throws ConfigProblems with all mistakes. */
export function loadConfig (file: string, modules: AllModules, env: Environment = () => undefined): Config {
  const loading = new Loading(file, modules, env)
  const { source, problems, formerNames } = loading
  loading.names()
  const server = loading.server()
  loading.modulesOfAll()
  const hosts = loading.hosts()
  if (server === undefined || problems.length > 0) throw new ConfigProblems(problems, source.files)
  return { file, server, hosts, formerNames, source, terms: modules }
}

/** Returns the path of a module's setting: at the host if it is written there, else under [modules]. */
export function modulePath (root: Tree, domain: string, name: string, setting: string): Path {
  const atHost = moduleEntries(root, domain).own[name]
  return isTree(atHost) && setting in atHost ? ['host', domain, 'modules', name, setting] : ['modules', name, setting]
}

class Loading {
  readonly source: ConfFiles
  readonly problems: Problem[]
  readonly formerNames: FormerName[] = []
  readonly #terms: AllModules
  readonly #world: ConfDeps

  constructor (file: string, terms: AllModules, env: Environment) {
    this.source = new ConfFiles(file)
    this.problems = [...this.source.problems]
    this.#terms = terms
    this.#world = { folder: resolve(dirname(file)), env, file: path => readFileSync(path, 'utf8') }
  }

  /** Gives all settings their present names. Everything after it reads only these. */
  names (): void {
    const found = {
      warn: (formerName: FormerName): void => { this.formerNames.push(formerName) },
      refuse: (problem: Problem): void => { this.problems.push(problem) },
    }
    const rename = (schema: Schema, path: Path): void => { useNames(this.source, schema, path, found) }
    const ofModules = (above: Path): void => {
      for (const [name, { settings = {} }] of this.#terms) rename(settings, [...above, 'modules', name])
    }
    rename(serverSchema, [])
    ofModules([])
    const { host } = this.source.root
    for (const domain of isTree(host) ? Object.keys(host) : []) {
      rename(hostSchema, ['host', domain])
      ofModules(['host', domain])
    }
  }

  server (): ServerSettings | undefined {
    const { include, modules, host, ...rest } = this.source.root
    this.#unknown(rest, { ...serverSchema, include, modules, host }, [], 'there is no setting')
    const known = Object.fromEntries(Object.entries(rest).filter(([key]) => Object.hasOwn(serverSchema, key)))
    const settings = this.#read(table(serverSchema), known, path => path, '')
    for (const { path, text } of settings === undefined ? [] : contradictions(settings)) this.#problem(path, text)
    if (settings !== undefined) this.#inPackage(settings.data)
    return settings
  }

  /**
   * Refuses a data folder inside an installed package: npm empties a package's folder whenever it installs the package
   * again.
   */
  #inPackage (data: string): void {
    if (!data.split(sep).includes('node_modules')) return
    const conf = resolve(this.source.files[0] ?? '')
    const moved = [...conf.split(sep).includes('node_modules') ? [conf] : [], data].map(path => `'${path}'`).join(' ')
    this.#problem(['data'], `data: ${data} is inside an installed package, and the next install of it removes all accounts and messages. ` +
      `Move it, and set data to the new folder: mkdir -p ~/.config/sestina && mv ${moved} ~/.config/sestina/`)
  }

  /** Checks the entries of [modules] on their own as well, because a module may be off at every host. */
  modulesOfAll (): void {
    const { modules = {} } = this.source.root
    if (!isTree(modules)) this.#problem(['modules'], 'modules is not a table')
    else {
      const isOutside = ([key]: readonly [string, unknown]): boolean => Object.hasOwn(OUTSIDE, key)
      const places = Object.fromEntries(Object.entries(modules).filter(isOutside))
      this.#read(table(OUTSIDE), places, inner => ['modules', ...inner], 'modules')
      this.#modules(Object.fromEntries(Object.entries(modules).filter(entry => !isOutside(entry))), ['modules'])
    }
  }

  hosts (): ReadonlyMap<string, HostConfig> {
    const { host: all } = this.source.root
    const hosts = new Map<string, HostConfig>()
    if (!isTree(all) || Object.keys(all).length === 0) {
      this.#problem(['host'], 'there is no host: add one, such as [host."example.org"]')
      return hosts
    }
    for (const domain of Object.keys(all)) {
      const config = this.#host(domain, all[domain])
      if (config !== undefined) hosts.set(domain, config)
    }
    for (const { path, text } of [...misplacedParents(hosts), ...misplacedSettings(hosts)]) this.#problem(path, text)
    return hosts
  }

  #host (domain: string, value: unknown): HostConfig | undefined {
    const path = ['host', domain]
    if (!isDomain(domain)) this.#problem(path, `${shown(domain)} is not a domain such as "example.org"`, true)
    if (!isTree(value)) return this.#problem(path, `${dotted(path)} is not a table: write [${dotted(path)}]`, true)
    const { modules: own = {}, ...rest } = value
    if (!isTree(own)) return this.#problem([...path, 'modules'], `${dotted([...path, 'modules'])} is not a table`)
    this.#modules(own, [...path, 'modules'])
    this.#unquoted(rest, path)
    const isKnown = ([key, value]: readonly [string, unknown]): boolean =>
      Object.hasOwn(hostSchema, key) || !isTree(value)
    this.#unknown(Object.fromEntries(Object.entries(rest).filter(isKnown)), { ...hostSchema, modules: own }, path)
    const known = Object.fromEntries(Object.entries(rest).filter(([key]) => Object.hasOwn(hostSchema, key)))
    const settings = this.#read(table(hostSchema), known, inner => [...path, ...inner], dotted(path))
    const service = 'service' in rest ? settings?.service ?? [] : undefined
    for (const { path, text } of misplacedModules(domain, service, own, this.#terms)) this.#problem(path, text)
    const modules = this.#modulesAt(domain, service)
    return settings && { domain, ...settings, modules }
  }

  /** Returns the modules that a host runs. `service`: those that serve it; undefined if it has accounts. */
  #modulesAt (domain: string, service: readonly string[] | undefined): ReadonlyMap<string, ModuleSettings> {
    const modules = new Map<string, ModuleSettings>()
    for (const [name, { settings: schema = {}, at }] of this.#terms) {
      const written = this.#writtenOf(domain, name, service)
      if (written === undefined) {
        const isNamed = at === 'services' && service?.includes(name) === true
        if (isNamed) this.#problem(['host', domain, 'service'], `${name} is off, and serves this host`)
        continue
      }
      const place = (inner: Path): Path => this.#placeOf(domain, name, inner)
      const values = this.#read(table(schema), written, place, name)
      if (values !== undefined) modules.set(name, values)
      this.#required(domain, name, service)
    }
    return modules
  }

  /**
   * Reports headers such as `[host.two.example]`: TOML reads this as a table in a table, but the operator meant a
   * domain.
   */
  #unquoted (within: Tree, path: Path): void {
    for (const [key, value] of Object.entries(within)) {
      if (Object.hasOwn(hostSchema, key) || key === 'modules' || !isTree(value)) continue
      const deeper = Object.keys(value)[0] ?? ''
      if (isTree(value[deeper]) && deeper !== 'modules') {
        this.#unquoted(value, [...path, key])
        continue
      }
      const domain = [...path.slice(1), key].join('.')
      this.#problem([...path, key], `[${dotted([...path, key])}] is not a host: write the domain in quotes, [host.${JSON.stringify(domain)}]`, true)
    }
  }

  /** Reports each module that is off although the module `name`, which is on, requires it. */
  #required (domain: string, name: string, service: readonly string[] | undefined): void {
    const { own, all } = moduleEntries(this.source.root, domain)
    for (const required of this.#terms.get(name)?.requires ?? []) {
      if (this.#writtenOf(domain, required, service) !== undefined) continue
      const above = own[required] === undefined ? [] : ['host', domain]
      const isWritten = (own[required] ?? all[required]) !== undefined
      const path = isWritten ? [...above, 'modules', required] : [...own[name] === undefined ? [] : ['host', domain], 'modules', name]
      this.#problem(path, `${required} is off, and ${name} requires it: turn ${required} on, or ${name} off as well (${name} = false)`, true)
    }
  }

  /** Returns what is written about a module for a host; undefined if the host does not run it. */
  #writtenOf (domain: string, name: string, service: readonly string[] | undefined): Tree | undefined {
    const terms = this.#terms.get(name)
    if (terms === undefined || !mayRun(name, terms.at, service)) return undefined
    const isNamed = service?.includes(name) === true
    return effective(this.source.root, domain, name, isNamed || terms.isOff !== true)
  }

  #placeOf (domain: string, name: string, [setting, ...deeper]: Path): Path {
    const { own, all } = moduleEntries(this.source.root, domain)
    const path = typeof setting === 'string' ? modulePath(this.source.root, domain, name, setting) : []
    const isWritten = path[0] === 'host' || isTree(all[name]) && path.length > 0 && String(setting) in all[name]
    if (isWritten) return [...path, ...deeper]
    // The setting is missing: its place would be where the module is turned on.
    return [...own[name] === undefined ? [] : ['host', domain], 'modules', name, String(setting)]
  }

  /** Checks a table of modules: the names, the kinds of the values, and the settings that are written there. */
  #modules (entries: Tree, path: Path): void {
    for (const name of Object.keys(entries)) {
      const [here, value, terms] = [[...path, name], entries[name], this.#terms.get(name)]
      if (Object.hasOwn(OUTSIDE, name)) {
        this.#problem(here, `${name} is for all hosts: write it under [modules]`, true)
      } else if (terms === undefined) {
        this.#problem(here, `there is no module '${name}'${didYouMean(name, this.#terms.keys())}`, true)
      } else if (isTree(value)) {
        // A setting that is missing here may be written at each host.
        const counts = (message: string): boolean => message !== MISSING
        this.#read(table(terms.settings ?? {}), value, inner => [...here, ...inner], name, counts)
      } else if (typeof value !== 'boolean') {
        this.#problem(here, `${name}: ${shown(value)} is not true, false or a table of settings`)
      }
    }
  }

  #unknown (written: Tree, known: Readonly<Record<string, unknown>>, path: Path, has = `${dotted(path)} has no setting`): void {
    for (const key of Object.keys(written)) {
      if (!Object.hasOwn(known, key)) this.#problem([...path, key], `${has} '${key}'${didYouMean(key, Object.keys(known))}`, true)
    }
  }

  /**
   * Returns the value as its kind reads it; if it is wrong, adds problems and returns undefined. `origin` maps a path
   * within the value to a path in the conf file. `name` is what the operator calls the value.
   */
  #read<T> (
    kind: Kind<T>, value: unknown, origin: (inner: Path) => Path, name: string, counts = (_message: string) => true,
  ): T | undefined {
    const result = kind.zod(this.#world).safeParse(value)
    if (result.success) return result.data
    for (const issue of result.error.issues) {
      const inner = issue.path.filter(step => typeof step !== 'symbol')
      if (counts(issue.message)) this.#issue(issue, kind, inner, origin, name)
    }
    return undefined
  }

  #issue (
    issue: z.core.$ZodIssue, kind: Kind<unknown>, inner: Path, origin: (inner: Path) => Path, name: string,
  ): void {
    const called = name === '' ? dotted(inner) : [name, dotted(inner)].filter(part => part !== '').join('.')
    if (issue.code !== 'unrecognized_keys') {
      this.#problem(origin(inner), `${called}${issue.message === MISSING ? ' ' : ': '}${issue.message}`)
      return
    }
    const known = Object.keys(kindAt(kind, inner)?.fields ?? {})
    for (const key of issue.keys) {
      this.#problem(origin([...inner, key]), `${called} has no setting '${key}'${didYouMean(key, known)}`, true)
    }
  }

  #problem (path: Path, text: string, atKey = false): undefined {
    this.problems.push({ place: atKey ? this.source.keyPlace(path) : this.source.valuePlace(path), text })
  }
}

/**
 * Returns what is written about a module for a host: the settings of the host, over those of all hosts. Returns
 * undefined if the module is off. If neither names the module, `usual` says whether it is on.
 */
function effective (root: Tree, domain: string, name: string, usual: boolean): Tree | undefined {
  const { own: { [name]: own }, all: { [name]: all } } = moduleEntries(root, domain)
  if ((own ?? all ?? usual) === false) return undefined
  return { ...isTree(all) ? all : {}, ...isTree(own) ? own : {} }
}

function moduleEntries (root: Tree, domain: string): { readonly own: Tree, readonly all: Tree } {
  const host = isTree(root['host']) ? root['host'][domain] : undefined
  const own = isTree(host) && isTree(host['modules']) ? host['modules'] : {}
  return { own, all: isTree(root['modules']) ? root['modules'] : {} }
}

function kindAt (kind: Kind<unknown>, path: Path): Kind<unknown> | undefined {
  let at: Kind<unknown> | undefined = kind
  for (const step of path) at = typeof step === 'number' ? at?.item : at?.fields === undefined ? at?.item : at.fields[step]
  return at
}

/** True if the text may be a domain. This is only a light check: the host itself prepares its domain. */
function isDomain (text: string): boolean {
  return text.length > 0 && text.length <= 1023 && !/[@/\s"&'<>\0]/.test(text)
}
