/** The messages that a device has not seen: their number, and from whom they are. */
import { flatten } from '../../lib/api.js'
import type { Jid } from '../../lib/api.js'

/** The most messages that are remembered one by one; older ones are only counted. */
const KNOWN = 100
/** Longer ids are ignored, and do not identify a message. */
const LONGEST_ID = 200

interface Item { readonly from: string, readonly archived: string | undefined, readonly id: string | undefined }

/** The unseen messages of one registration. */
export class Unread {
  #items: Item[] = []
  #older = 0

  /** The number of unseen messages. */
  get count (): number { return this.#items.length + this.#older }

  /** Adds a message; false if it is counted already. `archived`: its archive id; `id`: its sender's id. */
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

  /** Removes the contact's messages up to this id; all of them if the id is undefined, none if it is unknown. */
  read (contact: Jid, id: string | undefined): void {
    const from = contact.bare.toString()
    const last = id === undefined
      ? this.#items.length - 1
      : this.#items.findLastIndex(item => item.from === from && (item.archived === id || item.id === id))
    this.#items = this.#items.filter((item, index) => item.from !== from || index > last)
  }

  /** Removes all messages. */
  clear (): void {
    this.#items = []
    this.#older = 0
  }
}

function isSame (a: Item, b: Item): boolean {
  if (a.archived !== undefined || b.archived !== undefined) return a.archived === b.archived
  return a.id !== undefined && a.id === b.id && a.from === b.from
}

/** A copy, because ids are kept for long and must not keep their input buffer in memory. */
function usable (id: string | undefined): string | undefined {
  return id === undefined || id === '' || id.length > LONGEST_ID ? undefined : flatten(id)
}
