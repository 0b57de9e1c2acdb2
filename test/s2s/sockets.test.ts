/** Federation as a whole: real sockets, real TLS, a DNS server; every kind of certificate, in both directions. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { GeneralName } from '@peculiar/asn1-x509'
import t, { type Test } from 'tap'
import { systemClock } from '../../lib/base/clock.js'
import { Federation, type FederationPlan } from '../../lib/s2s/federation.js'
import { TcpDialer, dialFirst } from '../../lib/s2s/connect/happy-eyeballs.js'
import type { ServerListener } from '../../lib/s2s/streams/listener.js'
import type { Target } from '../../lib/s2s/ground/target.js'
import type { Policy } from '../../lib/s2s/ground/policy.js'
import { Ranges } from '../../lib/base/reach.js'
import { Certificates } from '../../lib/stream/certificates.js'
import { Guard } from '../../lib/stream/guard.js'
import { memoryPair } from '../../lib/stream/memory-transport.js'
import type { Transport } from '../../lib/stream/transport.js'
import { selfSigned } from '../../lib/stream/self-signed.js'
import { textOf, child } from '../../lib/xml/element.js'
import { NS } from '../../lib/xml/namespaces.js'
import { makeAuthority, otherName, utf8, type Authority, type Wanted } from '../auth/authority.js'
import { FakeClock } from '../fake-clock.js'
import { Zone } from '../interop/s2s/dns.js'
import { scenario, type Device, type Scenario } from '../scenario.js'
import { selfSignedServer } from './issuers.js'
import { LIMITS, OURS, THEIRS } from './stage.js'
import { temporaryFolder } from '../temporary-folder.js'

t.setTimeout(1_200_000)

interface Verona { readonly t: Test, readonly zone: Zone, readonly authority: Authority, readonly folder: string }

async function verona (t: Test): Promise<Verona> {
  const folder = temporaryFolder(t, { authorities: {} })
  const authority = await makeAuthority('Verona')
  writeFileSync(join(folder, 'authorities', 'verona.pem'), authority.certificate)
  return { t, zone: await Zone.at(t, '127.0.0.1', 0), authority, folder }
}

interface How {
  readonly certificate?: Wanted | 'self-signed' | 'of a stranger'
  readonly trust?: Policy['trust']
  readonly tls?: 'required' | 'direct'
  readonly connections?: number
  readonly allowed?: readonly string[]
  /** The certificate that it shows instead of one that is made for it. */
  readonly pair?: { readonly certificate: string, readonly key: string }
  /** The current time of this town, in milliseconds since 1970. */
  readonly now?: number
}

interface Town {
  readonly s: Scenario
  readonly federation: Federation
  readonly listener: ServerListener
  readonly port: number
  readonly plan: FederationPlan
}

async function town (v: Verona, domain: string, how: How = {}): Promise<Town> {
  const { t, zone, authority } = v
  const s = await scenario(t, { modules: ['roster', 'presence', 'message'], hosts: [domain], ...how.now !== undefined && { now: how.now } })
  const folder = join(v.folder, domain)
  mkdirSync(join(folder, domain), { recursive: true })
  const { certificate = dns(domain) } = how
  const ascii = new URL(`http://${domain}`).host
  const by = certificate === 'of a stranger' ? await makeAuthority('a stranger') : authority
  const wanted = typeof certificate === 'string' ? dns(domain) : certificate
  const pair = how.pair ?? (certificate === 'self-signed' ? await selfSigned(domain, ascii, Date.now()) : await by.issue(wanted))
  writeFileSync(join(folder, domain, 'fullchain.pem'), pair.certificate)
  writeFileSync(join(folder, domain, 'privkey.pem'), pair.key, { mode: 0o600 })
  const certificates = await Certificates.open({ folder, domains: [domain], clock: systemClock, log: s.log })
  const { clock, log, server: { pipeline } } = s
  let ids = 0
  const plan: FederationPlan = {
    authorities: join(v.folder, 'authorities'),
    resolver: [`127.0.0.1:${zone.port}`],
    dane: false,
    allowed: how.allowed ?? ['127.0.0.0/8'],
    limits: { ...LIMITS, connections: how.connections ?? LIMITS.connections },
    policy: () => ({ trust: how.trust ?? 'certificate' }),
  }
  const federation = await Federation.open({
    clock, log, pipeline, certificates, domain, oldest: 'TLSv1.2', ids: { next: () => `s${++ids}` }, host: name => s.server.host(name), listeners: () => [],
  }, plan)
  const listener = federation.listener({ tls: how.tls ?? 'required', stanza: 262_144, rate: 1_000_000 })
  const port = await listener.listen('127.0.0.1', 0)
  zone.server(ascii, '127.0.0.1', how.tls === 'direct' ? { direct: port } : { plain: port })
  t.teardown(async () => {
    await federation.close()
    await certificates.close()
  })
  return { s, federation, listener, port, plan }
}

