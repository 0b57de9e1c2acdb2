import t from 'tap'
import { childElements, type Element } from '../../lib/xml/element.js'
import { featuresOf, verificationOf } from '../../modules/caps/verification.js'
import { parseElement } from '../parse.js'
import { scenario } from '../scenario.js'
import { conditionOf } from '../stanzas.js'

const HOST = 'montague.lit'

// ---- Entity capabilities --------------------------------------------------------------

/** XEP-0115 §5.2. */
const EXODUS = `<query xmlns='http://jabber.org/protocol/disco#info' node='http://code.google.com/p/exodus#QgayPKawpkPSDYmwT/WM94uAlu0='>
  <identity category='client' name='Exodus 0.9.1' type='pc'/>
  <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>
  <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/></query>`
/** XEP-0115 §5.3. */
const PSI = `<query xmlns='http://jabber.org/protocol/disco#info' node='http://psi-im.org#q07IKJEyjvHSyhy//CH0CxmKi8w='>
  <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/><identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>
  <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>
  <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>
  <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
  <field var='ip_version'><value>ipv4</value><value>ipv6</value></field><field var='os'><value>Mac</value></field>
  <field var='os_version'><value>10.5.1</value></field><field var='software'><value>Psi</value></field>
  <field var='software_version'><value>0.11</value></field></x></query>`

t.test("a hash of capabilities is that of XEP-0115's examples", t => {
  t.equal(verificationOf(parseElement(EXODUS)), 'QgayPKawpkPSDYmwT/WM94uAlu0=')
  t.equal(verificationOf(parseElement(PSI)), 'q07IKJEyjvHSyhy//CH0CxmKi8w=')
  t.equal(featuresOf(parseElement(PSI)).length, 4)
  t.equal(verificationOf(parseElement(EXODUS), 'md5'), undefined, 'a broken hash function is not used')
  t.end()
})

t.test('an ambiguous disco#info answer has no hash', t => {
  const wrong = {
    'a feature twice': EXODUS.replace('</query>', "<feature var='http://jabber.org/protocol/muc'/></query>"),
    'an identity twice': EXODUS.replace('</query>', "<identity category='client' name='Exodus 0.9.1' type='pc'/></query>"),
    'two forms of one type': PSI.replace('</query>', "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field></x></query>"),
    'a form of two types': PSI.replace('<value>urn:xmpp:dataforms:softwareinfo</value>', '<value>a</value><value>b</value>'),
    'the separator within a feature': EXODUS.replace("var='http://jabber.org/protocol/muc'", "var='a&lt;b'"),
    'the separator within a form': PSI.replace('<value>Mac</value>', '<value>M&lt;ac</value>'),
  }
  for (const [what, text] of Object.entries(wrong)) t.equal(verificationOf(parseElement(text)), undefined, what)
  const untyped = EXODUS.replace('</query>', "<x xmlns='jabber:x:data'><field var='a'><value>b</value></field></x></query>")
  t.equal(verificationOf(parseElement(untyped)), 'QgayPKawpkPSDYmwT/WM94uAlu0=', 'a form without FORM_TYPE does not count')
  t.end()
})

const CAPS = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://code.google.com/p/exodus' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>"

t.test('a device is asked once for the disco#info of its hash, and its answer has to match', async t => {
  const s = await scenario(t, { modules: ['presence', 'caps'] })
  const romeo = await s.device(`romeo@${HOST}/orchard`, { presence: false })
  await romeo.says(`<presence>${CAPS}</presence>`)
  const asked = romeo.unread.find(element => element.name === 'iq')
  t.match(asked?.toString(), /node="http:\/\/code.google.com\/p\/exodus#QgayPKawpkPSDYmwT\/WM94uAlu0="/)
  const service = { name: 'capabilities' }
  const known = (): unknown => (s.host(HOST).service(service) as { of (jid: unknown): unknown }).of(romeo.jid)
  t.equal(known(), undefined)
  await romeo.says(`<iq type='result' id='${String(asked?.attrs['id'])}' to='${HOST}'>${EXODUS.replace('protocol/muc', 'protocol/forged')}</iq>`)
  t.equal(known(), undefined, 'an answer that does not match is discarded')

  romeo.forget()
  await romeo.says(`<presence>${CAPS}</presence>`)
  const again = romeo.unread.find(element => element.name === 'iq')
  await romeo.says(`<iq type='result' id='${String(again?.attrs['id'])}' to='${HOST}'>${EXODUS}</iq>`)
  t.ok((known() as Set<string>).has('http://jabber.org/protocol/muc'))

  const juliet = await s.device(`juliet@${HOST}/balcony`, { presence: false })
  await juliet.says(`<presence>${CAPS}</presence>`)
  t.notOk(juliet.unread.some(element => element.name === 'iq'), 'a known hash is not asked for again')
})

