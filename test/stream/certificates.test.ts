import t, { type Test } from 'tap'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect as connectTcp, createServer, type AddressInfo, type Socket } from 'node:net'
import { basename, join } from 'node:path'
import { connect, TLSSocket, type ConnectionOptions } from 'node:tls'
import { systemClock } from '../../lib/base/clock.js'
import { silent, type Fields, type Logger } from '../../lib/base/logger.js'
import { Certificates, type CertificatesSettings } from '../../lib/stream/certificates.js'
import { selfSigned, type CertificateAndKey } from '../../lib/stream/self-signed.js'
import { makeAuthority } from '../auth/authority.js'
import { FakeClock } from '../fake-clock.js'
import { temporaryFolder } from '../temporary-folder.js'

const NOW = Date.now()
const DAY = 86_400_000

/** Opens a folder of certificates and records what is logged; all is closed when the test ends. */
async function opened (
  t: Tap, domains: readonly string[], how: Partial<CertificatesSettings> & { readonly files?: Files } = {},
) {
  const folder = how.folder ?? join(temporaryFolder(t, { 'certificates': {} }), 'certificates')
  const said: { readonly event: string, readonly fields: Fields }[] = []
  const clock = new FakeClock(NOW)
  const certificates = await Certificates.open({ folder, domains, clock, log: listener(said), ...how })
  t.teardown(() => certificates.close())
  return { folder, certificates, said }
}
type Tap = Pick<Test, 'testdir' | 'teardown'>
type Files = Readonly<Record<string, string>>

function listener (said: { event: string, fields: Fields }[]): Logger {
  const hear = (event: string, fields: Fields = {}): void => { said.push({ event, fields }) }
  return { ...silent, info: hear, warn: hear, error: hear }
}

function write (folder: string, files: Files): void {
  mkdirSync(folder, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 })
}

/** Makes a TLS handshake over a real socket, and returns what client and server see of it. */
async function handshake (t: Tap, certificates: Certificates, options: ConnectionOptions = {}, domain?: string) {
  const { client, server } = await connected(t, certificates, options, domain)
  const seen = {
    raw: client.getPeerX509Certificate()?.raw, protocol: client.getProtocol(), cipher: client.getCipher().name, server,
  }
  client.destroy()
  server.destroy()
  return seen
}

async function connected (t: Tap, certificates: Certificates, options: ConnectionOptions = {}, domain?: string) {
  const listening = createServer().listen(0, '127.0.0.1')
  await once(listening, 'listening')
  t.teardown(() => listening.close())
  const { port } = listening.address() as AddressInfo
  const incoming = once(listening, 'connection') as Promise<[Socket]>
  const client = connect({ socket: connectTcp(port, '127.0.0.1'), rejectUnauthorized: false, ...options })
  const [socket] = await incoming
  const server = new TLSSocket(socket, {
    isServer: true,
    secureContext: certificates.contextFor(undefined, domain).context,
    SNICallback: (name, done) => { done(null, certificates.contextFor(name, domain).context) },
    requestCert: certificates.asksClients,
    rejectUnauthorized: false,
  })
  server.on('error', () => {})
  client.on('error', () => {})
  await Promise.race([once(client, 'secureConnect'), once(client, 'close').then(() => { throw new Error('no handshake') })])
  return { client, server }
}

const certificateOf = (pem: string): Buffer => new X509Certificate(pem).raw
const same = (a: Uint8Array | undefined, b: Uint8Array): boolean => a !== undefined && Buffer.from(a).equals(b)
const files = (pair: CertificateAndKey): Files => ({ 'fullchain.pem': pair.certificate, 'privkey.pem': pair.key })

