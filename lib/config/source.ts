/** The conf file and the files it includes, merged into one tree that knows where each part comes from. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ConfigProblems, writePlace, type Place, type Problem } from './problem.js'
import { Document, isTree, type Path, type Tree } from './read.js'
import { dotted, shown } from './words.js'

type Table = Record<string, unknown>

export class ConfFiles {
  /** The files that were read, the conf file first. */
  readonly files: readonly string[]
  #root: Tree
  /** The mistakes in included files. */
  readonly problems: readonly Problem[]
  readonly #main: Document
  /**
   * The origin of each part of an included file, by its path in `root`. All other parts come from the conf file itself.
   */
  readonly #origins = new Map<string, { readonly document: Document, readonly path: Path }>()

  /** Throws ConfigProblems if the conf file itself cannot be read. */
  constructor (file: string) {
    this.#main = open(file)
    const root: Table = Object.assign(empty(), this.#main.root)
    const files = [file]
    const problems: Problem[] = []
    for (const included of this.#included(problems)) {
      try {
        const document = open(included)
        files.push(included)
        this.#merge(root, document, [], document.root, problems)
      } catch (error) {
        if (!(error instanceof ConfigProblems)) throw error
        problems.push(...error.problems)
      }
    }
    this.files = files
    this.#root = root
    this.problems = problems
  }

  /** All settings that are written, with the names that `rename` has given them. */
  get root (): Tree { return this.#root }

  /** Returns what is written at a path; undefined if nothing is. */
  at (path: Path): unknown {
    let value: unknown = this.#root
    for (const step of path) value = partOf(value, step)
    return value
  }

  /** Gives the key of a table another name. The key and its value keep their places. The table must have the key. */
  rename (table: Path, from: string, to: string): void {
    const [path, value] = [[...table, to], this.at([...table, from])]
    const { document, path: within } = this.#originOf([...table, from])
    this.#root = changed(this.#root, table, key => key === from ? to : key)
    this.#note(document, path, within, value)
  }

  /** Removes a key from a table. */
  remove (table: Path, name: string): void {
    this.#root = changed(this.#root, table, key => key === name ? undefined : key)
  }

  /** Returns the place of this key; if it is missing, the place of the nearest table above it. */
  keyPlace (path: Path): Place { return this.#place(path, 'keyPlace') }
  /** Returns the place of this value; if it is missing, the place of the nearest table above it. */
  valuePlace (path: Path): Place { return this.#place(path, 'valuePlace') }

  #place (path: Path, which: 'keyPlace' | 'valuePlace'): Place {
    for (let length = path.length; length > 0; length--) {
      const above = path.slice(0, length)
      const origin = this.#originOf(above)
      // A missing key would be inside the table above it, which has a place as a value.
      const place = origin.document[length === path.length ? which : 'valuePlace'](origin.path)
      if (place !== undefined) return place
    }
    return { file: this.#main.file, line: 1, column: 1 }
  }

  #originOf (path: Path): { readonly document: Document, readonly path: Path } {
    return this.#origins.get(dotted(path)) ?? { document: this.#main, path }
  }

  #included (problems: Problem[]): string[] {
    const { include = [] } = this.#main.root
    if (!Array.isArray(include)) {
      problems.push({ place: this.valuePlace(['include']), text: 'include is not a list of files' })
      return []
    }
    return include.flatMap((pattern: unknown, index) => {
      try {
        if (typeof pattern === 'string' && pattern !== '') return matches(dirname(this.#main.file), pattern)
        problems.push({ place: this.valuePlace(['include', index]), text: `include: ${shown(pattern)} is not a file` })
      } catch (error) {
        problems.push({ place: this.valuePlace(['include', index]), text: `include: ${shown(pattern)} cannot be read: ${reason(error)}` })
      }
      return []
    })
  }

  /**
   * Merges a file into the tree: tables are merged, lists of tables are joined, and anything else may be set only once.
   */
  #merge (into: Table, document: Document, path: Path, from: Tree, problems: Problem[]): void {
    for (const key of Object.keys(from)) {
      const [here, value, old] = [[...path, key], from[key], into[key]]
      if (here.length === 1 && key === 'include') {
        const place = document.keyPlace(here) ?? { file: document.file }
        problems.push({ place, text: 'an included file cannot include another' })
      } else if (old === undefined) {
        into[key] = value
        this.#note(document, here, here, value)
      } else if (isTree(old) && isTree(value)) {
        const merged: Table = Object.assign(empty(), old)
        into[key] = merged
        this.#merge(merged, document, here, value, problems)
      } else if (isTables(old) && isTables(value)) {
        into[key] = [...old, ...value]
        value.forEach((item, index) => this.#note(document, [...here, old.length + index], [...here, index], item))
      } else {
        const place = document.keyPlace(here) ?? { file: document.file }
        problems.push({ place, text: `${dotted(here)} is set twice: also at ${writePlace(this.keyPlace(here))}` })
      }
    }
  }

  #note (document: Document, path: Path, within: Path, value: unknown): void {
    this.#origins.set(dotted(path), { document, path: within })
    const parts: readonly (readonly [string | number, unknown])[] = Array.isArray(value)
      ? value.map((item: unknown, index) => [index, item] as const)
      : isTree(value) ? Object.entries(value) : []
    for (const [step, part] of parts) this.#note(document, [...path, step], [...within, step], part)
  }
}

function open (file: string): Document {
  try {
    return new Document(file, readFileSync(file, 'utf8'))
  } catch (error) {
    if (error instanceof ConfigProblems) throw error
    throw new ConfigProblems([{ place: { file }, text: `this file cannot be read: ${reason(error)}` }])
  }
}

/**
 * Returns the files that match a pattern, sorted by name. A star matches any part of a file's name, but no leading dot.
 */
function matches (folder: string, pattern: string): string[] {
  const slash = pattern.lastIndexOf('/')
  const [within, name] = [pattern.slice(0, slash + 1), pattern.slice(slash + 1)]
  const above = within.startsWith('/') ? within : join(folder, within)
  if (!name.includes('*')) return [join(above, name)]
  const parts = name.split('*').map(part => part.replace(/[^\w-]/g, '\\$&'))
  const wanted = new RegExp(`^(?!\\.)${parts.join('.*')}$`, 's')
  return readdirSync(above).filter(file => wanted.test(file)).sort().map(file => join(above, file))
}

function partOf (value: unknown, step: string | number): unknown {
  if (typeof step === 'number') return Array.isArray(value) ? value[step] : undefined
  return isTree(value) && Object.hasOwn(value, step) ? value[step] : undefined
}

/** Copies a tree with other keys in the table at the path. Leaves out the keys for which `name` returns undefined. */
function changed (root: Tree, path: Path, name: (key: string) => string | undefined): Tree {
  const [step, ...deeper] = path
  const copy: Table = empty()
  for (const key of Object.keys(root)) {
    const now = step === undefined ? name(key) : key
    if (now !== undefined) copy[now] = key === step ? changedPart(root[key], deeper, name) : root[key]
  }
  return copy
}

function changedPart (value: unknown, path: Path, name: (key: string) => string | undefined): unknown {
  if (isTree(value)) return changed(value, path, name)
  const [index, ...deeper] = path
  if (!Array.isArray(value)) return value
  return value.map((item: unknown, at) => at === index ? changedPart(item, deeper, name) : item)
}

function isTables (value: unknown): value is readonly Tree[] {
  return Array.isArray(value) && value.every(isTree)
}

function empty (): Table {
  const table: Table = { __proto__: null }
  return table
}

function reason (error: unknown): string {
  return error instanceof Error ? error.message.replace(/, \w+ '.*'$/, '') : String(error)
}
