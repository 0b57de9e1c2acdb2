/** Storage that forgets: for tests, and for trying. */
import { Aside } from './aside.js'
import { Commits } from './commits.js'
import { Items, type ReadPage } from './items.js'
import { matching, pageOf } from './select.js'
import type { Entry, Journal, JournalFilter, JournalPage, JournalQuery, Keeping, NewEntry, Records, Shape, Storage, Write } from './store.js'

type Owners<T> = Map<string, T>
interface Page { readonly after?: string, readonly limit: number }

/** A write, as the closure that does it. */
interface MemoryWrite extends Write { readonly run: () => void }

export class MemoryStorage implements Storage {
  readonly #commits = new Commits()
  readonly aside = new Aside(this)
  readonly #records = new Map<string, MemoryRecords>()
  readonly #journals = new Map<string, MemoryJournal>()
  readonly #pending: (readonly Write[])[] = []
  #scheduled = false
  #isHeld = false
  /** Reads that wait; undefined where none has to. */
  #reads: (() => void)[] | undefined
  /** While it is set, every commit fails with it: a disk that is full. */
  failing: Error | undefined

  open<S> (name: string, shape: Shape<S>): Promise<S> {
    const store = shape.kind === 'records'
      ? found(this.#records, name, () => new MemoryRecords(name, this, new Items(name, shape, this.aside)))
      : found(this.#journals, name, () => new MemoryJournal(name, this, new Items(name, shape, this.aside)))
    if (shape.check !== undefined) store.items.shape = shape
    return Promise.resolve(store as unknown as S)
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

  /** Nothing settles until `release`: tests see who waits. */
  hold (): void { this.#isHeld = true }
  release (): void {
    this.#isHeld = false
    this.#schedule()
  }

  /** No read answers until `releaseReads`: tests see who waits. */
  holdReads (): void { this.#reads ??= [] }
  releaseReads (): void {
    const reads = this.#reads ?? []
    this.#reads = undefined
    for (const answer of reads) answer()
  }

  /** Answers with what a read finds: now, or once reads are released. */
  async read<T> (find: () => T): Promise<T> {
    const reads = this.#reads
    if (reads !== undefined) await new Promise<void>(resolve => { reads.push(resolve) })
    return find()
  }

  erasing (owner: string): Write {
    return write('*', () => { for (const store of [...this.#records.values(), ...this.#journals.values()]) store.erase(owner) })
  }

  backup (): Promise<void> { return Promise.reject(new Error('what is in memory only cannot be backed up')) }
  close (): Promise<void> { return this.flush() }

  /** What a process that dies now would leave to the next: all that is committed, and nothing else. */
  remains (): MemoryStorage {
    const next = new MemoryStorage()
    for (const [name, store] of this.#records) next.#records.set(name, store.remains(next))
    for (const [name, store] of this.#journals) next.#journals.set(name, store.remains(next))
    return next
  }

  /** Makes the stored text of an item this one, which no store would write: for tests. */
  spoil (name: string, owner: string, id: string, text: string): void {
    this.#records.get(name)?.spoil(owner, id, text)
    this.#journals.get(name)?.spoil(owner, id, text)
  }

  /** One write by itself; resolves once it is stored. */
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

function write (store: string, run: () => void): MemoryWrite { return { store, run } }

function found<T> (map: Map<string, T>, key: string, make: () => T): T {
  const old = map.get(key)
  if (old !== undefined) return old
  const fresh = make()
  map.set(key, fresh)
  return fresh
}

/** The stored text of an item that no store has written. */
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

  owners (page: { readonly after?: string, readonly limit: number }): Promise<readonly string[]> {
    return Promise.resolve(ownersOf(this.#owners.keys(), page))
  }

  put (owner: string, key: string, value: unknown): Promise<void> { return this.#storage.put(this.putting(owner, key, value)) }

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
    return this.items.setAside(owner, key, value, error, this.putting(owner, key, instead))
  }

  /** Puts a record aside, unless it is another one by then. */
  #move (owner: string, key: string, value: unknown, error: unknown): Promise<void> {
    const removing = write(this.#name, () => { if (this.#owners.get(owner)?.get(key) === value) this.#set(owner, key, undefined) })
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
    return write(this.#name, () => { found(this.#owners, owner, () => []).push(kept) })
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
    this.#owners.set(owner, (this.#owners.get(owner) ?? []).map(entry => entry.id === id ? { ...entry, value: new Spoilt(text) } : entry))
  }

  setAside (owner: string, { id, at, with: other, value }: Entry<unknown>, error: unknown): Promise<void> {
    return this.items.setAside(owner, id, value, error, this.removing(owner, [id]), { at, with: other })
  }

  async page (owner: string, query: JournalQuery): Promise<JournalPage<unknown>> {
    return await this.items.page(() => this.#page(owner, query))
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

  owners (page: { readonly after?: string, readonly limit: number }): Promise<readonly string[]> {
    return Promise.resolve(ownersOf(this.#owners.keys(), page))
  }

  async trim (owner: string, keep: Keeping): Promise<number> {
    let count = 0
    await this.#storage.put(write(this.#name, () => {
      const all = this.#owners.get(owner) ?? []
      let first = all.length
      for (let bytes = 0; first > 0 && (keep.newest === undefined || all.length - first < keep.newest); first--) {
        bytes += bytesOf(all[first - 1]?.value)
        if (bytes > (keep.bytes ?? Infinity)) break
      }
      count = this.#keep(owner, (entry, index) => index >= first && (keep.since === undefined || entry.at >= keep.since))
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

  #keep (owner: string, isKept: (entry: NewEntry<unknown>, index: number) => boolean): number {
    const old = this.#owners.get(owner) ?? []
    const kept = old.filter(isKept)
    if (kept.length === 0) this.#owners.delete(owner)
    else this.#owners.set(owner, kept)
    return old.length - kept.length
  }
}

function ownersOf (owners: Iterable<string>, { after, limit }: { readonly after?: string, readonly limit: number }): string[] {
  return [...owners].sort(byCodePoint).filter(owner => after === undefined || byCodePoint(owner, after) > 0).slice(0, limit)
}

function withoutText ({ text: _, ...entry }: NewEntry<unknown>): NewEntry<unknown> { return entry }
function byCodePoint (a: string, b: string): number { return Buffer.compare(Buffer.from(a), Buffer.from(b)) }
function bytesOf (value: unknown): number { return Buffer.byteLength(typeof value === 'string' ? value : JSON.stringify(value)) }
