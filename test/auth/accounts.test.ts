import t, { type Test } from 'tap'
import { pbkdf2Sync } from 'node:crypto'
import { AccountExists, AccountMissing, Accounts } from '../../lib/auth/accounts.js'
import { strictBase64, strictText } from '../../lib/auth/base64.js'
import { Derivations, keysFrom, MOST_BYTES, newKeys, Overloaded, PasswordError, preparePassword } from '../../lib/auth/keys.js'
import { Throttle } from '../../lib/auth/throttle.js'
import { networkOf } from '../../lib/base/network.js'
import { PrepError } from '../../lib/xmpp/prep.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { FakeClock } from '../fake-clock.js'
import { DOMAIN, ITERATIONS, openAccounts, ROMEO } from './stage.js'

const JULIET = parseJid('juliet@example.org')

async function rejects (t: Pick<Test, 'ok'>, promise: Promise<unknown>, kind: new () => Error, name?: string): Promise<void> {
  const error: unknown = await promise.then(() => undefined, (error: unknown) => error)
  t.ok(error instanceof kind, name ?? kind.name)
}

t.test('for a password only salted keys are stored', async t => {
  const { accounts, records, clock } = await openAccounts()
  await accounts.create(ROMEO, 'correct horse')
  const stored = records.rows.get(DOMAIN)?.get('romeo')
  t.strictSame(Object.keys(stored ?? {}), ['created', 'keys'])
  t.equal(stored?.created, clock.now())
  t.strictSame(Object.keys(stored?.keys ?? {}), ['sha-1', 'sha-256', 'sha-512'])
  for (const [hash, keys] of Object.entries(stored?.keys ?? {})) {
    t.strictSame(Object.keys(keys), ['salt', 'iterations', 'storedKey', 'serverKey'], hash)
    t.equal(keys.iterations, ITERATIONS)
    t.equal(strictBase64(keys.salt)?.length, 16)
  }
  t.equal(new Set(Object.values(stored?.keys ?? {}).map(({ salt }) => salt)).size, 3, 'each hash has its own salt')
  t.notMatch(JSON.stringify(stored), 'correct')
  await accounts.create(JULIET, 'correct horse')
  t.not(records.rows.get(DOMAIN)?.get('juliet')?.keys['sha-256']?.storedKey, stored?.keys['sha-256']?.storedKey,
    'the same password has other keys in another account')
  t.ok(await accounts.verifyPassword('romeo', 'correct horse'))
  t.notOk(await accounts.verifyPassword('romeo', 'correct horsf'))
  t.notOk(await accounts.verifyPassword('nobody', 'correct horse'))
})

t.test('the default is 10,000 iterations, and old accounts keep theirs', async t => {
  const { records, secrets, index, clock } = await openAccounts()
  const parts = { domain: DOMAIN, clock, records, secrets, index }
  const usual = await Accounts.open(parts)
  await usual.create(ROMEO, 'pencil')
  t.equal((await usual.credentials('romeo', 'sha-256')).iterations, 10_000)
  const other = await Accounts.open({ ...parts, iterations: 200 })
  t.equal((await other.credentials('romeo', 'sha-256')).iterations, 10_000)
  t.ok(await other.verifyPassword('romeo', 'pencil'))
  await other.setPassword(ROMEO, 'pen')
  t.equal((await other.credentials('romeo', 'sha-512')).iterations, 200)
  t.ok(await other.verifyPassword('romeo', 'pen'))
  t.notOk(await other.verifyPassword('romeo', 'pencil'))
})

t.test('an empty, very long or unprintable password is refused', async t => {
  const { accounts } = await openAccounts()
  const refused: readonly (readonly [string, string, new () => Error])[] = [
    ['empty', '', PasswordError],
    ['nothing once prepared', '\u00ad\u2060', Error],
    ['too long', 'x'.repeat(MOST_BYTES + 1), PasswordError],
    ['too many bytes', 'ä'.repeat(MOST_BYTES / 2 + 1), PasswordError],
    ['with a control character', 'a\u0007b', PrepError],
    ['with NUL', 'a\0b', PrepError],
    ['half a character', 'a\ud800', PrepError],
  ]
  for (const [name, password, error] of refused) {
    await rejects(t, accounts.create(ROMEO, password), error, name)
    await rejects(t, accounts.setPassword(ROMEO, password), error, name)
  }
  t.notOk(await accounts.exists(ROMEO), 'no account was created')
  await accounts.create(ROMEO, 'x'.repeat(MOST_BYTES))
  t.equal(preparePassword('I\u00adX \u2168'), 'IX IX', 'RFC 4013 §3')
})