t.test('a domain without a certificate gets a self-signed one that only its owner can read', async t => {
  const { folder, certificates, said } = await opened(t, ['example.org', 'bücher.example'])
  const certificate = new X509Certificate(readFileSync(join(folder, 'example.org/fullchain.pem')))
  t.equal(statSync(join(folder, 'example.org/privkey.pem')).mode & 0o777, 0o600)
  t.equal(statSync(join(folder, 'example.org')).mode & 0o777, 0o700)
  t.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
  t.match(certificate.subjectAltName, /DNS:example\.org/)
  t.match(certificate.subjectAltName, /XmppAddr:example\.org/)
  t.match(certificate.subjectAltName, /SRVName:_xmpp-client\.example\.org/)
  t.ok(certificate.checkHost('example.org'))
  t.match(new X509Certificate(readFileSync(join(folder, 'xn--bcher-kva.example/fullchain.pem'))).subjectAltName,
    /DNS:xn--bcher-kva\.example/)
  const report = certificates.report()
  t.strictSame(report.map(({ domain, selfSigned, problems }) => ({ domain, selfSigned, problems })), [
    { domain: 'example.org', selfSigned: true, problems: [] },
    { domain: 'bücher.example', selfSigned: true, problems: [] },
  ])
  t.ok((report[0]?.notAfter ?? 0) > NOW + 9 * 365 * DAY)
  t.strictSame(said.map(({ event }) => event), ['certificate made', 'certificate made'])
  t.match(said[0], { fields: { domain: 'example.org', fingerprint: certificate.fingerprint256 } }, 'the log has the fingerprint that clients show')
  t.ok(same((await handshake(t, certificates, { servername: 'example.org' })).raw, certificate.raw))

  const again = await opened(t, ['example.org'], { folder })
  t.ok(same(again.certificates.contextFor('example.org').certificate, certificate.raw), 'it is the same after a restart')
})

t.test('each name gets its own certificate in a real handshake', async t => {
  const folder = join(temporaryFolder(t, { c: {} }), 'c')
  const pairs = {
    'example.org': await selfSigned('example.org', 'example.org', NOW),
    'wild': await selfSigned('*.example.org', '*.example.org', NOW),
    'chat.example.net': await selfSigned('chat.example.net', 'chat.example.net', NOW),
  }
  for (const [name, pair] of Object.entries(pairs)) write(join(folder, name), files(pair))
  const { certificates } = await opened(t, ['example.org', 'rooms.example.org', 'chat.example.net'], { folder })
  const expected: readonly (readonly [string | undefined, string | undefined, keyof typeof pairs])[] = [
    ['example.org', undefined, 'example.org'],
    ['EXAMPLE.ORG.', undefined, 'example.org'],
    ['rooms.example.org', undefined, 'wild'],
    ['a.rooms.example.org', undefined, 'example.org'],
    ['xample.org', undefined, 'example.org'],
    ['evil.net', 'chat.example.net', 'chat.example.net'],
    [undefined, 'chat.example.net', 'chat.example.net'],
    [undefined, undefined, 'example.org'],
    ['*', undefined, 'example.org'],
    ['', 'rooms.example.org', 'wild'],
  ]
  for (const [name, domain, folder] of expected) {
    const served = certificates.contextFor(name, domain)
    t.ok(same(served.certificate, certificateOf(pairs[folder].certificate)), `${name} of a stream to ${domain}: ${folder}`)
  }
  for (const [name, domain, folder] of expected.filter(([name]) => name === undefined || /^[a-z.]+$/.test(name))) {
    const { raw } = await handshake(t, certificates, name === undefined ? {} : { servername: name }, domain)
    t.ok(same(raw, certificateOf(pairs[folder].certificate)), `the handshake for ${name} shows ${folder}`)
  }
  t.equal(certificates.contextFor('rooms.example.org').context, certificates.contextFor('x.example.org').context,
    'one context for each certificate')
  await certificates.serve(['example.org', 'new.example.com'])
  t.match(new X509Certificate(certificates.contextFor('new.example.com').certificate).subjectAltName, /new\.example\.com/)
})

t.test('certificate files are found under the names that common tools give them', async t => {
  const first = await selfSigned('example.org', 'example.org', NOW)
  const other = await selfSigned('example.org', 'example.org', NOW)
  const layouts: Readonly<Record<string, Files>> = {
    'certbot': { 'cert.pem': first.certificate, 'chain.pem': '', 'fullchain.pem': first.certificate, 'privkey.pem': first.key,
      'README': '' },
    'plain': { 'cert.pem': first.certificate, 'key.pem': first.key },
    'lego': { 'example.org.crt': first.certificate, 'example.org.key': first.key, 'example.org.issuer.crt': other.certificate,
      'example.org.json': '{}' },
    'acme.sh': { 'fullchain.cer': first.certificate, 'example.org.cer': other.certificate, 'ca.cer': other.certificate,
      'example.org.key': first.key },
    'kubernetes': { 'tls.crt': first.certificate, 'tls.key': first.key },
    'lego, two domains': { 'a.crt': other.certificate, 'a.key': other.key, 'fullchain.pem': first.certificate, 'privkey.pem': first.key },
  }
  for (const [name, files] of Object.entries(layouts)) {
    const folder = join(temporaryFolder(t), 'c')
    rmSync(folder, { recursive: true, force: true })
    write(join(folder, 'example.org'), files)
    const { certificates } = await opened(t, ['example.org'], { folder })
    t.ok(same(certificates.contextFor('example.org').certificate, certificateOf(first.certificate)), name)
    t.strictSame(certificates.report()[0]?.problems, [], name)
    await certificates.close()
  }
})