function dns (...names: readonly string[]): Wanted {
  return { names: names.map(dNSName => new GeneralName({ dNSName })) }
}

/** Waits for something that does not depend on the event loop alone: sockets, TLS. */
async function until (what: string, isSo: () => boolean): Promise<void> {
  const end = Date.now() + 120_000
  while (!isSo()) {
    if (Date.now() > end) throw new Error(`${what} has not happened`)
    await new Promise(resolve => { setImmediate(resolve) })
  }
}

/** Sends a message to another server and returns the result: 'arrived', or the text of the error. */
async function outcome (from: Device, to: Device, toAddress: string): Promise<string> {
  const id = `m${++messages}`
  await from.says(`<message to='${toAddress}' id='${id}'><body>${id}</body></message>`)
  let found: string | undefined
  await until(`an outcome of ${id}`, () => {
    if (to.unread.some(element => element.attrs['id'] === id)) found = 'arrived'
    for (const element of from.unread) {
      const error = child(element, NS.CLIENT, 'error')
      if (element.attrs['id'] !== id || error === undefined) continue
      const text = child(error, NS.STANZAS, 'text')
      found = text === undefined ? 'error' : textOf(text)
    }
    return found !== undefined
  })
  return found ?? ''
}
let messages = 0

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const SRV_NAME = '1.3.6.1.5.5.7.8.7'

/** The certificate of the other server, and the outcome of messages to it (`comes`) and from it (`goes`). */
const CASES: Readonly<Record<string, { readonly domain?: string, readonly certificate: Wanted | 'self-signed' | 'of a stranger', readonly comes: RegExp, readonly goes?: RegExp }>> = {
  'DNS-ID': { certificate: dns(THEIRS), comes: /^arrived$/ },
  'SRV-ID': { certificate: { names: [otherName(SRV_NAME, utf8(`_xmpp-server.${THEIRS}`, 0x16))] }, comes: /^arrived$/ },
  'XmppAddr': { certificate: { addresses: [THEIRS] }, comes: /^arrived$/ },
  'a wildcard, one level': { domain: `rooms.${THEIRS}`, certificate: dns(`*.${THEIRS}`), comes: /^arrived$/ },
  'a wildcard, no level': { certificate: dns(`*.${THEIRS}`), comes: /not valid for capulet\.test/ },
  'a wildcard, two levels': { domain: `a.rooms.${THEIRS}`, certificate: dns(`*.${THEIRS}`), comes: /not valid for a\.rooms/ },
  'an IDN': { domain: 'bücher.test', certificate: dns('xn--bcher-kva.test'), comes: /^arrived$/ },
  'for servers only, as Let’s Encrypt issues them': { certificate: { ...dns(THEIRS), usages: [SERVER_AUTH] }, comes: /^arrived$/ },
  'for clients only': { certificate: { ...dns(THEIRS), usages: [CLIENT_AUTH] }, comes: /not trusted: it was not issued for this purpose/, goes: /^arrived$/ },
  'a common name alone': { certificate: { subject: `CN=${THEIRS}` }, comes: /not valid for capulet\.test/ },
  'a wrong name': { certificate: dns('verona.test'), comes: /not valid for capulet\.test/ },
  'expired': { certificate: { ...dns(THEIRS), days: [-3, -1] }, comes: /not trusted: it has expired/ },
  'not valid yet': { certificate: { ...dns(THEIRS), days: [1, 3] }, comes: /not trusted: it is not valid yet/ },
  'self-signed': { certificate: 'self-signed', comes: /not trusted: it is self-signed/ },
  'of an authority that nobody knows': { certificate: 'of a stranger', comes: /not trusted: its authority is not trusted/ },
}

