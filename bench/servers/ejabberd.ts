/** ejabberd from Debian's package: its own virtual machine without clustering, Mnesia, accounts through its HTTP API. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inParallel } from '../scenes/crowd.js'
import type { Target } from '../client.js'
import { Daemon } from './daemon.js'
import { DOMAIN, output, PASSWORD, START_PATIENCE, targetAt, type Place, type Server } from './server.js'

/** The server whose name is 'ejabberd'. */
export class Ejabberd implements Server {
  readonly name = 'ejabberd'
  readonly install = 'apt install ejabberd'
  readonly #place: Place
  #daemon: Daemon | undefined

  constructor (place: Place) {
    this.#place = place
  }

  async version (): Promise<string | undefined> {
    const about = await output('dpkg-query', '--show', '--showformat=${Version}', 'ejabberd')
    return about === '' ? undefined : about
  }

  async start (archive = false): Promise<void> {
    const { folder, plainPort, directPort, adminPort } = this.#place
    const file = join(folder, 'ejabberd.yml')
    await writeFile(file, configuration(this.#place, archive))
    this.#daemon = await Daemon.start({
      name: this.name,
      path: 'erl',
      args: [...VIRTUAL_MACHINE, '-mnesia', 'dir', `"${join(folder, 'mnesia')}"`, '-s', 'ejabberd'],
      folder,
      env: { EJABBERD_CONFIG_PATH: file, EJABBERD_LOG_PATH: join(folder, 'ejabberd.log'), ERL_LIBS: await libraries(), ...ENVIRONMENT },
      ports: [plainPort, directPort, adminPort],
      patience: START_PATIENCE,
    })
  }

  async createAccounts (users: readonly string[]): Promise<void> {
    await inParallel(users, 4, async user => {
      const response = await fetch(`http://127.0.0.1:${this.#place.adminPort}/api/register`, {
        method: 'POST', body: JSON.stringify({ user, host: DOMAIN, password: PASSWORD }),
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
    return targetAt(this.#place, secure)
  }
}

/**
 * As the package's ejabberdctl starts it, but for two things. No node name: neither epmd nor a cookie is needed then.
 * No busy waiting (+sbwt none): idle schedulers would spin, and what they burn would be booked as the price of messages.
 */
const VIRTUAL_MACHINE = [
  '-noinput', '+K', 'true', '+P', '250000', '+sbwt', 'none', '+sbwtdcpu', 'none', '+sbwtdio', 'none',
]
const ENVIRONMENT = { ERL_MAX_PORTS: '32000', ERL_MAX_ETS_TABLES: '1400', ERL_CRASH_DUMP_BYTES: '0' }

/** Where Debian keeps ejabberd's code: the folder above ejabberd-<version>/ebin. */
async function libraries (): Promise<string> {
  const files = await output('dpkg-query', '--listfiles', 'ejabberd') ?? ''
  const folder = /^(.*)\/ejabberd-[^/]*\/ebin$/m.exec(files)?.[1]
  if (folder === undefined) throw new Error("ejabberd's code was not found")
  return folder
}

function configuration (place: Place, archive: boolean): string {
  return `
hosts: [${DOMAIN}]
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
listen:
  - { port: ${place.plainPort}, ip: "127.0.0.1", module: ejabberd_c2s, access: c2s, shaper: none, starttls: true, max_stanza_size: 262144 }
  - { port: ${place.directPort}, ip: "127.0.0.1", module: ejabberd_c2s, access: c2s, shaper: none, tls: true, max_stanza_size: 262144 }
  - { port: ${place.adminPort}, ip: "127.0.0.1", module: ejabberd_http, request_handlers: { /api: mod_http_api } }
api_permissions:
  bench: { from: [mod_http_api], who: { ip: "127.0.0.1/8" }, what: [register] }
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
${archive ? '  mod_mam: { default: always }\n' : ''}`
}
