/** XEP-0215: the STUN and TURN servers that clients are told, and the passwords for them. */
import { createHmac } from 'node:crypto'
import t, { type Test } from 'tap'
import { attributeOf, child, children, xml, type Element } from '../../lib/xml/element.js'
import { NS } from '../../lib/xml/namespaces.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import { scenario } from '../scenario.js'
import { conditionOf } from '../stanzas.js'

const SECRET = 'the secret in /relay'
const NOW = Date.UTC(2026, 10, 30, 12)

/** A scene with a STUN server and two TURN servers, of which one has a secret. */
async function scene (t: Test, lifetime = '1d') {
  const services = [
    { type: 'stun', host: 'stun.capulet.lit' },
    { type: 'turn', host: 'turn.capulet.lit', port: 3479, transport: 'tcp', secret: { file: 'relay' } },
    { type: 'turns', host: '192.0.2.7' },
  ]
  const s = await scenario(t, { modules: ['disco', 'external-services'], settings: { 'external-services': { services, lifetime } }, now: NOW })
  return { s, romeo: await s.device('romeo@capulet.lit/orchard') }
}

const ask = (payload: string): string => `<iq type='get' to='capulet.lit' id='q'>${payload}</iq>`
const listed = (answer: Element, name = 'services'): readonly Element[] => {
  const found = child(answer, NS.EXTERNAL_SERVICES, name)
  return found === undefined ? [] : children(found, NS.EXTERNAL_SERVICES, 'service')
}

t.test('clients are told all services, or those of one type, with usual ports and transports', async t => {
  const { romeo } = await scene(t)
  const all = listed(await romeo.asks(ask(`<services xmlns='${NS.EXTERNAL_SERVICES}'/>`)))
  t.match(all.map(({ attrs }) => attrs), [
    { type: 'stun', host: 'stun.capulet.lit', port: '3478', transport: 'udp' },
    { type: 'turn', host: 'turn.capulet.lit', port: '3479', transport: 'tcp', restricted: 'true' },
    { type: 'turns', host: '192.0.2.7', port: '5349', transport: 'tcp' },
  ])
  const answer = await romeo.asks(ask(`<services xmlns='${NS.EXTERNAL_SERVICES}' type='turn'/>`))
  t.same(listed(answer).map(({ attrs }) => attrs['host']), ['turn.capulet.lit'])
  t.match(answer.toString(), /<services xmlns="urn:xmpp:extdisco:2" type="turn">/)
  t.match((await romeo.asks(ask(`<query xmlns='${NS.DISCO_INFO}'/>`))).toString(), NS.EXTERNAL_SERVICES)
})

t.test('a password is the HMAC of its user name, which says when it ends, and another account has another one', async t => {
  const { s, romeo } = await scene(t, '2h')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const [mine] = listed(await romeo.asks(ask(`<services xmlns='${NS.EXTERNAL_SERVICES}' type='turn'/>`)))
  const [hers] = listed(await juliet.asks(ask(`<services xmlns='${NS.EXTERNAL_SERVICES}' type='turn'/>`)))
  const [username = '', expires] = [mine?.attrs['username'], mine?.attrs['expires']]
  t.match(username, new RegExp(`^${NOW / 1000 + 7200}:[\\w-]{16}$`))
  t.equal(expires, '2026-11-30T14:00:00Z')
  t.equal(mine?.attrs['password'], createHmac('sha1', SECRET).update(username).digest('base64'))
  t.not(hers?.attrs['username'], username)
  t.notMatch(username, 'romeo')
})

t.test('credentials are given for a service that needs them, by host, type and port', async t => {
  const { romeo } = await scene(t)
  const credentials = (attributes: string): Promise<Element> => romeo.asks(ask(`<credentials xmlns='${NS.EXTERNAL_SERVICES}'><service ${attributes}/></credentials>`))
  for (const attributes of ["host='turn.capulet.lit' type='turn'", "host='turn.capulet.lit' type='turn' port='3479'"]) {
    const [found] = listed(await credentials(attributes), 'credentials')
    t.ok(found !== undefined && attributeOf(found, 'password') !== undefined, attributes)
  }
  for (const attributes of ["host='turn.capulet.lit' type='turn' port='1'", "host='turn.capulet.lit' type='stun'", "host='stun.capulet.lit' type='stun'", '']) {
    t.equal(conditionOf(await credentials(attributes)), 'item-not-found', attributes)
  }
  t.equal(conditionOf(await romeo.asks(ask(`<credentials xmlns='${NS.EXTERNAL_SERVICES}'/>`))), 'bad-request')
})

t.test('only users of the host are told', async t => {
  const { s } = await scene(t)
  const stranger = await s.device('mercutio@montague.lit/inn')
  t.equal(conditionOf(await stranger.asks(ask(`<services xmlns='${NS.EXTERNAL_SERVICES}'/>`))), 'forbidden')
  const answers: string[] = []
  s.server.router.add('elsewhere.lit', { place: 'elsewhere', accept: passage => { answers.push(passage.addressed.octets()) }, bounced: () => {} })
  const request = xml('iq', { type: 'get', id: 'x' }, xml('services', { xmlns: NS.EXTERNAL_SERVICES }))
  s.server.pipeline.route(stanza(request, parseJid('tybalt@elsewhere.lit/street'), parseJid('capulet.lit')))
  await s.settled()
  t.match(answers.join(''), 'forbidden')
  t.notMatch(answers.join(''), 'password')
})

t.test('without services, no feature is shown and the list is empty', async t => {
  const s = await scenario(t, { modules: ['disco', 'external-services'] })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  t.notMatch((await romeo.asks(ask(`<query xmlns='${NS.DISCO_INFO}'/>`))).toString(), NS.EXTERNAL_SERVICES)
  t.same(listed(await romeo.asks(ask(`<services xmlns='${NS.EXTERNAL_SERVICES}'/>`))), [])
})
