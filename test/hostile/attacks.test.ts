/**
 * Attacks on a real server over real sockets, while two users talk. The users notice nothing, and memory does not grow
 * with the duration of an attack.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as rest } from 'node:timers/promises'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { HEADER, RawClient, SASL, started, STARTTLS } from './peer.js'
import { DOMAIN, ServerProcess } from './server.js'
import { AttackedServer } from './town.js'
import { staysBelow } from './turns.js'

const MIB = 1024 * 1024

// ---- XML ----------------------------------------------------------------------------------------

const CASES = join(PACKAGE_ROOT, 'test/xml/cases')
const ROOT = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a' version='1.0'>"
/** Errors that an earlier element in a file may cause before the parser reaches the fault. */
const EARLIER: readonly string[] = ['not-authorized', 'unsupported-stanza-type', 'policy-violation']

t.test('the server withstands attacks with the limits of the shipped conf', { timeout: 1_200_000 }, async t => {
  const town = await AttackedServer.open(t)
  const { server } = town

  await t.test('each file of hostile XML causes its stream error, before login and after binding, and ends only its own stream', async t => {
    const files = readdirSync(CASES).filter(name => name.endsWith('.xml'))
    let exact = 0
    await town.talks(t, async () => {
      exact = 0
      for (const [n, file] of files.entries()) {
        const wanted = file.split('.').at(-2) ?? ''
        const isFine = wanted === 'ok' || wanted === 'waits'
        const bytes = readFileSync(join(CASES, file))
        const stranger = await town.visitor(n)
        stranger.says(bytes)
        if (isFine) stranger.drops()
        else {
          const error = await stranger.closes()
          if (error === wanted) exact++
          else if (!EARLIER.includes(error)) t.fail(`${file}, before login: ${error}`)
          if (!stranger.heard.endsWith('</stream:stream>')) t.fail(`${file} is not answered with an end: ${stranger.heard}`)
        }
        if (!bytes.toString('latin1').startsWith(ROOT)) continue
        const mallory = await (await town.visitor(n)).comes('mallory', 'cave')
        mallory.says(bytes.subarray(ROOT.length))
        if (isFine) mallory.drops()
        else {
          const error = await mallory.closes()
          if (error === wanted) exact++
          else if (!EARLIER.includes(error)) t.fail(`${file}, after binding: ${error}`)
        }
      }
    })
    t.ok(exact > files.length, `${exact} got exactly the right error`)
  })

  await t.test('random bytes and halves of valid streams end only their own stream', async t => {
    const script = Buffer.from(`${HEADER}<auth xmlns='${SASL}' mechanism='PLAIN'>AGEAYg==</auth><message to='romeo@${DOMAIN}'><body>&lt;x</body></message><iq type='get' id='a'><x xmlns='y'/></iq>`)
    let seed = 7
    const next = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % below
    await town.talks(t, async () => {
      for (let n = 0; n < 400; n++) {
        const bytes = Buffer.from(script.subarray(0, 1 + next(script.length)))
        for (let damage = next(4); damage > 0; damage--) bytes[next(bytes.length)] = next(256)
        const stranger = await town.visitor(n)
        stranger.says(bytes)
        stranger.drops('end')
        await stranger.gone()
      }
    })
  })

  // ---- Floods -----------------------------------------------------------------------------------

  const FLOODS: Readonly<Record<string, string>> = {
    'messages': `<message to='nobody@${DOMAIN}' type='chat'><body>x</body></message>`,
    'messages to those who are not there, under long names': `<message to='${'x'.repeat(900)}NUMBER@${DOMAIN}'/>`,
    'presence': '<presence><status>x</status></presence>',
    'directed presence': `<presence to='xNUMBER@elsewhere.lit'/>`,
    'requests': `<iq type='get' id='1' to='${DOMAIN}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`,
    'requests for a session': "<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    'addresses that are hard to prepare': `<message to='${'é̀'.repeat(200)}NUMBER@${'ä'.repeat(20)}.lit/${'가'.repeat(200)}'/>`,
    'many small elements': `<message to='${DOMAIN}'>${'<a/>'.repeat(9000)}</message>`,
    'many namespaces': `<message to='${DOMAIN}'>${'<x:a xmlns:x="u" x:b=""/>'.repeat(2000)}</message>`,
    'new passwords': "<iq type='set' id='p'><query xmlns='jabber:iq:register'><username>paris</username><password>a secret</password></query></iq>",
    'capabilities that are not true': "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='NUMBER'/></presence>",
    'spaces': ' '.repeat(1000),
  }
  /** Floods from one device only: each new password ends the other sessions of its account, now or a moment later. */
  const ALONE = new Set(['new passwords'])
  for (const [what, stanza] of Object.entries(FLOODS)) {
    await t.test(`a flood of ${what} slows down only its sender`, async t => {
      await staysBelow(t, 150, async () => {
        const before = await server.memory()
        await town.talks(t, async () => {
          const devices = await Promise.all(Array.from({ length: ALONE.has(what) ? 1 : 4 }, async (_, n) => (await town.visitor(50 + n)).comes(ALONE.has(what) ? 'paris' : 'mallory', `r${n}`)))
          const until = performance.now() + 1000
          for (let n = 0; performance.now() < until; n++) {
            for (const device of devices) {
              if (device.isClosed) throw new Error(`the flood was ended: ${device.error}`)
              if (device.socket.writableLength < MIB) device.says(stanza.replaceAll('NUMBER', String(n)))
              device.heard = ''
            }
            await rest(stanza.length > 5000 ? 2 : 0)
          }
          for (const device of devices) device.drops('reset')
        })
        return (await server.memory() - before) / MIB
      }, grown => `memory has grown by ${grown.toFixed(0)} MiB`)
    })
  }

  await t.test('a flood of wrong passwords delays the logins of others only for a moment', async t => {
    await town.talks(t, async () => {
      const guessers = await Promise.all(Array.from({ length: 150 }, async (_, n) => {
        const peer = await RawClient.at(server.ports.direct, `127.0.${20 + n}.9`)
        await peer.encrypts()
        await peer.opens()
        return peer
      }))
      for (const peer of guessers) peer.says(`<auth xmlns='${SASL}' mechanism='PLAIN'>${Buffer.from('\0tybalt\0wrong').toString('base64')}</auth>`.repeat(2))
      const tybalt = await town.visitor(3)
      await tybalt.comes('tybalt', 'square')
      tybalt.drops()
      for (const peer of guessers) await peer.gets('</failure>')
      for (const peer of guessers) peer.drops()
    })
    await server.quiet(2)
  })

  await t.test('a flood of incomplete and invalid handshakes keeps nobody out', async t => {
    await town.talks(t, async () => {
      const peers: RawClient[] = []
      for (let n = 0; n < 600; n++) {
        const peer = await RawClient.at(server.ports.direct, `127.0.${20 + n % 20}.9`)
        peer.says(n % 2 === 0 ? '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' : '\x16\x03\x01\x00\x05hello')
        peers.push(peer)
      }
      const late = await RawClient.at(server.ports.direct, '127.0.50.1')
      await late.encrypts()
      await late.comes('tybalt', 'square')
      late.drops()
      for (const peer of peers) peer.drops()
    })
    await server.quiet(2)
  })

  // ---- Clients that do not read answers ---------------------------------------------------------

  await t.test('a client that requests much and reads nothing is not read any more', async t => {
    let grown = 0
    await town.talks(t, async () => {
      const mallory = await (await town.visitor(1)).comes('mallory', 'cave')
      mallory.says(`<iq type='set' id='v'><vCard xmlns='vcard-temp'><NOTE>${'x'.repeat(100_000)}</NOTE></vCard></iq>`)
      await mallory.gets('id="v"')
      const before = await server.memory()
      mallory.socket.pause()
      for (let n = 0; n < 400; n++) mallory.says(`<iq type='get' id='${n}'><vCard xmlns='vcard-temp'/></iq>`)
      await rest(2000)
      grown = (await server.memory() - before) / MIB
      mallory.drops()
    })
    t.ok(grown < 60, `memory has grown by ${grown.toFixed(0)} MiB, although 40 MB were requested in each round`)
    await server.quiet(2)
  })

  // ---- TLS --------------------------------------------------------------------------------------

  await t.test('TLS is as required: no old versions, no renegotiation, the right ALPN, a certificate for any name', async t => {
    const direct = async (how: Parameters<RawClient['encrypts']>[0]): Promise<RawClient> => {
      const peer = await RawClient.at(server.ports.direct, '127.0.60.1')
      await peer.encrypts(how)
      return peer
    }
    await town.talks(t, async () => {
      for (const version of ['TLSv1', 'TLSv1.1'] as const) {
        await t.rejects(direct({ minVersion: version, maxVersion: version, ciphers: 'ALL:@SECLEVEL=0' }), version)
      }
      for (const ciphers of ['NULL-SHA256', 'ADH-AES128-SHA', 'RC4-SHA', 'DES-CBC3-SHA', 'AES128-SHA']) {
        await t.rejects(direct({ maxVersion: 'TLSv1.2', ciphers: `${ciphers}:@SECLEVEL=0` }), ciphers)
      }
      for (const ALPNProtocols of [['http/1.1'], ['xmpp-server'], ['h2', 'http/1.1']]) await t.rejects(direct({ ALPNProtocols }), ALPNProtocols.join())
      for (const servername of ['', 'elsewhere.lit', 'x'.repeat(250), 'xn--a', 'a..b', '*.a']) {
        const peer = await direct({ servername, ALPNProtocols: ['xmpp-client'] })
        t.match(peer.tls?.getPeerCertificate().subjectaltname, /^DNS:a\b/, servername.slice(0, 20))
        peer.drops()
      }
      const again = await direct({ maxVersion: 'TLSv1.2' })
      await again.opens()
      for (const turn of [1, 2]) again.tls?.renegotiate({ rejectUnauthorized: false }, () => turn)
      await again.closes()
    })
  })

  await t.test('data that follows <starttls/> in the clear is ignored', async t => { // CVE-2011-0411 and similar ones
    await town.talks(t, async () => {
      const inOne = await RawClient.at(server.ports.required, '127.0.61.1')
      inOne.says(`${HEADER}${STARTTLS}${HEADER}<auth xmlns='${SASL}' mechanism='PLAIN'>AGEAYg==</auth>`)
      await inOne.gets('<proceed')
      await inOne.encrypts()
      inOne.says(HEADER)
      const heard = await inOne.gets('</stream:features>')
      t.equal(heard.split('<stream:stream').length, 2)
      t.notMatch(heard, /failure|success/)
      inOne.drops()
      const later = await RawClient.at(server.ports.required, '127.0.61.1')
      await later.opens()
      later.says(STARTTLS)
      await later.gets('<proceed')
      later.says(`${HEADER}<auth xmlns='${SASL}' mechanism='PLAIN'>AGEAYg==</auth>`)
      await later.closes()
      t.equal(later.heard, '')
    })
  })

  await t.test('an uncaught exception is logged, and the server goes on', async t => {
    for (const kind of ['rejection', 'exception'] as const) await server.ask({ ask: 'fault', kind })
    const errors: string[] = []
    while (errors.length < 2) errors.push(...await server.errors())
    t.equal(errors.length, 2)
    t.match(errors.join(), /a test's rejection.*a test's exception/s)
    await town.talks(t, () => Promise.resolve())
  })
})

