/** The outlet of an address keeps the order, and sends long answers as fast as they are read. */
import t from 'tap'
import { defineModule } from '../../lib/api.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { records } from '../../lib/storage/store.js'
import { xml } from '../../lib/xml/element.js'
import { StanzaError } from '../../lib/xmpp/errors.js'
import { parseJid, type Jid } from '../../lib/xmpp/jid.js'
import { stanza, type Addressed } from '../../lib/xmpp/stanza.js'
import { scenario, type Device } from '../scenario.js'
import { SM } from '../stanzas.js'

const KIB = 1024
const ROOM = parseJid('room@capulet.lit')

function message (to: Jid, text: string, from = ROOM): Addressed {
  return stanza(xml('message', { type: 'groupchat' }, xml('body', {}, text)), from, to)
}

/** Yields `count` messages of `bytes` bytes each, and counts them in `made`. */
function * pieces (to: Jid, count: number, bytes: number, made: { count: number }): Generator<Addressed> {
  for (let n = 0; n < count; n++) {
    made.count++
    yield message(to, `${n} ${'x'.repeat(bytes)}`)
  }
}

/** The first word of each body; the name of a stanza without a body. */
const words = (device: Device): string[] => device.unread.map(element => (element.getChildText('body') ?? element.name).split(' ')[0] ?? '')