for (const [name, { domain = THEIRS, certificate, comes, goes: given }] of Object.entries(CASES)) {
  const goes = given ?? (comes.test('arrived') ? comes : /it refused dialback/)
  void t.test(`with a certificate (${name}), messages to and from the server have the outcome of the table`, async t => {
    const v = await verona(t)
    const ours = await town(v, OURS)
    const theirs = await town(v, domain, { certificate, trust: 'dialback' })
    const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
    const juliet = await theirs.s.device(`juliet@${domain}/balcony`)
    t.match(await outcome(romeo, juliet, `juliet@${domain}`), comes, 'to it')
    // The message goes to another server: to ours it could go on the connection that is open.
    const third = await town(v, 'verona.test')
    const prince = await third.s.device('prince@verona.test/palace')
    t.match(await outcome(juliet, prince, 'prince@verona.test'), goes, 'from it')
    if (!goes.test('arrived')) t.same(prince.unread, [], 'no stanza of it has come in')
  })
}

/**
 * Certificates for servers only, as public authorities issue them now, and how a peer that shows one is authenticated.
 */
const FOR_SERVERS = { ...dns(THEIRS), usages: [SERVER_AUTH] }
interface Call {
  readonly chain: (v: Verona) => Promise<{ readonly certificate: string, readonly key: string }>
  readonly is: RegExp
}
const CALLS: Readonly<Record<string, Call>> = {
  'of our authority': { chain: ({ authority }) => authority.issue(FOR_SERVERS), is: /^EXTERNAL$/ },
  'self-signed': { chain: async () => {
    const own = await selfSignedServer(THEIRS)
    return { certificate: own.pem, key: await own.key() }
  }, is: /^it refused dialback/ },
  'of an authority that it sends along': { chain: async () => {
    const foreign = await makeAuthority('a stranger')
    const { certificate, key } = await foreign.issue(FOR_SERVERS)
    return { certificate: `${certificate}\n${foreign.certificate}`, key }
  }, is: /^it refused dialback/ },
  'expired': { chain: ({ authority }) => authority.issue({ ...FOR_SERVERS, days: [-3, -1] }), is: /^it refused dialback/ },
  'not valid yet': { chain: ({ authority }) => authority.issue({ ...FOR_SERVERS, days: [1, 3] }), is: /^it refused dialback/ },
}

for (const [name, { chain, is }] of Object.entries(CALLS)) {
  void t.test(`a peer with a certificate for servers only (${name}) is accepted or refused as the table says`, async t => {
    const v = await verona(t)
    const ours = await town(v, OURS, { now: Date.now() })
    const theirs = await town(v, THEIRS, { pair: await chain(v), trust: 'dialback' })
    const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
    const juliet = await theirs.s.device(`juliet@${THEIRS}/balcony`)
    const found = await outcome(juliet, romeo, `romeo@${OURS}`)
    t.match(found === 'arrived' ? ours.federation.report()[0]?.security : found, is)
  })
}

