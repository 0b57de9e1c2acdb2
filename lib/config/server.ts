/** The settings of the server itself. Those of modules stand in the modules. */
import type { Path } from './read.js'
import {
  account, address, choice, count, domain, DOMAINS, duration, flag, ipRange, list, named, optional, path, port, rate, secret, size, socket,
  table, type Values,
} from './schema.js'

/** What a listener may be for. What this version does not serve is not here. */
const SERVED = ['clients', 'servers'] as const

const listener = {
  for: choice(...SERVED).says('Whom the server listens to here.'),
  port: port().says('The TCP port. 0 lets the system choose one.'),
  address: list(address(), { min: 1, max: 64 }).default(['::', '0.0.0.0'])
    .says('The IP addresses to listen on. Left out, all of them: IPv6 ("::") and IPv4 ("0.0.0.0").'),
  tls: choice('required', 'direct', 'none').default('required')
    .says('"required": STARTTLS before anything else. "direct": TLS from the first byte. "none": never, on loopback addresses only.'),
  stanza: size({ min: '10000B', max: '16MiB' }).default('256KiB')
    .says('The largest stanza that is taken. A larger one ends the stream.'),
  rate: optional(rate({ min: '1KiB/s' }))
    .says('What one connection may send on average. A faster one is read more slowly; nothing of it is lost. ' +
      'Left out: "20KiB/s" for a client, "1MiB/s" for a server.'),
}

const authentication = table({
  mechanisms: list(choice(
    'EXTERNAL', 'SCRAM-SHA-512-PLUS', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN',
  ), { min: 1, max: 16 })
    .default([
      'EXTERNAL', 'SCRAM-SHA-512-PLUS', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN',
    ])
    .says('The ways to log in that clients are offered. PLAIN only ever inside TLS, -PLUS where TLS can be bound to, EXTERNAL with `authorities`.'),
  authorities: optional(path())
    .says('A folder of CA certificates (*.pem). A client whose certificate one of them has signed may log in without a password (EXTERNAL).'),
  iterations: count({ min: 4096, max: 1_000_000 }).default(10_000)
    .says('Iterations of PBKDF2 for a password that is set from now on. More cost an attacker more, and each PLAIN login as well.'),
  shortest: count({ min: 1, max: 128 }).default(8)
    .says('The least number of characters of a password that is set from now on, by its owner or by the operator. Passwords that were set before, ' +
      'and those that are imported, stay as they are.'),
  fast: flag().default(true)
    .says('Clients may ask for a token to log in with next time, in one round trip and without the password (XEP-0484).'),
  token: duration({ min: '1h', max: '1y' }).default('21d')
    .says('How long such a token is good for after it was given out. One that is used is replaced every day.'),
  attempts: count({ min: 1, max: 20 }).default(10)
    .says('Failed logins after which a connection is closed.'),
  delay: duration({ max: '1m' }).default('1s')
    .says('How long the answer to a failed login waits. It doubles with each further failure of the same account from the same IP address, up to a minute, or to 10s if the account has logged in from there before. A failure of many accounts from one address delays all that were never there. A token (XEP-0484) is never delayed.'),
  forget: duration({ min: '1s', max: '1d' }).default('10m')
    .says('How long after its last failure an IP address is answered at once again.'),
}).says('How clients prove who they are.')

const limits = table({
  negotiation: duration({ min: '1s', max: '10m' }).default('30s')
    .says('The time a client has from connecting to having a session.'),
  keepalive: duration({ min: '10s', max: '1d' }).default('5m')
    .says('A client that has been silent for so long is sent a space, which shows whether its line still stands; where module `ping` is on, that asks instead.'),
  idle: duration({ min: '1m', max: '1y' }).default('1d')
    .says('A client that has been silent for so long is disconnected.'),
  connections: count({ min: 1 }).default(100)
    .says('Connections at once from one IP address (IPv6: from one /64). Further ones are closed.'),
  resources: count({ min: 1, max: 1000 }).default(20)
    .says('Devices of one account that are online at once.'),
  conflict: choice('replace', 'refuse').default('replace')
    .says('When a device asks for a resource that another one has: "replace" ends the other one, "refuse" has it ask for another.'),
  unauthenticated: table({
    stanza: size({ min: '10000B', max: '256KiB' }).default('10000B')
      .says('The largest element that is taken before login.'),
    elements: count({ min: 16, max: 10_000 }).default(64)
      .says('The most elements within one of those.'),
  }).says('What a client may send before it has logged in.'),
}).says('Bounds of connections.')

const TRUST = ['certificate', 'dialback', 'refuse'] as const

