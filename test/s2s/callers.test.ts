/** Servers that call: with DANE on, the certificate that counts for them is the one that their domain names in DNS. */
import { createHash, X509Certificate } from 'node:crypto'
import type { Tlsa } from '../../lib/s2s/dane.js'
import type { Target } from '../../lib/s2s/resolve.js'
import { certificateFor, dns, DnsError, external, message, NoServer, OURS, scene, THEIRS, type Line, type Net, type Peer } from './stage.js'

/** "3 1 1": the key of the certificate for these domains, as its SHA-256. */
async function keyFor (...domains: readonly string[]): Promise<readonly Tlsa[]> {
  const key = new X509Certificate(await certificateFor(dns(...domains))).publicKey.export({ type: 'spki', format: 'der' })
  return [{ usage: 3, selector: 1, matchingType: 1, certificate: createHash('sha256').update(key).digest() }]
}

function place (address: string, tlsa?: readonly Tlsa[]): Target {
  return { host: 'xmpp.capulet.test', address, port: 5269, tls: 'required', secure: true, ...tlsa && { tlsa } }
}

/** What DNS says of the domain of a peer that calls, and whether EXTERNAL is offered to it then. */
async function isOffered (net: Net, peer: Peer, said: readonly Target[] | Error): Promise<boolean> {
  net.names.set(THEIRS, said)
  const town = await net.town(`town-${++towns}.test`)
  const line = await peer.opens(town, THEIRS, town.world.domain)
  line.gets('<stream:features')
  return line.heard.includes('EXTERNAL')
}
let towns = 0

scene('who calls is believed by the certificate that its domain names in DNS, and by no other, whoever has signed it', async (t, net) => {
  net.resolver.isDane = true
  const named = await net.peer([THEIRS], { trusted: false })
  t.ok(await isOffered(net, named, [place('192.0.2.1', await keyFor(THEIRS))]), 'named, and signed by nobody that we trust')
  t.notOk(await isOffered(net, named, [place('192.0.2.1')]), 'nothing is named')
  const signed = await net.peer([THEIRS], { shows: dns(THEIRS, 'other.test') })
  t.notOk(await isOffered(net, signed, [place('192.0.2.1', await keyFor(THEIRS))]), 'signed, and another is named')
  t.ok(await isOffered(net, signed, [place('192.0.2.1', await keyFor(THEIRS)), place('192.0.2.2')]), 'of one of its servers nothing is said')
  t.ok(await isOffered(net, signed, [place('192.0.2.2', await keyFor(THEIRS)), place('192.0.2.1', await keyFor(THEIRS, 'other.test'))]), 'one of two is named')
  t.ok(await isOffered(net, signed, [place('192.0.2.1')]), 'signed, and nothing is named')
})

scene('if DNS does not say whether a certificate is named, none is believed; without a server in DNS there is none', async (t, net) => {
  net.resolver.isDane = true
  const peer = await net.peer([THEIRS])
  t.notOk(await isOffered(net, peer, new DnsError('the DNS server does not answer')))
  t.ok(await isOffered(net, peer, new NoServer('no server')))
  net.resolver.isDane = false
  t.ok(await isOffered(net, peer, new DnsError('the DNS server does not answer')), 'with DANE off nobody asks')
  t.ok(await isOffered(net, peer, [place('192.0.2.1', await keyFor('other.test'))]))
})

