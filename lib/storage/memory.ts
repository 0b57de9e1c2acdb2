/** Storage in memory, for tests and for trying the server: nothing survives the process. */
import { UnreadableItems } from './aside.js'
import { Commits } from './commits.js'
import { Followers } from './followers.js'
import { Items, type ReadPage } from './items.js'
import { MemoryLog } from './memory-log.js'
import { MemoryTable } from './memory-table.js'
import { byCodePoint, found, memoryWrite as write, type MemoryHome, type MemoryWrite } from './memory-write.js'
import { prefixAt, splitOwner, type OwnersPage } from './owner.js'
import { matching, pageOf } from './select.js'
import type { Entry, Journal, JournalFilter, JournalPage, JournalQuery, TrimLimits, NewEntry, Records, Shape, Write } from './store.js'
import type { Storage } from './storage.js'

type Owners<T> = Map<string, T>
interface Page { readonly after?: string, readonly limit: number }

export class MemoryStorage implements Storage, MemoryHome {
  readonly #commits = new Commits()
  readonly aside = new UnreadableItems(this)
  readonly #records = new Map<string, MemoryRecords>()
  readonly #journals = new Map<string, MemoryJournal>()
  readonly #tables = new Map<string, MemoryTable>()
  readonly #logs = new Map<string, MemoryLog>()
  readonly #pending: (readonly Write[])[] = []
  #scheduled = false
  #isHeld = false
  /** Reads that wait; undefined if reads answer at once. */
  #reads: (() => void)[] | undefined
  /** While this is set, every commit fails with this error, as on a full disk. */
  failing: Error | undefined

  open<S> (name: string, shape: Shape<S>): Promise<S> {
    const store = this.#opened(name, shape)
    store.items.adopt(shape)
    return Promise.resolve(store as unknown as S)
  }

