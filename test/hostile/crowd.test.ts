/**
 * Many connections of a started server that send much at the same instant: the turns of its event loop stay short,
 * however many they are.
 */
import t, { type Test } from 'tap'
import { FOR_NEIGHBOURS, Neighbours } from './neighbours.js'
import { HEADER, RawClient, STARTTLS } from './peer.js'
import { DOMAIN, ServerProcess, SHIPPED } from './server.js'
import { turnsStayShort } from './turns.js'
import { temporaryFolder } from '../temporary-folder.js'

const KIB = 1024
/** The bytes that each connection sends at once. */
const MUCH = 64 * KIB
const STRANGERS = 400
const ACCOUNTS = 20
/** As many as one account may have. */
const DEVICES = 20
const SERVERS = 100

/** Lets all peers send at the same instant: while they send, the server is stopped. */
async function atOnce (server: ServerProcess, peers: readonly RawClient[], text: (n: number) => string): Promise<void> {
  server.child.kill('SIGSTOP')
  try {
    await Promise.all(peers.map(async (peer, n) => {
      await new Promise<void>(resolve => {
        if (peer.isClosed) resolve()
        else peer.socket.write(text(n), () => { resolve() })
      })
    }))
  } finally {
    server.child.kill('SIGCONT')
  }
}

/** Returns as many copies of a text as fit. */
const much = (text: string, end = ''): string => text.repeat(Math.floor((MUCH - end.length) / text.length)) + end

/** Measures the longest turn of what the peers send, until the server has read all of it. */
async function stayShort (
  t: Test, server: ServerProcess, open: () => Promise<readonly RawClient[]>, text: (n: number) => string,
  isOver: (peer: RawClient) => Promise<unknown>,
): Promise<void> {
  await turnsStayShort(t, async () => {
    const peers = await open()
    await server.turns()
    await atOnce(server, peers, text)
    await Promise.all(peers.map(isOver))
    const { worst, total, count, collection } = await server.turns()
    t.comment(`${peers.length} connections, ${text(0).length} bytes each: the longest of ${count} turns used ${worst.toFixed(1)} ms, all ${total.toFixed(0)} ms, a collection ${collection.toFixed(1)} ms`)
    for (const peer of peers) peer.drops('reset')
    await server.quiet()
    return worst
  })
}

const answered = async (peer: RawClient): Promise<void> => { await Promise.race([peer.gets('over'), peer.gone()]) }
const closed = async (peer: RawClient): Promise<void> => { await peer.gone() }

/** Input after the header of a stream. Each ends its stream. */
const BY_STRANGERS: Readonly<Record<string, string>> = {
  'spaces': much(' ', '</stream:stream>'),
  'elements that nobody knows': much("<a xmlns='u'/>"),
  'starttls, again and again': much(STARTTLS),
  'an element of many elements': `<a>${much('<a/>')}`,
  'deep elements': much('<a>'),
  'long attributes': `<a ${much("b='c' ")}`,
  'one long attribute': `<a b='${much('c')}`,
  'long names': `<${much('a')}`,
  'sections that never end': `<a><![CDATA[${much(']]')}`,
  'references': `<a>${much('&#x10FFFF;')}`,
}

t.test('strangers who send much at once', { timeout: 1_200_000 }, async t => {
  const server = await ServerProcess.start(t, { modules: SHIPPED })
  for (const [what, text] of Object.entries(BY_STRANGERS)) {
    await t.test(`${STRANGERS} strangers that send ${what} at once make no turn long`, async t => {
      await stayShort(t, server, async () => await Promise.all(Array.from({ length: STRANGERS }, async (_, n) => {
        const peer = await RawClient.at(server.ports.none, `127.0.${10 + n % 100}.7`)
        await peer.opens()
        return peer
      })), () => text, closed)
      t.same(await server.errors(), [])
    })
  }

  await t.test(`${STRANGERS} headers with much after them make no turn long`, async t => {
    await stayShort(t, server, async () => await Promise.all(Array.from({ length: STRANGERS }, async (_, n) =>
      await RawClient.at(server.ports.none, `127.0.${10 + n % 100}.7`))), () => HEADER + much("<a xmlns='u'/>"), closed)
  })
})

