/** The conf file: its syntax and defaults, the problems that the operator reads, and the settings in force. */
import t from 'tap'
import fc from 'fast-check'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from '../../lib/config/describe.js'
import { loadConfig } from '../../lib/config/load.js'
import { ConfigProblems } from '../../lib/config/problem.js'
import { conf, HOST, load, MODULES, problemsOf } from './conf.js'
import { temporaryFolder } from '../temporary-folder.js'

t.test('the smallest conf file names a host, and every other setting has a default', async t => {
  const folder = conf(t, HOST)
  const { server, hosts, file } = loadConfig(join(folder, 'sestina.toml'), MODULES)
  t.equal(file, join(folder, 'sestina.toml'))
  t.same(server, {
    data: join(folder, 'data'),
    log: { level: 'info', format: 'auto' },
    storage: { driver: 'sqlite', durability: 'disk' },
    tls: { certificates: join(folder, 'data/certificates'), minVersion: 'TLSv1.2' },
    listen: [
      { for: 'clients', port: 5222, address: ['::', '0.0.0.0'], tls: 'required', maxStanzaSize: 262_144 },
      { for: 'clients', port: 5223, address: ['::', '0.0.0.0'], tls: 'direct', maxStanzaSize: 262_144 },
    ],
    authentication: {
      mechanisms: [
        'EXTERNAL', 'SCRAM-SHA-512-PLUS', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN',
      ],
      iterations: 10_000,
      minPasswordLength: 8,
      fast: true,
      tokenLifetime: 21 * 86_400_000,
      attempts: 10,
      failureDelay: 1000,
      forgetFailuresAfter: 600_000,
    },
    limits: {
      negotiationTimeout: 30_000,
      keepalive: 300_000,
      idleTimeout: 86_400_000,
      connectionsPerAddress: 100,
      sessionsPerAccount: 20,
      resourceConflict: 'replace',
      unauthenticated: { maxStanzaSize: 10_000, maxElements: 64 },
    },
    federation: {
      trust: 'certificate',
      domain: {},
      resolver: [],
      dane: false, privateRanges: [],
      queue: { stanzas: 1000, bytes: 1_048_576, timeout: 30_000 },
      idleTimeout: 600_000,
      connectionsPerAddress: 50,
    },
  })
  t.same([...hosts.values()], [{ domain: 'example.org', admins: [], federation: 'all', partners: [], modules: new Map() }])
})

t.test('a host has the settings of all hosts, except those that it sets itself', async t => {
  const { hosts } = load(t, `
    [modules]
    carbons = true
    roster = false
    offline = { keep = 50 }
    mam = { retain = "2y", default = "never" }
    push = false
    [host.a]
    admins = ["romeo@a"]
    [host.b.modules]
    carbons = false
    roster = true
    offline = true
    mam = { retain = "30d" }
    push = { service = "push.b", retry = { wait = "1m" } }
    [host.c.modules]
    mam = false
    roster = {}
  `)
  const modules = (domain: string): unknown => Object.fromEntries(hosts.get(domain)?.modules ?? [])
  t.same(hosts.get('a')?.admins, ['romeo@a'])
  t.same(modules('a'), { carbons: {}, offline: { keep: 50, expire: 2_592_000_000 }, mam: { retain: 63_072_000_000, default: 'never' } })
  t.same(modules('b'), {
    roster: {},
    offline: { keep: 50, expire: 2_592_000_000 },
    mam: { retain: 2_592_000_000, default: 'never' },
    push: { service: 'push.b', retry: { attempts: 3, wait: 60_000 } },
  })
  t.same(modules('c'), { carbons: {}, roster: {}, offline: { keep: 50, expire: 2_592_000_000 } })
})

t.test('a required setting may be set at each host', async t => {
  const { hosts } = load(t, '[modules]\npush = { retry = { wait = "1s" } }\n[host.a.modules]\npush = { service = "push.a" }\n')
  t.match(hosts.get('a')?.modules.get('push'), { service: 'push.a', retry: { attempts: 3, wait: 1000 } })
})

