/** XEP-0424 §4: what its sender has retracted is gone from archives; that it was there is not. */
import { createHash } from 'node:crypto'
import {
  attributeOf, children, costOfBytes, flatten, formatDateTime, fromOctets, NS, octets, parseElement, readEntries, toOctets, xml,
} from '../../lib/api.js'
import type { Batch, Element, Entry, Jid, Journal, Message, Payer } from '../../lib/api.js'

/** Messages that one retraction takes back, one and its corrections; and characters of them after which no more are looked at. */
const MOST = 100
const MOST_READ = 1024 * 1024
/** Retractions that may wait for one archive. */
const MOST_WAITING = 100
/** What is parsed costs so many times what is sent as it is stored. */
const PARSED = 10
/** Entries, and bytes of them, that are looked at in one turn of the event loop. */
const FEW = 10
const PAGE = 128 * 1024

type OwnBatch = Batch & { commit (): Promise<void> }

/** Characters of an alias that stays as it is. */
const LONGEST_NAME = 200

/**
 * What a retraction finds a message by: who sent it and the id they gave it. A correction (XEP-0308) goes by the id of what it corrects:
 * with that it is taken back as well.
 */
export function aliasOf (message: Message): { readonly alias?: string } {
  const corrected = message.child(NS.CORRECT, 'replace')
  const id = (corrected === undefined ? undefined : attributeOf(corrected, 'id')) ?? message.id
  return id === undefined || id === '' ? {} : { alias: nameOf(message, id) }
}

/** What a message takes back: something of the same sender's, by the id that they gave it. */
export interface Retraction { readonly from: Jid, readonly id: string, readonly target: string }

/** What a message takes back, if it does. A retraction without an id of its own leaves nothing that a client could match. */
export function retractionIn (message: Message): Retraction | undefined {
  const retract = message.child(NS.RETRACT, 'retract')
  const target = retract === undefined ? undefined : attributeOf(retract, 'id')
  if (target === undefined || message.id === undefined || message.id === '') return undefined
  return { from: message.from, id: flatten(message.id), target: flatten(target) }
}

export interface RetractionsHome {
  readonly archive: Journal<string>
  readonly now: () => number
  readonly batch: () => OwnBatch
  /** A retracted message stays. */
  failed (error: unknown): void
}

interface Task { readonly contact: string, readonly retraction: Retraction, readonly payer: Payer | undefined }
interface Line { readonly waiting: Task[], isFull: boolean }

/** One after the other in each archive, for each may read far more than its sender has sent: whoever asks for it pays for that. */
export class Retractions {
  readonly #home: RetractionsHome
  /** By the owner of an archive. */
  readonly #lines = new Map<string, Line>()

  constructor (home: RetractionsHome) { this.#home = home }

  /**
   * Puts tombstones in place of what the owner's archive has of it, and of its corrections. `contact`: the other party's bare address.
   * To be called once the retraction is stored: then so is all that came before it.
   */
  add (owner: string, contact: string, retraction: Retraction, payer: Payer | undefined): void {
    const line = this.#lines.get(owner)
    const task = { contact, retraction, payer }
    if (line === undefined) void this.#run(owner, task)
    else if (line.waiting.length < MOST_WAITING) line.waiting.push(task)
    else if (!line.isFull) {
      line.isFull = true
      this.#home.failed(new Error('too many retractions wait'))
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
    let left = MOST
    let bytes = MOST_READ
    let after: string | undefined
    for (let isOver = false; !isOver && left > 0 && bytes > 0;) {
      // A few at a time: each is parsed on the main thread, and others are to have their turn in between.
      const page = await archive.page(owner, {
        alias: nameOf(retraction, retraction.target), with: contact, limit: Math.min(left, FEW), bytes: PAGE,
        ...after === undefined ? {} : { after },
      })
      const read = page.entries.reduce((sum, { value }) => sum + value.length, 0)
      payer?.charge(costOfBytes(read) * PARSED, retraction.from)
      await this.#replace(owner, page.entries, retraction)
      left -= page.entries.length
      bytes -= read
      after = page.entries.at(-1)?.id
      isOver = page.complete || after === undefined
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

/** A name short enough for every database's index, however long an id somebody gives. */
function nameOf ({ from }: Pick<Message, 'from'>, id: string): string {
  const name = `${from.bare.toString()} ${id}`
  return name.length <= LONGEST_NAME ? name : createHash('sha256').update(name).digest('base64url')
}

/** §5: the sender's alone; what has come out of a room is that occupant's, whose full address it has. Never a retraction. */
function mayRetract (element: Element, retraction: Retraction): boolean {
  if (children(element, NS.RETRACT).length > 0) return false
  const isOfRoom = children(element, NS.MUC_USER, 'x').length > 0
  return !isOfRoom || attributeOf(element, 'from') === retraction.from.toString()
}

/** Nothing of the message but who sent what kind to whom, under which id. */
function tombstone (element: Element, id: string, at: number): string {
  const attributes = Object.fromEntries(['type', 'id', 'from', 'to'].flatMap(name => {
    const value = attributeOf(element, name)
    return value === undefined ? [] : [[name, value]]
  }))
  return fromOctets(octets(xml('message', attributes, xml('retracted', { xmlns: NS.RETRACT, id, stamp: formatDateTime(at) }))))
}
