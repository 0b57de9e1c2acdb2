/** Caches, each filled by its own interface: they forget, and what they forget is read or asked for again. */
import t from 'tap'
import { Accounts, accountsShape, indexShape, secretShape } from '../../lib/auth/accounts.js'
import { itemShape, ItemStore } from '../../lib/pubsub/items.js'
import { PEP_DEFAULTS } from '../../lib/pubsub/config.js'
import { storedNode, type StoredNode } from '../../lib/pubsub/node.js'
import { People, peopleShape } from '../../lib/pubsub/people.js'
import { subscriptionShape } from '../../lib/pubsub/tree.js'
import { Trees } from '../../lib/pubsub/trees.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import type { Records } from '../../lib/storage/store.js'
import { xml, type Element } from '../../lib/xml/element.js'
import { parseJid, type Jid } from '../../lib/xmpp/jid.js'
import { Stanza } from '../../lib/xmpp/stanza.js'
import { BlockLists } from '../../modules/blocking/lists.js'
import { DeviceCaps } from '../../modules/caps/devices.js'
import { verificationOf } from '../../modules/caps/verification.js'
import { Wishes } from '../../modules/mam/wishes.js'
import { PendingNotifications, type NoticesHome } from '../../modules/push/notices.js'
import { Registrations, type Stored } from '../../modules/push/registrations.js'
import { Unread } from '../../modules/push/unread.js'
import { AccountRosters, type StoredItem } from '../../modules/roster/items.js'
import { FakeClock } from '../fake-clock.js'

const MIB = 1024 * 1024

// ---- Lists of accounts that are not online ------------------------------------------------------------------

/** A store whose owners all have the same records, and which counts its reads. */
function counting<V> (
  all: ReadonlyMap<string, V>,
): { readonly store: Records<V>, readonly reads: Map<string, number> } {
  const reads = new Map<string, number>()
  const note = (owner: string): void => { reads.set(owner, (reads.get(owner) ?? 0) + 1) }
  const store = {
    all: (owner: string) => { note(owner); return Promise.resolve(all) },
    get: (owner: string, key: string) => { note(owner); return Promise.resolve(all.get(key)) },
  } as unknown as Records<V>
  return { store, reads }
}

/** Returns records of about 100 KiB together. */
function large<V> (make: (n: number) => readonly [key: string, value: V]): ReadonlyMap<string, V> {
  return new Map(Array.from({ length: 100 }, (_, n) => make(n)))
}
const LONG = 'x'.repeat(950)
const address = (n: number): string => `${LONG}@d${n}.lit`

/** Reads the lists of these many accounts, then those of the last and of the first again. */
async function readsAgain (
  of: (account: Jid) => unknown, reads: ReadonlyMap<string, number>, accounts: number,
): Promise<{ readonly first: number, readonly last: number }> {
  const jids = Array.from({ length: accounts }, (_, n) => parseJid(`u${n}@capulet.lit`))
  for (const jid of jids) await of(jid)
  const times = async (jid: Jid | undefined): Promise<number> => {
    if (jid !== undefined) await of(jid)
    return reads.get(String(jid)) ?? 0
  }
  const last = await times(jids.at(-1))
  return { last, first: await times(jids[0]) }
}

