/** The queue that others are built on: order, both ends, and what it keeps. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { Fifo } from '../../lib/base/fifo.js'

t.test('items leave in the order in which they came, whatever the length', t => {
  for (const depth of [1, 2, 63, 64, 65, 66, 200]) {
    const queue = new Fifo<number>()
    let [came, left] = [0, 0]
    for (let round = 0; round < 500; round++) {
      while (queue.length < depth) queue.push(came++)
      for (let count = round % 7 % depth; count >= 0; count--) if (queue.shift() !== left++) t.fail(`${left} at depth ${depth}`)
    }
    t.same([...queue.all()], Array.from({ length: queue.length }, (_, index) => left + index), `depth ${depth}`)
  }
  t.end()
})

t.test('both ends and each place can be read', t => {
  const queue = new Fifo<string>()
  t.same([queue.first, queue.last, queue.at(0), queue.length], [undefined, undefined, undefined, 0])
  for (const item of ['a', 'b', 'c', 'd']) queue.push(item)
  queue.shift()
  t.same([queue.first, queue.at(1), queue.last, queue.at(3), queue.length], ['b', 'c', 'd', undefined, 3])
  t.end()
})

t.test('an item can be taken back, and added before all others', t => {
  const queue = new Fifo<string>()
  t.equal(queue.pop(), undefined)
  queue.unshift('b')
  queue.push('c')
  queue.unshift('a')
  t.same(queue.all(), ['a', 'b', 'c'])
  t.equal(queue.shift(), 'a')
  queue.unshift('new')
  t.equal(queue.pop(), 'c')
  t.same(queue.all(), ['new', 'b'])
  t.equal(queue.shift(), 'new')
  t.equal(queue.pop(), 'b', 'the last one, after others have left')
  t.equal(queue.length, 0)
  for (const nothing of [queue.first, queue.last, queue.shift(), queue.pop()]) t.equal(nothing, undefined)
  queue.push('again')
  t.same(queue.all(), ['again'])
  t.end()
})

t.test('several are taken at once, and no more than there are', t => {
  const queue = new Fifo<number>()
  for (let item = 0; item < 200; item++) queue.push(item)
  t.same(queue.take(0), [])
  t.same(queue.take(3), [0, 1, 2])
  t.equal(queue.take(150).length, 150)
  t.equal(queue.first, 153)
  t.equal(queue.take(1000).length, 47)
  t.same([queue.length, queue.take(), queue.take(5)], [0, [], []])
  queue.push(1)
  queue.clear()
  t.same(queue.all(), [])
  t.end()
})

t.test('a removed item is held no longer, although others wait', async t => {
  for (const remove of [(queue: Fifo<object>) => { queue.shift() }, (queue: Fifo<object>) => { queue.take(2) }]) {
    const queue = new Fifo<object>()
    const isGone = collected(queue)
    for (let item = 0; item < 8; item++) queue.push({ item })
    remove(queue)
    for (let i = 0; i < 50 && !isGone(); i++) await collect()
    t.ok(isGone())
    t.ok(queue.length > 0)
  }
})

/** Adds an item that no variable of the test holds. The result tells whether it was collected. */
function collected (queue: Fifo<object>): () => boolean {
  const item = {}
  queue.push(item)
  const reference = new WeakRef(item)
  return () => reference.deref() === undefined
}

async function collect (): Promise<void> {
  await new Promise(resolve => { setImmediate(resolve) })
  setFlagsFromString('--expose-gc')
  runInNewContext('gc()')
}
