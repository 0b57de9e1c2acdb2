/** A bound on what runs at a time, with a line for the rest. */
import t from 'tap'
import { Semaphore } from '../../lib/base/semaphore.js'

interface Gate { readonly work: () => Promise<string>, readonly open: (how: string | Error) => void, begun: boolean }

/** A work that the test ends. */
function gate (): Gate {
  let open: (how: string | Error) => void = () => {}
  const promise = new Promise<string>((resolve, reject) => {
    open = how => { if (how instanceof Error) reject(how); else resolve(how) }
  })
  const one = { work: () => { one.begun = true; return promise }, open, begun: false }
  return one
}

t.test('works run up to a number, wait in order up to another, and are refused beyond', async t => {
  const semaphore = new Semaphore(2, 2)
  t.equal(semaphore.isIdle, true)
  const gates = [gate(), gate(), gate(), gate(), gate()] as const
  const runs = gates.map(({ work }) => semaphore.run(work))
  t.same(gates.map(({ begun }) => begun), [true, true, false, false, false])
  t.equal(runs[4], undefined)
  t.equal(semaphore.waiting, 2)
  gates[1].open('second')
  t.equal(await runs[1], 'second')
  t.same(gates.map(({ begun }) => begun), [true, true, true, false, false])
  gates[0].open(new Error('it failed'))
  await t.rejects(async () => { await runs[0] }, { message: 'it failed' })
  t.equal(gates[3].begun, true, 'a work that fails makes room, too')
  gates[2].open('third')
  gates[3].open('fourth')
  t.same(await Promise.all([runs[2], runs[3]]), ['third', 'fourth'])
  t.equal(semaphore.isIdle, true)
})

t.test('a work that comes when another ends does not overtake those that wait', async t => {
  const semaphore = new Semaphore(1, 10)
  const ran: number[] = []
  let most = 0
  let running = 0
  const work = (number: number) => async (): Promise<void> => {
    most = Math.max(most, ++running)
    ran.push(number)
    await Promise.resolve()
    running--
  }
  const first = semaphore.run(work(1))?.then(() => semaphore.run(work(4)))
  await Promise.all([first, semaphore.run(work(2)), semaphore.run(work(3))])
  t.same(ran, [1, 2, 3, 4])
  t.equal(most, 1)
})

t.test('works that wait can be dropped, and the running one goes on', async t => {
  const semaphore = new Semaphore(1, 10)
  const [first, second] = [gate(), gate()]
  const run = semaphore.run(first.work)
  void semaphore.run(second.work)
  semaphore.clear()
  first.open('done')
  t.equal(await run, 'done')
  t.same([second.begun, semaphore.waiting, semaphore.isIdle], [false, 0, true])
})
