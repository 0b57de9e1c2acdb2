/** The SQL statement for each kind of row. */
import type { Database } from 'better-sqlite3'
import { indexedWords } from '../words.js'
import { LogStatements } from './log-statements.js'
import type { Row } from './rows.js'
import { OwnerStatements, TableStatements } from './table-statements.js'

const OWN = 'store = ? AND owner = ?'
const EVERY_STORE = 'store IN (SELECT id FROM stores) AND owner = ?'

type Parameters = readonly (string | number | null)[]
type AppendRow = Extract<Row, readonly ['append', ...unknown[]]>
type TrimRow = Extract<Row, readonly ['trim', ...unknown[]]>

/** Runs one statement; returns the number of changed rows. */
type Run = (values: Parameters) => number
type Prepare = (sql: string) => Run

/** Performs writes inside the caller's transaction. */
export interface Performer {
  /** Performs the write of a row; returns the number of changed rows. */
  perform (row: Row): number
  /** Writes what the writes of a transaction have left to its end. */
  finish (): void
  /** Must be called after a transaction was rolled back. */
  undone (): void
}

export function performer (database: Database): Performer {
  const prepare: Prepare = sql => {
    const prepared = database.prepare(sql)
    return values => prepared.run(...values).changes
  }
  const { put, remove, clear, eraseRecords } = recordStatements(prepare)
  const { drop, replace, empty, expire, eraseJournals } = journalStatements(prepare)
  const append = appender(database, prepare)
  const trim = trimmer(prepare)
  const owners = new OwnerStatements(database)
  const performTable = tablePerformer(database, owners)
  const logs = new LogStatements(database)
  const perform = (row: Row): number => {
    switch (row[0]) {
      case 'put': owners.add(row[1], row[2]); return put(row.slice(1))
      case 'remove': return remove(row.slice(1))
      case 'clear': return clear(row.slice(1))
      case 'append': owners.add(row[1], row[2]); return append(row)
      case 'drop': return drop(row.slice(1))
      case 'replace': return replace([row[4], row[5], row[1], row[2], row[3]])
      case 'empty': return empty(row.slice(1))
      case 'expire': return expire(row.slice(1))
      case 'erase': logs.erase(row[1]); return eraseRecords([row[1]]) + eraseJournals([row[1]]) + performTable(row)
      case 'note': case 'strike': case 'still': case 'lose': return logs.perform(row)
      case 'trim': return trim(row)
      default: return performTable(row)
    }
  }
  const undone = (): void => {
    owners.forget()
    logs.forget()
  }
  return { perform, finish () { logs.finish() }, undone }
}

type TableOps = 'set' | 'unset' | 'wipe' | 'lapse' | 'host' | 'tidy' | 'erase'

/** Returns a function that performs the writes of tables and of lists of owners. */
function tablePerformer (
  database: Database, owners: OwnerStatements,
): (row: Extract<Row, readonly [TableOps, ...unknown[]]>) => number {
  const tables = new TableStatements(database)
  return row => {
    switch (row[0]) {
      case 'set': return tables.set(row)
      case 'unset': return tables.unset(row)
      case 'wipe': return tables.wipe(row)
      case 'lapse': return tables.lapse(row)
      case 'host': return owners.begin(row)
      case 'tidy': return owners.tidy(row)
      case 'erase': owners.erase(row[1]); return tables.erase(row[1])
    }
  }
}

function recordStatements (prepare: Prepare): Readonly<Record<'put' | 'remove' | 'clear' | 'eraseRecords', Run>> {
  return {
    put: prepare('INSERT INTO records (store, owner, key, value) VALUES (?, ?, ?, ?) ' +
      'ON CONFLICT (store, owner, key) DO UPDATE SET value = excluded.value'),
    remove: prepare(`DELETE FROM records WHERE ${OWN} AND key = ?`),
    clear: prepare(`DELETE FROM records WHERE ${OWN}`),
    eraseRecords: prepare(`DELETE FROM records WHERE ${EVERY_STORE}`),
  }
}

function journalStatements (
  prepare: Prepare,
): Readonly<Record<'drop' | 'replace' | 'empty' | 'expire' | 'eraseJournals', Run>> {
  return {
    drop: prepare('DELETE FROM journal INDEXED BY journal_id ' +
      `WHERE ${OWN} AND id IN (SELECT value FROM json_each(?))`),
    replace: prepare(`UPDATE journal SET bytes = ?, value = ?, worded = 0 WHERE ${OWN} AND id = ?`),
    empty: prepare(`DELETE FROM journal WHERE ${OWN}`),
    expire: prepare('DELETE FROM journal WHERE seq IN ' +
      '(SELECT seq FROM journal INDEXED BY journal_age WHERE store = ? AND at < ? ORDER BY at LIMIT ?)'),
    eraseJournals: prepare(`DELETE FROM journal WHERE ${EVERY_STORE}`),
  }
}

/** Returns a function that appends an entry with the words of its text. */
function appender (database: Database, prepare: Prepare): (row: AppendRow) => number {
  const insert = database.prepare('INSERT INTO journal ' +
    '(store, owner, id, at, with_bare, with_full, bytes, value, alias, worded) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
  const word = prepare('INSERT INTO journal_words (rowid, words) VALUES (?, ?)')
  return row => {
    const [, store, owner, id, at, bare, full, bytes, value, alias, text] = row
    const words = text === null ? '' : indexedWords(store, owner, text)
    const worded = words === '' ? 0 : 1
    const { lastInsertRowid } = insert.run(store, owner, id, at, bare, full, bytes, value, alias, worded)
    if (words !== '') word([Number(lastInsertRowid), words])
    return 1
  }
}

/** Returns a function that removes the entries that a trim does not keep. */
function trimmer (prepare: Prepare): (row: TrimRow) => number {
  const trimming = `DELETE FROM journal INDEXED BY journal_order WHERE ${OWN}`
  const trimOld = prepare(`${trimming} AND at < ?`)
  const trimMany = prepare(`${trimming} AND seq <= ` +
    `(SELECT seq FROM journal WHERE ${OWN} ORDER BY seq DESC LIMIT 1 OFFSET ?)`)
  const trimLarge = prepare(`${trimming} AND seq <= (SELECT max(seq) FROM ` +
    '(SELECT seq, sum(bytes) OVER (ORDER BY seq DESC) AS total ' +
    `FROM journal INDEXED BY journal_order WHERE ${OWN}) WHERE total > ?)`)
  return ([, store, owner, newest, since, bytes]) => {
    const many = newest === null ? 0 : trimMany([store, owner, store, owner, newest])
    const large = bytes === null ? 0 : trimLarge([store, owner, store, owner, bytes])
    return many + large + (since === null ? 0 : trimOld([store, owner, since]))
  }
}
