/** Durable timers run when they are due, at least once, never twice at the same time, and survive a restart. */
import t from 'tap'
import { silent, type Fields } from '../../lib/base/logger.js'
import { agenda, timers, type Agenda, type AgendaHost, type DueTimer, type TimerRun } from '../../lib/host/agenda.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { records } from '../../lib/storage/store.js'
import { FakeClock } from '../fake-clock.js'

const MINUTE = 60_000

interface Stand {
  readonly agenda: Agenda<string>
  readonly ran: DueTimer<string>[]
  readonly errors: Fields[]
  set (owner: string, key: string, inMs: number, value?: string): Promise<void>
  /** Ends the module as a stop does; the agenda begins no further run. */
  stop (): void
}

/** Lets everything that can go on without the clock do so. */
async function rest (): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await new Promise<void>(resolve => { setImmediate(resolve) })
}

let ids = 0

async function stand (
  storage: MemoryStorage, clock: FakeClock, run?: TimerRun<string>, domain = 'x',
): Promise<Stand> {
  const rows = await storage.open('test.timers', timers<string>(1))
  const ran: DueTimer<string>[] = []
  const errors: Fields[] = []
  let stop = (): void => {}
  const host: AgendaHost = {
    domain, clock, ids: { next: () => `${++ids}` },
    log: { ...silent, error: (_, fields = {}) => { errors.push(fields) } },
    batch () {
      const batch = new PendingBatch()
      return Object.assign(batch, { commit: () => PendingBatch.prototype.commit.call(batch, storage) })
    },
    whileUp (put) {
      const end = put()
      stop = () => { end(false) }
    },
  }
  const made = agenda(host, rows, { greet: (timer, batch) => { ran.push(timer); return run?.(timer, batch) } })
  return {
    agenda: made, ran, errors, stop,
    async set (owner, key, inMs, value = key) {
      const batch = host.batch()
      made.set(batch, owner, { what: 'greet', key, due: clock.now() + inMs, value })
      await batch.commit()
    },
  }
}

async function cancelled (storage: MemoryStorage, { agenda }: Stand, owner: string, key: string): Promise<void> {
  const batch = new PendingBatch()
  agenda.cancel(batch, owner, 'greet', key)
  await batch.commit(storage)
}

t.test('timers run when they are due, in order, and each once', async t => {
  const [storage, clock] = [new MemoryStorage(), new FakeClock()]
  const s = await stand(storage, clock)
  await s.set('a@x', 'later', 3 * MINUTE)
  await s.set('b@x', 'first', MINUTE, 'hello')
  await s.set('a@x', 'never', 2 * MINUTE)
  await s.set('a@x', 'moved', MINUTE)
  await s.set('a@x', 'moved', 4 * MINUTE)
  await cancelled(storage, s, 'a@x', 'never')
  await rest()
  t.same(s.ran, [])
  const start = clock.now()
  clock.pass(MINUTE - 1)
  await rest()
  t.same(s.ran, [])
  clock.pass(1)
  await rest()
  t.same(s.ran, [{ owner: 'b@x', what: 'greet', key: 'first', due: start + MINUTE, value: 'hello' }])
  for (let minute = 0; minute < 9; minute++) {
    clock.pass(MINUTE)
    await rest()
  }
  t.same(s.ran.map(({ key }) => key), ['first', 'later', 'moved'])
  await s.set('a@x', 'past', -MINUTE)
  clock.pass(0)
  await rest()
  t.equal(s.ran.at(-1)?.key, 'past')
  t.equal(await (await storage.open('test.timers', timers<string>(1))).count({ host: 'x' }), 0)
  t.equal(clock.timers, 0)
})

t.test('a timer far in the future waits for its time', async t => {
  const clock = new FakeClock()
  const s = await stand(new MemoryStorage(), clock)
  await s.set('a@x', 'k', 1000 * 60 * MINUTE)
  for (let hour = 0; hour < 999; hour++) {
    clock.pass(60 * MINUTE)
    if (hour % 100 === 0) await rest()
    else await new Promise<void>(resolve => { setImmediate(resolve) })
  }
  t.same(s.ran, [])
  clock.pass(60 * MINUTE)
  await rest()
  t.equal(s.ran.length, 1)
})

t.test('timers survive a restart, and those that came due meanwhile run at once; each host runs its own', async t => {
  const clock = new FakeClock()
  const first = new MemoryStorage()
  const before = await stand(first, clock)
  await before.set('a@x', '1', MINUTE)
  await before.set('a@y', '2', MINUTE)
  await before.set('x', '3', 5 * MINUTE)
  before.stop()
  clock.pass(2 * MINUTE)
  await rest()
  t.same(before.ran, [])
  const storage = first.remains()
  const [x, y] = [await stand(storage, clock), await stand(storage, clock, undefined, 'y')]
  await rest()
  t.same([x, y].map(({ ran }) => ran.map(({ key }) => key).join('')), ['1', '2'])
  clock.pass(3 * MINUTE)
  await rest()
  t.same(x.ran.map(({ key }) => key), ['1', '3'])
})

