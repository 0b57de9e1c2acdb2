/** Connections to the database. The package `pg` is loaded here, and only where the conf chooses this driver. */
import type { Client, ClientConfig } from 'pg'
import type { Durability } from '../sqlite/connection.js'

export type { Client }
export type Pg = Pick<typeof import('pg'), 'Client' | 'Pool'>

export interface ConnectionSettings {
  /** postgres://user:password@host/database: a secret, which no error and no line of the log repeats. */
  readonly url: string
  readonly durability: Durability
}

/** How long a connection may take to stand, and how long an answer of the database may take: milliseconds. */
const CONNECTING = 10_000
const ANSWERING = 60_000

/** Loads the package. Throws what to do where it is missing. */
export async function loadPg (load: () => Promise<Pg> = async () => (await import('pg')).default): Promise<Pg> {
  try {
    return await load()
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND') {
      throw new Error('storage.driver = "postgres" needs the package pg, which is not installed: run npm install pg', { cause: error })
    }
    throw error
  }
}

/** How a connection is made. `name` is what the database's own list of connections shows. */
export function configOf (pg: Pg, { url, durability }: ConnectionSettings, name: string, isReader: boolean): ClientConfig {
  if (!/^(postgres(ql)?|socket):/i.test(url) || !isReadable(pg, url)) {
    throw new Error('storage.url is not the address of a database such as postgres://user:password@host/database') // which it does not repeat
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
    query_timeout: ANSWERING + CONNECTING, // a line that is dead and does not say so
  }
}

/** Connects and ends the connection. Throws what `unreachable` says. */
export async function probePostgres (url: string): Promise<void> {
  const pg = await loadPg()
  const client = new pg.Client(configOf(pg, { url, durability: 'disk' }, 'sestina check', true))
  client.on('error', () => {}) // a connection that breaks later proves nothing
  try {
    await client.connect()
  } catch (error) {
    throw unreachable(error)
  } finally {
    await client.end().catch(() => {})
  }
}

/** A failed first connection, in words that name the setting. */
export function unreachable (error: unknown): Error {
  // Node tries every address of a name, and puts what each of them said into an error without a text.
  const texts = error instanceof AggregateError ? error.errors.map(each => plain(each).message) : [plain(error).message]
  return new Error(`PostgreSQL cannot be reached by storage.url: ${[...new Set(texts)].join('; ')}`, { cause: error })
}

function isReadable (pg: Pg, url: string): boolean {
  try {
    return new pg.Client({ connectionString: url }).host !== ''
  } catch {
    return false
  }
}

/** Whether an error means that the connection is gone, and nobody knows what became of what was asked last. */
export function isLost (error: unknown): boolean {
  const code = codeOf(error)
  // class 08: connection exception; 57P01 to 57P05: the server stops, starts, or has ended this session
  return code === undefined || !/^[0-9A-Z]{5}$/.test(code) || code.startsWith('08') || code.startsWith('57P')
}

/** The error as the log and the waiting hear it: its text and code. What the database adds may quote a row. */
export function plain (error: unknown): Error {
  const code = codeOf(error)
  const text = error instanceof Error ? error.message || 'the database cannot be reached' : String(error)
  return new Error(code === undefined ? text : `${text} (${code})`)
}

function codeOf (error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
