/** A component and a client of slixmpp against the started server. The scene is in component.py. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { freePorts, missing, Program } from './process.js'
import { AGAINST_PROSODY, startServer } from './server.js'

const PYTHON = '/usr/bin/python3' // Debian's, which has Debian's python3-slixmpp
const SCENE = join(PACKAGE_ROOT, 'test', 'interop', 'component.py')
const skip = AGAINST_PROSODY || missing({ [PYTHON]: 'python3', '/usr/lib/python3/dist-packages/slixmpp/__init__.py': 'python3-slixmpp' })
const PASSWORD = 'a secret of Verona'
const SECRET = 'the secret of the gateway'

t.setTimeout(1_200_000)

t.test('a component of slixmpp serves a domain', { skip }, async t => {
  const [port = 0] = await freePorts(1)
  const folder = mkdtempSync(join(tmpdir(), 'gateway-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const file = join(folder, 'secret')
  writeFileSync(file, `${SECRET}\n`)
  const listen = `[[listen]]\nfor = "components"\nport = ${port}\naddress = ["127.0.0.1"]\ntls = "none"\n`
  const hosts = `[host."irc.localhost"]\nservice = "component"\n\n[host."irc.localhost".modules]\ncomponent = { secret = { file = "${file}" } }\n`
  const server = await startServer(t, '', listen, hosts)
  await server.addUser('romeo', PASSWORD)
  const client = new Program(PYTHON, [SCENE, '--host', server.host, '--port', String(server.port), '--component-port', String(port), '--domain', server.domain,
    '--password', PASSWORD, '--ca', server.certificate, '--component', 'irc.localhost', '--secret', SECRET])
  t.teardown(() => client.stop())
  await client.says(/^1\.\.1$/m)
  await client.ended
  t.match(client.said, /^ok 1 /m)
  t.match(server.said, /component connected/)
})
