/** Puts into a database, before a server starts on it, what an attacker would need days to put there. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { connect, takeSteps } from '../../lib/storage/sqlite/connection.js'
import { performer } from '../../lib/storage/sqlite/statements.js'
import { register } from '../../lib/storage/sqlite/upgrade.js'
import { DATABASE } from '../../lib/storage/sqlite/restore.js'
import type { Row } from '../../lib/storage/sqlite/rows.js'
import { journal, records } from '../../lib/storage/store.js'

/** Writes of one store: `store` is its number. */
export type Sown = (store: number) => Iterable<Row>

/** Fills the stores of the data folder in `folder`. Each is of the version 1. */
export function seed (folder: string, stores: Readonly<Record<string, { readonly kind: 'journal' | 'records', readonly rows: Sown }>>): void {
  const data = join(folder, 'data')
  mkdirSync(data, { recursive: true })
  const database = connect(join(data, DATABASE), 'os')
  try {
    takeSteps(database)
    const perform = performer(database)
    database.transaction(() => {
      for (const [name, { kind, rows }] of Object.entries(stores)) {
        const store = register(database, name, kind === 'journal' ? journal(1) : records(1))
        for (const row of rows(store)) perform(row)
      }
    })()
  } finally {
    database.close()
  }
}
