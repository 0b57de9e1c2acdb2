import t, { type Test } from 'tap'
import { once, type EventEmitter } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls, createSecureContext, type ConnectionOptions } from 'node:tls'
import { silent } from '../../lib/base/logger.js'
import { Certificates } from '../../lib/stream/certificates.js'
import { memoryPair } from '../../lib/stream/memory-transport.js'
import { TcpTransport } from '../../lib/stream/tcp-transport.js'
import { FAREWELL, plainAddress, type TlsSettings, type Transport } from '../../lib/stream/transport.js'
import { makeAuthority } from '../auth/authority.js'
import { FakeClock } from '../fake-clock.js'
import { temporaryFolder } from '../temporary-folder.js'

/** One end of a connection, and what it receives. */
class End {
  heard = ''
  drains = 0
  closes: (Error | undefined)[] = []
  readonly transport: Transport

  constructor (transport: Transport) {
    this.transport = transport
  }

  open (): this {
    this.transport.open({
      data: chunk => { this.heard += Buffer.from(chunk).toString('latin1') },
      drained: () => { this.drains++ },
      closed: reason => { this.closes.push(reason) },
    })
    return this
  }
}

interface Pair { readonly ours: End, readonly theirs: End, readonly clock: FakeClock }

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })

/** Waits until something is so. A number of turns of the event loop says nothing about sockets and threads. */
async function until (wanted: () => boolean): Promise<void> {
  const end = performance.now() + 600_000
  while (!wanted()) {
    if (performance.now() > end) throw new Error('it never came')
    await turn()
  }
}

async function sockets (t: Test): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const theirs = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [ours] = await once(server, 'connection') as [Socket]
  server.close()
  t.teardown(() => { ours.destroy(); theirs.destroy() })
  return [ours, theirs]
}

const KINDS: Readonly<Record<string, (t: Test) => Promise<Pair>>> = {
  'over a socket': async t => {
    const clock = new FakeClock()
    const [ours, theirs] = await sockets(t)
    return { ours: new End(new TcpTransport(ours, clock)), theirs: new End(new TcpTransport(theirs, clock)), clock }
  },
  'in memory': async () => {
    const clock = new FakeClock()
    const [ours, theirs] = memoryPair({ clock })
    return { ours: new End(ours), theirs: new End(theirs), clock }
  },
}