const SM = "xmlns='urn:xmpp:sm:3'"
const OVER = "<iq type='get' id='over'><ping xmlns='urn:xmpp:ping'/></iq>"
/** Input of devices. A ping follows. */
const BY_DEVICES: Readonly<Record<string, string>> = {
  'spaces': much(' '),
  'requests for acknowledgements': much(`<r ${SM}/>`),
  'acknowledgements': much(`<a ${SM} h='0'/>`),
  'client states': much("<active xmlns='urn:xmpp:csi:0'/><inactive xmlns='urn:xmpp:csi:0'/>"),
  'a stanza of many elements': `<message to='${DOMAIN}'>${'<a/>'.repeat(9000)}</message>`,
  'a stanza of deep elements': `<message to='${DOMAIN}'>${'<a>'.repeat(60)}${'</a>'.repeat(60)}</message>`.repeat(100),
  'a stanza of long attributes': `<message to='${DOMAIN}'>${`<a b='${'c'.repeat(1000)}' d='${'&lt;'.repeat(200)}'/>`.repeat(30)}</message>`,
  'presence': '<presence><status>x</status></presence>'.repeat(100),
  'requests': `<iq type='get' id='1' to='${DOMAIN}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`.repeat(100),
}

t.test('devices that send much at once', { timeout: 1_200_000 }, async t => {
  const server = await ServerProcess.start(t, { modules: SHIPPED, storage: 'sqlite', durability: 'os' })
  for (let n = 0; n < ACCOUNTS; n++) await server.account(`user${n}`)
  const devices = async (): Promise<readonly RawClient[]> => {
    const peers: RawClient[] = []
    // Few at a time: each has its time to negotiate.
    for (let device = 0; device < DEVICES; device++) {
      peers.push(...await Promise.all(Array.from({ length: ACCOUNTS }, async (_, n) => {
        const peer = await (await RawClient.at(server.ports.none, `127.0.${100 + n}.${1 + device}`)).comes(`user${n}`, `r${device}`)
        peer.says(`<enable ${SM} resume='true'/>`)
        await peer.gets('<enabled')
        return peer
      })))
    }
    return peers
  }
  for (const [what, text] of Object.entries(BY_DEVICES)) {
    await t.test(`${ACCOUNTS * DEVICES} devices that send ${what} at once make no turn long`, async t => {
      await stayShort(t, server, devices, () => text + OVER, answered)
      t.same(await server.errors(), [])
    })
  }
})

const BY_SERVERS: Readonly<Record<string, string>> = {
  'spaces': much(' '),
  'small stanzas': "<presence from='x@EVIL/x' to='user@a'/>".repeat(50),
  'keys of dialback': `<db:result from='x.invalid' to='a'>${'k'.repeat(300)}</db:result>`.repeat(100),
}

t.test('streams of other servers that send much at once', { timeout: 1_200_000 }, async t => {
  const folder = temporaryFolder(t)
  const neighbours = await Neighbours.make(folder)
  const server = await ServerProcess.start(t, { folder, modules: SHIPPED, storage: 'sqlite', durability: 'os', conf: FOR_NEIGHBOURS })
  await server.account('user')
  let attempts = 0
  for (const [what, text] of Object.entries(BY_SERVERS)) {
    await t.test(`${SERVERS} streams of another server that send ${what} at once make no turn long`, async t => {
      const evil = (): string => `s${attempts}.evil.test`
      await stayShort(t, server, async () => {
        attempts++
        return await Promise.all(Array.from({ length: SERVERS }, async (_, n) => await neighbours.comes(server, evil(), `127.0.${10 + n % 5}.9`)))
      }, () => text.replaceAll('EVIL', evil()) + '</stream:stream>', closed)
      t.same(await server.errors(), [])
    })
  }
})
