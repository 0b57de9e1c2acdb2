/** How the drivers parse and check stored items one by one, by the shape of the store. */
import type { Maybe } from '../base/maybe.js'
import { Unreadable, type UnreadableItems } from './aside.js'
import type { Entry, JournalPage, Shape, UnreadableEntry, Write } from './store.js'

/** An entry as a driver found it. */
export interface FoundEntry { readonly id: string, readonly at: number, readonly with: string, readonly json: string }

/** True if a stored text is JSON. */
export function isJson (text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Returns the bytes that a value counts for: those of a string itself, or else those of its JSON. */
export function bytesOf (value: unknown, json: string): number {
  return Buffer.byteLength(typeof value === 'string' ? value : json)
}

interface ReadEntries {
  readonly entries: readonly Entry<unknown>[]
  readonly unread?: readonly UnreadableEntry[]
  readonly moved?: Promise<void>
}

/** A page as a driver read it, before unreadable entries are dealt with. */
export interface ReadPage extends ReadEntries { readonly complete: boolean }

/** Reads the items of one store. */
export class Items {
  readonly #name: string
  readonly #aside: UnreadableItems
  /** The shape with which the store was opened last. */
  shape: Shape<unknown>

  constructor (name: string, shape: Shape<unknown>, aside: UnreadableItems) {
    this.#name = name
    this.shape = shape
    this.#aside = aside
  }

  /** True if the store can list its owners by host. */
  get isByHost (): boolean { return this.shape.byHost === true }

  /**
   * Takes a shape with which the store is opened again: its check, if it has one, and its listing by host. Returns true
   * if the store was not listed by host before.
   */
  adopt (shape: Shape<unknown>): boolean {
    const isNew = shape.byHost === true && !this.isByHost
    const byHost = isNew || this.isByHost
    this.shape = { ...shape.check === undefined ? this.shape : shape, byHost }
    return isNew
  }

  /** Returns the error for a store whose owners are asked for by host, but that is not declared so. */
  unlisted (): Error { return new RangeError(`the store ${this.#name} is not declared with byHost`) }

  /** True if `valueOf` would not throw for this text. */
  isReadable (json: string): boolean {
    try {
      this.valueOf(json)
      return true
    } catch {
      return false
    }
  }

  /** Parses a stored value. Throws if it is not JSON, or not of the form that the store holds. */
  valueOf (json: string): unknown {
    const value: unknown = JSON.parse(json)
    const { check } = this.shape
    if (check !== undefined && !check(value)) throw new TypeError('its value is not of the form that this store holds')
    return value
  }

  /**
   * Returns the value of one record, or undefined after `move` has put it aside; `move` does so unless the record has
   * changed meanwhile. Throws Unreadable if the store's shape says that an unreadable record must not count as missing.
   */
  async one (owner: string, key: string, json: string, move: (error: unknown) => Promise<void>): Promise<unknown> {
    try {
      return this.valueOf(json)
    } catch (error) {
      if (this.shape.unreadable === 'moved') {
        await move(error)
        return undefined
      }
      throw this.refuse(owner, key, error)
    }
  }

  /**
   * Returns the records that can be read. `move` works as in `one`. Throws Unreadable if a record cannot be read and
   * the store's shape is 'refused'.
   */
  async all (
    owner: string, found: Iterable<readonly [key: string, json: string]>,
    move: (key: string, error: unknown) => Promise<void>,
  ): Promise<Map<string, unknown>> {
    const broken: (readonly [key: string, error: unknown])[] = []
    const values = this.values(owner, found, (key, error) => { broken.push([key, error]) })
    for (const [key, error] of broken) await move(key, error)
    return values
  }

  /** Works like `all`, but synchronously: `broken` is called for each record that must be put aside first. */
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
          const refusal = this.refuse(owner, key, error)
          if (this.shape.unreadable === 'refused') throw refusal
        }
      }
    }
    return values
  }

  /**
   * Returns the entries that can be read and those that cannot. The latter are being put aside: `moved` resolves when
   * that is done.
   */
  entries (owner: string, found: readonly FoundEntry[], removing: (id: string) => Write): ReadEntries {
    const entries: Entry<unknown>[] = []
    let unread: UnreadableEntry[] | undefined
    let moved: Promise<unknown>[] | undefined
    for (const { id, at, with: other, json } of found) {
      try {
        entries.push({ id, at, with: other, value: this.valueOf(json) })
      } catch (error) {
        const item = { store: this.#name, owner, id, text: json, error, at, with: other };
        (unread ??= []).push({ id, with: other });
        (moved ??= []).push(this.#aside.put(item, removing(id)))
      }
    }
    if (unread === undefined || moved === undefined) return { entries }
    return { entries, unread, moved: Promise.all(moved).then(() => undefined) }
  }

  /**
   * Returns the page that `look` finds. Unreadable entries are put aside first, and the page is read again, so that it
   * has as many entries as if they had never been stored. If they cannot be put aside, the page is shorter.
   */
  async page (look: () => Maybe<ReadPage>): Promise<JournalPage<unknown>> {
    let page = await look()
    if (page.unread === undefined) return { entries: page.entries, complete: page.complete }
    const unread = new Map<string, UnreadableEntry>()
    for (; page.unread?.some(({ id }) => !unread.has(id)) === true; page = await look()) {
      for (const entry of page.unread) unread.set(entry.id, entry)
      await page.moved
    }
    return { entries: page.entries, complete: page.complete, unread: [...unread.values()] }
  }

  /** Implements `Records.setAside` and `Journal.setAside`. */
  setAside (
    owner: string, id: string, value: unknown, error: unknown, write: Write,
    more: { readonly at?: number, readonly with?: string } = {}, isReplaced = false,
  ): Promise<void> {
    if (this.shape.unreadable !== 'moved' && !isReplaced) return Promise.reject(this.refuse(owner, id, error))
    return this.#aside.put({ store: this.#name, owner, id, text: JSON.stringify(value), error, ...more }, write)
  }

  /** Puts an item with this stored text aside; `removing` removes it in the same commit. */
  move (owner: string, id: string, text: string, error: unknown, removing: Write): Promise<void> {
    return this.#aside.put({ store: this.#name, owner, id, text, error }, removing)
  }

  /** Logs an item that stays where it is. Returns the error for a request that must not count it as missing. */
  refuse (owner: string, key: string, error: unknown): Unreadable {
    this.#aside.tell({ store: this.#name, owner, id: key, error })
    return new Unreadable(`an item of ${this.#name} cannot be read`, { cause: error })
  }
}
