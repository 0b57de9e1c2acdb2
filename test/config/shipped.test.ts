/** The conf file that we ship: right with every module there is, and the documentation of the defaults. */
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

t.test('the conf file that we ship', async t => {
  const modules = await findModules(fileURLToPath(new URL('../../modules/', import.meta.url)))
  const file = join(PACKAGE_ROOT, 'conf/sestina.toml')

  t.test('is right, and says of each module whether it is on', async t => {
    const config = loadConfig(file, modules)
    t.same([...config.hosts.keys()], ['localhost'])
    const { modules: named = {} } = config.source.root
    t.same(Object.keys(Object(named)).sort(), [...modules.keys()].sort())
  })

  t.test('writes what holds anyway: it is the documentation of the defaults', async t => {
    const bare = describe(loadConfig(join(t.testdir({ 'sestina.toml': HOST }), 'sestina.toml'), modules))
    const values = new Map(describe(loadConfig(file, modules)).map(({ path, value }) => [path, value]))
    for (const { path, value } of bare.filter(({ path }) => !path.startsWith('host.'))) t.equal(values.get(path), value, path)
    const running = (settings: Config): unknown => [...settings.hosts.values()].map(host => [...host.modules])
    t.same(running(loadConfig(file, modules)), running(loadConfig(join(t.testdir({ 'sestina.toml': HOST }), 'sestina.toml'), modules)))
  })

  t.test('is known to editors as it is: `npm run docs` writes the schema anew', async t => {
    t.same(JSON.parse(readFileSync(join(PACKAGE_ROOT, 'conf/sestina.schema.json'), 'utf8')), JSON.parse(JSON.stringify(jsonSchema(modules))))
  })
})