void t.test('direct TLS works over sockets; connections are counted and reported, and a reload applies new policies', async t => {
  const v = await verona(t)
  const ours = await town(v, OURS)
  const theirs = await town(v, THEIRS, { tls: 'direct' })
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const juliet = await theirs.s.device(`juliet@${THEIRS}/balcony`)
  t.equal(await outcome(romeo, juliet, `juliet@${THEIRS}`), 'arrived')
  t.match(theirs.federation.counts, { connections: 1, established: 1 })
  t.match(ours.federation.counts, { connections: 0, established: 0 })
  t.match(theirs.federation.report(), [
    { local: THEIRS, remote: OURS, direction: 'both', security: 'EXTERNAL', state: 'established' },
    { local: THEIRS, remote: OURS, direction: 'both', security: 'EXTERNAL', state: 'established', address: '127.0.0.1' },
  ])
  t.ok((theirs.federation.counters.get('accepted') ?? 0) > 0)
  await ours.federation.reload({ ...ours.plan, authorities: undefined, policy: () => ({ trust: 'refuse' }) })
  t.match(await outcome(romeo, juliet, `juliet@${THEIRS}`), /does not talk to/)
  await until('the end of the stream', () => theirs.listener.counts.connections === 0)
  romeo.forget()
  t.not(await outcome(juliet, romeo, `romeo@${OURS}`), 'arrived', 'a domain that the new conf refuses gets no new stream')
  // The reload also ends streams that others opened.
  await ours.federation.reload(ours.plan)
  t.equal(await outcome(juliet, romeo, `romeo@${OURS}`), 'arrived')
  t.match(ours.federation.counts, { connections: 1, established: 1 })
  await ours.federation.reload({ ...ours.plan, resolver: ['127.0.0.1:1'], policy: () => ({ trust: 'refuse' }) })
  await until('the end of their stream', () => ours.listener.counts.connections === 0)
})

