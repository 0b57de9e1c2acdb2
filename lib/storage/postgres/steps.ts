/** Runs the numbered steps that bring the tables of a database to this version. */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../../base/package.js'
import type { Client } from './client.js'

const STEPS = join(PACKAGE_ROOT, 'lib', 'storage', 'postgres', 'steps')

/**
 * Runs the steps that the database has not had yet, all or none. Throws if the database is at a later step than this
 * version knows, and if its encoding is not UTF-8.
 */
export async function takeSteps (client: Client, folder: string = STEPS): Promise<void> {
  const steps = readdirSync(folder).filter(name => /^\d{3}-.*\.sql$/.test(name)).sort()
  const newest = parseInt(steps.at(-1) ?? '0', 10)
  const { rows: [encoding] } = await client.query<{ name: string }>(
    'SELECT current_setting(\'server_encoding\') AS name')
  if (encoding?.name !== 'UTF8') {
    throw new Error(`the encoding of the database is ${encoding?.name ?? 'unknown'}, but must be UTF8`)
  }
  await transaction(client, async () => {
    await client.query('CREATE SCHEMA IF NOT EXISTS sestina')
    await client.query('CREATE TABLE IF NOT EXISTS steps ' +
      '(number integer PRIMARY KEY, name text NOT NULL, taken timestamptz NOT NULL DEFAULT now())')
    const { rows: [{ version } = { version: 0 }] } = await client.query<{ version: number }>(
      'SELECT coalesce(max(number), 0) AS version FROM steps')
    if (version > newest) {
      throw new Error('the database was written by a newer version of the server: ' +
        `it is at step ${version}, and this version knows ${newest}`)
    }
    for (const name of steps) {
      const number = parseInt(name, 10)
      if (number <= version) continue
      await client.query(readFileSync(join(folder, name), 'utf8'))
      await client.query('INSERT INTO steps (number, name) VALUES ($1, $2)', [number, name])
    }
  })
}

/** Runs `work` in a transaction: all of it is stored, or nothing. */
export async function transaction<T> (client: Client, work: () => Promise<T>): Promise<T> {
  await client.query('BEGIN')
  try {
    const result = await work()
    await client.query('COMMIT')
    return result
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {}) // fails on a lost connection, which has nothing to roll back
    throw error
  }
}
