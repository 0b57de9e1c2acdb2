/** The parts that every layer uses: clock, ids, logger, scope, hook, slot, queue, maybe, package. */
import t from 'tap'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { mock } from 'node:test'
import { systemClock } from '../../lib/base/clock.js'
import { hook, Hooks, PHASES, type HandlerPlace, type Phase } from '../../lib/base/hook.js'
import { randomIds } from '../../lib/base/ids.js'
import { openLogger, silent } from '../../lib/base/logger.js'
import { follow } from '../../lib/base/maybe.js'
import { PACKAGE_ROOT, VERSION } from '../../lib/base/package.js'
import { Queue } from '../../lib/base/queue.js'
import { Scope } from '../../lib/base/scope.js'
import { flag, service, slot } from '../../lib/base/slot.js'
import { FakeClock } from '../fake-clock.js'

/** A promise that the test resolves (`open`) or rejects (`fail`). */
function gate<T = void> (): { promise: Promise<T>, open: (value: T) => void, fail: (error: unknown) => void } {
  let open: (value: T) => void = () => {}
  let fail: (error: unknown) => void = () => {}
  const promise = new Promise<T>((resolve, reject) => { [open, fail] = [resolve, reject] })
  return { promise, open, fail }
}

const HOUR = 3_600_000
const DAY = 24 * HOUR

t.test('the system clock', async t => {
  t.test('tells the time of day in milliseconds', async t => {
    const before = Date.now()
    const now = systemClock.now()
    t.ok(now >= before && now <= Date.now())
  })

  t.test('runs once after the time, again and again every time, and nothing once cancelled', async t => {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
    t.teardown(() => mock.timers.reset())
    const ran: string[] = []
    systemClock.after(10, () => ran.push('once'))
    const every = systemClock.every(4, () => ran.push('every'))
    const never = systemClock.after(5, () => ran.push('never'))
    never.cancel()
    never.cancel()
    mock.timers.tick(10)
    t.same(ran, ['every', 'every', 'once'])
    every.cancel()
    mock.timers.tick(100)
    t.same(ran, ['every', 'every', 'once'])
  })

  t.test('waits longer than setTimeout can', async t => {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
    t.teardown(() => mock.timers.reset())
    let [after, every] = [0, 0]
    systemClock.after(60 * DAY, () => after++)
    const timer = systemClock.every(30 * DAY, () => every++)
    const cancelled = systemClock.after(60 * DAY, () => t.fail('a cancelled timer ran'))
    const endless = systemClock.after(Infinity, () => t.fail('the end of time came'))
    // One hour at a time, because a timer that is set again within a mocked tick starts at the end of that tick.
    const pass = (days: number): void => { for (let hour = 0; hour < days * 24; hour++) mock.timers.tick(HOUR) }
    pass(29)
    t.same([after, every], [0, 0], 'nothing for 29 days')
    cancelled.cancel()
    pass(2)
    t.same([after, every], [0, 1], 'once by the thirty-first')
    pass(30)
    t.same([after, every], [1, 2], 'all by the sixty-first')
    timer.cancel()
    endless.cancel()
    pass(60)
    t.same([after, every], [1, 2])
  })

  t.test('keeps no process alive', async t => {
    const timers = [
      systemClock.after(DAY, () => {}), systemClock.every(DAY, () => {}), systemClock.every(60 * DAY, () => {}),
    ]
    t.notOk(process.getActiveResourcesInfo().includes('Timeout'), 'no timer of the clock counts as an active resource')
    for (const timer of timers) timer.cancel()
  })
})

t.test('the fake clock lets time pass only when the test says so', async t => {
  const clock = new FakeClock(1000)
  const ran: string[] = []
  clock.after(20, () => ran.push(`b at ${clock.now()}`))
  clock.after(10, () => {
    ran.push(`a at ${clock.now()}`)
    clock.after(5, () => ran.push(`within at ${clock.now()}`))
  })
  const every = clock.every(15, () => ran.push(`every at ${clock.now()}`))
  const never = clock.after(1, () => ran.push('never'))
  never.cancel()
  clock.pass(9)
  t.same(ran, [])
  t.equal(clock.now(), 1009)
  clock.pass(21)
  t.same(ran, ['a at 1010', 'every at 1015', 'within at 1015', 'b at 1020', 'every at 1030'])
  every.cancel()
  t.equal(clock.timers, 0)
  t.equal(clock.now(), 1030)
})

