import t from 'tap'
import { FairCache } from '../../lib/base/fair-cache.js'
import { PinnedCache } from '../../lib/base/pinned-cache.js'
import { Ledger } from '../../lib/base/ledger.js'

interface Holder { readonly name: string, bytes: number }

t.test('a bound over all takes from the largest holder, and not from those who hold far less', t => {
  const taken: string[] = []
  const ledger = new Ledger<Holder>(10_000_000, holder => {
    taken.push(holder.name)
    ledger.change(holder, -holder.bytes)
  })
  const small = Array.from({ length: 100 }, (_, n) => ({ name: `small ${n}`, bytes: 0 }))
  const large = { name: 'large', bytes: 0 }
  for (let n = 0; n < 50; n++) {
    ledger.change(large, 300_000)
    for (const one of small) ledger.change(one, 1000)
  }
  t.ok(taken.length > 0)
  t.same(new Set(taken), new Set(['large']))
  t.ok(ledger.bytes <= 10_000_000)
  t.equal(ledger.bytes, [large, ...small].reduce((sum, { bytes }) => sum + bytes, 0))
  t.end()
})

t.test('if nothing can be taken, or is given back later, the ledger goes on', t => {
  let asked = 0
  const ledger = new Ledger<Holder>(10_000, () => { asked++ })
  const one = { name: 'one', bytes: 0 }
  ledger.change(one, 20_000)
  t.equal(asked, 1)
  ledger.change(one, -20_000)
  t.equal(ledger.bytes, 0)
  t.end()
})

t.test("a cache that one holder fills drops that holder's entries, and keeps those of others", t => {
  const cache = new FairCache<string>({ each: 5000, all: 8000, sizeOf: (key, value) => key.length + value.length })
  for (const domain of ['a.example', 'b.example']) for (let n = 0; n < 10; n++) cache.set(domain, `${n}`, 'x'.repeat(99))
  for (let n = 0; n < 1000; n++) cache.set('flood.example', `${1000 + n}`, 'x'.repeat(96))
  t.ok(cache.bytes <= 8000)
  for (const domain of ['a.example', 'b.example']) for (let n = 0; n < 10; n++) t.ok(cache.get(domain, `${n}`), `${domain} ${n}`)
  t.equal(cache.get('flood.example', '1000'), undefined)
  t.ok(cache.get('flood.example', '1999'))
  const others = new FairCache<string>({ each: 1000, all: 2000, sizeOf: (_, value) => value.length })
  for (let n = 0; n < 500; n++) others.set(`domain ${n}`, 'device', 'x'.repeat(10))
  t.ok(others.bytes <= 2000, 'however small each entry is')
  others.set('one', 'device', 'x'.repeat(1001))
  t.equal(others.get('one', 'device'), undefined, 'a value larger than the cache is not kept')
  t.end()
})

t.test('values without a holder are bounded in bytes, too', async t => {
  const bound = { bytes: 3500, sizeOf: ({ text }: { readonly text: string }) => text.length }
  const kept = new PinnedCache(key => Promise.resolve({ text: key.repeat(1000) }), 100, bound)
  for (const key of ['a', 'b', 'c', 'd']) await kept.of(key)
  t.equal(kept.size, 3)
  await kept.hold('h')
  t.equal(kept.size, 4, 'a held value does not count')
})