t.test('a renewed certificate is noticed and used; half of a renewal is not', async t => {
  const folder = join(temporaryFolder(t, { c: {} }), 'c')
  const [first, second] = [await selfSigned('example.org', 'example.org', NOW), await selfSigned('example.org', 'example.org', NOW)]
  write(join(folder, 'archive'), { '1.pem': first.certificate, '1.key.pem': first.key, '2.pem': second.certificate,
    '2.key.pem': second.key })
  mkdirSync(join(folder, 'example.org'))
  const link = (name: string, to: string): void => {
    symlinkSync(join('..', 'archive', to), join(folder, 'example.org', `${name}.new`))
    renameSync(join(folder, 'example.org', `${name}.new`), join(folder, 'example.org', name))
  }
  link('privkey.pem', '1.key.pem')
  link('fullchain.pem', '1.pem')
  const { certificates, said } = await opened(t, ['example.org'], { folder, clock: systemClock })
  const before = certificates.contextFor('example.org')
  t.ok(same(before.certificate, certificateOf(first.certificate)))
  t.strictSame(said, [])

  let reloaded = certificates.reloaded()
  link('fullchain.pem', '2.pem')
  await reloaded
  t.equal(certificates.contextFor('example.org').context, before.context, 'a certificate without its key is not used')
  const problems = ['the earlier one stays in use: the key belongs to another certificate: put the key beside it for which it was issued']
  t.match(said, [{ event: 'certificate problem found', fields: { problems } }])

  reloaded = certificates.reloaded()
  link('privkey.pem', '2.key.pem')
  await reloaded
  t.ok(same(certificates.contextFor('example.org').certificate, certificateOf(second.certificate)), 'the pair is used')
  t.ok(same((await handshake(t, certificates, { servername: 'example.org' })).raw, certificateOf(second.certificate)))
  t.equal(said[1]?.event, 'certificate problem solved')

  const { context } = certificates.contextFor('example.org')
  await certificates.reload()
  t.equal(certificates.contextFor('example.org').context, context, 'an unchanged certificate keeps its context, and with it the session tickets')
})

t.test('whatever files the folder has, the server has a certificate and reports what is wrong', async t => {
  const good = await selfSigned('example.org', 'example.org', NOW)
  const other = await selfSigned('example.org', 'example.org', NOW)
  const standIn = 'a self-signed one is used instead: '
  const cases: readonly (readonly [string, Files, string | RegExp])[] = [
    ['the key of another', { 'fullchain.pem': good.certificate, 'privkey.pem': other.key },
      `${standIn}the key belongs to another certificate: put the key beside it for which it was issued`],
    ['no key', { 'fullchain.pem': good.certificate }, `${standIn}the certificate or its key is missing`],
    ['no certificate', { 'privkey.pem': good.key }, `${standIn}the certificate or its key is missing`],
    ['no PEM', { 'fullchain.pem': 'hello', 'privkey.pem': good.key }, /^a self-signed one is used instead: ./],
    ['half a file', { 'fullchain.pem': good.certificate.slice(0, 300), 'privkey.pem': good.key }, /^a self-signed one is used instead: ./],
    ['nothing in it', { 'fullchain.pem': '', 'privkey.pem': '' }, /^a self-signed one is used instead: ./],
    ['a file without end', { 'fullchain.pem': 'x'.repeat((1 << 20) + 1), 'privkey.pem': good.key }, `${standIn}fullchain.pem is too large`],
    ['another domain', files(await selfSigned('example.net', 'example.net', NOW)), 'it is not for this domain'],
    ['the domain above', files(await selfSigned('org', 'org', NOW)), 'it is not for this domain'],
    ['a wildcard for the domain below', files(await selfSigned('*.example.org', '*.example.org', NOW)), 'it is not for this domain'],
    ['an expired one', files(await selfSigned('example.org', 'example.org', NOW - 11 * 365 * DAY)), 'it has expired'],
    ['one of the future', files(await selfSigned('example.org', 'example.org', NOW + 2 * DAY)), 'it is not valid yet'],
  ]
  for (const [name, files, problem] of cases) {
    const folder = join(temporaryFolder(t), 'c')
    rmSync(folder, { recursive: true, force: true })
    write(join(folder, 'example.org'), files)
    const { certificates, said } = await opened(t, ['example.org'], { folder })
    const [report] = certificates.report()
    t.match(report?.problems, [problem], name)
    t.match(said, [{ event: 'certificate problem found', fields: { domain: 'example.org' } }], `${name} is logged`)
    t.ok((await handshake(t, certificates, { servername: 'example.org' })).raw, `${name}: TLS works`)
    for (const [file, text] of Object.entries(files)) t.equal(readFileSync(join(folder, 'example.org', file), 'utf8'), text,
      `${name}: ${file} is left alone`)
    const before = certificates.contextFor('example.org').certificate
    const isStandIn = report?.folder === undefined
    t.equal(said[0]?.fields['fingerprint'], isStandIn ? new X509Certificate(before).fingerprint256 : undefined, `${name}: the fingerprint of a stand-in is logged`)
    await certificates.reload()
    t.ok(same(certificates.contextFor('example.org').certificate, Buffer.from(before)), `${name}: the same after a reload`)
    t.equal(said.length, 1, `${name} is logged once`)
    await certificates.close()
  }
})

