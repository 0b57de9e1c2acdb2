/**
 * Sestina, Prosody and ejabberd as neighbours: each at an address of its own, found by DNS, certified by the test's
 * authority.
 */
import { randomInt } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Socket } from 'node:net'
import { setTimeout as rest } from 'node:timers/promises'
import tls from 'node:tls'
import { GeneralName } from '@peculiar/asn1-x509'
import { client, xml, type Client } from '@xmpp/client'
import type { Test } from 'tap'
import { only } from '../../only.js'
import { makeAuthority, type Authority } from '../../auth/authority.js'
import { Program, run } from '../process.js'
import { Bridge } from './bridge.js'
import { Zone } from './dns.js'
import { SESTINA } from '../../sestina.js'
import { temporaryFolder } from '../../temporary-folder.js'

export const PASSWORD = 'a secret of Verona'
const PATIENCE = 600_000
/**
 * How long the client library waits for each answer of a server, in milliseconds. It also waits for connections that
 * are gone, and its timers keep the process from ending.
 */
const ANSWER = 90_000

export type Stanza = Parameters<Client['send']>[0]

export interface Neighbour {
  readonly domain: string
  readonly address: string
  addUser (local: string, domain?: string): Promise<void>
  start (): Promise<void>
  stop (): Promise<void>
  kill (): Promise<void>
  /** The output of all its processes so far, as far as that is kept. */
  readonly said: string
}

export interface Trust {
  /** 'certificate': each trusts the others' certificates; 'dialback': no certificate is trusted. */
  readonly trust: 'certificate' | 'dialback'
  /** True if DNS has records for direct TLS only. */
  readonly direct?: boolean
  /** True if the way to each server can be cut. */
  readonly bridged?: boolean
  /** The extended key usages of the certificates, as object identifiers; if left out, there is no restriction. */
  readonly usages?: readonly string[]
}

/** A part of the loopback network, with its DNS and its authority. */
export class Quarter {
  readonly t: Test
  readonly zone: Zone
  readonly folder: string
  readonly authority: Authority
  readonly how: Trust
  readonly #bridges: Bridge[] = []
  readonly #net: string
  #last = 1

  static async build (t: Test, how: Trust): Promise<Quarter> {
    const net = `127.${randomInt(1, 255)}.${randomInt(1, 255)}`
    const zone = await Zone.at(t, `${net}.1`)
    return new Quarter(t, net, zone, await makeAuthority('Verona'), how)
  }

  private constructor (t: Test, net: string, zone: Zone, authority: Authority, how: Trust) {
    this.t = t
    this.#net = net
    this.zone = zone
    this.authority = authority
    this.how = how
    this.folder = temporaryFolder(t)
    mkdirSync(join(this.folder, 'authorities'))
    writeFileSync(join(this.folder, 'authorities', 'verona.pem'), authority.certificate)
  }

  /** The folder with the authority's certificate. */
  get authorities (): string { return join(this.folder, 'authorities') }

  next (): string { return `${this.#net}.${++this.#last}` }

  /** Adds a server to DNS, and makes its certificate. */
  async settle (
    domains: readonly string[], address: string,
  ): Promise<{ readonly certificate: string, readonly key: string }> {
    const ports = this.how.direct === true ? { direct: 5270 } : { plain: 5269 }
    const found = this.how.bridged === true ? await this.#bridge(address) : address
    for (const domain of domains) this.zone.server(domain, found, ports)
    const signer = this.how.trust === 'certificate' ? this.authority : await makeAuthority('nobody knows')
    const names = domains.map(name => new GeneralName({ dNSName: name }))
    return await signer.issue({ subject: 'CN=server', names, ...this.how.usages && { usages: this.how.usages } })
  }

