import t, { type Test } from 'tap'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { connect as connectTls, createSecureContext, TLSSocket, type ConnectionOptions, type SecureContext, type SecureContextOptions } from 'node:tls'
import { HandshakeWatch } from '../../lib/stream/handshake-watch.js'
import { objectionToChain } from '../../lib/stream/peer-chain.js'
import { selfSigned } from '../../lib/stream/self-signed.js'
import { TcpTransport } from '../../lib/stream/tcp-transport.js'
import { makeAuthority } from '../auth/authority.js'
import { FakeClock } from '../fake-clock.js'
import { certificate, costlyChain, KINDS, type Chain } from '../hostile/certificates.js'

const RSA_2048 = 'RSA, 2048 bits'

function kindOf (name: string): NonNullable<typeof KINDS[string]> {
  const kind = KINDS[name]
  if (kind === undefined) throw new Error(name)
  return kind
}

interface Ends { readonly ours: Socket, readonly theirs: Socket }

async function sockets (t: Test): Promise<Ends> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const theirs = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [ours] = await once(server, 'connection') as [Socket]
  server.close()
  t.teardown(() => { ours.destroy(); theirs.destroy() })
  return { ours, theirs }
}

/** Passes on what is written, each `size` bytes by themselves. */
function inPieces (socket: Socket, size: number): Duplex {
  socket.setNoDelay(true)
  const duplex = new Duplex({
    read () { socket.resume() },
    write (chunk: Buffer, _encoding, done) {
      for (let at = 0; at < chunk.length; at += size) socket.write(chunk.subarray(at, at + size))
      done()
    },
    final (done) { socket.end(done) },
    destroy (error, done) { socket.destroy(); done(error) },
  })
  socket.on('data', (chunk: Buffer) => { for (const byte of chunk) duplex.push(Buffer.from([byte])) })
  socket.on('end', () => { duplex.push(null) })
  return duplex
}

let known: { readonly context: SecureContext, readonly certificate: Uint8Array } | undefined
async function shown (how: SecureContextOptions = {}): Promise<NonNullable<typeof known>> {
  if (known !== undefined && Object.keys(how).length === 0) return known
  const { certificate: cert, key } = await selfSigned('a.lit', 'a.lit', Date.now())
  known = { context: createSecureContext({ cert, key, ...how }), certificate: Buffer.alloc(0) }
  return known
}

/**
 * Takes a call from a peer that shows a chain. Returns the number of certificates seen once all data came, or the
 * error.
 */
async function called (
  t: Test, { pem, key }: Chain, how: ConnectionOptions, pieces = 0, ours: SecureContextOptions = {},
  spent: (ms: number) => void = () => {},
): Promise<string> {
  const ends = await sockets(t)
  const transport = new TcpTransport(ends.ours, new FakeClock())
  const context = await shown(ours)
  const peer = connectTls({ socket: pieces > 0 ? inPieces(ends.theirs, pieces) : ends.theirs, cert: pem, key, rejectUnauthorized: false, ALPNProtocols: ['x'], ...how })
  peer.on('error', () => {})
  peer.on('secureConnect', () => { peer.write('x'.repeat(100_000)) })
  const heard = new Promise<string>(resolve => {
    let bytes = 0
    transport.open({
      data: chunk => { if ((bytes += chunk.length) === 100_000) resolve(`all, ${transport.tls?.peerCertificates.length ?? 0} certificates`) },
      drained () {}, closed () {},
    })
  })
  try {
    await transport.startTls({ contextFor: () => context, alpn: 'x', asksPeer: true, spent })
    transport.write('y'.repeat(70_000))
    const answered = new Promise<void>(resolve => {
      let bytes = 0
      peer.on('data', (chunk: Buffer) => { if ((bytes += chunk.length) === 70_000) resolve() })
    })
    const all = await heard
    await answered
    return all
  } catch (error) {
    return String(error)
  } finally {
    transport.destroy()
    peer.destroy()
  }
}