t.test('a self-signed certificate is replaced by the first pair that works', async t => {
  const folder = join(temporaryFolder(t, { c: {} }), 'c')
  const good = await selfSigned('example.org', 'example.org', NOW)
  write(join(folder, 'example.org'), { 'fullchain.pem': good.certificate })
  const { certificates } = await opened(t, ['example.org'], { folder })
  t.equal(certificates.report()[0]?.folder, undefined)
  write(join(folder, 'example.org'), files(good))
  await certificates.reload()
  t.ok(same(certificates.contextFor('example.org').certificate, certificateOf(good.certificate)))
  t.equal(certificates.report()[0]?.folder, join(folder, 'example.org'))

  rmSync(join(folder, 'example.org'), { recursive: true })
  await certificates.reload()
  t.ok(same(certificates.contextFor('example.org').certificate, certificateOf(good.certificate)), 'a folder that is gone keeps its certificate')
  t.match(certificates.report()[0]?.problems, ['the earlier one stays in use: the files are gone'])
})

t.test('if the folder cannot be written, the certificate stays in memory', async t => {
  const root = temporaryFolder(t, { c: {}, taken: 'a file' })
  const { certificates, said } = await opened(t, ['example.org'], { folder: join(root, 'taken') })
  t.ok((await handshake(t, certificates)).raw)
  t.match(said.map(({ event }) => event), ['certificate not stored', 'certificate problem found'])
  const { certificate } = certificates.contextFor('example.org')
  await certificates.reload()
  t.ok(same(certificates.contextFor('example.org').certificate, Buffer.from(certificate)))
})

t.test('a certificate that expires soon and a key that anyone may read are reported', async t => {
  const clock = new FakeClock(NOW)
  const { folder, certificates, said } = await opened(t, ['example.org'], { clock })
  const { notAfter } = certificates.report()[0] ?? { notAfter: 0 }
  clock.pass(notAfter - NOW - 20 * DAY)
  t.strictSame(said.length, 1, 'nothing while there is time')
  clock.pass(10 * DAY)
  t.match(said.at(-1), { event: 'certificate problem found' })
  t.match(certificates.report()[0]?.problems, [/^it expires in 1\d days$/])
  clock.pass(20 * DAY)
  t.match(said.at(-1)?.fields.problems, ['it has expired'])
  chmodSync(join(folder, 'example.org/privkey.pem'), 0o644)
  await certificates.reload()
  t.match(said.at(-1)?.fields.problems, ['it has expired', 'anyone on this machine may read its key'])
  await certificates.close()
  t.equal(clock.timers, 0)
})

