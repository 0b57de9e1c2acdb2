import t from 'tap'
import { RequestLoop, type RequestPatience } from '../../../lib/stream/acks/acks.js'
import { FakeClock } from '../../fake-clock.js'

interface Stage {
  readonly loop: RequestLoop
  readonly clock: FakeClock
  requests (): number
  gaveUp (): number
}

function stage (patience?: Pick<RequestPatience, 'again' | 'times'>): Stage {
  const clock = new FakeClock()
  let [requests, gaveUp] = [0, 0]
  const after: RequestPatience['after'] = (ms, run) => clock.after(ms, run)
  const full = patience === undefined ? undefined : { ...patience, after, gaveUp: () => { gaveUp++ } }
  const loop = new RequestLoop({ now: () => clock.now(), write: () => { requests++ } }, full)
  return { loop, clock, requests: () => requests, gaveUp: () => gaveUp }
}

t.test('one request is open at a time', async t => {
  const { loop, requests, clock } = stage()
  t.ok(loop.ask(3))
  t.equal(loop.askedAt, clock.now())
  t.notOk(loop.ask(5))
  t.equal(requests(), 1)
  loop.answered(1, 0, 5)
  t.equal(loop.askedAt, undefined, 'without patience every answer counts')
  t.ok(loop.ask(5))
  clock.pass(3_600_000)
  t.equal(requests(), 2, 'and nothing is repeated')
})

t.test('an answer that has not reached the requested count is not enough for a patient loop', async t => {
  const { loop } = stage({ again: 5000, times: 6 })
  loop.ask(3)
  loop.answered(2, 0, 5)
  t.not(loop.askedAt, undefined)
  loop.answered(3, 2, 5)
  t.equal(loop.askedAt, undefined)
})

t.test('counts are compared across their highest value', async t => {
  const { loop } = stage({ again: 5000, times: 6 })
  loop.ask(2)
  loop.answered(4294967295, 4294967290, 2)
  t.not(loop.askedAt, undefined)
  loop.answered(2, 4294967295, 2)
  t.equal(loop.askedAt, undefined)
})

t.test('a request without an answer is repeated, and given up without progress', async t => {
  const { loop, clock, requests, gaveUp } = stage({ again: 5000, times: 3 })
  loop.ask(10)
  clock.pass(5000)
  clock.pass(5000)
  t.same([requests(), gaveUp()], [3, 0])
  loop.answered(4, 0, 10)
  clock.pass(5000)
  clock.pass(5000)
  t.same([requests(), gaveUp()], [5, 0], 'progress counts the tries anew')
  clock.pass(5000)
  t.same([requests(), gaveUp()], [5, 1])
})

t.test('a loop that rests asks nobody', async t => {
  const { loop, clock, requests } = stage({ again: 5000, times: 3 })
  loop.ask(1)
  loop.rest()
  clock.pass(60_000)
  t.equal(requests(), 1)
  t.ok(loop.ask(1))
})