  async #bridge (to: string): Promise<string> {
    const bridge = await Bridge.build(this.t, this.next(), to)
    this.#bridges.push(bridge)
    return bridge.address
  }

  /** Cuts all links between servers, and refuses new ones, until `mend`. */
  async cut (): Promise<void> { for (const bridge of this.#bridges) await bridge.cut() }

  async mend (): Promise<void> { for (const bridge of this.#bridges) await bridge.mend() }

  /**
   * Starts a program that uses this quarter's DNS only: it sees another /etc/resolv.conf than the rest of the machine.
   */
  inside (name: string, path: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Program {
    const file = join(this.folder, 'resolv.conf')
    writeFileSync(file, `nameserver ${this.zone.address}\noptions timeout:2 attempts:2\n`)
    const script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return new Program('unshare', ['--mount', 'sh', '-c', script, file, path, ...args], { cwd: join(this.folder, name), env })
  }
}

/** Starts a server that is stopped when the test ends. */
async function raise<N extends Neighbour> (t: Test, neighbour: N): Promise<N> {
  t.teardown(() => neighbour.stop())
  await neighbour.start()
  return neighbour
}

export interface SestinaHow {
  readonly domains: readonly string[]
  readonly more?: string
  readonly modules?: string
  /** The number of messages that are stored for an offline user or an unreachable server. */
  readonly kept?: number
  /** True if it has rooms at `rooms.` and its first domain. */
  readonly hasRooms?: boolean
}

export interface Sestina extends Neighbour {
  readonly pid: number
  /** Returns the output of its own command. */
  command (...words: readonly string[]): Promise<string>
}

export async function startSestina (quarter: Quarter, how: SestinaHow): Promise<Sestina> {
  const { domains, more = '', modules = '', kept = 100, hasRooms = false } = how
  const [domain = ''] = domains
  const address = quarter.next()
  const folder = join(quarter.folder, domain)
  const pair = await quarter.settle([...domains, ...hasRooms ? [`rooms.${domain}`] : []], address)
  mkdirSync(join(folder, 'data', 'certificates', domain), { recursive: true })
  writeFileSync(join(folder, 'data', 'certificates', domain, 'fullchain.pem'), pair.certificate)
  writeFileSync(join(folder, 'data', 'certificates', domain, 'privkey.pem'), pair.key, { mode: 0o600 })
  const conf = join(folder, 'sestina.toml')
  writeFileSync(conf, `
data = "data"
[log]
level = "debug"
[[listen]]
for = "clients"
port = 5222
address = ["${address}"]
rate = "10MiB/s"
[[listen]]
for = "servers"
port = 5269
address = ["${address}"]
[[listen]]
for = "servers"
port = 5270
address = ["${address}"]
tls = "direct"
[limits]
negotiationTimeout = "10m"
[federation]
trust = "${quarter.how.trust}"
authorities = "${quarter.authorities}"
resolver = ["${quarter.zone.address}"]
privateRanges = ["127.0.0.0/8"]
queue = { stanzas = ${Math.max(1000, kept)} }
${more}
[modules]
${only(`roster = true
presence = true
message = true
offline = { keep = ${kept} }
disco = true
ping = true
limits = { sessionStanzasPerSecond = 10000, addressStanzasPerSecond = 10000, strangerMessagesPerMinute = 1000000 }
${modules}`)}${domains.map(domain => `[host."${domain}"]`).join('\n')}
${hasRooms ? roomsHost(domain) : ''}
`)
  let server: Program | undefined
  let before = ''
  return await raise(quarter.t, {
    domain, address,
    get said () { return before + (server?.said ?? '') },
    async start () {
      server = new Program(process.execPath, [SESTINA, 'start', '--conf', conf], { cwd: folder, isMeasured: false })
      await server.says(/\bready\b|server started/i)
    },
    async stop () { await server?.stop(); before += server?.said ?? ''; server = undefined },
    async kill () { server?.signal('SIGKILL'); await server?.ended; before += server?.said ?? ''; server = undefined },
    get pid () { return server?.pid ?? 0 },
    command: (...words) => run(process.execPath, [SESTINA, ...words, '--conf', conf], { isMeasured: false }),
    async addUser (local, at = domain) {
      await run(process.execPath, [SESTINA, 'user', 'add', `${local}@${at}`, '--password-stdin', '--conf', conf], { input: `${PASSWORD}\n`, isMeasured: false })
    },
  })
}

function roomsHost (domain: string): string {
  return `
[host."rooms.${domain}"]
service = "muc"
[host."rooms.${domain}".modules]
muc = { creators = "anybody" }
mam = true
disco = true
ping = true
`
}

export async function startProsody (quarter: Quarter, domain: string): Promise<Neighbour> {
  const address = quarter.next()
  const folder = join(quarter.folder, domain)
  const pair = await quarter.settle([domain, `rooms.${domain}`], address)
  mkdirSync(join(folder, 'data'), { recursive: true })
  writeFileSync(join(folder, 'cert.pem'), pair.certificate)
  writeFileSync(join(folder, 'key.pem'), pair.key)
  const conf = join(folder, 'prosody.cfg.lua')
  writeFileSync(conf, `
run_as_root = true
data_path = "${join(folder, 'data')}"
pidfile = "${join(folder, 'prosody.pid')}"
log = { { levels = { min = "debug" }, to = "console" } }
interfaces = { "${address}" }
c2s_ports = { 5222 }
s2s_ports = { 5269 }
s2s_direct_tls_ports = { 5270 }
c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = ${quarter.how.trust === 'certificate' ? 'true' : 'false'}
use_ipv6 = false
ssl = { certificate = "${join(folder, 'cert.pem')}", key = "${join(folder, 'key.pem')}", cafile = "${join(quarter.authorities, 'verona.pem')}", capath = "" }
authentication = "internal_plain"
modules_enabled = { "posix", "tls", "saslauth", "dialback", "s2s", "s2s_auth_certs", "s2s_bidi", "roster", "presence", "message", "iq", "disco", "pep",
  "offline", "register", "ping", "smacks" }
VirtualHost "${domain}"
Component "rooms.${domain}" "muc"
  modules_enabled = { "muc_mam" }
  muc_log_by_default = true
  restrict_room_creation = false
`)
  let server: Program | undefined
  let before = ''
  return await raise(quarter.t, {
    domain, address,
    get said () { return before + (server?.said ?? '') },
    async start () {
      server = quarter.inside(domain, 'prosody', ['--config', conf, '-F'])
      for (const service of ['c2s', 's2s', 's2s_direct_tls']) await server.says(new RegExp(`Activated service '${service}'`))
    },
    async stop () { await server?.stop(); before += server?.said ?? ''; server = undefined },
    async kill () { server?.signal('SIGKILL'); await server?.ended; before += server?.said ?? ''; server = undefined },
    async addUser (local) { await run('prosodyctl', ['--config', conf, '--root', 'register', local, domain, PASSWORD]) },
  })
}

export async function startEjabberd (quarter: Quarter, domain: string): Promise<Neighbour> {
  const address = quarter.next()
  const folder = join(quarter.folder, domain)
  const pair = await quarter.settle([domain, `rooms.${domain}`], address)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'both.pem'), `${pair.certificate}\n${pair.key}`)
  const admin = quarter.next()
  const conf = join(folder, 'ejabberd.yml')
  writeFileSync(conf, `
hosts: ["${domain}"]
loglevel: info
log_modules_fully: [ejabberd_sm] # what has come for whom; with all it has to say its logger gives up, and drops lines
certfiles: ["${join(folder, 'both.pem')}"]
ca_file: "${join(quarter.authorities, 'verona.pem')}"
acme: { auto: false }
auth_method: [internal]
auth_password_format: scram
default_db: mnesia
s2s_use_starttls: required
s2s_max_retry_delay: 1 # a server that could not be reached is tried again after this number of seconds, not after minutes
shaper: {}
access_rules: { c2s: [{ allow: all }], local: [{ allow: all }] }
listen:
  - { port: 5222, ip: "${address}", module: ejabberd_c2s, access: c2s, shaper: none, starttls: true, starttls_required: true }
  - { port: 5269, ip: "${address}", module: ejabberd_s2s_in, shaper: none, max_stanza_size: 262144 }
  - { port: 5270, ip: "${address}", module: ejabberd_s2s_in, shaper: none, tls: true, max_stanza_size: 262144 }
  - { port: 5280, ip: "${admin}", module: ejabberd_http, request_handlers: { /api: mod_http_api } }
api_permissions:
  test: { from: [mod_http_api], who: { ip: "127.0.0.0/8" }, what: [register] }
modules:
  mod_roster: {}
  mod_disco: {}
  mod_offline: {}
  mod_ping: {}
  mod_caps: {}
  mod_pubsub: { plugins: [flat, pep] }
  mod_s2s_dialback: {}
  mod_stream_mgmt: {}
  mod_muc: { host: "rooms.@HOST@", access_create: all, access: all }
`)
  const inetrc = join(folder, 'inetrc')
  const four = quarter.zone.address.replaceAll('.', ',')
  writeFileSync(inetrc, `{lookup, [dns]}.\n{nameserver, {${four}}}.\n{timeout, 2000}.\n{retry, 2}.\n`)
  const files = await run('dpkg-query', ['--listfiles', 'ejabberd'])
  const libraries = /^(.*)\/ejabberd-[^/]*\/ebin$/m.exec(files)?.[1] ?? ''
  let server: Program | undefined
  let before = ''
  return await raise(quarter.t, {
    domain, address,
    get said () { return before + (server?.said ?? '') },
    async start () {
      server = quarter.inside(domain, 'erl', ['-noinput', '+K', 'true', '-kernel', 'inetrc', `"${inetrc}"`, '-mnesia', 'dir', `"${join(folder, 'mnesia')}"`, '-s', 'ejabberd'], {
        EJABBERD_CONFIG_PATH: conf, EJABBERD_LOG_PATH: join(folder, 'ejabberd.log'), ERL_LIBS: libraries, ERL_CRASH_DUMP_BYTES: '0',
      })
      await server.says(/Start accepting TLS connections at .*:5270|ejabberd .* is started/)
    },
    async stop () { await server?.stop(); before += server?.said ?? ''; server = undefined },
    async kill () { server?.signal('SIGKILL'); await server?.ended; before += server?.said ?? ''; server = undefined },
    async addUser (user) {
      const response = await fetch(`http://${admin}:5280/api/register`, { method: 'POST', body: JSON.stringify({ user, host: domain, password: PASSWORD }) })
      if (!response.ok) throw new Error(`ejabberd did not register ${user}: ${await response.text()}`)
    },
  })
}

/** Waits until a server has logged something this many times. What it has just logged may still be on its way. */
export async function logged (server: Neighbour, wanted: string, times = 1): Promise<void> {
  const end = performance.now() + PATIENCE
  while (server.said.split(wanted).length <= times) {
    if (performance.now() > end) throw new Error(`${server.domain} did not log '${wanted}' ${times} times:\n${server.said.slice(-4000)}`)
    await rest(20)
  }
}

/** A user's device on any of the servers, online. */
export class Device {
  readonly xmpp: Client
  /** The full address that its server has bound. */
  full = ''
  readonly bare: string
  readonly came: Stanza[] = []
  readonly #looking = new Set<() => void>()

  private constructor (xmpp: Client, local: string, domain: string) {
    this.xmpp = xmpp
    this.bare = `${local}@${domain}`
  }

  static async of (t: Test, server: Neighbour, local: string, resource = 'orchard'): Promise<Device> {
    const xmpp = client({ service: `xmpp://${server.address}:5222`, domain: server.domain, username: local, password: PASSWORD, resource })
    const device = new Device(xmpp, local, server.domain)
    Object.assign(xmpp, { timeout: ANSWER })
    xmpp.on('error', () => {})
    xmpp.on('stanza', stanza => {
      device.came.push(stanza)
      for (const look of device.#looking) look()
    })
    t.teardown(() => device.leaves())
    device.full = String(await xmpp.start())
    await xmpp.iqCaller.get(xml('query', { xmlns: 'jabber:iq:roster' }), undefined, PATIENCE) // RFC 6121 §2.2: a client that asks for the roster gets subscription requests
    await xmpp.send(xml('presence'))
    return device
  }

  /** Cuts the connection without a word. The device does not reconnect. */
  cut (): void {
    this.xmpp.reconnect.stop()
    const line = this.xmpp.socket as unknown as { readonly socket?: Socket } | Socket | null
    if (line !== null) (line instanceof Socket ? line : line.socket)?.destroy()
  }

  /** Leaves, and does not reconnect. A second stop would look like a broken connection to the library. */
  async leaves (): Promise<void> {
    this.xmpp.reconnect.stop()
    await this.xmpp.stop()
  }

  /** Resolves with the next stanza that arrives, or after `ms` milliseconds. */
  async hears (ms: number): Promise<void> {
    await new Promise<void>(resolve => {
      const done = (): void => {
        clearTimeout(timer)
        this.#looking.delete(done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      this.#looking.add(done)
    })
  }

  async says (stanza: Stanza): Promise<void> { await this.xmpp.send(stanza) }

  async gets (what: string, wanted: (stanza: Stanza) => boolean, patience = PATIENCE): Promise<Stanza> {
    return await new Promise((resolve, reject) => {
      const done = (): void => { clearTimeout(timer); this.#looking.delete(look) }
      const timer = setTimeout(() => { done(); reject(new Error(`${this.full} did not get ${what}, but:\n${this.came.join('\n')}`)) }, patience)
      const look = (): void => {
        const index = this.came.findIndex(wanted)
        if (index < 0) return
        done()
        resolve(...this.came.splice(index, 1) as [Stanza])
      }
      this.#looking.add(look)
      look()
    })
  }
}

/** Lets node:tls in this process accept any certificate, as the client library has no setting for it. */
export function trustAll (t: Test): void {
  const connect = tls.connect
  const unchecked = (options: tls.ConnectionOptions) => connect({ ...options, rejectUnauthorized: false })
  tls.connect = unchecked as typeof tls.connect
  t.teardown(() => { tls.connect = connect })
}
