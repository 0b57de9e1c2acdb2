/** What is to be written once, though it may come twice before it is stored. */
import type { Batch } from './store.js'

const asked = new WeakMap<Batch, Set<string>>()

/** Whether this is asked about for the first time with this batch. */
export function isFirstIn (batch: Batch, store: string, owner: string, id: string): boolean {
  const key = `${store} ${owner} ${id}`
  const known = asked.get(batch)
  if (known === undefined) asked.set(batch, new Set([key]))
  else if (known.has(key)) return false
  else known.add(key)
  return true
}
