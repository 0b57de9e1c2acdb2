/** XEP-0485: a domain publishes its connections to those that publish theirs. Scenes are named by sections. */
import t from 'tap'
import type { Element } from '../../lib/xml/element.js'
import type { LinkReport } from '../../lib/host/link-report.js'
import { scenario, type Scenario } from '../scenario.js'
import { abroad, form, outcome, pubsub, type Abroad } from './stage.js'

const SERVICE = 'pubsub.capulet.lit'
const FEATURE = 'urn:xmpp:serverinfo:0'
const MODULES = ['presence', 'message', 'disco', 'contact-addresses', 'server-information']
const INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"

function stage (t: Parameters<typeof scenario>[0], more: Parameters<typeof scenario>[1] = {}): Promise<Scenario> {
  return scenario(t, {
    modules: MODULES, services: { [SERVICE]: ['disco', 'pubsub'] },
    settings: { 'contact-addresses': { abuse: ['mailto:abuse@capulet.lit'] } }, ...more,
  })
}

/** Connects the server to these domains, by direction. */
function connects (s: Scenario, ...links: readonly (readonly [remote: string, direction: LinkReport['direction'], state?: string])[]): void {
  s.server.router.connections = () => links.map(([remote, direction, state = 'established']) => ({
    local: 'capulet.lit', remote, direction, state, security: '', queue: 0, bytes: 0, unacknowledged: 0, address: '', since: undefined, error: '',
  }))
}

/** Lets other domains answer disco#info; those in `willing` publish their connections. Returns who was asked. */
async function answer (there: Abroad, willing: readonly string[]): Promise<readonly string[]> {
  const asked = there.heard.splice(0).filter(({ name }) => name === 'iq')
  for (const { attrs: { id, to, from } } of asked) {
    const feature = willing.includes(String(to)) ? `<feature var='${FEATURE}'/>` : ''
    await there.says(`<iq type='result' id='${id}' from='${to}' to='${from}'>${INFO.replace('/>', `>${feature}</query>`)}</iq>`)
  }
  return asked.map(({ attrs }) => String(attrs['to'])).sort()
}

t.test('§3, §4, §7 connections to domains that publish theirs are published, and nothing of others', async t => {
  const s = await stage(t)
  const there = abroad(s)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const disco = async (to: string): Promise<string> => (await juliet.asks(`<iq type='get' id='d' to='${to}'>${INFO}</iq>`)).toString()
  const read = async (): Promise<Element> => await pubsub(juliet, 'get', "<items node='serverinfo'/>", { to: SERVICE })
  t.match(await disco('capulet.lit'), `<feature var="${FEATURE}"/>`)
  t.notMatch(await disco('capulet.lit'), 'serverinfo-pubsub-node')
  connects(s, ['open.example', 'both'], ['in.example', 'in'], ['in.example', 'out'], ['shy.example', 'in'], ['gone.example', 'out', 'resting'])
  await s.pass('10s')
  t.same(await answer(there, ['open.example', 'in.example']), ['in.example', 'open.example', 'shy.example'])
  await s.settled()
  const published = (await read()).toString()
  t.match(published, '<domain name="capulet.lit"><federation><remote-domain name="in.example"><connection type="incoming"/><connection type="outgoing"/></remote-domain><remote-domain name="open.example"><connection type="bidi"/></remote-domain></federation></domain>')
  t.match(published, 'id="current"')
  t.notMatch(published, /shy|gone/)
  const info = await disco('capulet.lit')
  t.match(info, `<value>xmpp:${SERVICE}?;node=serverinfo</value>`)
  t.equal(info.split('http://jabber.org/network/serverinfo').length, 2, '§9.2: one form with the contact addresses')
  t.match(info, 'mailto:abuse@capulet.lit')
  t.equal(outcome(await pubsub(juliet, 'set', "<publish node='serverinfo'><item id='current'><x xmlns='urn:x'/></item></publish>", { to: SERVICE })), 'auth forbidden')
})

t.test('§6 the node changes no more often than the operator says, and answers are asked for again', async t => {
  const s = await stage(t, { settings: { 'server-information': { interval: '10m' } } })
  const there = abroad(s)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const text = async (): Promise<string> => (await pubsub(juliet, 'get', "<items node='serverinfo'/>", { to: SERVICE })).toString()
  connects(s, ['open.example', 'out'])
  await s.pass('10s')
  await answer(there, ['open.example'])
  await s.settled()
  connects(s)
  t.match(await text(), 'open.example')
  await s.pass('10m')
  t.notMatch(await text(), 'open.example')
  connects(s, ['open.example', 'out'])
  await s.pass('10m')
  t.same(await answer(there, []), ['open.example'], 'one that was not connected is asked again')
  await s.settled()
  t.notMatch(await text(), 'open.example', 'it publishes nothing any more')
  await s.pass('1h')
  t.same(await answer(there, []), [], 'the answer holds for some hours')
})

t.test('a node of somebody else is left alone, and not named', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  // Also one to which anybody may publish.
  const open = form('node_config', { publish_model: 'open' })
  await pubsub(juliet, 'set', `<create node='serverinfo'/><configure>${open}</configure>`, { to: SERVICE })
  await s.pass('10s')
  await s.settled()
  t.match(s.lines.find(({ event }) => event === 'server information not published')?.fields, { condition: 'forbidden' })
  t.notMatch((await juliet.asks(`<iq type='get' id='d' to='capulet.lit'>${INFO}</iq>`)).toString(), 'serverinfo-pubsub-node')
})
