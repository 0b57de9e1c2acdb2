/** Commits that settle together share the event loop, and keep their order. */
import t from 'tap'
import { Turns } from '../../lib/base/turns.js'
import { Commits, Settling } from '../../lib/storage/commits.js'

const nextTurn = async (): Promise<void> => { await new Promise(resolve => { setImmediate(resolve) }) }

/** Makes commits whose callbacks move the time on by a millisecond each, after a promise. */
function stage (): { readonly settling: Settling<number>, readonly commits: Commits, readonly done: number[] } {
  let now = 0
  const commits = new Commits()
  const done: number[] = []
  const settling = new Settling<number>(new Turns(() => now, 10), () => { commits.settle(undefined) })
  for (let n = 1; n <= 1000; n++) {
    const number = commits.next()
    commits.after(number, () => { void Promise.resolve().then(() => { done.push(n); now += 1 }) })
  }
  return { settling, commits, done }
}

t.test('a thousand commits that settle together use many turns, and settle in their order', async t => {
  const { settling, commits, done } = stage()
  settling.push(Array.from({ length: 1000 }, (_, n) => n))
  let turns = 0
  let longest = 0
  while (settling.length > 0 || done.length < 1000) {
    const before = done.length
    await nextTurn()
    longest = Math.max(longest, done.length - before)
    if (++turns > 2000) break
  }
  t.same(done, Array.from({ length: 1000 }, (_, n) => n + 1))
  t.equal(commits.settled, 1000)
  t.ok(longest <= 32, `${longest} in one turn`)
  t.ok(turns > 20, `${turns} turns`)
})

t.test('a result that comes while others wait settles after them', async t => {
  const { settling, commits } = stage()
  const order: number[] = []
  for (const number of [600, 601]) commits.after(number, () => { order.push(number) })
  settling.push(Array.from({ length: 600 }, (_, n) => n))
  settling.push(Array.from({ length: 400 }, (_, n) => n))
  t.ok(commits.settled < 600)
  while (settling.length > 0) await nextTurn()
  t.same(order, [600, 601])
})

t.test('without turns all of them settle at once', t => {
  const settled: string[] = []
  new Settling<string>(undefined, result => { settled.push(result) }).push(['a', 'b', 'c'])
  t.same(settled, ['a', 'b', 'c'])
  t.end()
})
