import t from 'tap'
import { PinnedCache } from '../../lib/base/pinned-cache.js'
import { TokenBucket } from '../../lib/base/rate.js'
import { FakeClock } from '../fake-clock.js'

interface Value { readonly text: string }

interface Reader {
  readonly read: (key: string) => Promise<Value>
  readonly reads: string[]
  answer (text: string): void
}

function reader (): Reader {
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

t.test('all readers during one read get the same value, and later ones get it from the cache', async t => {
  const { read, reads, answer } = reader()
  const kept = new PinnedCache(read, 10)
  const first = kept.of('a')
  const second = kept.of('a')
  answer('one')
  t.equal(await first, await second)
  t.same(reads, ['a'])
  t.equal(kept.of('a'), await first, 'no promise now')
})

t.test('a held value stays, and others go when there are too many', async t => {
  const kept = new PinnedCache(key => Promise.resolve({ text: key }), 2)
  await kept.hold('held')
  for (const key of ['a', 'b', 'c']) await kept.of(key)
  t.equal(kept.size, 3)
  t.same(kept.of('held'), { text: 'held' })
  t.type(kept.of('a'), Promise, 'the oldest is gone')
  kept.release('held')
  t.same(kept.of('held'), { text: 'held' }, 'a released value stays for a while')
})

t.test('a value that is alone in memory is forgotten while it is held, too', async t => {
  let reads = 0
  const kept = new PinnedCache(key => Promise.resolve({ text: `${key}${++reads}` }), 10)
  await kept.of('a')
  t.same(kept.hold('a'), { text: 'a1' }, 'no promise')
  kept.forget('a')
  t.same(await kept.of('a'), { text: 'a2' })
  kept.release('a')
  t.same(kept.of('a'), { text: 'a2' })
  t.same(kept.hold('a'), { text: 'a2' })
  kept.holdAs('a', { text: 'new' })
  kept.release('a')
  kept.release('a')
  t.same(kept.of('a'), { text: 'new' })
})

t.test('a value that is forgotten while it is read is not kept', async t => {
  const { read, reads, answer } = reader()
  const kept = new PinnedCache(read, 10)
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
  const kept = new PinnedCache(() => Promise.resolve({ text: String(++reads) }), 1)
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
  t.type(kept.of('a'), Promise, 'no hold is left')
})

t.test('a failed read is tried again by the next reader', async t => {
  let fails = true
  const kept = new PinnedCache(() => fails ? Promise.reject(new Error('no disk')) : Promise.resolve({ text: 'there' }), 10)
  await t.rejects(Promise.resolve(kept.hold('a')), { message: 'no disk' })
  fails = false
  t.same(await kept.of('a'), { text: 'there' })
})

t.test('a bucket says how long to wait, and refills with time', t => {
  const clock = new FakeClock()
  const bucket = new TokenBucket(clock, 10, 20)
  t.equal(bucket.take(20), 0)
  t.equal(bucket.take(5), 500)
  clock.pass(500)
  t.equal(bucket.take(0), 0)
  clock.pass(60_000)
  t.equal(bucket.take(21), 100, 'a long pause gives no more than the burst')
  t.end()
})