t.test('a second look-up of an account needs no read', async t => {
  const { accounts, records } = await openAccounts()
  const first = accounts.exists(ROMEO)
  t.ok(first instanceof Promise)
  t.equal(await first, false)
  t.equal(accounts.exists(ROMEO), false)
  await accounts.create(ROMEO, 'pencil')
  t.equal(await accounts.exists(ROMEO), true)
  t.equal(accounts.exists(ROMEO), true)
  t.equal(accounts.exists(parseJid('romeo@example.org/orchard')), true)
  t.equal(accounts.exists(parseJid('example.org')), false)
  t.equal(accounts.exists(parseJid('romeo@example.net')), false)
  const reads = records.calls.length
  for (let i = 0; i < 10; i++) void accounts.exists(ROMEO)
  t.equal(records.calls.length, reads)

  const small = await openAccounts({ cached: 2 })
  for (const name of ['a', 'b', 'c']) await small.accounts.exists(parseJid(`${name}@example.org`))
  t.ok(small.accounts.exists(parseJid('a@example.org')) instanceof Promise, 'the account that was not used for the longest time is forgotten')
})

t.test('an earlier read does not overtake a write in progress', async t => {
  const { accounts, records } = await openAccounts()
  let open = (): void => {}
  records.gate = new Promise(resolve => { open = resolve })
  const early = accounts.exists(ROMEO)
  open()
  records.gate = Promise.resolve()
  await accounts.creating(ROMEO, 'pencil')
  t.equal(await early, false)
  t.equal(await accounts.exists(ROMEO), false, 'the creation is not committed yet')
  records.commit()
  t.equal(await accounts.exists(ROMEO), true, 'the account is not cached as missing')
  t.equal(accounts.exists(ROMEO), true)

  accounts.removing(ROMEO)
  t.equal(await accounts.exists(ROMEO), true, 'the removal is not committed')
  records.commit()
  t.equal(await accounts.exists(ROMEO), false)
  t.equal(accounts.exists(ROMEO), false)
})

t.test('a name is given once, however many requests for it arrive at the same time', async t => {
  const { accounts, records, clock } = await openAccounts()
  const asked = await Promise.allSettled(['one', 'two', 'three'].map(password => accounts.creating(ROMEO, password)))
  t.strictSame(asked.map(({ status }) => status).sort(), ['fulfilled', 'rejected', 'rejected'])
  for (const one of asked) if (one.status === 'rejected') t.ok(one.reason instanceof AccountExists)
  await rejects(t, accounts.create(ROMEO, 'four'), AccountExists, 'not before it is committed')
  records.fail()
  await rejects(t, accounts.create(ROMEO, 'four'), AccountExists)
  clock.pass(60_000)
  await accounts.create(ROMEO, 'five')
  t.ok(await accounts.verifyPassword('romeo', 'five'), 'a failed write does not reserve the name')
  await rejects(t, accounts.create(ROMEO, 'six'), AccountExists)
  await accounts.exists(ROMEO)
  await rejects(t, accounts.create(ROMEO, 'six'), AccountExists)
  await rejects(t, accounts.create(parseJid('romeo@example.net'), 'six'), AccountMissing)
  await rejects(t, accounts.create(parseJid('example.org'), 'six'), AccountMissing)
})

t.test('a removed account does not return with a new password', async t => {
  const { accounts, records, clock } = await openAccounts()
  await rejects(t, accounts.setPassword(ROMEO, 'pen'), AccountMissing)
  await accounts.create(ROMEO, 'pencil')
  let open = (): void => {}
  records.gate = new Promise(resolve => { open = resolve })
  const change = accounts.setPassword(ROMEO, 'pen')
  accounts.removing(ROMEO)
  open()
  await rejects(t, change, AccountMissing)
  records.commit()
  t.notOk(await accounts.exists(ROMEO))

  await accounts.create(JULIET, 'pencil')
  accounts.removing(JULIET)
  records.fail()
  clock.pass(60_000)
  await accounts.setPassword(JULIET, 'pen')
  t.ok(await accounts.verifyPassword('juliet', 'pen'), 'an account whose removal failed is unchanged')
})

