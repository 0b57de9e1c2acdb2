/** A forged stanza, from a client or another server, does not pass; an answer to a request does. */
import t, { type Test } from 'tap'
import { parseJid } from '../../lib/xmpp/jid.js'
import { addressed, Stanza, type Kind } from '../../lib/xmpp/stanza.js'
import { elsewhere, foreigner } from '../elsewhere.js'
import { scenario, type Device, type Scenario } from '../scenario.js'

const ROMEO = 'romeo@montague.lit'
const ROOM = 'balcony@rooms.elsewhere'
const FORWARDED = "<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' from='montague.lit' stamp='2026-01-01T00:00:00Z'/>" +
  "<message xmlns='jabber:client' from='balcony@rooms.elsewhere/juliet' type='groupchat'><body>hi</body>" +
  "<stanza-id xmlns='urn:xmpp:sid:0' by='montague.lit' id='1'/></message></forwarded>"
const RESULT = `<result xmlns='urn:xmpp:mam:2' id='1' queryid='q'>${FORWARDED}</result>`
const query = (id: string, to = ROOM): string => `<iq type='set' id='${id}' to='${to}'><query xmlns='urn:xmpp:mam:2' queryid='q'/></iq>`

interface Abroad { readonly s: Scenario, readonly romeo: Device, readonly says: (text: string) => Promise<void> }

async function abroad (t: Test, more: readonly string[] = []): Promise<Abroad> {
  const s = await scenario(t, { modules: ['message', 'disco', 'carbons', 'roster', 'presence', ...more] })
  s.server.router.remote = elsewhere()
  const arrives = foreigner(s.server)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const says = async (text: string): Promise<void> => {
    const element = s.element(text)
    const { from, to } = element.attrs as { from: string, to: string }
    const stanza = addressed(new Stanza(element.name as Kind, element, parseJid(from), parseJid(to)), parseJid(to))
    await arrives(stanza)
    await s.settled()
  }
  return { s, romeo, says }
}

const page = (from = ROOM, to = `${ROMEO}/orchard`): string => `<message from='${from}' to='${to}'>${RESULT}</message>`

t.test('a page of another archive reaches the session that queried that archive, until the query is answered (XEP-0313 §4)', async t => {
  const { romeo, says } = await abroad(t)
  await romeo.says(query('a'))
  await says(page())
  const got = await romeo.gets(`<message from='${ROOM}'/>`)
  t.match(got.toString(), /<result .*<stanza-id .*by="montague.lit"/, 'the forwarded message is unchanged')
  t.match(got.toString(), '<delay xmlns="urn:xmpp:delay" from="montague.lit"')
  for (const other of [page('balcony@rooms.elsewhere/juliet'), page('rooms.elsewhere'), page('other@rooms.elsewhere')]) {
    await says(other)
    t.notMatch((await romeo.gets('<message/>')).toString(), 'result', other)
  }
  await says(`<iq type='result' id='other' from='${ROOM}' to='${ROMEO}/orchard'/>`)
  await says(`<iq type='result' id='a' from='rooms.elsewhere' to='${ROMEO}/orchard'/>`)
  romeo.forget()
  await says(page())
  t.match((await romeo.gets('<message/>')).toString(), 'result', 'an answer from another address or with another id ends nothing')
  await says(`<iq type='result' id='a' from='${ROOM}' to='${ROMEO}/orchard'><fin xmlns='urn:xmpp:mam:2' complete='true'/></iq>`)
  t.match((await romeo.gets("<iq type='result'/>")).toString(), '<fin ', 'a fin in an iq passes')
  await says(page())
  t.notMatch((await romeo.gets('<message/>')).toString(), 'result')
})