// ---- Time -----------------------------------------------------------------------------------------

const DRIPS: Readonly<Record<string, readonly [start: (peer: RawClient) => Promise<void>, drip: string]>> = {
  'a header': [async () => {}, '<stream:stream '],
  'spaces': [async () => {}, ' '],
  'a login': [async peer => { await peer.opens(); peer.says(`<auth xmlns='${SASL}' mechanism='PLAIN'>`) }, 'A'],
  'a response': [async peer => { await peer.opens(); await peer.begins('mallory'); peer.says(`<response xmlns='${SASL}'>`) }, 'A'],
  'a binding': [async peer => { await peer.logsIn('mallory'); peer.says("<iq type='set' id='") }, 'x'],
}

/** The most bytes that a client drips, one every 50 ms. */
const DRIPPED = 2000

t.test('a client that sends byte by byte is disconnected when its time is over', { timeout: 1_200_000 }, async t => {
  const town = await AttackedServer.open(t, { conf: '[limits]\nnegotiation = "1s"\n' })
  const { server } = town
  await town.talks(t, async () => {
    const peers = await Promise.all(Object.entries(DRIPS).flatMap(([what, [start, drip]]) => [0, 1, 2].map(async n => {
      return { what, peer: await started(() => town.visitor(n), start), drip }
    })))
    const tls = await RawClient.at(server.ports.direct, '127.0.70.1')
    const asked = await started(() => RawClient.at(server.ports.required, '127.0.70.2'), peer => peer.opens())
    asked.says(STARTTLS)
    const hello = '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'
    let n = 0
    for (; n < DRIPPED && (peers.some(({ peer }) => !peer.isClosed) || !tls.isClosed || !asked.isClosed); n++) {
      for (const { peer, drip } of peers) if (!peer.isClosed) peer.says(drip.charAt(n % drip.length))
      for (const peer of [tls, asked]) if (!peer.isClosed && n < hello.length) peer.says(Buffer.from(hello.charAt(n), 'latin1'))
      await rest(50)
    }
    for (const { what, peer } of peers) {
      await peer.closes()
      t.match(peer.error, /connection-timeout|not-well-formed/, what)
    }
    t.ok(tls.isClosed && asked.isClosed, 'a slow handshake ends')
    t.ok(n < DRIPPED, 'before the drip ends')
  })
  await server.quiet(2)
})