const federation = table({
  trust: choice(...TRUST).default('certificate')
    .says('What another server must show. "certificate": a valid one for its domain. "dialback": what DNS says is enough. ' +
      '"refuse": only the domains named below are talked to. Connections are encrypted in any case.'),
  domain: named(table({
    trust: optional(choice(...TRUST)).says('What this domain must show; left out, the same as all others.'),
    host: optional(domain()).says('Where its server is, by hand: a name or an IP address. Left out, DNS says so.'),
    port: optional(port()).says('The port there; left out, 5269, or 5270 for direct TLS.'),
    tls: choice('required', 'direct').default('required').says('"required": STARTTLS. "direct": TLS from the first byte. Only where `host` is given.'),
    private: flag().default(false).says('Whether its server may be at a private address, if DNS says so. With `host`, it may be anywhere.'),
  }).says('One other domain.'), DOMAINS)
    .says('What differs for single domains, one table each: [federation.domain."example.net"].'),
  authorities: optional(path())
    .says('A folder of CA certificates (*.pem) that certify other servers. Left out, those that the system trusts.'),
  resolver: list(socket(), { max: 8 }).default([])
    .says('DNS servers, such as "127.0.0.1" or "[::1]:5353". Left out, those that the system uses.'),
  dane: flag().default(false)
    .says('Whether the certificate that a domain names in DNS (DANE, RFC 7673) is the one that counts for it. The DNS servers are believed where they ' +
      'say that DNSSEC has checked it: turn it on where they do, and are on this machine or on a line that nobody else is on.'),
  private: list(ipRange(), { max: 1000 }).default([])
    .says('Ranges of IP addresses that are not public, and where servers of other domains may be nonetheless: "10.0.0.0/8", "fd00::/8". ' +
      'DNS is written by strangers: without this, no domain can send this server into its own network or to itself.'),
  queue: table({
    stanzas: count({ min: 1, max: 100_000 }).default(1000).says('Stanzas that wait at most.'),
    // All of it goes out at once when the link stands: with what is sent again it has to fit into what may wait in a stream (8 MiB).
    size: size({ min: '64KiB', max: '2MiB' }).default('1MiB').says('What they may take together.'),
    time: duration({ min: '1s', max: '10m' }).default('30s').says('How long one waits at most. Then its sender gets an error.'),
  }).says('What waits while there is no link: for each pair of domains.'),
  idle: duration({ min: '1m', max: '1d' }).default('10m').says('A link that nobody has used for so long is closed.'),
  connections: count({ min: 1 }).default(50).says('Connections at once from one IP address (IPv6: from one /64). Further ones are closed.'),
}).says('How other servers are found and trusted. They are talked to where a [[listen]] is for "servers".')

/** The settings of the server, but for `include`, `modules` and `host`. */
export const server = {
  data: path().default('data')
    .says('The folder of all that the server stores: one folder to back up, locked by one process.'),
  log: table({
    level: choice('debug', 'info', 'warn', 'error').default('info').says('The least that is worth a line. A reload takes it over.'),
    format: choice('auto', 'pretty', 'json').default('auto')
      .says('"pretty": for the eyes of a person. "json": one JSON object a line. "auto": pretty on a terminal, JSON elsewhere.'),
  }).says('What the server tells of itself, on its standard output.'),
  storage: table({
    driver: choice('sqlite', 'postgres', 'memory').default('sqlite')
      .says('Where accounts and messages are stored. "memory" forgets all when the server stops.'),
    durability: choice('disk', 'os').default('disk')
      .says('When a stanza counts as stored: "disk": synced, it survives a power cut. "os": written, it survives a crash of the server.'),
    url: optional(secret()).says('How to reach PostgreSQL: postgres://user:password@host/database.'),
  }).says('Where what must not be lost is kept.'),
  tls: table({
    certificates: path().default('data/certificates')
      .says('Certificates, one folder a domain, with fullchain.pem and privkey.pem. Watched: new ones are taken over without a restart.'),
    oldest: choice('TLSv1.2', 'TLSv1.3').default('TLSv1.2').says('The oldest version of TLS that is spoken.'),
  }).says('Encryption of connections.'),
  listen: list(table(listener), { max: 256 })
    .default([{ for: 'clients', port: 5222, tls: 'required' }, { for: 'clients', port: 5223, tls: 'direct' }])
    .says('Where the server listens, one table each.'),
  authentication,
  limits,
  federation,
}

/** The settings of a host, but for `modules`. */
export const host = {
  admins: list(account()).default([]).says('Accounts that may administer this host.'),
  federation: choice('all', 'listed', 'off').default('all')
    .says('Whom its users may talk to elsewhere. "all": every domain that [federation] allows. "listed": those in `partners`. "off": nobody.'),
  partners: list(domain()).default([]).says('The other domains that this host talks to, with federation = "listed".'),
}

export type ServerSettings = Values<typeof server>
export type ListenSettings = ServerSettings['listen'][number]
export type AuthenticationSettings = ServerSettings['authentication']
export type LimitsSettings = ServerSettings['limits']
export type FederationSettings = ServerSettings['federation']
export type HostSettings = Values<typeof host>

/** What is right by itself, and wrong together. */
export function contradictions (settings: ServerSettings): readonly { readonly path: Path, readonly text: string }[] {
  const found: { readonly path: Path, readonly text: string }[] = []
  const taken = new Map<string, number>()
  settings.listen.forEach(({ tls, port, address }, index) => {
    if (tls === 'none' && !address.every(isLoopback)) {
      found.push({ path: ['listen', index, 'tls'], text: `listen[${index}].tls: "none" is for loopback only; add address = ["127.0.0.1", "::1"]` })
    }
    for (const ip of port === 0 ? [] : address) {
      const other = taken.get(`${ip} ${port}`)
      if (other === undefined) taken.set(`${ip} ${port}`, index)
      else found.push({ path: ['listen', index, 'port'], text: `listen[${index}].port: ${port} on ${ip} is taken by listen[${other}]` })
    }
  })
  if (settings.storage.driver === 'postgres' && settings.storage.url === undefined) {
    found.push({ path: ['storage', 'url'], text: 'storage.url is missing: driver "postgres" needs it' })
  }
  if (settings.limits.idle <= settings.limits.keepalive) {
    found.push({ path: ['limits', 'idle'], text: 'limits.idle is not longer than limits.keepalive: no client would be asked before it is disconnected' })
  }
  return found
}

function isLoopback (ip: string): boolean {
  return ip === '::1' || ip.startsWith('127.')
}