/** Calls a peer that shows a chain. */
async function calls (t: Test, { pem, key }: Chain, version: 'TLSv1.2' | 'TLSv1.3'): Promise<string> {
  const ends = await sockets(t)
  const context = createSecureContext({ cert: pem, key, minVersion: version, maxVersion: version, ciphers: 'DEFAULT:@SECLEVEL=0' })
  const peer = new TLSSocket(ends.ours, { isServer: true, secureContext: context, ALPNProtocols: ['x'] })
  peer.on('error', () => {}).on('_tlsError', () => {})
  peer.write('x')
  const transport = new TcpTransport(ends.theirs, new FakeClock())
  const heard = new Promise<string>(resolve => {
    transport.open({ data: chunk => { resolve(`${chunk.length} bytes`) }, drained () {}, closed () {} })
  })
  try {
    const tls = await transport.startTls({ servername: undefined, ...await shown(), alpn: 'x' })
    return `${await heard}, ${tls.peerCertificates.length} certificates`
  } catch (error) {
    return String(error)
  } finally {
    transport.destroy()
    peer.destroy()
  }
}

const USUAL: Readonly<Record<string, readonly [ConnectionOptions, pieces?: number, SecureContextOptions?]>> = {
  'TLS 1.2, RSA and AES': [{ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }],
  'TLS 1.2 in pieces': [{ maxVersion: 'TLSv1.2' }, 7],
  'AES with 128 bits': [{ ciphers: 'TLS_AES_128_GCM_SHA256' }],
  'AES with 256 bits': [{ ciphers: 'TLS_AES_256_GCM_SHA384' }],
  'ChaCha20': [{ ciphers: 'TLS_CHACHA20_POLY1305_SHA256' }],
  'TLS 1.3 in pieces': [{}, 3],
  'a second hello': [{ ecdhCurve: 'X25519:P-384' }, 0, { ecdhCurve: 'P-384' }],
  'a second hello in pieces': [{ ecdhCurve: 'X25519:P-384' }, 5, { ecdhCurve: 'P-384' }],
}

void t.test('a peer that shows a usual chain is served with each common version and cipher of TLS', async t => {
  const authority = await makeAuthority('Verona')
  const { certificate: own, key } = await authority.issue({ names: [] })
  const chain = { pem: `${own}\n${authority.certificate}`, key, count: 2 }
  for (const [what, [how, pieces, ours]] of Object.entries(USUAL)) {
    known = undefined
    t.equal(await called(t, chain, how, pieces, ours), 'all, 2 certificates', what)
  }
  known = undefined
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) t.equal(await calls(t, chain, version), '1 bytes, 2 certificates', `outgoing, ${version}`)
  const parts: number[] = []
  await called(t, chain, {}, 0, {}, ms => { parts.push(ms) })
  t.ok(parts.length > 1 && parts.every(ms => ms >= 0) && Math.max(...parts) > 0, `the CPU time of a handshake is told: ${parts.join()}`)
  const anonymous = await called(t, { ...chain, pem: '' }, { cert: undefined, key: undefined })
  t.equal(anonymous, 'all, 0 certificates', 'a peer without a certificate is served as well')
})

void t.test('a peer whose certificates are too expensive to verify is refused before OpenSSL reads them, in both directions', async t => {
  for (const [name, kind] of Object.entries(KINDS).filter(([name]) => name !== RSA_2048 && name !== 'P-521')) {
    const chain = costlyChain(kind(), 3, 16_000)
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      t.match(await called(t, chain, { minVersion: version, maxVersion: version, ciphers: 'DEFAULT:@SECLEVEL=0' }), /a certificate of the peer/, `${name}, ${version}`)
      t.match(await calls(t, chain, version), /a certificate of the peer/, `${name}, ${version}, outgoing`)
    }
  }
  t.match(await called(t, costlyChain(kindOf(RSA_2048)(), 40, 90_000), {}), /; 10 are allowed/)
  t.match(await called(t, costlyChain(kindOf(RSA_2048)(), 40, 90_000), { maxVersion: 'TLSv1.2' }, 1000), /; 10 are allowed/, 'in pieces')
})