t.test('unchanged capabilities are not broadcast again', async t => {
  const s = await scenario(t, { modules: ['presence', 'caps'] })
  const orchard = await s.device(`romeo@${HOST}/orchard`)
  const balcony = await s.device(`romeo@${HOST}/balcony`, { presence: false })
  await balcony.says(`<presence>${CAPS}</presence>`)
  t.match((await orchard.gets('<presence/>')).toString(), /QgayPKawpkPSDYmwT/)
  await balcony.says(`<presence><show>away</show>${CAPS}</presence>`)
  const next = await orchard.gets('<presence><show>away</show></presence>')
  t.notMatch(next.toString(), /QgayPKawpkPSDYmwT/)
  const late = await s.device(`romeo@${HOST}/late`, { presence: false })
  await late.says('<presence/>')
  t.ok(late.unread.some(element => element.toString().includes('QgayPKawpkPSDYmwT')), 'a later device gets them')
  await s.pass('31s')
})

t.test("the server's own hash matches its own disco#info", async t => {
  const s = await scenario(t, { modules: ['presence', 'caps', 'ping'] })
  const romeo = await s.device(`romeo@${HOST}/orchard`)
  const feature = s.host(HOST).features.find(one => one.namespace === 'http://jabber.org/protocol/caps')
  const stream = {} as Parameters<NonNullable<typeof feature>['offered']>[0]
  const caps = feature?.offered(stream)
  const node = `${String(caps?.attrs['node'])}#${String(caps?.attrs['ver'])}`
  const reply = await romeo.asks(`<iq type='get' id='i' to='${HOST}'><query xmlns='http://jabber.org/protocol/disco#info' node='${node}'/></iq>`)
  const [query] = childElements(reply)
  t.equal(query === undefined ? undefined : verificationOf(query), caps?.attrs['ver'])
})

// ---- Service discovery -------------------------------------------------------------------

t.test('the host and the account answer service discovery to those who are allowed to see it', async t => {
  const s = await scenario(t, { modules: ['presence', 'disco', 'vcard'] })
  const romeo = await s.device(`romeo@${HOST}/orchard`)
  const paris = await s.device(`paris@${HOST}/street`)
  const info = (to: string, node = ''): string => `<iq type='get' id='i' to='${to}'><query xmlns='http://jabber.org/protocol/disco#info'${node}/></iq>`
  const items = (to: string, node = ''): string => info(to, node).replace('#info', '#items')
  t.match((await romeo.asks(info(HOST))).toString(), /category="server" type="im"/)
  t.match((await romeo.asks(info(`romeo@${HOST}`))).toString(), /category="account" type="registered"/)
  t.equal(conditionOf(await paris.asks(info(`romeo@${HOST}`))), 'service-unavailable')
  t.equal(conditionOf(await paris.asks(info(`nobody@${HOST}`))), 'service-unavailable', 'the answer is as for an unknown account')
  // XEP-0030 §8: the answer is empty, whether the account exists or not, and whatever node is requested.
  for (const node of ['', " node='x'"]) {
    const [known, unknown] = [await paris.asks(items(`romeo@${HOST}`, node)), await paris.asks(items(`nobody@${HOST}`, node))]
    t.equal(known.attrs['type'], 'result')
    t.same(childElements(known).map(String), [`<query xmlns="http://jabber.org/protocol/disco#items"${node.replaceAll("'", '"')}/>`])
    t.same(childElements(unknown).map(String), childElements(known).map(String))
  }
  const garden = await s.device(`romeo@${HOST}/garden`)
  await s.device(`romeo@${HOST}/cell`, { presence: false })
  const own = await romeo.asks(items(`romeo@${HOST}`))
  t.same(childElements(childElements(own)[0] as Element).map(item => item.attrs['jid']), [`romeo@${HOST}/orchard`, garden.jid.toString()], 'the available resources')
  t.equal((await romeo.asks(items(HOST))).attrs['type'], 'result')
  for (const ask of [info(HOST, " node='x'"), items(HOST, " node='x'"), info(`romeo@${HOST}`, " node='x'"), items(`romeo@${HOST}`, " node='x'")]) {
    t.equal(conditionOf(await romeo.asks(ask)), 'item-not-found')
  }
})

