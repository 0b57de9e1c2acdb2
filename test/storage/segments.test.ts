/** The segments of a log hold its live entries and little else, whatever order entries are removed in. */
import t from 'tap'
import { linesIn, Segments, SLACK, type SegmentRow } from '../../lib/storage/segments.js'

/** A database of segments that performs what each transaction asks for. */
class Database {
  readonly rows = new Map<number, SegmentRow>()
  moves = 0

  /** Ends a transaction of `log`. Returns without changes if the transaction is rolled back. */
  end (log: Segments, isStored = true): void {
    const moving = log.plan()
    const { gone, row } = log.finish(id => this.rows.get(id)?.entries ?? '')
    if (!isStored) return
    this.moves += moving.length
    for (const id of gone) this.rows.delete(id)
    if (row !== undefined) this.rows.set(row.id, row)
  }

  read (): Segments { return new Segments([...this.rows.values()].sort((a, b) => a.id - b.id)) }

  get bytes (): number {
    let bytes = 0
    for (const { entries, removed } of this.rows.values()) bytes += entries.length + removed.length
    return bytes
  }

  /** Returns the numbers of the live entries, as a reader finds them. */
  live (): number[] {
    const rows = [...this.rows.values()]
    const lists = rows.flatMap(({ removed }) => JSON.parse(removed) as [number, number[]][])
    const removed = new Set(lists.flatMap(([, numbers]) => numbers))
    return rows.flatMap(({ entries }) => linesIn(entries) ?? []).map(([number]) => number)
      .filter(number => !removed.has(number)).sort((a, b) => a - b)
  }
}

const JSON_VALUE = JSON.stringify('x'.repeat(500))

t.test('one device that never acknowledges among 1,000 that do does not keep a log from shrinking', async t => {
  const database = new Database()
  let log = database.read()
  let number = 0
  const never: number[] = []
  let before: number[] = []
  for (let turn = 0; turn < 200; turn++) {
    const fresh: number[] = []
    for (let device = 0; device < 1000; device += 20) {
      log.add(++number, `${device}@x`, null, JSON_VALUE)
      fresh.push(number)
    }
    if (turn % 4 === 0) {
      log.add(++number, 'never@x', null, JSON_VALUE)
      never.push(number)
    }
    for (const old of before) log.remove(old)
    before = fresh
    database.end(log)
    if (turn % 50 === 49) log = database.read() // after a restart
    t.ok(database.bytes <= 2 * (never.length + before.length) * 540 + SLACK + 4096, `${database.bytes} bytes in turn ${turn}`)
  }
  t.same(database.live(), [...never, ...before].sort((a, b) => a - b))
  t.ok(database.moves > 0, 'entries have moved')
  for (const old of before) log.remove(old)
  database.end(log)
  log.clear('never@x')
  database.end(log)
  t.equal(database.rows.size, 0)
})

t.test('random transactions, of which some are rolled back, leave what they should', async t => {
  for (let seed = 1; seed <= 20; seed++) {
    let state = seed
    const pick = (below: number): number => {
      state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0
      return Math.floor(state / 2 ** 32 * below)
    }
    const database = new Database()
    let log = database.read()
    let live = new Map<number, string>()
    let number = 0
    for (let turn = 0; turn < 150; turn++) {
      const next = new Map(live)
      for (let many = pick(12); many > 0; many--) {
        const key = pick(4) === 0 ? `k${pick(3)}` : null
        if (key !== null) for (const [other, known] of next) if (known === key) next.delete(other)
        next.set(++number, key ?? '')
        log.add(number, 'o', key, JSON_VALUE.slice(0, -1) + 'y'.repeat(pick(3000)) + '"')
      }
      const share = [2, 10, 100][pick(3)] ?? 2
      for (const old of next.keys()) {
        if (pick(100) >= share) continue
        next.delete(old)
        t.ok(log.remove(old))
      }
      if (pick(40) === 0) {
        next.clear()
        log.clear('o')
      }
      t.notOk(log.remove(-1))
      const isStored = pick(10) > 0
      database.end(log, isStored)
      if (isStored) live = next
      if (!isStored || pick(10) === 0) log = database.read()
      const found = database.live()
      t.same(found, [...live.keys()].sort((a, b) => a - b), `seed ${seed}, turn ${turn}`)
      let bytes = 0
      for (const { entries } of database.rows.values()) {
        for (const line of linesIn(entries) ?? []) if (live.has(line[0])) bytes += JSON.stringify(line).length
      }
      t.ok(database.bytes <= 2 * bytes + SLACK + 4096)
    }
    log.clear('o')
    database.end(log)
    t.equal(database.rows.size, 0)
  }
})

t.test('a segment that is not JSON stays, and does not affect the others', async t => {
  const database = new Database()
  const log = database.read()
  for (const number of [1, 2]) {
    log.add(number, 'o', null, '"x"')
    database.end(log)
  }
  database.rows.set(1, { id: 1, last: 1, entries: '[[1,"o"', removed: '[]' })
  const again = database.read()
  t.notOk(again.remove(1))
  t.ok(again.remove(2))
  again.add(3, 'o', null, '"y"')
  database.end(again)
  t.same([...database.rows.keys()], [1, 3])
})
