/**
 * ejabberd from Debian's package: its own virtual machine without clustering, Mnesia, accounts through the HTTP API.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inParallel } from '../scenes/crowd.js'
import type { Target } from '../client.js'
import { Daemon, listening } from './daemon.js'
import { AUTHORITY, output, PASSWORD, START_TIMEOUT, targetAt, type Features, type Place, type Server } from './server.js'

/** The server named 'ejabberd'. */
export class Ejabberd implements Server {
  readonly name = 'ejabberd'
  readonly resumesAtOnce = false
  readonly install = 'apt install ejabberd'
  readonly place: Place
  #daemon: Daemon | undefined

  constructor (place: Place) {
    this.place = place
  }

  async version (): Promise<string | undefined> {
    const about = await output('dpkg-query', '--show', '--showformat=${Version}', 'ejabberd')
    return about === '' ? undefined : about
  }

  async start (features: Features = {}): Promise<void> {
    const { folder, address, plainPort, directPort, adminPort, serverPort } = this.place
    const { neighbour } = features
    const file = join(folder, 'ejabberd.yml')
    const names = join(folder, 'inetrc')
    await writeFile(file, configuration(this.place, features))
    await writeFile(names, namesOf(this.place))
    this.#daemon = await Daemon.start({
      name: this.name,
      path: 'erl',
      args: [...VIRTUAL_MACHINE, '-kernel', 'inetrc', `"${names}"`, '-mnesia', 'dir', `"${join(folder, 'mnesia')}"`, '-s', 'ejabberd'],
      folder,
      env: { EJABBERD_CONFIG_PATH: file, EJABBERD_LOG_PATH: join(folder, 'ejabberd.log'), ERL_LIBS: await libraries(), ...ENVIRONMENT },
      signs: listening(address, [plainPort, directPort, adminPort, ...neighbour === undefined ? [] : [serverPort]]),
      patience: START_TIMEOUT,
    })
  }

  async createAccounts (users: readonly string[]): Promise<void> {
    await inParallel(users, 4, async user => {
      const response = await fetch(`http://${this.place.address}:${this.place.adminPort}/api/register`, {
        method: 'POST', body: JSON.stringify({ user, host: this.place.domain, password: PASSWORD }),
      })
      if (!response.ok) throw new Error(`ejabberd did not register ${user}: ${await response.text()}`)
    })
  }

  async stop (): Promise<void> {
    await this.#daemon?.stop()
  }

  get pid (): number {
    if (this.#daemon === undefined) throw new Error('ejabberd was not started')
    return this.#daemon.pid
  }

  target (secure: Target['secure']): Target {
    return targetAt(this.place, secure)
  }
}

/**
 * The options of the package's ejabberdctl, with two differences. There is no node name, so neither epmd nor a cookie
 * is needed. There is no busy waiting (+sbwt none): idle schedulers would spin, and their CPU time would count for
 * messages.
 */
const VIRTUAL_MACHINE = [
  '-noinput', '+K', 'true', '+P', '250000', '+sbwt', 'none', '+sbwtdcpu', 'none', '+sbwtdio', 'none',
]
const ENVIRONMENT = { ERL_MAX_PORTS: '32000', ERL_MAX_ETS_TABLES: '1400', ERL_CRASH_DUMP_BYTES: '0' }

/** Returns the folder of ejabberd's code in Debian: the one above ejabberd-<version>/ebin. */
async function libraries (): Promise<string> {
  const files = await output('dpkg-query', '--listfiles', 'ejabberd') ?? ''
  const folder = /^(.*)\/ejabberd-[^/]*\/ebin$/m.exec(files)?.[1]
  if (folder === undefined) throw new Error("ejabberd's code was not found")
  return folder
}

/** Returns Erlang's resolver settings: the bench's own DNS server alone. */
function namesOf ({ names: { address, port } }: Place): string {
  return `{lookup, [file]}.\n{resolv_conf, ""}.\n{hosts_file, ""}.\n{nameserver, {${address.replaceAll('.', ',')}}, ${port}}.\n`
}

function configuration (place: Place, { archive = false, pubsub = false, neighbour }: Features): string {
  const listener = (port: number, more: string): string => `  - { port: ${port}, ip: "${place.address}", ${more} }\n`
  const clients = 'module: ejabberd_c2s, access: c2s, shaper: none, max_stanza_size: 262144'
  return `
hosts: ["${place.domain}"]
loglevel: error
certfiles: ["${place.certificate.both}"]
acme: { auto: false }
auth_method: [internal]
auth_password_format: scram
auth_scram_hash: sha
disable_sasl_mechanisms: []
default_db: mnesia
max_fsm_queue: 100000
shaper: {}
shaper_rules: { max_user_sessions: infinity, max_user_offline_messages: 100 }
access_rules: { c2s: [{ allow: all }], local: [{ allow: all }] }
registration_timeout: infinity
${neighbour === undefined ? '' : federation(neighbour)}
listen:
${listener(place.plainPort, `${clients}, starttls: true`)}${listener(place.directPort, `${clients}, tls: true`)}${
  listener(place.adminPort, 'module: ejabberd_http, request_handlers: { /api: mod_http_api }')}${
  neighbour === undefined ? '' : listener(place.serverPort, 'module: ejabberd_s2s_in, shaper: none, max_stanza_size: 262144')}
api_permissions:
  bench: { from: [mod_http_api], who: { ip: "127.0.0.0/8" }, what: [register] }
modules:
  mod_roster: {}
  mod_disco: {}
  mod_carboncopy: {}
  mod_offline: { access_max_user_messages: max_user_offline_messages }
  mod_privacy: {}
  mod_blocking: {}
  mod_private: {}
  mod_ping: {}
  mod_time: {}
  mod_version: {}
  mod_stream_mgmt: {}
  mod_client_state: {}
${archive ? '  mod_mam: { default: always }\n' : ''}${pubsub ? '  mod_caps: {}\n  mod_pubsub: { host: "pubsub.@HOST@", plugins: [flat, pep], max_items_node: 1000 }\n' : ''}`
}

/** Returns the settings for other servers: they are trusted by certificate alone. */
function federation (neighbour: Place): string {
  return `s2s_use_starttls: required
ca_file: "${join(neighbour.certificate.authorities, AUTHORITY)}"
outgoing_s2s_families: [ipv4]`
}