t.test('an id has 24 unguessable characters, and no two ids are equal', async t => {
  const ids = Array.from({ length: 1000 }, () => randomIds.next())
  t.equal(new Set(ids).size, 1000)
  t.ok(ids.every(id => /^[A-Za-z0-9_-]{24}$/.test(id)))
})

t.test('a logger', async t => {
  function lines (): { output: { write (line: string): void }, written: string[] } {
    const written: string[] = []
    return { written, output: { write: line => { written.push(line) } } }
  }
  const at = (line: string | undefined): Record<string, unknown> => JSON.parse(line ?? '') as Record<string, unknown>

  t.test('writes an event and its fields as a line of JSON', async t => {
    const { output, written } = lines()
    const log = openLogger({ level: 'debug', format: 'json', output })
    log.debug('a')
    log.info('session bound', { jid: 'romeo@montague.lit/orchard', resumed: false })
    log.warn('c', { n: 1 })
    log.error('d', { error: new Error('broken') })
    t.same(written.map(line => at(line)['level']), ['debug', 'info', 'warn', 'error'])
    t.ok(written.every(line => line.endsWith('\n') && !line.slice(0, -1).includes('\n')), 'one line each')
    t.match(at(written[1]), { msg: 'session bound', jid: 'romeo@montague.lit/orchard', resumed: false, time: /^\d{4}-\d\d-\d\dT/ })
    t.match(at(written[3]), { error: { type: 'Error', message: 'broken', stack: /base\.test/ } })
  })

  t.test('writes of an error its type, message, code and stack, and its causes, but no other property', async t => {
    const { output, written } = lines()
    const cause = Object.assign(new TypeError('below'), { address: '192.0.2.7' })
    const error = Object.assign(new Error('above', { cause }), { code: 'EBROKEN', detail: 'Key (name)=(romeo)', address: '192.0.2.7' })
    const log = openLogger({ level: 'info', format: 'json', output })
    log.error('a', { error })
    log.error('b', { error: 'in words' })
    log.error('c', { error: new AggregateError([new Error('one way'), new Error('another')], 'no way') })
    const logged = at(written[0])['error']
    t.strictSame(Object.keys(logged as object), ['type', 'message', 'code', 'stack'])
    t.match(logged, { type: 'Error', message: 'above', code: 'EBROKEN', stack: /^Error: above\n[^]*\ncaused by: TypeError: below\n/ })
    t.notMatch(written[0], /192\.0\.2\.7|romeo/)
    t.equal(at(written[1])['error'], 'in words')
    t.match(at(written[2]), { error: { type: 'AggregateError', stack: /caused by: Error: one way\n[^]*caused by: Error: another\n/ } })
  })

  t.test('is silent below its level', async t => {
    const { output, written } = lines()
    const log = openLogger({ level: 'warn', format: 'json', output })
    log.debug('a')
    log.info('b')
    log.warn('c')
    t.equal(written.length, 1)
  })

  t.test('adds fields to each line of the loggers made from it', async t => {
    const { output, written } = lines()
    const log = openLogger({ level: 'info', format: 'json', output }).with({ host: 'montague.lit' }).with({ module: 'carbons' })
    log.info('a', { n: 1 })
    t.match(at(written[0]), { host: 'montague.lit', module: 'carbons', n: 1, msg: 'a' })
  })

  t.test('a stranger cannot forge a log line', async t => {
    for (const format of ['json', 'pretty'] as const) {
      const { output, written } = lines()
      const text = 'romeo\n{"level":"error","msg":"forged"}\u001b[31m\u009b31m'
      const log = openLogger({ level: 'info', format, output })
      log.info(text, { name: text, caller: text, jid: text, deep: { text }, error: new Error(text) })
      for (const line of written.join('').split('\n').slice(1)) t.match(line, /^( {4}|$)/, `${format}: no line begins like one of the log`)
      t.equal(written.length, 1)
      t.equal(written.join('').includes('\u001b[31m'), false, `${format}: no terminal control characters`)
      if (format === 'pretty') t.equal(written.join('').includes('\u009b'), false, 'not a single character')
    }
  })

  t.test('writes in human-readable form if asked to, in colour only on a terminal', async t => {
    const plain = lines()
    openLogger({ level: 'info', format: 'pretty', output: plain.output }).info('session bound', { jid: 'romeo@montague.lit' })
    t.match(plain.written.join(''), /^\[\d\d:\d\d:\d\d\] INFO: session bound {2}jid=romeo@montague.lit\n$/)
    openLogger({ level: 'info', format: 'pretty', output: plain.output }).error('stanza failed', { error: new Error('no luck'), count: 2, to: 'a b' })
    t.match(plain.written[1], /ERROR: stanza failed {2}error=\{.*"message":"no luck"\} {2}count=2 {2}to="a b"\n {4}Error: no luck\n {4}at /)
    t.notMatch(plain.written.join(''), '\u001b[')
    const terminal = lines()
    openLogger({ level: 'info', format: 'pretty', output: { ...terminal.output, isTTY: true } as typeof terminal.output }).info('a')
    t.match(terminal.written.join(''), '\u001b[')
  })

  t.test('writes nothing at any level if it is silent', async t => {
    t.equal(silent.with({ a: 1 }), silent)
    for (const level of ['debug', 'info', 'warn', 'error'] as const) t.equal(silent[level]('a', { b: 1 }), undefined)
  })
})

