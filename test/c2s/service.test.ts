/** A conf file with a service: clients log in at hosts with accounts, and not at the service. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Logger } from '../../lib/base/logger.js'
import { defineModule } from '../../lib/api.js'
import { findModules, start } from '../../lib/main.js'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { temporaryFolder } from '../temporary-folder.js'

const quiet: Logger = { isDebugging: false, debug () {}, info () {}, warn () {}, error () {}, with: () => quiet }
const CONF = `data = "data"
[storage]
driver = "memory"
[[listen]]
for = "clients"
port = 0
tls = "required"
address = ["127.0.0.1"]
`

/** Opens a stream to a host, and returns what the server says first. */
async function greeting (port: number, host: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  socket.write(`<stream:stream to='${host}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`)
  let said = ''
  socket.setEncoding('utf8').on('data', (text: string) => { said += text })
  while (!/<\/stream:features>|<\/stream:error>/.test(said)) await once(socket, 'data')
  socket.destroy()
  return said
}

t.test('a login at a service gets host-unknown, before and after a reload', async t => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'sestina.toml')
  const service = defineModule({ name: 'nothing', at: 'services', setup () {} })
  const modules = new Map([...await findModules(join(PACKAGE_ROOT, 'dist', 'modules')), [service.name, service]])
  writeFileSync(file, `${CONF}[host."rooms.capulet.lit"]\nservice = "nothing"\n[host."capulet.lit"]\n`)
  const running = await start({ file, modules, log: quiet, env: () => undefined })
  t.teardown(() => running.stop())
  const port = running.listening[0]?.port ?? 0
  t.match(await greeting(port, 'rooms.capulet.lit'), /from="capulet.lit".*<host-unknown/s)
  t.match(await greeting(port, 'capulet.lit'), /<starttls/)
  writeFileSync(file, `${CONF}[host."rooms.capulet.lit"]\n[host."capulet.lit"]\nservice = "nothing"\n`)
  await running.reload()
  t.match(await greeting(port, 'rooms.capulet.lit'), /<starttls/)
  t.match(await greeting(port, 'capulet.lit'), /<host-unknown/)
})