t.test('a locked account stays locked until it is unlocked, and keeps its password', async t => {
  const { accounts, clock } = await openAccounts()
  await rejects(t, accounts.lock(ROMEO, 'spam'), AccountMissing)
  await accounts.create(ROMEO, 'pencil')
  t.equal(await accounts.state(ROMEO), 'active')
  await Promise.all([accounts.lock(ROMEO, 'spam'), accounts.setPassword(ROMEO, 'pen')])
  t.equal(await accounts.state(ROMEO), 'locked')
  t.equal(await accounts.exists(ROMEO), true)
  t.ok(await accounts.verifyPassword('romeo', 'pen'), 'neither change overwrote the other')
  t.strictSame((await accounts.list({ limit: 10 })).map(({ locked }) => locked), [{ since: clock.now(), reason: 'spam' }])
  await accounts.unlock(ROMEO)
  t.equal(await accounts.state(ROMEO), 'active')
  t.ok(await accounts.verifyPassword('romeo', 'pen'))
})

t.test('accounts are listed by name, page by page', async t => {
  const { accounts } = await openAccounts()
  for (const name of ['mercutio', 'benvolio', 'tybalt']) await accounts.create(parseJid(`${name}@example.org`), 'pencil')
  const first = await accounts.list({ limit: 2 })
  t.strictSame(first.map(({ account }) => account.toString()), ['benvolio@example.org', 'mercutio@example.org'])
  t.strictSame((await accounts.list({ limit: 2, after: 'mercutio' })).map(({ account }) => account.local), ['tybalt'])
})

t.test('an unknown account has the same salt each time, also after a restart, and another on each host', async t => {
  const { accounts, records, secrets, index, clock } = await openAccounts()
  const keys = await accounts.credentials('nobody', 'sha-256')
  t.strictSame(await accounts.credentials('nobody', 'sha-256'), keys)
  t.equal(keys.iterations, ITERATIONS)
  t.equal(strictBase64(keys.salt)?.length, 16)
  t.equal(strictBase64(keys.storedKey)?.length, 32)
  const again = await Accounts.open({ domain: DOMAIN, clock, records, secrets, index, iterations: ITERATIONS })
  t.strictSame(await again.credentials('nobody', 'sha-256'), keys)
  const elsewhere = await Accounts.open({ domain: 'example.net', clock, records, secrets, index, iterations: ITERATIONS })
  const others = await Promise.all([
    accounts.credentials('nobody', 'sha-1'), accounts.credentials('nobody', 'sha-512'), accounts.credentials('noone', 'sha-256'),
    elsewhere.credentials('nobody', 'sha-256'),
  ])
  t.equal(new Set([keys, ...others].map(({ salt }) => salt)).size, 5)
  t.equal(strictBase64(secrets.rows.get(DOMAIN)?.get('secret')?.secret ?? '')?.length, 32)
})

t.test('an imported account with keys of one hash can log in with its password', async t => {
  const { accounts, records } = await openAccounts()
  const salt = Buffer.from('QSXCR+Q6sek8bf92', 'base64')
  const salted = pbkdf2Sync('pencil', salt, 4096, 20, 'sha1')
  const keys = { salt: salt.toString('base64'), iterations: 4096, ...keysFrom(salted, 'sha-1') }
  await records.put(DOMAIN, 'user', { created: 0, keys: { 'sha-1': keys } })
  t.ok(await accounts.verifyPassword('user', 'pencil'))
  t.notOk(await accounts.verifyPassword('user', 'pen'))
  t.strictSame(await accounts.credentials('user', 'sha-1'), keys)
  t.strictSame(await accounts.credentials('user', 'sha-256'), await accounts.credentials('user', 'sha-256'))
})

