import t from 'tap'
import { Outbound } from '../../../lib/stream/acks/acks.js'

interface Peer { written: string, room: number, isThere: boolean, readonly waits: (() => void)[] }

interface Stage {
  readonly peer: Peer
  readonly outbound: Outbound<{ readonly octets: string }>
  send (text: string): void
}

function stage (acknowledged = 0): Stage {
  const peer: Peer = { written: '', room: Infinity, isThere: true, waits: [] }
  const outbound = new Outbound<{ readonly octets: string }>({
    write: octets => {
      peer.written += octets
      peer.room--
    },
    hasRoom: () => peer.isThere && peer.room > 0,
    drained: then => {
      if (peer.isThere) peer.waits.push(then)
      return peer.isThere
    },
  }, acknowledged)
  const send = (text: string): void => {
    for (const octets of text) outbound.push({ octets })
    outbound.flush()
  }
  return { peer, outbound, send }
}

t.test('a slow peer gets no more than it has room for, and the rest in order', async t => {
  const { peer, outbound, send } = stage()
  peer.room = 2
  send('abcd')
  t.equal(peer.written, 'ab')
  send('e')
  t.equal(peer.waits.length, 1, 'one callback waits')
  peer.room = 2
  peer.waits.pop()?.()
  t.equal(peer.written, 'abcd')
  t.same([outbound.length, outbound.sent], [5, 5], 'what waits to be written counts as sent')
  peer.room = Infinity
  peer.waits.pop()?.()
  t.equal(peer.written, 'abcde')
})

t.test('a resumed stream gets what is not acknowledged, once and in order', async t => {
  const { peer, outbound, send } = stage()
  send('abc')
  t.same(outbound.acknowledge(1).map(({ octets }) => octets), ['a'])
  peer.isThere = false
  send('de')
  t.equal(peer.written, 'abc')
  peer.isThere = true
  t.same(outbound.acknowledge(2).map(({ octets }) => octets), ['b'])
  outbound.repeat()
  t.equal(peer.written, 'abccde')
  send('f')
  t.equal(peer.written, 'abccdef')
})

t.test('a count that cannot be is an error, and changes nothing', async t => {
  const { outbound, send } = stage(4294967295)
  send('abc')
  for (const h of [3, 4294967294]) {
    t.notOk(outbound.covers(h))
    t.throws(() => outbound.acknowledge(h), /You acknowledged/, String(h))
  }
  t.same([outbound.length, outbound.acknowledged, outbound.sent], [3, 4294967295, 2])
  t.equal(outbound.acknowledge(2).length, 3)
})

t.test('counting begins anew for a stream on which it is agreed', async t => {
  const { outbound, send, peer } = stage()
  send('abc')
  t.same(outbound.restart().map(({ octets }) => octets), ['a', 'b', 'c'])
  send('d')
  t.same([peer.written, outbound.sent, outbound.bytes], ['abcd', 1, 1])
  t.equal(outbound.restart(7).length, 1)
  t.equal(outbound.sent, 7)
})
