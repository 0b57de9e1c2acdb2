/** Incoming streams with DANE on: the certificate that counts is the one that the peer's domain names in DNS. */
import { createHash, X509Certificate } from 'node:crypto'
import type { Tlsa } from '../../lib/s2s/ground/tlsa.js'
import type { Target } from '../../lib/s2s/ground/target.js'
import { certificateFor, dns, DnsError, external, message, NoServer, OURS, scene, THEIRS, type Line, type Net, type Peer } from './stage.js'

/** Returns the TLSA record "3 1 1" for the certificate of these domains: its key, as SHA-256. */
async function keyFor (...domains: readonly string[]): Promise<readonly Tlsa[]> {
  const key = new X509Certificate(await certificateFor(dns(...domains))).publicKey.export({ type: 'spki', format: 'der' })
  return [{ usage: 3, selector: 1, matchingType: 1, certificate: createHash('sha256').update(key).digest() }]
}

function place (address: string, tlsa?: readonly Tlsa[]): Target {
  return { host: 'xmpp.capulet.test', address, port: 5269, tls: 'required', secure: true, ...tlsa && { tlsa } }
}

/** Opens a stream from the peer while DNS says `said` of its domain; true if EXTERNAL is offered to it. */
async function isOffered (net: Net, peer: Peer, said: readonly Target[] | Error): Promise<boolean> {
  net.names.set(THEIRS, said)
  const town = await net.town(`town-${++towns}.test`)
  const line = await peer.opens(town, THEIRS, town.world.domain)
  line.gets('<stream:features')
  return line.heard.includes('EXTERNAL')
}
let towns = 0

scene('with DANE on, a peer is authenticated only by the certificate that its domain names in DNS, whoever signed it', async (t, net) => {
  net.resolver.isDane = true
  const named = await net.peer([THEIRS], { trusted: false })
  t.ok(await isOffered(net, named, [place('192.0.2.1', await keyFor(THEIRS))]), 'DNS names it, and no trusted authority signed it')
  t.notOk(await isOffered(net, named, [place('192.0.2.1')]), 'DNS names none')
  const signed = await net.peer([THEIRS], { shows: dns(THEIRS, 'other.test') })
  t.notOk(await isOffered(net, signed, [place('192.0.2.1', await keyFor(THEIRS))]), 'signed, but DNS names another')
  t.ok(await isOffered(net, signed, [place('192.0.2.1', await keyFor(THEIRS)), place('192.0.2.2')]), 'signed, and one of its servers has no record')
  t.ok(await isOffered(net, signed, [place('192.0.2.2', await keyFor(THEIRS)), place('192.0.2.1', await keyFor(THEIRS, 'other.test'))]), 'DNS names one of two')
  t.ok(await isOffered(net, signed, [place('192.0.2.1')]), 'signed, and DNS names none')
})

scene('if the TLSA lookup fails, no certificate is trusted; a domain without a server in DNS has no TLSA record', async (t, net) => {
  net.resolver.isDane = true
  const peer = await net.peer([THEIRS])
  t.notOk(await isOffered(net, peer, new DnsError('the DNS server did not answer')))
  t.ok(await isOffered(net, peer, new NoServer('no server')))
  net.resolver.isDane = false
  t.ok(await isOffered(net, peer, new DnsError('the DNS server did not answer')), 'with DANE off nothing is looked up')
  t.ok(await isOffered(net, peer, [place('192.0.2.1', await keyFor('other.test'))]))
})

scene('a certificate that DANE refuses proves nothing, by SASL or by dialback; the key is verified at the server in DNS', async (t, net) => {
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
  // Sestina asks that domain's own server, which shows the wrong certificate; the verification fails.
  await peer.takes('evil.test')
  t.match(line.gets(/<db:result[^>]*type=.error.*<\/db:result>/), 'remote-server-not-found')
})

scene('nothing is read before DNS has answered; a peer that hangs up meanwhile is forgotten', async (t, net) => {
  net.resolver.isDane = true
  const ours = await net.town(OURS)
  const peer = await net.peer([THEIRS])
  const answers: (() => void)[] = []
  ours.world.resolver = {
    isDane: true,
    resolve: domain => new Promise((resolve, reject) => {
      answers.push(() => { net.resolver.resolve(domain).then(resolve, reject) })
    }),
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

scene('a peer that keeps claiming domains it cannot prove is disconnected, as each claim costs DNS queries and a connection', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const peer = await net.peer([], { shows: 'nothing' })
  const line = await peer.opens(ours, THEIRS, OURS)
  for (let n = 0; n < 40 && !line.isClosed; n++) await line.says(`<db:result from='n${n}.test' to='${OURS}'>00</db:result>`)
  t.equal(line.error, 'policy-violation')
  t.equal(line.heard.split('remote-server-not-found').length - 1, 16)
})

scene('peers of one network have at most 50 keys verified at a time, and do not hinder another network', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  await net.peer(Array.from({ length: 60 }, (_, n) => `n${n}.test`), { trusted: false }) // the peer says nothing
  const greedy = await net.peer([], { shows: 'nothing' })
  let heard = ''
  for (let first = 0; first < 60; first += 12) {
    const line = await greedy.opens(ours, `n${first}.test`, OURS)
    line.forget()
    for (let n = first; n < first + 12; n++) await line.says(`<db:result from='n${n}.test' to='${OURS}'>00</db:result>`)
    heard += line.heard
  }
  t.equal(heard.split('resource-constraint').length - 1, 10)
  const modest = await net.peer([THEIRS], { trusted: false })
  const line = await modest.opens(ours, THEIRS, OURS)
  line.forget()
  await line.says(`<db:result from='${THEIRS}' to='${OURS}'>00</db:result>`)
  await modest.takes(THEIRS)
  t.equal(line.heard, '')
})

scene('a stream opened to verify a key is closed after the negotiation timeout, unless Sestina sends on it by then', async (t, net) => {
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
