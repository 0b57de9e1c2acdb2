/** The entries of a log in memory. */
import { Items } from './items.js'
import { StoredLog, type LogChange, type LogRows } from './log-store.js'
import type { LogSize } from './log.js'
import { memoryWrite, type MemoryHome } from './memory-write.js'
import type { SegmentRow } from './segments.js'
import type { Write } from './store.js'

interface Entry { readonly owner: string, readonly key: string | null, readonly json: string }

export class MemoryLog extends StoredLog {
  readonly #name: string
  readonly #entries: MemoryEntries

  constructor (name: string, storage: MemoryHome, items: Items, entries = new MemoryEntries(name, storage)) {
    super(items, entries, entries.last)
    this.#name = name
    this.#entries = entries
  }

  remains (storage: MemoryHome): MemoryLog {
    const entries = this.#entries.remains(storage)
    return new MemoryLog(this.#name, storage, new Items(this.#name, this.items.shape, storage.aside), entries)
  }

  erase (owner: string): void { this.#entries.perform({ op: 'still', owner }) }
  spoil (owner: string, id: string, text: string): void { this.#entries.spoil(owner, Number(id), text) }
}

class MemoryEntries implements LogRows {
  readonly #name: string
  readonly #storage: MemoryHome
  readonly #entries = new Map<number, Entry>()

  constructor (name: string, storage: MemoryHome) {
    this.#name = name
    this.#storage = storage
  }

  get last (): number {
    let last = 0
    for (const number of this.#entries.keys()) last = Math.max(last, number)
    return last
  }

  remains (storage: MemoryHome): MemoryEntries {
    const next = new MemoryEntries(this.#name, storage)
    for (const [number, entry] of this.#entries) next.#entries.set(number, entry)
    return next
  }

  /** Each entry is a segment of its own. */
  segments (after: number, limit: number): Promise<readonly SegmentRow[]> {
    return this.#storage.read(() => {
      const numbers = [...this.#entries].filter(([number]) => number > after).sort(([a], [b]) => a - b)
      return numbers.slice(0, limit).map(([id, { owner, key, json }]) => {
        const entries = `[[${id},${JSON.stringify(owner)},${JSON.stringify(key)},${json}]]`
        return { id, last: id, entries, removed: '[]' }
      })
    })
  }

  size (): Promise<LogSize> {
    return this.#storage.read(() => {
      let bytes = 0
      for (const { json } of this.#entries.values()) bytes += json.length
      return { bytes, segments: this.#entries.size }
    })
  }

  write (change: LogChange): Write { return memoryWrite(this.#name, () => { this.perform(change) }) }

  perform (change: LogChange): void {
    switch (change.op) {
      case 'note': this.#note(change); break
      case 'strike': for (const number of change.numbers) this.#entries.delete(number); break
      case 'lose': this.#entries.delete(change.id); break
      case 'still': for (const [number, { owner }] of this.#entries) if (owner === change.owner) this.#entries.delete(number)
    }
  }

  spoil (owner: string, number: number, json: string): void {
    const entry = this.#entries.get(number)
    if (entry?.owner === owner) this.#entries.set(number, { ...entry, json })
  }

  #note ({ owner, number, key, json }: Extract<LogChange, { op: 'note' }>): void {
    if (key !== null) {
      for (const [other, entry] of this.#entries) {
        if (entry.owner === owner && entry.key === key) this.#entries.delete(other)
      }
    }
    this.#entries.set(number, { owner, key, json })
  }
}
