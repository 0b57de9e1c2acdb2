import t from 'tap'
import { ResumeTable } from '../../../lib/stream/acks/acks.js'
import { FakeClock } from '../../fake-clock.js'

interface Stage {
  readonly table: ResumeTable<string>
  readonly clock: FakeClock
  readonly expired: string[]
}

function stage (waiting?: number): Stage {
  const clock = new FakeClock()
  const expired: string[] = []
  const table: ResumeTable<string> = new ResumeTable<string>({
    clock, ended: 2, ...waiting === undefined ? {} : { waiting },
    expired: value => {
      expired.push(value)
      table.end(`id-${value}`, { handled: 1 })
    },
  })
  return { table, clock, expired }
}

t.test('an id is found only for its own owner', async t => {
  const { table } = stage()
  table.enter('id-a', 'juliet', 'a')
  t.equal(table.at('id-a', 'juliet'), 'a')
  t.equal(table.at('id-a', 'romeo'), undefined)
  table.end('id-a', { handled: 7 })
  t.equal(table.at('id-a', 'juliet'), undefined)
  t.equal(table.countOf('id-a', 'juliet'), 7)
  t.equal(table.countOf('id-a', 'romeo'), undefined)
})

t.test('the time of one that waits is over unless it is resumed', async t => {
  const { table, clock, expired } = stage()
  for (const value of ['a', 'b']) table.enter(`id-${value}`, 'juliet', value)
  table.wait('id-a', 1000)
  table.wait('id-b', 1000)
  clock.pass(999)
  table.stopWaiting('id-b')
  t.same(table.waiting(), ['a'])
  clock.pass(1)
  t.same(expired, ['a'])
  clock.pass(60_000)
  t.same([expired, [...table.all()]], [['a'], ['b']])
  table.wait('id-b', 1000)
  table.stop()
  clock.pass(60_000)
  t.same(expired, ['a'], 'a stopped table ends nothing')
})

t.test('with too many that wait, the oldest one expires', async t => {
  const { table, expired } = stage(2)
  for (const value of ['a', 'b', 'c']) {
    table.enter(`id-${value}`, value, value)
    table.wait(`id-${value}`, 1000)
  }
  t.same([expired, table.waiting(), table.waiting('b')], [['a'], ['b', 'c'], ['b']])
})

t.test('of several who resume one at a time, the last one has it', async t => {
  const { table } = stage()
  table.enter('id-a', 'juliet', 'a')
  const settle: (() => void)[] = []
  const settled = (): Promise<void> => new Promise(resolve => { settle.push(resolve) })
  const locks = [table.lock('id-a', settled), table.lock('id-a', settled)]
  for (const resolve of settle) resolve()
  t.same(await Promise.all(locks), [false, true])
  t.equal(await table.lock('id-b', settled), false, 'nobody has what is not there')
})

t.test('one that ends while it is locked cannot be resumed', async t => {
  const { table } = stage()
  table.enter('id-a', 'juliet', 'a')
  const lock = table.lock('id-a', async () => { table.end('id-a', { handled: 3 }) })
  t.equal(await lock, false)
  t.equal(table.countOf('id-a', 'juliet'), 3)
})

t.test('the count of an ended one is told once all that came is handled', async t => {
  const { table } = stage()
  const count = { handled: 1, settled: async () => { count.handled = 2 } }
  table.enter('id-a', 'juliet', 'a')
  table.end('id-a', count)
  t.equal(await table.countOf('id-a', 'juliet'), 2)
  table.remember('id-b', 'romeo', { handled: 5 })
  table.remember('id-c', 'romeo', { handled: 6 })
  t.same(table.ended(), [['id-c', 'romeo', 6], ['id-b', 'romeo', 5]], 'the oldest count is forgotten')
})
