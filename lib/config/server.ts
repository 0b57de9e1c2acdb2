/** The settings of the server itself and of hosts. Each module declares its own settings. */
import type { Path } from './read.js'
import {
  account, address, choice, count, domain, DOMAINS, duration, flag, ipRange, list, named, optional, path, port, rate,
  moduleNames, secret, size, socket, table, webOrigin, type Values,
} from './schema.js'

/** The default of the setting `authentication.minPasswordLength`, in characters. */
export const MIN_PASSWORD_LENGTH = 8

/** The peers a listener may serve in this version. */
const SERVED = ['clients', 'servers', 'web', 'components', 'monitors'] as const

const listener = {
  for: choice(...SERVED).says('The peers that connect here: clients, other servers, clients that come over the web ("web": HTTP with WebSocket), programs that serve a domain ("components"), or programs that watch the server over HTTP ("monitors": metrics, health).'),
  port: port().says('The TCP port. 0 lets the system choose one.'),
  address: list(address(), { min: 1, max: 64 }).default(['::', '0.0.0.0'])
    .says('The IP addresses to listen on. By default all of them: IPv6 ("::") and IPv4 ("0.0.0.0").'),
  tls: choice('required', 'direct', 'none').default('required')
    .says('"required": STARTTLS before anything else. "direct": TLS from the first byte. "none": no TLS, on loopback addresses only. ' +
      'For the web, "required" and "direct" both mean HTTPS, and "none" is also allowed behind `proxies`. For components and monitors, both mean TLS from the first byte.'),
  maxStanzaSize: size({ min: '10000B', max: '16MiB' }).default('256KiB').was('stanza')
    .says('The largest stanza that is accepted. A larger one ends the stream.'),
  rate: optional(rate({ min: '1KiB/s' }))
    .says('How much one connection may send on average. A faster one is read more slowly; nothing is lost. ' +
      'By default "20KiB/s" for a client and "1MiB/s" for a server or component.'),
  proxies: optional(list(ipRange(), { max: 1000 }))
    .says('Only for the web: the addresses of your reverse proxies. What they say about the address of a client, and about its TLS, is believed. With tls = "none", ' +
      'nobody else but this machine may connect.'),
  forwardedHeader: optional(choice('x-forwarded-for', 'forwarded'))
    .says('Only for the web: the header in which the proxies name the client\'s address. "x-forwarded-for", the default: with X-Forwarded-Proto. "forwarded": the one of RFC 7239. ' +
      'The other one is never read: a client could have written it.'),
  url: optional(webOrigin())
    .says('Only for the web: the address at which clients reach this listener, such as "https://chat.example.org", if it is another than the domain and `port`, ' +
      'or if a proxy is between.'),
  origins: optional(list(webOrigin(), { max: 1000 }))
    .says('Only for the web: the web pages whose scripts may connect, such as "https://chat.example.org". By default the pages of all sites: a login protects the accounts.'),
}

const authentication = table({
  mechanisms: list(choice(
    'EXTERNAL', 'SCRAM-SHA-512-PLUS', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN',
  ), { min: 1, max: 16 })
    .default([
      'EXTERNAL', 'SCRAM-SHA-512-PLUS', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN',
    ])
    .says('The login mechanisms that clients are offered: PLAIN only inside TLS, -PLUS only if the TLS connection has channel binding, EXTERNAL only with `authorities`.'),
  authorities: optional(path())
    .says('A folder of CA certificates (*.pem). A client with a certificate that one of them has signed may log in without a password (EXTERNAL).'),
  iterations: count({ min: 4096, max: 1_000_000 }).default(10_000)
    .says('Iterations of PBKDF2 for passwords that are set from now on. More iterations make attacks slower, and each PLAIN login as well.'),
  minPasswordLength: count({ min: 1, max: 128 }).default(MIN_PASSWORD_LENGTH).was('shortest')
    .says('The fewest characters of a password that is set from now on, by its owner or by the operator. Passwords that were set before, ' +
      'and imported ones, stay as they are.'),
  fast: flag().default(true)
    .says('Whether clients may ask for a token for their next login, which then takes one round trip and no password (XEP-0484).'),
  tokenLifetime: duration({ min: '1h', max: '1y' }).default('21d').was('token')
    .says('How long such a token is valid. A token in use is replaced every day.'),
  attempts: count({ min: 1, max: 20 }).default(10)
    .says('The number of failed logins after which a connection is closed.'),
  failureDelay: duration({ max: '1m' }).default('1s').was('delay')
    .says('How long the answer to a failed login is delayed. The delay doubles with each further failure of the same account from the same IP address, ' +
      'up to a minute, or to 10s if the account has logged in from there before. Failures of many accounts from one address delay ' +
      'all accounts that have never logged in from there. A login with a token (XEP-0484) is never delayed.'),
  forgetFailuresAfter: duration({ min: '1s', max: '1d' }).default('10m').was('forget')
    .says('How long after its last failed login an IP address is no longer delayed.'),
}).says('How clients log in.')

