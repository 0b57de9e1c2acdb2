/** Prosody from Debian's package: epoll, internal storage, accounts written as files of its storage. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Target } from '../client.js'
import { storedKeys } from '../scram.js'
import { Daemon, listening } from './daemon.js'
import { AUTHORITY, ITERATIONS, MECHANISM, output, PASSWORD, serviceAt, START_TIMEOUT, targetAt, type Features, type Place, type Server } from './server.js'

/** The server named 'prosody'. */
export class Prosody implements Server {
  readonly name = 'prosody'
  readonly resumesAtOnce = false
  readonly install = 'apt install prosody'
  readonly place: Place
  #daemon: Daemon | undefined

  constructor (place: Place) {
    this.place = place
  }

  async version (): Promise<string | undefined> {
    const about = await output('dpkg-query', '--show', '--showformat=${Version}', 'prosody')
    return about === '' ? undefined : about
  }

  async start (features: Features = {}): Promise<void> {
    const { folder, address, plainPort, directPort, serverPort } = this.place
    const { neighbour } = features
    const file = join(folder, 'prosody.cfg.lua')
    await mkdir(join(folder, 'data'), { recursive: true })
    await writeFile(file, configuration(this.place, features))
    if (neighbour !== undefined) {
      await mkdir(join(folder, 'plugins'), { recursive: true })
      await writeFile(join(folder, 'plugins', `mod_${PLUGIN}.lua`), plugin(neighbour))
    }
    this.#daemon = await Daemon.start({
      name: this.name,
      path: 'prosody',
      args: ['--config', file, '-F'],
      folder,
      signs: listening(address, [plainPort, directPort, ...neighbour === undefined ? [] : [serverPort]]),
      patience: START_TIMEOUT,
    })
  }

  async createAccounts (users: readonly string[]): Promise<void> {
    // Prosody's storage writes the dots of a domain this way.
    const folder = join(this.place.folder, 'data', this.place.domain.replaceAll('.', '%2e'), 'accounts')
    await mkdir(folder, { recursive: true })
    const keys = await storedKeys(MECHANISM, PASSWORD, 'bench', ITERATIONS)
    const account = `return {
  ["salt"] = "${keys.salt}"; ["iteration_count"] = ${keys.iterations};
  ["stored_key"] = "${keys.storedKey.toString('hex')}"; ["server_key"] = "${keys.serverKey.toString('hex')}";
};
`
    for (const user of users) await writeFile(join(folder, `${user}.dat`), account)
  }

  async stop (): Promise<void> {
    await this.#daemon?.stop()
  }

  get pid (): number {
    if (this.#daemon === undefined) throw new Error('prosody was not started')
    return this.#daemon.pid
  }

  target (secure: Target['secure']): Target {
    return targetAt(this.place, secure)
  }
}

function configuration (place: Place, { archive = false, pubsub = false, neighbour }: Features): string {
  const more = [...archive ? ['mam'] : [], ...pubsub ? ['pep'] : [], ...neighbour === undefined ? [] : [PLUGIN]]
  return `
run_as_root = ${process.getuid?.() === 0}
data_path = "${join(place.folder, 'data')}"
pidfile = "${join(place.folder, 'prosody.pid')}"
log = { { levels = { min = "error" }, to = "console" } }
network_backend = "epoll"
storage = "internal"
authentication = "internal_hashed"
interfaces = { "${place.address}" }
c2s_ports = { ${place.plainPort} }
c2s_direct_tls_ports = { ${place.directPort} }
c2s_require_encryption = false
csi_resume_inactive_delay = 0 -- after what matters it lets all through for 5 s: the hour of the bench passes in less
ssl = { certificate = "${place.certificate.chain}", key = "${place.certificate.key}"${neighbour === undefined ? '' : trusting(neighbour)} }
${neighbour === undefined ? 'modules_disabled = { "s2s" }' : federation(place)}
modules_enabled = {
  "posix", "tls", "saslauth", "roster", "disco", "carbons", "blocklist", "private", "ping", "time", "version", "smacks",
  "csi_simple", ${more.map(name => `"${name}"`).join(', ')}
}
VirtualHost "${place.domain}"
${pubsub ? `Component "${serviceAt(place)}" "pubsub"
  admins = { "chat0@${place.domain}" } -- who may make nodes
` : ''}`
}

function trusting ({ certificate }: Place): string {
  return `, cafile = "${join(certificate.authorities, AUTHORITY)}", capath = ""`
}

function federation ({ serverPort, folder }: Place): string {
  return `s2s_ports = { ${serverPort} }
s2s_direct_tls_ports = {}
s2s_require_encryption = true
s2s_secure_auth = true
plugin_paths = { "${join(folder, 'plugins')}" }`
}

const PLUGIN = 'bench_neighbour'

/**
 * Returns a plugin that says where the other server is, because Prosody has no such setting. It replaces the DNS
 * lookup; no other server is found.
 */
function plugin ({ domain, address, serverPort }: Place): string {
  return `
module:set_global();
local by_hand = require "net.resolvers.manual";
require "net.resolvers.service".new = function (hostname, service, connection, extra)
  local is_neighbour = hostname == "${domain}" and service == "xmpp-server";
  return by_hand.new(is_neighbour and { { "tcp4", "${address}", ${serverPort}, extra } } or {}, connection, extra);
end
`
}