t.test('TLS 1.2 and 1.3 with forward secrecy are accepted, and the conf may require 1.3', async t => {
  const { folder, certificates } = await opened(t, ['example.org'])
  t.equal((await handshake(t, certificates)).protocol, 'TLSv1.3')
  const old = await handshake(t, certificates, { maxVersion: 'TLSv1.2' })
  t.equal(old.protocol, 'TLSv1.2')
  t.match(old.cipher, /^ECDHE-ECDSA-.*(GCM|POLY1305)/)
  await t.rejects(handshake(t, certificates, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' }))
  await t.rejects(handshake(t, certificates, { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA:ECDHE-ECDSA-AES128-SHA@SECLEVEL=0' }),
    'no CBC, no RSA key exchange')
  const ordered = await handshake(t, certificates, { maxVersion: 'TLSv1.2',
    ciphers: 'ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256' })
  t.equal(ordered.cipher, 'ECDHE-ECDSA-AES128-GCM-SHA256', 'the server\'s order of ciphers counts')
  const strict = await opened(t, ['example.org'], { folder, oldest: 'TLSv1.3' })
  await t.rejects(handshake(t, strict.certificates, { maxVersion: 'TLSv1.2' }))
})

t.test('a client cannot renegotiate', async t => {
  const { certificates } = await opened(t, ['example.org'])
  const { client, server } = await connected(t, certificates, { maxVersion: 'TLSv1.2' })
  server.resume()
  const error = await new Promise<Error | null>(resolve => {
    client.once('error', resolve)
    client.renegotiate({ rejectUnauthorized: false }, resolve)
  })
  t.match(error, { message: /no.renegotiation/i })
  client.destroy()
  server.destroy()
})

t.test('a TLS session is resumed, also if clients are asked for certificates', async t => {
  const root = temporaryFolder(t, { authorities: {} })
  write(join(root, 'authorities'), { 'ca.pem': (await makeAuthority('authority')).certificate,
    'not-one.pem': (await selfSigned('a', 'a', NOW)).certificate, 'notes.txt': '', 'junk.crt': BROKEN })
  const { certificates, said } = await opened(t, ['example.org'], { folder: join(root, 'c'), authorities: join(root, 'authorities') })
  t.ok(certificates.asksClients)
  const refused = said.filter(({ event }) => event === 'authority refused').map(({ fields }) => basename(String(fields.file)))
  t.strictSame(refused, ['junk.crt', 'not-one.pem'])
  const first = await connected(t, certificates, { maxVersion: 'TLSv1.2' })
  const session = first.client.getSession()
  first.client.destroy()
  first.server.destroy()
  const second = await connected(t, certificates, { maxVersion: 'TLSv1.2', ...session === undefined ? {} : { session } })
  t.ok(second.client.isSessionReused())
  second.client.destroy()
  second.server.destroy()

  const empty = await opened(t, ['example.org'], { folder: join(root, 'c'), authorities: join(root, 'nowhere') })
  t.notOk(empty.certificates.asksClients)
  t.match(empty.said.map(({ event }) => event), ['client certificates not requested'])
})

t.test('a client certificate is trusted only if an authority of the conf issued it', async t => {
  const root = temporaryFolder(t, { authorities: {} })
  const [ours, theirs] = [await makeAuthority('authority'), await makeAuthority('authority')]
  write(join(root, 'authorities'), { 'ca.pem': ours.certificate })
  const { certificates } = await opened(t, ['example.org'], { folder: join(root, 'c'), authorities: join(root, 'authorities') })
  const wanted = { addresses: ['romeo@example.org'] }
  const own = await selfSigned('example.org', 'example.org', NOW)
  const clients = [
    [await ours.issue(wanted), true], [await theirs.issue(wanted), false], [own, false], [undefined, false],
  ] as const
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const [pair, expected] of clients) {
      const { client, server } = await connected(t, certificates,
        { maxVersion, ...pair === undefined ? {} : { cert: pair.certificate, key: pair.key } })
      client.write('x')
      await once(server, 'data')
      t.equal(isVerified(server), expected)
      if (expected && pair !== undefined) {
        t.ok(same(server.getPeerX509Certificate()?.raw, certificateOf(pair.certificate)))
      }
      client.destroy()
      server.destroy()
    }
  }
})

/**
 * True if the peer's certificate was verified. Only tls.Server sets `authorized`; a wrapped socket keeps the verdict in
 * its handle.
 */
function isVerified (socket: TLSSocket): boolean {
  const handle: unknown = Reflect.get(socket, '_handle')
  if (typeof handle !== 'object' || handle === null) throw new Error('the socket is closed')
  const verifyError: unknown = Reflect.get(handle, 'verifyError')
  if (typeof verifyError !== 'function') throw new Error('Node has changed')
  return Reflect.apply(verifyError, handle, []) === null && socket.getPeerX509Certificate() !== undefined
}

const BROKEN = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
