import t from 'tap'
import { answer, counted, countIn, distance, failed, isTrue, secondsIn, tooHigh, Unacknowledged } from '../../../lib/stream/acks/acks.js'
import { octets } from '../../../lib/xml/writer.js'
import { parseElement } from '../../parse.js'

const a = (h: string): ReturnType<typeof parseElement> => parseElement(`<a xmlns='urn:xmpp:sm:3' h='${h}'/>`)

t.test('a count has to be an unsignedInt', async t => {
  for (const wrong of ['', ' ', '-1', '4294967296', '1e3', '0x10', '1.0', 'NaN', '٣', '9'.repeat(33)]) t.equal(countIn(a(wrong)), undefined, `'${wrong}'`)
  for (const [text, count] of [['0', 0], [' 7 ', 7], ['+7', 7], ['007', 7], ['4294967295', 4294967295]] as const) t.equal(countIn(a(text)), count, `'${text}'`)
  t.equal(countIn(parseElement("<a xmlns='urn:xmpp:sm:3'/>")), undefined)
})

t.test('booleans and times of <enable/> are read as the schema defines them', async t => {
  const enable = (attributes: string): ReturnType<typeof parseElement> => parseElement(`<enable xmlns='urn:xmpp:sm:3' ${attributes}/>`)
  for (const [text, is] of [["resume='true'", true], ["resume='1'", true], ["resume='false'", false], ["resume='yes'", false], ['', false]] as const) {
    t.equal(isTrue(enable(text), 'resume'), is, text)
  }
  for (const [text, seconds] of [["max='60'", 60], ["max='0'", undefined], ["max='-5'", undefined], ["max='soon'", undefined], ['', undefined]] as const) {
    t.equal(secondsIn(enable(text)), seconds, text)
  }
})

t.test('the count wraps from 4294967295 to 0', async t => {
  t.equal(counted(4294967295), 0)
  t.equal(counted(0, -1), 4294967295)
  t.equal(distance(4294967290, 4), 10)
  const queue = new Unacknowledged<{ octets: string }>(4294967294)
  for (const octets of ['a', 'bb', 'ccc', 'dddd']) queue.push({ octets })
  t.equal(queue.sent, 2)
  t.equal(queue.acknowledge(3), undefined, 'more than was sent')
  t.equal(queue.acknowledge(4294967293), undefined, 'less than before')
  t.same(queue.acknowledge(1)?.map(item => item.octets), ['a', 'bb', 'ccc'])
  t.same([queue.acknowledged, queue.sent, queue.length, queue.bytes], [1, 2, 1, 4])
  t.same(queue.acknowledge(1), [], 'the same count again acknowledges nothing new')
  t.same(queue.take().map(item => item.octets), ['dddd'])
  t.same([queue.length, queue.bytes, queue.sent], [0, 0, 2], 'what was removed was sent')
  queue.push({ octets: 'e' })
  t.notOk(queue.covers(1), 'an older count covers nothing that was sent later')
  t.same(queue.acknowledge(3)?.map(item => item.octets), ['e'])
})

t.test('acknowledged stanzas leave the queue in order, however many have passed through', async t => {
  const queue = new Unacknowledged<{ octets: string }>()
  let sent = 0
  let handled = 0
  for (let round = 0; round < 500; round++) {
    for (let i = 0; i < round % 7; i++) queue.push({ octets: String(sent++) })
    const upTo = Math.min(sent, handled + round % 5)
    const wanted = Array.from({ length: upTo - handled }, (_, i) => handled + i)
    t.same(queue.acknowledge(upTo)?.map(item => Number(item.octets)), wanted)
    handled = upTo
    if (queue.length !== sent - handled || queue.all().length !== queue.length) t.fail('the queue lost count')
  }
})

t.test('errors have the conditions of the specification', async t => {
  t.equal(octets(failed('item-not-found', 7)), '<failed xmlns="urn:xmpp:sm:3" h="7"><item-not-found xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></failed>')
  t.notMatch(octets(failed('unexpected-request')), / h=/)
  const error = octets(tooHigh(10, 8).element())
  t.match(error, /<undefined-condition xmlns="urn:ietf:params:xml:ns:xmpp-streams"\/>/)
  t.match(error, /<handled-count-too-high xmlns="urn:xmpp:sm:3" h="10" send-count="8"\/>/)
  t.equal(answer(4294967295), '<a xmlns="urn:xmpp:sm:3" h="4294967295"/>')
})
