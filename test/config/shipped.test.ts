/** The conf file that we ship is valid with every module, and documents the defaults. */
import t from 'tap'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { describe } from '../../lib/config/describe.js'
import { loadConfig, type Config } from '../../lib/config/load.js'
import { jsonSchema } from '../../lib/config/reference.js'
import { findModules } from '../../lib/host/loader.js'
import { HOST } from './conf.js'
import { temporaryFolder } from '../temporary-folder.js'

t.test('the conf file that we ship', async t => {
  const modules = await findModules(fileURLToPath(new URL('../../modules/', import.meta.url)))
  const file = join(PACKAGE_ROOT, 'conf/sestina.toml')

  t.test('is valid, and turns each module on or off', async t => {
    const config = loadConfig(file, modules)
    t.same([...config.hosts.keys()], ['localhost', 'conference.localhost'])
    const { modules: named = {} } = config.source.root
    // A module that serves hosts of its own is named there.
    const wanted = [...modules.values()].filter(({ at }) => at !== 'services').map(({ name }) => name)
    t.same(Object.keys(Object(named)).sort(), wanted.sort())
  })

  t.test('sets only defaults, so that it documents them', async t => {
    const bare = describe(loadConfig(join(temporaryFolder(t, { 'sestina.toml': HOST }), 'sestina.toml'), modules))
    const values = new Map(describe(loadConfig(file, modules)).map(({ path, value }) => [path, value]))
    for (const { path, value } of bare.filter(({ path }) => !path.startsWith('host.'))) t.equal(values.get(path), value, path)
    const running = (settings: Config): unknown =>
      [...settings.hosts.values()].filter(host => host.service === undefined).map(host => [...host.modules])
    t.same(running(loadConfig(file, modules)), running(loadConfig(join(temporaryFolder(t, { 'sestina.toml': HOST }), 'sestina.toml'), modules)))
  })

  t.test('gives each host with accounts rooms, at a domain that has nothing else', async t => {
    const { hosts } = loadConfig(file, modules)
    for (const [domain, { service }] of hosts) {
      if (service === undefined) t.match(hosts.get(`conference.${domain}`), { service: ['muc'], parent: undefined }, domain)
      else t.equal(service.length, 1, 'some clients find no uploads at a domain with rooms')
    }
  })

  t.test('has the JSON Schema that `npm run docs` writes', async t => {
    t.same(JSON.parse(readFileSync(join(PACKAGE_ROOT, 'conf/sestina.schema.json'), 'utf8')), JSON.parse(JSON.stringify(jsonSchema(modules))))
  })
})
