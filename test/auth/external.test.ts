import t from 'tap'
import { createHash } from 'node:crypto'
import { GeneralName } from '@peculiar/asn1-x509'
import { channelBindings, endPointHash } from '../../lib/auth/channel-binding.js'
import { certifiedAccounts, xmppAddresses } from '../../lib/auth/external.js'
import { start } from '../../lib/auth/mechanisms.js'
import { makeAuthority, otherName, signedEveryWay, utf8 } from './authority.js'
import { outcome, ROMEO, settled, romeoStage } from './stage.js'

t.test('a certificate proves the XMPP addresses that it names, and no name that only looks like one', async t => {
  const { accounts } = await romeoStage()
  const authority = await makeAuthority('authority')
  const name = 'romeo@example.org'
  const rows: readonly (readonly [string, Parameters<typeof authority.issue>[0], readonly string[]])[] = [
    ['a common name', { subject: `CN=${name}` }, []],
    ['an organisational unit that looks like a common name', { subject: `CN=x, OU="CN=${name},"` }, []],
    ['a mail address', { names: [new GeneralName({ rfc822Name: name })] }, []],
    ['a DNS name', { names: [new GeneralName({ dNSName: name })] }, []],
    ['a URI', { names: [new GeneralName({ uniformResourceIdentifier: `xmpp:${name}` })] }, []],
    ['another kind of other name', { names: [otherName('1.3.6.1.4.1.311.20.2.3', utf8(name))] }, []],
    ['an IA5String', { addresses: [utf8(name, 0x16)] }, []],
    ['a NUL at the end', { addresses: [`${name}\0`] }, []],
    ['a NUL within', { addresses: [`romeo@example.org\0.evil.net`, `romeo\0@example.org`] }, []],
    ['a line break', { addresses: [`${name}\n`] }, []],
    ['bytes that are not UTF-8', { addresses: [utf8(Buffer.from('rom\xe9o@example.org', 'latin1'))] }, []],
    ['an overlong slash', { addresses: [utf8(Buffer.from('romeo@example.org\xc0\xaf', 'latin1'))] }, []],
    ['a length beyond the end', { addresses: [Buffer.from([0x0c, 0x02, 0x61])] }, []],
    ['a length without need of its form', { addresses: [Buffer.concat([Buffer.from([0x0c, 0x81, name.length]), Buffer.from(name)])] }, []],
    ['an empty one', { addresses: [''] }, []],
    ['a resource', { addresses: [`${name}/orchard`] }, []],
    ['a domain', { addresses: ['example.org'] }, []],
    ['another domain', { addresses: ['romeo@example.net', 'romeo@example.org.evil.net', 'romeo@evilexample.org'] }, []],
    ['a wildcard', { addresses: ['*@example.org', 'romeo@*.org'] }, ['*@example.org']],
    ['no address at all', { addresses: ['romeo@@example.org', 'ro meo@example.org', '@example.org',
      `${'a'.repeat(4000)}@example.org`] }, []],
    ['the extension twice', { addresses: [name], times: 2 }, []],
    ['endless names', { addresses: Array.from({ length: 65 }, (_, index) => `user${index}@example.org`) }, []],
    ['an address', { addresses: [name] }, [name]],
    ['an address in other letters', { addresses: ['ROMEO@Example.Org', name] }, [name]],
    ['a long address', { addresses: [`${'a'.repeat(200)}@example.org`, `${'b'.repeat(400)}@example.org`] },
      [`${'a'.repeat(200)}@example.org`, `${'b'.repeat(400)}@example.org`]],
    ['an international address', { addresses: ['jürgen@example.org'] }, ['jürgen@example.org']],
    ['two of our addresses, and others', { names: [new GeneralName({ dNSName: 'x' })],
      addresses: [name, 'juliet@example.org', 'a@example.net'] }, [name, 'juliet@example.org']],
  ]
  for (const [what, wanted, expected] of rows) {
    const { der } = await authority.issue(wanted)
    t.strictSame(certifiedAccounts(der, accounts).map(String), expected, what)
  }
  for (const junk of [Buffer.alloc(0), Buffer.from('hello'), Buffer.from([0x30, 0x80]),
    (await authority.issue({ addresses: [name] })).der.subarray(0, 200)]) {
    t.strictSame(xmppAddresses(junk), [])
  }
})

