import t from 'tap'
import { parseJid } from '../../lib/xmpp/jid.js'
import { xml, type Element } from '../../lib/xml/element.js'
import type { Negotiation } from '../../lib/stream/negotiation.js'
import { parseElement } from '../parse.js'
import { scenario, type Scenario } from '../scenario.js'
import { conditionOf } from '../stanzas.js'

const MODULES = ['presence', 'message', 'register', 'private']
const PASSWORD = (name: string, password: string): string =>
  `<iq type='set' id='p'><query xmlns='jabber:iq:register'><username>${name}</username><password>${password}</password></query></iq>`

t.test('only a logged-in user may query the own registration and change the own password', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const known = await romeo.asks("<iq type='get' id='k' to='montague.lit'><query xmlns='jabber:iq:register'/></iq>")
  t.match(known.toString(), /<registered\/><username>romeo<\/username>/)

  const { accounts } = s.host('montague.lit')
  t.equal((await romeo.asks(PASSWORD('Romeo', 'another one'))).attrs['type'], 'result', 'names are compared as addresses')
  t.ok(await accounts.verifyPassword('romeo', 'another one'))
  t.equal(conditionOf(await romeo.asks(PASSWORD('juliet', 'mine now'))), 'not-allowed')
  t.equal(conditionOf(await romeo.asks(PASSWORD('a b', 'x'))), 'not-acceptable')
  t.equal(conditionOf(await romeo.asks(PASSWORD('romeo', ''))), 'not-acceptable')
  t.equal(conditionOf(await romeo.asks(PASSWORD('romeo', 'x'.repeat(2000)))), 'not-acceptable', 'longer than any password')
  t.equal(conditionOf(await romeo.asks("<iq type='set' id='q'><query xmlns='jabber:iq:register'/></iq>")), 'bad-request')
  t.ok(await accounts.verifyPassword('romeo', 'another one'), 'no refused request has changed it')

  await s.account('juliet@montague.lit')
  const other = PASSWORD('romeo', 'x').replace("id='p'", "id='o' to='juliet@montague.lit'")
  t.equal(conditionOf(await romeo.asks(other)), 'forbidden')
})

t.test('a new password ends the sessions that used the old one', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'stream-management'] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const balcony = await s.device('romeo@montague.lit/balcony')
  const lost = await s.device('romeo@montague.lit/street')
  await lost.says("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
  await lost.loses('connection')
  t.equal((await romeo.asks(PASSWORD('romeo', 'another one'))).attrs['type'], 'result')
  t.notOk(romeo.closed, 'the session that changed it stays')
  t.equal(balcony.error?.condition, 'reset')
  t.equal(lost.session.connection, 'closed')
})

t.test('a removal of an account is answered, ends its sessions, and deletes all its data', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const balcony = await s.device('romeo@montague.lit/balcony')
  await romeo.asks("<iq type='set' id='s'><query xmlns='jabber:iq:private'><n xmlns='a:b'>note</n></query></iq>")
  t.equal(conditionOf(await romeo.asks("<iq type='set' id='m'><query xmlns='jabber:iq:register'><remove/><x/></query></iq>")), 'bad-request')
  const reply = await romeo.asks("<iq type='set' id='r'><query xmlns='jabber:iq:register'><remove/></query></iq>")
  t.equal(reply.attrs['type'], 'result')
  t.equal(romeo.error?.condition, 'not-authorized')
  t.equal(balcony.error?.condition, 'not-authorized')
  t.equal(await s.host('montague.lit').accounts.exists(parseJid('romeo@montague.lit')), false)

  const again = await s.device('romeo@montague.lit/orchard')
  const note = await again.asks("<iq type='get' id='g'><query xmlns='jabber:iq:private'><n xmlns='a:b'/></query></iq>")
  t.notMatch(note.toString(), /note/, 'a new account of the same name has no old data')
})

/** The negotiation as a stream presents it before login. */
function stranger (address = '192.0.2.9'): Negotiation & { readonly said: Element[] } {
  const said: Element[] = []
  return {
    state: { at: 'opening' }, role: 'client', domain: 'montague.lit', address, lang: undefined, tls: undefined, secure: true,
    identity: undefined,
    from: undefined, isOver: false, said,
    send: element => { said.push(element) },
    next: () => Promise.reject(new Error('nothing comes')),
    wait: () => Promise.resolve(),
    startTls: () => Promise.resolve(),
  }
}