t.test('all problems are reported at once, each with its place and a remedy', async t => {
  t.same(problemsOf(t, `
data = 5
lgo = { level = "info" }

[log]
level = "wran"
fromat = "json"

[storage]
driver = "postgres"
durability = true

[[listen]]
for = "clients"
port = 5222

[[listen]]
for = "everybody"
port = 99999
address = "::"

[[listen]]
tls = "none"

[modules]
roster = "yes"
caarbons = true
offline = { keep = 200, expire = "1 yeer" }
mam = { retian = "1y", retain = "1h" }
push = { retry = { atempts = 3 } }

[host."example.org"]
admins = ["romeo@example.org", "romeo montague"]
admin = 3

[host."example.org".modules]
ofline = false
mam = { default = 3 }

[host]
montague = true
"capulet lit" = { modules = [] }
`), [
    'sestina.toml:2:8: data: 5 is not a path in quotes',
    "sestina.toml:3:1: there is no setting 'lgo'; did you mean 'log'?",
    "sestina.toml:6:9: log.level: 'wran' is not one of debug, info, warn, error; did you mean 'warn'?",
    "sestina.toml:7:1: log has no setting 'fromat'; did you mean 'format'?",
    'sestina.toml:11:14: storage.durability: true is not one of disk, os',
    "sestina.toml:18:7: listen[1].for: 'everybody' is not one of clients, servers, web, components, monitors",
    'sestina.toml:19:8: listen[1].port: 99999 is more than 65535',
    "sestina.toml:20:11: listen[1].address: '::' is not a list, in [ and ]",
    'sestina.toml:22:1: listen[2].for is missing',
    'sestina.toml:22:1: listen[2].port is missing',
    "sestina.toml:26:10: roster: 'yes' is not true, false or a table of settings",
    "sestina.toml:27:1: there is no module 'caarbons'; did you mean 'carbons'?",
    "sestina.toml:28:34: offline.expire: '1 yeer' is not a duration such as \"30s\", \"12h\", \"7d\" or \"1y\"",
    "sestina.toml:29:9: mam has no setting 'retian'; did you mean 'retain'?",
    "sestina.toml:29:33: mam.retain: '1h' is less than 1d",
    'sestina.toml:30:8: push.service is missing',
    'sestina.toml:30:18: push.retry.wait is missing',
    "sestina.toml:30:20: push.retry has no setting 'atempts'; did you mean 'attempts'?",
    "sestina.toml:33:32: host.\"example.org\".admins[1]: 'romeo montague' is not the address of an account, with its domain, such as \"romeo@example.org\"",
    "sestina.toml:34:1: host.\"example.org\" has no setting 'admin'; did you mean 'admins'?",
    "sestina.toml:37:1: there is no module 'ofline'; did you mean 'offline'?",
    'sestina.toml:38:19: mam.default: 3 is not one of always, never, roster',
    'sestina.toml:41:1: host.montague is not a table: write [host.montague]',
    "sestina.toml:42:1: 'capulet lit' is not a domain such as \"example.org\"",
    'sestina.toml:42:29: host."capulet lit".modules is not a table',
  ])
})

t.test('a problem is reported once, however many hosts it affects, and also if it affects none', async t => {
  const hosts = '[host.a]\n[host.b]\n[host.c.modules]\noffline = false\n'
  t.same(problemsOf(t, `[modules]\noffline = { keep = -1 }\n${hosts}`), ['sestina.toml:2:20: offline.keep: -1 is less than 0'])
  t.same(problemsOf(t, '[modules]\noffline = { keep = -1 }\n[host.c.modules]\noffline = false\n'),
    ['sestina.toml:2:20: offline.keep: -1 is less than 0'])
})

t.test('a missing setting is reported at the line that turns its module on', async t => {
  t.same(problemsOf(t, '[modules]\npush = true\n[host.a]\n[host.b.modules]\npush = { retry = { wait = "1s" } }\n'), [
    'sestina.toml:2:8: push.service is missing',
    'sestina.toml:2:8: push.retry is missing',
    'sestina.toml:5:8: push.service is missing',
  ])
})

