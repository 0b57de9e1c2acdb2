/** XEP-0424 §4: replaces retracted messages in archives by tombstones, which show that there was a message. */
import {
  attributeOf, children, costOfBytes, flatten, formatDateTime, fromOctets, NS, octets, parseElement, readEntries,
  toOctets, xml,
} from '../../lib/api.js'
import type { Batch, Element, Entry, Jid, Journal, Message, Payer } from '../../lib/api.js'
import { createHash } from 'node:crypto'

/**
 * The most messages that one retraction removes (a message and its corrections), and the characters of entries after
 * which it stops looking.
 */
const MOST = 100
const MOST_READ = 1024 * 1024
/** The most retractions that may wait for one archive. */
const MOST_WAITING = 100
/** The cost of parsing a byte, relative to sending a stored byte. */
const PARSED = 10
/** The entries, and their bytes, that are parsed in one turn of the event loop. */
const FEW = 10
const PAGE = 128 * 1024

type OwnBatch = Batch & { commit (): Promise<void> }

/** The longest alias that is stored as it is, in characters. */
const LONGEST_NAME = 200

/**
 * Returns the alias by which a retraction finds a message: sender and message id. A correction (XEP-0308) gets the id
 * of the message that it corrects, so that it is retracted with it.
 */
export function aliasOf (message: Message): { readonly alias?: string } {
  const corrected = message.child(NS.CORRECT, 'replace')
  const id = (corrected === undefined ? undefined : attributeOf(corrected, 'id')) ?? message.id
  return id === undefined || id === '' ? {} : { alias: nameOf(message, id) }
}

/** Messages of one archive that have a message id of a sender. `with`: the other party; without it, any. */
interface Versions { readonly owner: string, readonly from: Jid, readonly id: string, readonly with?: string }

/**
 * Returns messages with a message id, and their corrections: the oldest first, a few at a time, because the caller
 * parses them on the main thread, and other work gets its turn in between.
 */
export async function * versionsIn (
  archive: Journal<string>, { owner, from, id, ...contact }: Versions,
): AsyncIterable<readonly Entry<string>[]> {
  const alias = nameOf({ from }, id)
  let after: string | undefined
  for (let [left, bytes] = [MOST, MOST_READ]; left > 0 && bytes > 0;) {
    const { entries, complete } = await archive.page(owner, {
      alias, ...contact, limit: Math.min(left, FEW), bytes: PAGE, ...after === undefined ? {} : { after },
    })
    yield entries
    after = entries.at(-1)?.id
    if (complete || after === undefined) return
    left -= entries.length
    bytes -= entries.reduce((sum, { value }) => sum + value.length, 0)
  }
}

/** A retraction of an earlier message of the same sender: `target` is that message's id. */
export interface Retraction { readonly from: Jid, readonly id: string, readonly target: string }

/**
 * Reads the retraction in a message, if there is one. A retraction without an id is ignored: clients could not match
 * the tombstone.
 */
export function retractionIn (message: Message): Retraction | undefined {
  const retract = message.child(NS.RETRACT, 'retract')
  const target = retract === undefined ? undefined : attributeOf(retract, 'id')
  if (target === undefined || message.id === undefined || message.id === '') return undefined
  return { from: message.from, id: flatten(message.id), target: flatten(target) }
}

/** The dependencies of Retractions. */
export interface RetractionsHome {
  readonly archive: Journal<string>
  readonly now: () => number
  readonly batch: () => OwnBatch
  /** Called with the error if a retracted message could not be replaced. */
  failed (error: unknown): void
}

interface Task { readonly contact: string, readonly retraction: Retraction, readonly payer: Payer | undefined }
interface Line { readonly waiting: Task[], isFull: boolean }

/**
 * Runs retractions one after the other for each archive. A retraction may read far more than its sender sent, so the
 * sender is charged for it.
 */
export class Retractions {
  readonly #home: RetractionsHome
  /** Waiting retractions by the owner of the archive. */
  readonly #lines = new Map<string, Line>()

  constructor (home: RetractionsHome) { this.#home = home }

  /**
   * Replaces a retracted message and its corrections in the owner's archive by tombstones. `contact`: the bare address
   * of the other party. Call it once the retraction is stored: then all earlier messages are stored as well.
   */
  add (owner: string, contact: string, retraction: Retraction, payer: Payer | undefined): void {
    const line = this.#lines.get(owner)
    const task = { contact, retraction, payer }
    if (line === undefined) void this.#run(owner, task)
    else if (line.waiting.length < MOST_WAITING) line.waiting.push(task)
    else if (!line.isFull) {
      line.isFull = true
      this.#home.failed(new Error('too many pending retractions'))
    }
  }

  async #run (owner: string, first: Task): Promise<void> {
    const line: Line = { waiting: [], isFull: false }
    this.#lines.set(owner, line)
    for (let task: Task | undefined = first; task !== undefined; task = line.waiting.shift()) {
      try {
        await this.#retract(owner, task)
      } catch (error) {
        this.#home.failed(error)
      }
    }
    this.#lines.delete(owner)
  }

  async #retract (owner: string, { contact, retraction, payer }: Task): Promise<void> {
    const { archive } = this.#home
    const { from, target: id } = retraction
    for await (const entries of versionsIn(archive, { owner, from, id, with: contact })) {
      payer?.charge(costOfBytes(entries.reduce((sum, { value }) => sum + value.length, 0)) * PARSED, from)
      await this.#replace(owner, entries, retraction)
    }
  }

  async #replace (owner: string, entries: readonly Entry<string>[], retraction: Retraction): Promise<void> {
    const { archive, batch, now } = this.#home
    const found = readEntries(archive, owner, entries, entry => {
      const element = parseElement(toOctets(entry.value))
      return mayRetract(element, retraction) ? [{ id: entry.id, value: tombstone(element, retraction.id, now()) }] : []
    }).flat()
    if (found.length === 0) return
    const writes = batch()
    for (const { id, value } of found) writes.add(archive.replacing(owner, id, value))
    await writes.commit()
  }
}

/** Returns sender and id as a name that fits every database's index, however long the id is. */
function nameOf ({ from }: Pick<Message, 'from'>, id: string): string {
  const name = `${from.bare.toString()} ${id}`
  return name.length <= LONGEST_NAME ? name : createHash('sha256').update(name).digest('base64url')
}

/**
 * §5: true if the sender may retract the message. A message from a room belongs to the occupant's full address. A
 * retraction is never retracted.
 */
function mayRetract (element: Element, retraction: Retraction): boolean {
  if (children(element, NS.RETRACT).length > 0) return false
  const isOfRoom = children(element, NS.MUC_USER, 'x').length > 0
  return !isOfRoom || attributeOf(element, 'from') === retraction.from.toString()
}

/** Builds a tombstone: type, id, sender and recipient of the message, without its content. */
function tombstone (element: Element, id: string, at: number): string {
  const attributes = Object.fromEntries(['type', 'id', 'from', 'to'].flatMap(name => {
    const value = attributeOf(element, name)
    return value === undefined ? [] : [[name, value]]
  }))
  return fromOctets(octets(xml('message', attributes, xml('retracted', { xmlns: NS.RETRACT, id, stamp: formatDateTime(at) }))))
}
