/** Sestina as built in dist: SQLite synced to disk as in the shipped conf, accounts through its own socket. */
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { askAdmin } from '../../lib/admin/socket.js'
import { PACKAGE_ROOT, VERSION } from '../../lib/base/package.js'
import type { Target } from '../client.js'
import { inParallel } from '../scenes/crowd.js'
import { Daemon } from './daemon.js'
import { DOMAIN, ITERATIONS, PASSWORD, START_PATIENCE, targetAt, type Place, type Server } from './server.js'

/** The server whose name is 'sestina'. */
export class Sestina implements Server {
  readonly name: string
  readonly install = 'npm run build'
  readonly #place: Place
  readonly #root: string
  #daemon: Daemon | undefined

  /** `root`: the checkout that is run, where it is not our own; its name is `before`. */
  constructor (place: Place, root?: string) {
    this.#place = place
    this.#root = root ?? PACKAGE_ROOT
    this.name = root === undefined ? 'sestina' : 'before'
  }

  async version (): Promise<string | undefined> {
    return await Promise.resolve(existsSync(this.#command) ? VERSION : undefined)
  }

  async start (archive = false): Promise<void> {
    const { folder, plainPort, tlsPort, directPort, certificate } = this.#place
    const certificates = join(folder, 'certificates', DOMAIN)
    await mkdir(certificates, { recursive: true })
    await copyFile(certificate.chain, join(certificates, 'fullchain.pem'))
    await copyFile(certificate.key, join(certificates, 'privkey.pem'))
    await writeFile(this.#conf, await configuration(this.#place, this.#root, archive))
    this.#daemon = await Daemon.start({
      name: this.name,
      path: process.execPath,
      args: [this.#command, 'start', '--conf', this.#conf],
      folder,
      ports: [plainPort, tlsPort, directPort],
      patience: START_PATIENCE,
    })
  }

  async createAccounts (users: readonly string[]): Promise<void> {
    const socket = join(this.#place.folder, 'data', 'admin.sock')
    await inParallel(users, 16, async user => {
      const answer = await askAdmin(socket, { command: 'user add', args: [`${user}@${DOMAIN}`], input: PASSWORD })
      if (answer === undefined) throw new Error('sestina does not answer at its socket')
    })
  }

  async stop (): Promise<void> {
    await this.#daemon?.stop()
  }

  get pid (): number {
    if (this.#daemon === undefined) throw new Error('sestina was not started')
    return this.#daemon.pid
  }

  target (secure: Target['secure']): Target {
    return targetAt(this.#place, secure)
  }

  get #command (): string {
    return join(this.#root, 'dist', 'bin', 'sestina.js')
  }

  get #conf (): string {
    return join(this.#place.folder, 'sestina.toml')
  }
}

/** The same as the other two have on; what bounds the speed of one account (limits) is off, as their shapers are. */
const MODULES = ['roster', 'presence', 'message', 'carbons', 'offline', 'disco', 'blocking', 'private', 'version', 'time', 'ping']

async function configuration (place: Place, root: string, archive: boolean): Promise<string> {
  const files = await readdir(join(root, 'dist', 'modules'))
  const built = [...MODULES, ...archive ? ['mam'] : []].filter(name => files.includes(name) || files.includes(`${name}.js`))
  const listen = (port: number, tls: string): string =>
    `[[listen]]\nfor = "clients"\nport = ${port}\naddress = ["127.0.0.1"]\ntls = "${tls}"\nrate = "1GiB/s"\n`
  return `
data = "data"
[log]
level = "error"
format = "json"
[storage]
driver = "sqlite"
durability = "disk"
[tls]
certificates = "certificates"
${listen(place.plainPort, 'none')}${listen(place.tlsPort, 'required')}${listen(place.directPort, 'direct')}
[authentication]
iterations = ${ITERATIONS}
[limits]
connections = 100000
[modules]
${built.map(name => `${name} = true`).join('\n')}
[host.${DOMAIN}]
admins = []
`
}
