/**
 * Attempts of another server to fill the memory of a started server at the default conf, with rooms and nodes. The heap
 * and the resident memory stay within bounds during each flood and after it, and local users are served.
 */
import { setTimeout as rest } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { floods } from './floods.js'
import { FOR_NEIGHBOURS, Neighbours } from './neighbours.js'
import type { RawClient } from './peer.js'
import { DOMAIN, SHIPPED } from './server.js'
import { AttackedServer } from './town.js'
import { staysBelow } from './turns.js'
import { temporaryFolder } from '../temporary-folder.js'

const MIB = 1024 * 1024
const ROOMS = `rooms.${DOMAIN}`
const NODES = `nodes.${DOMAIN}`
const SERVICES = `[host."${ROOMS}"]
service = "muc"
[host."${ROOMS}".modules]
muc = true
[host."${NODES}"]
service = "pubsub"
[host."${NODES}".modules]
pubsub = true
`
const MUC = 'http://jabber.org/protocol/muc'
const PUBSUB = 'http://jabber.org/protocol/pubsub'
const text = (bytes: number): string => 'x'.repeat(bytes)

interface Flood {
  readonly count: number
  /** The domain of the server to which the stream leads. Default: that of the users. */
  readonly to?: string
  /** Returns the stanza with the number `n`; `evil` is the domain that sends it. */
  readonly stanza: (n: number, evil: string) => string
}

/** Accounts that are away. */
const AWAY = 20
const user = (n: number): string => `away${n % AWAY}@${DOMAIN}`

const FLOODS: Readonly<Record<string, Flood>> = {
  'messages to users who are away': { count: 10_000, stanza: (n, evil) => `<message type='chat' from='x${n % 700}@${evil}/x' to='${user(n)}'><body>${n} ${text(1000)}</body></message>` },
  'large messages to a user who is away': { count: 300, stanza: (n, evil) => `<message type='chat' from='x${n}@${evil}/x' to='${user(0)}'><body>${text(100_000)}</body></message>` },
  'messages of many elements to a user who is away': { count: 300, stanza: (n, evil) => `<message type='chat' from='x${n}@${evil}/x' to='${user(0)}'><body>${n}</body>${'<a/>'.repeat(9000)}</message>` },
  'subscription requests': { count: 10_000, stanza: (n, evil) => `<presence type='subscribe' from='x${n}@${evil}' to='${user(n)}'><status>${text(1000)}</status></presence>` },
  'requests that nobody answers': { count: 20_000, stanza: (n, evil) => `<iq type='get' id='${n}' from='x${n}@${evil}/x' to='mallory@${DOMAIN}/cave'><query xmlns='urn:x:${n}'/></iq>` },
  'answers that nobody asked for': { count: 20_000, stanza: (n, evil) => `<iq type='result' id='${n}' from='x${n}@${evil}/x' to='${DOMAIN}'><query xmlns='urn:x:${n}'/></iq>` },
  'keys of dialback': { count: 5000, stanza: n => `<db:result from='d${n}.invalid' to='${DOMAIN}'>${text(1000)}${n}</db:result>` },
  'devices that enter a room': { count: 3000, to: ROOMS, stanza: (n, evil) => `<presence from='x${n}@${evil}/x' to='verona@${ROOMS}/nick${n}'><x xmlns='${MUC}'/><status>${text(500)}</status></presence>` },
  'devices that enter rooms which do not exist': { count: 10_000, to: ROOMS, stanza: (n, evil) => `<presence from='x${n}@${evil}/x' to='room${n}@${ROOMS}/nick'><x xmlns='${MUC}'/></presence>` },
  'messages to rooms that do not exist': { count: 10_000, to: ROOMS, stanza: (n, evil) => `<message type='groupchat' from='x${n}@${evil}/x' to='room${n}@${ROOMS}'><body>${n}</body></message>` },
  'subscriptions to a node': { count: 3000, to: NODES, stanza: (n, evil) => `<iq type='set' id='${n}' from='x${n}@${evil}/x' to='${NODES}'><pubsub xmlns='${PUBSUB}'><subscribe node='verona' jid='x${n}@${evil}/x'/></pubsub></iq>` },
  'new nodes': { count: 5000, to: NODES, stanza: (n, evil) => `<iq type='set' id='${n}' from='x${n}@${evil}/x' to='${NODES}'><pubsub xmlns='${PUBSUB}'><create node='${text(900)}${n}'/></pubsub></iq>` },
}

