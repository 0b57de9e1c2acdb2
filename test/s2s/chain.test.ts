/** Certificates for servers only: the chain is verified again, and each fault in it is found. */
import 'reflect-metadata'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate, GeneralName, Name, SubjectPublicKeyInfo } from '@peculiar/asn1-x509'
import * as x509 from '@peculiar/x509'
import { rootCertificates } from 'node:tls'
import t, { type Test } from 'tap'
import { Anchors, asServer } from '../../lib/s2s/trust/chain.js'
import type { TlsInfo } from '../../lib/stream/transport.js'
import { otherName, utf8, XMPP_ADDRESS } from '../auth/authority.js'
import { CLIENT, digitalSignature, dns, keyEncipherment, root, selfSignedServer, SERVER, type Issuer } from './issuers.js'

const DOMAIN = 'capulet.test'
const SRV_NAME = '1.3.6.1.5.5.7.8.7'
const verona = await root('Verona')
const middle = await verona.authority('Middle', { usages: [SERVER] })
const anchors = new Anchors([(await root('Padua')).pem, verona.pem])

interface Sent { readonly der: Uint8Array }

/** Returns why a chain is not trusted, or undefined; the server's own certificate comes first. */
function doubt (...chain: readonly Sent[]): string | undefined {
  return anchors.doubt(chain.map(({ der }) => der), Date.now())
}
function right (t: Test, title: string, ...chain: readonly Sent[]): void { t.equal(doubt(...chain), undefined, title) }
function wrong (t: Test, title: string, why: string | RegExp, ...chain: readonly Sent[]): void { t.match(doubt(...chain) ?? 'nothing', why, title) }

void t.test('a chain for servers only that leads to a trusted root is trusted', async t => {
  const own = await middle.server(DOMAIN)
  right(t, 'by a root', await verona.server(DOMAIN))
  right(t, 'by an intermediate authority', own, middle)
  right(t, 'with the root sent along', own, middle, verona)
  right(t, 'in another order, with other certificates between', own, verona, await root('Mantua'), middle)
  right(t, 'with garbage in the chain', own, { der: Buffer.from('garbage') }, middle)
  right(t, 'also for clients', await middle.server(DOMAIN, { usages: [CLIENT, SERVER] }), middle)
  right(t, 'an RSA key', await middle.server(DOMAIN, { key: 'RSA-2048', keyUsage: digitalSignature | keyEncipherment }), middle)
  right(t, 'an Ed25519 key', await middle.server(DOMAIN, { key: 'Ed25519' }), middle)
  right(t, 'without key usage', await middle.server(DOMAIN, { keyUsage: undefined }), middle)
  // Cross-signed: of two certificates of the same authority, one leads to a trusted root.
  const other = await root('Mantua')
  right(t, 'one of two paths leads to a trusted root', own, await other.authority('Middle'), middle)
})

void t.test('a chain that does not end in a trusted root is not trusted', async t => {
  const foreign = await root('Mantua')
  const namesake = await root('Verona')
  const below = await foreign.authority('Below')
  wrong(t, 'no certificate', /no certificate/)
  wrong(t, 'self-signed', /authority is not trusted/, await selfSignedServer(DOMAIN))
  wrong(t, 'a foreign root', /authority is not trusted/, await foreign.server(DOMAIN))
  wrong(t, 'a foreign root sent along', /authority is not trusted/, await foreign.server(DOMAIN), foreign)
  wrong(t, 'a foreign root above an authority, sent along', /authority is not trusted/, await below.server(DOMAIN), below, foreign)
  wrong(t, 'a root of the same name', /not issued by|signature is wrong/, await namesake.server(DOMAIN))
  wrong(t, 'a root of the same name sent along', /authority is not trusted|not issued by|signature is wrong/, await namesake.server(DOMAIN), namesake)
  wrong(t, 'the intermediate authority is not sent', /authority is not trusted/, await middle.server(DOMAIN))
  // An authority in the list of anchors that is not a root ends no chain (as in OpenSSL).
  t.match(new Anchors([middle.pem]).doubt([(await middle.server(DOMAIN)).der, middle.der], Date.now()), /not trusted/)
  t.match(new Anchors([]).doubt([(await verona.server(DOMAIN)).der], Date.now()), /not trusted/)
  t.match(new Anchors(['garbage']).doubt([(await verona.server(DOMAIN)).der], Date.now()), /not trusted/)
})

