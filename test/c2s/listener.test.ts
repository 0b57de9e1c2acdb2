import t, { type Test } from 'tap'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls, TLSSocket, type ConnectionOptions } from 'node:tls'
import { systemClock } from '../../lib/base/clock.js'
import { silent } from '../../lib/base/logger.js'
import { ClientListener } from '../../lib/c2s/listener.js'
import type { ClientDeps, ListenerSettings } from '../../lib/c2s/settings.js'
import { Certificates } from '../../lib/stream/certificates.js'
import { FakeClock } from '../fake-clock.js'
import { auth, bind, DOMAIN, header, LISTENER, OTHER, PASSWORD, Stage, STARTTLS, type StageSettings } from './stage.js'
import { temporaryFolder } from '../temporary-folder.js'

interface Wanted extends StageSettings {
  readonly address?: string
  readonly world?: Partial<ClientDeps>
  readonly most?: number
}

/** Starts a listener on a port that the system chooses, with certificates for two domains. */
async function listening (t: Test, how: Wanted = {}) {
  const s = new Stage(how, new Uint8Array())
  await s.raise()
  const folder = join(temporaryFolder(t, { certificates: {} }), 'certificates')
  const certificates = await Certificates.open({ folder, domains: [DOMAIN, OTHER], clock: systemClock, log: silent })
  const world: ClientDeps = { ...s.world, clock: systemClock, certificates, ...how.world }
  const settings: ListenerSettings = { ...LISTENER, ...how.listener }
  const listener = new ClientListener(world, settings, how.most)
  const port = await listener.listen(how.address ?? '127.0.0.1', 0)
  const people: Person[] = []
  t.teardown(async () => {
    for (const person of people) person.socket.destroy()
    await listener.close()
    await s.server.stop()
    await certificates.close()
  })
  return {
    s, listener, port, certificates,
    async person (from = '127.0.0.1'): Promise<Person> {
      const socket = connect({ port, host: '127.0.0.1', localAddress: from })
      socket.on('error', () => {})
      await once(socket, 'connect')
      const person = new Person(socket)
      people.push(person)
      return person
    },
    async direct (options: ConnectionOptions = {}): Promise<Person> {
      const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, servername: DOMAIN, ...options })
      const person = new Person(socket)
      people.push(person)
      await Promise.race([once(socket, 'secureConnect'), once(socket, 'close').then(() => { throw new Error('no handshake') })])
      return person
    },
  }
}

/** A client on a real socket. */
class Person {
  socket: Socket | TLSSocket
  heard = ''
  isClosed = false
  #woken = (): void => {}

  constructor (socket: Socket) {
    this.socket = socket
    this.#hear(socket)
  }

  says (text: string): void { this.socket.write(text) }