const limits = table({
  negotiationTimeout: duration({ min: '1s', max: '10m' }).default('30s').was('negotiation')
    .says('The time that a client has to connect, log in and bind.'),
  keepalive: duration({ min: '10s', max: '1d' }).default('5m')
    .says('The server sends a space after this time without data from a client or another server, which shows whether the connection is alive. Clients that the module `ping` watches get its pings instead, after the module\'s own times.'),
  idleTimeout: duration({ min: '1m', max: '1y' }).default('1d').was('idle')
    .says('After this time without data, a client is disconnected.'),
  connectionsPerAddress: count({ min: 1 }).default(100).was('connections')
    .says('The most connections at a time from one IP address (IPv6: from one /64). Further ones are closed.'),
  sessionsPerAccount: count({ min: 1, max: 1000 }).default(20).was('resources')
    .says('The most devices of one account that are online at a time.'),
  resourceConflict: choice('replace', 'refuse').default('replace').was('conflict')
    .says('If a device asks for a resource that another device has: "replace" ends the other session, "refuse" makes the device ask for another resource.'),
  unauthenticated: table({
    maxStanzaSize: size({ min: '10000B', max: '256KiB' }).default('10000B').was('stanza')
      .says('The largest element that is accepted before login.'),
    maxElements: count({ min: 16, max: 10_000 }).default(64).was('elements')
      .says('The most elements within one such element.'),
  }).says('Limits of clients that have not logged in yet.'),
}).says('Limits of client connections.')

const TRUST = ['certificate', 'dialback', 'refuse'] as const

const federation = table({
  trust: choice(...TRUST).default('certificate')
    .says('How another server must prove its domain. "certificate": by a valid certificate. "dialback": what DNS says is enough. ' +
      '"refuse": only the domains named below may connect or are connected to. Connections are always encrypted.'),
  domain: named(table({
    trust: optional(choice(...TRUST)).says('How this domain must be proven. By default as all others.'),
    host: optional(domain()).says('The name or IP address of its server. By default DNS is asked.'),
    port: optional(port()).says('The port of that server. By default 5269, or 5270 for direct TLS.'),
    tls: choice('required', 'direct').default('required').says('"required": STARTTLS. "direct": TLS from the first byte. Used only with `host`.'),
    allowPrivateAddresses: flag().default(false).was('private').says('Whether its server may have a private address in DNS. With `host`, any address is allowed.'),
  }).says('One domain of another server.'), DOMAINS)
    .says('Settings of single domains, one table for each: [federation.domain."example.net"].'),
  authorities: optional(path())
    .says('A folder of CA certificates (*.pem) that certify other servers. By default those that the system trusts.'),
  resolver: list(socket(), { max: 8 }).default([])
    .says('DNS servers, such as "127.0.0.1" or "[::1]:5353". By default those that the system uses.'),
  dane: flag().default(false)
    .says('Whether the certificate that a domain names in DNS (DANE, RFC 7673) is the only valid one for it. The DNS servers are trusted if they ' +
      'say that DNSSEC has verified the answer. Turn this on only if they verify, and are on this machine or on a network that nobody else uses.'),
  privateRanges: list(ipRange(), { max: 1000 }).default([]).was('private')
    .says('Ranges of private IP addresses that servers of other domains may have: "10.0.0.0/8", "fd00::/8". ' +
      'Strangers write DNS: without this setting, no domain can make this server connect to its own network or to itself.'),
  queue: table({
    stanzas: count({ min: 1, max: 100_000 }).default(1000).says('The most stanzas that wait.'),
    // All of it is sent at once when the stream is up. Together with what is sent again it has to fit into the most
    // that may wait in a stream (8 MiB).
    bytes: size({ min: '64KiB', max: '2MiB' }).default('1MiB').was('size').says('The most bytes of these stanzas together.'),
    timeout: duration({ min: '1s', max: '10m' }).default('30s').was('time').says('The longest time that a stanza waits. Then its sender gets an error.'),
  }).says('The queue of stanzas that wait while there is no connection, for each pair of domains.'),
  idleTimeout: duration({ min: '1m', max: '1d' }).default('10m').was('idle').says('A connection without stanzas for this time is closed.'),
  connectionsPerAddress: count({ min: 1 }).default(50).was('connections')
    .says('The most connections at a time from one IP address (IPv6: from one /64). Further ones are closed.'),
}).says('How other servers are found and trusted. The server talks to others only if a [[listen]] is for "servers".')

