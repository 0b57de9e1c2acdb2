/** Writes an SQLite database as the SQL that makes it, row by row, and reads it back. */
import Database from 'better-sqlite3'

interface Made { readonly type: string, readonly name: string, readonly sql: string }

/** Returns the SQL for everything in the file. A virtual table is written by its shadow tables and their rows. */
export function dump (file: string): string {
  const database = new Database(file, { readonly: true })
  try {
    const all = database.prepare<[], Made>("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid").all()
    const virtual = all.filter(({ sql }) => isVirtual(sql)).map(({ name }) => name)
    const isShadow = (name: string): boolean => virtual.some(one => name.startsWith(`${one}_`))
    const tables = all.filter(({ type, name }) => type === 'table' && !virtual.includes(name))
    return [
      `PRAGMA user_version = ${String(database.pragma('user_version', { simple: true }))};`,
      ...all.filter(({ name, type }) => type === 'table' && !isShadow(name)).map(({ sql }) => `${sql};`),
      ...tables.flatMap(({ name, sql }) => [...isShadow(name) ? [`DELETE FROM ${name};`] : [], ...rows(database, name, sql)]),
      'DELETE FROM sqlite_sequence;', ...rows(database, 'sqlite_sequence', ''),
      ...all.filter(({ type }) => type !== 'table').map(({ sql }) => `${sql};`),
    ].join('\n').concat('\n')
  } finally {
    database.close()
  }
}

/** Makes the file. */
export function fill (file: string, sql: string): void {
  const database = new Database(file)
  try {
    database.unsafeMode() // the tables of a virtual table are written directly
    database.exec(`BEGIN; ${sql} COMMIT`)
  } finally {
    database.close()
  }
}

function isVirtual (sql: string): boolean { return /^CREATE VIRTUAL TABLE/i.test(sql) }

function rows (database: Database.Database, table: string, made: string): readonly string[] {
  const hasRowId = !/WITHOUT ROWID/i.test(made)
  const found = database.prepare(`SELECT * FROM ${table} ORDER BY ${hasRowId ? 'rowid' : '1, 2'}`).safeIntegers().raw().all() as unknown[][]
  return found.map(row => `INSERT INTO ${table} VALUES (${row.map(literal).join(', ')});`)
}

function literal (value: unknown): string {
  if (value === null) return 'NULL'
  if (typeof value === 'bigint' || typeof value === 'number') return String(value)
  if (value instanceof Uint8Array) return `X'${Buffer.from(value).toString('hex')}'`
  if (typeof value === 'string') return `'${value.replaceAll("'", "''")}'`
  throw new Error(`a column of ${typeof value}`)
}
