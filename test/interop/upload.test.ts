/** Files over HTTP with slixmpp and curl, against the started server. The scenes are in upload.py. */
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { freePorts, missing, Program } from './process.js'
import { AGAINST_PROSODY, startServer } from './server.js'

const PYTHON = '/usr/bin/python3' // Debian's, which has Debian's python3-slixmpp
const SCENES = join(PACKAGE_ROOT, 'test', 'interop', 'upload.py')
const skip = AGAINST_PROSODY || missing({ [PYTHON]: 'python3', '/usr/lib/python3/dist-packages/slixmpp/__init__.py': 'python3-slixmpp', curl: 'curl' })
const PASSWORD = 'a secret of Verona'

t.setTimeout(1_200_000)

t.test('a person sends and reads files with slixmpp and curl', { skip }, async t => {
  const [web = 0] = await freePorts(1)
  const listen = `[[listen]]\nfor = "web"\nport = ${web}\naddress = ["127.0.0.1"]\nurl = "https://localhost:${web}"\n`
  const server = await startServer(t, 'upload = true\n', listen, '[host."upload.localhost"]\nservice = "upload"\n')
  for (const local of ['romeo', 'juliet']) await server.addUser(local, PASSWORD)
  const client = new Program(PYTHON, [SCENES, '--host', server.host, '--port', String(server.port), '--domain', server.domain,
    '--password', PASSWORD, '--ca', server.certificate, '--folder', server.folder])
  t.teardown(() => client.stop())
  await client.says(/^1\.\.(\d+)$/m)
  await client.ended
  t.equal(client.said.match(/^ok \d/gm)?.length, 2, 'both scenes were played', { diagnostic: true, said: client.said.split('\n').slice(0, 60) })
  const listed = await server.asked('upload', 'list', `romeo@${server.domain}`) as readonly { readonly name: string, readonly size: number }[]
  t.same(listed.map(({ name, size }) => [name, size]), [['très cool.jpg', 3_000_000]])
  t.equal(await server.asked('upload', 'remove', `romeo@${server.domain}`, 'all'), '1 removed')
})