  /** Waits until the received text contains `text`. Returns all of it and forgets it. */
  async gets (text: string): Promise<string> {
    while (!this.heard.includes(text)) {
      if (this.isClosed) throw new Error(`closed without ${text}: ${this.heard}`)
      await new Promise<void>(resolve => { this.#woken = resolve })
    }
    const { heard } = this
    this.heard = ''
    return heard
  }

  async closes (): Promise<string> {
    while (!this.isClosed) await new Promise<void>(resolve => { this.#woken = resolve })
    return this.heard
  }

  async encrypts (options: ConnectionOptions = {}): Promise<TLSSocket> {
    this.socket.removeAllListeners()
    this.socket.on('error', () => {})
    const socket = connectTls({ socket: this.socket, rejectUnauthorized: false, servername: DOMAIN, ...options })
    this.socket = socket
    this.#hear(socket)
    await Promise.race([once(socket, 'secureConnect'), once(socket, 'close').then(() => { throw new Error('no handshake') })])
    return socket
  }

  #hear (socket: Socket): void {
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => { this.heard += chunk.toString(); this.#woken() })
    socket.on('close', () => { this.isClosed = true; this.#woken() })
  }
}

async function logsIn (person: Person, resource: string): Promise<void> {
  person.says(header())
  await person.gets('</stream:features>')
  person.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await person.gets('<success')
  person.says(header() + bind(resource))
  await person.gets('</iq>')
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  void t.test(`over TCP, STARTTLS with ${version}, login and binding lead to stanzas`, async t => {
    const { person, listener } = await listening(t)
    const romeo = await person()
    romeo.says(header())
    await romeo.gets('</stream:features>')
    romeo.says(STARTTLS)
    await romeo.gets('<proceed')
    const tls = await romeo.encrypts({ minVersion: version, maxVersion: version })
    t.equal(tls.getProtocol(), version)
    await logsIn(romeo, 'orchard')
    t.match(listener.counts, { connections: 1, established: 1, states: { established: 1 } })
    romeo.says('</stream:stream>')
    t.match(await romeo.closes(), /<\/stream:stream>$/)
  })
}

void t.test('direct TLS presents the certificate of the requested name, and negotiates xmpp-client', async t => {
  const { direct, certificates } = await listening(t, { listener: { tls: 'direct' } })
  for (const domain of [DOMAIN, OTHER]) {
    const person = await direct({ servername: domain, ALPNProtocols: ['xmpp-client'] })
    const socket = person.socket as TLSSocket
    t.ok(socket.getPeerX509Certificate()?.raw.equals(certificates.contextFor(domain).certificate), domain)
    t.equal(socket.alpnProtocol, 'xmpp-client')
  }
  const silent = await direct({ servername: '' })
  await logsIn(silent, 'orchard')
  await t.rejects(direct({ ALPNProtocols: ['http/1.1'] }), { message: /no handshake|alert|ECONNRESET/ })
})

void t.test('a returning client resumes its TLS session and saves the rest of the handshake (RFC 8446 §2.2, RFC 5077)', async t => {
  const { direct } = await listening(t, { listener: { tls: 'direct' } })
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const options = { minVersion: version, maxVersion: version }
    const first = await direct(options)
    const { socket } = first
    if (!(socket instanceof TLSSocket)) throw new Error('no TLS')
    t.notOk(socket.isSessionReused())
    let ticket = socket.getSession() // this is a ticket of TLS 1.2; that of 1.3 comes after the handshake
    socket.on('session', given => { ticket = given })
    first.says(header())
    await first.gets('</stream:features>')
    const again = await direct({ ...options, session: ticket })
    t.ok(again.socket instanceof TLSSocket && again.socket.isSessionReused(), version)
    again.says(header())
    await again.gets('</stream:features>')
  }
})

void t.test('STARTTLS is not offered inside TLS', async t => {
  const { direct } = await listening(t, { listener: { tls: 'direct' } })
  const person = await direct()
  person.says(header())
  t.notMatch(await person.gets('</stream:features>'), /starttls/)
  person.says(STARTTLS)
  t.match(await person.closes(), /<policy-violation/)
})

void t.test('data that follows <starttls/> in the clear never becomes part of the encrypted stream', async t => {
  const { person, s } = await listening(t)
  const inOne = await person()
  inOne.says(header() + STARTTLS + header() + auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await inOne.gets('<proceed')
  await inOne.encrypts()
  inOne.says(header())
  const heard = await inOne.gets('</stream:features>')
  t.notMatch(heard, /success/)
  t.equal(heard.split('<stream:stream').length, 2, 'one header only')
  t.same(s.logged('login succeeded'), [])

  const later = await person()
  later.says(header())
  await later.gets('</stream:features>')
  later.says(STARTTLS)
  await later.gets('<proceed')
  later.says(header() + '<auth/>')
  await t.rejects(later.encrypts())
  t.same(s.logged('login failed'), [])
})

void t.test('a failed handshake closes the connection silently', async t => {
  const { person, listener } = await listening(t)
  const romeo = await person()
  romeo.says(header() + STARTTLS)
  await romeo.gets('<proceed')
  romeo.says('this is no TLS'.repeat(10))
  const heard = await romeo.closes()
  t.notMatch(heard, /stream/)
  await gone(listener)
})

void t.test('a TLS handshake that the client does not begin after <proceed/> is ended by the time limit of the negotiation', async t => {
  const clock = new FakeClock()
  const { person, direct, listener } = await listening(t, { limits: { negotiation: 300 }, world: { clock } })
  const romeo = await person()
  romeo.says(header() + STARTTLS)
  await romeo.gets('<proceed')
  clock.pass(300)
  t.equal(await romeo.closes(), '')
  await gone(listener)
  let isRefused = false
  const refused = t.rejects(direct(), 'a TLS handshake on a plain port is no stream').then(() => { isRefused = true })
  while (!isRefused) {
    await new Promise(resolve => { setImmediate(resolve) })
    clock.pass(300)
  }
  await refused
})

void t.test('a direct handshake that never begins is ended as well', async t => {
  const { person, listener } = await listening(t, { limits: { negotiation: 100 }, listener: { tls: 'direct' } })
  const romeo = await person()
  t.equal(await romeo.closes(), '')
  await gone(listener)
})

void t.test('TLS is not renegotiated within a connection', async t => {
  const { direct, listener } = await listening(t, { listener: { tls: 'direct' } })
  const person = await direct({ maxVersion: 'TLSv1.2' })
  person.says(header())
  await person.gets('</stream:features>')
  const socket = person.socket as TLSSocket
  socket.renegotiate({ rejectUnauthorized: false }, () => {})
  await person.closes()
  await gone(listener)
})

void t.test('a listener with optional TLS accepts logins without it, but no password in the clear', async t => {
  const { person } = await listening(t, { listener: { tls: 'none' } })
  const romeo = await person()
  romeo.says(header())
  const features = await romeo.gets('</stream:features>')
  t.match(features, /<mechanism>SCRAM-SHA-256<\/mechanism>/)
  t.notMatch(features, /starttls|PLAIN|PLUS/)
  romeo.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  t.match(await romeo.gets('</failure>'), /<invalid-mechanism/)
})

void t.test('the number of connections from one network is bounded, and connections that end are no longer counted', async t => {
  const { person, listener, s } = await listening(t, { limits: { connections: 2 } })
  const [one, two] = [await person(), await person()]
  for (const each of [one, two]) each.says(header())
  for (const each of [one, two]) await each.gets('</stream:features>')
  const three = await person()
  t.equal(await three.closes(), '')
  t.same(s.logged('connections refused').map(line => line.fields), [{ reason: 'too many from one network', network: '127.0.0.1', count: 1 }])
  one.socket.destroy()
  while (listener.counts.connections > 1) await new Promise(resolve => { setImmediate(resolve) })
  const four = await person()
  four.says(header())
  await four.gets('</stream:features>')
  two.socket.destroy()
  four.socket.destroy()
  await gone(listener)
  t.equal(listener.networks, 0)
})

void t.test('if there are too many connections without a session, the oldest of them is closed for a new one', async t => {
  const { person, direct, listener, s } = await listening(t, { most: 3, listener: { tls: 'direct' } })
  const bound = await direct()
  await logsIn(bound, 'orchard')
  const idle = [await person(), await person(), await person()]
  while (listener.counts.connections < 4) await new Promise(resolve => { setImmediate(resolve) })
  const late = await direct()
  await logsIn(late, 'balcony')
  await idle[0]?.closes()
  t.notOk(idle[1]?.isClosed, 'one was closed')
  t.notOk(bound.isClosed, 'a connection with a session stays')
  t.match(s.logged('connections refused').map(line => line.fields), [{ reason: 'too many that have proved nothing', network: '127.0.0.1', count: 1 }])
})

void t.test('a network that floods the server with handshakes waits in its own queue', async t => {
  const clock = new FakeClock() // the clock stands still, so there are no more tokens than at the start
  const { person, listener } = await listening(t, { limits: { connections: 50 }, listener: { tls: 'direct' }, world: { clock } })
  for (let i = 0; i < 50; i++) {
    const one = await person('127.0.0.2')
    await one.encrypts()
    one.socket.destroy()
  }
  await gone(listener)
  const waiting = await person('127.0.0.2')
  let isThrough = false
  const tls = waiting.encrypts().then(() => { isThrough = true })
  t.equal((await (await person('127.0.0.3')).encrypts()).getProtocol(), 'TLSv1.3')
  t.notOk(isThrough)
  clock.pass(20)
  await tls
  t.ok(isThrough)
})

void t.test('a listener that closes sends system-shutdown to all clients, and waits for them', async t => {
  const { direct, listener, port } = await listening(t, { listener: { tls: 'direct' } })
  const [bound, waiting] = [await direct(), await direct()]
  await logsIn(bound, 'orchard')
  waiting.says(header())
  await waiting.gets('</stream:features>')
  const closing = listener.close()
  for (const each of [bound, waiting]) t.match(await each.closes(), /<system-shutdown .*<\/stream:stream>$/)
  await closing
  t.equal(listener.counts.connections, 0)
  const late = connect(port, '127.0.0.1')
  await t.rejects(once(late, 'connect'), { code: 'ECONNREFUSED' })
})

void t.test('a listener listens on both families separately, and shows IPv4 addresses in their usual form', async t => {
  const { listener, port, s } = await listening(t, { address: '::' }).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'EAFNOSUPPORT') return { listener: undefined, port: 0, s: undefined }
    throw error
  })
  if (listener === undefined || s === undefined) { t.pass('this machine has no IPv6'); return }
  t.equal(await listener.listen('0.0.0.0', port), port)
  for (const host of ['::1', '127.0.0.1']) {
    const socket = connect(port, host)
    const person = new Person(socket)
    await once(socket, 'connect')
    person.says(header('nowhere.lit'))
    t.match(await person.closes(), /<host-unknown/, host)
  }
  await gone(listener)
})

void t.test('an address in use is a rejection', async t => {
  const { listener, port } = await listening(t)
  await t.rejects(listener.listen('127.0.0.1', port), { code: 'EADDRINUSE' })
})

async function gone (listener: ClientListener): Promise<void> {
  while (listener.counts.connections > 0) await new Promise(resolve => { setImmediate(resolve) })
}