scene('what is refused so is refused for SASL and dialback alike; the key is checked with the server in DNS', async (t, net) => {
  net.resolver.isDane = true
  const ours = await net.town(OURS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const impostor = await net.peer([], { shows: dns(THEIRS, 'other.test') })
  const real = await net.peer([THEIRS])
  net.names.set(THEIRS, [place(real.address, await keyFor(THEIRS))])
  const line = await impostor.opens(ours, THEIRS, OURS)
  await line.says(external())
  line.gets('<failure')
  await line.says(`<db:result from='${THEIRS}' to='${OURS}'>00</db:result>`)
  await line.says(message(`juliet@${THEIRS}`, `romeo@${OURS}`, 'false'))
  const asked = await real.takes(THEIRS)
  asked.gets(/<db:verify[^>]*>00</)
  t.equal(line.error, 'not-authorized')
  await romeo.getsNothing()
})

scene('a second domain on the same connection is looked up as well', async (t, net) => {
  net.resolver.isDane = true
  const ours = await net.town(OURS)
  const peer = await net.peer([THEIRS, 'good.test', 'evil.test'], { shows: dns(THEIRS, 'good.test', 'evil.test') })
  const key = await keyFor(THEIRS, 'good.test', 'evil.test')
  for (const domain of [THEIRS, 'good.test']) net.names.set(domain, [place(peer.address, key)])
  net.names.set('evil.test', [place(peer.address, await keyFor('other.test'))])
  const line = await peer.enters(ours, THEIRS, OURS)
  await line.says(`<db:result from='good.test' to='${OURS}'>00</db:result>`)
  line.gets(/<db:result[^>]*type=.valid/)
  await line.says(`<db:result from='evil.test' to='${OURS}'>00</db:result>`)
  t.notMatch(line.heard, 'valid')
  // Its own server is asked; that shows the wrong certificate, and so nothing comes of it.
  await peer.takes('evil.test')
  t.match(line.gets(/<db:result[^>]*type=.error.*<\/db:result>/), 'remote-server-not-found')
})

scene('nothing is read before DNS has answered; who leaves meanwhile is gone', async (t, net) => {
  net.resolver.isDane = true
  const ours = await net.town(OURS)
  const peer = await net.peer([THEIRS])
  const answers: (() => void)[] = []
  ours.world.resolver = {
    isDane: true,
    resolve: domain => new Promise((resolve, reject) => { answers.push(() => { net.resolver.resolve(domain).then(resolve, reject) }) }),
  }
  const patient = await peer.opens(ours, THEIRS, OURS)
  const leaving = await peer.opens(ours, THEIRS, OURS)
  await patient.says(external())
  t.notMatch(patient.heard, /features|success/)
  leaving.transport.destroy()
  await net.settled()
  for (const answer of answers) answer()
  await net.settled()
  patient.gets('EXTERNAL')
  patient.gets('<success')
  t.equal(leaving.heard.includes('features'), false)
})

scene('a peer whose claims cannot be proved again and again is hung up on: each costs questions to DNS, and a connection to whom it names', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const peer = await net.peer([], { shows: 'nothing' })
  const line = await peer.opens(ours, THEIRS, OURS)
  for (let n = 0; n < 40 && !line.isClosed; n++) await line.says(`<db:result from='n${n}.test' to='${OURS}'>00</db:result>`)
  t.equal(line.error, 'policy-violation')
  t.equal(line.heard.split('remote-server-not-found').length - 1, 16)
})

scene('a stream that was opened to check a key is closed after the time of negotiation, unless it is ours to send on by then', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const peer = await net.peer([THEIRS, 'used.test'], { trusted: false })
  const line = await peer.opens(ours, THEIRS, OURS)
  const asked = new Map<string, Line>()
  for (const domain of [THEIRS, 'used.test']) {
    await line.says(`<db:result from='${domain}' to='${OURS}'>00</db:result>`)
    const back = await peer.takes(domain)
    const id = / id=['"]([^'"]+)/.exec(back.gets(/<db:verify[^>]*>/))?.[1] ?? ''
    await back.says(`<db:verify from='${domain}' to='${OURS}' id='${id}' type='valid'/>`)
    line.gets(/<db:result[^>]*type=.valid/)
    asked.set(domain, back)
  }
  await romeo.says("<message to='x@used.test'><body>one</body></message>")
  await asked.get('used.test')?.says(`<db:result from='used.test' to='${OURS}' type='valid'/>`)
  asked.get('used.test')?.gets('<body>one</body>')
  await net.pass(31_000)
  t.match(asked.get(THEIRS)?.heard, '</stream:stream>')
  t.notMatch(asked.get('used.test')?.heard, '</stream:stream>')
  t.notOk(line.isClosed)
})
