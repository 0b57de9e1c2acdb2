/** Fills a database before a server starts on it, with rows that an attacker would need days to produce. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { connect, takeSteps } from '../../lib/storage/sqlite/connection.js'
import { performer } from '../../lib/storage/sqlite/statements.js'
import { register } from '../../lib/storage/sqlite/upgrade.js'
import { DATABASE } from '../../lib/storage/sqlite/restore.js'
import type { Row } from '../../lib/storage/sqlite/rows.js'
import { journal, records } from '../../lib/storage/store.js'

/** Returns the rows of one store, whose number is `store`. */
export type SeedRows = (store: number) => Iterable<Row>

/** Fills stores of version 1 in the data folder of `folder`. */
export function seed (folder: string, stores: Readonly<Record<string, { readonly kind: 'journal' | 'records', readonly rows: SeedRows }>>): void {
  const data = join(folder, 'data')
  mkdirSync(data, { recursive: true })
  const database = connect(join(data, DATABASE), 'os')
  try {
    takeSteps(database)
    const { perform } = performer(database)
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
