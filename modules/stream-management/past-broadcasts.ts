/** The broadcasts that the previous process stored for devices, and what each session is owed of them. */
import { management, octetsFor, recipientAttribute, toOctets } from '../../lib/api.js'
import type { Entry, Jid, Write } from '../../lib/api.js'
import type { PastReference, PastRow } from './home.js'
import { SharedBody, type StoredBroadcast } from './shared-body.js'
import type { Counts, Stores } from './stores.js'

/** The rows that are read at a time, and their bytes. */
const PAGE = 500
const PAGE_BYTES = 4 * 1024 * 1024
/** References with higher numbers than the acknowledged one, up to this distance, are not over (XEP-0198 §4). */
const AHEAD = 2 ** 31

/** A reference with the session's numbering then. */
interface Numbered extends PastReference { readonly numbering: number }

/** Stored broadcasts, as they are shared out among sessions after a start. */
export class PastBroadcasts {
  /** True if each row could be read. Otherwise nobody knows which sessions it named. */
  readonly isWhole: boolean
  readonly #bodies: ReadonlyMap<string, SharedBody>
  readonly #bySession: ReadonlyMap<string, readonly Numbered[]>

  private constructor (
    isWhole: boolean, bodies: ReadonlyMap<string, SharedBody>, bySession: ReadonlyMap<string, readonly Numbered[]>,
  ) {
    this.isWhole = isWhole
    this.#bodies = bodies
    this.#bySession = bySession
  }

  /** Reads the broadcasts of a host. */
  static async read ({ broadcasts }: Pick<Stores, 'broadcasts'>, domain: string): Promise<PastBroadcasts> {
    const bodies = new Map<string, SharedBody>()
    const bySession = new Map<string, Numbered[]>()
    let isWhole = true
    const add = (entry: Entry<StoredBroadcast>): void => {
      const body = SharedBody.restored(entry)
      bodies.set(body.id, body)
      for (const [session, seq, numbering] of entry.value.to) {
        const reference = { body, seq, numbering }
        const known = bySession.get(session)
        if (known === undefined) bySession.set(session, [reference])
        else known.push(reference)
      }
    }
    for (let after: string | undefined; ;) {
      const query = { limit: PAGE, bytes: PAGE_BYTES, ...after === undefined ? {} : { after } }
      const page = await broadcasts.page(domain, query)
      if (page.unread !== undefined && page.unread.length > 0) isWhole = false
      for (const entry of page.entries) add(entry)
      after = page.entries.at(-1)?.id
      if (page.complete || after === undefined) return new PastBroadcasts(isWhole, bodies, bySession)
    }
  }

  /** True if broadcasts name this session. */
  has (session: string): boolean { return this.#bySession.has(session) }

  /** Returns the body that a row of its own refers to; undefined if it is gone. */
  body (id: string): SharedBody | undefined { return this.#bodies.get(id) }

  /** Returns what a session is owed: its own rows and its references, in the order of their numbers. */
  owed (
    session: string, { out }: Counts, numbering: number, rows: readonly PastRow[],
  ): readonly (PastRow | PastReference)[] {
    const open = (this.#bySession.get(session) ?? []).filter(one => {
      const ahead = management.distance(out, one.seq)
      return one.numbering >= numbering && ahead > 0 && ahead < AHEAD
    })
    if (open.length === 0 && rows.every(({ body }) => body === undefined)) return rows
    const placeOf = (item: PastRow | PastReference): number => {
      const seq = 'entry' in item ? item.entry.value.seq : item.seq
      return seq === undefined ? Infinity : management.distance(out, seq)
    }
    return [...rows, ...open].map((item, index) => ({ item, index, place: placeOf(item) }))
      .sort((a, b) => a.place === b.place ? a.index - b.index : a.place - b.place).map(({ item }) => item)
  }

  /** Returns the write that removes the rows that no session refers to; undefined if there are none. */
  clearing ({ broadcasts }: Pick<Stores, 'broadcasts'>, domain: string): Write | undefined {
    const over = [...this.#bodies.values()].filter(({ pins }) => pins === 0).map(({ id }) => id)
    return over.length === 0 ? undefined : broadcasts.removing(domain, over)
  }
}

/** Returns the octets of what a device is owed, as they were sent to it. */
export function octetsOf (item: PastRow | PastReference, device: Jid): string {
  if (item.body !== undefined) return octetsFor(item.body.frame, recipientAttribute(device))
  return 'entry' in item ? toOctets(item.entry.value.octets) : ''
}
