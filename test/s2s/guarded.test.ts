/**
 * Strangers write DNS records: they cannot direct the server into its own network, and no user sees an internal
 * address.
 */
import { testLink } from '../../lib/s2s/link-check.js'
import { DnsError, NoServer, OURS, THEIRS, dns, scene, type Net, type Town } from './stage.js'
import type { Device } from '../device.js'
import type { Target } from '../../lib/s2s/ground/target.js'
import { textOf, child } from '../../lib/xml/element.js'
import { NS } from '../../lib/xml/namespaces.js'

const INSIDE = '10.0.0.7'
/** Anything that looks like an IP address, or a port after a colon. */
const ADDRESS = /\d+\.\d+\.\d+|[0-9a-f]+:[0-9a-f]*:|:\d{2,}/i

function at (address: string, port = 5269): Target { return { host: 'xmpp.capulet.test', address, port, tls: 'required', secure: false } }

interface Bounced { readonly condition: string, readonly text: string }

/** Returns the error that a message to this domain comes back with. */
async function errorOf (net: Net, romeo: Device, domain: string): Promise<Bounced> {
  await romeo.says(`<message to='x@${domain}' id='to-${domain}'><body>hello?</body></message>`)
  await net.pass(21_000)
  const found = romeo.unread.find(({ attrs }) => attrs['id'] === `to-${domain}`)
  const error = found === undefined ? undefined : child(found, NS.CLIENT, 'error')
  if (error === undefined) throw new Error(`no error from ${domain}`)
  const [condition, text] = [child(error, NS.STANZAS), child(error, NS.STANZAS, 'text')]
  return { condition: condition?.name ?? '', text: text === undefined ? '' : textOf(text) }
}

async function playsInside (
  net: Net, domains: readonly string[],
): Promise<{ readonly ours: Town, readonly romeo: Device }> {
  const ours = await net.town(OURS)
  for (const domain of domains) net.names.set(domain, [at(INSIDE)])
  net.forbidden.add(INSIDE)
  return { ours, romeo: await ours.s.device(`romeo@${OURS}/orchard`) }
}

scene('a domain whose DNS names a private address is not dialled; the log names the setting, the user gets remote-server-not-found', async (t, net) => {
  const { ours, romeo } = await playsInside(net, [THEIRS])
  const error = await errorOf(net, romeo, THEIRS)
  t.equal(error.condition, 'remote-server-not-found')
  t.same(error, await errorOf(net, romeo, 'nowhere.test'), 'the errors do not reveal which names the internal network has')
  t.same(net.dialled, [])
  t.match(ours.logged('s2s connect failed')[0], { remote: THEIRS, fault: 'us', reason: /10\.0\.0\.7 is a private address; \[federation\.domain\."capulet\.test"\] private = true/ })
  const steps = await testLink(ours.world, ours.links, OURS, THEIRS)
  t.match(steps.at(-1), { ok: false, says: /10\.0\.0\.7 is a private address.*private = true/, mend: /^you, the operator of montague/ })
})

scene('a private address is dialled if the conf sets the server, or allows the domain a private address', async (t, net) => {
  const { ours, romeo } = await playsInside(net, ['by-hand.test', 'private.test', THEIRS])
  ours.policy = (_local, remote) => ({
    trust: 'certificate',
    ...remote === 'by-hand.test' && { byHand: { host: INSIDE, port: undefined, tls: 'required' } },
    ...remote === 'private.test' && { isPrivate: true },
  })
  for (const domain of ['by-hand.test', 'private.test']) t.equal((await errorOf(net, romeo, domain)).condition, 'remote-server-timeout', domain)
  t.same(net.dialled, [`${INSIDE}:5269`, `${INSIDE}:5269`])
  t.equal((await errorOf(net, romeo, THEIRS)).condition, 'remote-server-not-found', 'another domain is not allowed')
  t.equal(net.dialled.length, 2)
})

scene('of several addresses of a domain, those that are not public are left out', async (t, net) => {
  const { romeo, ours } = await playsInside(net, [])
  const theirs = await net.town(THEIRS)
  const juliet = await theirs.s.device(`juliet@${THEIRS}/balcony`)
  net.names.set(THEIRS, [at(INSIDE), at(theirs.address)])
  await romeo.says("<message to='juliet@capulet.test/balcony' id='m'><body>But soft!</body></message>")
  await net.settled()
  await juliet.gets("<message id='m'><body>But soft!</body></message>")
  t.same(net.dialled, [`${theirs.address}:5269`])
  t.equal(ours.links.report().length, 1)
})

scene('a domain whose DNS names a partner’s private server does not share the stream to it', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const peer = await net.peer([THEIRS, 'evil.test'], { shows: dns(THEIRS, 'evil.test') })
  net.forbidden.add(peer.address)
  ours.policy = (_local, remote) => ({ trust: 'dialback', isPrivate: remote === THEIRS })
  await romeo.says(`<message to='juliet@${THEIRS}'><body>one</body></message>`)
  const line = await peer.takes(THEIRS)
  await line.says(`<db:result from='${THEIRS}' to='${OURS}' type='valid'/>`)
  line.gets('<body>one</body>')
  t.equal((await errorOf(net, romeo, 'evil.test')).condition, 'remote-server-not-found')
  t.notMatch(line.heard, 'evil.test')
})

scene('a peer cannot have its key verified at a private address', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const peer = await net.peer([], { shows: 'nothing' })
  net.names.set(THEIRS, [at(INSIDE)])
  net.forbidden.add(INSIDE)
  const line = await peer.opens(ours, THEIRS, OURS)
  await line.says(`<db:result from='${THEIRS}' to='${OURS}'>00</db:result>`)
  t.match(line.gets(/<db:result[^>]*type=.error.*<\/db:result>/), 'remote-server-not-found')
  t.notMatch(line.heard, ADDRESS)
  t.same(net.dialled, [])
})

scene('no error that a user gets names an address or a port, whatever fails', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const peer = await net.peer('breaks.test')
  net.names.set('dns.test', new DnsError('connect ECONNREFUSED 127.0.0.53:53'))
  net.names.set('none.test', new NoServer('none.test has no address at 127.0.0.53:53'))
  net.names.set('refusing.test', [at('203.0.113.2')])
  net.names.set('silent.test', [at('203.0.113.1')])
  net.silent.add('203.0.113.1:5269')
  for (const domain of ['dns.test', 'none.test', 'refusing.test', 'silent.test']) {
    const { condition, text } = await errorOf(net, romeo, domain)
    t.ok(condition.startsWith('remote-server-') && text !== '', domain)
    t.notMatch(text, ADDRESS, domain)
  }
  await romeo.says("<message to='x@breaks.test' id='b'><body>hello?</body></message>")
  const line = await peer.next()
  line.transport.destroy(new Error('read ECONNRESET 10.0.0.7:5269'))
  await net.pass(31_000)
  const broken = romeo.unread.find(({ attrs }) => attrs['id'] === 'b')
  t.equal(broken?.attrs['type'], 'error')
  t.notMatch(String(broken), ADDRESS)
  t.match(ours.logged('s2s connect failed').map(({ reason }) => reason), [/127\.0\.0\.53:53/, /./, /203\.0\.113\.2:5269/], 'the log names them')
})