t.test('what a run writes is stored in the commit that removes the timer: after a crash before it, the timer runs again', async t => {
  const clock = new FakeClock()
  const first = new MemoryStorage()
  const greeted = async (storage: MemoryStorage): Promise<unknown> => await (await storage.open('test.greeted', records<number>(1))).get('a@x', 'n')
  const counting = (storage: MemoryStorage): TimerRun<string> => async (_, batch) => {
    const store = await storage.open('test.greeted', records<number>(1))
    batch.add(store.putting('a@x', 'n', (await store.get('a@x', 'n') ?? 0) + 1))
  }
  const before = await stand(first, clock, counting(first))
  await before.set('a@x', 'k', MINUTE)
  first.hold()
  clock.pass(MINUTE)
  await rest()
  t.equal(before.ran.length, 1)
  const storage = first.remains()
  t.equal(await greeted(storage), undefined)
  const after = await stand(storage, clock, counting(storage))
  await rest()
  t.equal(after.ran.length, 1)
  t.equal(await greeted(storage), 1)
  const last = storage.remains()
  await stand(last, clock, counting(last))
  await rest()
  t.equal(await greeted(last), 1, 'and then never again')
})

t.test('a timer never runs twice at the same time, also if its module is replaced meanwhile', async t => {
  const [storage, clock] = [new MemoryStorage(), new FakeClock()]
  let end = (): void => {}
  const old = await stand(storage, clock, () => new Promise<void>(resolve => { end = resolve }))
  await old.set('a@x', 'k', MINUTE)
  clock.pass(MINUTE)
  await rest()
  t.equal(old.ran.length, 1)
  const fresh = await stand(storage, clock)
  old.stop()
  await fresh.set('a@x', 'other', 0)
  clock.pass(0)
  await rest()
  t.same(fresh.ran.map(({ key }) => key), ['other'])
  end()
  await rest()
  clock.pass(100 * MINUTE)
  await rest()
  t.equal(old.ran.length + fresh.ran.length, 2)
})

t.test('a timer that is set again while it runs runs again', async t => {
  const [storage, clock] = [new MemoryStorage(), new FakeClock()]
  let end = (): void => {}
  const s = await stand(storage, clock, () => new Promise<void>(resolve => { end = resolve }))
  await s.set('a@x', 'k', MINUTE, 'one')
  clock.pass(MINUTE)
  await rest()
  await s.set('a@x', 'k', 0, 'one')
  clock.pass(0)
  await rest()
  t.equal(s.ran.length, 1)
  end()
  await rest()
  t.equal(s.ran.length, 2)
  await s.set('a@x', 'k', 0, 'two')
  await cancelled(storage, s, 'a@x', 'k')
  end()
  await rest()
  t.equal(s.ran.length, 2)
})

t.test('few timers run at the same time, and all of them run', async t => {
  const [storage, clock] = [new MemoryStorage(), new FakeClock()]
  const ends: (() => void)[] = []
  let open = 0
  let most = 0
  const s = await stand(storage, clock, async () => {
    most = Math.max(most, ++open)
    await new Promise<void>(resolve => { ends.push(resolve) })
    open--
  })
  for (let n = 0; n < 100; n++) await s.set(`${n}@x`, 'k', MINUTE)
  clock.pass(MINUTE)
  await rest()
  t.equal(s.ran.length, 16)
  for (let turn = 0; turn < 200 && s.ran.length < 100; turn++) {
    ends.shift()?.()
    await rest()
  }
  for (const end of ends) end()
  await rest()
  t.equal(new Set(s.ran.map(({ owner }) => owner)).size, 100)
  t.equal(s.ran.length, 100)
  t.equal(most, 16)
})

t.test('a timer that fails is tried again after pauses that double, and delays no other', async t => {
  const [storage, clock] = [new MemoryStorage(), new FakeClock()]
  let undone = 0
  const s = await stand(storage, clock, ({ value }, batch) => {
    if (value !== 'bad') return
    batch.failed(() => { undone++ })
    throw new Error('a plague')
  })
  const tries = (): number => s.ran.filter(({ value }) => value === 'bad').length
  await s.set('a@x', 'bad', 0)
  await s.set('a@x', 'good', 1)
  clock.pass(1)
  await rest()
  t.same(s.ran.map(({ key }) => key), ['bad', 'good'])
  const seen: number[] = []
  for (let minute = 1; minute <= 8; minute++) {
    const before = tries()
    clock.pass(MINUTE)
    await rest()
    if (tries() > before) seen.push(minute)
  }
  t.same(seen, [1, 3, 7])
  t.equal(undone, 4, 'what the batch changed in memory was undone')
  t.match(s.errors, [{ what: 'greet', retryInSeconds: 60 }, { retryInSeconds: 120 }, { retryInSeconds: 240 }, { retryInSeconds: 480 }])
  await s.set('a@x', 'bad', 0, 'mended')
  clock.pass(0)
  await rest()
  t.equal(s.ran.at(-1)?.value, 'mended', 'one that is set again does not wait')
})

t.test('while storage fails, a timer stays and is tried again', async t => {
  const [storage, clock] = [new MemoryStorage(), new FakeClock()]
  const s = await stand(storage, clock)
  await s.set('a@x', 'k', MINUTE)
  storage.failing = new Error('the disk is full')
  clock.pass(MINUTE)
  await rest()
  t.equal(s.ran.length, 1)
  storage.failing = undefined
  clock.pass(MINUTE)
  await rest()
  t.equal(s.ran.length, 2)
  clock.pass(100 * MINUTE)
  await rest()
  t.equal(s.ran.length, 2)
})

t.test('a timer that no module knows stays, and is reported', async t => {
  const [storage, clock] = [new MemoryStorage(), new FakeClock()]
  const s = await stand(storage, clock)
  const batch = new PendingBatch()
  s.agenda.set(batch, 'a@x', { what: 'toString', key: 'k', due: clock.now(), value: '' })
  await batch.commit(storage)
  clock.pass(0)
  await rest()
  t.match(s.errors, [{ what: 'toString', error: { message: /nothing to do for timers 'toString'/ } }])
  t.equal(await (await storage.open('test.timers', timers<string>(1))).count({ host: 'x' }), 1)
})
