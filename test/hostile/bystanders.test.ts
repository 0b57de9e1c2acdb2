/** People who share an address, a domain or an account's name with an attacker are not punished for the attack. */
import t from 'tap'
import { RawClient, SASL } from './peer.js'
import { PASSWORD, SHIPPED } from './server.js'
import { AttackedServer } from './town.js'

const NAT = '127.0.80.1'
/** The most pings that the devices of a flood get answered while a bystander has a conversation. */
const MOST_ANSWERED = 5000
/** Fewer than one device may send at once. */
const PINGS = 450

t.setTimeout(1_200_000)
t.test('busy devices behind one address slow down themselves, and not a neighbour at the same address', { timeout: 1_200_000 }, async t => {
  const town = await AttackedServer.open(t, { storage: 'sqlite', durability: 'os', modules: SHIPPED })
  const device = async (name: string, resource: string): Promise<RawClient> =>
    await (await RawClient.at(town.server.ports.none, NAT)).comes(name, resource)
  await town.talks(t, async () => {
    const busy = await Promise.all(Array.from({ length: 8 }, async (_, n) => await device('mallory', `busy${n}`)))
    const paris = await device('paris', 'hall')
    for (const one of busy) one.says(`<iq type='get' id='flood'><ping xmlns='urn:xmpp:ping'/></iq>`.repeat(4000))
    let worst = 0
    for (let n = 0; n < PINGS; n++) worst = Math.max(worst, await paris.pings())
    const answered = busy.reduce((sum, { heard }) => sum + heard.split('flood').length - 1, 0)
    t.comment(`a ping of the neighbour took ${worst.toFixed(0)} ms at most`)
    t.ok(answered < MOST_ANSWERED, `${answered} of 32000 pings of the flood were answered before ${PINGS} of the neighbour`)
    for (const one of [...busy, paris]) one.drops('reset')
  })
})

const plain = (name: string, password: string): string => `<auth xmlns='${SASL}' mechanism='PLAIN'>${Buffer.from(`\0${name}\0${password}`).toString('base64')}</auth>`

t.test('an account that has logged in from a network before is not delayed by the failures of others', { timeout: 1_200_000 }, async t => {
  const town = await AttackedServer.open(t, { storage: 'sqlite', durability: 'os', modules: SHIPPED })
  const opened = async (from: string): Promise<RawClient> => {
    const peer = await RawClient.at(town.server.ports.direct, from)
    await peer.encrypts()
    await peer.opens()
    return peer
  }
  /** Guesses on many connections until `many` have failed. Returns the guessers: most of them wait for an answer. */
  const guess = async (
    names: (n: number) => string, from: (n: number) => string, many = 40,
  ): Promise<readonly RawClient[]> => {
    const guessers = await Promise.all(Array.from({ length: 40 }, async (_, n) => await opened(from(n))))
    for (const [n, peer] of guessers.entries()) peer.says(plain(names(n), 'wrong').repeat(6))
    await Promise.all(guessers.slice(0, many).map(async peer => await peer.gets('</failure>')))
    return guessers
  }
  const failures = (guessers: readonly RawClient[]): number => guessers.reduce((sum, { heard }) => sum + heard.split('</failure>').length - 1, 0)
  const isLetIn = async (t: Tap, guessers: readonly RawClient[], name: string, from: string): Promise<void> => {
    const peer = await opened(from)
    const began = performance.now()
    peer.says(plain(name, PASSWORD))
    await peer.gets('<success')
    t.comment(`the login took ${(performance.now() - began).toFixed(0)} ms`)
    t.ok(failures(guessers) < 40 * 4, `the guessers still wait: they heard ${failures(guessers)} answers`)
    peer.drops()
  }
  let attempts = 0
  /** Returns two new accounts that have logged in from a new network: each attempt needs its own. */
  const known = async (): Promise<Known> => {
    const n = ++attempts
    const nat = `127.${n}.80.1`
    const names = [`tybalt${n}`, `paris${n}`] as const
    for (const name of names) {
      await town.server.account(name)
      const peer = await opened(nat)
      peer.says(plain(name, PASSWORD))
      await peer.gets('<success')
      peer.drops()
    }
    return { nat, names, elsewhere: `127.${n}` }
  }

  await t.test('in its network', async t => {
    await town.talks(t, async () => {
      const { nat, names: [name] } = await known()
      const guessers = await guess(n => `nobody${n}`, () => nat)
      await isLetIn(t, guessers, name, nat)
      for (const peer of guessers) peer.drops()
    })
  })

  await t.test('or elsewhere, for its own name', async t => {
    await town.talks(t, async () => {
      const { nat, names: [name], elsewhere } = await known()
      const guessers = await guess(() => name, n => `${elsewhere}.${100 + n}.9`)
      await isLetIn(t, guessers, name, nat)
      for (const peer of guessers) peer.drops()
    })
  })

  await t.test('and another account is not delayed by a phone that retries an old password in its network', async t => {
    await town.talks(t, async () => {
      const { nat, names: [name, other] } = await known()
      const guessers = await guess(() => other, () => nat, 1)
      await isLetIn(t, guessers, name, nat)
      for (const peer of guessers) peer.drops()
    })
  })
})

interface Known {
  readonly nat: string
  readonly names: readonly [string, string]
  /** The first octets of addresses that nobody else has used. */
  readonly elsewhere: string
}

type Tap = Parameters<AttackedServer['talks']>[0]