// ---- Clients that do not read messages ------------------------------------------------------------

t.test('a device that does not read its messages is disconnected at a bound', { timeout: 1_200_000 }, async t => {
  const town = await AttackedServer.open(t, { listener: 'rate = "1GiB/s"', limits: '{ sessionStanzasPerSecond = 100000, addressStanzasPerSecond = 1000000, strangerMessagesPerMinute = 1000000 }' })
  const { server } = town
  let before = 0
  await town.talks(t, async () => {
    const mallory = await (await town.visitor(1)).comes('mallory', 'cave')
    mallory.says('<presence/>')
    await mallory.pings()
    mallory.socket.pause()
    const tybalt = await (await town.visitor(2)).comes('tybalt', 'square')
    before = await server.memory()
    const message = `<message to='mallory@${DOMAIN}/cave' type='chat'><body>${'x'.repeat(60_000)}</body></message>`
    for (let n = 0; n < 400; n++) {
      tybalt.says(message)
      await tybalt.pings() // a sender does not wait for a recipient that does not read
    }
    tybalt.drops()
    await server.quiet(2) // mallory's connection is closed, although mallory still does not read
    mallory.drops()
  })
  const grown = (await server.memory() - before) / MIB
  t.ok(grown < 100, `24 MB were sent, and memory has grown by ${grown.toFixed(0)} MiB`)
})