t.test('a long answer is produced as fast as it is read, and later stanzas go out after it', async t => {
  const s = await scenario(t, { modules: ['presence', 'message'] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  const outlet = s.host('capulet.lit').outlet(ROOM)
  const made = { count: 0 }
  juliet.stopsReading()
  const drawn = outlet.draw(juliet.jid, pieces(juliet.jid, 1000, 10 * KIB, made))
  t.ok(made.count < 20, 'of 10 MB little is produced before it is read')
  outlet.send(message(juliet.jid, 'later'))
  const second = outlet.draw(juliet.session, pieces(juliet.jid, 2, 10, { count: 0 }))
  outlet.send(message(juliet.jid, 'last'))
  outlet.send(message(romeo.jid, 'other'))
  await s.settled()
  t.same(words(romeo), ['other'], 'other recipients do not wait')
  await juliet.reads()
  t.equal(await drawn, true)
  t.equal(await second, true)
  await juliet.reads()
  t.same(words(juliet), [...Array.from({ length: 1000 }, (_, n) => String(n)), 'later', '0', '1', 'last'])
  t.equal(juliet.closed, false)
})

t.test('an answer that is read at once needs no promise', async t => {
  const s = await scenario(t, { modules: ['presence', 'message'] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  t.equal(s.host('capulet.lit').outlet(ROOM).draw(juliet.session, pieces(juliet.jid, 3, 10, { count: 0 })), true)
  t.same(words(juliet), ['0', '1', '2'])
})

t.test('a stanza that waits for its commit keeps its place, and one that is not stored is never sent', async t => {
  const s = await scenario(t, { modules: ['presence', 'message'] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const host = s.host('capulet.lit')
  const store = await s.storage.open('test.outlet', records<string>(1))
  const outlet = host.outlet(ROOM)
  for (const [key, word] of [['a', 'first'], ['b', 'second']] as const) {
    const batch = new PendingBatch()
    batch.add(store.putting('x', key, word))
    outlet.sendWith(batch, message(juliet.jid, word))
    void host.commit(batch)
    outlet.send(message(juliet.jid, `after-${word}`))
  }
  await s.settled()
  t.same(words(juliet), ['first', 'after-first', 'second', 'after-second'])
  juliet.forget()
  const refused = new PendingBatch()
  outlet.sendWith(refused, message(juliet.jid, 'refused'))
  refused.complete()
  outlet.send(message(juliet.jid, 'behind'))
  refused.fail(new Error('the disk is full'))
  await s.settled()
  t.same(words(juliet), ['behind'])
})

t.test('an answer that throws, or whose recipient is gone, ends, and nothing waits for it', async t => {
  const s = await scenario(t, { modules: ['presence', 'message'] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const outlet = s.host('capulet.lit').outlet(ROOM)
  juliet.stopsReading()
  const made = { count: 0 }
  const drawn = outlet.draw(juliet.session, pieces(juliet.jid, 1000, 10 * KIB, made))
  await juliet.loses('connection')
  t.equal(await drawn, false)
  t.ok(made.count < 20)
  const romeo = await s.device('romeo@montague.lit/orchard')
  const failing = function * (): Generator<Addressed> {
    yield message(romeo.jid, 'one')
    throw new Error('cannot be read')
  }
  t.throws(() => outlet.draw(romeo.session, failing()), { message: 'cannot be read' })
  outlet.send(message(romeo.jid, 'two'))
  await s.settled()
  t.same(words(romeo), ['one', 'two'])
})

t.test('a managed device gets a long answer as fast as it acknowledges, with at most half of its bound unacknowledged', async t => {
  const s = await scenario(t, {
    modules: ['presence', 'message', 'ping', 'stream-management'],
    settings: { ping: { initialInterval: '1d' }, 'stream-management': { bytes: '200KiB', ackTimeout: '1h' } },
  })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const outlet = s.host('capulet.lit').outlet(ROOM)
  await juliet.says(`<enable ${SM} resume='true'/>`)
  await juliet.gets(`<enabled ${SM}/>`)
  const made = { count: 0 }
  const drawn = outlet.draw(juliet.session, pieces(juliet.jid, 100, 10 * KIB, made))
  await s.settled()
  t.equal(made.count, 10)
  for (let h = 10; h <= 100; h += 10) await juliet.says(`<a ${SM} h='${h}'/>`)
  t.equal(await drawn, true)
  t.equal(juliet.closed, false)
  const silent = outlet.draw(juliet.session, pieces(juliet.jid, 100, 10 * KIB, made))
  await s.settled()
  await s.pass('1m')
  t.equal(await silent, false, 'a device that acknowledges nothing')
  t.equal(juliet.closed, false)
})

t.test('archive pages end no session, however slowly they are read', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'mam'] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  for (let n = 0; n < 10; n++) await romeo.says(`<message to='juliet@capulet.lit' type='chat'><body>${n} ${'x'.repeat(100 * KIB)}</body></message>`)
  juliet.forget()
  juliet.stopsReading()
  const queries = Array.from({ length: 8 }, (_, n) => `<iq type='set' id='q${n}'><query xmlns='urn:xmpp:mam:2' queryid='q${n}'/></iq>`)
  await juliet.says(...queries)
  t.ok(juliet.backlog < 512 * KIB, 'little is written before it is read')
  await juliet.reads()
  t.equal(juliet.closed, false)
  const got = juliet.unread.map(element => element.name === 'iq' ? `fin ${element.attrs['id']}` : `${element.getChild('result')?.attrs['queryid']}`)
  t.same(got, Array.from({ length: 8 }, (_, n) => [...Array.from({ length: 10 }, () => `q${n}`), `fin q${n}`]).flat())
})

t.test('a long answer that waits for an acknowledgement ends if too much waits for it to read one', async t => {
  const long = defineModule({
    name: 'long',
    about: 'Answers at length, for tests.',
    setup (host) {
      host.iq.get('self', 'test:long', 'long', async ({ session }) => {
        const answer = pieces(session.jid, 100, 10 * KIB, { count: 0 })
        if (!await host.outlet(session.account).draw(session, answer)) throw new StanzaError('resource-constraint')
        return xml('done', { xmlns: 'test:long' })
      })
    },
  })
  const s = await scenario(t, {
    modules: ['presence', 'message', 'ping', 'stream-management', long],
    settings: { ping: { initialInterval: '1d' }, 'stream-management': { bytes: '128KiB' } },
  })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(`<enable ${SM}/>`)
  await juliet.gets(`<enabled ${SM}/>`)
  await juliet.says("<iq type='get' id='long'><long xmlns='test:long'/></iq>")
  const count = juliet.unread.length
  t.ok(count < 20)
  const pings = Array.from({ length: 150 }, (_, n) => `<iq type='get' id='p${n}'><ping xmlns='urn:xmpp:ping'/></iq>`)
  const last = "<iq type='get' id='last'><ping xmlns='urn:xmpp:ping'/></iq>"
  await juliet.says(...pings, `<a ${SM} h='5'/>`, last)
  const answers = juliet.unread.filter(({ name }) => name === 'iq')
  t.same(answers.map(({ attrs }) => attrs['id']), ['long', ...pings.map((_, n) => `p${n}`), 'last'])
  t.equal(answers[0]?.attrs['type'], 'error')
  t.equal(juliet.closed, false)
})
