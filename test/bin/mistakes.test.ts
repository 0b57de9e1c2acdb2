/**
 * Typical mistakes in a conf for two domains with certificates. Each is reported with its place and a remedy, as
 * docs/operating.md shows.
 */
import { createPrivateKey } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { GeneralName } from '@peculiar/asn1-x509'
import t, { type Test } from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { findingsOn } from '../../lib/check.js'
import { loadConfig } from '../../lib/config/load.js'
import { ConfigProblems, writePlace } from '../../lib/config/problem.js'
import { findModules } from '../../lib/main.js'
import { selfSigned } from '../../lib/stream/self-signed.js'
import { makeAuthority } from '../auth/authority.js'
import { freePorts, Program } from '../interop/process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

const modules = await findModules(join(PACKAGE_ROOT, 'dist', 'modules'))
const [port = 0] = await freePorts(1)
const day = 86_400_000
const [one, two, old] = await Promise.all([
  selfSigned('one.example', 'one.example', Date.now()), selfSigned('two.example', 'two.example', Date.now()),
  selfSigned('two.example', 'two.example', Date.parse('2010-01-01') + 12 * 3_600_000 - day),
])
const authority = await makeAuthority('above')
const issued = await authority.issue({ subject: 'CN=two.example', names: [new GeneralName({ dNSName: 'two.example' })], days: [-1, 60] })

const RIGHT = `data = "data"
[[listen]]
for = "clients"
port = ${port}
address = ["127.0.0.1"]
[limits]
idleTimeout = "1d"
[modules]
mam = { expire = "1y" }
[host."one.example"]
admins = ["romeo@one.example"]
[host."two.example"]
`

interface Place { readonly t: Test, readonly folder: string, readonly of: (domain: string, file: string) => string }

function place (t: Test): Place {
  const folder = temporaryFolder(t)
  const of = (domain: string, file: string): string => join(folder, 'data', 'certificates', domain, file)
  for (const [domain, pair] of [['one.example', one], ['two.example', two]] as const) {
    mkdirSync(join(folder, 'data', 'certificates', domain), { recursive: true })
    writeFileSync(of(domain, 'fullchain.pem'), pair.certificate)
    writeFileSync(of(domain, 'privkey.pem'), pair.key, { mode: 0o600 })
  }
  writeFileSync(join(folder, 'sestina.toml'), RIGHT)
  return { t, folder, of }
}

/** Returns what `check` reports, with /etc/sestina as the folder and 5222 as the port. */
async function told (folder: string): Promise<string> {
  const file = join(folder, 'sestina.toml')
  const said = await problemsIn(file)
  return said.map(({ place, text, level }) => `${writePlace(place)}: ${level === 'warning' ? 'warning: ' : ''}${text}`).join('\n')
    .replaceAll(folder, '/etc/sestina').replaceAll(String(port), '5222')
}

async function problemsIn (file: string): ReturnType<typeof findingsOn> {
  try {
    return await findingsOn(loadConfig(file, modules), modules, false)
  } catch (error) {
    if (!(error instanceof ConfigProblems)) throw error
    return error.problems.map(problem => ({ ...problem, level: 'error' }))
  }
}

const writes = (change: (text: string) => string) => ({ folder }: Place): void => { writeFileSync(join(folder, 'sestina.toml'), change(RIGHT)) }
const adds = (text: string) => writes(before => before + text)

const MISTAKES: readonly (readonly [mistake: string, make: (place: Place) => void | Promise<void>])[] = [
  ['a wrong type', adds('[federation]\nconnectionsPerAddress = "many"\n')],
  ['an unknown setting', adds('admin = []\n')],
  ['a wrong path', writes(text => text.replace('"data"', '"sestina.toml/data"').replace('[limits]', '[tls]\ncertificates = "data/certificates"\n[limits]'))],
  ['a bad unit', writes(text => text.replace('1d', '1 day'))],
  ['a table that is there twice', adds('[host."one.example"]\n')],
  ['a port in use', async ({ t }) => {
    const other = createServer()
    await new Promise<void>(resolve => { other.listen(port, '127.0.0.1', resolve) })
    t.teardown(() => new Promise<void>(resolve => { other.close(() => { resolve() }) }))
  }],
  ['no certificate', ({ of }) => { rmSync(of('two.example', ''), { recursive: true }) }],
  ['an expired certificate', ({ of }) => {
    writeFileSync(of('two.example', 'fullchain.pem'), old.certificate)
    writeFileSync(of('two.example', 'privkey.pem'), old.key)
  }],
  ['the certificate of another domain', ({ of }) => {
    writeFileSync(of('two.example', 'fullchain.pem'), one.certificate)
    writeFileSync(of('two.example', 'privkey.pem'), one.key)
  }],
  ['the key of another certificate', ({ of }) => { writeFileSync(of('two.example', 'privkey.pem'), one.key) }],
  ['a certificate without a key', ({ of }) => { rmSync(of('two.example', 'privkey.pem')) }],
  ['a key with a passphrase', ({ of }) => {
    const locked = createPrivateKey(two.key).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
    writeFileSync(of('two.example', 'privkey.pem'), locked)
  }],
  ['a chain in the wrong order', ({ of }) => {
    writeFileSync(of('two.example', 'fullchain.pem'), `${authority.certificate}\n${issued.certificate}\n`)
    writeFileSync(of('two.example', 'privkey.pem'), issued.key)
  }],
  ['a file that cannot be read', writes(text => `include = ["more.toml"]\n${text}`)],
  ['a domain without quotes', writes(text => text.replace('"two.example"', 'two.example'))],
  ['an administrator without a domain', writes(text => text.replace('romeo@one.example', 'romeo'))],
  ['a module that is there twice', writes(text => text.replace('[host."one', 'mam = false\n[host."one'))],
  ['a module that is off and required', writes(text => text.replace('[modules]', '[modules]\nmessage = false'))],
  ['broken TOML', writes(text => text.replace('"romeo@one.example"]', '"romeo@one.example]'))],
  ['PostgreSQL that cannot be reached', ({ folder }) => {
    writeFileSync(join(folder, 'database'), `postgres://sestina:secret@127.0.0.1:${port}/sestina`)
    adds('[storage]\ndriver = "postgres"\nurl = { file = "database" }\n')({ folder, t, of: () => '' })
  }],
]