t.test('settings that are valid alone and invalid together are reported', async t => {
  const listen = '[[listen]]\nfor = "clients"\n'
  const cases: readonly (readonly [string, readonly string[]])[] = [
    [`${HOST}${listen}port = 5222\ntls = "none"\n`,
      ['sestina.toml:5:7: listen[0].tls: "none" is for loopback only; add address = ["127.0.0.1", "::1"]']],
    [`${HOST}${listen}port = 5222\ntls = "none"\naddress = ["127.0.0.1", "192.0.2.1"]`,
      ['sestina.toml:5:7: listen[0].tls: "none" is for loopback only; add address = ["127.0.0.1", "::1"]']],
    [`${HOST}${listen}port = 5222\ntls = "none"\naddress = ["127.0.0.1", "::1", "127.3.2.1"]`, []],
    [`${HOST}${listen}port = 5222\n${listen}port = 5222\naddress = ["::1", "::"]`,
      ['sestina.toml:7:8: listen[1].port: 5222 on :: is taken by listen[0]']],
    [`${HOST}${listen}port = 0\n${listen}port = 0\n`, []],
    [`${HOST}${listen}port = 1\nproxies = ["10.0.0.1"]\norigins = ["https://a.example"]`,
      ['sestina.toml:5:11: listen[0].proxies is only for the web', 'sestina.toml:6:11: listen[0].origins is only for the web']],
    [`${HOST}[[listen]]\nfor = "web"\nport = 1\ntls = "none"\nproxies = ["10.0.0.1"]`, []],
    [`${HOST}[[listen]]\nfor = "web"\nport = 1\ntls = "none"\nproxies = []`,
      ['sestina.toml:5:7: listen[0].tls: "none" is for loopback only; add address = ["127.0.0.1", "::1"], or name your reverse proxies with `proxies`']],
    [`${HOST}[[listen]]\nfor = "web"\nport = 1\norigins = ["https://a.example/"]`,
      ["sestina.toml:5:12: listen[0].origins[0]: 'https://a.example/' is not an origin of web pages such as \"https://chat.example.org\""]],
    [`${HOST}[storage]\ndriver = "postgres"`, ['sestina.toml:2:1: storage.url is missing: driver "postgres" needs it']],
    [`${HOST}[limits]\nidleTimeout = "1m"`,
      ['sestina.toml:3:15: limits.idleTimeout must be longer than limits.keepalive: otherwise a client is disconnected before it is asked']],
  ]
  for (const [text, wanted] of cases) t.same(problemsOf(t, text), wanted)
})

t.test('a conf file without a host is reported with an example of one', async t => {
  for (const text of ['', '[modules]\n', 'host = 5\n', '[host]\n']) {
    t.match(problemsOf(t, text), [/^sestina\.toml:1:\d: there is no host: add one, such as \[host\."example\.org"\]$/], text)
  }
  t.same(problemsOf(t, `modules = 3\n${HOST}`), ['sestina.toml:1:11: modules is not a table'])
})

t.test('a syntax error is reported at the place where the TOML becomes invalid', async t => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['a = \n', /^sestina\.toml:1:5: this is not TOML: invalid value$/],
    ['[log]\nlevel = "info"\nlevel = "warn"\n', /^sestina\.toml:3:1: log\.level is set twice: also at .*sestina\.toml:2:1; put both together in one place$/],
    ['data = "x\n', /^sestina\.toml:1:\d+: this is not TOML: /],
    ['data = "a\0b"\n', /^sestina\.toml:1:\d+: this is not TOML: control characters/],
    [`data = ${'['.repeat(5000)}`, /^sestina\.toml:1:\d+: this is not TOML: /],
    [`data = ${'{a='.repeat(5000)}`, /^sestina\.toml:1:\d+: this is not TOML: /],
    ['port = 99999999999999999999\n', /^sestina\.toml:1:8: this is not TOML: integer value/],
    [`${HOST}admins = 1979-05-27\n[log]\nlevel = [07:32:00]\n`, /^sestina\.toml:2:10: host\."example\.org"\.admins: no setting is a date/],
  ]
  for (const [text, wanted] of cases) t.match(problemsOf(t, text)[0], wanted, JSON.stringify(text.slice(0, 30)))
  t.equal(problemsOf(t, `${HOST}admins = 1979-05-27\n[log]\nlevel = [07:32:00]\n`)[1], 'sestina.toml:4:10: log.level[0]: no setting is a date')
})

