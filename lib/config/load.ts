/** The conf file and what it includes, as the settings in force; or all that is wrong with it at once. */
import { readFileSync } from 'node:fs'
import { dirname, resolve, sep } from 'node:path'
import type { z } from 'zod'
import { ConfigProblems, type Problem } from './problem.js'
import { isTree, type Path, type Tree } from './read.js'
import { MISSING, table, type Kind, type Schema, type Values, type World } from './schema.js'
import { contradictions, host as hostSchema, server as serverSchema, type HostSettings, type ServerSettings } from './server.js'
import { Source } from './source.js'
import { didYouMean, dotted, shown } from './words.js'

/** The settings of one module at one host: what its schema makes of them. */
export type ModuleSettings = Values<Schema>

export interface HostConfig extends HostSettings {
  readonly domain: string
  /** The modules this host runs, each with its settings. What is not here is off. */
  readonly modules: ReadonlyMap<string, ModuleSettings>
}

export interface Config {
  /** As it was named. */
  readonly file: string
  readonly server: ServerSettings
  /** By domain, in the order of the file. */
  readonly hosts: ReadonlyMap<string, HostConfig>
  /** What was written, and where: for `describe`. */
  readonly source: Source
  readonly terms: AllModules
}

/** What the conf has to know of a module; a module itself is one. */
export interface ModuleTerms {
  readonly settings?: Schema
  /** Modules without which it cannot run. */
  readonly requires?: readonly string[]
  /** The module is off unless the conf turns it on. */
  readonly isOff?: boolean
}

/** Each module there is, by its name. */
export type AllModules = ReadonlyMap<string, ModuleTerms>
/** A variable of the environment, for secrets: handed in, for only `bin` looks at the process. */
export type Environment = (name: string) => string | undefined

/** Reads the conf file. Throws ConfigProblems with everything that is wrong. */
export function loadConfig (file: string, modules: AllModules, env: Environment = () => undefined): Config {
  const loading = new Loading(file, modules, env)
  const { source, problems } = loading
  const server = loading.server()
  loading.modulesOfAll()
  const hosts = loading.hosts()
  if (server === undefined || problems.length > 0) throw new ConfigProblems(problems, source.files)
  return { file, server, hosts, source, terms: modules }
}

/** Where a module's setting was written: at the host, for all hosts, or nowhere. */
export function modulePath (root: Tree, domain: string, name: string, setting: string): Path {
  const atHost = moduleEntries(root, domain).own[name]
  return isTree(atHost) && setting in atHost ? ['host', domain, 'modules', name, setting] : ['modules', name, setting]
}

class Loading {
  readonly source: Source
  readonly problems: Problem[]
  readonly #terms: AllModules
  readonly #world: World

