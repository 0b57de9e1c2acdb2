/** A conf file lists only what differs from the defaults. */
import t, { type Test } from 'tap'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe } from '../../lib/config/describe.js'
import { loadConfig, type Config } from '../../lib/config/load.js'
import { findModules, ordered } from '../../lib/host/loader.js'
import { HOST } from './conf.js'
import { temporaryFolder } from '../temporary-folder.js'

const modules = await findModules(fileURLToPath(new URL('../../modules/', import.meta.url)))

function load (t: Test, text: string): Config {
  return loadConfig(join(temporaryFolder(t, { 'sestina.toml': text }), 'sestina.toml'), modules)
}

const namesIn = (config: Config): readonly string[] => [...config.hosts.get('example.org')?.modules.keys() ?? []]

function problems (t: Test, text: string): string {
  try {
    load(t, text)
  } catch (error) {
    return String(error).replaceAll(/(?<=^|also at |Error: )\S*sestina\.toml/gm, 'sestina.toml').replace('Error: ', '')
  }
  return ''
}

t.test('a conf file that names one module makes a complete server: every other module keeps its default', t => {
  const usual = namesIn(load(t, HOST))
  t.ok(['roster', 'presence', 'message', 'mam', 'disco', 'contact-addresses', 'limits'].every(name => usual.includes(name)))
  t.notOk(usual.includes('register'))
  t.same(namesIn(load(t, `[modules]\nmam = { expire = "30d" }\n${HOST}`)), usual)
  t.same(namesIn(load(t, `[modules]\ncontact-addresses = { abuse = ["mailto:abuse@example.org"] }\n${HOST}`)), usual)
  t.same(namesIn(load(t, `${HOST}[host."example.org".modules]\nregister = true\n`)).filter(name => !usual.includes(name)), ['register'])
  t.same(namesIn(load(t, `[modules]\ncsi = false\n${HOST}`)), usual.filter(name => name !== 'csi'))
  t.same(namesIn(load(t, `[modules]\ncsi = false\n${HOST}[host."example.org".modules]\ncsi = true\n`)), usual)
  for (const settings of ['', '[modules]\nmam = false\n']) {
    const wanted = [...load(t, `${settings}${HOST}`).hosts.values()].flatMap(host => [...host.modules].flatMap(([name, settings]) => {
      const module = modules.get(name)
      return module === undefined ? [] : [{ module, settings }]
    }))
    t.doesNotThrow(() => ordered(wanted), 'each finds what it requires')
  }
  t.end()
})

t.test('a module that is on by default says so in its description', t => {
  const rows = describe(load(t, `[modules]\nmam = true\n${HOST}`))
  t.match(rows.find(({ path }) => path === 'host."example.org".modules.roster'), { value: 'true', from: 'default' })
  t.match(rows.find(({ path }) => path === 'host."example.org".modules.mam'), { value: 'true', from: /sestina\.toml:2:1$/ })
  t.end()
})

/** The modules that are on by default and require `disco`, in the order of the report. */
const REQUIRE_DISCO = ['bookmarks', 'caps', 'contact-addresses', 'external-services', 'pep']

t.test('a module that is off although others require it is reported, with its place and each of the others', t => {
  t.equal(
    problems(t, `[modules]\ndisco = false\n${HOST}[host."second.example"]\n`),
    REQUIRE_DISCO.map(name => `sestina.toml:2:1: disco is off, and ${name} requires it: turn disco on, or ${name} off as well (${name} = false)`).join('\n'),
  )
  t.equal(problems(t, `[modules]\n${[...REQUIRE_DISCO, 'account-subscriptions', 'displayed', 'disco'].map(name => `${name} = false\n`).join('')}${HOST}`), '')
  t.match(problems(t, `${HOST}[host."example.org".modules]\nmessage = false\n`), /^sestina\.toml:3:1: message is off, and offline requires it/)
  t.end()
})

t.test('an administrator without a domain is reported, because it has to be an account', t => {
  t.match(problems(t, `${HOST}admins = ["romeo"]\n`),
    /^sestina\.toml:2:11: host\."example\.org"\.admins\[0\]: 'romeo' is not the address of an account, with its domain, such as "romeo@example\.org"/)
  t.same(load(t, `${HOST}admins = ["romeo@example.org"]\n`).hosts.get('example.org')?.admins, ['romeo@example.org'])
  t.end()
})

t.test('a domain without quotes is reported with the quoted form', t => {
  t.equal(problems(t, `${HOST}[host.two.example]\nadmins = []\n`),
    'sestina.toml:2:11: [host.two.example] is not a host: write the domain in quotes, [host."two.example"]')
  t.equal(problems(t, `${HOST}[host.chat.two.example]\n[host.chat.two.example.modules]\nmam = false\n`),
    'sestina.toml:2:16: [host.chat.two.example] is not a host: write the domain in quotes, [host."chat.two.example"]')
  t.match(problems(t, '[host.localhost]\nadmin = []\n'), /host\.localhost has no setting 'admin'; did you mean 'admins'/)
  t.end()
})

t.test('a duplicate table or setting is reported with both places', t => {
  const cases: readonly (readonly [text: string, wanted: string])[] = [
    [`${HOST}${HOST}`, 'sestina.toml:2:2: [host."example.org"] is set twice: also at sestina.toml:1:7'],
    ['[modules]\nmam = true\ncsi = true\nmam = false\n', 'sestina.toml:4:1: modules.mam is set twice: also at sestina.toml:2:1'],
    ['[modules]\nmam = true\n[modules.mam]\nexpire = "1d"\n', 'sestina.toml:3:2: [modules.mam] is set twice: also at sestina.toml:2:1'],
    ['[[listen]]\nport = 1\n[[listen]]\nport = 2\nport = 3\n', 'sestina.toml:5:1: listen[1].port is set twice: also at sestina.toml:4:1'],
    ['data = "a"\ndata = "b"\n', 'sestina.toml:2:1: data is set twice: also at sestina.toml:1:1'],
  ]
  for (const [text, wanted] of cases) t.equal(problems(t, text), `${wanted}; put both together in one place`, text)
  t.match(problems(t, '[modules]\nmam = { expire = "1d", expire = "2d" }\n'), /^sestina\.toml:2:24: this is not TOML: trying to redefine/)
  t.end()
})