t.test('a scope', async t => {
  t.test('disposes in reverse order, and waits for each', async t => {
    const scope = new Scope()
    const order: string[] = []
    const first = gate()
    scope.defer(() => { order.push('first taken') })
    scope.defer(async () => { await first.promise; order.push('second taken') })
    scope.defer(() => { order.push('third taken') })
    const disposed = scope.dispose()
    t.ok(scope.disposed)
    t.same(order, ['third taken'])
    first.open()
    await disposed
    t.same(order, ['third taken', 'second taken', 'first taken'])
  })

  t.test('goes on if a cleanup throws, and throws the first error at the end', async t => {
    const scope = new Scope()
    let ran = 0
    scope.defer(() => { ran++ })
    scope.defer(() => { throw new Error('the later one') })
    scope.defer(() => Promise.reject(new Error('the first to run')))
    await t.rejects(scope.dispose(), { message: 'the first to run' })
    t.equal(ran, 1)
  })

  t.test('disposes once, and accepts nothing afterwards', async t => {
    const scope = new Scope()
    let ran = 0
    scope.defer(() => { ran++ })
    await scope.dispose()
    await scope.dispose()
    t.equal(ran, 1)
    t.throws(() => scope.defer(() => {}), { message: 'this scope is disposed' })
  })
})