void t.test('a domain whose DNS names this machine gets no connection, unless the conf allows the range', async t => {
  const v = await verona(t)
  const ours = await town(v, OURS, { allowed: [] })
  const theirs = await town(v, THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const juliet = await theirs.s.device(`juliet@${THEIRS}/balcony`)
  t.equal(await outcome(romeo, juliet, `juliet@${THEIRS}`), 'DNS names no server that can be reached')
  t.equal(theirs.listener.counts.connections, 0)
  t.same(theirs.s.lines.filter(line => line.event === 's2s stream closed'), [])
  await ours.federation.reload({ ...ours.plan, allowed: ['127.0.0.1'] })
  ours.s.clock.pass(10_000)
  romeo.forget()
  t.equal(await outcome(romeo, juliet, `juliet@${THEIRS}`), 'arrived')
})

void t.test('the connections from one network are limited', async t => {
  const v = await verona(t)
  const { port, listener, s } = await town(v, OURS, { connections: 2 })
  const sockets = [1, 2, 3].map(() => connect(port, '127.0.0.1'))
  let closed = 0
  for (const socket of sockets) socket.on('error', () => {}).on('close', () => { closed++ })
  await until('the third to be closed', () => closed === 1)
  t.match(listener.counts, { connections: 2, established: 0 })
  t.match(s.lines.filter(line => line.event === 'servers refused'), [{ fields: { reason: 'too many from one network' } }])
  for (const socket of sockets) socket.destroy()
  await until('room again', () => listener.counts.connections === 0)
})

void t.test('garbage instead of TLS ends the connection', async t => {
  const v = await verona(t)
  const { port, listener } = await town(v, OURS, { tls: 'direct' })
  const socket = connect(port, '127.0.0.1')
  let isClosed = false
  socket.on('error', () => {}).on('close', () => { isClosed = true })
  socket.write('<stream:stream>')
  await until('its end', () => isClosed && listener.counts.connections === 0)
})

void t.test('a peer that stalls within TLS is given up after the negotiation timeout, in both directions', async t => {
  const v = await verona(t)
  const ours = await town(v, OURS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const calls = connect(ours.port, '127.0.0.1')
  let isGone = false
  let heard = ''
  calls.on('error', () => {}).on('close', () => { isGone = true }).on('data', data => { heard += data.toString() })
  calls.write(`<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' from='${THEIRS}' to='${OURS}'>`)
  calls.write("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
  await until('proceed', () => heard.includes('<proceed'))
  ours.s.clock.pass(31_000)
  await until('the end of the incoming connection', () => isGone && ours.listener.counts.connections === 0)

  let isCalled = false
  const silent = createServer(socket => { isCalled = true; socket.on('error', () => {}) })
  await new Promise<void>(resolve => { silent.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { silent.close() })
  const bound = silent.address()
  v.zone.server('silent.test', '127.0.0.1', { direct: typeof bound === 'object' && bound !== null ? bound.port : 0 })
  await romeo.says("<message id='m' to='x@silent.test'><body>hello?</body></message>")
  await until('the outgoing connection', () => isCalled)
  await new Promise(resolve => { setImmediate(resolve) })
  ours.s.clock.pass(31_000)
  await until('the error', () => romeo.unread.some(({ attrs }) => attrs['id'] === 'm' && attrs['type'] === 'error'))
  await until('rest', () => ours.federation.report().every(({ state }) => state === 'resting'))
})

// ---- Dialling ---------------------------------------------------------------------------------

function targets (...hosts: readonly string[]): readonly Target[] {
  return hosts.map(host => ({ host, address: host, port: 5269, tls: 'required', secure: false }))
}

void t.test('targets are dialled side by side, each a quarter of a second after the last; the first that answers is used', async t => {
  const clock = new FakeClock()
  const [transport] = memoryPair({ clock })
  const tried: string[] = []
  const aborted: string[] = []
  let answer: ((transport: Transport) => void) | undefined
  const dialled = dialFirst({
    dial: ({ host }, signal) => {
      tried.push(host)
      signal.addEventListener('abort', () => { aborted.push(host) })
      return new Promise((resolve, reject) => {
        if (host === 'refusing') reject(new Error('refused'))
        else if (host === 'late') answer = resolve
      })
    },
  }, clock, targets('silent', 'refusing', 'late', 'unneeded'), 20_000)
  t.same(tried, ['silent'])
  clock.pass(250)
  await new Promise(resolve => { setImmediate(resolve) })
  t.same(tried, ['silent', 'refusing', 'late'], 'after a refusal the next one is dialled at once')
  answer?.(transport)
  t.equal((await dialled).target.host, 'late')
  t.same(aborted, ['silent', 'refusing', 'late'])
  clock.pass(10_000)
  t.notOk(tried.includes('unneeded'))
  t.equal(clock.timers, 0)
})

void t.test('if no target answers in time, or all refuse, the error says so; a late connection is closed', async t => {
  const clock = new FakeClock()
  let late: ((transport: Transport) => void) | undefined
  const [a] = memoryPair({ clock })
  const waited = dialFirst({ dial: () => new Promise(resolve => { late = resolve }) }, clock, targets('one'), 20_000)
  clock.pass(20_000)
  await t.rejects(waited, { message: 'no server answers' })
  late?.(a)
  await new Promise(resolve => { setImmediate(resolve) })
  t.ok(a.isClosed)
  await t.rejects(dialFirst({ dial: ({ host }) => Promise.reject(new Error(host)) }, clock, targets('one', 'two'), 20_000), { message: 'two' })
  t.equal(clock.timers, 0)
})

void t.test('over TCP a port without a listener refuses, and an aborted dial ends', async t => {
  const dialer = new TcpDialer(new FakeClock(), new Guard({ allowed: new Ranges(['127.0.0.1']) }))
  const controller = new AbortController()
  const target = (port: number, address = '127.0.0.1'): Target => ({ host: 'x', address, port, tls: 'required', secure: false })
  await t.rejects(dialer.dial(target(1), controller.signal), { code: 'ECONNREFUSED' })
  const pending = dialer.dial(target(1, '127.0.0.1'), controller.signal)
  controller.abort()
  await t.rejects(pending)
})
