/** The schema in other forms: the settings in force, the JSON Schema, the reference page. */
import t from 'tap'
import { join } from 'node:path'
import { describe } from '../../lib/config/describe.js'
import { loadConfig } from '../../lib/config/load.js'
import { configReference, jsonSchema } from '../../lib/config/reference.js'
import { list, table, text } from '../../lib/config/schema.js'
import { HOST, load, MODULES } from './conf.js'
import { temporaryFolder } from '../temporary-folder.js'

t.test('each setting in force is listed with the place that it comes from', async t => {
  const folder = temporaryFolder(t, {
    'sestina.toml': `include = ["more.toml"]
[log]
level = "warn"
[[listen]]
for = "clients"
port = 5222
[modules]
offline = { keep = 50 }
carbons = true
mam = true
[host."example.org".modules]
offline = { expire = "1d" }
mam = false
push = { service = "push.b", retry = { wait = "1m" } }
`,
    'more.toml': '[tls]\nminVersion = "TLSv1.3"\n',
  })
  const rows = describe(loadConfig(join(folder, 'sestina.toml'), MODULES))
  const told = rows.map(({ path, value, from }) => `${path} = ${value} from ${from.replace(`${folder}/`, '')}`)
  t.same(told.slice(0, 13), [
    'data = "data" from default',
    'log.level = "warn" from sestina.toml:3:9',
    'log.format = "auto" from default',
    'storage.driver = "sqlite" from default',
    'storage.durability = "disk" from default',
    'tls.certificates = "data/certificates" from default',
    'tls.minVersion = "TLSv1.3" from more.toml:2:14',
    'listen[0].for = "clients" from sestina.toml:5:7',
    'listen[0].port = 5222 from sestina.toml:6:8',
    'listen[0].address = ["::", "0.0.0.0"] from default',
    'listen[0].tls = "required" from default',
    'listen[0].maxStanzaSize = "256KiB" from default',
    'authentication.mechanisms = ["EXTERNAL", "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"] from default',
  ])
  t.same(told.slice(-11), [
    'host."example.org".admins = [] from default',
    'host."example.org".federation = "all" from default',
    'host."example.org".partners = [] from default',
    'host."example.org".modules.carbons = true from sestina.toml:9:1',
    'host."example.org".modules.offline = true from sestina.toml:12:1',
    'host."example.org".modules.offline.keep = 50 from sestina.toml:8:20',
    'host."example.org".modules.offline.expire = "1d" from sestina.toml:12:22',
    'host."example.org".modules.push = true from sestina.toml:14:1',
    'host."example.org".modules.push.service = "push.b" from sestina.toml:14:20',
    'host."example.org".modules.push.retry.attempts = 3 from default',
    'host."example.org".modules.push.retry.wait = "1m" from sestina.toml:14:47',
  ])
  const listeners = describe(load(t, HOST)).filter(({ path }) => path.startsWith('listen[1]'))
  t.match(listeners[1], { path: 'listen[1].port', value: '5223', from: 'default' })
})

t.test('editors get a JSON Schema with every setting, its kind, default and description', async t => {
  const schema = jsonSchema(MODULES)
  t.match(schema, {
    $schema: 'http://json-schema.org/draft-07/schema#',
    properties: {
      log: { type: 'object', properties: { level: { enum: ['debug', 'info', 'warn', 'error'], default: 'info', description: 'The lowest level of events that are logged.' } } },
      listen: { type: 'array', items: { required: ['for', 'port'], additionalProperties: false, properties: { port: { minimum: 0, maximum: 65_535 } } } },
      storage: { properties: { url: { anyOf: [{ properties: { file: {} } }, { properties: { env: {} } }] } } },
      host: { additionalProperties: { properties: { admins: { type: 'array' }, modules: { $ref: '#/definitions/modules' } } } },
    },
    additionalProperties: false,
    definitions: {
      'modules': { properties: { offline: { $ref: '#/definitions/module-offline' } }, additionalProperties: { type: ['boolean', 'object'] } },
      'module-offline': { anyOf: [{ type: 'boolean' }, { properties: {
        expire: { type: 'string', pattern: '^(0|[1-9][0-9]*)(ms|s|m|h|d|y)$', default: '30d', description: 'How long they are kept.' },
      } }] },
      'module-push': { anyOf: [{}, { required: undefined }] },
    },
  })
  t.same(JSON.parse(JSON.stringify(schema)), schema, 'the schema is JSON')
})

t.test('an editor reports an unknown module, unless the conf file may have modules outside the package', async t => {
  const others = { required: ['modules'], properties: { modules: { anyOf: [{ required: ['path'] }, { required: ['packages'] }] } } }
  const names = ['carbons', 'mam', 'offline', 'push', 'roster']
  t.match(jsonSchema(MODULES), {
    if: { anyOf: [{ required: ['include'] }, others] },
    then: undefined,
    else: { properties: {
      modules: { propertyNames: { enum: ['path', 'packages', ...names] } },
      host: { additionalProperties: { properties: { modules: { propertyNames: { enum: names } } } } },
    } },
  })
})

t.test('the reference page lists every setting', async t => {
  const page = configReference(MODULES).split('\n')
  for (const line of [
    '| `data` | path | `"data"` | The folder for everything that the server stores: one folder to back up, used by one process at a time. |',
    '### `[log]`',
    '### `[[listen]]`',
    '| `port` | whole number from 0 to 65535 | **required** | The TCP port. 0 lets the system choose one. |',
    '| `unauthenticated.maxElements` | whole number from 16 to 10000 | `64` | The most elements within one such element. |',
    '### `[host."example.org"]`',
    '| `keep` | whole number from 0 to 100000 | `200` | How many messages are kept. |',
    '| `default` | "always", "never", "roster" | `"always"` | Which messages \\| all or some. |',
    '| `retry.wait` | duration | **required** | How long between. |',
    '| `token` | { file = "…" } or { env = "…" } | none | Who we are. |',
    'This module has no settings.',
  ]) t.ok(page.includes(line), line)
  const lists = configReference(new Map([['rooms', { settings: { open: list(table({ name: text().says('Its name.') })).default([]).says('Which.') } }]]))
  t.match(lists, '| `open` | list of tables | `[]` | Which. |\n| `open[].name` | text | **required** | Its name. |')
})
