/** A server for real clients: Sestina as an operator starts it, or Prosody if INTEROP_SERVER=prosody. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { only } from '../only.js'
import { Secrets } from '../secrets.js'
import { freePorts, Program, run } from './process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

export interface ServerUnderTest {
  readonly host: string
  /** The port for STARTTLS. */
  readonly port: number
  /** The port for direct TLS. */
  readonly directPort: number
  readonly domain: string
  /** The path of the domain's certificate in PEM, which a client has to trust. */
  readonly certificate: string
  /** A folder of the test's own. */
  readonly folder: string
  addUser (local: string, password: string): Promise<void>
  /** Changes an account's password; only with Sestina. */
  sets (local: string, password: string): Promise<void>
  /** Returns the answer of the command with `--json`; only with Sestina. */
  asked (...words: readonly string[]): Promise<unknown>
  /**
   * Stops the server in order (SIGTERM) or kills it, and starts it again on the same data and ports; only with Sestina.
   */
  restart (by?: 'SIGTERM' | 'SIGKILL'): Promise<void>
  /** The output of the server so far. What it has just logged may still be on its way. */
  readonly said: string
  /** Waits until the output of the server matches. */
  says (wanted: RegExp): Promise<unknown>
}

/**
 * True if the clients are tried against Prosody: that tells a fault of the client, or of the script, from a fault of
 * Sestina.
 */
export const AGAINST_PROSODY = process.env['INTEROP_SERVER'] === 'prosody'

/**
 * Starts a server with data and ports of its own; it is stopped when the test ends. `more` has lines for [modules] of
 * Sestina, `listen` further listeners, `hosts` further hosts.
 */
export async function startServer (t: Test, more = '', listen = '', hosts = ''): Promise<ServerUnderTest> {
  const folder = temporaryFolder(t)
  return AGAINST_PROSODY ? await startProsody(t, folder) : await startSestina(t, folder, { more, listen, hosts })
}

const DOMAIN = 'localhost'

/** A host with rooms, for `startServer`. */
export const ROOMS = `[host."rooms.${DOMAIN}"]
service = "muc"

[host."rooms.${DOMAIN}".modules]
muc = true
mam = true
disco = true
ping = true
`

/** Parts of the conf file that a test adds. */
interface Added { readonly more: string, readonly listen: string, readonly hosts: string }

async function startSestina (t: Test, folder: string, added: Added): Promise<ServerUnderTest> {
  const [port = 0, directPort = 0] = await freePorts(2)
  const conf = join(folder, 'sestina.toml')
  writeFileSync(conf, sestinaConf(port, directPort, added))
  const start = (): Program => new Program(process.execPath, [SESTINA, 'start', '--conf', conf], { cwd: folder, isMeasured: false })
  let server = start()
  const secrets = new Secrets()
  t.teardown(async () => {
    await server.stop()
    const secret = secrets.inText(server.said)
    if (secret !== undefined) throw new Error(`a log line holds '${secret}'`)
  })
  await server.says(/\bready\b|server started/i)
  return {
    host: '127.0.0.1', port, directPort, domain: DOMAIN, folder,
    certificate: join(folder, 'data', 'certificates', DOMAIN, 'fullchain.pem'),
    addUser: async (local, password) => {
      secrets.add(password)
      await run(process.execPath, [SESTINA, 'user', 'add', `${local}@${DOMAIN}`, '--password-stdin', '--conf', conf], { input: `${password}\n`, isMeasured: false })
    },
    sets: async (local, password) => {
      await run(process.execPath, [SESTINA, 'user', 'password', `${local}@${DOMAIN}`, '--password-stdin', '--conf', conf], { input: `${password}\n`, isMeasured: false })
    },
    asked: async (...words) => {
      const told = await run(process.execPath, [SESTINA, ...words, '--json', '--conf', conf], { isMeasured: false })
      return JSON.parse(told.slice(told.search(/^[[{"]/m))) as unknown // after the lines about its progress
    },
    restart: async (by = 'SIGTERM') => {
      server.signal(by)
      const code = await server.ended
      if (code !== 0 && code !== by) throw new Error(`stopped, the server ended with ${code}: ${server.said}`)
      server = start()
      await server.says(/\bready\b|server started/i)
    },
    get said () { return server.said },
    says: wanted => server.says(wanted),
  }
}

function sestinaConf (port: number, directPort: number, { more, listen, hosts }: Added): string {
  return `
data = "data"

[log]
level = "debug"

[limits]
negotiationTimeout = "10m" # on a busy machine a client may need long

[[listen]]
for = "clients"
port = ${port}
address = ["127.0.0.1"]

[[listen]]
for = "clients"
port = ${directPort}
address = ["127.0.0.1"]
tls = "direct"

${listen}
[modules]
${only(`roster = true
presence = true
message = true
carbons = true
offline = true
mam = true
stream-management = true
csi = true
disco = true
caps = true
blocking = true
private = true
vcard = true
last-activity = true
version = true
time = true
ping = true
register = true
${more}`)}[host.${DOMAIN}]

${hosts}`
}

async function startProsody (t: Test, folder: string): Promise<ServerUnderTest> {
  const [port = 0, directPort = 0] = await freePorts(2)
  const conf = join(folder, 'prosody.cfg.lua')
  const certificate = join(folder, 'localhost.crt')
  const key = join(folder, 'localhost.key')
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', `/CN=${DOMAIN}`, '-addext', `subjectAltName=DNS:${DOMAIN}`, '-keyout', key, '-out', certificate])
  mkdirSync(join(folder, 'data'))
  writeFileSync(conf, `
run_as_root = true
data_path = "${join(folder, 'data')}"
pidfile = "${join(folder, 'prosody.pid')}"
log = { { levels = { min = "info" }, to = "console" } }
interfaces = { "127.0.0.1" }
c2s_ports = { ${port} }
c2s_direct_tls_ports = { ${directPort} }
c2s_require_encryption = true
ssl = { certificate = "${certificate}", key = "${key}" }
authentication = "internal_hashed"
modules_disabled = { "s2s" }
modules_enabled = { "posix", "tls", "saslauth", "roster", "presence", "message", "iq", "disco", "carbons", "blocklist", "private",
  "vcard_legacy", "pep", "offline", "register", "ping", "time", "version", "lastactivity", "uptime" }
VirtualHost "${DOMAIN}"
`)
  const server = new Program('prosody', ['--config', conf, '-F'], { cwd: folder })
  t.teardown(() => server.stop())
  await server.says(new RegExp(`Activated service 'c2s_direct_tls'.*${directPort}`))
  return {
    host: '127.0.0.1', port, directPort, domain: DOMAIN, folder, certificate,
    addUser: async (local, password) => { await run('prosodyctl', ['--config', conf, '--root', 'register', local, DOMAIN, password]) },
    sets: () => Promise.reject(new Error('this test needs Sestina')),
    asked: () => Promise.reject(new Error('Prosody has no such command')),
    restart: () => Promise.reject(new Error('Prosody is not restarted here')),
    get said () { return server.said },
    says: wanted => server.says(wanted),
  }
}
