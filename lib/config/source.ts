/** The conf file with what it includes, as one tree that knows where each part comes from. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ConfigProblems, writePlace, type Place, type Problem } from './problem.js'
import { Document, isTree, type Path, type Tree } from './read.js'
import { dotted, shown } from './words.js'

type Table = Record<string, unknown>

export class Source {
  /** The files that were read, the conf file first. */
  readonly files: readonly string[]
  readonly root: Tree
  /** What was wrong with an included file. */
  readonly problems: readonly Problem[]
  readonly #main: Document
  /** Where the parts of included files come from, by their path in `root`. What is not here comes from the conf file itself. */
  readonly #origins = new Map<string, { readonly document: Document, readonly path: Path }>()

  /** Throws ConfigProblems where the conf file itself cannot be read. */
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
    this.root = root
    this.problems = problems
  }

  /** Where this key stands; of one that is not there, where it would be missing. */
  keyPlace (path: Path): Place { return this.#place(path, 'keyPlace') }
  /** Where this value stands; of one that is not there, where it would be missing. */
  valuePlace (path: Path): Place { return this.#place(path, 'valuePlace') }

  #place (path: Path, which: 'keyPlace' | 'valuePlace'): Place {
    for (let length = path.length; length > 0; length--) {
      const above = path.slice(0, length)
      const origin = this.#origins.get(dotted(above)) ?? { document: this.#main, path: above }
      // What is not there would stand in what is above it: that has a place as a value.
      const place = origin.document[length === path.length ? which : 'valuePlace'](origin.path)
      if (place !== undefined) return place
    }
    return { file: this.#main.file, line: 1, column: 1 }
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

  /** Tables are merged, lists of tables joined; anything else may be set once. */
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
    if (Array.isArray(value)) value.forEach((item, index) => this.#note(document, [...path, index], [...within, index], item))
    else if (isTree(value)) for (const key of Object.keys(value)) this.#note(document, [...path, key], [...within, key], value[key])
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

/** The files a pattern stands for, in the order of their names. A star is any part of a file's name, but for a leading dot. */
function matches (folder: string, pattern: string): string[] {
  const slash = pattern.lastIndexOf('/')
  const [within, name] = [pattern.slice(0, slash + 1), pattern.slice(slash + 1)]
  const above = within.startsWith('/') ? within : join(folder, within)
  if (!name.includes('*')) return [join(above, name)]
  const parts = name.split('*').map(part => part.replace(/[^\w-]/g, '\\$&'))
  const wanted = new RegExp(`^(?!\\.)${parts.join('.*')}$`, 's')
  return readdirSync(above).filter(file => wanted.test(file)).sort().map(file => join(above, file))
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
