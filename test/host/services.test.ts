/** Hosts that are services: domains without accounts, which hosts with accounts show to their clients. */
import t from 'tap'
import { defineModule, discovery, NS } from '../../lib/api.js'
import { children } from '../../lib/xml/element.js'
import { asks } from '../admin/world.js'
import { scenario, type Device } from '../scenario.js'

const named = defineModule({
  name: 'named',
  at: 'services',
  requires: ['disco'],
  features: { host: ['urn:example:named'] },
  setup (host) { host.whileUp(() => host.use(discovery).identity({ category: 'conference', type: 'text', name: 'Named' })) },
})
const silent = defineModule({ name: 'silent', at: 'services', setup () {} })
const MODULES = ['presence', 'roster', 'message', 'disco', 'ping']

const infoOf = (to: string): string => `<iq type='get' to='${to}' id='info'><query xmlns='${NS.DISCO_INFO}'/></iq>`

/** The addresses in the disco#items of a domain. */
async function itemsOf (device: Device, domain: string): Promise<readonly (string | undefined)[]> {
  const reply = await device.asks(`<iq type='get' to='${domain}' id='items'><query xmlns='${NS.DISCO_ITEMS}'/></iq>`)
  const [query] = children(reply, NS.DISCO_ITEMS, 'query')
  return query === undefined ? [] : children(query).map(({ attrs }) => attrs['jid'])
}

t.test('disco#info of a service has the identity and the features of its modules, and nothing of accounts', async t => {
  const s = await scenario(t, { modules: MODULES, services: { 'rooms.capulet.lit': [named, 'ping'], 'files.capulet.lit': ['disco', silent] } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const info = (await juliet.asks(infoOf('rooms.capulet.lit'))).getChild('query')
  t.same(info?.getChildren('identity').map(({ attrs }) => attrs), [{ category: 'conference', type: 'text', name: 'Named' }])
  t.same(info?.getChildren('feature').map(({ attrs }) => attrs['var']), [NS.DISCO_INFO, NS.DISCO_ITEMS, 'urn:example:named', NS.PING])
  const plain = (await juliet.asks(infoOf('files.capulet.lit'))).getChild('query')
  t.same(plain?.getChildren('identity').map(({ attrs }) => attrs), [{ category: 'component', type: 'generic' }])
  t.equal((await juliet.asks("<iq type='get' to='rooms.capulet.lit' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")).attrs['type'], 'result')
})

t.test('disco#items of a domain lists its services that run and answer disco#info', async t => {
  const services = { 'rooms.capulet.lit': [named], 'silent.capulet.lit': [silent], 'rooms.montague.lit': [named], 'b.a.capulet.lit': [named] }
  const s = await scenario(t, { modules: MODULES, hosts: ['a.capulet.lit'], services })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  t.same(await itemsOf(juliet, 'capulet.lit'), ['rooms.capulet.lit'])
  t.same(await itemsOf(juliet, 'a.capulet.lit'), ['b.a.capulet.lit'], 'the nearest host shows it')
  t.same(await itemsOf(juliet, 'rooms.capulet.lit'), [])
})

t.test('a service is listed at its parent if the conf names one, and nowhere else', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: ['capulet.lit', 'verona.lit'], host: { parent: 'verona.lit' }, services: { 'rooms.capulet.lit': [named] } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  t.same(await itemsOf(juliet, 'capulet.lit'), [])
  t.same(await itemsOf(juliet, 'verona.lit'), ['rooms.capulet.lit'])
})

t.test('a reload adds and removes services, and changes a service to a host with accounts', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  t.same(await itemsOf(juliet, 'capulet.lit'), [])
  await s.offers({ 'rooms.capulet.lit': [named] })
  t.same(await itemsOf(juliet, 'capulet.lit'), ['rooms.capulet.lit'])
  t.equal((await juliet.asks(infoOf('rooms.capulet.lit'))).attrs['type'], 'result')
  await s.offers({})
  t.same(await itemsOf(juliet, 'capulet.lit'), [])
  t.equal((await juliet.asks(infoOf('rooms.capulet.lit'))).getChild('error')?.getChild('remote-server-not-found') !== undefined, true)
  await s.offers({ 'rooms.capulet.lit': [named] })
  await s.offers({})
  const romeo = await s.device('romeo@rooms.capulet.lit/orchard')
  t.equal(s.host('rooms.capulet.lit').isService, false)
  await s.offers({ 'rooms.capulet.lit': [named] })
  t.ok(romeo.closed, 'its sessions end when it becomes a service')
  t.equal(s.host('rooms.capulet.lit').isService, true)
})

t.test('a service has no accounts: none can be added, imported or exported', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: ['capulet.lit'], services: { 'rooms.capulet.lit': [named] } })
  await t.rejects(asks(s.server, 'user add', ['a@rooms.capulet.lit'], { input: 'a long secret' }), /rooms.capulet.lit is a service: it has no accounts/)
  await t.rejects(asks(s.server, 'user show', ['a@rooms.capulet.lit']), /rooms.capulet.lit is a service: it has no accounts/)
  await t.rejects(asks(s.server, 'user remove', ['a@rooms.capulet.lit']), /rooms.capulet.lit is a service: it has no accounts/)
  t.equal(s.server.hostOf(s.host('rooms.capulet.lit').jid), undefined)
})