for (const [kind, make] of Object.entries(KINDS)) {
  void t.test(`a transport ${kind} keeps its promises`, async t => {
    void t.test('a transport carries every byte both ways, in order', async t => {
      const { ours, theirs } = await make(t)
      ours.open(); theirs.open()
      const bytes = String.fromCharCode(...Array.from({ length: 256 }, (_, code) => code))
      ours.transport.write(bytes)
      ours.transport.write('two')
      theirs.transport.write('back')
      await until(() => theirs.heard.length === 259 && ours.heard.length === 4)
      t.equal(theirs.heard, bytes + 'two')
      t.equal(ours.heard, 'back')
      t.equal(ours.transport.backlog, 0)
      t.equal(ours.transport.tls, undefined)
      ours.transport.end()
      await until(() => ours.closes.length > 0 && theirs.closes.length > 0)
    })

    void t.test('a transport keeps what came before it was opened', async t => {
      const { ours, theirs } = await make(t)
      theirs.open().transport.write('early')
      await turn()
      ours.open()
      await until(() => ours.heard === 'early')
      ours.transport.destroy()
      await until(() => theirs.closes.length > 0)
    })

    void t.test('a transport can pause reading, and the other end sees its backlog grow and drain', async t => {
      const { ours, theirs } = await make(t)
      ours.open(); theirs.open()
      ours.transport.pause()
      const much = 'x'.repeat(20_000_000)
      theirs.transport.write(much)
      theirs.transport.awaitDrain()
      t.equal(theirs.transport.backlog, much.length, 'gathered')
      for (let turns = 0; turns < 20; turns++) await turn()
      t.ok(ours.heard.length < much.length)
      t.ok(theirs.transport.backlog > 0)
      t.equal(theirs.drains, 0)
      ours.transport.resume()
      await until(() => ours.heard.length === much.length && theirs.drains > 0)
      t.equal(theirs.transport.backlog, 0)
      theirs.transport.end()
      await until(() => ours.closes.length > 0 && theirs.closes.length > 0)
    })

    void t.test('a transport reports once, if asked, that all was written, also if the system took it at once', async t => {
      const { ours, theirs } = await make(t)
      ours.open(); theirs.open()
      ours.transport.write('x'.repeat(60_000)) // waits for the end of the turn
      t.ok(ours.transport.backlog >= 60_000)
      ours.transport.awaitDrain()
      await until(() => theirs.heard.length === 60_000 && ours.drains === 1)
      t.equal(ours.transport.backlog, 0)
      ours.transport.awaitDrain()
      ours.transport.write('x'.repeat(300_000)) // less than a socket's buffer, more than a stream lets wait
      await until(() => theirs.heard.length === 360_000 && ours.drains === 2)
      t.equal(ours.transport.backlog, 0)
      ours.transport.awaitDrain() // nothing waits
      await turn()
      t.equal(ours.drains, 2, 'not before the next write')
      ours.transport.write('x')
      await until(() => theirs.heard.length === 360_001 && ours.drains === 3)
      ours.transport.write('x')
      await until(() => theirs.heard.length === 360_002)
      await turn()
      t.equal(ours.drains, 3, 'not without being asked')
    })

    void t.test('a transport that is written to while it drains reports the drain after everything', async t => {
      const { ours, theirs } = await make(t)
      ours.open(); theirs.open()
      theirs.transport.pause()
      ours.transport.write('x'.repeat(20_000_000))
      ours.transport.awaitDrain()
      for (let turns = 0; turns < 20; turns++) {
        await turn()
        ours.transport.write('y')
        ours.transport.awaitDrain()
      }
      t.equal(ours.drains, 0)
      theirs.transport.resume()
      await until(() => ours.drains > 0)
      t.equal(ours.drains, 1)
      t.equal(ours.transport.backlog, 0)
      await until(() => theirs.heard.length === 20_000_020)
    })

    void t.test('a transport ends after what was written, is closed once, and leaves no timer', async t => {
      const { ours, theirs, clock } = await make(t)
      ours.open(); theirs.open()
      ours.transport.write('farewell')
      ours.transport.end()
      ours.transport.write('and one more thing')
      ours.transport.end()
      theirs.transport.write('nobody hears this')
      await until(() => ours.closes.length > 0 && theirs.closes.length > 0)
      t.equal(theirs.heard, 'farewell')
      t.equal(ours.heard, '')
      t.same([ours.closes, theirs.closes], [[undefined], [undefined]])
      t.ok(ours.transport.isClosed && theirs.transport.isClosed)
      for (const { transport } of [ours, theirs]) {
        transport.write('x')
        transport.pause()
        transport.resume()
        transport.end()
        transport.destroy(new Error('too late'))
      }
      await turn()
      t.equal(ours.transport.backlog, 0)
      t.same([ours.closes, theirs.closes], [[undefined], [undefined]])
      t.equal(clock.timers, 0)
    })

    void t.test('a transport cuts off a peer that does not end in time', async t => {
      const { ours, theirs, clock } = await make(t)
      ours.open(); theirs.open()
      theirs.transport.pause()
      await turn()
      ours.transport.write('x'.repeat(20_000_000))
      ours.transport.end()
      for (let turns = 0; turns < 20; turns++) await turn()
      t.same(ours.closes, [])
      clock.pass(FAREWELL)
      await until(() => ours.closes.length > 0)
      t.equal(clock.timers, 0)
      theirs.transport.destroy()
      await until(() => theirs.closes.length > 0)
    })

    void t.test('a transport is destroyed at once, with the reason that was given', async t => {
      const { ours, theirs, clock } = await make(t)
      ours.open(); theirs.open()
      const reason = new Error('enough')
      ours.transport.write('unsaid')
      ours.transport.destroy(reason)
      t.same(ours.closes, [], 'not within the call')
      await until(() => ours.closes.length > 0 && theirs.closes.length > 0)
      t.same(ours.closes, [reason])
      t.equal(theirs.heard, '')
      await t.rejects(ours.transport.startTls(NO_TLS))
      t.equal(clock.timers, 0)
    })
  })
}

