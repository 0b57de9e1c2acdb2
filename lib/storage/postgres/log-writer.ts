/** Turns the writes to logs of one transaction into segments, before the transaction is sent to the database. */
import { Segments, type SegmentRow } from '../segments.js'
import type { Client } from './client.js'
import type { Op, Row } from './rows.js'
import { decodeText } from './text.js'

const OPS: ReadonlySet<Op> = new Set(['note', 'strike', 'still'])

type Batches = readonly (readonly Row[])[]

export class LogWriter {
  /** The logs that have been written to, by store. */
  readonly #logs = new Map<number, Segments>()

  /** Logs that may not be open yet: they are read again, because an opening may upgrade them. */
  readonly #borrowed = new Set<number>()

  /** True if the batches write to logs, so that `fold` needs the database. */
  isNeeded (batches: Batches): boolean {
    return batches.some(rows => rows.some(({ op }) => OPS.has(op) || op === 'erase'))
  }

  /** Returns the batches with the changes of segments in the place of the writes to logs. */
  async fold (client: Client, batches: Batches): Promise<Batches> {
    const folded: Row[][] = []
    for (const rows of batches) {
      const left: Row[] = []
      for (const row of rows) {
        if (OPS.has(row.op)) apply(await this.#logOf(client, row.store), row)
        else left.push(row)
        if (row.op === 'erase') await this.#erase(client, decodeText(row.owner))
      }
      folded.push(left)
    }
    folded.at(-1)?.push(...await this.#changes(client))
    return folded
  }

  /** Forgets what the logs hold, because a transaction was not committed: it is read again. */
  forget (): void { this.#logs.clear() }

  async #changes (client: Client): Promise<readonly Row[]> {
    const rows: Row[] = []
    for (const [store, log] of this.#logs) {
      if (!log.isChanged) continue
      const ids = log.plan()
      const { rows: found } = ids.length === 0 ? { rows: [] } : await client.query<Pick<SegmentRow, 'id' | 'entries'>>(
        'SELECT id::float8 AS id, entries FROM log_segments WHERE store = $1 AND id = ANY ($2)', [store, ids])
      const entries = new Map(found.map(segment => [segment.id, segment.entries]))
      const { gone, row } = log.finish(id => entries.get(id) ?? '[]')
      for (const id of gone) rows.push({ op: 'lose', store, owner: '', at: id })
      if (row === undefined) continue
      rows.push({ op: 'segment', store, owner: '', at: row.id, key: String(row.last), value: row.entries, words: row.removed })
    }
    for (const store of this.#borrowed) this.#logs.delete(store)
    this.#borrowed.clear()
    return rows
  }

  async #erase (client: Client, owner: string): Promise<void> {
    const { rows } = await client.query<{ id: number }>('SELECT id FROM stores WHERE kind = \'log\'')
    for (const { id } of rows) {
      if (!this.#logs.has(id)) this.#borrowed.add(id)
      ;(await this.#logOf(client, id)).clear(owner)
    }
  }

  async #logOf (client: Client, store: number): Promise<Segments> {
    const known = this.#logs.get(store)
    if (known !== undefined) return known
    const { rows } = await client.query<SegmentRow>('SELECT id::float8 AS id, last::float8 AS last, entries, removed ' +
      'FROM log_segments AS l WHERE store = $1 ORDER BY l.id', [store])
    const log = new Segments(rows)
    this.#logs.set(store, log)
    return log
  }
}

function apply (log: Segments, { op, owner, at, key, value }: Row): void {
  if (op === 'note') log.add(at ?? 0, decodeText(owner), key ?? null, value ?? 'null')
  else if (op === 'still') log.clear(decodeText(owner))
  else for (const number of JSON.parse(value ?? '[]') as readonly number[]) log.remove(number)
}
