/** Unguessable ids as a dependency: tests use a counter. */
import { randomBytes } from 'node:crypto'

export interface Ids {
  /** Returns a new id: safe in XML and in a resource, unguessable outside tests. */
  next (): string
}

/** Makes ids of 144 bits from the system's cryptographic generator, as 24 characters of base64url. */
export const randomIds: Ids = { next: () => fresh() }

const SIZE = 18
const POOL = SIZE * 64
let pool = Buffer.alloc(0)
let used = 0

/** One call to the generator serves 64 ids, because ids are made for stanzas. */
function fresh (): string {
  if (used >= pool.length) {
    pool = randomBytes(POOL)
    used = 0
  }
  const id = pool.toString('base64url', used, used + SIZE)
  pool.fill(0, used, used += SIZE)
  return id
}
