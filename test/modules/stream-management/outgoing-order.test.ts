/** The numbers of outgoing stanzas that wait for their commits (XEP-0198 §4). */
import t from 'tap'
import { OutgoingOrder, type Item } from '../../../modules/stream-management/outgoing-order.js'

interface Scene { readonly order: OutgoingOrder, readonly moved: Item[], readonly written: string[] }

function orderOf (isVague: boolean): Scene {
  const moved: Item[] = []
  const written: string[] = []
  const home = {
    write: (octets: string) => { written.push(octets) },
    moved: (item: Item) => { moved.push(item) },
    hasRoom: () => true,
    drained: () => false,
  }
  return { order: new OutgoingOrder(home, { confirmed: 0, isHeld: false, isVague }), moved, written }
}

/** Returns a stored stanza, with the number that its row gets. */
function stored (order: OutgoingOrder, octets: string, state: Item['state'] = 'waiting'): Item {
  const about = { handed: undefined, at: 0, row: octets, confirmed: () => {}, isPatient: false }
  return { ...about, octets, seq: order.next, state }
}

t.test('a stanza that waits for its commit while a session resumes after a crash gets its number with the others', t => {
  const { order, moved } = orderOf(true)
  const [first, second, third] = ['<a/>', '<b/>', '<c/>'].map((octets, index) => stored(order, octets, index === 0 ? 'ready' : 'waiting'))
  for (const item of [first, second, third]) if (item !== undefined) order.place(item)
  t.strictSame([first?.seq, second?.seq, third?.seq], [undefined, undefined, undefined])
  order.confirm(7)
  t.strictSame([first?.seq, second?.seq, third?.seq], [8, 9, 10])
  t.strictSame(moved, [first, second, third])
  for (const item of [second, third]) if (item !== undefined) item.state = 'ready'
  order.drain()
  t.equal(order.sent, 10)
  t.end()
})

t.test('a stanza that is not stored leaves no gap in the numbers of those before and after it', t => {
  const { order, written } = orderOf(false)
  const [first, lost, third] = ['<a/>', '<b/>', '<c/>'].map(octets => {
    const item = stored(order, octets)
    order.place(item)
    return item
  }) as [Item, Item, Item]
  order.drop(lost)
  const last = stored(order, '<d/>')
  order.place(last)
  t.strictSame([first.seq, third.seq, last.seq], [1, 2, 3])
  t.equal(order.length, 3)
  t.equal(order.bytes, 12)
  for (const item of [first, third, last]) item.state = 'ready'
  order.drain()
  t.strictSame(written, ['<a/>', '<c/>', '<d/>'])
  t.equal(order.sent, 3)
  t.equal(order.bytes, 12)
  t.end()
})