async function register (s: Scenario, stream: ReturnType<typeof stranger>, iq: string): Promise<Element> {
  const feature = s.host('montague.lit').features.find(one => one.namespace === 'jabber:iq:register')
  if (feature?.take === undefined) throw new Error('registration is not offered')
  await feature.take(stream, parseElement(iq))
  return stream.said.at(-1) ?? xml('nothing')
}

t.test('registration is not offered unless the operator opens it', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: ['montague.lit'] })
  t.notOk(s.host('montague.lit').features.some(one => one.namespace === 'jabber:iq:register'))
})

t.test('with open registration, strangers can create a few accounts an hour from one address', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: ['montague.lit'], settings: { register: { open: true, accountsPerHour: 2 } } })
  const feature = s.host('montague.lit').features.find(one => one.namespace === 'jabber:iq:register')
  t.ok(feature?.offered(stranger()))
  t.equal(feature?.offered({ ...stranger(), secure: false }), undefined, 'not without TLS')
  t.equal(feature?.offered({ ...stranger(), identity: parseJid('a@b') }), undefined, 'not after login')

  const stream = stranger()
  t.match((await register(s, stream, "<iq type='get' id='f'><query xmlns='jabber:iq:register'/></iq>")).toString(), /<username\/><password\/>/)
  t.equal((await register(s, stream, PASSWORD('mercutio', 'a plague'))).attrs['type'], 'result')
  t.ok(await s.host('montague.lit').accounts.verifyPassword('mercutio', 'a plague'))
  t.equal(conditionOf(await register(s, stream, PASSWORD('mercutio', 'b'))), 'conflict')
  t.equal(conditionOf(await register(s, stream, PASSWORD('b@d', 'b'))), 'not-acceptable')
  t.equal(conditionOf(await register(s, stream, "<iq type='get' id='f'><x xmlns='y'/></iq>")), 'bad-request')
  t.equal((await register(s, stream, PASSWORD('tybalt', 'c'))).attrs['type'], 'result')
  t.equal(conditionOf(await register(s, stream, PASSWORD('paris', 'd'))), 'resource-constraint')
  t.equal((await register(s, stranger('192.0.2.10'), PASSWORD('paris', 'd'))).attrs['type'], 'result', 'other addresses are not affected')
  await s.pass('30m')
  t.equal((await register(s, stream, PASSWORD('balthasar', 'e'))).attrs['type'], 'result')
})

t.test('if two requests for one name arrive at the same time, one succeeds', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: ['montague.lit'], settings: { register: { open: true } } })
  const both = await Promise.all([stranger(), stranger('192.0.2.10')].map(stream => register(s, stream, PASSWORD('mercutio', 'a plague'))))
  t.same(both.map(reply => conditionOf(reply) ?? reply.attrs['type']).sort(), ['conflict', 'result'])
})

t.test('guessing names, or failing to prove a password, is slowed down as well', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: ['montague.lit'], settings: { register: { open: true, accountsPerHour: 2 } } })
  await s.account('romeo@montague.lit')
  const stream = stranger()
  t.equal(conditionOf(await register(s, stream, PASSWORD('mercutio', 'x'.repeat(2000)))), 'not-acceptable')
  for (let i = 0; i < 19; i++) t.equal(conditionOf(await register(s, stream, PASSWORD('romeo', 'x'))), 'conflict')
  t.equal(conditionOf(await register(s, stream, PASSWORD('romeo', 'x'))), 'resource-constraint')
})

t.test('a new password has the minimum length of the conf, also before login, and the error says the length', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { register: { open: true } }, shortest: 8 })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const stream = stranger()
  const emoji = '\u{1f339}'
  for (const short of ['1234567', emoji.repeat(7), `123456${emoji}`, `1234567${'\u00ad'.repeat(10)}`]) {
    for (const reply of [await romeo.asks(PASSWORD('romeo', short)), await register(s, stream, PASSWORD('mercutio', short))]) {
      t.equal(conditionOf(reply), 'not-acceptable', short)
      t.match(reply.toString(), /at least 8 characters/)
    }
  }
  const { accounts } = s.host('montague.lit')
  t.ok(await accounts.verifyPassword('romeo', 'a secret for tests'), 'the password is unchanged')
  t.equal((await romeo.asks(PASSWORD('romeo', '12345678'))).attrs['type'], 'result')
  t.equal((await register(s, stream, PASSWORD('mercutio', emoji.repeat(8)))).attrs['type'], 'result')
  t.ok(await accounts.verifyPassword('mercutio', emoji.repeat(8)), 'characters newer than Unicode 3.2 are allowed in a password')
})