t.test('the lists of accounts that are not online are bounded in bytes over all accounts', async t => {
  const item = (n: number): readonly [string, StoredItem] => [`${n}@d.lit`, {
    name: LONG, groups: [], subscription: 'none', ask: false, approved: false, listed: true,
  }]
  const rosters = counting(large(item))
  const blocked = counting(large<true>(n => [address(n), true]))
  const wishes = counting(new Map([['preferences', {
    habit: 'always' as const, always: Array.from({ length: 100 }, (_, n) => address(n)), never: [],
  }]]))
  const push = counting(large<Stored>(n => [`${n}`, { id: 'i', service: 'push.lit', node: LONG, device: 'd', seen: 0 }]))
  const node = (n: number): readonly [string, StoredNode] => [`${LONG}${n}`, storedNode({
    name: `${LONG}${n}`, key: `${n}`, config: PEP_DEFAULTS, creator: 'x', created: 0, affiliations: new Map(), subscriptions: [],
  })]
  const nodes = counting(large(node))
  const storage = new MemoryStorage()
  const trees = new Trees({
    nodes: nodes.store, subscriptions: await storage.open('subscriptions', subscriptionShape),
    items: new ItemStore(await storage.open('items', itemShape)),
    people: new People(await storage.open('people', peopleShape), 'capulet.lit'),
  })
  const lists = new AccountRosters(rosters.store)
  const blocks = new BlockLists(blocked.store, { items: 1000, bytes: MIB }, () => {})
  const preferences = new Wishes(wishes.store, 'always')
  const registrations = new Registrations(push.store)
  for (const [what, of, reads, accounts] of [
    ['rosters', (account: Jid) => lists.of(account), rosters.reads, 400],
    ['block lists', (account: Jid) => blocks.of(account), blocked.reads, 200],
    ['archive preferences', (account: Jid) => preferences.of(account), wishes.reads, 200],
    ['push registrations', (account: Jid) => registrations.of(account), push.reads, 200],
    ['nodes', (account: Jid) => trees.of(account.toString()), nodes.reads, 200],
  ] as const) {
    t.same(await readsAgain(of, reads, accounts), { last: 1, first: 2 }, what)
  }
})

t.test('the states of accounts that are known are bounded in number, and in the characters of names', async t => {
  const storage = new MemoryStorage()
  const open = async (cached?: number): Promise<Accounts> => await Accounts.open({
    domain: 'capulet.lit', clock: new FakeClock(), iterations: 1,
    records: await storage.open('accounts', accountsShape), secrets: await storage.open('secrets', secretShape),
    index: await storage.open('index', indexShape), ...cached === undefined ? {} : { cached },
  })
  const fill = async (accounts: Accounts, names: readonly string[]): Promise<readonly boolean[]> => {
    const jids = names.map(name => parseJid(`${name}@capulet.lit`))
    for (const jid of jids) await accounts.exists(jid)
    return [jids[0], jids.at(-1)].map(jid => jid !== undefined && !(accounts.exists(jid) instanceof Promise))
  }
  t.same(await fill(await open(10), Array.from({ length: 11 }, (_, n) => `u${n}`)), [false, true])
  const names = Array.from({ length: 9000 }, (_, n) => `${LONG}${n}`)
  t.same(await fill(await open(), names), [false, true])
  t.same(await fill(await open(), names.slice(0, 5000)), [true, true])
})

// ---- Capabilities ------------------------------------------------------------------------------------------

/** A client whose hash is verified: its disco#info. */
function client (features: readonly string[]): Element {
  return xml('query', { xmlns: 'http://jabber.org/protocol/disco#info' },
    xml('identity', { category: 'client', type: 'pc' }), ...features.map(feature => xml('feature', { var: feature })))
}

function capabilities (): { readonly caps: DeviceCaps, come (jid: string, info: Element): Promise<void> } {
  let answer = client([])
  const caps = new DeviceCaps({
    log: { debug () {} }, router: { serves: (domain: string) => domain === 'capulet.lit' },
    ask: () => Promise.resolve(xml('iq', { type: 'result' }, answer)),
  } as unknown as ConstructorParameters<typeof DeviceCaps>[0], () => {})
  return {
    caps,
    async come (jid, info) {
      answer = info
      const element = xml('presence', {}, xml('c', {
        xmlns: 'http://jabber.org/protocol/caps', hash: 'sha-1', node: 'n', ver: verificationOf(info) ?? '',
      }))
      const device = parseJid(jid)
      caps.learn(new Stanza('presence', element, device, parseJid('juliet@capulet.lit')), device, parseJid('capulet.lit'))
      for (let turn = 0; turn < 10 && caps.of(device) === undefined; turn++) await Promise.resolve()
    },
  }
}

