/** The promises of logs (lib/storage/log.ts), as tests that each driver runs. */
import type { Test } from 'tap'
import { log, type Log, type LogEntry } from '../../lib/storage/log.js'
import { SLACK } from '../../lib/storage/segments.js'
import { journal, type Write } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'
import { failureOf, stored } from './stored.js'

const shape = log<unknown>(1)

async function opened (storage: Storage): Promise<Log<unknown>> { return await storage.open('test.queue', shape) }

/** Returns the live entries by number, in order. */
async function all (queue: Log<unknown>): Promise<readonly LogEntry<unknown>[]> {
  const found: LogEntry<unknown>[] = []
  for await (const entry of queue.entries()) found.push(entry)
  return found.sort((a, b) => a.number - b.number)
}

async function text (queue: Log<unknown>): Promise<string> {
  return (await all(queue)).map(({ owner, value }) => `${owner}:${String(value)}`).join(' ')
}

/** A random number generator that gives the same numbers in each run. */
function random (seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0
    return Math.floor(state / 2 ** 32 * below)
  }
}

/** The entries that a log must hold, and writes that change both. */
class Model {
  readonly live = new Map<number, LogEntry<unknown> & { readonly key: string | undefined }>()
  readonly #queue: Log<unknown>
  readonly #pick: (below: number) => number

  constructor (queue: Log<unknown>, seed: number) {
    this.#queue = queue
    this.#pick = random(seed)
  }

  get bytes (): number {
    let bytes = 0
    for (const { number, owner, key, value } of this.live.values()) {
      bytes += JSON.stringify([number, owner, key ?? null, value]).length
    }
    return bytes
  }

