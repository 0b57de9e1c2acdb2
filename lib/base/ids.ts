/** Names that nobody can guess, handed in: tests count instead. */
import { randomBytes } from 'node:crypto'

export interface Ids {
  /** A new id: safe in XML and in an address's resource, unguessable outside tests. */
  next (): string
}

/** 144 bits from the system's cryptographic generator, as 24 characters of base64url. */
export const randomIds: Ids = { next: () => fresh() }

const SIZE = 18
const POOL = SIZE * 64
let pool = Buffer.alloc(0)
let used = 0

/** One call to the generator serves 64 ids: ids are made on a stanza's way. */
function fresh (): string {
  if (used >= pool.length) {
    pool = randomBytes(POOL)
    used = 0
  }
  const id = pool.toString('base64url', used, used + SIZE)
  pool.fill(0, used, used += SIZE)
  return id
}
