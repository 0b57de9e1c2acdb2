/**
 * DANE: a domain names its certificate in DNS, and only answers that DNSSEC validated are trusted (RFC 7671, RFC 7673).
 */
import { createHash, X509Certificate } from 'node:crypto'
import { GeneralName } from '@peculiar/asn1-x509'
import type { Answer } from 'dns-packet'
import t from 'tap'
import { doubtOf } from '../../lib/s2s/trust/dane.js'
import { understoodRecords, type Tlsa } from '../../lib/s2s/ground/tlsa.js'
import { DnsError, type Dns, type DnsAnswer } from '../../lib/s2s/connect/dns-client.js'
import { DnsResolver } from '../../lib/s2s/connect/resolve.js'
import type { Target } from '../../lib/s2s/ground/target.js'
import type { TlsInfo } from '../../lib/stream/transport.js'
import { makeAuthority, type Authority, type Wanted } from '../auth/authority.js'
import { certificateFor, dns, OURS, scene, THEIRS, type Town } from './stage.js'

const HOST = 'xmpp.capulet.test'
const sha256 = (data: Uint8Array): Buffer => createHash('sha256').update(data).digest()
const keyOf = (der: Uint8Array): Buffer => new X509Certificate(der).publicKey.export({ type: 'spki', format: 'der' })

/** Returns the TLSA record "3 1 1": the server's own key, as SHA-256. */
function ownKey (der: Uint8Array): Tlsa {
  return { usage: 3, selector: 1, matchingType: 1, certificate: sha256(keyOf(der)) }
}

// ---- The DNS records ----------------------------------------------------------------------------

interface Told { readonly records: readonly Answer[], readonly secure: boolean }

class FakeDns implements Dns {
  readonly asked: string[] = []
  readonly told = new Map<string, Told | Error>()

  query (name: string, type: string): Promise<DnsAnswer> {
    this.asked.push(`${type} ${name}`)
    const told = this.told.get(`${type} ${name}`) ?? { records: [], secure: true }
    return told instanceof Error ? Promise.reject(told) : Promise.resolve({ ...told, ttl: 1000 })
  }
}

const RECORD: Tlsa = { usage: 3, selector: 1, matchingType: 1, certificate: Buffer.alloc(32, 7) }
const SRV: Answer = { type: 'SRV', name: 'x', ttl: 60, data: { target: HOST, port: 5269, priority: 1, weight: 0 } }
const ADDRESS: Answer = { type: 'A', name: 'x', ttl: 60, data: '192.0.2.7' }
const TLSA: Answer = { type: 'TLSA', name: 'x', ttl: 60, data: RECORD }
const NAMES = { srv: `SRV _xmpp-server._tcp.${THEIRS}`, a: `A ${HOST}`, tlsa: `TLSA _5269._tcp.${HOST}` }

function secured (): FakeDns {
  const fake = new FakeDns()
  const records = [[NAMES.srv, SRV], [NAMES.a, ADDRESS], [NAMES.tlsa, TLSA]] as const
  for (const [name, record] of records) fake.told.set(name, { records: [record], secure: true })
  return fake
}

void t.test('a TLSA record counts only if DNSSEC validated each answer on the way to it, and only if the conf turns DANE on', async t => {
  const [target] = await new DnsResolver(secured(), { dane: true }).resolve(THEIRS)
  t.match(target, { host: HOST, address: '192.0.2.7', secure: true, tlsa: [RECORD] })

  for (const name of [NAMES.srv, NAMES.a]) {
    const fake = secured()
    fake.told.set(name, { records: [name === NAMES.srv ? SRV : ADDRESS], secure: false })
    const [target] = await new DnsResolver(fake, { dane: true }).resolve(THEIRS)
    t.equal(target?.tlsa, undefined, `${name} was not validated`)
    t.notOk(fake.asked.includes(NAMES.tlsa), 'nothing more is looked up')
  }
  const unchecked = secured()
  unchecked.told.set(NAMES.tlsa, { records: [TLSA], secure: false })
  t.equal((await new DnsResolver(unchecked, { dane: true }).resolve(THEIRS))[0]?.tlsa, undefined, 'the record itself was not validated')

  const unwanted = secured()
  t.equal((await new DnsResolver(unwanted).resolve(THEIRS))[0]?.tlsa, undefined)
  t.notOk(unwanted.asked.includes(NAMES.tlsa))
})

