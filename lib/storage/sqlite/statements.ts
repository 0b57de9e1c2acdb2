/** The statements behind each kind of row. */
import type { Database } from 'better-sqlite3'
import { wordsOf } from '../words.js'
import { markOf, type Row } from './rows.js'

const OWN = 'store = ? AND owner = ?'
const EVERY_STORE = 'store IN (SELECT id FROM stores) AND owner = ?'

type Parameters = readonly (string | number | null)[]

/** A function that does what a row says, inside the caller's transaction; it answers how many rows that changed. */
export function performer (database: Database): (row: Row) => number {
  const statement = (sql: string): (values: Parameters) => number => {
    const prepared = database.prepare(sql)
    return values => prepared.run(...values).changes
  }
  const put = statement('INSERT INTO records (store, owner, key, value) VALUES (?, ?, ?, ?) ' +
    'ON CONFLICT (store, owner, key) DO UPDATE SET value = excluded.value')
  const remove = statement(`DELETE FROM records WHERE ${OWN} AND key = ?`)
  const clear = statement(`DELETE FROM records WHERE ${OWN}`)
  const insert = database.prepare('INSERT INTO journal (store, owner, id, at, with_bare, with_full, bytes, value, alias, worded) ' +
    'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
  const word = statement('INSERT INTO journal_words (rowid, words) VALUES (?, ?)')
  const drop = statement(`DELETE FROM journal INDEXED BY journal_id WHERE ${OWN} AND id IN (SELECT value FROM json_each(?))`)
  const replace = statement(`UPDATE journal SET bytes = ?, value = ?, worded = 0 WHERE ${OWN} AND id = ?`)
  const empty = statement(`DELETE FROM journal WHERE ${OWN}`)
  const trimOld = statement(`DELETE FROM journal INDEXED BY journal_order WHERE ${OWN} AND at < ?`)
  const trimMany = statement(`DELETE FROM journal INDEXED BY journal_order WHERE ${OWN} AND seq <= ` +
    `(SELECT seq FROM journal WHERE ${OWN} ORDER BY seq DESC LIMIT 1 OFFSET ?)`)
  const trimLarge = statement(`DELETE FROM journal INDEXED BY journal_order WHERE ${OWN} AND seq <= (SELECT max(seq) FROM ` +
    `(SELECT seq, sum(bytes) OVER (ORDER BY seq DESC) AS total FROM journal INDEXED BY journal_order WHERE ${OWN}) WHERE total > ?)`)
  const expire = statement('DELETE FROM journal WHERE seq IN (SELECT seq FROM journal INDEXED BY journal_age WHERE store = ? AND at < ? ORDER BY at LIMIT ?)')
  const eraseRecords = statement(`DELETE FROM records WHERE ${EVERY_STORE}`)
  const eraseJournals = statement(`DELETE FROM journal WHERE ${EVERY_STORE}`)

  const append = (row: Extract<Row, readonly ['append', ...unknown[]]>): number => {
    const [, store, owner, id, at, bare, full, bytes, value, alias, text] = row
    const words = text === null ? [] : wordsOf(text)
    const { lastInsertRowid } = insert.run(store, owner, id, at, bare, full, bytes, value, alias, words.length > 0 ? 1 : 0)
    if (words.length > 0) {
      const mark = markOf(store, owner)
      word([Number(lastInsertRowid), mark + words.join(` ${mark}`)])
    }
    return 1
  }

  return row => {
    switch (row[0]) {
      case 'put': return put(row.slice(1))
      case 'remove': return remove(row.slice(1))
      case 'clear': return clear(row.slice(1))
      case 'append': return append(row)
      case 'drop': return drop(row.slice(1))
      case 'replace': return replace([row[4], row[5], row[1], row[2], row[3]])
      case 'empty': return empty(row.slice(1))
      case 'expire': return expire(row.slice(1))
      case 'erase': return eraseRecords([row[1]]) + eraseJournals([row[1]])
      case 'trim': {
        const [, store, owner, newest, since, bytes] = row
        const many = newest === null ? 0 : trimMany([store, owner, store, owner, newest])
        const large = bytes === null ? 0 : trimLarge([store, owner, store, owner, bytes])
        return many + large + (since === null ? 0 : trimOld([store, owner, since]))
      }
    }
  }
}