t.test('a page that was not requested loses its result, from whatever sender to whatever address', async t => {
  const { s, romeo, says } = await abroad(t)
  await says(page())
  t.notMatch((await romeo.gets('<message/>')).toString(), 'result')
  await romeo.says(query('a'))
  await says(page(ROOM, ROMEO).replace('<message ', "<message type='chat' ").replace(/<.message>$/, '<body>hi</body></message>'))
  t.notMatch((await romeo.gets('<message/>')).toString(), 'result', 'the bare address has queried nothing')
  await says(`<message from='${ROOM}' to='${ROMEO}/orchard'><fin xmlns='urn:xmpp:mam:2'/></message>`)
  t.notMatch((await romeo.gets('<message/>')).toString(), '<fin', 'a fin in a message does not pass')
  const mallory = await s.device('mallory@montague.lit/cave')
  await romeo.says(query('b', 'mallory@montague.lit/cave'))
  await mallory.says(`<message to='${ROMEO}/orchard'>${RESULT}</message>`, `<message to='${ROMEO}/orchard'><m:result xmlns:m='urn:xmpp:mam:2'/></message>`)
  for (let n = 0; n < 2; n++) {
    t.notMatch((await romeo.gets("<message from='mallory@montague.lit/cave'/>")).toString(), 'result', 'a client has no archive')
  }
})

t.test('a page of another archive goes only to the session that queried it: it is neither archived nor copied', async t => {
  const { s, romeo, says } = await abroad(t, ['mam', 'offline', 'stream-management'])
  const phone = await s.device(`${ROMEO}/phone`)
  await phone.asks("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
  await romeo.says("<enable xmlns='urn:xmpp:sm:3' resume='true'/>", query('a'))
  romeo.forget()
  phone.forget()
  for (const type of ['normal', 'chat']) await says(page().replace('<message ', `<message type='${type}' `))
  t.equal(romeo.unread.filter(one => one.toString().includes('<result ')).length, 2)
  await phone.says("<iq type='set' id='own'><query xmlns='urn:xmpp:mam:2'/></iq>")
  t.match((await phone.gets("<iq id='own' type='result'/>")).toString(), 'complete="true"', 'no page of an archive and no carbon')
  romeo.session.close()
  await s.settled()
  t.notMatch(phone.unread.join(' '), '<result ', 'no other device gets the unacknowledged page')
  phone.forget()
  await says(page().replace('<message ', "<message type='chat' "))
  t.notMatch((await phone.gets('<message/>')).toString(), 'result', 'the page that arrives too late has no result')
})

t.test('a session has a bounded number of open archive queries: one more closes the oldest', async t => {
  const { romeo, says } = await abroad(t)
  for (let n = 0; n < 17; n++) await romeo.says(query(`q${n}`, `room${n}@rooms.elsewhere`))
  await romeo.says(query('x'.repeat(2000)))
  for (const [room, passes] of [['room0', false], ['room1', true], ['room16', true], ['balcony', false]] as const) {
    await says(page(`${room}@rooms.elsewhere`))
    t.equal((await romeo.gets('<message/>')).toString().includes('result'), passes, room)
  }
})

t.test('stanza ids and delays in the name of this server are removed, old and new ones, with any prefix and in any number', async t => {
  const { romeo, says } = await abroad(t)
  const forged = [
    "<delay xmlns='urn:xmpp:delay' from='montague.lit' stamp='2020-01-01T00:00:00Z'/>",
    `<x xmlns='jabber:x:delay' from='${ROMEO}' stamp='20200101T00:00:00'/>`,
    "<s:stanza-id xmlns:s='urn:xmpp:sid:0' by='MONTAGUE.lit' id='1'/>",
    "<received xmlns='urn:xmpp:carbons:2'/>", "<c:sent xmlns:c='urn:xmpp:carbons:2'/>",
  ]
  const own = "<delay xmlns='urn:xmpp:delay' from='rooms.elsewhere' stamp='2020-01-01T00:00:00Z'/><stanza-id xmlns='urn:xmpp:sid:0' by='balcony@rooms.elsewhere' id='2'/>"
  await says(`<message from='${ROOM}' to='${ROMEO}/orchard'>${own}${forged.join('').repeat(3)}<body>hi</body></message>`)
  const got = await romeo.gets('<message/>')
  t.strictSame(got.children.map(node => typeof node === 'string' ? node : node.name), ['delay', 'stanza-id', 'body'])
  const many = Array.from({ length: 500 }, (_, n) => `<stanza-id xmlns='urn:xmpp:sid:0' by='ü${n}.example' id='1'/>`).join('')
  await says(`<message from='${ROOM}' to='${ROMEO}/orchard'>${many}<stanza-id xmlns='urn:xmpp:sid:0' by='montague.lit' id='1'/><body>hi</body></message>`)
  t.equal((await romeo.gets('<message/>')).children.length, 17, "an address longer than any account's is not even parsed")
})
