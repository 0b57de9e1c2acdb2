/** Attacks on a real server over real sockets, while two people talk: they notice nothing, and memory does not grow with patience. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as rest } from 'node:timers/promises'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { HEADER, Peer, SASL, STARTTLS } from './peer.js'
import { DOMAIN, ServerProcess } from './server.js'
import { Town } from './town.js'

const MIB = 1024 * 1024

// ---- XML ----------------------------------------------------------------------------------------

const CASES = join(PACKAGE_ROOT, 'test/xml/cases')
const ROOT = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a' version='1.0'>"
/** What an earlier element in a file may lead to, before the fault is reached. */
const EARLIER: readonly string[] = ['not-authorized', 'unsupported-stanza-type', 'policy-violation']

t.test('attacks on a server with the limits it is shipped with', { timeout: 280_000 }, async t => {
  const town = await Town.open(t)
  const { server } = town

  await t.test('every hostile file of XML has its stream error, before login and after binding, and ends its stream alone', async t => {
    const files = readdirSync(CASES).filter(name => name.endsWith('.xml'))
    let exact = 0
    await town.talks(t, async () => {
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
    t.ok(exact > files.length, `${exact} were told exactly what was wrong`)
  })

  await t.test('random bytes, and halves of valid streams, do no more than end their own', async t => {
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
  /** Each new password ends the other sessions of its account, now or a moment later. */
  const ALONE = new Set(['new passwords'])
  for (const [what, stanza] of Object.entries(FLOODS)) {
    await t.test(`a flood of ${what} slows down the one who floods`, async t => {
      const devices = await Promise.all(Array.from({ length: ALONE.has(what) ? 1 : 4 }, async (_, n) => (await town.visitor(50 + n)).comes(ALONE.has(what) ? 'paris' : 'mallory', `r${n}`)))
      const before = await server.memory()
      await town.talks(t, async () => {
        const until = performance.now() + 1000
        for (let n = 0; performance.now() < until; n++) {
          for (const device of devices) {
            if (device.isClosed) throw new Error(`the flood was ended: ${device.error}`)
            if (device.socket.writableLength < MIB) device.says(stanza.replaceAll('NUMBER', String(n)))
            device.heard = ''
          }
          await rest(stanza.length > 5000 ? 2 : 0)
        }
      })
      const grown = (await server.memory() - before) / MIB
      t.ok(grown < 150, `memory has grown by ${grown.toFixed(0)} MiB`)
      for (const device of devices) device.drops('reset')
      await server.quiet(2)
    })
  }

  await t.test('a flood of wrong passwords costs those who log in no more than a moment', async t => {
    await town.talks(t, async () => {
      const guessers = await Promise.all(Array.from({ length: 150 }, async (_, n) => {
        const peer = await Peer.at(server.ports.direct, `127.0.${20 + n}.9`)
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

  await t.test('a flood of half handshakes and false ones keeps nobody out', async t => {
    await town.talks(t, async () => {
      const peers: Peer[] = []
      for (let n = 0; n < 600; n++) {
        const peer = await Peer.at(server.ports.direct, `127.0.${20 + n % 20}.9`)
        peer.says(n % 2 === 0 ? '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' : '\x16\x03\x01\x00\x05hello')
        peers.push(peer)
      }
      const late = await Peer.at(server.ports.direct, '127.0.50.1')
      await late.encrypts()
      await late.comes('tybalt', 'square')
      late.drops()
      for (const peer of peers) peer.drops()
    })
    await server.quiet(2)
  })

  // ---- Who does not read ------------------------------------------------------------------------

  await t.test('who asks for much and reads nothing is not read any more', async t => {
    const mallory = await (await town.visitor(1)).comes('mallory', 'cave')
    mallory.says(`<iq type='set' id='v'><vCard xmlns='vcard-temp'><NOTE>${'x'.repeat(100_000)}</NOTE></vCard></iq>`)
    await mallory.gets("id=\"v\"").catch(async () => await mallory.gets("id='v'"))
    const before = await server.memory()
    mallory.socket.pause()
    await town.talks(t, async () => {
      for (let n = 0; n < 400; n++) mallory.says(`<iq type='get' id='${n}'><vCard xmlns='vcard-temp'/></iq>`)
      await rest(2000)
    })
    const grown = (await server.memory() - before) / MIB
    t.ok(grown < 60, `memory has grown by ${grown.toFixed(0)} MiB, where 40 MB were asked for at each turn`)
    mallory.drops()
    await server.quiet(2)
  })

  // ---- TLS --------------------------------------------------------------------------------------

  await t.test('TLS is what it has to be: no old versions, no second handshake, the protocol that is spoken, a certificate for any name', async t => {
    const direct = async (how: Parameters<Peer['encrypts']>[0]): Promise<Peer> => {
      const peer = await Peer.at(server.ports.direct, '127.0.60.1')
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

  await t.test('what is said in the clear with <starttls/> is said to nobody', async t => { // CVE-2011-0411 and its kind
    await town.talks(t, async () => {
      const inOne = await Peer.at(server.ports.required, '127.0.61.1')
      inOne.says(`${HEADER}${STARTTLS}${HEADER}<auth xmlns='${SASL}' mechanism='PLAIN'>AGEAYg==</auth>`)
      await inOne.gets('<proceed')
      await inOne.encrypts()
      inOne.says(HEADER)
      const heard = await inOne.gets('</stream:features>')
      t.equal(heard.split('<stream:stream').length, 2)
      t.notMatch(heard, /failure|success/)
      inOne.drops()
      const later = await Peer.at(server.ports.required, '127.0.61.1')
      await later.opens()
      later.says(STARTTLS)
      await later.gets('<proceed')
      later.says(`${HEADER}<auth xmlns='${SASL}' mechanism='PLAIN'>AGEAYg==</auth>`)
      await later.closes()
      t.equal(later.heard, '')
    })
  })

  await t.test('a defect that nobody has caught is logged, and the server goes on', async t => {
    for (const kind of ['rejection', 'exception'] as const) await server.ask({ ask: 'fault', kind })
    await rest(50)
    const errors = await server.errors()
    t.equal(errors.length, 2)
    t.match(errors.join(), /a test's rejection.*a test's exception/s)
    await town.talks(t, () => Promise.resolve())
  })
})

// ---- Time -----------------------------------------------------------------------------------------

const DRIPS: Readonly<Record<string, readonly [start: (peer: Peer) => Promise<void>, drip: string]>> = {
  'a header': [async () => {}, '<stream:stream '],
  'spaces': [async () => {}, ' '],
  'a login': [async peer => { await peer.opens(); peer.says(`<auth xmlns='${SASL}' mechanism='PLAIN'>`) }, 'A'],
  'a response': [async peer => { await peer.opens(); await peer.begins('mallory'); peer.says(`<response xmlns='${SASL}'>`) }, 'A'],
  'a binding': [async peer => { await peer.logsIn('mallory'); peer.says("<iq type='set' id='") }, 'x'],
}

/** How many times a drip falls at most, every 50 ms. */
const DRIPPED = 2000

t.test('who says little by little what they have to say is gone when their time is over', { timeout: 1_200_000 }, async t => {
  const town = await Town.open(t, { conf: '[limits]\nnegotiation = "1s"\n' })
  const { server } = town
  await town.talks(t, async () => {
    const peers = await Promise.all(Object.entries(DRIPS).flatMap(([what, [start, drip]]) => [0, 1, 2].map(async n => {
      const peer = await town.visitor(n)
      await start(peer)
      peer.heard = ''
      return { what, peer, drip }
    })))
    const tls = await Peer.at(server.ports.direct, '127.0.70.1')
    const asked = await Peer.at(server.ports.required, '127.0.70.2')
    await asked.opens()
    asked.says(STARTTLS)
    const hello = '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'
    let n = 0
    for (; n < DRIPPED && (peers.some(({ peer }) => !peer.isClosed) || !tls.isClosed || !asked.isClosed); n++) {
      for (const { peer, drip } of peers) if (!peer.isClosed) peer.says(drip.charAt(n % drip.length))
      for (const peer of [tls, asked]) if (!peer.isClosed && n < hello.length) peer.says(Buffer.from(hello.charAt(n), 'latin1'))
      await rest(50)
    }
    for (const { what, peer } of peers) t.match(peer.error, /connection-timeout|not-well-formed/, what)
    t.ok(tls.isClosed && asked.isClosed, 'a handshake that drips')
    t.ok(n < DRIPPED, 'before they run dry')
  })
  await server.quiet(2)
})

// ---- Who reads nothing, and is written to ---------------------------------------------------------

t.test('a device that does not read what others say to it is given up at a bound', { timeout: 1_200_000 }, async t => {
  const town = await Town.open(t, { listener: 'rate = "1GiB/s"', limits: '{ session = 100000, address = 1000000, messages = 1000000 }' })
  const { server } = town
  const mallory = await (await town.visitor(1)).comes('mallory', 'cave')
  mallory.says('<presence/>')
  await mallory.pings()
  mallory.socket.pause()
  const tybalt = await (await town.visitor(2)).comes('tybalt', 'square')
  const before = await server.memory()
  await town.talks(t, async () => {
    const message = `<message to='mallory@${DOMAIN}/cave' type='chat'><body>${'x'.repeat(60_000)}</body></message>`
    for (let n = 0; n < 400; n++) {
      tybalt.says(message)
      await tybalt.pings() // and nobody who writes waits for one who does not read
    }
  })
  const grown = (await server.memory() - before) / MIB
  t.ok(grown < 100, `24 MB were said, and memory has grown by ${grown.toFixed(0)} MiB`)
  tybalt.drops()
  await server.quiet(2) // mallory's is ended, although it still does not read
  mallory.drops()
})

const noPrlimit = spawnSync('prlimit', ['--version']).status === 0 ? false : 'prlimit is missing: apt install util-linux'
t.test('a server that has no file descriptors left turns people away, and takes them again later', { timeout: 120_000, skip: noPrlimit }, async t => {
  const server = await ServerProcess.start(t)
  await server.account('romeo')
  const { files } = await server.report()
  t.equal(spawnSync('prlimit', [`--pid=${String(server.child.pid)}`, `--nofile=${files + 30}`]).status, 0)
  const peers: Peer[] = []
  for (let n = 0; n < 150; n++) {
    const peer = await Peer.at(server.ports.none, '127.0.0.2').catch(() => undefined)
    if (peer !== undefined) peers.push(peer)
  }
  await rest(300)
  t.ok(peers.some(peer => peer.isClosed), 'some were turned away')
  for (const peer of peers) peer.drops()
  await server.quiet()
  await rest(1100)
  const romeo = await Peer.at(server.ports.none, '127.0.0.3')
  await romeo.comes('romeo', 'orchard')
  await romeo.pings()
  romeo.drops()
})
