/** Attacks by other servers, and by users of other servers, at the default conf. Their neighbours notice nothing. */
import t, { type Test } from 'tap'
import { floods } from './floods.js'
import { FOR_NEIGHBOURS, Neighbours } from './neighbours.js'
import type { RawClient } from './peer.js'
import { DOMAIN, SHIPPED } from './server.js'
import { AttackedServer } from './town.js'
import { staysBelow } from './turns.js'
import { temporaryFolder } from '../temporary-folder.js'

const MIB = 1024 * 1024
const EVIL = 'evil.test'
const HONEST = 'honest.test'
/** More than the budget of a domain allows at once: each of these stanzas costs four units at least. */
const STANZAS = 60_000
/** Fewer than may wait for one account. */
const SPAM = 900

async function attacked (t: Test): Promise<{ readonly town: AttackedServer, readonly neighbours: Neighbours }> {
  const folder = temporaryFolder(t)
  const neighbours = await Neighbours.make(folder)
  const town = await AttackedServer.open(t, { folder, storage: 'sqlite', durability: 'os', modules: SHIPPED, conf: FOR_NEIGHBOURS })
  return { town, neighbours }
}

const nobody = (n: number): string => `to='nobody${n}@${DOMAIN}'`
/** Returns the stanza with the number `n` of a flood; `evil` is the domain that sends it. */
const FLOODS: Readonly<Record<string, (n: number, evil: string) => string>> = {
  'presence': (n, evil) => `<presence from='x${n % 1000}@${evil}/x' ${nobody(n % 100)}><status>${n}</status></presence>`,
  'presence to a user': (n, evil) => `<presence from='x${n}@${evil}/x' to='mallory@${DOMAIN}'/>`,
  'probes': (n, evil) => `<presence type='probe' from='x${n}@${evil}' to='romeo@${DOMAIN}'/>`,
  'requests to the server': (n, evil) => `<iq type='get' id='${n}' from='x@${evil}/x' to='${DOMAIN}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`,
  'requests to accounts': (n, evil) => `<iq type='get' id='${n}' from='x@${evil}/x' ${nobody(n % 1000)}><vCard xmlns='vcard-temp'/></iq>`,
  'capabilities': (n, evil) => `<presence from='x${n % 5000}@${evil}/x' to='mallory@${DOMAIN}'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='${'n'.repeat(300)}' ver='${n}'/></presence>`,
}

t.setTimeout(1_200_000)
t.test('another server cannot hold the server', { timeout: 1_200_000 }, async t => {
  const { town, neighbours } = await attacked(t)
  const { server } = town
  let floodings = 0
  for (const [what, stanza] of Object.entries(FLOODS)) {
    await t.test(`a flood of ${what} from another server makes no turn long, and memory does not grow with it`, async t => {
      const before = await server.report()
      await town.talks(t, async () => {
        const mallory = await (await town.visitor(7)).comes('mallory', 'cave')
        mallory.says('<presence/>')
        await mallory.pings()
        mallory.isDeaf = true
        // Another domain each time: the budget of the one before is used up.
        const evil = `flood${floodings++}.test`
        const peer = await neighbours.comes(server, evil, '127.0.40.1')
        peer.isDeaf = true
        const tybalt = await (await town.visitor(8)).comes('tybalt', 'square')
        await floods(peer, STANZAS, n => stanza(n, evil))
        peer.says(`<message from='x@${evil}/x' to='tybalt@${DOMAIN}/square' id='over'/>`)
        await tybalt.gets('over') // all of the flood was read
        mallory.drops('reset')
        tybalt.drops()
        peer.drops()
      })
      await staysBelow(t, 40, async () => {
        const after = await server.report()
        return (after.heap + after.external - before.heap - before.external) / MIB
      }, grown => `after ${STANZAS} stanzas, the heap has grown by ${grown.toFixed(1)} MiB`)
    })
  }

  await t.test('no presence of a flood is dropped, and all of it comes in order', async t => {
    const mallory = await (await town.visitor(7)).comes('mallory', 'den')
    mallory.says('<presence/>')
    await mallory.pings()
    const peer = await neighbours.comes(server, EVIL, '127.0.40.1')
    const many = 5000
    await floods(peer, many, n => `<presence from='tybalt@${EVIL}/x' to='mallory@${DOMAIN}'><status>n${n}.</status></presence>`)
    const heard = await mallory.gets(`n${many - 1}.`)
    const numbers = [...heard.matchAll(/<status>n(\d+)\./g)].map(([, n]) => Number(n))
    t.same(numbers, Array.from({ length: many }, (_, n) => n))
    mallory.drops()
    peer.drops()
  })
})