t.setTimeout(1_200_000)
t.test('another server cannot fill the memory', { timeout: 1_200_000 }, async t => {
  const folder = temporaryFolder(t)
  const neighbours = await Neighbours.make(folder)
  const town = await AttackedServer.open(t, {
    folder, storage: 'sqlite', durability: 'os', modules: [...SHIPPED, 'muc = false', 'pubsub = false'], conf: FOR_NEIGHBOURS + SERVICES,
  })
  const { server } = town
  for (let n = 0; n < AWAY; n++) await server.account(`away${n}`)
  const tybalt = await (await town.visitor(8)).comes('tybalt', 'square')
  tybalt.says(`<presence to='verona@${ROOMS}/tybalt'><x xmlns='${MUC}'/></presence>`)
  await tybalt.gets('code="201"')
  tybalt.says(`<iq type='set' id='room' to='verona@${ROOMS}'><query xmlns='${MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>`)
  await tybalt.gets('id="room"')
  tybalt.says(`<iq type='set' id='node' to='${NODES}'><pubsub xmlns='${PUBSUB}'><create node='verona'/></pubsub></iq>`)
  await tybalt.gets('id="node"')
  tybalt.isDeaf = true

  let floodings = 0
  /** Runs an attack by a new domain. Its memory is measured all the time, and after it while the streams stand. */
  const fills = async (
    t: Test, most: number, attack: (evil: string, keep: (peer: RawClient) => void) => Promise<void>,
  ): Promise<void> => {
    const before = await server.report()
    const resident = await server.memory()
    let peak = 0
    const peers: RawClient[] = []
    const leave = async (): Promise<void> => {
      for (const peer of peers.splice(0)) peer.drops('reset')
      await server.quiet(3)
    }
    await town.talks(t, async () => {
      await leave()
      let isOver = false
      const measured = (async () => {
        while (!isOver) {
          peak = Math.max(peak, await server.memory())
          await rest(100)
        }
      })()
      await attack(`flood${floodings++}.test`, peer => { peers.push(peer) }).finally(() => { isOver = true })
      await measured
    })
    t.comment(`resident: ${(resident / MIB).toFixed(0)} MiB before, ${(peak / MIB).toFixed(0)} MiB at most`)
    t.ok(peak - resident < 250 * MIB, `the resident memory has grown by ${((peak - resident) / MIB).toFixed(0)} MiB`)
    await staysBelow(t, most, async () => {
      const after = await server.report()
      return (after.heap + after.external - before.heap - before.external) / MIB
    }, grown => `${grown.toFixed(1)} MiB more are in the heap and outside of it; less than ${most} are allowed`)
    await leave()
  }

  for (const [what, { count, to, stanza }] of Object.entries(FLOODS)) {
    await t.test(`a flood of ${what}`, async t => {
      await fills(t, 40, async (evil, keep) => {
        const mallory = await (await town.visitor(7)).comes('mallory', 'cave')
        keep(mallory)
        mallory.isDeaf = true
        mallory.says('<presence/>')
        const peer = await neighbours.comes(server, evil, '127.0.40.1', to)
        keep(peer)
        peer.isDeaf = true
        await floods(peer, count, n => stanza(n, evil))
        peer.says('</stream:stream>') // all before it is read, and taken or refused
        await peer.gone()
      })
    })
  }
})
