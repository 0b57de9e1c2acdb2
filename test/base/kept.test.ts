import t from 'tap'
import { Kept } from '../../lib/base/kept.js'
import { TokenBucket } from '../../lib/base/rate.js'
import { FakeClock } from '../fake-clock.js'

interface Value { readonly text: string }

function reader (): { readonly read: (key: string) => Promise<Value>, readonly reads: string[], answer (text: string): void } {
  const reads: string[] = []
  const waiting: ((value: Value) => void)[] = []
  return {
    reads,
    read: key => new Promise(resolve => {
      reads.push(key)
      waiting.push(resolve)
    }),
    answer: text => { waiting.shift()?.({ text }) },
  }
}

t.test('all who ask while a value is being read get the same one, and later it is at hand', async t => {
  const { read, reads, answer } = reader()
  const kept = new Kept(read, 10)
  const first = kept.of('a')
  const second = kept.of('a')
  answer('one')
  t.equal(await first, await second)
  t.same(reads, ['a'])
  t.equal(kept.of('a'), await first, 'no promise now')
})

t.test('what is held stays, what is not held goes when there is too much', async t => {
  const kept = new Kept(key => Promise.resolve({ text: key }), 2)
  await kept.hold('held')
  for (const key of ['a', 'b', 'c']) await kept.of(key)
  t.equal(kept.size, 3)
  t.same(kept.of('held'), { text: 'held' })
  t.type(kept.of('a'), Promise, 'the oldest is gone')
  kept.release('held')
  t.same(kept.of('held'), { text: 'held' }, 'released, it is still there for a while')
})

t.test('what is forgotten while it is being read is not kept', async t => {
  const { read, reads, answer } = reader()
  const kept = new Kept(read, 10)
  const stale = kept.of('a')
  kept.forget('a')
  const fresh = kept.of('a')
  answer('old')
  answer('new')
  t.same(await stale, { text: 'old' })
  t.same(await fresh, { text: 'new' })
  t.same(kept.of('a'), { text: 'new' })
  t.equal(reads.length, 2)
})

t.test('holds are counted across forgetting', async t => {
  let reads = 0
  const kept = new Kept(() => Promise.resolve({ text: String(++reads) }), 1)
  await kept.hold('a')
  await kept.hold('a')
  kept.forget('a')
  t.same(await kept.of('a'), { text: '2' })
  kept.release('a')
  await kept.of('b')
  await kept.of('c')
  t.same(kept.of('a'), { text: '2' }, 'one hold is left')
  kept.release('a')
  kept.release('a')
  await kept.of('b')
  t.type(kept.of('a'), Promise, 'nobody holds it any more')
})

t.test('a reading that failed is tried again by the next who asks', async t => {
  let fails = true
  const kept = new Kept(() => fails ? Promise.reject(new Error('no disk')) : Promise.resolve({ text: 'there' }), 10)
  await t.rejects(Promise.resolve(kept.hold('a')), { message: 'no disk' })
  fails = false
  t.same(await kept.of('a'), { text: 'there' })
})

t.test('a bucket says how long to wait, and forgives with time', t => {
  const clock = new FakeClock()
  const bucket = new TokenBucket(clock, 10, 20)
  t.equal(bucket.take(20), 0)
  t.equal(bucket.take(5), 500)
  clock.pass(500)
  t.equal(bucket.take(0), 0)
  clock.pass(60_000)
  t.equal(bucket.take(21), 100, 'a long rest gives no more than the burst')
  t.end()
})