void t.test('a server set in the conf and a bare address have no TLSA record; the domain itself may be the host', async t => {
  const fake = secured()
  fake.told.set('A capulet.test', { records: [ADDRESS], secure: true })
  fake.told.set('TLSA _5269._tcp.capulet.test', { records: [TLSA], secure: true })
  fake.told.delete(NAMES.srv)
  const resolver = new DnsResolver(fake, { dane: true })
  t.match(await resolver.resolve(THEIRS), [{ host: THEIRS, tlsa: [RECORD] }])
  t.equal((await resolver.resolve(THEIRS, { host: HOST, port: undefined, tls: 'required' }))[0]?.tlsa, undefined)
  t.equal((await resolver.resolve('192.0.2.7'))[0]?.tlsa, undefined)
})

void t.test('a server whose TLSA lookup fails is not trusted; another server of the domain is', async t => {
  const fake = secured()
  fake.told.set(NAMES.tlsa, new DnsError('the DNS server answers with error 2'))
  const resolver = new DnsResolver(fake, { dane: true })
  await t.rejects(resolver.resolve(THEIRS), { message: /error 2/ })
  fake.told.set(NAMES.srv, { records: [SRV, { ...SRV, data: { ...SRV.data, target: 'b.test' } }], secure: true })
  fake.told.set('A b.test', { records: [ADDRESS], secure: true })
  t.match((await resolver.resolve(THEIRS)).map(({ host }) => host), ['b.test'])
})

void t.test('TLSA records with unknown parameters are ignored', async t => {
  const odd: Tlsa[] = [
    { ...RECORD, usage: 4 }, { ...RECORD, usage: 255 }, { ...RECORD, selector: 2 }, { ...RECORD, matchingType: 3 },
    { ...RECORD, certificate: Buffer.alloc(31) },
    { ...RECORD, matchingType: 2 }, { ...RECORD, matchingType: 0, certificate: Buffer.alloc(0) },
  ]
  t.same(understoodRecords([...odd, RECORD]), [RECORD])
  t.equal(understoodRecords(Array.from({ length: 100 }, () => RECORD)).length, 16, 'at most 16 records are used')
  const fake = secured()
  fake.told.set(NAMES.tlsa, { records: odd.map(data => ({ ...TLSA, data })), secure: true })
  t.equal((await new DnsResolver(fake, { dane: true }).resolve(THEIRS))[0]?.tlsa, undefined)
})

// ---- The certificates ------------------------------------------------------------------------------

let verona: Promise<Authority> | undefined

interface Chain { readonly own: Uint8Array, readonly authority: Uint8Array }

async function chainFor (wanted: Wanted): Promise<Chain> {
  const authority = await (verona ??= makeAuthority('Verona'))
  const { der } = await authority.issue(wanted)
  return { own: der, authority: new Uint8Array(new X509Certificate(authority.certificate).raw) }
}

function shown (peerCertificates: readonly Uint8Array[], authorized = false): TlsInfo {
  return {
    protocol: 'TLSv1.3', cipher: '', alpn: undefined, certificate: new Uint8Array(), peerCertificates, authorized,
    distrust: authorized ? undefined : 'unable to verify the first certificate', exporter: () => new Uint8Array(), firstFinished: () => undefined,
  }
}

function doubt (record: Tlsa, tls: TlsInfo | undefined, now = Date.now()): string | undefined {
  return doubtOf({ host: HOST, tlsa: [record] }, tls, THEIRS, now)
}

const WRONG = /not the one that its domain names/

void t.test('usage 3 matches the server’s own certificate with any name, date and issuer, for each kind of record', async t => {
  const { own } = await chainFor({ ...dns('tybalt.test'), days: [-9, -3] })
  const sha512 = (data: Uint8Array): Buffer => createHash('sha512').update(data).digest()
  for (const [selector, data] of [[0, Buffer.from(own)], [1, keyOf(own)]] as const) {
    for (const [matchingType, certificate] of [[0, data], [1, sha256(data)], [2, sha512(data)]] as const) {
      t.equal(doubt({ usage: 3, selector, matchingType, certificate }, shown([own])), undefined, `3 ${selector} ${matchingType}`)
    }
  }
  const { own: other } = await chainFor(dns(THEIRS))
  t.match(doubt(ownKey(own), shown([other], true)), WRONG, 'another certificate does not match, though an authority trusts it')
  t.equal(doubtOf({ host: HOST, tlsa: [ownKey(own), ownKey(other)] }, shown([other]), THEIRS, Date.now()), undefined, 'one of two records is enough')
})