void t.test('certificates that are not valid DER are refused', async t => {
  const whole = certificate('a', 'b', kindOf(RSA_2048)())
  t.equal(objectionToChain([whole]), undefined)
  for (let length = 0; length < whole.length; length += 7) t.match(objectionToChain([whole.subarray(0, length)]), /cannot be read/)
  t.match(objectionToChain([Buffer.from('30800000', 'hex')]), /cannot be read/, 'an indefinite length')
  t.match(objectionToChain([Buffer.from('3081050000', 'hex')]), /cannot be read/, 'a length that is longer than necessary')
  t.match(objectionToChain([Buffer.from('308500000000010', 'hex')]), /cannot be read/, 'a length of five bytes')
})

void t.test('data that is not a TLS handshake is refused', t => {
  t.throws(() => HandshakeWatch.lengthOf(Buffer.from('GET / HTTP/1.1')), /not a TLS record/)
  t.throws(() => HandshakeWatch.lengthOf(Buffer.from([22, 3, 1, 0xff, 0xff])), /too long/)
  t.equal(HandshakeWatch.lengthOf(Buffer.from([22, 3])), undefined)
  const record = (type: number, ...bytes: number[]): Buffer =>
    Buffer.from([type, 3, 3, bytes.length >> 8, bytes.length & 0xff, ...bytes])
  t.throws(() => { new HandshakeWatch(true).judge(record(22, 1, 0xff, 0xff, 0xff)) }, /too long/, 'a message')
  const chatty = new HandshakeWatch(true)
  t.throws(() => { for (let n = 0; n < 1000; n++) chatty.judge(record(22)) }, /the handshake is too long/)
  t.equal(new HandshakeWatch(true).judge(record(23, 1, 2, 3)), 'hold', 'the record is encrypted')
  t.throws(() => { new HandshakeWatch(true).judge(record(22, 11, 0, 0, 4, 0, 0, 9, 1)) }, /cannot be read/, 'a list that is longer than its message')
  t.end()
})

void t.test('much data passes in both directions, whole and in order, while the receiver pauses', async t => {
  const authority = await makeAuthority('Verona')
  const { certificate: own, key } = await authority.issue({ names: [] })
  const { ours, theirs } = await sockets(t)
  const transport = new TcpTransport(ours, new FakeClock())
  const peer = connectTls({ socket: theirs, cert: own, key, rejectUnauthorized: false, ALPNProtocols: ['x'] })
  const context = await shown()
  const much = Array.from({ length: 200_000 }, (_, n) => `${n};`).join('')
  const arrived = new Promise<string>(resolve => {
    let text = ''
    transport.open({
      data: chunk => {
        text += Buffer.from(chunk).toString('latin1')
        if (text.length >= much.length) resolve(text)
        transport.pause()
        setImmediate(() => { transport.resume() })
      },
      drained () {}, closed () {},
    })
  })
  await transport.startTls({ contextFor: () => context, alpn: 'x', asksPeer: true })
  const answered = new Promise<string>(resolve => {
    let text = ''
    peer.on('data', (chunk: Buffer) => { if ((text += chunk.toString('latin1')).length >= much.length) resolve(text) })
  })
  peer.write(much)
  for (let at = 0; at < much.length; at += 100_000) {
    transport.write(much.slice(at, at + 100_000))
    await new Promise(resolve => { setImmediate(resolve) })
  }
  t.ok(await arrived === much, 'the server has got all')
  t.ok(await answered === much, 'the peer has got all')
  const ended = once(peer, 'end')
  transport.end()
  await ended
  peer.destroy()
})
