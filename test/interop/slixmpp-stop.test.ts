/** slixmpp, the Python library, over a planned stop of the server. The scenes are in scenes.py. */
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { missing, Program } from './process.js'
import { AGAINST_PROSODY, startServer } from './server.js'

const PYTHON = '/usr/bin/python3' // Debian's, which has Debian's python3-slixmpp
const SCENES = join(PACKAGE_ROOT, 'test', 'interop', 'scenes.py')
const skip = AGAINST_PROSODY ? 'it is about Sestina' : missing({ [PYTHON]: 'python3', '/usr/lib/python3/dist-packages/slixmpp/__init__.py': 'python3-slixmpp' })

t.setTimeout(1_200_000)

t.test('two people with slixmpp resume after a planned stop: nothing is lost or doubled, and nobody sees anybody go', { skip }, async t => {
  const server = await startServer(t)
  const password = 'a secret of Verona'
  for (const local of ['romeo', 'juliet']) await server.addUser(local, password)
  const client = new Program(PYTHON, [SCENES, '--host', server.host, '--port', String(server.port),
    '--direct-port', String(server.directPort), '--domain', server.domain, '--password', password, '--ca', server.certificate,
    'roster_handshake', 'planned_stop'])
  t.teardown(() => client.stop())
  await client.says(/^# restart the server$/m)
  await server.restart()
  client.type('it is there again\n')
  await client.ended
  t.same(client.said.match(/^(?:not )?ok \d/gm), ['ok 1', 'ok 2'], { said: client.said.split('\n').slice(0, 60) })
})
