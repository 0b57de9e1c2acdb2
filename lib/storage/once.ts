/** For writes that may be requested twice before they are stored, but must be made once. */
import type { Batch } from './store.js'

const asked = new WeakMap<Batch, Set<string>>()

/** True for the first call with this batch, store, owner and id. */
export function isFirstInBatch (batch: Batch, store: string, owner: string, id: string): boolean {
  const key = `${store} ${owner} ${id}`
  const known = asked.get(batch)
  if (known === undefined) asked.set(batch, new Set([key]))
  else if (known.has(key)) return false
  else known.add(key)
  return true
}
