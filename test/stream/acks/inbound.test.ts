import t from 'tap'
import { Inbound } from '../../../lib/stream/acks/acks.js'
import { FakeClock } from '../../fake-clock.js'

interface Stage {
  readonly inbound: Inbound
  readonly clock: FakeClock
  /** The counts that the peer was told. */
  readonly told: number[]
  /** How often the owner was asked to store. */
  awaited (): number
  come (count: number): void
}

function stage (longest: number): Stage {
  const clock = new FakeClock()
  const told: number[] = []
  let arrived = 0
  let awaited = 0
  const inbound = new Inbound({
    whenCounted: then => { then(arrived) },
    isAwaited: () => { awaited++ },
    tell: octets => { told.push(Number(/h="(\d+)"/.exec(octets)?.[1])) },
    after: (ms, run) => clock.after(ms, run),
  }, longest)
  return { inbound, clock, told, awaited: () => awaited, come: count => { arrived += count } }
}

t.test('a request is answered once everything before it is stored', async t => {
  const { inbound, told, come, awaited } = stage(5000)
  come(3)
  inbound.store(2)
  inbound.asked()
  t.same([told, awaited(), inbound.isAsked], [[], 1, true])
  come(1)
  inbound.store(3)
  t.same([told, inbound.isAsked], [[3], false])
  inbound.store(4)
  t.same(told, [3], 'only a request is answered')
  inbound.asked()
  t.same([told, awaited()], [[3, 4], 1], 'at once if all is stored')
})

t.test('an answer is withheld no longer than it may be, and is repeated once the rest is stored', async t => {
  const { inbound, told, come, clock } = stage(5000)
  come(3)
  inbound.store(1)
  inbound.asked()
  clock.pass(4999)
  t.same(told, [])
  clock.pass(1)
  t.same(told, [1])
  inbound.store(2)
  t.same(told, [1])
  inbound.store(3)
  t.same(told, [1, 3])
  clock.pass(60_000)
  t.same(told, [1, 3], 'no timer is left')
})

t.test('with no time to wait, a request is answered at once and again when the rest is stored', async t => {
  const { inbound, told, come } = stage(0)
  come(3)
  inbound.store(1)
  inbound.asked()
  t.same(told, [1])
  inbound.store(3)
  t.same(told, [1, 3])
  inbound.asked()
  t.same(told, [1, 3, 3])
})

t.test('a due answer is cancelled by a resumption', async t => {
  const { inbound, told, come, clock } = stage(5000)
  come(1)
  inbound.asked()
  inbound.forget()
  inbound.store(1)
  clock.pass(60_000)
  t.same(told, [])
})

t.test('stanzas that wait for each other delay an answer only while they do', async t => {
  for (const isSo of [true, false]) {
    const { inbound, told, clock } = stage(5000)
    inbound.waits(() => isSo)
    clock.pass(5000)
    t.same(told, isSo ? [0] : [])
  }
})

t.test('a stored count never goes back', async t => {
  const { inbound, told, come } = stage(5000)
  come(5)
  inbound.store(5)
  inbound.store(4)
  inbound.asked()
  t.same([told, inbound.stored], [[5], 5])
})
