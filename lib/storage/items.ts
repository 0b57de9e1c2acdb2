/** How the drivers read what they have found: item by item, by the shape of the store. */
import type { Maybe } from '../base/maybe.js'
import { Unreadable, type Aside } from './aside.js'
import type { Entry, JournalPage, Shape, Unread, Write } from './store.js'

/** An entry as a driver has found it. */
export interface FoundEntry { readonly id: string, readonly at: number, readonly with: string, readonly json: string }

/** Whether a stored text is JSON at all. */
export function isJson (text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

interface ReadEntries {
  readonly entries: readonly Entry<unknown>[]
  readonly unread?: readonly Unread[]
  readonly moved?: Promise<void>
}

/** A page as it was found. */
export interface ReadPage extends ReadEntries { readonly complete: boolean }

/** Reads the items of one store. */
export class Items {
  readonly #name: string
  readonly #aside: Aside
  /** The shape that the store was opened with last. */
  shape: Shape<unknown>

  constructor (name: string, shape: Shape<unknown>, aside: Aside) {
    this.#name = name
    this.shape = shape
    this.#aside = aside
  }

  /** Whether a text is a value of the store: `valueOf` would not throw. */
  isReadable (json: string): boolean {
    try {
      this.valueOf(json)
      return true
    } catch {
      return false
    }
  }

  /** The value that a text is. Throws if it is not JSON, or not what the store holds. */
  valueOf (json: string): unknown {
    const value: unknown = JSON.parse(json)
    const { check } = this.shape
    if (check !== undefined && !check(value)) throw new TypeError('its value is not of the form that this store holds')
    return value
  }

  /**
   * The value of one record. `move` puts it aside, unless it has changed meanwhile. undefined once it is put aside. Throws Unreadable if
   * the store's shape says that it must not be taken for missing.
   */
  async one (owner: string, key: string, json: string, move: (error: unknown) => Promise<void>): Promise<unknown> {
    try {
      return this.valueOf(json)
    } catch (error) {
      if (this.shape.unreadable === 'moved') {
        await move(error)
        return undefined
      }
      throw this.#refuse(owner, key, error)
    }
  }

  /**
   * The records that can be read. `move` as in `one`. Throws Unreadable if one cannot be read and the store's shape says that the owner's
   * items count as a whole.
   */
  async all (
    owner: string, found: Iterable<readonly [key: string, json: string]>, move: (key: string, error: unknown) => Promise<void>,
  ): Promise<Map<string, unknown>> {
    const broken: (readonly [key: string, error: unknown])[] = []
    const values = this.values(owner, found, (key, error) => { broken.push([key, error]) })
    for (const [key, error] of broken) await move(key, error)
    return values
  }

  /** The same at once; `broken` is told of what is to be put aside first. */
  values (
    owner: string, found: Iterable<readonly [key: string, json: string]>, broken: (key: string, error: unknown) => void,
  ): Map<string, unknown> {
    const values = new Map<string, unknown>()
    for (const [key, json] of found) {
      try {
        values.set(key, this.valueOf(json))
      } catch (error) {
        if (this.shape.unreadable === 'moved') broken(key, error)
        else {
          const refusal = this.#refuse(owner, key, error)
          if (this.shape.unreadable === 'refused') throw refusal
        }
      }
    }
    return values
  }

  /** The entries that can be read, and the others, which are being put aside: `moved` resolves when they are. */
  entries (owner: string, found: readonly FoundEntry[], removing: (id: string) => Write): ReadEntries {
    const entries: Entry<unknown>[] = []
    let unread: Unread[] | undefined
    let moved: Promise<unknown>[] | undefined
    for (const { id, at, with: other, json } of found) {
      try {
        entries.push({ id, at, with: other, value: this.valueOf(json) })
      } catch (error) {
        (unread ??= []).push({ id, with: other });
        (moved ??= []).push(this.#aside.put({ store: this.#name, owner, id, text: json, error, at, with: other }, removing(id)))
      }
    }
    if (unread === undefined || moved === undefined) return { entries }
    return { entries, unread, moved: Promise.all(moved).then(() => undefined) }
  }

  /**
   * The page that `look` finds. What cannot be read is put aside first, and the page is looked for again: it has as many entries as if that
   * had never been there, unless it cannot be put aside.
   */
  async page (look: () => Maybe<ReadPage>): Promise<JournalPage<unknown>> {
    let page = await look()
    if (page.unread === undefined) return { entries: page.entries, complete: page.complete }
    const unread = new Map<string, Unread>()
    for (; page.unread?.some(({ id }) => !unread.has(id)) === true; page = await look()) {
      for (const entry of page.unread) unread.set(entry.id, entry)
      await page.moved
    }
    return { entries: page.entries, complete: page.complete, unread: [...unread.values()] }
  }

  /** As `Records.setAside` and `Journal.setAside`. */
  setAside (
    owner: string, id: string, value: unknown, error: unknown, write: Write, more: { readonly at?: number, readonly with?: string } = {},
  ): Promise<void> {
    if (this.shape.unreadable !== 'moved') return Promise.reject(this.#refuse(owner, id, error))
    return this.#aside.put({ store: this.#name, owner, id, text: JSON.stringify(value), error, ...more }, write)
  }

  #refuse (owner: string, key: string, error: unknown): Unreadable {
    this.#aside.tell({ store: this.#name, owner, id: key, error })
    return new Unreadable(`an item of ${this.#name} cannot be read`, { cause: error })
  }
}
