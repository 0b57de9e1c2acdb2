/** A stream reads unless a reason to stop is left. */
import t from 'tap'
import { Turns } from '../../lib/base/turns.js'
import { memoryPair } from '../../lib/stream/memory-transport.js'
import { OWNER, Reading, SLOW_READER } from '../../lib/stream/reading.js'
import { FakeClock } from '../fake-clock.js'

interface Scene {
  readonly reading: Reading
  readonly calls: string[]
  readonly clock: FakeClock
}

/** Makes a reading side that notes what it does. `isSpent`: each turn of the event loop is used up at once. */
function scene (isSpent = false): Scene {
  const clock = new FakeClock()
  const calls: string[] = []
  const [transport] = memoryPair({ clock })
  transport.pause = () => { calls.push('pause') }
  transport.resume = () => { calls.push('resume') }
  const reader = { stop () { calls.push('stop') }, resume () { calls.push('go on') } }
  const turns = new Turns(() => 0, isSpent ? 0 : 1)
  const hasBegun = !turns.isSpent
  t.ok(hasBegun)
  return { reading: new Reading(transport, { clock, turns }, reader, () => {}), calls, clock }
}

const nextTurn = async (): Promise<void> => { await new Promise(resolve => { setImmediate(resolve) }) }

t.test('a stream reads on when the last reason to stop is gone', async t => {
  const { reading, calls } = scene()
  reading.hold(OWNER)
  reading.hold(SLOW_READER)
  reading.release(OWNER)
  t.same(calls.splice(0), ['pause', 'stop', 'stop'])
  reading.release(SLOW_READER)
  t.same(calls, ['go on', 'resume'])
})

t.test('a stream that waits for the next turn pauses its connection only if more input arrives', async t => {
  const { reading, calls } = scene(true)
  reading.begin(1000)
  t.same(calls.splice(0), ['stop'])
  await nextTurn()
  t.same(calls.splice(0), ['go on'])
  reading.begin(1000)
  reading.begin(1000)
  reading.begin(1000)
  t.same(calls.splice(0), ['stop', 'pause'])
  await nextTurn()
  t.same(calls, ['go on', 'resume'])
})

t.test('a stream that waits for the next turn with much input pauses its connection: more has probably come', async t => {
  const { reading, calls } = scene(true)
  reading.begin(64 * 1024)
  t.same(calls.splice(0), ['stop', 'pause'])
  await nextTurn()
  t.same(calls, ['go on', 'resume'])
})

t.test('pauses by rate do not add up: the longest one counts', async t => {
  const { reading, calls, clock } = scene()
  reading.rest(100)
  reading.rest(50)
  clock.pass(99)
  t.same(calls.splice(0), ['pause', 'stop'])
  clock.pass(1)
  t.same(calls, ['go on', 'resume'])
  t.equal(clock.timers, 0)
})

t.test('a stream that is over reads on, and stops no more', async t => {
  const { reading, calls, clock } = scene()
  reading.rest(100)
  reading.end()
  t.same(calls.splice(0), ['pause', 'stop', 'go on', 'resume'])
  reading.hold(OWNER)
  reading.rest(100)
  reading.end()
  t.same(calls, [])
  t.equal(clock.timers, 0)
})
