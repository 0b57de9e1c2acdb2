/** Where clients find the web of a domain (XEP-0156), and whether the server answers. */
import t from 'tap'
import { parseElement, attributeOf } from '../../lib/api.js'
import { DOMAIN, OTHER } from '../c2s/stage.js'
import { webStage } from './stage.js'

const LINKS = [
  { rel: 'urn:xmpp:alt-connections:websocket', href: `wss://${DOMAIN}:5281/xmpp-websocket` },
  { rel: 'urn:xmpp:alt-connections:xbosh', href: `https://${DOMAIN}:5281/http-bind` },
]

t.test('host-meta and host-meta.json name WebSocket and BOSH, for the scripts of any page', async t => {
  const { ask } = await webStage(t, { origins: domain => [`https://${domain}:5281`] })
  const headers = { host: DOMAIN, origin: 'https://chat.example' }
  const xrd = await ask('/.well-known/host-meta', { headers })
  t.match(xrd, { status: 200, headers: { 'content-type': /^application\/xrd\+xml/, 'access-control-allow-origin': '*' } })
  const found = parseElement(xrd.body.replace(/^<\?[^>]*>/, '')).children.map(link => typeof link === 'string' ? link : { rel: attributeOf(link, 'rel'), href: attributeOf(link, 'href') })
  t.same(found, LINKS)
  const jrd = await ask('/.well-known/host-meta.json', { headers })
  t.match(jrd, { status: 200, headers: { 'content-type': /^application\/json/, 'access-control-allow-origin': '*' } })
  t.same(JSON.parse(jrd.body), { links: LINKS })
})

t.test('the answer is for the domain that was asked, in any spelling, and there is none for others', async t => {
  const { ask } = await webStage(t, { origins: domain => [`https://${domain}`] })
  const addresses = async (host: string): Promise<unknown> => {
    const { status, body } = await ask('/.well-known/host-meta.json', { headers: { host } })
    return status === 200 ? (JSON.parse(body) as { links: { href: string }[] }).links.map(({ href }) => href) : status
  }
  const wanted = (domain: string): string[] => [`wss://${domain}/xmpp-websocket`, `https://${domain}/http-bind`]
  t.same(await addresses(DOMAIN), wanted(DOMAIN))
  t.same(await addresses(`${OTHER.toUpperCase()}:443`), wanted(OTHER))
  for (const host of ['nowhere.lit', '127.0.0.1', `x.${DOMAIN}`, 'a"><b']) t.same(await addresses(host), 404, host)
})

t.test('addresses without TLS are not told', async t => {
  const { ask } = await webStage(t, { origins: domain => [`http://${domain}`] })
  const { body } = await ask('/.well-known/host-meta.json', { headers: { host: DOMAIN } })
  t.same(JSON.parse(body), { links: [] })
})

t.test('/health says that the server answers, and nothing else', async t => {
  const { ask } = await webStage(t)
  t.match(await ask('/health'), { status: 200, body: 'ok\n' })
  t.equal((await ask('/health', { method: 'POST' })).status, 405)
})
