/** People in rooms with slixmpp, the Python library. The scenes are in rooms.py; each of them is a test here. */
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { missing, Program } from './process.js'
import { AGAINST_PROSODY, ROOMS, startServer } from './server.js'

const PYTHON = '/usr/bin/python3' // Debian's, which has Debian's python3-slixmpp
const SCENES = join(PACKAGE_ROOT, 'test', 'interop', 'rooms.py')
const skip = AGAINST_PROSODY ? 'it is about Sestina' : missing({ [PYTHON]: 'python3', '/usr/lib/python3/dist-packages/slixmpp/__init__.py': 'python3-slixmpp' })

t.setTimeout(1_200_000)

t.test('people meet in rooms with slixmpp', { skip }, async t => {
  const server = await startServer(t, '', '', ROOMS)
  const password = 'a secret of Verona'
  for (const local of ['romeo', 'juliet', 'nurse']) await server.addUser(local, password)

  const client = new Program(PYTHON, [SCENES, '--host', server.host, '--port', String(server.port),
    '--direct-port', String(server.directPort), '--domain', server.domain, '--password', password, '--ca', server.certificate])
  t.teardown(() => client.stop())
  await client.says(/^# kill the server$/m)
  await server.restart('SIGKILL')
  client.type('it is there again\n')
  await client.says(/^# restart the server$/m)
  await server.restart()
  client.type('it is there again\n')
  await client.ended

  for (const scene of client.said.split(/^(?=(?:not )?ok \d)/m).slice(1)) {
    const [, not, title = ''] = /^(not )?ok \d+ - (.*)$/m.exec(scene) ?? []
    t.ok(not === undefined, title, { diagnostic: not !== undefined, said: scene.split('\n').slice(1, 40) })
  }
  const planned = Number(/^1\.\.(\d+)$/m.exec(client.said)?.[1])
  t.equal(client.said.match(/^(not )?ok \d/gm)?.length, planned, `all ${planned} scenes were played`)
})
