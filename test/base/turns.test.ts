/** Spreading work over turns of the event loop. */
import t from 'tap'
import { Queue } from '../../lib/base/queue.js'
import { Turns } from '../../lib/base/turns.js'

/** A clock that the work itself advances. */
class Watch {
  now = 0
  readonly turns = new Turns(() => this.now, 10)
}

const nextTurn = async (): Promise<void> => { await new Promise(resolve => { setImmediate(resolve) }) }

t.test('a turn is used up after its time, and the next one is fresh', async t => {
  const time = new Watch()
  t.equal(time.turns.isSpent, false)
  time.now += 9
  t.equal(time.turns.isSpent, false)
  time.now += 1
  t.equal(time.turns.isSpent, true)
  await nextTurn()
  t.equal(time.turns.isSpent, false)
})

t.test('waiting work runs in the order of requests, in each turn as much as fits, and at least one piece', async t => {
  const time = new Watch()
  const done: number[] = []
  for (let n = 0; n < 5; n++) time.turns.later(() => { done.push(n); time.now += n === 2 ? 100 : 5 })
  t.same(done, [], 'nothing runs in the turn that requests it')
  await nextTurn()
  t.same(done, [0, 1])
  await nextTurn()
  t.same(done, [0, 1, 2])
  time.turns.later(() => { done.push(5) })
  await nextTurn()
  t.same(done, [0, 1, 2, 3, 4])
  await nextTurn()
  t.same(done, [0, 1, 2, 3, 4, 5])
})

t.test('tasks that waited for a slow one do not all run in one turn', async t => {
  const time = new Watch()
  const done: number[] = []
  const finished = new Promise<void>(resolve => {
    const queue = new Queue(100, () => {}, resolve, time.turns)
    queue.run(async () => { await nextTurn() })
    for (let n = 0; n < 6; n++) queue.run(() => { done.push(n); time.now += 5 })
  })
  let turns = 0
  for (let before = 0; done.length < 6; turns++) {
    t.ok(done.length - before <= 3, `${done.length - before} in one turn`)
    before = done.length
    await nextTurn()
  }
  t.ok(turns >= 3)
  await finished
  t.same(done, [0, 1, 2, 3, 4, 5])
})