void t.test('a wrong or weak signature is found at each place of the chain', async t => {
  const own = await middle.server(DOMAIN)
  wrong(t, 'of the server', /signature is wrong/, forged(own), middle)
  wrong(t, 'of the intermediate authority', /signature is wrong/, own, forged(middle))
  const impostor = await (await root('Mantua')).authority('Middle')
  wrong(t, 'by an authority of the same name', /not issued by|signature is wrong|not trusted/, await impostor.server(DOMAIN), middle)

  const strong = await root('Strong', { key: 'RSA-2048' })
  const trusting = new Anchors([strong.pem])
  const signed = await strong.server(DOMAIN)
  const key = await strong.key()
  t.equal(trusting.doubt([signed.der], Date.now()), undefined)
  for (const [oid, hash] of [['1.2.840.113549.1.1.4', 'md5'], ['1.2.840.113549.1.1.5', 'sha1']] as const) {
    t.match(trusting.doubt([strong.resigned(signed, oid, hash, key).der], Date.now()), /signature algorithm is weak/, hash)
    const between = await strong.authority('Between')
    const weak = strong.resigned(between, oid, hash, key)
    t.match(trusting.doubt([(await between.server(DOMAIN)).der, weak.der], Date.now()), /signature algorithm is weak/, `${hash} above`)
  }
  t.equal(trusting.doubt([strong.resigned(signed, '1.2.840.113549.1.1.12', 'sha384', key).der], Date.now()), undefined, 'SHA-384 is not weak')
})

void t.test('the dates of each certificate count, those of the root included', async t => {
  wrong(t, 'an expired server', /expired/, await middle.server(DOMAIN, { days: [-3, -1] }), middle)
  wrong(t, 'a server that is not valid yet', /not valid yet/, await middle.server(DOMAIN, { days: [1, 3] }), middle)
  const late = await verona.authority('Late', { days: [-3, -1] })
  wrong(t, 'an expired intermediate authority', /expired/, await late.server(DOMAIN), late)
  const early = await verona.authority('Early', { days: [1, 3] })
  wrong(t, 'an intermediate authority that is not valid yet', /not valid yet/, await early.server(DOMAIN), early)
  const old = await root('Old', { days: [-3, -1] })
  t.match(new Anchors([old.pem]).doubt([(await old.server(DOMAIN)).der], Date.now()), /expired/)
})

void t.test('the certificate itself must be for servers and for signatures, and must not be an authority', async t => {
  wrong(t, 'no extended key usage', /not issued for servers/, await middle.server(DOMAIN, { usages: [] }), middle)
  wrong(t, 'for clients', /not issued for servers/, await middle.server(DOMAIN, { usages: [CLIENT] }), middle)
  wrong(t, 'for mail', /not issued for servers/, await middle.server(DOMAIN, { usages: ['1.3.6.1.5.5.7.3.4'] }), middle)
  wrong(t, 'for anything', /not issued for servers/, await middle.server(DOMAIN, { usages: ['2.5.29.37.0'] }), middle)
  wrong(t, 'for encryption only', /not for signatures/, await middle.server(DOMAIN, { keyUsage: keyEncipherment }), middle)
  wrong(t, 'an authority', /authority, not a server/, await middle.server(DOMAIN, { ca: true }), middle)
  wrong(t, 'a short key', /key is weak/, await middle.server(DOMAIN, { key: 'RSA-1024' }), middle)
  wrong(t, 'garbage', /cannot be read/, { der: Buffer.from('garbage') })
  wrong(t, 'too large', /too large/, await middle.server(DOMAIN, { names: Array.from({ length: 1500 }, (_, n) => dns(`n${n}.capulet.test`)) }), middle)
  const unknown = new x509.Extension('1.2.3.4', true, Buffer.from('0500', 'hex'))
  wrong(t, 'an unknown critical extension', /critical extension/, await middle.server(DOMAIN, { more: [unknown] }), middle)
  const twice = new x509.ExtendedKeyUsageExtension([SERVER])
  wrong(t, 'an extension twice', /occurs twice|not issued by/, await middle.server(DOMAIN, { more: [twice] }), middle)
})

