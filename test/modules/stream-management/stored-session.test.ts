/** The rows of stanzas that got other numbers because one before them was not stored (XEP-0198 §4). */
import t from 'tap'
import type { Batch, Session } from '../../../lib/api.js'
import { StoredSession } from '../../../modules/stream-management/stored-session.js'
import type { Item } from '../../../modules/stream-management/outgoing-order.js'
import type { SharedBody } from '../../../modules/stream-management/shared-body.js'
import type { SessionState, Stores } from '../../../modules/stream-management/stores.js'

type Row = readonly [op: string, ...about: unknown[]]

/** A batch that keeps its writes and can fail. */
class Writes {
  readonly rows: Row[] = []
  readonly failing: (() => void)[] = []
  add (row: unknown): void { this.rows.push(row as Row) }
  failed (run: () => void): void { this.failing.push(run) }
  committed (): void {}
  fail (): void { for (const run of this.failing.splice(0)) run() }
  /** The ids of the appended rows with the numbers in them, and the numbering that is stored. */
  get stored (): unknown {
    const appended = this.rows.flatMap(([op, value]) => op === 'append' ? [(value as { seq: number }).seq] : [])
    const numbering = this.rows.flatMap(([op, value]) => op === 'state' ? [(value as SessionState).numbering] : [])
    return { appended, numbering }
  }
}

interface Scene {
  readonly stored: StoredSession
  readonly items: Item[]
  readonly write: () => Writes
  readonly park: () => Writes
}

function scene (): Scene {
  const stores = {
    unacknowledged: {
      appending: (_: string, { value }: { value: unknown }): Row => ['append', value],
      removing: (_: string, ids: readonly string[]): Row => ['remove', ids],
      replacing: (_: string, id: string, value: unknown): Row => ['replace', id, value],
    },
    counts: { putting: (): Row => ['counts'] },
    sessions: { putting: (_: string, __: string, value: unknown): Row => ['state', value] },
  } as unknown as Stores
  const items: Item[] = []
  let ids = 0
  const session = { account: 'juliet@capulet.lit', jid: 'juliet@capulet.lit/balcony' } as unknown as Session
  const stored: StoredSession = new StoredSession({
    stores, id: () => `row${++ids}`, items: () => items, dirty: () => {}, unpin: () => {},
  }, session, 'session', undefined)
  const state = (): SessionState => ({ numbering: stored.numbering, slots: {} }) as unknown as SessionState
  const counts = { in: 0, out: 0 }
  const done = (work: (batch: Batch) => void): Writes => {
    const writes = new Writes()
    work(writes as unknown as Batch)
    return writes
  }
  return {
    stored, items,
    write: () => done(batch => { stored.write(batch, counts, state) }),
    park: () => done(batch => { stored.rewrite(batch, items, counts, state) }),
  }
}

/** A broadcast that was stored under the number `pinned`, and has the number `seq` now. */
function shared (pinned: number, seq: number): Item {
  const body = { id: 'body' } as unknown as SharedBody
  return { octets: '', handed: undefined, at: 0, row: undefined, seq, pinned, body, confirmed: () => {}, state: 'ready', isPatient: false }
}

t.test('a planned stop ends the names of broadcasts whose numbers have changed, and gives all of them rows', t => {
  const { items, write, park } = scene()
  write()
  items.push(shared(1, 1), shared(3, 2))
  t.same(park().stored, { appended: [1, 2], numbering: [1] })
  t.end()
})

t.test('a planned stop leaves the names of broadcasts whose numbers have not changed', t => {
  const { items, write, park } = scene()
  write()
  items.push(shared(1, 1), shared(2, 2))
  t.same(park().stored, { appended: [], numbering: [0] })
  t.end()
})

t.test('if new numbers cannot be stored, the rows are written later, whatever has become of the stanza that moved', t => {
  for (const ways of ['write', 'park'] as const) {
    const { stored, items, write, park } = scene()
    write()
    const moved = shared(3, 2)
    items.push(shared(1, 1), moved)
    stored.moved(moved)
    const first = write()
    t.same(first.stored, { appended: [1, 2], numbering: [1] })
    first.fail()
    t.notOk(stored.hasNumbers)
    stored.forget(moved)
    items[1] = shared(2, 2) // came since, and is named with the numbering of now
    t.same((ways === 'write' ? write() : park()).stored, { appended: [1, 2], numbering: [2] }, ways)
    t.ok(stored.hasNumbers)
  }
  t.end()
})

t.test('a stanza that is not stored leaves no row, and moves no others to rows of their own', t => {
  const { stored, items, write } = scene()
  write()
  const lost: Item = { octets: '<a/>', handed: undefined, at: 0, row: 'lost', seq: 2, confirmed: () => {}, state: 'waiting', isPatient: false }
  items.push(shared(1, 1))
  stored.moved(lost)
  stored.forget(lost)
  const { rows } = write()
  t.same(rows.filter(([op]) => op === 'remove'), [['remove', ['lost']]])
  t.same(rows.filter(([op]) => op === 'append'), [])
  t.end()
})
