/**
 * The thread that owns the writing connection: all requests that wait in its port become one transaction (group
 * commit).
 */
import { parentPort, receiveMessageOnPort, workerData, type MessagePort } from 'node:worker_threads'
import type { Database } from 'better-sqlite3'
import { connect } from './connection.js'
import type { Request, Result, Row, WriterSettings } from './rows.js'
import { Reserve } from './reserve.js'
import { performer } from './statements.js'

/**
 * The number of batches at which a transaction takes no further requests, so that the first does not wait for too many
 * others.
 */
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
  port.postMessage([]) // ready
}

/**
 * Returns a function that stores batches in one transaction. If that fails, it stores each batch in a transaction of
 * its own, so that a batch that cannot be stored does not affect the others.
 */
function committer (database: Database): (batches: readonly (readonly Row[])[]) => readonly Result[] {
  const performing = performer(database)
  const reserve = new Reserve(database)
  const all = database.transaction((batches: readonly (readonly Row[])[]): Result[] => {
    const results = batches.map((batch): Result => {
      let changes = 0
      for (const row of batch) changes = performing.perform(row)
      return [changes]
    })
    performing.finish()
    return results
  })
  const again = (batch: readonly Row[], error: unknown): readonly Result[] => {
    try {
      return reserve.retry(batch, error, () => all.immediate([batch]))
    } catch (error) {
      performing.undone()
      return [[0, textOf(error)]]
    }
  }
  const attempt = (batches: readonly (readonly Row[])[]): readonly Result[] => {
    try {
      const results = all.immediate(batches)
      reserve.stored(batches)
      return results
    } catch (error) {
      performing.undone()
      const [batch] = batches
      if (batches.length > 1 || batch === undefined) return batches.flatMap(batch => attempt([batch]))
      return again(batch, error)
    }
  }
  return attempt
}

function textOf (error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'code' in error ? `${error.message} (${String(error.code)})` : error.message
}
