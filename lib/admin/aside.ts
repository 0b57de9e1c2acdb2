/** Lists the stored items that could not be read and were put aside. */
import type { Storage } from '../storage/storage.js'
import { CommandError, type Operator } from './talk.js'

/** The number of items that are listed by default. */
const FEW = 100

/** One item, as an operator sees it. Its content is private to its owner, and is not shown. */
export interface AsideLine {
  readonly owner: string
  readonly store: string
  readonly id: string
  /** When it was put aside. */
  readonly time: string
  readonly reason: string
  /** The size of its stored text. */
  readonly bytes: number
}

/**
  * Lists items owner by owner, the oldest of each first. `words` may have `--limit=N` for the first N items (default
  * 100); a note says if there are more. Throws CommandError if N is not a number from 1 on.
 */
export async function listAside ({ aside }: Pick<Storage, 'aside'>, words: readonly string[], talk: Operator): Promise<readonly AsideLine[]> {
  const limit = limitIn(words, FEW)
  const rows: AsideLine[] = []
  for await (const { owner, at, value } of aside.items(limit + 1)) {
    if (rows.length === limit) {
      await talk.tell({ kind: 'note', text: `there are more items: --limit N lists the first N` })
      break
    }
    const { store, id, reason, text } = value
    rows.push({ owner, store, id, time: new Date(at).toISOString(), reason, bytes: Buffer.byteLength(text) })
  }
  return rows
}

/** Returns the N of `--limit=N`, or `otherwise`. Throws CommandError unless it is 1 or more. */
export function limitIn (words: readonly string[], otherwise: number): number {
  const limit = Number(words.find(word => word.startsWith('--limit='))?.slice('--limit='.length) ?? otherwise)
  if (!(limit >= 1)) throw new CommandError('--limit must be a number from 1 on')
  return Math.floor(limit)
}
