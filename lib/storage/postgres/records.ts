/** Records in PostgreSQL. */
import type { Items } from '../items.js'
import type { OwnersPage } from '../owner.js'
import type { Records, Write } from '../store.js'
import type { PostgresHome } from './home.js'
import { ownerFields, type PostgresWrite, type Row } from './rows.js'
import { encodeText, decodeText } from './text.js'

interface Pair { readonly key: string, readonly value: string }
interface Page { readonly after?: string, readonly limit: number }

/** The number of times that a change is tried while others write to the same owner. */
const ATTEMPTS = 100

export class PostgresRecords implements Records<unknown> {
  readonly #name: string
  readonly #id: number
  readonly #storage: PostgresHome
  readonly items: Items

  constructor (name: string, id: number, storage: PostgresHome, items: Items) {
    this.items = items
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  async get (owner: string, key: string): Promise<unknown> {
    const found = await this.#find(owner, key)
    if (found === undefined) return undefined
    return await this.items.one(owner, key, found, error => this.#move(owner, key, error))
  }

  async all (owner: string, page?: Page): Promise<ReadonlyMap<string, unknown>> {
    return await this.items.all(owner, await this.#read(owner, page), (key, error) => this.#move(owner, key, error))
  }

  async #find (owner: string, key: string): Promise<string | undefined> {
    const [found] = await this.#storage.rows<Pair>(
      'SELECT value FROM records WHERE store = $1 AND owner = $2 AND key = $3', [this.#id, encodeText(owner), encodeText(key)])
    return found?.value
  }

  async #read (owner: string, page?: Page): Promise<(readonly [key: string, json: string])[]> {
    const limit = page === undefined || page.limit === Infinity ? null : page.limit
    const pairs = page?.after === undefined
      ? await this.#storage.rows<Pair>(FIRST, [this.#id, encodeText(owner), limit])
      : await this.#storage.rows<Pair>(AFTER, [this.#id, encodeText(owner), encodeText(page.after), limit])
    return pairs.map(({ key, value }) => [decodeText(key), value])
  }

  async owners (page: OwnersPage): Promise<readonly string[]> {
    if (page.host !== undefined && !this.items.isByHost) throw this.items.unlisted()
    return await this.#storage.ownersIn('records', this.#id, page)
  }

  async put (owner: string, key: string, value: unknown): Promise<void> {
    await this.#storage.stored([this.putting(owner, key, value)])
  }

  /**
   * Reads when all writes under way to the owner's rows have settled, and again if such a write was submitted during
   * the read.
   */
  async change (
    owner: string, next: (old: ReadonlyMap<string, unknown>) => ReadonlyMap<string, unknown>,
  ): Promise<void> {
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
      throw new Error(`the change was given up after ${ATTEMPTS} attempts: others write to the same owner`)
    })
  }

  putting (owner: string, key: string, value: unknown): Write {
    return this.#write(value === undefined
      ? { op: 'remove', store: this.#id, owner: encodeText(owner), key: encodeText(key) }
      : { op: 'put', store: this.#id, owner: encodeText(owner), key: encodeText(key), value: JSON.stringify(value) },
    value === undefined ? undefined : owner)
  }

  clearing (owner: string): Write { return this.#write({ op: 'clear', store: this.#id, owner: encodeText(owner) }) }

  setAside (owner: string, key: string, value: unknown, error: unknown, instead?: unknown): Promise<void> {
    return this.items.setAside(owner, key, value, error, this.putting(owner, key, instead), {}, instead !== undefined)
  }

  /** Puts a record aside, unless it can be read after all writes under way to its owner have settled. */
  async #move (owner: string, key: string, error: unknown): Promise<void> {
    await this.#storage.locked(`${this.#id} ${owner}`, async () => {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const found = await this.#storage.undisturbed(this.#id, owner, async () => {
          return { json: await this.#find(owner, key) }
        })
        if (found === undefined) continue
        if (found.json === undefined || this.items.isReadable(found.json)) return
        await this.#putAside(owner, key, found.json, error)
        return
      }
    })
  }

  #putAside (owner: string, key: string, text: string, error: unknown): Promise<void> {
    const item = { store: this.#name, owner, id: key, text, error }
    return this.#storage.aside.put(item, this.putting(owner, key, undefined))
  }

  /** `holder`: an owner who holds something after the write. */
  #write (row: Row, holder?: string): PostgresWrite {
    const listing: readonly Row[] = holder === undefined || !this.items.isByHost
      ? []
      : [{ op: 'own', store: this.#id, ...ownerFields(holder) }]
    return { store: this.#name, rows: [...listing, row] }
  }
}

const FIRST = 'SELECT key, value FROM records WHERE store = $1 AND owner = $2 ORDER BY key LIMIT $3'
const AFTER = 'SELECT key, value FROM records WHERE store = $1 AND owner = $2 AND key > $3 ORDER BY key LIMIT $4'