t.test('a missing file is a problem, not a crash', async t => {
  t.throws(() => loadConfig('/nowhere/sestina.toml', MODULES), { message: '/nowhere/sestina.toml: this file cannot be read: ENOENT: no such file or directory' })
  t.same(problemsOf(t, `include = ["none.toml", "nowhere/*.toml", 3, ""]\n${HOST}`), [
    "sestina.toml:1:25: include: 'nowhere/*.toml' cannot be read: ENOENT: no such file or directory",
    'sestina.toml:1:43: include: 3 is not a file',
    "sestina.toml:1:46: include: '' is not a file",
    'none.toml: this file cannot be read: ENOENT: no such file or directory',
  ])
})

t.test('keys that are names of Object.prototype are keys like any other', async t => {
  t.same(problemsOf(t, `
__proto__ = { level = "debug" }
constructor = 1
[log.__proto__]
level = "debug"
[modules]
__proto__ = true
toString = { a = 1 }
offline.__proto__.keep = 3
[host.a]
__proto__ = 1
hasOwnProperty = 2
`), [
    "sestina.toml:2:1: there is no setting '__proto__'",
    "sestina.toml:3:1: there is no setting 'constructor'",
    "sestina.toml:4:6: log has no setting '__proto__'",
    "sestina.toml:7:1: there is no module '__proto__'",
    "sestina.toml:8:1: there is no module 'toString'",
    "sestina.toml:9:9: offline has no setting '__proto__'",
    "sestina.toml:11:1: host.a has no setting '__proto__'",
    "sestina.toml:12:1: host.a has no setting 'hasOwnProperty'",
  ])
  t.equal(Reflect.get({}, 'level'), undefined, 'no object has gained a property')
  t.same([...load(t, '[host.__proto__]\n[host.constructor]\n').hosts.keys()], ['__proto__', 'constructor'])
})

t.test('a byte order mark at the beginning of a file is ignored', async t => {
  t.same(problemsOf(t, `\uFEFF${HOST}`), [])
  t.same(problemsOf(t, `\uFEFFlgo = 1\n${HOST}`), ["sestina.toml:1:2: there is no setting 'lgo'; did you mean 'log'?"])
})

t.test('a secret comes from a file or the environment, and is never shown', async t => {
  const postgres = (url: string): string => `${HOST}[storage]\ndriver = "postgres"\nurl = ${url}\n`
  t.equal(load(t, postgres('{ env = "URL" }'), name => name === 'URL' ? 'postgres://a:hunter2@b/c' : undefined).server.storage.url, 'postgres://a:hunter2@b/c')
  t.equal(load(t, { 'sestina.toml': postgres('{ file = "url" }'), url: 'postgres://b/c\n' }).server.storage.url, 'postgres://b/c')
  t.same(problemsOf(t, postgres('{ env = "URL" }')), ['sestina.toml:4:7: storage.url: the environment variable URL is not set'])
  t.match(problemsOf(t, postgres('{ file = "nowhere" }')), [/^sestina\.toml:4:7: storage\.url: the file nowhere cannot be read: ENOENT/])
  t.same(problemsOf(t, postgres('"postgres://a:hunter2@b/c"')),
    ['sestina.toml:4:7: storage.url: must be { file = "…" } or { env = "…" }: a secret is never written in the conf file'])
  const config = load(t, postgres('{ env = "URL" }'), () => 'postgres://a:hunter2@b/c')
  t.equal(describe(config).find(({ path }) => path === 'storage.url')?.value, '{ env = "URL" }')
})

t.test('included files are merged: tables join, lists of tables grow, and a duplicate setting is reported with both places', async t => {
  const files = {
    'sestina.toml': 'include = ["conf.d/*.toml", "last.toml"]\ndata = "here"\n[log]\nlevel = "warn"\n[[listen]]\nfor = "clients"\nport = 1\n[host.a]\n',
    'conf.d': {
      'b.toml': '[log]\nformat = "json"\n[[listen]]\nfor = "clients"\nport = 3\n[host.b]\nadmins = ["x@b"]\n',
      'a.toml': '[[listen]]\nfor = "clients"\nport = 2\n[host.a.modules]\ncarbons = true\n',
      '.hidden.toml': 'not TOML',
      'notes.txt': 'not TOML',
    },
    'last.toml': '[modules]\nroster = true\n',
  }
  const folder = temporaryFolder(t, files)
  const { server, hosts, source } = loadConfig(join(folder, 'sestina.toml'), MODULES)
  t.same(server.log, { level: 'warn', format: 'json' })
  t.same(server.listen.map(({ port }) => port), [1, 2, 3])
  t.same([...hosts].map(([domain, { modules }]) => [domain, [...modules.keys()]]), [['a', ['carbons', 'roster']], ['b', ['roster']]])
  t.same(source.files.map(file => file.slice(folder.length + 1)), ['sestina.toml', 'conf.d/a.toml', 'conf.d/b.toml', 'last.toml'])
})

