/** Reads TOML, and finds the place of every key and value. Places are computed only when a problem needs one. */
import { createRequire } from 'node:module'
import { parse, TomlDate, TomlError } from 'smol-toml'
import type { AST } from 'toml-eslint-parser'
import { ConfigProblems, writePlace, type Place } from './problem.js'
import { dotted } from './words.js'

/** A TOML table. It has no prototype: `constructor` and `__proto__` are keys like any other. */
export type Tree = Readonly<Record<string, unknown>>
/** A path into a TOML document: keys of tables, and indexes of lists (from 0). */
export type Path = readonly (string | number)[]

/** True if the value is a TOML table. */
export function isTree (value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

/** One TOML file. */
export class Document {
  readonly file: string
  readonly root: Tree
  readonly #text: string
  #places: Places | undefined

  /**
   * Throws ConfigProblems if the text is not TOML or holds a date (no setting is a date). `file` is its name in
   * messages.
   */
  constructor (file: string, text: string) {
    this.file = file
    this.#text = text.startsWith('\uFEFF') ? ' ' + text.slice(1) : text
    this.root = parsed(file, this.#text)
    const dates = datesIn(this.root, [])
    if (dates.length === 0) return
    throw new ConfigProblems(dates.map(path => ({ place: this.valuePlace(path) ?? { file }, text: `${dotted(path)}: no setting is a date` })))
  }

  /** Returns the place of the key, or undefined if the file does not have it. */
  keyPlace (path: Path): Place | undefined { return this.#find(path)?.key }
  /** Returns the place of the value, or undefined if the file does not have it. */
  valuePlace (path: Path): Place | undefined { return this.#find(path)?.value }

  #find (path: Path): Spot | undefined {
    this.#places ??= placesIn(this.file, this.#text)
    return this.#places.get(dotted(path))
  }
}

function parsed (file: string, text: string): Tree {
  try {
    return parse(text, { unsafeKeyBehaviour: 'keep', maxDepth: 16 })
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const twice = error.message.includes('trying to redefine') ? firstMention(file, text, error.line) : undefined
    if (twice !== undefined) {
      const place = { file, line: error.line, column: error.column }
      throw new ConfigProblems([{ place, text: `${twice.name} is set twice: also at ${writePlace(twice.place)}; put both together in one place` }])
    }
    const [reason = ''] = error.message.replace(/^Invalid TOML document: /, '').split('\n')
    const isOpen = reason.includes('not allowed in strings') && text.split(/\r?\n/)[error.line - 1]?.length === error.column - 1
    const why = isOpen ? 'a text in quotes does not end on its line: a quote is missing' : reason
    throw new ConfigProblems([{ place: { file, line: error.line, column: error.column }, text: `this is not TOML: ${why}` }])
  }
}

/** Returns what the line sets, and where that was set before; undefined if the lines cannot be parsed on their own. */
function firstMention (
  file: string, text: string, line: number,
): { readonly name: string, readonly place: Place } | undefined {
  const lines = text.split('\n')
  const before = lines.slice(0, line - 1).join('\n')
  try {
    const node = lastIn(lines[line - 1] ?? '')
    if (node === undefined) return undefined
    const isTable = node.type === 'TOMLTable'
    const path = isTable ? node.resolvedKey.filter(step => typeof step === 'string') : [...tableAtEnd(before), ...keysOf(node)]
    const places = placesIn(file, before)
    for (let length = path.length; length > 0; length--) {
      const place = places.get(dotted(path.slice(0, length)))?.key
      if (place !== undefined) return { name: isTable ? `[${dotted(path.slice(0, length))}]` : dotted(path.slice(0, length)), place }
    }
  } catch {
    // The mistake is reported without the first place.
  }
  return undefined
}

function lastIn (text: string): AST.TOMLTopLevelTable['body'][number] | undefined { return syntaxTree(text).body[0].body.at(-1) }

function tableAtEnd (text: string): Path {
  const node = lastIn(text)
  return node?.type === 'TOMLTable' ? node.resolvedKey : []
}

function keysOf ({ key }: AST.TOMLKeyValue): Path { return key.keys.map(part => part.type === 'TOMLBare' ? part.name : part.value) }

function datesIn (value: unknown, path: Path): Path[] {
  if (value instanceof TomlDate) return [path]
  if (Array.isArray(value)) return value.flatMap((item, index) => datesIn(item, [...path, index]))
  if (isTree(value)) return Object.keys(value).flatMap(key => datesIn(value[key], [...path, key]))
  return []
}

interface Spot { readonly key: Place, readonly value: Place }
type Places = Map<string, Spot>

function placesIn (file: string, text: string): Places {
  const places: Places = new Map()
  const note = (path: Path, key: AST.HasLocs, value: AST.HasLocs): void => {
    // The first mention counts: with [a.b] and [a.c], the place of `a` is in [a.b].
    if (!places.has(dotted(path))) places.set(dotted(path), { key: start(file, key), value: start(file, value) })
  }
  const [body] = syntaxTree(text).body
  for (const node of body.body) {
    if (node.type === 'TOMLKeyValue') {
      noteSetting(node, [], note)
      continue
    }
    noteHeader(node, note)
    for (const setting of node.body) noteSetting(setting, node.resolvedKey, note)
  }
  return places
}

type Note = (path: Path, key: AST.HasLocs, value: AST.HasLocs) => void

/** Notes a header. Each part of `[host."example.org"]` is a key; `[[listen]]` is also an item of a list. */
function noteHeader (node: AST.TOMLTable, note: Note): void {
  let part = -1
  node.resolvedKey.forEach((step, index) => {
    if (typeof step === 'string') part++
    note(node.resolvedKey.slice(0, index + 1), node.key.keys[part] ?? node, node)
  })
}

function noteSetting (node: AST.TOMLKeyValue, above: Path, note: Note): void {
  let path = above
  node.key.keys.forEach((key, index) => {
    path = [...path, key.type === 'TOMLBare' ? key.name : key.value]
    note(path, key, index === node.key.keys.length - 1 ? node.value : key)
  })
  noteContent(node.value, path, note)
}

function noteContent (node: AST.TOMLContentNode, path: Path, note: Note): void {
  if (node.type === 'TOMLInlineTable') {
    for (const setting of node.body) noteSetting(setting, path, note)
  } else if (node.type === 'TOMLArray') {
    node.elements.forEach((element, index) => {
      note([...path, index], element, element)
      noteContent(element, [...path, index], note)
    })
  }
}

function start (file: string, { loc }: AST.HasLocs): Place {
  return { file, line: loc.start.line, column: loc.start.column + 1 }
}

/**
 * Parses with a second parser, which knows places. It is loaded only here: a conf file without problems does not need
 * it.
 */
function syntaxTree (text: string): AST.TOMLProgram {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-assignment -- require has no types
  const parser: typeof import('toml-eslint-parser') = createRequire(import.meta.url)('toml-eslint-parser')
  return parser.parseTOML(text, { tomlVersion: '1.1' })
}
