/** Export and import of the nodes of a service, with all that belongs to them, as the lines of a file. */
import type { Maybe } from '../base/maybe.js'
import type { Batch } from '../storage/store.js'
import { StanzaError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { Asker } from './access.js'
import { apart } from './apart.js'
import { SERVICE_DEFAULTS, type NodeForm } from './config.js'
import type { PubSubEngine } from './engine.js'
import type { Item } from './items.js'
import { headLine, itemLine, nodeLine, readLine, type ExportLine, type NodeLine } from './lines.js'
import { ROOT, type Node } from './node.js'
import { restore, restoreItems, restoreRoot } from './restoring.js'
import type { Work } from './work.js'

/** The items that are read, or stored with one commit, at a time; and the bytes of their payloads. */
const PAGE = 100
const BYTES = 256 * 1024
/** The most problems that are named. */
const NAMED = 50
const NO_EXPORT = 'the file is no export of nodes'

/** The result of an export or import. `problems`: the number of things that were left out; some of them are named. */
export interface Moved {
  readonly nodes: number
  readonly items: number
  readonly problems: number
  readonly leftOut: readonly string[]
}

/** A service and its engine. */
export interface Moving { readonly engine: PubSubEngine, readonly service: Jid, readonly form: NodeForm }

/** Writes all nodes of a service with their items, some items at a time. */
export async function exportNodes (
  { engine, service, form }: Moving, write: (text: string) => Promise<unknown>,
): Promise<Moved> {
  await write(`${headLine(service.toString())}\n`)
  const nodes = await engine.nodes(service)
  const all = inOrder(nodes)
  let items = 0
  const root = nodes.get(ROOT)
  if (root !== undefined && root.subscriptions.length > 0) await write(`${nodeLine(root, form)}\n`)
  for (const node of all) {
    await write(`${nodeLine(node, form)}\n`)
    for await (const page of engine.pages(service, node, PAGE)) {
      items += page.length
      await write(page.map(item => `${itemLine(item)}\n`).join(''))
    }
  }
  return { nodes: all.length, items, problems: 0, leftOut: [] }
}

/**
 * Returns all nodes but the root, each after the collections that it is in. Damaged data may have a ring of them, whose
 * nodes come in any order.
 */
export function inOrder (nodes: ReadonlyMap<string, Node>): readonly Node[] {
  const found = new Set<Node>()
  const begun = new Set<Node>()
  const add = (node: Node): void => {
    if (node.name === ROOT || begun.has(node)) return
    begun.add(node)
    for (const parent of node.config.collections.map(name => nodes.get(name))) if (parent !== undefined) add(parent)
    found.add(node)
  }
  for (const node of nodes.values()) add(node)
  return [...found]
}

/** Makes a batch for each part of an import. */
interface ImportHome { batch (): Batch & { commit (): Promise<void> } }

/**
 * Imports the lines of an export. Rejects with StanzaError if the first line is not that of an export; other lines that
 * cannot be read are left out.
 */
export async function importNodes (
  home: ImportHome, { engine, service, form }: Moving, lines: AsyncIterable<string>,
): Promise<Moved> {
  return await new Import(home, engine, form, service).run(lines)
}

/** One import. It can be run again after an interruption: nodes and items that it has imported are not changed. */
class Import {
  readonly #home: ImportHome
  readonly #engine: PubSubEngine
  readonly #form: NodeForm
  readonly #service: Jid
  /** The name of the node whose items follow; undefined if they are left out. */
  #node: string | undefined
  /** Older items of that node are there already, or there was no room for them. */
  #since = 0
  #waiting: Item[] = []
  #bytes = 0
  #nodes = 0
  #items = 0
  #problems = 0
  readonly #leftOut: string[] = []

  constructor (home: ImportHome, engine: PubSubEngine, form: NodeForm, service: Jid) {
    this.#home = home
    this.#engine = engine
    this.#form = form
    this.#service = service
  }

  /** Imports the lines of a file. */
  async run (lines: AsyncIterable<string>): Promise<Moved> {
    let number = 0
    for await (const text of lines) {
      const isFirst = ++number === 1
      const line = text === '' && !isFirst ? undefined : await this.#read(text, number, isFirst)
      if (line !== undefined) await this.#take(line)
    }
    if (number === 0) throw new StanzaError('bad-request', NO_EXPORT)
    await this.#flush()
    return { nodes: this.#nodes, items: this.#items, problems: this.#problems, leftOut: this.#leftOut }
  }

  /** Returns a line; undefined if it cannot be read, which is noted. Only the first line says what the file is. */
  async #read (text: string, number: number, isFirst: boolean): Promise<ExportLine | undefined> {
    try {
      const line = readLine(text, this.#form, SERVICE_DEFAULTS)
      if (isFirst !== (line.what === 'head')) throw new StanzaError('bad-request', NO_EXPORT)
      return line
    } catch (error) {
      if (isFirst || !(error instanceof StanzaError)) throw error
      this.#leaveOut(`line ${number}: ${error.text ?? error.message}`)
      if (!text.startsWith('{"item"')) await this.#end()
      return undefined
    }
  }

  async #take (line: ExportLine): Promise<void> {
    if (line.what === 'node') {
      await this.#end()
      await this.#begin(line.node)
    } else if (line.what === 'item' && this.#node !== undefined && line.item.at >= this.#since) {
      this.#waiting.push(line.item)
      this.#bytes += line.item.payload?.text.length ?? 0
      if (this.#waiting.length >= PAGE || this.#bytes >= BYTES) await this.#flush()
    }
  }

  /** Makes a node, whose items follow. */
  async #begin (node: NodeLine): Promise<void> {
    if (node.name === ROOT) {
      await this.#change('the root', work => { restoreRoot(work, node.subscriptions) })
      return
    }
    const made = await this.#change(node.name, work => restore(work, node))
    if (made === undefined) return
    for (const name of made.lost) this.#leaveOut(`${node.name}: it cannot be in the collection ${name}`)
    if (made.newest === undefined) this.#nodes++
    this.#since = made.newest ?? 0
    this.#node = node.name
  }

  /** Ends a node: what follows does not belong to it. */
  async #end (): Promise<void> {
    await this.#flush()
    this.#node = undefined
  }

  /** Stores the items that wait. */
  async #flush (): Promise<void> {
    const name = this.#node
    const items = this.#waiting
    this.#waiting = []
    this.#bytes = 0
    if (name === undefined || items.length === 0) return
    const stored = await this.#change(name, work => restoreItems(work, name, items))
    this.#items += stored?.added ?? 0
    for (const id of stored?.refused ?? []) this.#leaveOut(`${name}: the item ${id} is too large`)
  }

  /** Runs a part of the import as a change of its own, of which nobody is told. Notes what is refused. */
  async #change<T> (name: string, run: (work: Work) => Maybe<T>): Promise<T | undefined> {
    let result: T | undefined
    try {
      await apart(this.#home, async batch => {
        const own = await this.#engine.asker(this.#service, this.#service)
        const asker: Asker = { ...own, standing: { ...own.standing, isOwner: true } }
        result = await this.#engine.change({ service: this.#service, asker, batch }, async work => {
          const done = await run(work)
          work.silence()
          return done
        })
      })
      return result
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error
      this.#leaveOut(`${name}: ${error.text ?? error.message}`)
      return undefined
    }
  }

  #leaveOut (text: string): void {
    this.#problems++
    if (this.#leftOut.length < NAMED) this.#leftOut.push(text)
  }
}
