/** Connections to the database. The package `pg` is loaded here, and only if the conf chooses this driver. */
import type { Client, ClientConfig } from 'pg'
import type { Durability } from '../sqlite/connection.js'

export type { Client }
export type Pg = Pick<typeof import('pg'), 'Client' | 'Pool'>

export interface ConnectionSettings {
  /** postgres://user:password@host/database. Secret: no error and no log line repeats it. */
  readonly url: string
  readonly durability: Durability
}

/** The most time to connect, and to get an answer from the database, in milliseconds. */
const CONNECTING = 10_000
const ANSWERING = 60_000

/** Loads the package. If it is missing, throws an error that says what to do. */
export async function loadPg (load: () => Promise<Pg> = async () => (await import('pg')).default): Promise<Pg> {
  try {
    return await load()
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND') {
      const text = 'storage.driver = "postgres" needs the package pg, which is not installed: run npm install pg'
      throw new Error(text, { cause: error })
    }
    throw error
  }
}

/** Returns the settings of a connection. `name` is shown in the database's own list of connections. */
export function configOf (
  pg: Pg, { url, durability }: ConnectionSettings, name: string, isReader: boolean,
): ClientConfig {
  if (!/^(postgres(ql)?|socket):/i.test(url) || !isReadable(pg, url)) {
    // the message must not repeat the URL
    throw new Error('storage.url is not the address of a database such as postgres://user:password@host/database')
  }
  const options = ['search_path=sestina', 'client_min_messages=warning', `statement_timeout=${ANSWERING}`, isReader
    ? 'default_transaction_read_only=on'
    : `synchronous_commit=${durability === 'disk' ? 'on' : 'off'}`]
  return {
    connectionString: url,
    application_name: name,
    options: options.map(option => `-c ${option}`).join(' '),
    keepAlive: true,
    connectionTimeoutMillis: CONNECTING,
    query_timeout: ANSWERING + CONNECTING, // for a dead connection that reports no error
  }
}

/** Connects and disconnects. Throws the error that `unreachable` returns. */
export async function probePostgres (url: string): Promise<void> {
  const pg = await loadPg()
  const client = new pg.Client(configOf(pg, { url, durability: 'disk' }, 'sestina check', true))
  client.on('error', () => {}) // a later error of this connection does not matter
  try {
    await client.connect()
  } catch (error) {
    throw unreachable(error)
  } finally {
    await client.end().catch(() => {})
  }
}

/** Returns the error for a failed first connection; its text names the setting. */
export function unreachable (error: unknown): Error {
  // Node tries every address of a name, and collects the errors in an AggregateError without a message.
  const texts = error instanceof AggregateError
    ? error.errors.map(each => withoutDetails(each).message)
    : [withoutDetails(error).message]
  return new Error(`PostgreSQL cannot be reached at storage.url: ${[...new Set(texts)].join('; ')}`, { cause: error })
}

function isReadable (pg: Pg, url: string): boolean {
  try {
    return new pg.Client({ connectionString: url }).host !== ''
  } catch {
    return false
  }
}

/** True if the error means that the connection is lost, so that the result of the last query is unknown. */
export function isLost (error: unknown): boolean {
  const code = codeOf(error)
  // class 08: connection exception; 57P01 to 57P05: the server stops, starts, or has ended this session
  return code === undefined || !/^[0-9A-Z]{5}$/.test(code) || code.startsWith('08') || code.startsWith('57P')
}

/**
 * Returns the error for logs and callers, with text and code only: the details that the database adds may quote a row.
 */
export function withoutDetails (error: unknown): Error {
  const code = codeOf(error)
  const text = error instanceof Error ? error.message || 'the database cannot be reached' : String(error)
  return new Error(code === undefined ? text : `${text} (${code})`)
}

function codeOf (error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
