/** What a device has not seen: how much, and from whom. */
import { flatten } from '../../lib/api.js'
import type { Jid } from '../../lib/api.js'

/** Messages of which is known what they are; those before them are only counted. */
const KNOWN = 100
/** Longer ids are no way to know a message again. */
const LONGEST_ID = 200

interface Item { readonly from: string, readonly archived: string | undefined, readonly id: string | undefined }

export class Unread {
  #items: Item[] = []
  #older = 0

  get count (): number { return this.#items.length + this.#older }

  /** False where it is among them already. `archived`: the id under which the archive has it; `id`: its sender's. */
  add (from: Jid, archived: string | undefined, id: string | undefined): boolean {
    const item: Item = { from: from.bare.toString(), archived: usable(archived), id: usable(id) }
    if (this.#items.some(other => isSame(other, item))) return false
    this.#items.push(item)
    if (this.#items.length > KNOWN) {
      this.#items.shift()
      this.#older++
    }
    return true
  }

  /** What this one has written was read, as far as this id; undefined: all of it. One that is not known says nothing of what is. */
  read (contact: Jid, id: string | undefined): void {
    const from = contact.bare.toString()
    const last = id === undefined
      ? this.#items.length - 1
      : this.#items.findLastIndex(item => item.from === from && (item.archived === id || item.id === id))
    this.#items = this.#items.filter((item, index) => item.from !== from || index > last)
  }

  clear (): void {
    this.#items = []
    this.#older = 0
  }
}

function isSame (a: Item, b: Item): boolean {
  if (a.archived !== undefined || b.archived !== undefined) return a.archived === b.archived
  return a.id !== undefined && a.id === b.id && a.from === b.from
}

/** Kept for long: it must not hold what it was cut from. */
function usable (id: string | undefined): string | undefined {
  return id === undefined || id === '' || id.length > LONGEST_ID ? undefined : flatten(id)
}