t.test('the devices whose capabilities are known are bounded in bytes for one domain, and over all', async t => {
  const { caps, come } = capabilities()
  const info = client(['a'])
  const device = (domain: string, n: number): string => `x@${domain}/${n} ${LONG}`
  const knows = (jid: string): boolean => caps.of(parseJid(jid)) !== undefined
  await come('romeo@montague.lit/x', info)
  for (let n = 0; n < 2200; n++) await come(device('evil.lit', n), info)
  t.same([knows(device('evil.lit', 0)), knows(device('evil.lit', 2199)), knows('romeo@montague.lit/x')], [false, true, true])
  for (let domain = 0; domain < 10; domain++) for (let n = 0; n < 1900; n++) await come(device(`evil${domain}.lit`, n), info)
  const known = Array.from({ length: 19_000 }, (_, n) => knows(device(`evil${Math.trunc(n / 1900)}.lit`, n % 1900)))
  const count = known.filter(Boolean).length // of about 1,100 bytes
  t.ok(count > 12_000 && count < 16_000, `${count} devices`)
  t.ok(knows('romeo@montague.lit/x'), 'a domain with little loses nothing')
})

t.test('replies about capabilities are bounded in features, in number, and in bytes over all', async t => {
  const most = capabilities()
  await most.come('a@evil.lit/x', client(Array.from({ length: 600 }, (_, n) => `f${n}`)))
  t.equal(most.caps.of(parseJid('a@evil.lit/x'))?.size, 500)
  await most.come('b@evil.lit/x', client(Array.from({ length: 100 }, (_, n) => `${n} ${LONG}`)))
  t.equal(most.caps.of(parseJid('b@evil.lit/x'))?.size, 34, '32 KiB')
  for (const [count, features] of [[2100, 1], [300, 100]] as const) {
    const { caps, come } = capabilities()
    const info = (n: number): Element => client(Array.from({ length: features }, (_, f) => `${n} ${f} ${features > 1 ? 'x'.repeat(300) : ''}`))
    for (let n = 0; n < count; n++) await come(`u${n}@evil.lit/x`, info(n))
    const known = Array.from({ length: count }, (_, n) => caps.of(parseJid(`u${n}@evil.lit/x`)) !== undefined)
    t.same([known[0], known.at(-1)], [false, true])
    t.ok(known.filter(Boolean).length > (features > 1 ? 190 : 1900), `${known.filter(Boolean).length} replies of ${features} features`)
  }
})

// ---- Push -----------------------------------------------------------------------------------------------------

t.test('the registrations to be notified are bounded in number, and the messages of each as well', t => {
  const unread = new Unread()
  const romeo = parseJid('romeo@montague.lit')
  for (let n = 0; n < 150; n++) unread.add(romeo, `a${n}`, undefined)
  t.equal(unread.count, 150)
  unread.read(romeo, 'a10')
  t.equal(unread.count, 150, 'the oldest are only counted')
  unread.read(romeo, 'a100')
  t.equal(unread.count, 99)

  const clock = new FakeClock()
  const notices = new PendingNotifications({
    clock, pace: { collapse: 1000, notificationsPerHour: 1000, failures: 3 }, count () {},
  } as unknown as NoticesHome)
  const account = parseJid('juliet@capulet.lit')
  const registration = (n: number): Parameters<PendingNotifications['add']>[1] => (
    { key: `k${n}`, id: 'i', device: 'd', seen: 0, service: parseJid('push.lit') })
  for (let n = 0; n < 50_010; n++) notices.add(account, registration(n), { importance: 'message', from: romeo, id: 'm' }, 60_000)
  t.equal(clock.timers, 50_000)
  t.same([notices.of(account, 'k0').messages, notices.of(account, 'k50009').messages], [0, 1])
  notices.end()
  t.end()
})
