/**
 * Names without an account are answered as accounts are: with like iterations and salts, and for the same reads and
 * work.
 */
import crypto, { pbkdf2Sync } from 'node:crypto'
import { mock } from 'node:test'
import t from 'tap'
import { Clients, type Client } from '../../lib/auth/clients.js'
import { strictBase64 } from '../../lib/auth/base64.js'
import { tokenLogin } from '../../lib/auth/hashed-token.js'
import { Derivations, HASHES, keysFrom, type HashName, type Keys } from '../../lib/auth/keys.js'
import { KeyProfiles } from '../../lib/auth/key-profiles.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { cryptoCalls, DOMAIN, ITERATIONS, NotedRecords, openAccounts, outcome, plainOf, SCRAM, romeoStage, textOf } from './stage.js'

/** Keys as an import may find them: of Prosody, whose salts are UUIDs as text; of ejabberd; of other servers. */
function keys (hash: HashName, iterations: number, salt: Buffer): Keys {
  return { salt: salt.toString('base64'), iterations, ...keysFrom(pbkdf2Sync('pencil', salt, 1, HASHES[hash].size, HASHES[hash].digest), hash) }
}
const ofProsody = (): Keys => keys('sha-1', 10_000, Buffer.from(crypto.randomUUID()))
const ofEjabberd = (): Keys => keys('sha-1', 4096, crypto.randomBytes(16))
const ofOthers = (): Keys => keys('sha-1', 40_000, crypto.randomBytes(200))

/** The properties of keys that a stranger sees: the iterations, and the length or form of the salt. */
function form ({ salt, iterations }: Keys): string {
  const bytes = strictBase64(salt) ?? Buffer.alloc(0)
  const isUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(bytes.toString('latin1'))
  return `${iterations} ${isUuid ? 'uuid' : bytes.length}`
}

const NAMES = Array.from({ length: 2000 }, (_, n) => `nobody${n}`)

function count (forms: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const one of forms) counts[one] = (counts[one] ?? 0) + 1
  return counts
}

t.test("unused names have the distribution of iterations and salts of the host's accounts", async t => {
  const { accounts, records } = await openAccounts()
  const add = async (count: number, made: () => Keys): Promise<void> => {
    for (let n = 0; n < count; n++) {
      const account = parseJid(`user${records.rows.get(DOMAIN)?.size ?? 0}@${DOMAIN}`)
      await accounts.arriving(account, undefined)
      records.commit()
      await accounts.addKeys(account, 'sha-1', made())
    }
  }
  await add(50, ofProsody)
  await add(30, ofEjabberd)
  await add(20, ofOthers)
  const all = await Promise.all(NAMES.map(name => accounts.credentials(name, 'sha-1')))
  const counts = count(all.map(form))
  t.same(Object.keys(counts).sort(), ['10000 uuid', '40000 200', '4096 16'])
  for (const [look, share] of [['10000 uuid', 0.5], ['4096 16', 0.3], ['40000 200', 0.2]] as const) {
    t.ok(Math.abs((counts[look] ?? 0) / NAMES.length - share) < 0.05, `${look}: ${counts[look] ?? 0} of ${NAMES.length}`)
  }
  t.equal(new Set(all.map(({ salt }) => salt)).size, NAMES.length, 'each name has its own salt')
  t.strictSame(await Promise.all(NAMES.map(name => accounts.credentials(name, 'sha-1'))), all, 'the same salt each time')
  t.ok([...records.rows.get(DOMAIN)?.keys() ?? []].length === 100)
})

t.test('the parameters of an unused name for one hash fit those for another', async t => {
  const { accounts, records } = await openAccounts()
  const [old, young] = [parseJid(`old@${DOMAIN}`), parseJid(`young@${DOMAIN}`)]
  await accounts.create(young, 'pencil')
  await accounts.arriving(old, undefined)
  records.commit()
  for (const hash of ['sha-1', 'sha-256', 'sha-512'] as const) await accounts.addKeys(old, hash, keys(hash, 20_000, crypto.randomBytes(24)))
  const seen = await Promise.all(NAMES.slice(0, 200).map(async name =>
    (await Promise.all((['sha-1', 'sha-256', 'sha-512'] as const).map(hash => accounts.credentials(name, hash)))).map(form).join(', ')))
  t.same([...new Set(seen)].sort(), ['100 16, 100 16, 100 16', '20000 24, 20000 24, 20000 24'])
})

t.test('if accounts get other keys, as large a share of unused names moves to the new parameters, with new salts', async t => {
  const secret = Buffer.alloc(32, 'secret')
  const kinds = new KeyProfiles(secret, 10_000)
  const [a, b] = [{ 'sha-1': ofProsody() }, { 'sha-1': ofEjabberd() }]
  for (let n = 0; n < 50; n++) for (const one of [a, b]) kinds.moved(undefined, one)
  const before = NAMES.map(name => kinds.keysFor(name, ['sha-1']).keys)
  for (let n = 0; n < 20; n++) kinds.moved(a, b)
  const after = NAMES.map(name => kinds.keysFor(name, ['sha-1']).keys)
  const moved = NAMES.map((_, n) => n).filter(n => before[n]?.salt !== after[n]?.salt)
  t.ok(Math.abs(moved.length / NAMES.length - 0.2) < 0.05, `${moved.length} have moved`)
  for (const n of moved) if (form(before[n] as Keys) !== '10000 uuid' || form(after[n] as Keys) !== '4096 16') t.fail(`${NAMES[n] ?? ''} has moved the other way`)
  const again = new KeyProfiles(secret, 10_000, kinds.stored)
  t.strictSame(NAMES.map(name => again.keysFor(name, ['sha-1']).keys), after, 'also after a restart')
  for (let n = 0; n < 100; n++) for (const one of [a, b]) kinds.moved(one, undefined)
  t.same(kinds.stored.kinds, {}, 'no name is left')
  t.equal(form(kinds.keysFor('nobody', ['sha-1']).keys), '10000 16')
})

