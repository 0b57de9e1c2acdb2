/** The room for stanzas that are stored on their way, in rows and bytes: for each sender, and over all. */
import { BACKLOG } from '../../stream/bounds.js'

/** The most rows of one sender: an account of this server, or the site of another domain. */
const MOST = 1000
/** The most bytes of rows, for one sender and over all. A sender with less than LEAST always gets room. */
const MOST_BYTES = BACKLOG / 8
const MOST_OVER_ALL = 4 * BACKLOG
const LEAST = BACKLOG / 256

/** The rows and bytes of one sender. */
interface Share { rows: number, bytes: number }

/**
 * 'taken': there is room, and it is taken. 'later': there is none for now. 'never': a user of another domain has
 * filled the half of what the others there leave, and must not keep them waiting.
 */
export type Taken = 'taken' | 'later' | 'never'

export class TransferRoom {
  readonly #shares = new Map<string, Share>()
  /** The bytes of all rows. */
  #bytes = 0

  /** Takes room for one row. `sender`: the account or the site, then the user at the site. */
  take (sender: readonly string[], bytes: number): Taken {
    const shares = keysOf(sender).map(key => this.#shares.get(key) ?? { rows: 0, bytes: 0 })
    const [all = { rows: 0, bytes: 0 }, user] = shares
    if (user !== undefined && !mayTake(all, user, bytes)) return 'never'
    if (all.rows >= MOST || all.bytes + bytes > MOST_BYTES) return 'later'
    if (this.#bytes + bytes > MOST_OVER_ALL && all.bytes + bytes > LEAST) return 'later'
    this.#change(sender, 1, bytes)
    return 'taken'
  }

  /** Gives back what one row has taken. */
  giveBack (sender: readonly string[], bytes: number): void { this.#change(sender, -1, -bytes) }

  #change (sender: readonly string[], rows: number, bytes: number): void {
    this.#bytes += bytes
    for (const key of keysOf(sender)) {
      const share = this.#shares.get(key) ?? { rows: 0, bytes: 0 }
      share.rows += rows
      share.bytes += bytes
      if (share.rows > 0) this.#shares.set(key, share)
      else this.#shares.delete(key)
    }
  }
}

/** True if a user has less than half of what the others of the site leave. One row is always allowed. */
function mayTake (all: Share, { rows, bytes }: Share, more: number): boolean {
  return rows === 0 ||
    rows + 1 <= (MOST - (all.rows - rows)) / 2 && bytes + more <= (MOST_BYTES - (all.bytes - bytes)) / 2
}

/** The keys of a site and of its users. A user may have the name of its site. */
function keysOf (sender: readonly string[]): readonly string[] {
  return sender.map((_, n) => sender.slice(0, n + 1).join(' '))
}