t.test('each of twenty typical mistakes is reported with its place and a remedy, as docs/operating.md shows', async t => {
  t.equal(await told(place(t).folder), '', 'a right conf has no problem')
  const page = readFileSync(join(PACKAGE_ROOT, 'docs', 'operating.md'), 'utf8')
  const shown = new Map([...page.matchAll(/^\| (.+?) \| `(.+)` \|$/gm)].map(([, mistake = '', said = '']) => [mistake, said]))
  for (const [mistake, make] of MISTAKES) {
    await t.test(mistake, async t => {
      const here = place(t)
      await make(here)
      const said = await told(here.folder)
      t.equal(shown.get(mistake), said)
      t.notMatch(said, /secret/)
    })
  }
})

t.test('a problem that makes a server useless ends the check with 78, and a warning alone does not', async t => {
  const here = place(t)
  const checks = async (...words: readonly string[]): Promise<Program> => {
    const program = new Program(process.execPath, [SESTINA, 'check', join(here.folder, 'sestina.toml'), ...words], { input: '' })
    await program.ended
    return program
  }
  rmSync(here.of('two.example', ''), { recursive: true })
  const warned = await checks()
  t.equal(await warned.ended, 0)
  t.match(warned.said, /sestina\.toml:12:7: warning: there is no certificate for two\.example[^]* is fine, with one warning\n/)
  writeFileSync(here.of('one.example', 'privkey.pem'), two.key)
  const refused = await checks('--json')
  t.equal(await refused.ended, 78)
  t.match(JSON.parse(refused.said), { problems: [{ place: /:10:7$/, level: 'error', text: /the key belongs to another certificate/ }, { level: 'warning' }] })
})

t.test('rooms that only users of this server reach need no certificate, and others do', async t => {
  const here = place(t)
  const rooms = '[host."conference.one.example"]\nservice = "muc"\n'
  const conf = join(here.folder, 'sestina.toml')
  const [serverPort = 0] = await freePorts(1)
  const federated = RIGHT.replace('[limits]', `[[listen]]\nfor = "servers"\nport = ${serverPort}\naddress = ["127.0.0.1"]\n[limits]`)
  writeFileSync(conf, RIGHT + rooms)
  t.equal(await told(here.folder), '')
  writeFileSync(conf, federated + rooms)
  t.match(await told(here.folder), /warning: there is no certificate for conference\.one\.example: /)
  writeFileSync(conf, `${federated}${rooms}federation = "off"\n`)
  t.equal(await told(here.folder), '')
})

t.test('a certificate chain whose other certificates are not the issuers of the first is reported', async t => {
  const here = place(t)
  writeFileSync(here.of('two.example', 'fullchain.pem'), `${issued.certificate}\n${one.certificate}\n`)
  writeFileSync(here.of('two.example', 'privkey.pem'), issued.key)
  t.match(await told(here.folder), /two\.example\/fullchain\.pem has its chain in the wrong order: after each certificate has to come that of its issuer$/)
  writeFileSync(here.of('two.example', 'fullchain.pem'), `${issued.certificate}\n${authority.certificate}\n`)
  t.equal(await told(here.folder), '')
})

t.test('the exit code says whether DNS is right', async t => {
  const here = place(t)
  const program = new Program(process.execPath, [SESTINA, 'check', join(here.folder, 'sestina.toml'), '--dns', '--resolver', '127.0.0.1:1', '--json'], { input: '' })
  t.equal(await program.ended, 1)
  t.match(JSON.parse(program.said), [{ record: /^_xmpp-client\._tcp\.one\.example\. /, verdict: 'DNS did not answer' }, {}])
})