void t.test('each issuer must be an authority for servers that allows a chain of that length', async t => {
  for (const [title, asked, why] of [
    ['no authority', { ca: false }, /is not an authority/],
    ['no basic constraints', { ca: 'none' as const }, /is not an authority/],
    ['may not sign', { keyUsage: digitalSignature }, /not issued by/],
    ['for clients', { usages: [CLIENT] }, /may not certify servers/],
    ['a short key', { key: 'RSA-1024' as const }, /key is weak/],
    ['a critical extension', { more: [new x509.Extension('1.2.3.4', true, Buffer.from('0500', 'hex'))] }, /critical extension/],
  ] as const) {
    const odd = await verona.authority('Odd', asked)
    wrong(t, title, why, await odd.server(DOMAIN), odd)
  }
  // A server's certificate that signs another one (CVE-2002-0862, and every ten years since).
  const server = await middle.server('tybalt.test', { subject: 'CN=tybalt.test' })
  wrong(t, 'a server that signs', /not issued by/, await server.server(DOMAIN), server, middle)
  const first = await verona.authority('First', { pathLength: 0 })
  const second = await first.authority('Second')
  right(t, 'no intermediate authority', await first.server(DOMAIN), first)
  wrong(t, 'one more than it allows', /longer than an issuer allows/, await second.server(DOMAIN), second, first)
  const shallow = await root('Shallow', { pathLength: 0 })
  const below = await shallow.authority('Below')
  t.match(new Anchors([shallow.pem]).doubt([(await below.server(DOMAIN)).der, below.der], Date.now()), /longer than an issuer allows/, 'the root is checked too')
})

void t.test('the search for a chain is bounded in length, in signatures, and in the certificates that a peer sent', async t => {
  const above: Issuer[] = []
  let last = verona
  for (let depth = 0; depth < 5; depth++) above.unshift(last = await last.authority(`Depth ${depth}`))
  right(t, 'four intermediate authorities', await (above[1] ?? verona).server(DOMAIN), ...above.slice(1))
  wrong(t, 'five intermediate authorities', /too long/, await last.server(DOMAIN), ...above)
  // Each of these authorities has signed each other one: there are thousands of paths, and none leads to a root.
  const same = await root('Maze')
  const maze = await Promise.all(Array.from({ length: 9 }, () => same.authority('Maze', { subject: 'CN=Maze' })))
  wrong(t, 'a maze', /./, await (maze[0] ?? same).server(DOMAIN), ...maze)
  wrong(t, 'a certificate too far back in the chain is ignored', /not trusted/, await middle.server(DOMAIN), ...Array.from({ length: 12 }, () => maze[0] ?? same), middle)
})

void t.test('a key whose public exponent makes each signature expensive is refused before it is used', async t => {
  const odd = await verona.authority('Odd', { key: 'RSA-2048' })
  const { n, d } = createPrivateKey(await odd.key()).export({ format: 'jwk' })
  const exponent = { kty: 'RSA', ...n === undefined ? {} : { n }, ...d === undefined ? {} : { e: d } }
  const certificate = AsnConvert.parse(odd.der, Certificate)
  const key = createPublicKey({ key: exponent, format: 'jwk' }).export({ format: 'der', type: 'spki' })
  certificate.tbsCertificate.subjectPublicKeyInfo = AsnConvert.parse(key, SubjectPublicKeyInfo)
  delete certificate.tbsCertificateRaw
  wrong(t, 'as long as the key', /key is weak/, await odd.server(DOMAIN), { der: new Uint8Array(AsnConvert.serialize(certificate)) })
  wrong(t, 'another authority, with the usual exponent', /not trusted/, await (await root('Mantua', { key: 'RSA-2048' })).server(DOMAIN))
  right(t, 'the usual exponent', await odd.server(DOMAIN), odd)
})