t.test('the number of parallel derivations and of waiting ones is bounded, and more are refused', async t => {
  const derivations = new Derivations({ atOnce: 1, waiting: 2 })
  const asked = Array.from({ length: 5 }, () => newKeys('pencil', 'sha-1', 10, derivations))
  t.equal(derivations.waiting, 2)
  const settled = await Promise.allSettled(asked)
  t.strictSame(settled.map(({ status }) => status), ['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'rejected'])
  for (const one of settled) if (one.status === 'rejected') t.ok(one.reason instanceof Overloaded)
  t.equal(derivations.waiting, 0)
  t.ok(await newKeys('pencil', 'sha-1', 10, derivations), 'the queue moves on')
  await t.rejects(derivations.derive('a', new Uint8Array(1), 0, 'sha-1'), 'an invalid number of iterations rejects')
  t.ok(await newKeys('pencil', 'sha-1', 10, derivations), 'a rejection takes no place')
})

t.test('repeated wrong guesses are delayed more and more, and delay no other client', async t => {
  const clock = new FakeClock()
  const throttle = new Throttle({ clock, delay: 1000, forget: 600_000 })
  const [here, elsewhere] = ['198.51.100.7', '203.0.113.9']
  t.equal(throttle.delayFor({ account: 'romeo', address: here }), 0)
  const waits = [1, 2, 3, 4, 5, 6, 7, 8].map(() => {
    throttle.failed({ account: 'romeo', address: here })
    return throttle.delayFor({ account: 'romeo', address: here })
  })
  t.strictSame(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
  t.equal(throttle.delayFor({ account: 'romeo', address: elsewhere }), 0, 'the owner at another address does not wait')
  t.equal(throttle.delayFor({ account: 'juliet', address: here }), 0, 'a neighbour does not wait either')
  clock.pass(20_000)
  t.equal(throttle.delayFor({ account: 'romeo', address: here }), 40_000, 'waiting counts')
  clock.pass(40_000)
  t.equal(throttle.delayFor({ account: 'romeo', address: here }), 0)
  throttle.failed({ account: 'romeo', address: here })
  t.equal(throttle.delayFor({ account: 'romeo', address: here }), 60_000, 'waiting alone does not reset the delay')
  throttle.succeeded({ account: 'romeo', address: here })
  t.equal(throttle.delayFor({ account: 'romeo', address: here }), 0)
  for (let i = 0; i < 3000; i++) throttle.failed({ account: 'romeo', address: elsewhere })
  t.equal(throttle.delayFor({ account: 'romeo', address: elsewhere }), 60_000)
  clock.pass(600_000)
  throttle.failed({ account: 'romeo', address: elsewhere })
  t.equal(throttle.delayFor({ account: 'romeo', address: elsewhere }), 1000, 'old failures are forgotten')
})

t.test('a client that tries one password with many accounts is delayed by address, also for its own account', t => {
  const clock = new FakeClock()
  const throttle = new Throttle({ clock, delay: 1000, forget: 600_000, free: 3 })
  for (let i = 0; i < 3; i++) throttle.failed({ account: `user${i}`, address: '198.51.100.7' })
  t.equal(throttle.delayFor({ account: 'user9', address: '198.51.100.7' }), 0)
  throttle.failed({ account: 'user4', address: '198.51.100.7' })
  throttle.failed({ account: 'user5', address: '198.51.100.7' })
  throttle.succeeded({ account: 'mallory', address: '198.51.100.7' })
  t.equal(throttle.delayFor({ account: 'user9', address: '198.51.100.7' }), 2000)
  t.equal(throttle.delayFor({ account: 'user9', address: '198.51.100.8' }), 0)
  t.end()
})

t.test('failures of others in a known network delay no account, and a device with an old password is no sweep', t => {
  const clock = new FakeClock()
  const throttle = new Throttle({ clock, delay: 1000, forget: 600_000, free: 3 })
  const address = '198.51.100.7'
  throttle.succeeded({ account: 'juliet', address })
  for (let i = 0; i < 20; i++) throttle.failed({ account: `user${i}`, address })
  t.equal(throttle.delayFor({ account: 'juliet', address }), 0)
  t.equal(throttle.delayFor({ account: 'romeo', address }), 60_000, 'an account that never logged in there waits')
  clock.pass(600_000)
  for (let minute = 0; minute < 60; minute++) {
    throttle.failed({ account: 'juliet', address })
    clock.pass(50_000)
    t.equal(throttle.delayFor({ account: 'romeo', address }), 0, 'an old password counts as one account, however often it is tried')
  }
  throttle.failed({ account: 'juliet', address })
  t.equal(throttle.delayFor({ account: 'juliet', address: '203.0.113.9' }), 0, 'the old password delays nobody elsewhere')
  t.equal(throttle.delayFor({ account: 'juliet', address }), 10_000, 'the account waits only shortly in its own network')
  t.end()
})

t.test('a client that has logged in before is delayed only by its own failures', t => {
  const throttle = new Throttle({ clock: new FakeClock(), delay: 1000, forget: 600_000 })
  const [address, device] = ['198.51.100.7', 'laptop']
  throttle.succeeded({ account: 'juliet', address: '203.0.113.9', device })
  for (let i = 0; i < 20; i++) throttle.failed({ account: 'juliet', address })
  for (let i = 0; i < 20; i++) throttle.failed({ account: `user${i}`, address })
  t.equal(throttle.delayFor({ account: 'juliet', address, device }), 0)
  t.equal(throttle.delayFor({ account: 'juliet', address, device: 'another' }), 60_000)
  t.equal(throttle.delayFor({ account: 'romeo', address, device }), 60_000, 'the client is known to its account')
  throttle.failed({ account: 'juliet', address, device })
  t.equal(throttle.delayFor({ account: 'juliet', address, device }), 1000)
  t.end()
})

t.test('a client that waits for its turn is not overtaken by one that tries again and again', t => {
  const clock = new FakeClock()
  const throttle = new Throttle({ clock, delay: 1000, forget: 600_000 })
  const tried = { account: 'juliet', address: '198.51.100.7' }
  throttle.failed(tried)
  const phone = throttle.attempt(tried)
  const laptop = throttle.attempt(tried)
  clock.pass(1000)
  t.equal(phone.delay(), 0)
  phone.begin()
  throttle.failed(tried)
  phone.end()
  const again = throttle.attempt(tried)
  clock.pass(2000)
  t.equal(again.delay(), 1000, 'the laptop was first')
  t.equal(laptop.delay(), 0)
  laptop.end()
  t.equal(again.delay(), 0, 'a client that gave up delays nobody')
  again.end()
  t.end()
})

t.test('an IPv6 customer counts as one address, whichever addresses it uses', t => {
  const same: readonly (readonly [string, string])[] = [
    ['2001:db8:1:2::1', '2001:db8:1:2:ffff:ffff:ffff:ffff'],
    ['2001:db8:1:2::1', '2001:0DB8:0001:0002:0:0:0:9'],
    ['::ffff:198.51.100.7', '198.51.100.7'],
    ['fe80::1%eth0', 'fe80::2'],
    ['memory', 'memory'],
  ]
  for (const [a, b] of same) t.equal(networkOf(a), networkOf(b), `${a} and ${b}`)
  const different: readonly (readonly [string, string])[] = [
    ['2001:db8:1:2::1', '2001:db8:1:3::1'], ['198.51.100.7', '198.51.100.8'], ['::1', '127.0.0.1'], ['', 'memory'],
  ]
  for (const [a, b] of different) t.not(networkOf(a), networkOf(b), `${a} and ${b}`)
  t.end()
})

t.test('the memory of the throttle has a bound', t => {
  const throttle = new Throttle({ clock: new FakeClock(), delay: 1000, forget: 600_000, entries: 10 })
  throttle.failed({ account: 'romeo', address: '198.51.100.7' })
  for (let i = 0; i < 10; i++) throttle.failed({ account: 'romeo', address: `203.0.113.${i}` })
  t.equal(throttle.delayFor({ account: 'romeo', address: '198.51.100.7' }), 0)
  t.equal(throttle.delayFor({ account: 'romeo', address: '203.0.113.9' }), 1000)
  t.end()
})

t.test('base64 is parsed strictly', t => {
  const refused = ['=', 'A', 'AA', 'AAA', 'A===', 'AA==AA==', 'AB==', 'AAB=', 'QUJD\n', ' QUJD', 'QU JD', 'QUJD=', '-_-_', 'QUJDä',
    '====', 'AA=A']
  for (const text of refused) t.equal(strictBase64(text), undefined, JSON.stringify(text))
  t.strictSame(strictBase64(''), Buffer.alloc(0))
  t.strictSame(strictBase64('QUI='), Buffer.from('AB'))
  t.strictSame(strictBase64('+/+/'), Buffer.from([0xfb, 0xff, 0xbf]))
  for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80],
    [0xe2, 0x82]]) t.equal(strictText(Buffer.from(bytes)), undefined)
  t.equal(strictText(Buffer.from('\ufeffä')), '\ufeffä')
  t.end()
})