  /** Returns the writes of one batch: stanzas for devices that acknowledge all but the last, and their counters. */
  batch (): readonly Write[] {
    const owner = `${this.#pick(20)}@x`
    const writes = [this.#append(owner, `${this.#pick(100)} ${'x'.repeat(this.#pick(2000))}`), this.#append(owner, this.#pick(1000), 'count')]
    if (this.#pick(20) === 0) writes.push(this.#append('never@x', 'y'.repeat(this.#pick(1000))))
    const acknowledged = [...this.live.values()].filter(entry => entry.owner === owner && entry.key === undefined)
      .slice(0, -1 - this.#pick(3)).map(({ number }) => number)
    for (const number of acknowledged) this.live.delete(number)
    writes.push(this.#queue.removing(acknowledged))
    if (this.#pick(100) === 0) {
      writes.push(this.#queue.clearing(owner))
      for (const entry of this.live.values()) if (entry.owner === owner) this.live.delete(entry.number)
    }
    return writes
  }

  #append (owner: string, value: unknown, key?: string): Write {
    const number = this.#queue.next()
    for (const entry of this.live.values()) {
      if (key !== undefined && entry.owner === owner && entry.key === key) this.live.delete(entry.number)
    }
    this.live.set(number, { owner, number, value, key })
    return this.#queue.appending(owner, number, value, key)
  }

  entries (): readonly LogEntry<unknown>[] {
    const entries = [...this.live.values()].map(({ owner, number, value }) => ({ owner, number, value }))
    return entries.sort((a, b) => a.number - b.number)
  }
}

export function logPromises (t: Test, open: (t: Test) => Promise<Storage>): void {
  void t.test('a log has its entries until they are removed, each with its owner and number', async t => {
    const storage = await open(t)
    const queue = await opened(storage)
    t.same(await all(queue), [])
    const numbers = Array.from({ length: 5 }, () => queue.next())
    t.ok(numbers.every((number, n) => n === 0 || number > (numbers[n - 1] ?? 0)))
    const value = { deep: ['\0\u0001ü\u{1f600}"'] }
    const [a = 0, b = 0, c = 0, d = 0, e = 0] = numbers
    const write = queue.appending('o', a, value)
    value.deep.push('later')
    await stored(storage, [write, queue.appending('p\0', b, null), queue.appending('o', c, 'c')])
    await stored(storage, [queue.appending('o', d, 'd'), queue.removing([c, 4711, -1])])
    t.same(await all(queue), [{ owner: 'o', number: a, value: { deep: ['\0\u0001ü\u{1f600}"'] } }, { owner: 'p\0', number: b, value: null }, { owner: 'o', number: d, value: 'd' }])
    await stored(storage, [queue.appending('o', e, 'e'), queue.removing([e]), queue.removing([]), queue.removing([a])])
    t.same((await all(queue)).map(({ number }) => number), [b, d])
    await stored(storage, [queue.clearing('p\0'), queue.removing([d])])
    t.same(await all(queue), [])
    t.same(await queue.size(), { bytes: 0, segments: 0 }, 'nothing is left')
  })

  void t.test('clearing and erasing remove what an owner has, also in commits of the same turn', async t => {
    const storage = await open(t)
    const [queue, other] = [await opened(storage), await storage.open('test.other', shape)]
    const add = (to: Log<unknown>, owner: string, value: string): Write => to.appending(owner, to.next(), value)
    await stored(storage, [add(queue, 'a@x', '1'), add(queue, 'b@x', '2'), add(other, 'a@x', '3')])
    void stored(storage, [add(queue, 'a@x', '4')])
    void stored(storage, [queue.clearing('a@x'), add(queue, 'a@x', '5')])
    await stored(storage, [add(queue, 'b@x', '6')])
    t.equal(await text(queue), 'b@x:2 a@x:5 b@x:6')
    t.equal(await text(other), 'a@x:3')
    await stored(storage, [storage.erasing('a@x'), add(other, 'a@x', '7')])
    t.equal(await text(queue), 'b@x:2 b@x:6')
    t.equal(await text(other), 'a@x:7')
  })

  void t.test('an entry with a key takes the place of the earlier one', async t => {
    const storage = await open(t)
    const queue = await opened(storage)
    const count = (owner: string, value: number, key = 'in'): Write => queue.appending(owner, queue.next(), value, key)
    await stored(storage, [count('a', 1), count('a', 2), count('b', 3), count('a', 4, 'out')])
    t.equal(await text(queue), 'a:2 b:3 a:4')
    for (let n = 10; n < 20; n++) void stored(storage, [count('a', n)])
    await stored(storage, [count('a', 20)])
    t.equal(await text(queue), 'b:3 a:4 a:20')
    await stored(storage, [queue.clearing('a'), count('a', 21)])
    t.equal(await text(queue), 'b:3 a:21')
  })

  void t.test('a batch that fails leaves nothing in a log, and the others of its turn are stored', async t => {
    const storage = await open(t)
    const queue = await opened(storage)
    const entries = await storage.open('test.entries', journal<number>(1))
    const add = (value: string, number = queue.next()): Write => queue.appending('o', number, value)
    const first = queue.next()
    await stored(storage, [add('1', first)])
    const entry = entries.appending('o', { id: '1', at: 1, with: '', value: 1 })
    const isStrict = await failureOf(stored(storage, [entry, entry])) !== undefined // not in memory
    const outcomes = [stored(storage, [add('2')]), stored(storage, [add('3'), queue.removing([first]), entry, entry]), stored(storage, [add('4')])]
    const failures = (await Promise.all(outcomes.map(failureOf))).map(error => error === undefined)
    t.same(failures, [true, !isStrict, true])
    t.equal(await text(queue), isStrict ? 'o:1 o:2 o:4' : 'o:2 o:3 o:4')
    await stored(storage, [queue.removing([first]), add('5')])
    t.equal(await text(queue), isStrict ? 'o:2 o:4 o:5' : 'o:2 o:3 o:4 o:5')
  })

  void t.test('large entries of one turn are all stored', async t => {
    const storage = await open(t)
    const queue = await opened(storage)
    const large = 'z'.repeat(1024 * 1024)
    const numbers = Array.from({ length: 10 }, () => queue.next())
    for (const number of numbers) storage.submit([queue.appending('o', number, large), queue.removing([number - 2])])
    await storage.flush()
    t.same((await all(queue)).map(({ number }) => number), numbers.slice(-2))
    await stored(storage, [queue.clearing('o')])
    t.same(await queue.size(), { bytes: 0, segments: 0 })
  })

  void t.test('a log holds at most twice the bytes of its live entries, whichever of them live long', async t => {
    const storage = await open(t)
    const queue = await opened(storage)
    const model = new Model(queue, 7)
    for (let turn = 0; turn < 300; turn++) {
      for (let batch = 0; batch < 5; batch++) storage.submit(model.batch())
      await storage.flush()
      if (turn % 50 !== 49) continue
      t.ok((await queue.size()).bytes <= 2 * model.bytes + SLACK + 4096, `${(await queue.size()).bytes} ${model.bytes}`)
      t.same(await all(queue), model.entries())
    }
    const never = model.entries().filter(({ owner }) => owner === 'never@x').map(({ number }) => number)
    t.ok(never.length > 10)
    const others = model.entries().map(({ number }) => number).filter(number => !never.includes(number))
    await stored(storage, [queue.removing(others)])
    t.same((await all(queue)).map(({ number }) => number), never)
    await stored(storage, [queue.removing(never)])
    t.same(await queue.size(), { bytes: 0, segments: 0 })
  })
}

/** Checks that a log is the same after restarts, and is upgraded. `open` opens one storage again and again. */
export async function checkLogRestarts (t: Test, open: () => Promise<Storage>): Promise<void> {
  let model: Model | undefined
  let live: readonly LogEntry<unknown>[] = []
  for (let start = 0; start < 4; start++) {
    const storage = await open()
    const queue = await opened(storage)
    t.same(await all(queue), live)
    t.ok(queue.next() > (live.at(-1)?.number ?? 0))
    const before = model
    model = new Model(queue, start)
    for (const [number, entry] of before?.live ?? []) model.live.set(number, entry)
    for (let turn = 0; turn < 40; turn++) {
      for (let batch = 0; batch < 5; batch++) storage.submit(model.batch())
      await storage.flush()
    }
    live = model.entries()
    t.same(await all(queue), live)
    await storage.close()
  }
  const storage = await open()
  t.match(await failureOf(storage.open('test.queue', log<unknown>(2))), { message: /has no upgrade from version 1 to 2/ })
  const upgraded = await storage.open('test.queue', log<unknown>(2, old => typeof old === 'number' ? undefined : { old }))
  t.same(await all(upgraded), live.filter(({ value }) => typeof value !== 'number').map(entry => ({ ...entry, value: { old: entry.value } })))
  await stored(storage, [upgraded.removing(live.map(({ number }) => number))])
  t.same(await upgraded.size(), { bytes: 0, segments: 0 })
  await storage.close()
}

/**
 * Checks that a log has all that was acknowledged, and nothing by half, when its writer is killed again and again, also
 * while it moves entries. `crash` kills the writer of the storage.
 */
export async function checkLogCrashes (t: Test, storage: Storage, crash: () => Promise<void>): Promise<void> {
  const queue = await opened(storage)
  const live = new Map<number, string>()
  const pick = random(5)
  for (let round = 0; round < 12; round++) {
    const kill = 3 + pick(10)
    for (let turn = 0; turn < 16; turn++) {
      const [old, fresh] = [[...live.keys()].filter(() => pick(3) > 0), Array.from({ length: 20 }, () => queue.next())]
      const writes = [queue.removing(old), ...fresh.map(number => queue.appending('o', number, `${number} ${'z'.repeat(1500)}`))]
      const done = failureOf(stored(storage, writes))
      if (turn === kill) {
        await new Promise<void>(resolve => { setImmediate(resolve) })
        await crash()
      }
      const isStored = await done === undefined
      for (const number of old) if (isStored) live.delete(number)
      for (const number of fresh) if (isStored) live.set(number, `${number} ${'z'.repeat(1500)}`)
      if (isStored) continue
      // Nobody knows whether such a commit was stored, but it is stored as a whole or not at all.
      const found = new Map((await all(queue)).map(({ number, value }) => [number, String(value)]))
      const isThere = fresh.every(number => found.has(number))
      t.ok(isThere || fresh.every(number => !found.has(number)), 'a commit is stored as a whole')
      t.equal(old.every(number => !found.has(number)), isThere || old.length === 0)
      if (!isThere) continue
      for (const number of old) live.delete(number)
      for (const number of fresh) live.set(number, found.get(number) ?? '')
    }
    t.same((await all(queue)).map(({ number, value }) => [number, value]), [...live].sort(([a], [b]) => a - b))
  }
  const bytes = [...live].reduce((sum, [number, value]) => sum + JSON.stringify([number, 'o', null, value]).length, 0)
  t.ok((await queue.size()).bytes <= 2 * bytes + SLACK + 4096)
}
