/** The thread that owns the connection which writes: what waits in its port becomes one transaction (group commit). */
import { parentPort, receiveMessageOnPort, workerData, type MessagePort } from 'node:worker_threads'
import type { Database } from 'better-sqlite3'
import { connect } from './connection.js'
import type { Request, Result, Row, WriterSettings } from './rows.js'
import { Reserve } from './reserve.js'
import { performer } from './statements.js'

/** Batches in one transaction: beyond, the first would wait for too many others. */
const GROUP = 1000

if (parentPort !== null) serve(parentPort, workerData as WriterSettings)

function serve (port: MessagePort, settings: WriterSettings): void {
  const database = connect(settings.file, settings.durability)
  if (settings.maxPages !== undefined) database.pragma(`max_page_count = ${settings.maxPages}`)
  const commit = committer(database)
  port.on('message', (first: Request) => {
    const batches: (readonly Row[])[] = []
    let request: Request | undefined = first
    while (request !== undefined && request !== 'close') {
      batches.push(...request)
      const next = batches.length < GROUP ? receiveMessageOnPort(port) : undefined
      request = next?.message as Request | undefined
    }
    if (batches.length > 0) port.postMessage(commit(batches))
    if (request === 'close') {
      database.close()
      port.close()
    }
  })
  port.postMessage([]) // it stands
}

/** Stores batches in one transaction, or, where that fails, each in one of its own: one that cannot be stored harms no other. */
function committer (database: Database): (batches: readonly (readonly Row[])[]) => readonly Result[] {
  const perform = performer(database)
  const reserve = new Reserve(database)
  const all = database.transaction((batches: readonly (readonly Row[])[]): Result[] => batches.map(batch => {
    let changes = 0
    for (const row of batch) changes = perform(row)
    return [changes]
  }))
  const again = (batch: readonly Row[], error: unknown): readonly Result[] => {
    try {
      return reserve.retry(batch, error, () => all.immediate([batch]))
    } catch (error) {
      return [[0, textOf(error)]]
    }
  }
  const attempt = (batches: readonly (readonly Row[])[]): readonly Result[] => {
    try {
      const results = all.immediate(batches)
      reserve.stored(batches)
      return results
    } catch (error) {
      const [batch] = batches
      return batches.length > 1 || batch === undefined ? batches.flatMap(batch => attempt([batch])) : again(batch, error)
    }
  }
  return attempt
}

function textOf (error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'code' in error ? `${error.message} (${String(error.code)})` : error.message
}
