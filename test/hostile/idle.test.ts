/**
 * The lists of accounts that are not online have a bound in memory, over all accounts: a stranger who writes to many
 * accounts with long lists does not fill it.
 */
import t, { type Test } from 'tap'
import type { Row } from '../../lib/storage/sqlite/rows.js'
import { seed } from './seed.js'
import { DOMAIN, SHIPPED } from './server.js'
import { AttackedServer } from './town.js'
import { staysBelow } from './turns.js'
import { temporaryFolder } from '../temporary-folder.js'

const MIB = 1024 * 1024
const HOSTILE = 'x'.repeat(900)
/** The accounts that are created at the same time: few, because the keys that may be derived at a time are bounded. */
const AT_ONCE = 4

interface Lists {
  /** The name of the store, and the records of one account. */
  readonly store: string
  readonly records: () => Iterable<readonly [key: string, value: unknown]>
  readonly accounts: number
  /** The most MiB by which the memory may grow: more than the bound, and far less than all lists need. */
  readonly most: number
}

/** Lists of nearly the size that an account may have. */
const LISTS: Readonly<Record<string, Lists>> = {
  'rosters': {
    store: 'roster.items',
    * records () {
      const item = { groups: ['g'.repeat(200)], subscription: 'none', ask: false, approved: false, listed: true }
      for (let n = 0; n < 1000; n++) yield [`contact${n}@elsewhere.invalid`, { ...item, name: `${n} ${'n'.repeat(240)}` }]
    },
    accounts: 200,
    most: 80,
  },
  'block lists': {
    store: 'blocking.blocked',
    * records () { for (let n = 0; n < 240; n++) yield [`${HOSTILE}@b${n}.invalid/${'r'.repeat(120)}`, true] },
    accounts: 200,
    most: 32,
  },
  'archive preferences': {
    store: 'mam.preferences',
    * records () { yield ['preferences', { habit: 'always', always: Array.from({ length: 120 }, (_, n) => `${HOSTILE}@a${n}.invalid`), never: [] }] },
    accounts: 400,
    most: 32,
  },
}

t.setTimeout(1_200_000)
async function attacked (t: Test, { store, records, accounts, most }: Lists): Promise<void> {
  const folder = temporaryFolder(t)
  const names = Array.from({ length: accounts }, (_, n) => `u${n}`)
  seed(folder, { [store]: { kind: 'records', rows: function * (number): Generator<Row> {
    for (const name of names) {
      const owner = `${name}@${DOMAIN}`
      for (const [key, value] of records()) yield ['put', number, owner, key, JSON.stringify(value)]
    }
  } } })
  const town = await AttackedServer.open(t, {
    folder, storage: 'sqlite', durability: 'os', modules: SHIPPED, limits: '{ strangerMessagesPerMinute = 1000000 }',
  })
  for (let n = 0; n < accounts; n += AT_ONCE) {
    await Promise.all(names.slice(n, n + AT_ONCE).map(async name => { await town.server.account(name) }))
  }
  const before = await town.server.report()
  let senders = 0
  await town.talks(t, async () => {
    const mallory = await (await town.visitor(70 + senders++)).comes('mallory', 'cave')
    for (const name of names) {
      mallory.says(`<message to='${name}@${DOMAIN}' type='chat'><body>x</body></message>`)
      await mallory.pings()
    }
    mallory.drops('reset')
  })
  await town.server.quiet(2)
  let kept = 0
  await staysBelow(t, most, async () => {
    const after = await town.server.report()
    kept = (after.heap + after.external - before.heap - before.external) / MIB
    return kept
  }, grown => `${grown.toFixed(1)} MiB more are in memory; less than ${most} are allowed`)
  t.ok(kept > 4, 'some of the lists are kept')
}

t.test('a stranger who has the lists of many accounts read does not fill the memory', { timeout: 1_200_000 }, async t => {
  for (const [what, lists] of Object.entries(LISTS)) await t.test(what, async t => { await attacked(t, lists) })
})
