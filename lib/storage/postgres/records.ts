/** Records in PostgreSQL. */
import type { Items } from '../items.js'
import type { Records, Write } from '../store.js'
import type { PostgresStorage } from './driver.js'
import type { PostgresWrite, Row } from './rows.js'
import { kept, read } from './text.js'

interface Pair { readonly key: string, readonly value: string }
interface Page { readonly after?: string, readonly limit: number }

/** How often a change begins anew because others wrote to the same owner meanwhile. */
const ATTEMPTS = 100

export class PostgresRecords implements Records<unknown> {
  readonly #name: string
  readonly #id: number
  readonly #storage: PostgresStorage
  readonly items: Items

  constructor (name: string, id: number, storage: PostgresStorage, items: Items) {
    this.items = items
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  async get (owner: string, key: string): Promise<unknown> {
    const found = await this.#find(owner, key)
    return found === undefined ? undefined : await this.items.one(owner, key, found, error => this.#move(owner, key, error))
  }

  async all (owner: string, page?: Page): Promise<ReadonlyMap<string, unknown>> {
    return await this.items.all(owner, await this.#read(owner, page), (key, error) => this.#move(owner, key, error))
  }

  async #find (owner: string, key: string): Promise<string | undefined> {
    const [found] = await this.#storage.rows<Pair>('SELECT value FROM records WHERE store = $1 AND owner = $2 AND key = $3', [this.#id, kept(owner), kept(key)])
    return found?.value
  }

  async #read (owner: string, page?: Page): Promise<(readonly [key: string, json: string])[]> {
    const limit = page === undefined || page.limit === Infinity ? null : page.limit
    const pairs = page?.after === undefined
      ? await this.#storage.rows<Pair>('SELECT key, value FROM records WHERE store = $1 AND owner = $2 ORDER BY key LIMIT $3', [this.#id, kept(owner), limit])
      : await this.#storage.rows<Pair>('SELECT key, value FROM records WHERE store = $1 AND owner = $2 AND key > $3 ORDER BY key LIMIT $4',
          [this.#id, kept(owner), kept(page.after), limit])
    return pairs.map(({ key, value }) => [read(key), value])
  }

  owners (page: Page): Promise<readonly string[]> { return this.#storage.ownersIn('records', this.#id, page) }

  async put (owner: string, key: string, value: unknown): Promise<void> {
    await this.#storage.stored([this.putting(owner, key, value)])
  }

  /** Reads once nothing is on its way to the owner's rows, and anew where something has set out before the answer is there. */
  async change (owner: string, next: (old: ReadonlyMap<string, unknown>) => ReadonlyMap<string, unknown>): Promise<void> {
    await this.#storage.locked(`${this.#id} ${owner}`, async () => {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const found = await this.#storage.undisturbed(this.#id, owner, () => this.#read(owner))
        if (found === undefined) continue
        const broken: (readonly [key: string, json: string, error: unknown])[] = []
        const jsons = new Map(found)
        const old = this.items.values(owner, found, (key, error) => { broken.push([key, jsons.get(key) ?? '', error]) })
        for (const [key, text, error] of attempt === 0 ? broken : []) await this.#putAside(owner, key, text, error)
        if (attempt === 0 && broken.length > 0) continue
        const writes = [...next(old)].map(([key, value]) => this.putting(owner, key, value))
        if (writes.length > 0) await this.#storage.stored(writes)
        return
      }
      throw new Error('others write to the same owner without an end')
    })
  }

  putting (owner: string, key: string, value: unknown): Write {
    return this.#write(value === undefined
      ? { op: 'remove', store: this.#id, owner: kept(owner), key: kept(key) }
      : { op: 'put', store: this.#id, owner: kept(owner), key: kept(key), value: JSON.stringify(value) })
  }

  clearing (owner: string): Write { return this.#write({ op: 'clear', store: this.#id, owner: kept(owner) }) }

  setAside (owner: string, key: string, value: unknown, error: unknown, instead?: unknown): Promise<void> {
    return this.items.setAside(owner, key, value, error, this.putting(owner, key, instead))
  }

  /** Puts a record aside, unless it can be read by the time that nothing else is on its way to it. */
  async #move (owner: string, key: string, error: unknown): Promise<void> {
    await this.#storage.locked(`${this.#id} ${owner}`, async () => {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const found = await this.#storage.undisturbed(this.#id, owner, async () => ({ json: await this.#find(owner, key) }))
        if (found === undefined) continue
        if (found.json === undefined || this.items.isReadable(found.json)) return
        await this.#putAside(owner, key, found.json, error)
        return
      }
    })
  }

  #putAside (owner: string, key: string, text: string, error: unknown): Promise<void> {
    return this.#storage.aside.put({ store: this.#name, owner, id: key, text, error }, this.putting(owner, key, undefined))
  }

  #write (row: Row): PostgresWrite { return { store: this.#name, rows: [row] } }
}
