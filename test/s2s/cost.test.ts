/**
 * The cost of stanzas of another domain: all its streams share one budget. Once it is spent, they are read more slowly,
 * and nothing is lost.
 */
import { message, OURS, scene, THEIRS, type Net } from './stage.js'

const ROMEO = `romeo@${OURS}`
const presence = (n: number, from = THEIRS): string => `<presence from='tybalt@${from}/x' to='${ROMEO}'><status>${n}</status></presence>`
const request = (n: number): string => `<iq from='tybalt@${THEIRS}/x' to='${OURS}' type='get' id='q${n}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`
const many = (count: number, make: (n: number) => string): string => Array.from({ length: count }, (_, n) => make(n)).join('')

/** Lets the time pass in which the budget of 10 units a second (and 100 at once) is spent. */
async function passes (net: Net, seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second++) await net.pass(1000)
}

scene('a flood of presence from another server is read more slowly, and all of it arrives in order', async (t, net) => {
  const ours = await net.town(OURS, { cost: 10 })
  const romeo = await ours.s.device(`${ROMEO}/orchard`)
  const peer = await net.peer(THEIRS)
  const line = await peer.enters(ours, THEIRS, OURS)
  await line.says(many(60, n => presence(n)))
  const heard = (): (string | null)[] => romeo.unread.filter(({ name }) => name === 'presence').map(one => one.getChildText('status'))
  t.ok(heard().length >= 20 && heard().length < 30, `${heard().length} at once: five units each`)
  await passes(net, 40)
  t.same(heard(), Array.from({ length: 60 }, (_, n) => String(n)))
  romeo.forget()
})

scene('a flood of requests from another server is read more slowly', async (t, net) => {
  const ours = await net.town(OURS, { cost: 10 })
  const peer = await net.peer(THEIRS)
  const line = await peer.enters(ours, THEIRS, OURS)
  await line.says(many(60, request))
  const { level } = ours.world.budgets.of(THEIRS)
  t.ok(level < 0 && level > -10, `${level} units are left: a request costs four at least`)
  await peer.takes(THEIRS, '') // Sestina opens a stream for the answers
  await passes(net, 60)
  t.ok(ours.world.budgets.of(THEIRS).level >= 0, 'all requests were read')
})

scene('the streams of a domain share one budget, and another domain has its own', async (t, net) => {
  const OTHER = 'verona.test'
  const ours = await net.town(OURS, { cost: 10 })
  const romeo = await ours.s.device(`${ROMEO}/orchard`)
  const [peer, honest] = [await net.peer(THEIRS), await net.peer(OTHER)]
  const first = await peer.enters(ours, THEIRS, OURS)
  const second = await peer.enters(ours, THEIRS, OURS)
  const other = await honest.enters(ours, OTHER, OURS)
  await first.says(many(30, n => presence(n)))
  romeo.forget()
  await second.says(many(10, n => message(`tybalt@${THEIRS}`, ROMEO, String(n))))
  t.equal(romeo.unread.length, 1, 'the other stream is read more slowly after its first stanza')
  romeo.forget()
  await other.says(many(10, n => presence(n, OTHER)))
  t.equal(romeo.unread.length, 10)
  await passes(net, 30)
  const bodies = romeo.unread.filter(({ name }) => name === 'message').map(one => one.getChildText('body'))
  t.same(bodies, Array.from({ length: 9 }, (_, n) => String(n + 1)))
  romeo.forget()
})