const NO_TLS: TlsSettings = { contextFor: () => { throw new Error('no certificate') }, alpn: 'xmpp-client', asksPeer: false }

void t.test('a pair in memory can simulate TLS, and both ends export the same key material', async t => {
  const clock = new FakeClock()
  const [a, b] = memoryPair({ clock, secure: true, certificate: Buffer.from('DER'), address: '198.51.100.7' })
  t.match(a.tls, { protocol: 'TLSv1.3', alpn: undefined, certificate: Buffer.from('DER'), authorized: false })
  t.same(a.tls?.exporter('label', 8), b.tls?.exporter('label', 8))
  t.equal(a.address, '198.51.100.7')
  const [c, d] = memoryPair({ clock })
  t.equal((await c.startTls(NO_TLS)).alpn, 'xmpp-client')
  const shaking = d.startTls(NO_TLS)
  d.destroy(new Error('gone'))
  await t.rejects(shaking, { message: 'gone' })
})

void t.test('an address is written in its plain form', t => {
  t.equal(plainAddress('::ffff:192.0.2.1'), '192.0.2.1')
  t.equal(plainAddress('::FFFF:192.0.2.1'), '192.0.2.1')
  t.equal(plainAddress('fe80::1%eth0'), 'fe80::1')
  t.equal(plainAddress('2001:db8::1'), '2001:db8::1')
  t.equal(plainAddress(undefined), '')
  t.end()
})

// ---- TLS ------------------------------------------------------------------------------------

/** Makes a TLS handshake between a transport and a client of node:tls. */
async function shaken (t: Test, how: { readonly client?: ConnectionOptions, readonly authority?: string } = {}) {
  const dir = temporaryFolder(t, { certificates: {}, authorities: how.authority === undefined ? {} : { 'ca.pem': how.authority } })
  const certificates = await Certificates.open({
    folder: join(dir, 'certificates'), domains: ['a.lit', 'b.lit'], clock: new FakeClock(Date.now()), log: silent,
    authorities: how.authority === undefined ? undefined : join(dir, 'authorities'),
  })
  t.teardown(() => certificates.close())
  const clock = new FakeClock()
  const [ours, theirs] = await sockets(t)
  const end = new End(new TcpTransport(ours, clock))
  const shaking = end.transport.startTls({
    contextFor: name => certificates.contextFor(name), alpn: 'xmpp-client', asksPeer: certificates.asksClients,
  })
  const client = connectTls({ socket: theirs, rejectUnauthorized: false, ...how.client })
  client.on('error', () => {})
  const [tls] = await Promise.all([shaking, once(client, 'secureConnect')])
  return { end, client, tls, certificates, clock }
}

void t.test('over TLS, both ends see the same properties of the connection', async t => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const { end, client, tls, certificates } = await shaken(t, {
      client: { servername: 'b.lit', minVersion: version, maxVersion: version, ALPNProtocols: ['xmpp-client'] },
    })
    t.equal(tls.protocol, version)
    t.equal(tls.cipher, client.getCipher().standardName)
    t.equal(tls.alpn, 'xmpp-client')
    t.ok(client.getPeerX509Certificate()?.raw.equals(tls.certificate))
    t.ok(Buffer.from(certificates.contextFor('b.lit').certificate).equals(tls.certificate), 'the certificate of the requested name')
    t.ok(Buffer.from(tls.exporter('EXPORTER-Channel-Binding', 32)).equals(client.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0))))
    t.equal(end.transport.tls, tls)
    t.same([tls.peerCertificates, tls.authorized], [[], false])
    end.open()
    client.write('héllo')
    await until(() => end.heard.length === 6)
    t.equal(Buffer.from(end.heard, 'latin1').toString(), 'héllo')
    end.transport.write('back')
    t.equal(String((await once(client, 'data'))[0]), 'back')
    client.end()
    await until(() => end.closes.length > 0)
    t.same(end.closes, [undefined])
  }
})

/** Returns the sizes of the TLS records that a client gets from now on, and their text. */
function recordsOf (client: EventEmitter): { readonly sizes: number[], text: string } {
  const records = { sizes: new Array<number>(), text: '' }
  client.on('data', (chunk: Buffer) => {
    records.sizes.push(chunk.length)
    records.text += chunk.toString('latin1')
  })
  return records
}

