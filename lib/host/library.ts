/** All modules that a conf file can turn on: those of the package, and those outside it that the conf file names. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import * as node from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { outsideOf } from '../config/outside.js'
import { ConfigProblems, type Problem } from '../config/problem.js'
import { Kind } from '../config/schema.js'
import { findModules, holdsModule } from './loader.js'
import type { AnyModule } from './module.js'
import { codeIn, codeOfPackage, NAME, type Code } from './outside-code.js'
import { initialize, resolve } from './outside-hooks.js'
import { moduleStackOf } from './module-stack.js'

/** A module outside the package that was loaded, and its files at that time. */
interface Loaded { readonly module: AnyModule, readonly files: Files }

/** The hashes of a module's entry and of its other files. */
interface Files { readonly entry: string, readonly others: string }

/** A mistake at one place of modules. */
class Refused extends Error {}

/** Finds modules. Keeps those outside the package that it has loaded, unless they could not be set up. */
export class Library {
  readonly #folder: string
  #own: Promise<ReadonlyMap<string, AnyModule>> | undefined
  readonly #loaded = new Map<string, Loaded>()
  /**
   * How often an entry was imported, and the hash of the module's other files at the first time. Node remembers a file
   * by its URL, so each import of an entry has another one. The files that it imports stay as they were at first.
   */
  readonly #imports = new Map<string, { readonly count: number, readonly others: string }>()
  /** The modules that were loaded, and have never been set up. Their entries are imported again after a change. */
  readonly #broken = new Set<AnyModule>()
  #changed: readonly string[] = []