const noPrlimit = spawnSync('prlimit', ['--version']).status === 0 ? false : 'prlimit is missing: apt install util-linux'
t.test('a server without free file descriptors refuses connections, and accepts them again later', { timeout: 1_200_000, skip: noPrlimit }, async t => {
  const server = await ServerProcess.start(t)
  await server.account('romeo')
  const { files } = await server.report()
  t.equal(spawnSync('prlimit', [`--pid=${String(server.child.pid)}`, `--nofile=${files + 30}`]).status, 0)
  const peers: RawClient[] = []
  for (let n = 0; n < 150; n++) {
    const peer = await RawClient.at(server.ports.none, '127.0.0.2').catch(() => undefined)
    if (peer !== undefined) peers.push(peer)
  }
  await Promise.race(peers.map(async peer => { await peer.gone() }))
  t.ok(peers.some(peer => peer.isClosed), 'some were refused')
  for (const peer of peers) peer.drops()
  await server.quiet()
  // The connections that the server has not accepted yet are refused first.
  let romeo: RawClient | undefined
  while (romeo === undefined) {
    const peer = await RawClient.at(server.ports.none, '127.0.0.3')
    romeo = await peer.comes('romeo', 'orchard').catch(() => undefined)
  }
  await romeo.pings()
  romeo.drops()
})