  constructor (file: string, terms: AllModules, env: Environment) {
    this.source = new Source(file)
    this.problems = [...this.source.problems]
    this.#terms = terms
    this.#world = { folder: resolve(dirname(file)), env, file: path => readFileSync(path, 'utf8') }
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

  /** npm empties the folder of a package whenever it installs it anew. */
  #inPackage (data: string): void {
    if (!data.split(sep).includes('node_modules')) return
    const conf = resolve(this.source.files[0] ?? '')
    const moved = [...conf.split(sep).includes('node_modules') ? [conf] : [], data].map(path => `'${path}'`).join(' ')
    this.#problem(['data'], `data: ${data} lies inside an installed package, and the next install of it removes all accounts and messages. ` +
      `Move it, and name the new place: mkdir -p ~/.config/sestina && mv ${moved} ~/.config/sestina/`)
  }

  /** What stands under [modules] is checked by itself too: it may be off at every host. */
  modulesOfAll (): void {
    const { modules = {} } = this.source.root
    if (!isTree(modules)) this.#problem(['modules'], 'modules is not a table')
    else this.#modules(modules, ['modules'])
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
    const isKnown = ([key, value]: readonly [string, unknown]): boolean => Object.hasOwn(hostSchema, key) || !isTree(value)
    this.#unknown(Object.fromEntries(Object.entries(rest).filter(isKnown)), { ...hostSchema, modules: own }, path)
    const known = Object.fromEntries(Object.entries(rest).filter(([key]) => Object.hasOwn(hostSchema, key)))
    const settings = this.#read(table(hostSchema), known, inner => [...path, ...inner], dotted(path))
    const modules = new Map<string, ModuleSettings>()
    for (const [name, { settings: schema = {}, isOff }] of this.#terms) {
      const written = effective(this.source.root, domain, name, isOff !== true)
      if (written === undefined) continue
      const place = (inner: Path): Path => this.#placeOf(domain, name, inner)
      const values = this.#read(table(schema), written, place, name)
      if (values !== undefined) modules.set(name, values)
      this.#required(domain, name)
    }
    return settings && { domain, ...settings, modules }
  }

  /** `[host.two.example]`: TOML reads it as a table within a table, and the domain was meant. */
  #unquoted (within: Tree, path: Path): void {
    for (const [key, value] of Object.entries(within)) {
      if (Object.hasOwn(hostSchema, key) || key === 'modules' || !isTree(value)) continue
      const deeper = Object.keys(value)[0] ?? ''
      if (isTree(value[deeper]) && deeper !== 'modules') {
        this.#unquoted(value, [...path, key])
        continue
      }
      const domain = [...path.slice(1), key].join('.')
      this.#problem([...path, key], `[${dotted([...path, key])}] is no host: a domain stands in quotes, [host.${JSON.stringify(domain)}]`, true)
    }
  }

  /** A module that is on says of each module it requires if that is off. */
  #required (domain: string, name: string): void {
    const { own, all } = moduleEntries(this.source.root, domain)
    for (const required of this.#terms.get(name)?.requires ?? []) {
      const terms = this.#terms.get(required)
      if (terms !== undefined && effective(this.source.root, domain, required, terms.isOff !== true) !== undefined) continue
      const above = own[required] === undefined ? [] : ['host', domain]
      const isWritten = (own[required] ?? all[required]) !== undefined
      const path = isWritten ? [...above, 'modules', required] : [...own[name] === undefined ? [] : ['host', domain], 'modules', name]
      this.#problem(path, `${required} is off, and ${name} requires it: turn ${required} on, or ${name} off as well (${name} = false)`, true)
    }
  }

  #placeOf (domain: string, name: string, [setting, ...deeper]: Path): Path {
    const { own, all } = moduleEntries(this.source.root, domain)
    const path = typeof setting === 'string' ? modulePath(this.source.root, domain, name, setting) : []
    const isWritten = path[0] === 'host' || isTree(all[name]) && path.length > 0 && String(setting) in all[name]
    if (isWritten) return [...path, ...deeper]
    // Missing: it would stand where the module is turned on.
    return [...own[name] === undefined ? [] : ['host', domain], 'modules', name, String(setting)]
  }

  /** Names that no module has, and values that are no settings; the settings themselves where all of them stand here. */
  #modules (entries: Tree, path: Path): void {
    for (const name of Object.keys(entries)) {
      const [here, value, terms] = [[...path, name], entries[name], this.#terms.get(name)]
      if (terms === undefined) {
        this.#problem(here, `there is no module '${name}'${didYouMean(name, this.#terms.keys())}`, true)
      } else if (isTree(value)) {
        // What is missing here may stand at each host.
        this.#read(table(terms.settings ?? {}), value, inner => [...here, ...inner], name, message => message !== MISSING)
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

  /** The value as its kind reads it, or undefined and problems. `origin`: where a part of it stands. `name`: what the operator calls it. */
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

  #issue (issue: z.core.$ZodIssue, kind: Kind<unknown>, inner: Path, origin: (inner: Path) => Path, name: string): void {
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

/** What is written of a module for a host: its own settings over those of all hosts. Undefined if it is off; unnamed, it is `usual`. */
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

/** A light check: the host itself prepares its domain. */
function isDomain (text: string): boolean {
  return text.length > 0 && text.length <= 1023 && !/[@/\s"&'<>\0]/.test(text)
}