t.test('problems in included files have their places there', async t => {
  const folder = temporaryFolder(t, {
    'sestina.toml': 'include = ["conf.d/*.toml"]\ndata = "here"\n[log]\nlevel = "warn"\n[[listen]]\nfor = "clients"\nport = 1\n[modules]\nmam = true\n[host.a]\nadmns = 1\n',
    'conf.d': {
      'a.toml': 'include = ["more.toml"]\ndata = "there"\nlog.level = "info"\n[[listen]]\nport = "x"\n[modules]\nmam.retain = "1s"\n[host.a.modules]\nofline = true\n',
      'b.toml': 'data = \n',
      'c.toml': 'log = "loud"\nlisten = 3\n[host.c]\nadmins = ["x", "y z"]\n',
    },
  })
  try {
    loadConfig(join(folder, 'sestina.toml'), MODULES)
    t.fail('this must not load')
  } catch (error) {
    if (!(error instanceof ConfigProblems)) throw error
    t.same(error.message.replaceAll(`${folder}/`, '').split('\n'), [
      "sestina.toml:11:1: host.a has no setting 'admns'; did you mean 'admins'?",
      'conf.d/a.toml:1:1: an included file cannot include another',
      'conf.d/a.toml:2:1: data is set twice: also at sestina.toml:2:1',
      'conf.d/a.toml:3:5: log.level is set twice: also at sestina.toml:4:1',
      'conf.d/a.toml:4:1: listen[1].for is missing',
      "conf.d/a.toml:5:8: listen[1].port: 'x' is not a whole number",
      'conf.d/a.toml:7:1: modules.mam is set twice: also at sestina.toml:9:1',
      "conf.d/a.toml:9:1: there is no module 'ofline'; did you mean 'offline'?",
      'conf.d/c.toml:1:1: log is set twice: also at sestina.toml:3:2',
      'conf.d/c.toml:2:1: listen is set twice: also at sestina.toml:5:3',
      "conf.d/c.toml:4:11: host.c.admins[0]: 'x' is not the address of an account, with its domain, such as \"romeo@example.org\"",
      "conf.d/c.toml:4:16: host.c.admins[1]: 'y z' is not the address of an account, with its domain, such as \"romeo@example.org\"",
      'conf.d/b.toml:1:8: this is not TOML: invalid value',
    ])
    t.same(error.problems.length, 13)
  }
  t.same(problemsOf(t, `include = "conf.d/*.toml"\n${HOST}`), ['sestina.toml:1:11: include is not a list of files'])
})

t.test('any text is a conf file or gives a list of problems, each within the file', async t => {
  const words = fc.constantFrom('[', ']', '[[', ']]', '=', '\n', '{', '}', ',', '.', '"', "'", '#', ' ', 'log', 'level', 'listen', 'host', 'modules', 'offline',
    'mam', 'keep', 'true', '"30d"', '5222', '__proto__', 'include', 'é', '\0', '1979-05-27', 'nan')
  const folder = temporaryFolder(t)
  const file = join(folder, 'sestina.toml')
  fc.assert(fc.property(fc.array(words, { maxLength: 30 }), words => {
    writeFileSync(file, `${words.join('')}\n`)
    try {
      loadConfig(file, MODULES)
    } catch (error) {
      if (!(error instanceof ConfigProblems)) throw error
      return error.problems.length > 0 && error.problems.every(({ place, text }) => place.file === file && text !== '')
    }
    return true
  }), { numRuns: 500, seed: 42 })
  t.pass('500 texts')
})