t.test('EXTERNAL accepts the addresses that the certificate names, as in XEP-0178', async t => {
  const authority = await makeAuthority('authority')
  const one = (await authority.issue({ addresses: ['romeo@example.org', 'romeo@example.net'] })).der
  const two = (await authority.issue({ addresses: ['romeo@example.org', 'juliet@example.org'] })).der
  const gone = (await authority.issue({ addresses: ['mercutio@example.org'] })).der
  const { accounts, context } = await romeoStage()
  const rows: readonly (readonly [Uint8Array | undefined, string | Uint8Array, string])[] = [
    [one, '', 'romeo@example.org'],
    [one, 'romeo@example.org', 'romeo@example.org'],
    [one, 'romeo@example.net', 'invalid-authzid'],
    [one, 'juliet@example.org', 'invalid-authzid'],
    [one, 'romeo@example.org\0', 'malformed-request'],
    [one, Buffer.from([0xff]), 'malformed-request'],
    [one, 'x'.repeat(5000), 'malformed-request'],
    [two, '', 'invalid-authzid'],
    [two, 'romeo@example.org', 'romeo@example.org'],
    [two, 'juliet@example.org', 'not-authorized'],
    [gone, '', 'not-authorized'],
    [undefined, '', 'not-authorized'],
    [undefined, 'romeo@example.org', 'not-authorized'],
  ]
  const advertised = { mechanisms: ['EXTERNAL'], bindings: undefined }
  for (const [certificate, identity, expected] of rows) {
    const step = await start('EXTERNAL', { ...context, certificate }, advertised).step(Buffer.from(identity))
    t.equal(settled(step), expected, `${certificate?.length} as "${identity.toString().slice(0, 40)}"`)
  }
  await accounts.lock(ROMEO, 'spam')
  t.equal(outcome(await start('EXTERNAL', { ...context, certificate: one }, advertised).step(Buffer.from(''))), 'account-disabled')
})

// ---- Channel binding ------------------------------------------------------------------

t.test('tls-exporter binds TLS 1.3, and tls-server-end-point hashes the certificate with the hash of its signature', async t => {
  const asked: unknown[] = []
  const exporter = (label: string, length: number): Uint8Array => {
    asked.push([label, length])
    return Buffer.alloc(length, 7)
  }
  const certificates = await signedEveryWay()
  const certificate = certificates.get('ECDSA with SHA-384') ?? Buffer.alloc(0)
  const bindings = channelBindings({ protocol: 'TLSv1.3', certificate, exporter })
  t.strictSame(bindings.map(({ type }) => type), ['tls-exporter', 'tls-server-end-point'])
  t.strictSame(asked, [], 'the exporter runs only on request')
  t.strictSame(bindings.map(binding => Buffer.from(binding.bytes()).toString('hex')), [
    '07'.repeat(32), createHash('sha384').update(certificate).digest('hex'),
  ])
  t.strictSame(asked, [['EXPORTER-Channel-Binding', 32]], 'RFC 9266 §2')
  const finished = channelBindings({ protocol: 'TLSv1.3', certificate, exporter, firstFinished: () => Buffer.from('finished') }).at(-1)
  t.equal(finished?.type, 'tls-unique')
  t.equal(finished?.announced, false, 'tls-unique is not announced')
  t.strictSame(finished?.bytes(), Buffer.from('finished'))
  t.strictSame(channelBindings({ protocol: 'TLSv1.2', certificate, exporter }).map(({ type }) => type), ['tls-server-end-point'])
  const edwards = certificates.get('Ed25519') ?? Buffer.alloc(0)
  t.strictSame(channelBindings({ protocol: 'TLSv1.3', certificate: edwards, exporter }).map(({ type }) => type), ['tls-exporter'])
  t.equal(certificates.size, 12)
  for (const [name, der] of certificates) {
    // RFC 5929 §4.1: SHA-256 replaces SHA-1.
    const hash = /SHA-(\d+)/.exec(name)?.[1]
    t.equal(endPointHash(der), hash === undefined ? undefined : `sha${hash === '1' ? '256' : hash}`, name)
  }
  const md5 = Buffer.from(Buffer.from(certificates.get('RSA with SHA-1') ?? []).toString('hex').replaceAll('2a864886f70d010105',
    '2a864886f70d010104'), 'hex')
  t.equal(endPointHash(md5), 'sha256', 'SHA-256 also replaces MD5')
})
