/** The indexes of tables, and the form in which drivers keep ranks and keys: bounded texts that a database orders. */
import { createHash } from 'node:crypto'

/** The value by which an index orders rows. Texts are in the order of code points. */
export type Rank = string | number

/**
 * The indexes of a table. Each function gets a value as it is stored and must be pure; if one changes, the version of
 * the table must change too. Names that are added or left out are noticed without that.
 */
export interface TableIndexes<V> {
  /**
   * Returns the rank of a row; the index leaves a row without a rank out. Of a text longer than 336 bytes of UTF-8, the
   * beginning and a digest are compared.
   */
  readonly by: Readonly<Record<string, (value: V) => Rank | undefined>>
  /** Returns the amount that a row adds to a sum; it must be finite. */
  readonly sum?: Readonly<Record<string, (value: V) => number>>
}

/**
 * The most bytes of UTF-8 that are compared as they are. A database bounds its keys (MariaDB: 3,072 bytes, PostgreSQL:
 * 2,704), and a key also holds an owner, which has up to 2,047 bytes (RFC 7622 §3.1).
 */
const LONGEST = 336

/** A row's entry in an index: the name of the index and the rank, or the name of a sum and an amount. */
export type IndexEntry = readonly [name: string, rank: string, amount: number | null]

/** Returns the name under which a sum is kept among the indexes. */
export function sumName (name: string): string { return `+${name}` }

/** Returns the names of all indexes and sums, sorted: a table whose names have changed is indexed again. */
export function namesOf ({ by, sum = {} }: TableIndexes<unknown>): readonly string[] {
  return [...Object.keys(by), ...Object.keys(sum).map(sumName)].sort()
}

/** Returns what a row with this value has in the indexes. Throws if a rank is not a number, or an amount not finite. */
export function entriesOf ({ by, sum = {} }: TableIndexes<unknown>, value: unknown): IndexEntry[] {
  const entries: IndexEntry[] = []
  for (const [name, rankOf] of Object.entries(by)) {
    const rank = rankOf(value)
    if (rank !== undefined) entries.push([name, sortable(rank), null])
  }
  for (const [name, amountOf] of Object.entries(sum)) {
    const amount = amountOf(value)
    if (!Number.isFinite(amount)) throw new RangeError(`what a row adds to the sum ${name} must be a finite number`)
    if (amount !== 0) entries.push([sumName(name), '', amount])
  }
  return entries
}

/** Returns a text whose order by code point is that of ranks. Numbers come before texts. */
export function sortable (rank: Rank): string {
  if (typeof rank === 'string') return `s${shortKey(rank)}`
  if (Number.isNaN(rank)) throw new RangeError('a rank must be a number')
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleBE(rank === 0 ? 0 : rank) // not -0
  if ((bytes[0] ?? 0) < 0x80) bytes[0] = (bytes[0] ?? 0) | 0x80
  else for (const [index, byte] of bytes.entries()) bytes[index] = ~byte & 0xff
  return `n${bytes.toString('hex')}`
}

/**
 * Returns a key as it is compared, in at most 400 bytes. Different keys stay different: a shortened one is longer than
 * any other. Those longer than the bound are in the order of their beginnings.
 */
export function shortKey (text: string): string {
  if (text.length <= LONGEST / 3 && !SURROGATES.test(text)) return text
  const bytes = Buffer.from(text)
  if (bytes.length <= LONGEST) return bytes.toString()
  const digest = createHash('sha256').update(bytes).digest('hex')
  let end = LONGEST
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end-- // not in the middle of a character
  return bytes.toString('utf8', 0, end) + digest
}

/** A half of a pair alone is no character, and no database stores it. */
const SURROGATES = /[\ud800-\udfff]/