/** The settings of the server, except `include`, `modules` and `host`. */
export const server = {
  data: path().default('data')
    .says('The folder for everything that the server stores: one folder to back up, used by one process at a time.'),
  log: table({
    level: choice('debug', 'info', 'warn', 'error').default('info').says('The lowest level of events that are logged. A reload applies it.'),
    format: choice('auto', 'pretty', 'json').default('auto')
      .says('"pretty": for people. "json": one JSON object per line. "auto": pretty on a terminal, JSON elsewhere.'),
  }).says('The log, on standard output.'),
  storage: table({
    driver: choice('sqlite', 'postgres', 'memory').default('sqlite')
      .says('Where accounts and messages are stored. "memory" loses everything when the server stops.'),
    durability: choice('disk', 'os').default('disk')
      .says('When a stanza counts as stored. "disk": after a sync, it survives a power cut. "os": after a write, it survives a crash of the server.'),
    url: optional(secret()).says('The address of the PostgreSQL database: postgres://user:password@host/database.'),
  }).says('The storage of accounts and messages.'),
  tls: table({
    certificates: path().default('data/certificates')
      .says('The folder of certificates: one folder for each domain, with fullchain.pem and privkey.pem. New certificates are used without a restart.'),
    minVersion: choice('TLSv1.2', 'TLSv1.3').default('TLSv1.2').was('oldest').says('The oldest version of TLS that is accepted.'),
  }).says('The encryption of connections.'),
  listen: list(table(listener), { max: 256 })
    .default([{ for: 'clients', port: 5222, tls: 'required' }, { for: 'clients', port: 5223, tls: 'direct' }])
    .says('The ports that the server listens on, one table for each.'),
  authentication,
  limits,
  federation,
}

/** The settings of a host, except `modules`. */
export const host = {
  admins: list(account()).default([]).says('Accounts that may administer this host.'),
  service: optional(moduleNames())
    .says('The modules that serve this domain, such as rooms. A host with this setting has no accounts, and no client logs in there.'),
  parent: optional(domain())
    .says('The host whose clients are shown this service (XEP-0030). By default the host of which this domain is a subdomain. Only with `service`.'),
  entities: optional(count({ min: 100, max: 10_000_000 }))
    .says('The most rooms and other addresses of this service that are in memory. With more, the one that was not used for the longest time is saved and leaves. By default 20,000. Only with `service`.'),
  entityBytes: optional(size({ min: '1MiB', max: '1TiB' }))
    .says('The most bytes of memory that they take together. By default 128MiB. Only with `service`.'),
  federation: choice('all', 'listed', 'off').default('all')
    .says('Which other domains its users may talk to. "all": every domain that [federation] allows. "listed": those in `partners`. "off": none.'),
  partners: list(domain()).default([]).says('The other domains that the users of this host may talk to, with federation = "listed".'),
}

export type ServerSettings = Values<typeof server>
export type ListenSettings = ServerSettings['listen'][number]
export type HostSettings = Values<typeof host>

interface Mistake { readonly path: Path, readonly text: string }

/** Returns the mistakes of settings that are each valid alone but contradict each other. */
export function contradictions (settings: ServerSettings): readonly Mistake[] {
  const found: Mistake[] = []
  settings.listen.forEach((listener, index) => { found.push(...listenMistakes(listener, index)) })
  found.push(...takenTwice(settings))
  if (settings.storage.driver === 'postgres' && settings.storage.url === undefined) {
    found.push({ path: ['storage', 'url'], text: 'storage.url is missing: driver "postgres" needs it' })
  }
  if (settings.limits.idleTimeout <= settings.limits.keepalive) {
    found.push({ path: ['limits', 'idleTimeout'], text: 'limits.idleTimeout must be longer than limits.keepalive: otherwise a client is disconnected before it is asked' })
  }
  return found
}

function listenMistakes (
  { for: whom, tls, address, proxies, forwardedHeader, url, origins }: ListenSettings, index: number,
): readonly Mistake[] {
  const mistake = (name: string, text: string): Mistake => ({ path: ['listen', index, name], text: `listen[${index}].${name}${text}` })
  const found: Mistake[] = []
  const isBehindProxies = whom === 'web' && proxies !== undefined && proxies.length > 0
  if (tls === 'none' && !isBehindProxies && !address.every(isLoopback)) {
    found.push(mistake('tls', ': "none" is for loopback only; add address = ["127.0.0.1", "::1"]' +
      (whom === 'web' ? ', or name your reverse proxies with `proxies`' : '')))
  }
  for (const [name, value] of Object.entries({ proxies, forwardedHeader, url, origins })) {
    if (whom !== 'web' && value !== undefined) found.push(mistake(name, ' is only for the web'))
  }
  // XEP-0156 §3.2
  if (url?.startsWith('http:') === true) found.push(mistake('url', ': clients are told only addresses with https'))
  return found
}

/** Returns a mistake for each address and port that two listeners want. */
function takenTwice ({ listen }: ServerSettings): readonly Mistake[] {
  const found: Mistake[] = []
  const taken = new Map<string, number>()
  listen.forEach(({ port, address }, index) => {
    for (const ip of port === 0 ? [] : address) {
      const other = taken.get(`${ip} ${port}`)
      if (other === undefined) taken.set(`${ip} ${port}`, index)
      else found.push({ path: ['listen', index, 'port'], text: `listen[${index}].port: ${port} on ${ip} is taken by listen[${other}]` })
    }
  })
  return found
}

function isLoopback (ip: string): boolean {
  return ip === '::1' || ip.startsWith('127.')
}