t.test('the kinds of keys are stored, and their number is bounded', async t => {
  const { accounts, index, records, secrets } = await openAccounts()
  for (let n = 0; n < 100; n++) {
    const account = parseJid(`u${n}@${DOMAIN}`)
    await accounts.arriving(account, undefined)
    records.commit()
    await accounts.addKeys(account, 'sha-1', keys('sha-1', 5000 + n, crypto.randomBytes(16)))
  }
  await new Promise(setImmediate)
  const stored = index.rows.get(DOMAIN)?.get('kinds')
  t.equal(Object.keys(stored === true || stored === undefined ? {} : stored.kinds).length, 64)
  t.ok(secrets.rows.size > 0)
})

t.test('with imported accounts, an unused name also costs the same reads and the same cryptography', async t => {
  const { accounts, records, begin } = await romeoStage()
  const old = parseJid(`old@${DOMAIN}`)
  await accounts.arriving(old, undefined)
  records.commit()
  for (const hash of ['sha-1', 'sha-256', 'sha-512'] as const) await accounts.addKeys(old, hash, keys(hash, 2 * ITERATIONS, crypto.randomBytes(24)))
  await accounts.arriving(parseJid(`keyless@${DOMAIN}`), undefined)
  records.commit()
  const ask = async (run: () => Promise<unknown>) => {
    records.calls.length = 0
    const calls = await cryptoCalls(run)
    return { calls, reads: [...records.calls] }
  }
  for (const [name, hash] of SCRAM) {
    const attempt = (who: string) => async (): Promise<void> => {
      const dialogue = begin(name)
      const nonce = /^r=([^,]+)/.exec(textOf(await dialogue.step(Buffer.from(`n,,n=${who},r=c`))))?.[1] ?? ''
      t.equal(outcome(await dialogue.step(Buffer.from(`c=biws,r=${nonce},p=${Buffer.alloc(HASHES[hash].size).toString('base64')}`))), 'not-authorized')
    }
    const known = await ask(attempt('romeo'))
    t.ok(known.calls.length >= 8 && known.reads.length === 1, `${name}: counted`)
    for (const who of ['old', 'keyless', 'nobody', 'noone']) t.strictSame(await ask(attempt(who)), known, `${name}: ${who}`)
  }
  const plain = (who: string) => async (): Promise<void> => { t.equal(outcome(await begin('PLAIN').step(plainOf('', who, 'wrong'))), 'not-authorized') }
  const known = await ask(plain('romeo'))
  for (const who of ['old', 'keyless', 'nobody', 'noone']) t.strictSame(await ask(plain(who)), known, `PLAIN: ${who}`)
})

t.test('PLAIN computes as many iterations for an unused name as for an account', async t => {
  const spent: number[] = []
  const { accounts, records } = await openAccounts()
  for (let n = 0; n < 20; n++) {
    const account = parseJid(`u${n}@${DOMAIN}`)
    await accounts.arriving(account, undefined)
    records.commit()
    await accounts.addKeys(account, 'sha-1', keys('sha-1', n < 10 ? 300 : 700, crypto.randomBytes(16)))
  }
  const derive = mock.method(Derivations.prototype, 'derive', (_: string, __: Uint8Array, iterations: number) => {
    spent.push(iterations)
    return Promise.resolve(Buffer.alloc(20))
  })
  for (const name of NAMES) await accounts.verifyPassword(name, 'wrong')
  for (let n = 0; n < 20; n++) await accounts.verifyPassword(`u${n}`, 'wrong')
  derive.mock.restore()
  t.equal(spent.length, NAMES.length + 20, 'once for each')
  t.strictSame(spent.splice(NAMES.length), Array.from({ length: 20 }, (_, n) => n < 10 ? 300 : 700))
  t.same([...new Set(spent)].sort((a, b) => a - b), [300, 700])
  t.ok(Math.abs(spent.filter(iterations => iterations === 300).length / NAMES.length - 0.5) < 0.15)
})

t.test('a token of an unused name costs what a wrong token of an account costs', async t => {
  const { accounts, records, clock, context } = await romeoStage()
  const store = new NotedRecords<Client>()
  const clients = new Clients(store, clock)
  const romeo = parseJid(`romeo@${DOMAIN}`)
  await clients.visited(romeo, { id: 'phone', software: '', device: '' }, { by: 'password', wants: 'HT-SHA-256-NONE', lifetime: 1000 })
  t.ok(await accounts.exists(romeo))
  const ask = async (who: string) => {
    store.calls.length = records.calls.length = 0
    const { dialogue } = tokenLogin('HT-SHA-256-NONE', { ...context, now: clock.now(), tokensOf: account => clients.tokens(account, 'phone') })
    let condition = ''
    const calls = await cryptoCalls(async () => { condition = outcome(await dialogue.step(Buffer.concat([Buffer.from(`${who}\0`), Buffer.alloc(32)]))) })
    return { calls, condition, reads: [...store.calls], accounts: [...records.calls] }
  }
  const known = await ask('romeo')
  t.match(known, { condition: 'not-authorized', reads: ['get'] })
  t.strictSame(await ask('nobody'), known)
})
