/**
 * The segments of a log: a row of a database for all entries of one transaction. A segment goes when its last live
 * entry is gone. If dead entries take too much, the live entries of mostly dead segments move to a new one.
 */

/** The bytes that a log may hold beyond twice those of its live entries, so that short-lived entries never move. */
export const SLACK = 256 * 1024
/** The most bytes of entries that one transaction moves; the next one moves more. */
const MOST_MOVED = 4 * 1024 * 1024
/** The bytes of new entries from which a segment takes no more. */
const LARGE = 4 * 1024 * 1024
/** Roughly the bytes of a number in a list of removed entries. */
const NUMBER = 12

/** A segment as a database keeps it. `entries` and `removed` are JSON. */
export interface SegmentRow {
  readonly id: number
  /** The highest number of its entries; 0 if it has none. */
  readonly last: number
  readonly entries: string
  readonly removed: string
}

/** An entry within the JSON of a segment. */
export type Line = readonly [number: number, owner: string, key: string | null, value: unknown]

/** The changes of one transaction: segments to delete, and the segment to insert, if there is any. */
export interface SegmentChanges { readonly gone: readonly number[], readonly row: SegmentRow | undefined }

class Segment {
  readonly id: number
  bytes = 0
  /** The live entries: their number, and their bytes. */
  count = 0
  live = 0
  /** Entries of other segments that this one says are removed. */
  readonly removed = new Map<Segment, number[]>()
  /** Segments that say that entries of this one are removed. */
  readonly removers = new Set<Segment>()

  constructor (id: number) { this.id = id }

  get isEmpty (): boolean { return this.count === 0 && this.removed.size === 0 }

  /** True if less than half of the segment is needed. */
  get isSparse (): boolean {
    let needed = this.live
    for (const numbers of this.removed.values()) needed += numbers.length * NUMBER
    return 2 * needed < this.bytes
  }
}

interface Entry { segment: Segment, readonly owner: string, readonly key: string | null, readonly bytes: number }

/** Knows the live entries of one log, and decides how each transaction changes its segments. */
export class Segments {
  readonly #segments = new Map<number, Segment>()
  readonly #entries = new Map<number, Entry>()
  /** The numbers of entries that have a key. */
  readonly #keys = new Map<string, number>()
  #lastId = 0
  #held = 0
  #live = 0
  readonly #sparse = new Set<Segment>()
  // ---- The transaction under way
  #draft: Segment | undefined
  #lines = new Map<number, string>()
  #removed: (readonly [number, Segment])[] = []
  #touched = new Set<Segment>()
  #moving: Segment[] = []
  #gone: number[] = []

  /** `rows`: the segments in the order of their ids. One that is not JSON is left alone; who reads it puts it aside. */
  constructor (rows: Iterable<SegmentRow>) {
    const known: (readonly [Segment, readonly Line[], readonly (readonly [number, number[]])[]])[] = []
    const dead = new Set<number>()
    for (const row of rows) {
      this.#lastId = row.id
      const [lines, removed] = [linesIn(row.entries), removedIn(row.removed)]
      if (lines === undefined || removed === undefined) continue
      const segment = new Segment(row.id)
      segment.bytes = row.entries.length + row.removed.length
      this.#segments.set(row.id, segment)
      this.#held += segment.bytes
      for (const [, numbers] of removed) for (const number of numbers) dead.add(number)
      known.push([segment, lines, removed])
    }
    for (const [segment, lines, removed] of known) {
      for (const line of lines) {
        const [number, owner, key] = line
        if (!dead.has(number)) this.#put(segment, number, owner, key, JSON.stringify(line))
      }
      for (const [id, numbers] of removed) this.#link(segment, this.#segments.get(id), numbers)
      this.#touched.add(segment)
    }
  }

  /** Adds an entry. One with a key takes the place of the earlier one with the same owner and key. */
  add (number: number, owner: string, key: string | null, json: string): void {
    const before = key === null ? undefined : this.#keys.get(keyOf(owner, key))
    if (before !== undefined) this.remove(before)
    const line = `[${number},${JSON.stringify(owner)},${JSON.stringify(key)},${json}]`
    this.#lines.set(number, line)
    this.#put(this.#drafted(), number, owner, key, line)
  }