void t.test('usage 2 matches an authority that signed the server’s certificate, if that is valid now and for the domain or its host', async t => {
  const { own, authority } = await chainFor(dns(THEIRS))
  const record: Tlsa = { usage: 2, selector: 0, matchingType: 1, certificate: sha256(authority) }
  t.equal(doubt(record, shown([own, authority])), undefined)
  const { own: ofHost } = await chainFor(dns(HOST))
  t.equal(doubt(record, shown([ofHost, authority])), undefined, 'for the host')
  t.match(doubt(record, shown([own])), WRONG, 'the authority is not sent')
  const { own: ofTybalt } = await chainFor(dns('tybalt.test'))
  t.match(doubt(record, shown([ofTybalt, authority])), WRONG, 'for another domain')
  t.match(doubt(record, shown([own, authority]), Date.now() + 3 * 86_400_000), WRONG, 'no longer valid')
  t.match(doubt(record, shown([own, authority]), Date.now() - 3 * 86_400_000), WRONG, 'not yet valid')
  const stranger = await (await makeAuthority('Verona')).issue(dns(THEIRS))
  t.match(doubt(record, shown([stranger.der, authority], true)), WRONG, 'signed by another authority of the same name, with the right one sent along')
  const { own: noAuthority } = await chainFor(dns(THEIRS))
  t.match(doubt({ ...record, certificate: sha256(noAuthority) }, shown([own, noAuthority])), WRONG, 'the record names a certificate that is not an authority')
  t.match(doubt({ ...record, certificate: sha256(own) }, shown([own, authority])), WRONG, 'the server’s own certificate is not its authority')
})

void t.test('usages 0 and 1 match only if the authorities of this machine trust the certificate as well', async t => {
  const { own, authority } = await chainFor({ names: [new GeneralName({ dNSName: THEIRS })] })
  const { own: ofTybalt } = await chainFor(dns('tybalt.test'))
  const one = { ...ownKey(own), usage: 1 }
  t.equal(doubt(one, shown([own], true)), undefined)
  t.match(doubt(one, shown([own], false)), WRONG)
  t.match(doubt({ ...ownKey(ofTybalt), usage: 1 }, shown([ofTybalt], true)), WRONG)
  const zero: Tlsa = { usage: 0, selector: 1, matchingType: 1, certificate: sha256(keyOf(authority)) }
  t.equal(doubt(zero, shown([own, authority], true)), undefined)
  t.match(doubt(zero, shown([own, authority], false)), WRONG)
  t.match(doubt(zero, shown([ofTybalt, authority], true)), WRONG)
  t.match(doubt({ ...zero, certificate: Buffer.alloc(32) }, shown([own, authority], true)), WRONG)
})

void t.test('a peer without TLS or without a certificate is not trusted', t => {
  t.match(doubt(RECORD, undefined), /not encrypted/)
  t.match(doubt(RECORD, shown([])), /no certificate/)
  t.match(doubt(RECORD, shown([Buffer.from('no DER')], true)), WRONG)
  t.end()
})

// ---- Between servers ------------------------------------------------------------------------------

const placed = (town: Town, ...tlsa: readonly Tlsa[]): readonly Target[] =>
  [{ host: HOST, address: town.address, port: 5269, tls: 'required', secure: true, ...tlsa.length === 0 ? {} : { tlsa } }]

scene('a certificate that no authority signed is trusted if its domain names it in DNS', async (t, net) => {
  const ours = await net.town(OURS)
  const theirs = await net.town(THEIRS, { trusted: false })
  net.names.set(THEIRS, placed(theirs, ownKey(await certificateFor(dns(THEIRS)))))
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const juliet = await theirs.s.device(`juliet@${THEIRS}/balcony`)
  await romeo.says("<message to='juliet@capulet.test'><body>But soft!</body></message>")
  await net.settled()
  await juliet.gets('<message><body>But soft!</body></message>')
  t.match(ours.link(THEIRS), { state: 'established', security: 'EXTERNAL' })
})

scene('a certificate other than the one in DNS is refused, whoever signed it, even if dialback would suffice', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const theirs = await net.town(THEIRS)
  net.names.set(THEIRS, placed(theirs, ownKey(await certificateFor(dns('tybalt.test')))))
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  await romeo.says("<message to='juliet@capulet.test' id='m1'><body>But soft!</body></message>")
  await net.settled()
  await romeo.gets("<message type='error' id='m1'><error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
  t.match(ours.logged('s2s connect failed'), [{ remote: THEIRS, reason: WRONG }])
})