  #opened (name: string, shape: Shape<unknown>): MemoryRecords | MemoryJournal | MemoryTable | MemoryLog {
    const items = new Items(name, shape, this.aside)
    switch (shape.kind) {
      case 'records': return found(this.#records, name, () => new MemoryRecords(name, this, items))
      case 'journal': return found(this.#journals, name, () => new MemoryJournal(name, this, items))
      case 'table': return found(this.#tables, name, () => new MemoryTable(name, this, items))
      case 'log': return found(this.#logs, name, () => new MemoryLog(name, this, items))
    }
  }

  submit (writes: readonly Write[]): number {
    this.#pending.push(writes)
    this.#schedule()
    return this.#commits.next()
  }

  get submitted (): number { return this.#commits.last }
  get settled (): number { return this.#commits.settled }
  get trouble (): Error | undefined { return this.#commits.trouble }
  after (number: number, then: (error: Error | undefined) => void): void { this.#commits.after(number, then) }
  async flush (): Promise<void> { if (!this.#isHeld) await this.#commits.flush() }

  /** Holds all commits until `release`, so that tests can see what waits for them. */
  hold (): void { this.#isHeld = true }
  release (): void {
    this.#isHeld = false
    this.#schedule()
  }

  /** Holds all reads until `releaseReads`, so that tests can see what waits for them. */
  holdReads (): void { this.#reads ??= [] }
  releaseReads (): void {
    const reads = this.#reads ?? []
    this.#reads = undefined
    for (const answer of reads) answer()
  }

  /** Resolves with the result of `find`: now, or when the reads are released. */
  async read<T> (find: () => T): Promise<T> {
    const reads = this.#reads
    if (reads !== undefined) await new Promise<void>(resolve => { reads.push(resolve) })
    return find()
  }

  erasing (owner: string): Write {
    return write('*', () => {
      for (const stores of [this.#records, this.#journals, this.#tables, this.#logs]) {
        for (const store of stores.values()) store.erase(owner)
      }
    })
  }

  backup (): Promise<void> { return Promise.reject(new Error('data that is only in memory cannot be backed up')) }
  close (): Promise<void> { return this.flush() }

  /** Returns what the next process would find if this one died now: all that is committed, and nothing else. */
  remains (): MemoryStorage {
    const next = new MemoryStorage()
    for (const [name, store] of this.#records) next.#records.set(name, store.remains(next))
    for (const [name, store] of this.#journals) next.#journals.set(name, store.remains(next))
    for (const [name, store] of this.#tables) next.#tables.set(name, store.remains(next))
    for (const [name, store] of this.#logs) next.#logs.set(name, store.remains(next))
    return next
  }

  /** Replaces the stored text of an item with `text`, which no store would write, for tests. */
  spoil (name: string, owner: string, id: string, text: string): void {
    this.#records.get(name)?.spoil(owner, id, text)
    this.#journals.get(name)?.spoil(owner, id, text)
    this.#tables.get(name)?.spoil(owner, id, text)
    this.#logs.get(name)?.spoil(owner, id, text)
  }

  /** Commits one write by itself; resolves when it is stored. */
  put (write: Write): Promise<void> {
    const number = this.submit([write])
    return new Promise((resolve, reject) => {
      this.after(number, error => { if (error === undefined) resolve(); else reject(error) })
    })
  }

  #schedule (): void {
    if (this.#scheduled || this.#isHeld) return
    this.#scheduled = true
    setImmediate(() => { this.#run() })
  }

  #run (): void {
    this.#scheduled = false
    if (this.#isHeld) return
    for (const writes of this.#pending.splice(0)) {
      if (this.failing === undefined) for (const one of writes) (one as MemoryWrite).run()
      this.#commits.settle(this.failing)
    }
  }
}

/** A stored text that no store has written. */
class Spoilt {
  readonly text: string
  constructor (text: string) { this.text = text }
}

function jsonOf (value: unknown): string { return value instanceof Spoilt ? value.text : JSON.stringify(value) }
function copy<T> (value: T): T { return JSON.parse(JSON.stringify(value)) as T }

class MemoryRecords implements Records<unknown> {
  readonly #name: string
  readonly #storage: MemoryStorage
  readonly items: Items
  readonly #owners: Owners<Map<string, unknown>> = new Map()

  constructor (name: string, storage: MemoryStorage, items: Items) {
    this.items = items
    this.#name = name
    this.#storage = storage
  }

  remains (storage: MemoryStorage): MemoryRecords {
    const next = new MemoryRecords(this.#name, storage, new Items(this.#name, this.items.shape, storage.aside))
    for (const [owner, keys] of this.#owners) next.#owners.set(owner, new Map(keys))
    return next
  }

  get (owner: string, key: string): Promise<unknown> {
    const value = this.#owners.get(owner)?.get(key)
    if (value === undefined) return this.#storage.read(() => undefined)
    return this.items.one(owner, key, jsonOf(value), error => this.#move(owner, key, value, error))
  }

  all (owner: string, page: Page = { limit: Infinity }): Promise<ReadonlyMap<string, unknown>> {
    const { after, limit } = page
    const entries = [...this.#owners.get(owner) ?? []].sort(([a], [b]) => byCodePoint(a, b))
      .filter(([key]) => after === undefined || byCodePoint(key, after) > 0).slice(0, limit)
    return this.items.all(owner, entries.map(([key, value]) => [key, jsonOf(value)]),
      (key, error) => this.#move(owner, key, this.#owners.get(owner)?.get(key), error))
  }

  async owners (page: OwnersPage): Promise<readonly string[]> { return ownersOf(this.#owners.keys(), page, this.items) }

  put (owner: string, key: string, value: unknown): Promise<void> {
    return this.#storage.put(this.putting(owner, key, value))
  }

  change (owner: string, next: (old: ReadonlyMap<string, unknown>) => ReadonlyMap<string, unknown>): Promise<void> {
    let failure: { readonly error: unknown } | undefined
    const moves: Promise<void>[] = []
    return this.#storage.put(write(this.#name, () => {
      try {
        const entries = [...this.#owners.get(owner) ?? []]
        const old = this.items.values(owner, entries.map(([key, value]) => [key, jsonOf(value)]),
          (key, error) => { moves.push(this.#move(owner, key, this.#owners.get(owner)?.get(key), error)) })
        for (const [key, value] of next(old)) this.#set(owner, key, value)
      } catch (error) {
        failure = { error }
      }
    })).then(async () => {
      if (failure !== undefined) throw failure.error
      await Promise.all(moves)
    })
  }

  putting (owner: string, key: string, value: unknown): Write {
    const kept = value === undefined ? undefined : copy(value)
    return write(this.#name, () => { this.#set(owner, key, kept) })
  }

  clearing (owner: string): Write { return write(this.#name, () => { this.erase(owner) }) }
  erase (owner: string): void { this.#owners.delete(owner) }
  spoil (owner: string, key: string, text: string): void { this.#owners.get(owner)?.set(key, new Spoilt(text)) }

  setAside (owner: string, key: string, value: unknown, error: unknown, instead?: unknown): Promise<void> {
    return this.items.setAside(owner, key, value, error, this.putting(owner, key, instead), {}, instead !== undefined)
  }

  /** Puts a record aside, unless its value has changed by then. */
  #move (owner: string, key: string, value: unknown, error: unknown): Promise<void> {
    const removing = write(this.#name, () => {
      if (this.#owners.get(owner)?.get(key) === value) this.#set(owner, key, undefined)
    })
    return this.#storage.aside.put({ store: this.#name, owner, id: key, text: jsonOf(value), error }, removing)
  }

  #set (owner: string, key: string, value: unknown): void {
    const keys = found(this.#owners, owner, () => new Map<string, unknown>())
    if (value === undefined) keys.delete(key)
    else keys.set(key, value)
    if (keys.size === 0) this.#owners.delete(owner)
  }
}

class MemoryJournal implements Journal<unknown> {
  readonly #name: string
  readonly #storage: MemoryStorage
  readonly items: Items
  readonly #owners: Owners<NewEntry<unknown>[]> = new Map()
  readonly #followers = new Followers()

  constructor (name: string, storage: MemoryStorage, items: Items) {
    this.items = items
    this.#name = name
    this.#storage = storage
  }

  remains (storage: MemoryStorage): MemoryJournal {
    const next = new MemoryJournal(this.#name, storage, new Items(this.#name, this.items.shape, storage.aside))
    for (const [owner, entries] of this.#owners) next.#owners.set(owner, [...entries])
    return next
  }

  appending (owner: string, entry: NewEntry<unknown>): Write {
    const kept = copy(entry)
    return write(this.#name, () => {
      found(this.#owners, owner, () => []).push(kept)
      this.#followers.grew(owner)
    })
  }

  removing (owner: string, ids: readonly string[]): Write {
    return write(this.#name, () => { this.#keep(owner, entry => !ids.includes(entry.id)) })
  }

  replacing (owner: string, id: string, value: unknown): Write {
    const kept = copy(value)
    return write(this.#name, () => {
      const old = this.#owners.get(owner) ?? []
      this.#owners.set(owner, old.map(entry => entry.id === id ? { ...withoutText(entry), value: kept } : entry))
    })
  }

  clearing (owner: string): Write { return write(this.#name, () => { this.erase(owner) }) }
  erase (owner: string): void { this.#owners.delete(owner) }
  spoil (owner: string, id: string, text: string): void {
    const old = this.#owners.get(owner) ?? []
    this.#owners.set(owner, old.map(entry => entry.id === id ? { ...entry, value: new Spoilt(text) } : entry))
  }

  setAside (owner: string, { id, at, with: other, value }: Entry<unknown>, error: unknown): Promise<void> {
    return this.items.setAside(owner, id, value, error, this.removing(owner, [id]), { at, with: other })
  }

  async page (owner: string, query: JournalQuery): Promise<JournalPage<unknown>> {
    return await this.#storage.read(() => this.items.page(() => this.#page(owner, query)))
  }

  #page (owner: string, query: JournalQuery): ReadPage {
    const { entries, complete } = pageOf(this.#owners.get(owner) ?? [], query, bytesOf)
    const found = entries.map(({ id, at, with: other, value }) => ({ id, at, with: other, json: jsonOf(value) }))
    return { ...this.items.entries(owner, found, id => this.removing(owner, [id])), complete }
  }

  async count (owner: string, filter: JournalFilter): Promise<number> {
    return matching(this.#owners.get(owner) ?? [], filter).length
  }

  size (owner: string): Promise<{ entries: number, bytes: number }> {
    return this.#storage.read(() => {
      const entries = this.#owners.get(owner) ?? []
      return { entries: entries.length, bytes: entries.reduce((sum, { value }) => sum + bytesOf(value), 0) }
    })
  }

  async owners (page: OwnersPage): Promise<readonly string[]> { return ownersOf(this.#owners.keys(), page, this.items) }

  async trim (owner: string, keep: TrimLimits): Promise<number> {
    let count = 0
    await this.#storage.put(write(this.#name, () => {
      const all = this.#owners.get(owner) ?? []
      let first = all.length
      for (let bytes = 0; first > 0 && (keep.newest === undefined || all.length - first < keep.newest); first--) {
        bytes += bytesOf(all[first - 1]?.value)
        if (bytes > (keep.bytes ?? Infinity)) break
      }
      count = this.#keep(owner, (entry, index) => {
        return index >= first && (keep.since === undefined || entry.at >= keep.since)
      })
    }))
    return count
  }

  async expire (since: number, limit: number): Promise<number> {
    let count = 0
    await this.#storage.put(write(this.#name, () => {
      for (const owner of [...this.#owners.keys()]) {
        if (count < limit) this.#keep(owner, entry => entry.at >= since || ++count > limit)
      }
      count = Math.min(count, limit)
    }))
    return count
  }

  follow (owner: string, grew: () => void): () => void { return this.#followers.follow(owner, grew) }

  #keep (owner: string, isKept: (entry: NewEntry<unknown>, index: number) => boolean): number {
    const old = this.#owners.get(owner) ?? []
    const kept = old.filter(isKept)
    if (kept.length === 0) this.#owners.delete(owner)
    else this.#owners.set(owner, kept)
    return old.length - kept.length
  }
}

function ownersOf (owners: Iterable<string>, { host, after, limit }: OwnersPage, items: Items): string[] {
  if (host === undefined) {
    const sorted = [...owners].sort(byCodePoint)
    return sorted.filter(owner => after === undefined || byCodePoint(owner, after) > 0).slice(0, limit)
  }
  if (!items.isByHost) throw items.unlisted()
  const first = after === undefined ? undefined : prefixAt(after, host)
  const prefixes = [...owners].map(splitOwner).filter(parts => parts.host === host).map(({ prefix }) => prefix)
  return prefixes.filter(prefix => first === undefined || byCodePoint(prefix, first) > 0)
    .sort(byCodePoint).slice(0, limit).map(prefix => prefix + host)
}

function withoutText ({ text: _, ...entry }: NewEntry<unknown>): NewEntry<unknown> { return entry }
function bytesOf (value: unknown): number {
  return Buffer.byteLength(typeof value === 'string' ? value : JSON.stringify(value))
}