  /** Removes an entry. Returns false if there is no such entry. */
  remove (number: number): boolean {
    const entry = this.#entries.get(number)
    if (entry === undefined) return false
    const { segment, owner, key, bytes } = entry
    this.#entries.delete(number)
    if (key !== null && this.#keys.get(keyOf(owner, key)) === number) this.#keys.delete(keyOf(owner, key))
    segment.count--
    segment.live -= bytes
    this.#live -= bytes
    if (segment === this.#draft) this.#lines.delete(number)
    else {
      this.#removed.push([number, segment])
      this.#touched.add(segment)
    }
    return true
  }

  /** Removes all entries of an owner. */
  clear (owner: string): void {
    for (const [number, entry] of this.#entries) if (entry.owner === owner) this.remove(number)
  }

  /** True if the transaction has changed anything. */
  get isChanged (): boolean { return this.#draft !== undefined || this.#removed.length > 0 || this.#gone.length > 0 }

  /** True if the new entries should be written before more of them come. */
  get isLarge (): boolean { return (this.#draft?.live ?? 0) > LARGE }

  /** Returns the ids of the segments whose `entries` finish needs, because their live entries move. */
  plan (): readonly number[] {
    for (const segment of this.#touched) if (segment.isEmpty) this.#drop(segment)
    for (const [number, segment] of this.#removed) {
      if (this.#segments.has(segment.id)) this.#link(this.#drafted(), segment, [number])
    }
    for (const segment of this.#touched) {
      if (segment.isSparse && this.#segments.has(segment.id)) this.#sparse.add(segment)
    }
    let held = this.#held + this.#removed.length * NUMBER
    let moved = 0
    for (const line of this.#lines.values()) held += line.length
    for (const segment of this.#sparse) {
      if (held <= 2 * this.#live + SLACK || moved > MOST_MOVED) break
      held -= segment.bytes - segment.live
      moved += segment.live
      this.#moving.push(segment)
    }
    return this.#moving.map(({ id }) => id)
  }

  /** Ends the transaction. `entriesOf` returns the `entries` of a segment that `plan` has named. */
  finish (entriesOf: (id: number) => string): SegmentChanges {
    for (const segment of this.#moving) if (this.#segments.has(segment.id)) this.#move(segment, entriesOf(segment.id))
    const draft = this.#draft
    const gone = this.#gone
    let row: SegmentRow | undefined
    if (draft !== undefined && !draft.isEmpty) {
      let last = 0
      for (const number of this.#lines.keys()) last = Math.max(last, number)
      row = {
        id: draft.id, last, entries: `[${[...this.#lines.values()].join(',')}]`,
        removed: JSON.stringify([...draft.removed].map(([{ id }, numbers]) => [id, numbers])),
      }
      draft.bytes = row.entries.length + row.removed.length
      this.#held += draft.bytes
      this.#segments.set(draft.id, draft)
    }
    this.#draft = undefined
    this.#lines = new Map()
    this.#removed = []
    this.#touched = new Set()
    this.#moving = []
    this.#gone = []
    return { gone, row }
  }

  #drafted (): Segment { return this.#draft ??= new Segment(++this.#lastId) }

  #put (segment: Segment, number: number, owner: string, key: string | null, line: string): void {
    this.#entries.set(number, { segment, owner, key, bytes: line.length })
    if (key !== null) this.#keys.set(keyOf(owner, key), number)
    segment.count++
    segment.live += line.length
    this.#live += line.length
  }

  /** Notes that `remover` says that these entries of `segment` are removed. */
  #link (remover: Segment, segment: Segment | undefined, numbers: readonly number[]): void {
    if (segment === undefined) return
    const known = remover.removed.get(segment)
    if (known === undefined) remover.removed.set(segment, [...numbers])
    else known.push(...numbers)
    segment.removers.add(remover)
  }

  /** Moves what is needed of a segment to the new one. */
  #move (segment: Segment, entries: string): void {
    const draft = this.#drafted()
    for (const line of linesIn(entries) ?? []) {
      const entry = this.#entries.get(line[0])
      if (entry?.segment !== segment) continue
      entry.segment = draft
      draft.count++
      draft.live += entry.bytes
      this.#lines.set(line[0], JSON.stringify(line))
    }
    for (const [of, numbers] of segment.removed) {
      of.removers.delete(segment)
      this.#link(draft, of, numbers)
    }
    segment.removed.clear()
    this.#drop(segment)
  }

  /** Deletes a segment that nothing needs, and those that only said what was removed from it. */
  #drop (segment: Segment): void {
    if (!this.#segments.delete(segment.id)) return
    this.#gone.push(segment.id)
    this.#held -= segment.bytes
    this.#sparse.delete(segment)
    for (const remover of segment.removers) {
      remover.removed.delete(segment)
      if (remover === this.#draft) continue
      if (remover.isEmpty) this.#drop(remover)
      else if (remover.isSparse) this.#sparse.add(remover)
    }
  }
}

function keyOf (owner: string, key: string): string { return `${owner}\n${key}` }

/** Returns the entries in the JSON of a segment; undefined if it is not JSON. */
export function linesIn (json: string): readonly Line[] | undefined {
  try {
    const lines: unknown = JSON.parse(json)
    return Array.isArray(lines) && lines.every(isLine) ? lines : undefined
  } catch {
    return undefined
  }
}

/** Returns the lists of removed entries in the JSON of a segment, by segment; undefined if it is not JSON. */
export function removedIn (json: string): readonly (readonly [id: number, numbers: number[]])[] | undefined {
  try {
    const lists: unknown = JSON.parse(json)
    return Array.isArray(lists) && lists.every(isList) ? lists : undefined
  } catch {
    return undefined
  }
}

function isLine (line: unknown): line is Line {
  if (!Array.isArray(line)) return false
  const [number, owner, key] = line as unknown[]
  return typeof number === 'number' && typeof owner === 'string' && (key === null || typeof key === 'string')
}

function isList (list: unknown): list is readonly [id: number, numbers: number[]] {
  return Array.isArray(list) && typeof list[0] === 'number' && Array.isArray(list[1])
}
