/** Prosody from Debian's package: epoll, internal storage, accounts as the files its storage reads. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Target } from '../client.js'
import { storedKeys } from '../scram.js'
import { Daemon } from './daemon.js'
import { DOMAIN, ITERATIONS, MECHANISM, output, PASSWORD, START_PATIENCE, targetAt, type Place, type Server } from './server.js'

/** The server whose name is 'prosody'. */
export class Prosody implements Server {
  readonly name = 'prosody'
  readonly install = 'apt install prosody'
  readonly #place: Place
  #daemon: Daemon | undefined

  constructor (place: Place) {
    this.#place = place
  }

  async version (): Promise<string | undefined> {
    const about = await output('dpkg-query', '--show', '--showformat=${Version}', 'prosody')
    return about === '' ? undefined : about
  }

  async start (archive = false): Promise<void> {
    const { folder, plainPort, directPort } = this.#place
    const file = join(folder, 'prosody.cfg.lua')
    await mkdir(join(folder, 'data'), { recursive: true })
    await writeFile(file, configuration(this.#place, archive))
    this.#daemon = await Daemon.start({
      name: this.name, path: 'prosody', args: ['--config', file, '-F'], folder, ports: [plainPort, directPort], patience: START_PATIENCE,
    })
  }

  async createAccounts (users: readonly string[]): Promise<void> {
    const folder = join(this.#place.folder, 'data', DOMAIN, 'accounts')
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
    return targetAt(this.#place, secure)
  }
}

function configuration (place: Place, archive: boolean): string {
  return `
run_as_root = ${process.getuid?.() === 0}
data_path = "${join(place.folder, 'data')}"
pidfile = "${join(place.folder, 'prosody.pid')}"
log = { { levels = { min = "error" }, to = "console" } }
network_backend = "epoll"
storage = "internal"
authentication = "internal_hashed"
interfaces = { "127.0.0.1" }
c2s_ports = { ${place.plainPort} }
c2s_direct_tls_ports = { ${place.directPort} }
c2s_require_encryption = false
ssl = { certificate = "${place.certificate.chain}", key = "${place.certificate.key}" }
modules_disabled = { "s2s" }
modules_enabled = {
  "posix", "tls", "saslauth", "roster", "disco", "carbons", "blocklist", "private", "ping", "time", "version",${archive ? ' "mam",' : ''}
}
VirtualHost "${DOMAIN}"
`
}