// ---- Ping, version, time, last activity -----------------------------------------------------

t.test("pings are answered, and a device that does not answer the server's ping is closed", async t => {
  const s = await scenario(t, { modules: ['presence', 'ping'], settings: { ping: { initialInterval: '1m', pongTimeout: '10s' } } })
  const romeo = await s.device(`romeo@${HOST}/orchard`)
  const dead = await s.device(`juliet@${HOST}/tomb`)
  for (const to of [HOST, `romeo@${HOST}`]) t.equal((await romeo.asks(`<iq type='get' id='p' to='${to}'><ping xmlns='urn:xmpp:ping'/></iq>`)).attrs['type'], 'result')
  await s.pass('1m')
  const ping = await romeo.gets("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
  await dead.gets("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
  await romeo.says(`<iq type='error' id='${String(ping.attrs['id'])}' to='${HOST}'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
  await s.pass('10s')
  t.equal(dead.error?.condition, 'connection-timeout')
  t.equal(romeo.closed, false, 'an error is a sign of life')
  t.equal(s.host(HOST).counters.get('ping.dead'), 1)
})

t.test('version and time are returned', async t => {
  const s = await scenario(t, { modules: ['version', 'time'] })
  const romeo = await s.device(`romeo@${HOST}/orchard`)
  const version = `<iq type='get' id='v' to='${HOST}'><query xmlns='jabber:iq:version'/></iq>`
  t.match((await romeo.asks(version)).toString(), /<name>Sestina<\/name><version>\d+\.\d+\.\d+/)
  await s.reload('version', { disclose: false })
  t.match((await romeo.asks(version)).toString(), /<version>not disclosed/)
  t.match((await romeo.asks(`<iq type='get' id='t' to='${HOST}'><time xmlns='urn:xmpp:time'/></iq>`)).toString(), /<tzo>\+00:00<\/tzo><utc>2026-01-01T00:00:00Z<\/utc>/)
})

t.test('a contact who may see the presence may query the last activity', async t => {
  const s = await scenario(t, { modules: ['presence', 'last-activity'] })
  const romeo = await s.device(`romeo@${HOST}/orchard`)
  const paris = await s.device(`paris@${HOST}/street`)
  const ask = (to: string): string => `<iq type='get' id='l' to='${to}'><query xmlns='jabber:iq:last'/></iq>`
  await s.pass('5m')
  t.match((await romeo.asks(ask(HOST))).toString(), /seconds="300"/)
  t.equal(conditionOf(await paris.asks(ask(`romeo@${HOST}`))), 'forbidden')
  t.match((await romeo.asks(ask(`romeo@${HOST}`))).toString(), /seconds="0"/)
  await s.account(`juliet@${HOST}`)
  await romeo.says("<presence type='unavailable'><status>gone fencing</status></presence>")
  await s.pass('2m')
  t.match((await romeo.asks(ask(`romeo@${HOST}`))).toString(), /seconds="120">gone fencing/)
})

// ---- Private storage and vCards -----------------------------------------------------------------

t.test('private storage answers for an element in the namespace of the prefix xml as for any other', async t => {
  const s = await scenario(t, { modules: ['private'] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const get = "<iq type='get' id='g'><query xmlns='jabber:iq:private'><xml:note/></query></iq>"
  t.match((await romeo.asks(get)).toString(), '<xml:note/>')
  await romeo.asks("<iq type='set' id='s'><query xmlns='jabber:iq:private'><xml:note>n</xml:note></query></iq>")
  t.match((await romeo.asks(get)).toString(), '<xml:note>n</xml:note>')
})

t.test('private storage keeps elements by name and namespace, within bounds, for their owner only', async t => {
  const s = await scenario(t, { modules: ['private'], settings: { private: { bytes: '1KiB', pieces: 2 } } })
  const romeo = await s.device(`romeo@${HOST}/orchard`)
  const set = (content: string): string => `<iq type='set' id='s'><query xmlns='jabber:iq:private'>${content}</query></iq>`
  const get = (content: string): string => set(content).replace("'set'", "'get'")
  t.equal((await romeo.asks(set("<a xmlns='one'>ü<b/></a>"))).attrs['type'], 'result')
  t.match((await romeo.asks(get("<a xmlns='one'/>"))).toString(), /<a xmlns="one">ü<b\/><\/a>/)
  t.match((await romeo.asks(get("<a xmlns='two'/>"))).toString(), /<a xmlns="two"\/>/, 'an element that does not exist is empty')
  const often = (await romeo.asks(get("<a xmlns='one'/>".repeat(50) + "<a xmlns='two'/>"))).toString()
  t.equal(often.split('<b/>').length - 1, 1, 'a repeated element in a query is returned once')
  t.match(often, /<a xmlns="two"\/>/)
  t.equal(conditionOf(await romeo.asks(set('<a/>'))), 'not-acceptable')
  t.equal(conditionOf(await romeo.asks(set(''))), 'bad-request')
  t.equal(conditionOf(await romeo.asks(get(''))), 'bad-request')
  t.equal(conditionOf(await romeo.asks(set(`<a xmlns='one'>${'x'.repeat(1024)}</a>`))), 'resource-constraint')
  t.equal((await romeo.asks(set("<b xmlns='one'/>"))).attrs['type'], 'result')
  t.equal(conditionOf(await romeo.asks(set("<c xmlns='one'/>"))), 'resource-constraint')
  await s.account(`juliet@${HOST}`)
  t.equal(conditionOf(await romeo.asks(get("<a xmlns='one'/>").replace("id='s'", `id='s' to='juliet@${HOST}'`))), 'service-unavailable')
})

t.test('vCards of both kinds are stored; everyone can read them, and only the owner can write', async t => {
  const s = await scenario(t, { modules: ['vcard'], settings: { vcard: { bytes: '1KiB' } } })
  const romeo = await s.device(`romeo@${HOST}/orchard`)
  const juliet = await s.device(`juliet@${HOST}/balcony`)
  for (const [name, namespace] of [['vCard', 'vcard-temp'], ['vcard', 'urn:ietf:params:xml:ns:vcard-4.0']]) {
    const get = `<iq type='get' id='g'><${String(name)} xmlns='${String(namespace)}'/></iq>`
    t.match((await romeo.asks(get)).toString(), new RegExp(`<${String(name)} xmlns="${String(namespace)}"/>`))
    const set = (text: string): string => `<iq type='set' id='s'><${String(name)} xmlns='${String(namespace)}'><FN>${text}</FN></${String(name)}></iq>`
    t.equal(conditionOf(await juliet.asks(get.replace("id='g'", `id='g' to='romeo@${HOST}'`))), 'service-unavailable')
    t.equal((await romeo.asks(set('Romeo'))).attrs['type'], 'result')
    t.match((await juliet.asks(get.replace("id='g'", `id='g' to='romeo@${HOST}'`))).toString(), /<FN>Romeo<\/FN>/)
    t.equal(conditionOf(await juliet.asks(set('mine').replace("id='s'", `id='s' to='romeo@${HOST}'`))), 'forbidden')
    t.equal(conditionOf(await romeo.asks(set('x'.repeat(1100)))), 'resource-constraint')
  }
})

t.test("an error from a device answers the server's request", async t => {
  const s = await scenario(t, { modules: ['presence'] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const answer = s.host('montague.lit').ask(romeo.jid, s.element("<query xmlns='urn:example'/>"))
  const refused = t.rejects(answer, { name: 'Error', condition: 'item-not-found' })
  const request = await romeo.gets("<iq type='get'><query xmlns='urn:example'/></iq>")
  await romeo.says(`<iq type='error' to='montague.lit' id='${request.attrs['id'] ?? ''}'><error type='cancel'>` +
    "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
  await refused
})
