/**
 * Knows which owners are in the lists of their stores, so that a batch asks the database only for those that may not
 * be.
 */
import type { Row } from './rows.js'

/** The most owners that are remembered; then all are forgotten, and listed again. */
const MOST_KNOWN = 100_000

export class ListedOwners {
  /** The stores in whose lists an owner is. */
  readonly #known = new Map<string, Set<number>>()

  /**
   * Returns the batches without rows that list an owner who is listed already, and a function to call if they are
   * stored.
   */
  reduce (batches: readonly (readonly Row[])[]): {
    readonly batches: readonly (readonly Row[])[]
    readonly stored: () => void
  } {
    const added = new Map<string, Set<number>>()
    const reduced = batches.map(rows => rows.filter(({ op, store, owner }) => {
      if (op === 'tidy' || op === 'erase') {
        for (const map of [this.#known, added]) {
          if (op === 'erase') map.delete(owner)
          else map.get(owner)?.delete(store)
        }
      } else if (op === 'own') {
        if (this.#known.get(owner)?.has(store) === true) return false
        add(added, owner, store)
      }
      return true
    }))
    return { batches: reduced, stored: () => { this.#add(added) } }
  }

  #add (added: ReadonlyMap<string, ReadonlySet<number>>): void {
    if (this.#known.size + added.size > MOST_KNOWN) this.#known.clear()
    for (const [owner, stores] of added) for (const store of stores) add(this.#known, owner, store)
  }
}

function add (owners: Map<string, Set<number>>, owner: string, store: number): void {
  const stores = owners.get(owner)
  if (stores === undefined) owners.set(owner, new Set([store]))
  else stores.add(store)
}
