/** Sestina as built in dist: SQLite synced to disk as in the shipped conf file, accounts through its local socket. */
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { askAdmin, type Answered } from '../../lib/admin/socket.js'
import { PACKAGE_ROOT, VERSION } from '../../lib/base/package.js'
import type { Target } from '../client.js'
import { inParallel } from '../scenes/crowd.js'
import { Daemon, listening } from './daemon.js'
import { ITERATIONS, PASSWORD, serviceAt, START_TIMEOUT, targetAt, type Features, type Place, type Server } from './server.js'

/** The server named 'sestina', or 'before' for another checkout. */
export class Sestina implements Server {
  readonly name: string
  readonly resumesAtOnce = true
  readonly install = 'npm run build'
  readonly place: Place
  readonly #root: string
  #daemon: Daemon | undefined

  /** `root` is the folder of another checkout to run instead of this one. The server is then named `before`. */
  constructor (place: Place, root?: string) {
    this.place = place
    this.#root = root ?? PACKAGE_ROOT
    this.name = root === undefined ? 'sestina' : 'before'
  }

  async version (): Promise<string | undefined> {
    return await Promise.resolve(existsSync(this.#command) ? VERSION : undefined)
  }

  async start (features: Features = {}): Promise<void> {
    const { folder, address, domain, plainPort, tlsPort, directPort, serverPort, certificate } = this.place
    const { neighbour } = features
    const certificates = join(folder, 'certificates', domain)
    await mkdir(certificates, { recursive: true })
    await copyFile(certificate.chain, join(certificates, 'fullchain.pem'))
    await copyFile(certificate.key, join(certificates, 'privkey.pem'))
    await writeFile(this.#conf, await configuration(this.place, this.#root, features))
    this.#daemon = await Daemon.start({
      name: this.name,
      path: process.execPath,
      args: [this.#command, 'start', '--conf', this.#conf],
      folder,
      signs: [
        ...listening(address, [plainPort, tlsPort, directPort, ...neighbour === undefined ? [] : [serverPort]]),
        // The local socket is opened after the ports, so the ports alone do not show that the server answers commands.
        async () => await this.#ask('status') !== undefined,
      ],
      patience: START_TIMEOUT,
    })
  }

  async createAccounts (users: readonly string[]): Promise<void> {
    await inParallel(users, 16, async user => {
      const answer = await this.#ask('user add', [`${user}@${this.place.domain}`], PASSWORD)
      if (answer === undefined) throw new Error(`sestina does not answer at its socket: ${this.#daemon?.lastWords() ?? ''}`)
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
    return targetAt(this.place, secure)
  }

  async #ask (command: string, args: readonly string[] = [], input?: string): Promise<Answered | undefined> {
    return await askAdmin(join(this.place.folder, 'data', 'admin.sock'), { command, args: [...args], ...input === undefined ? {} : { input } })
  }

  get #command (): string {
    return join(this.#root, 'dist', 'bin', 'sestina.js')
  }

  get #conf (): string {
    return join(this.place.folder, 'sestina.toml')
  }
}

/**
 * The features that the other two servers have on. `limits`, which bounds an account's rate, is off, as their shapers
 * are.
 */
const MODULES = [
  'roster', 'presence', 'message', 'carbons', 'offline', 'disco', 'blocking', 'private', 'version', 'time', 'ping', 'stream-management', 'csi',
]

/** The other servers have no bound on contacts. */
const ROSTER = '{ items = 10000, bytes = "1MiB" }'

async function configuration (
  place: Place, root: string, { archive = false, pubsub = false, neighbour }: Features,
): Promise<string> {
  const files = await readdir(join(root, 'dist', 'modules'))
  // The module of the service is for the service alone.
  const there = files.filter(file => /\.js$|^[^.]+$/.test(file)).map(file => file.replace(/\.js$/, ''))
    .filter(name => !pubsub || name !== 'pubsub')
  const built = [...MODULES, ...archive ? ['mam'] : [], ...pubsub ? ['caps', 'pep'] : []].filter(name => there.includes(name))
  const listen = (whom: string, port: number, tls: string): string =>
    `[[listen]]\nfor = "${whom}"\nport = ${port}\naddress = ["${place.address}"]\ntls = "${tls}"\nrate = "1GiB/s"\n`
  // A build from before the setting's new name knows only the old one.
  const schema = await readFile(join(root, 'conf', 'sestina.schema.json'), 'utf8')
  const connections = schema.includes('connectionsPerAddress') ? 'connectionsPerAddress' : 'connections'
  const clients = [listen('clients', place.plainPort, 'none'), listen('clients', place.tlsPort, 'required'), listen('clients', place.directPort, 'direct')]
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
${clients.join('')}
[authentication]
iterations = ${ITERATIONS}
[limits]
${connections} = 100000
${neighbour === undefined ? '' : listen('servers', place.serverPort, 'required') + federation(neighbour)}
[modules]
${there.map(name => `${name} = ${name === 'roster' ? ROSTER : built.includes(name)}`).join('\n')}
[host."${place.domain}"]
admins = []
${pubsub ? `[host."${serviceAt(place)}"]\nservice = "pubsub"\n` : ''}`
}

function federation ({ domain, address, serverPort, certificate }: Place): string {
  return `
[federation]
trust = "certificate"
authorities = "${certificate.authorities}"
[federation.domain."${domain}"]
host = "${address}"
port = ${serverPort}
`
}