t.test('a domain that floods an account with subscription requests keeps out no other domain, and no request is lost', { timeout: 1_200_000 }, async t => {
  const { town, neighbours } = await attacked(t)
  const sites = Array.from({ length: 4 }, (_, n) => `s${n}.${EVIL}`)
  const peers = await Promise.all(sites.map(async (site, n) => await neighbours.comes(town.server, site, `127.0.42.${n + 1}`)))
  const honest = await neighbours.comes(town.server, HONEST, '127.0.41.1')
  const paris = `paris@${DOMAIN}`
  await town.talks(t, async () => {
    let requests = 0
    for (const [n, peer] of peers.entries()) {
      for (let i = 0; i < 100; i++) peer.says(`<presence type='subscribe' from='x${requests++}@${sites[n]}' to='${paris}'/>`)
      peer.says(`<iq type='get' id='done' from='x@${sites[n]}/x' to='${DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>`)
      await peer.gets('id="done"')
    }
    honest.says(`<presence type='subscribe' from='benvolio@${HONEST}' to='${paris}'><nick xmlns='http://jabber.org/protocol/nick'>Ben</nick></presence><iq type='get' id='done' from='x@${HONEST}/x' to='${DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>`)
    t.notMatch(await honest.gets('id="done"'), /type=["']error/, 'the honest request is not refused')
  })
  const device = await (await town.visitor(8)).comes('paris', 'hall')
  device.says('<presence/>')
  const heard = await device.gets('benvolio')
  await device.pings()
  const waiting = new Set([...(heard + device.heard).matchAll(/from=["']x(\d+)@/g)].map(([, n]) => Number(n)))
  t.ok(waiting.size >= 10 && waiting.size <= 100, `${waiting.size} requests of the flood wait`)
  t.same([...waiting].sort((a, b) => a - b), Array.from(waiting, (_, n) => n), 'the first ones: none of them was pushed out')
})

t.test('a user who sends spam to many does not silence the other users of the same server', { timeout: 1_200_000 }, async t => {
  const { town, neighbours } = await attacked(t)
  /** A new session for each attempt: an old one is ended, because this client answers no pings. */
  const arrival = async (): Promise<RawClient> => {
    const tybalt = await (await town.visitor(3)).comes('tybalt', 'square')
    tybalt.says('<presence/>')
    await tybalt.pings()
    return tybalt
  }
  const peer = await neighbours.comes(town.server, EVIL, '127.0.40.1')
  let attempts = 0
  await town.talks(t, async () => {
    const tybalt = await arrival()
    const spammer = `spam${attempts++}@${EVIL}/x`
    await floods(peer, SPAM, n => `<message type='chat' from='${spammer}' to='tybalt@${DOMAIN}'><body>buy ${n}</body></message>`)
    peer.says(`<message type='chat' id='sincere' from='rosaline@${EVIL}/x' to='tybalt@${DOMAIN}'><body>Shall we dance?</body></message>`)
    const heard = await tybalt.gets('Shall we dance?')
    const spam = heard.split('<body>buy').length - 1
    t.ok(spam > 0 && spam <= 120, `${spam} of ${SPAM} messages of the spammer arrived`)
  })
  await town.talks(t, async () => {
    const tybalt = await arrival()
    for (let n = 0; n < 500; n++) peer.says(`<presence type='subscribe' from='spam@${EVIL}' to='nobody${n}@${DOMAIN}'/>`)
    peer.says(`<presence type='subscribe' from='rosaline@${EVIL}' to='tybalt@${DOMAIN}'/>`)
    await tybalt.gets('rosaline')
  })
})
