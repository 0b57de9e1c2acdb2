/**
 * slixmpp, the Python library, from login to password change. The scenes are in scenes.py; each of them is a test here.
 */
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { missing, Program } from './process.js'
import { startServer } from './server.js'

const PYTHON = '/usr/bin/python3' // Debian's, which has Debian's python3-slixmpp
const SCENES = join(PACKAGE_ROOT, 'test', 'interop', 'scenes.py')
const skip = missing({ [PYTHON]: 'python3', '/usr/lib/python3/dist-packages/slixmpp/__init__.py': 'python3-slixmpp', openssl: 'openssl' })

t.setTimeout(1_200_000)

t.test('a person can use slixmpp', { skip }, async t => {
  const server = await startServer(t, 'pep = true\nbookmarks = true')
  const password = 'a secret of Verona'
  for (const local of ['romeo', 'juliet']) await server.addUser(local, password)

  const client = new Program(PYTHON, [SCENES, '--host', server.host, '--port', String(server.port),
    '--direct-port', String(server.directPort), '--domain', server.domain, '--password', password, '--ca', server.certificate])
  t.teardown(() => client.stop())
  await client.says(/^1\.\.(\d+)$/m)
  await client.ended

  for (const scene of client.said.split(/^(?=(?:not )?ok \d)/m).slice(1)) {
    const [, not, title = ''] = /^(not )?ok \d+ - (.*)$/m.exec(scene) ?? []
    t.ok(not === undefined, title, { diagnostic: not !== undefined, said: scene.split('\n').slice(1, 40) })
  }
  const planned = Number(/^1\.\.(\d+)$/m.exec(client.said)?.[1])
  t.equal(client.said.match(/^(not )?ok \d/gm)?.length, planned, `all ${planned} scenes were played`)
})