t.test('hooks', async t => {
  const bell = hook<{ readonly heard: string[] }>('bell')
  const other = hook<unknown>('other')
  const failures: { error: unknown, place: HandlerPlace }[] = []
  const hooks = (): Hooks => new Hooks((error, place) => failures.push({ error, place }))
  t.beforeEach(() => { failures.length = 0 })

  t.test('run phase by phase, and in order of registration within one', async t => {
    const some = hooks()
    for (const phase of ['observe', 'act', 'screen', 'record', 'stamp'] as const satisfies readonly Phase[]) {
      for (const n of [1, 2]) some.on(bell, ({ heard }) => { heard.push(`${phase} ${n}`) }, phase, 'me')
    }
    const heard: string[] = []
    t.equal(some.fire(bell, { heard }), undefined, 'no promise if no handler waits')
    t.same(heard, PHASES.flatMap(phase => [`${phase} 1`, `${phase} 2`]))
    t.same(some.places().slice(0, 2), [{ hook: 'bell', phase: 'screen', owner: 'me' }, { hook: 'bell', phase: 'screen', owner: 'me' }])
  })

  t.test('cost nothing without handlers', async t => {
    const some = hooks()
    t.equal(some.has(bell), false)
    t.equal(some.fire(bell, { heard: [] }), undefined)
    const leave = some.on(bell, () => {}, 'act', 'me')
    t.equal(some.has(bell), true)
    t.equal(some.has(other), false)
    leave()
    leave()
    t.equal(some.has(bell), false)
    t.same(some.places(), [])
  })

  t.test('wait for an asynchronous handler before the next one runs', async t => {
    const some = hooks()
    const { promise, open } = gate()
    some.on(bell, async ({ heard }) => { await promise; heard.push('slow') }, 'screen', 'me')
    some.on(bell, ({ heard }) => { heard.push('quick') }, 'act', 'me')
    some.on(bell, async ({ heard }) => { heard.push('last') }, 'observe', 'me')
    const heard: string[] = []
    const fired = some.fire(bell, { heard })
    t.ok(fired instanceof Promise)
    t.same(heard, [])
    open()
    t.equal(await fired, undefined)
    t.same(heard, ['slow', 'quick', 'last'])
  })

  t.test("end if a handler answers 'handled', at once or later", async t => {
    for (const answer of [() => 'handled' as const, async () => 'handled' as const]) {
      const some = hooks()
      some.on(bell, answer, 'stamp', 'me')
      some.on(bell, ({ heard }) => { heard.push('too far') }, 'act', 'me')
      const heard: string[] = []
      t.equal(await some.fire(bell, { heard }), 'handled')
      t.same(heard, [])
    }
  })

  t.test('fail closed: an error before `observe` is thrown, and no later handler runs', async t => {
    for (const phase of ['screen', 'stamp', 'record', 'act'] as const) {
      const some = hooks()
      some.on(bell, ({ heard }) => { heard.push('observed') }, 'observe', 'me')
      const leave = some.on(bell, () => { throw new Error('no') }, phase, 'me')
      const heard: string[] = []
      t.throws(() => some.fire(bell, { heard }), { message: 'no' }, `${phase}, at once`)
      leave()
      some.on(bell, () => Promise.reject(new Error('no')), phase, 'me')
      await t.rejects(async () => { await some.fire(bell, { heard }) }, { message: 'no' }, `${phase}, later`)
      t.same(heard, [])
    }
    t.same(failures, [])
  })

  t.test('report an error in `observe`, and go on', async t => {
    const some = hooks()
    some.on(bell, () => { throw new Error('at once') }, 'observe', 'one')
    some.on(bell, () => Promise.reject(new Error('later')), 'observe', 'two')
    some.on(bell, ({ heard }) => { heard.push('observed') }, 'observe', 'three')
    const heard: string[] = []
    await some.fire(bell, { heard })
    t.same(heard, ['observed'])
    t.match(failures, [
      { error: { message: 'at once' }, place: { hook: 'bell', phase: 'observe', owner: 'one' } },
      { error: { message: 'later' }, place: { owner: 'two' } },
    ])
  })

  t.test('go on with the handlers that they began with, whichever register or leave meanwhile', async t => {
    const some = hooks()
    let joined = false
    some.on(bell, ({ heard }) => {
      heard.push('first')
      leave()
      if (!joined) some.on(bell, ({ heard }) => { heard.push('newcomer') }, 'act', 'me')
      joined = true
    }, 'act', 'me')
    const leave = some.on(bell, ({ heard }) => { heard.push('second') }, 'act', 'me')
    const heard: string[] = []
    t.equal(some.fire(bell, { heard }), undefined)
    t.same(heard, ['first', 'second'])
    t.equal(some.fire(bell, { heard }), undefined)
    t.same(heard, ['first', 'second', 'first', 'newcomer'])
  })
})