void t.test('an authority with name constraints certifies no other names', async t => {
  const permitted = await verona.authority('Permitted', { permitted: [dns(DOMAIN), dns('.montague.test')] })
  const judge = async (by: Issuer, ...names: readonly GeneralName[]): Promise<string | undefined> => doubt(await by.server('x', { names }), by)
  for (const name of [DOMAIN, `rooms.${DOMAIN}`, `*.${DOMAIN}`, 'CAPULET.TEST', 'a.montague.test']) t.equal(await judge(permitted, dns(name)), undefined, name)
  for (const name of ['verona.test', `evil${DOMAIN}`, 'test', 'montague.test', '*.test']) t.match(await judge(permitted, dns(name)), /may not certify this name/, name)
  t.match(await judge(permitted, dns(DOMAIN), dns('verona.test')), /may not certify this name/, 'each of its names counts')
  const srv = (domain: string): GeneralName => otherName(SRV_NAME, utf8(`_xmpp-server.${domain}`, 0x16))
  const address = (domain: string): GeneralName => otherName(XMPP_ADDRESS, utf8(domain))
  t.equal(await judge(permitted, srv(DOMAIN), address(DOMAIN)), undefined)
  t.match(await judge(permitted, srv('verona.test')), /may not certify this name/, 'SRV names count too')
  t.match(await judge(permitted, address('verona.test')), /may not certify this name/, 'XMPP addresses count too')

  const excluded = await verona.authority('Excluded', { excluded: [dns('bank.test'), dns('.secret.test')] })
  for (const name of [DOMAIN, 'mybank.test', 'secret.test']) t.equal(await judge(excluded, dns(name)), undefined, name)
  for (const name of ['bank.test', 'a.bank.test', 'BANK.test', '*.bank.test', '*.test', 'a.secret.test', '*.secret.test']) {
    t.match(await judge(excluded, dns(name)), /may not certify this name/, name)
  }

  // Constraints of an authority further up, and of the root.
  const below = await permitted.authority('Below')
  right(t, 'below', await below.server(DOMAIN), below, permitted)
  wrong(t, 'below', /may not certify this name/, await below.server('verona.test'), below, permitted)
  const narrow = await root('Narrow', { permitted: [dns(DOMAIN)] })
  const trusting = new Anchors([narrow.pem])
  t.equal(trusting.doubt([(await narrow.server(DOMAIN)).der], Date.now()), undefined)
  t.match(trusting.doubt([(await narrow.server('verona.test')).der], Date.now()), /may not certify this name/)
})

void t.test('a name constraint of an unsupported kind excludes certificates with a name of that kind; an unreadable one excludes all', async t => {
  const ip = new GeneralName({ iPAddress: '192.0.2.1' })
  const noAddresses = await verona.authority('No addresses', { permitted: [dns(DOMAIN)], excluded: [new GeneralName({ iPAddress: '0.0.0.0/0' })] })
  right(t, 'no address', await noAddresses.server(DOMAIN), noAddresses)
  wrong(t, 'an address', /may not certify this name/, await noAddresses.server(DOMAIN, { names: [dns(DOMAIN), ip] }), noAddresses)
  const subject = new GeneralName({ directoryName: new Name([]) })
  const ofPeople = await verona.authority('Of people', { permitted: [subject] })
  right(t, 'no subject', await ofPeople.server(DOMAIN), ofPeople)
  wrong(t, 'a subject', /may not certify this name/, await ofPeople.server(DOMAIN, { subject: `CN=${DOMAIN}` }), ofPeople)
  const odd = await verona.authority('Odd', { more: [new x509.Extension('2.5.29.30', true, Buffer.from('0500', 'hex'))] })
  wrong(t, 'not DER', /not issued by/, await odd.server(DOMAIN), odd)
  const empty = await verona.authority('Empty', { more: [new x509.Extension('2.5.29.30', true, Buffer.from('3000', 'hex'))] })
  wrong(t, 'empty', /may not certify this name/, await empty.server(DOMAIN), empty)
})

void t.test('the chain is verified again only if TLS objects to the purpose, and nothing else in the TLS result changes', async t => {
  const own = await middle.server(DOMAIN)
  const tls = (more: Partial<TlsInfo>): TlsInfo => ({
    protocol: 'TLSv1.3', cipher: 'x', alpn: undefined, certificate: own.der, peerCertificates: [own.der, middle.der], authorized: false,
    distrust: 'INVALID_PURPOSE', exporter: () => new Uint8Array(), ...more,
  })
  t.match(asServer(tls({}), anchors, Date.now()), { authorized: true, distrust: undefined, protocol: 'TLSv1.3' })
  for (const distrust of ['CERT_HAS_EXPIRED', 'SELF_SIGNED_CERT_IN_CHAIN', 'not known', undefined]) {
    t.match(asServer(tls({ distrust }), anchors, Date.now()), { authorized: false, distrust })
  }
  const foreign = await (await root('Mantua')).server(DOMAIN)
  t.match(asServer(tls({ peerCertificates: [foreign.der] }), anchors, Date.now()), { authorized: false, distrust: 'INVALID_PURPOSE' })
  t.match(asServer(tls({ peerCertificates: [] }), anchors, Date.now()), { authorized: false })
})

void t.test('the system’s roots can be read, and certify none of these certificates', async t => {
  t.match(new Anchors(rootCertificates).doubt([(await verona.server(DOMAIN)).der], Date.now()), /not trusted/)
})

/** Returns the certificate with a wrong signature. */
function forged ({ der }: Sent): Sent {
  const other = Uint8Array.from(der)
  other[other.length - 1] = (other.at(-1) ?? 0) ^ 1
  return { der: other }
}