  /** `folder` has the modules of the package. */
  constructor (folder: string) { this.#folder = folder }

  /** The modules whose files have changed since they were loaded, as of the last `find`. They need a restart. */
  get changed (): readonly string[] { return this.#changed }

  /**
   * Returns the modules of the package and those that the conf file names, by name. Throws ConfigProblems if one of the
   * latter cannot be found, is unsafe or cannot be loaded.
   */
  async find (file: string): Promise<ReadonlyMap<string, AnyModule>> {
    const own = await (this.#own ??= findModules(this.#folder))
    const { folder, wanted } = outsideOf(file)
    const found = new Map(own)
    const origins = new Map<string, string>()
    const changed: string[] = []
    const problems: Problem[] = []
    for (const one of wanted) {
      try {
        for (const code of one.kind === 'path' ? codeIn(one.text) : [codeOfPackage(one.text, folder)]) {
          const { module, files } = await this.#load(code, own)
          const other = origins.get(module.name)
          if (other !== undefined && other !== code.entry) throw new Refused(`${code.entry} and ${other} are both named '${module.name}': remove one`)
          origins.set(module.name, code.entry)
          found.set(module.name, module)
          if (!isSame(files, filesOf(code))) changed.push(module.name)
        }
      } catch (error) {
        problems.push({ place: one.place, text: `modules.${one.kind}: ${error instanceof Error ? error.message : String(error)}` })
      }
    }
    if (problems.length > 0) throw new ConfigProblems(problems)
    this.#changed = changed
    return found
  }

  /** Notes that a module could not be set up, and runs nowhere: `find` loads it again after its entry has changed. */
  failed (module: AnyModule): void { this.#broken.add(module) }

  async #load (code: Code, own: ReadonlyMap<string, AnyModule>): Promise<Loaded> {
    const { entry, name } = code
    if (name !== undefined && own.has(name)) throw shadowing(entry, name)
    const files = filesOf(code)
    const known = this.#loaded.get(entry)
    if (known !== undefined && !this.#isMended(known, files)) return known
    const module = moduleIn(await this.#import(entry, files.others), code)
    if (own.has(module.name)) throw shadowing(entry, module.name)
    const loaded = { module, files }
    if (known !== undefined) this.#broken.delete(known.module)
    this.#loaded.set(entry, loaded)
    return loaded
  }

  /** True if a module that could not be set up has another entry now, and an import of it would get the other files. */
  #isMended ({ module, files }: Loaded, now: Files): boolean {
    return this.#broken.has(module) && files.entry !== now.entry && files.others === now.others
  }

  async #import (entry: string, others: string): Promise<unknown> {
    const { count, others: first } = this.#imports.get(entry) ?? { count: 0, others }
    this.#imports.set(entry, { count: count + 1, others: first })
    const url = pathToFileURL(entry).href + (count === 0 ? '' : `?attempt=${count + 1}`)
    prepare(url)
    try {
      return await import(url)
    } catch (error) {
      const hints = [...hintFor(error), ...first === others ? [] : [RESTART]]
      throw new Refused(`${entry} cannot be loaded: ${[moduleStackOf(error, HERE), ...hints].join('\n')}`)
    }
  }
}

/** The advice for a module whose files have changed after they were loaded: Node does not load them again. */
export const RESTART = 'its files have changed since they were loaded: restart the server'

let isPrepared = false

/** Makes Node resolve the imports of this file with our hooks, and show the lines of its sources in stacks. */
function prepare (url: string): void {
  process.setSourceMapsEnabled(true)
  // Node 22.15 has hooks in this thread. `register`, for older versions, is deprecated in later ones.
  const registerHooks: unknown = Reflect.get(node, 'registerHooks')
  if (typeof registerHooks === 'function') {
    initialize([url])
    if (!isPrepared) Reflect.apply(registerHooks, undefined, [{ resolve }])
  } else {
    node.register(import.meta.url.replace(/library(\.[jt]s)$/, 'outside-hooks$1'), { data: [url] })
  }
  isPrepared = true
}

function moduleIn (loaded: unknown, { entry, name }: Code): AnyModule {
  if (!holdsModule(loaded)) {
    throw new Refused(`${entry} does not export a module as its default. Put files that are no modules into a folder without index.js`)
  }
  const { default: module } = loaded
  if (name !== undefined && module.name !== name) {
    throw new Refused(`${entry} exports a module named '${module.name}': the file must have the module's name`)
  }
  if (!NAME.test(module.name)) {
    throw new Refused(`${entry} exports a module named '${module.name}': a name has only lower-case letters, digits and hyphens, and begins with a letter`)
  }
  // A module with a copy of its own of our code, such as a bundle, would hook into hooks that nobody fires.
  if (!Object.values(module.settings ?? {}).every(kind => kind instanceof Kind)) {
    throw new Refused(`${entry} has a copy of sestina in it: a bundle must leave 'sestina' out, as an external import`)
  }
  return module
}

function shadowing (entry: string, name: string): Refused {
  return new Refused(`${entry} is named '${name}', like a module of Sestina, which cannot be replaced: give it another name`)
}

/** A line of this file in a stack. */
const HERE = /^\s+at .*[/\\]lib[/\\]host[/\\]library\.[jt]s:/

function hintFor (error: unknown): readonly string[] {
  if (!(error instanceof Error)) return []
  // Node begins the stack with the line, if it knows it: it does for an import that does not exist.
  if (error instanceof SyntaxError) return error.stack?.startsWith('file:') === true ? [] : ['`node --check FILE` shows the line']
  const isCommon = 'code' in error && error.code === 'MODULE_NOT_FOUND' && error.message.includes("'sestina'")
  if (!isCommon) return []
  return ['it is a CommonJS module, and must be an ECMAScript module: put "type": "module" into its package.json, or name it .mjs']
}

/** Hashes the files of a module, without the packages that it uses. */
function filesOf ({ entry, roots }: Code): Files {
  const files = roots.flatMap(filesBelow)
  return { entry: hashOf(files.filter(file => file === entry)), others: hashOf(files.filter(file => file !== entry)) }
}

function isSame (one: Files, other: Files): boolean { return one.entry === other.entry && one.others === other.others }

function hashOf (files: readonly string[]): string {
  const hash = createHash('sha256')
  for (const file of files) hash.update(file).update('\0').update(readFileSync(file)).update('\0')
  return hash.digest('base64')
}

function filesBelow (path: string): readonly string[] {
  if (statSync(path).isFile()) return [path]
  return readdirSync(path, { withFileTypes: true }).sort((a, b) => a.name < b.name ? -1 : 1).flatMap(entry => {
    if (entry.name === 'node_modules' || entry.name.startsWith('.')) return []
    if (entry.isDirectory()) return filesBelow(join(path, entry.name))
    return entry.isFile() && /\.(?:[cm]?js|json)$/.test(entry.name) ? [join(path, entry.name)] : []
  })
}
