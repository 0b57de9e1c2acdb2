/** The statements that read tables, the same for SQLite and PostgreSQL. Parameters are written as question marks. */
import type { Position, RangeAt, ScopeAt } from './table-store.js'

type Value = string | number

/** A statement with its values. */
export interface Query { readonly sql: string, readonly values: Value[] }

/** Builds a statement that returns owner, key, json and bytes of rows, and the two parts of their positions. */
export function selectRows (store: number, range: RangeAt, limit: number): Query {
  const { from, values, order } = matching(store, range)
  const columns = range.name === undefined ? 'r.prefix, r.place' : 'e.rank, e.row_id'
  const direction = range.isLast ? ' DESC' : ''
  const sorted = order.map(column => column + direction).join(', ')
  return {
    sql: `SELECT r.prefix || r.host, r.key, r.value, r.bytes, ${columns} ${from} ORDER BY ${sorted} LIMIT ?`,
    values: [...values, limit],
  }
}

/** Builds a statement that counts matches, and stops after `limit`. */
export function countRows (store: number, range: RangeAt, limit: number | undefined): Query {
  const { from, values } = matching(store, range)
  return limit === undefined
    ? { sql: `SELECT count(*) ${from}`, values }
    : { sql: `SELECT count(*) FROM (SELECT 1 AS one ${from} LIMIT ?) AS found`, values: [...values, limit] }
}

/** Builds a statement that returns a sum, and the number of rows of which it is made, and stops after `limit` rows. */
export function sumRows (store: number, scope: ScopeAt, name: string, limit: number | undefined): Query {
  const at = scope.prefix === undefined ? 'host = ?' : 'host = ? AND prefix = ?'
  const from = `FROM table_entries WHERE store = ? AND name = ? AND ${at}`
  const values = [store, name, scope.host, ...scope.prefix === undefined ? [] : [scope.prefix]]
  const columns = 'coalesce(sum(amount), 0), count(*)'
  return limit === undefined
    ? { sql: `SELECT ${columns} ${from}`, values }
    : { sql: `SELECT ${columns} FROM (SELECT amount ${from} LIMIT ?) AS found`, values: [...values, limit] }
}

/** The matches of a range: a query from FROM on, and the columns in whose order they are. */
interface Matching { readonly from: string, readonly values: Value[], readonly order: readonly string[] }

function matching (store: number, range: RangeAt): Matching {
  return range.name === undefined ? byKey(store, range) : byRank(store, range, range.name)
}

class Conditions {
  text = ''
  readonly values: Value[] = []

  add (condition: string, ...values: readonly (Value | undefined)[]): void {
    if (values.some(value => value === undefined)) return
    this.text += `${this.text === '' ? 'WHERE' : ' AND'} ${condition}`
    this.values.push(...values as Value[])
  }
}

function byKey (store: number, { host, prefix, low, high, after, before }: RangeAt): Matching {
  const where = new Conditions()
  where.add('r.store = ?', store)
  where.add('r.host = ?', host)
  where.add('r.prefix = ?', prefix)
  where.add('r.place >= ?', low)
  where.add('r.place <= ?', high)
  // A comparison of pairs would read all rows of the owner from the first.
  const beyond = (sign: string, [owner, place]: Position): void => {
    if (prefix === owner) where.add(`r.place ${sign} ?`, place)
    else where.add(`(r.prefix, r.place) ${sign} (?, ?)`, owner, place)
  }
  for (const position of after) beyond('>', position)
  for (const position of before) beyond('<', position)
  const order = prefix === undefined ? ['r.prefix', 'r.place'] : ['r.place']
  return { from: `FROM table_rows AS r ${where.text}`, values: where.values, order }
}

function byRank (store: number, { host, prefix, low, high, after, before }: RangeAt, name: string): Matching {
  const where = new Conditions()
  where.add('e.store = ?', store)
  where.add('e.name = ?', name)
  where.add('e.host = ?', host)
  where.add('e.prefix = ?', prefix)
  where.add('e.rank >= ?', low)
  where.add('e.rank <= ?', high)
  for (const position of after) where.add('(e.rank, e.row_id) > (?, ?)', ...position)
  for (const position of before) where.add('(e.rank, e.row_id) < (?, ?)', ...position)
  // SQLite keeps the order of a cross join, so that the index of ranks is read and not sorted.
  const from = `FROM table_entries AS e CROSS JOIN table_rows AS r ${where.text} AND r.id = e.row_id`
  return { from, values: where.values, order: ['e.rank', 'e.row_id'] }
}