t.test('a queue', async t => {
  const fails = (error: unknown): void => { t.fail('a task failed', { error }) }

  t.test('runs at once if it is idle', async t => {
    const queue = new Queue(1, fails)
    let ran = 0
    t.equal(queue.run(() => { ran++ }), true)
    t.equal(queue.run(() => { ran++ }), true)
    t.equal(ran, 2)
    t.equal(queue.busy, false)
  })

  t.test('keeps the order, one task at a time, and says when it is idle', async t => {
    const order: string[] = []
    const idle = gate()
    const queue = new Queue(10, fails, () => idle.open())
    const first = gate()
    queue.run(async () => { order.push('first begins'); await first.promise; order.push('first ends') })
    queue.run(async () => { order.push('second') })
    queue.run(() => { order.push('third') })
    t.same(order, ['first begins'])
    t.same([queue.length, queue.busy, queue.full], [2, true, false])
    first.open()
    await idle.promise
    t.same(order, ['first begins', 'first ends', 'second', 'third'])
    t.same([queue.length, queue.busy], [0, false])
  })

  t.test('takes no more than its bound, not counting the running task', async t => {
    const { promise, open } = gate()
    const idle = gate()
    const queue = new Queue(2, fails, () => idle.open())
    let ran = 0
    const task = (): void => { ran++ }
    queue.run(() => promise)
    t.same([queue.run(task), queue.run(task), queue.run(task)], [true, true, false])
    t.equal(queue.full, true)
    open()
    await idle.promise
    t.equal(ran, 2)
    t.equal(queue.run(task), true)
  })

  t.test('goes on after a task that throws, at once or later', async t => {
    const failed: unknown[] = []
    const idle = gate()
    const queue = new Queue(10, error => failed.push(error), () => { if (failed.length === 2) idle.open() })
    queue.run(() => { throw new Error('at once') })
    queue.run(() => Promise.reject(new Error('later')))
    let ran = false
    queue.run(() => { ran = true })
    await idle.promise
    t.match(failed, [{ message: 'at once' }, { message: 'later' }])
    t.equal(ran, true)
  })

  t.test('drops all waiting tasks when it is cleared, but not the running one', async t => {
    const { promise, open } = gate()
    const idle = gate()
    const queue = new Queue(10, fails, () => idle.open())
    const order: string[] = []
    queue.run(async () => { await promise; order.push('running') })
    queue.run(() => { order.push('forgotten') })
    queue.clear()
    t.equal(queue.length, 0)
    queue.run(() => { order.push('later') })
    open()
    await idle.promise
    t.same(order, ['running', 'later'])
  })

  t.test('takes a task from a task, which runs after those that wait', async t => {
    const queue = new Queue(10, fails)
    const order: number[] = []
    queue.run(() => {
      queue.run(() => { order.push(2); queue.run(() => { order.push(4) }) })
      queue.run(() => { order.push(3) })
      order.push(1)
    })
    t.same(order, [1, 2, 3, 4])
  })

  t.test('keeps the order over thousands of tasks that arrive while others run', async t => {
    const idle = gate()
    const queue = new Queue(500, fails, () => { if (order.length === 5000) idle.open() })
    const order: number[] = []
    let next = 0
    const feed = (): void => {
      while (next < 5000 && !queue.full) {
        const n = next++
        queue.run(n % 7 === 0
          ? async () => { order.push(n); if (n % 70 === 0) feed() }
          : () => { order.push(n); feed() })
      }
    }
    feed()
    await idle.promise
    t.same(order, Array.from({ length: 5000 }, (_, n) => n))
    t.equal(queue.length, 0)
  })
})

t.test('a slot and a service are typed names', async t => {
  const plain = slot('carbons.enabled', { initial: () => false })
  t.match(plain, { name: 'carbons.enabled', codec: undefined, onResume: 'keep', shared: false })
  t.equal(plain.initial(), false)
  const full = slot('csi.active', { initial: () => true, codec: flag, onResume: 'reset', shared: true })
  t.match(full, { codec: flag, onResume: 'reset', shared: true })
  for (const value of [true, false]) t.equal(flag.read(flag.write(value)), value)
  t.same(service<() => void>('rosters'), { name: 'rosters' })
})

t.test('a value is followed at once, and a promise when it resolves', async t => {
  t.equal(follow(2, n => n + 1), 3)
  t.equal(await follow(Promise.resolve(2), n => n + 1), 3)
  await t.rejects(async () => { await follow(Promise.reject(new Error('no')), () => 1) }, { message: 'no' })
})

t.test('the package knows its root folder and its version', async t => {
  t.ok(existsSync(join(PACKAGE_ROOT, 'conf')))
  t.match(VERSION, /^\d+\.\d+\.\d+/)
})