const counting = (bytes: number): string => Array.from({ length: bytes / 8 }, (_, at) => String(at).padStart(8)).join('')

void t.test('a quiet TLS connection writes short records, so that it costs little memory, and keeps the order', async t => {
  const { end, client, clock } = await shaken(t)
  end.open()
  const records = recordsOf(client)
  const text = counting(48_000)
  end.transport.write(text.slice(0, 40_000))
  await turn()
  end.transport.write(text.slice(40_000))
  t.ok(end.transport.backlog > 0)
  end.transport.awaitDrain()
  await until(() => records.text.length === text.length && end.transport.backlog === 0 && end.drains > 0)
  t.equal(records.text, text)
  t.ok(Math.max(...records.sizes) <= 900, `the longest has ${Math.max(...records.sizes)} bytes`)
  for (let hours = 0; hours < 24; hours++) {
    clock.pass(3_600_000)
    end.transport.write(text)
    await until(() => records.text.length === text.length * (hours + 2))
  }
  t.ok(Math.max(...records.sizes) <= 900, 'after a day with a few messages an hour as well')
  client.destroy()
})

void t.test('a busy TLS connection writes what it has at once', async t => {
  const { end, client } = await shaken(t)
  end.open()
  const records = recordsOf(client)
  const text = counting(400_000)
  for (let at = 0; at < text.length; at += 40_000) {
    end.transport.write(text.slice(at, at + 40_000))
    await until(() => records.text.length === at + 40_000)
  }
  t.equal(records.text, text)
  t.ok(Math.max(...records.sizes) > 10_000)
  client.destroy()
})

void t.test('a TLS connection that ends or has much to say sends all of it, in order', async t => {
  for (const bytes of [8000, 400_000]) {
    const { end, client } = await shaken(t)
    end.open()
    const records = recordsOf(client)
    const text = counting(bytes)
    end.transport.write(text.slice(0, 4000))
    await turn()
    end.transport.write(text.slice(4000))
    end.transport.end()
    await until(() => end.closes.length > 0)
    t.equal(records.text, text)
  }
})

void t.test('a peer without SNI and ALPN is served all the same', async t => {
  const { tls, client, certificates } = await shaken(t)
  t.equal(tls.alpn, undefined)
  t.ok(Buffer.from(certificates.contextFor('a.lit').certificate).equals(tls.certificate))
  client.destroy()
})

void t.test('a peer’s certificate is authorized only by the authority that issued it', async t => {
  const authority = await makeAuthority('ours')
  const stranger = await makeAuthority('theirs')
  for (const [issuer, authorized] of [[authority, true], [stranger, false]] as const) {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const { certificate, key, der } = await issuer.issue({ subject: 'CN=romeo' })
      const { tls, client } = await shaken(t, {
        authority: authority.certificate,
        client: { servername: 'a.lit', cert: certificate, key, minVersion: version, maxVersion: version },
      })
      t.equal(tls.authorized, authorized, version)
      t.ok(Buffer.from(der).equals(tls.peerCertificates[0] ?? new Uint8Array()))
      client.destroy()
    }
  }
  const { tls, client } = await shaken(t, { authority: authority.certificate })
  t.same([tls.peerCertificates, tls.authorized], [[], false], 'none was shown')
  client.destroy()
})

void t.test('data written before TLS is sent in the clear, and data that comes in the clear after that is refused', async t => {
  const clock = new FakeClock()
  const [ours, theirs] = await sockets(t)
  const end = new End(new TcpTransport(ours, clock)).open()
  const heard = once(theirs, 'data')
  end.transport.write('proceed')
  const contextFor = (): ReturnType<TlsSettings['contextFor']> => ({ context: createSecureContext(), certificate: new Uint8Array() })
  const shaking = end.transport.startTls({ ...NO_TLS, contextFor })
    .catch((error: unknown) => error)
  t.equal(String((await heard)[0]), 'proceed')
  theirs.write('in the clear')
  t.ok(await shaking instanceof Error)
  await until(() => end.closes.length > 0)
  t.equal(end.heard, '')
})
