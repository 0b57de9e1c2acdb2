import t, { type Test } from 'tap'
import { clientOf } from '../../lib/host/slots.js'
import { keyOf } from '../../lib/auth/clients.js'
import type { Token } from '../../lib/auth/token.js'
import type { TokenMechanism } from '../../lib/auth/token.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { scenario, type Device, type Scenario } from '../scenario.js'

const JULIET = parseJid('juliet@capulet.lit')
const LIST = "<iq type='get' id='l'><list xmlns='urn:xmpp:cam:0'/></iq>"
const MECHANISM: TokenMechanism = 'HT-SHA-256-NONE'
const DAY = 86_400_000
const revoke = (id: string): string => `<iq type='set' id='r'><revoke xmlns='urn:xmpp:cam:0' id='${id}'/></iq>`

/** Logs a client in by its password, or by the token that it was given. */
async function visit (s: Scenario, client: string, by: 'password' | 'token' | 'certificate' = 'password', used?: Token): Promise<Token | undefined> {
  const agent = { id: client, software: 'Gajim', device: `Juliet's ${client}` }
  const token = await s.host('capulet.lit').clients.visited(JULIET, agent, { by, used, wants: used === undefined ? MECHANISM : undefined, lifetime: 21 * DAY })
  if (token === 'gone') throw new Error('the token is gone')
  return token
}

async function stage (t: Test): Promise<{ readonly s: Scenario, readonly laptop: Device, readonly phone: Device }> {
  const s = await scenario(t, { modules: ['client-access-management', 'disco', 'register', 'stream-management'] })
  await s.account('juliet@capulet.lit')
  await visit(s, 'laptop')
  const laptop = await s.device('juliet@capulet.lit/laptop')
  laptop.session.put(clientOf, keyOf('laptop'))
  await s.pass('1m')
  await visit(s, 'phone', 'certificate')
  const phone = await s.device('juliet@capulet.lit/phone')
  phone.session.put(clientOf, keyOf('phone'))
  return { s, laptop, phone }
}

interface Line {
  readonly id: string
  readonly device: string
  readonly connected: string
  readonly auth: readonly string[]
}

async function list (device: Device): Promise<readonly Line[]> {
  const answer = await device.asks(LIST)
  const clients = answer.getChild('clients', 'urn:xmpp:cam:0')
  return (clients?.getChildren('client') ?? []).map(client => ({
    id: client.attrs['id'] as string,
    device: client.getChild('user-agent')?.getChildText('device') ?? '',
    connected: client.attrs['connected'] as string,
    auth: client.getChild('auth')?.getChildElements().map(({ name }) => name) ?? [],
  }))
}

async function idOf (device: Device, name: string): Promise<string> {
  const line = (await list(device)).find(line => line.device === name)
  if (line === undefined) throw new Error(`no ${name} in the list`)
  return line.id
}

t.test('a user sees which clients have access, how they log in, and when they were last connected', async t => {
  const { s, laptop, phone } = await stage(t)
  const answer = await laptop.asks(LIST)
  const [first] = answer.getChild('clients', 'urn:xmpp:cam:0')?.getChildren('client') ?? []
  t.match(first?.toString(), /type="session" connected="true"><first-seen>\S+Z<\/first-seen><last-seen>\S+Z<\/last-seen><auth>.*<permission status="unrestricted"\/><user-agent><software>Gajim</)
  await phone.loses('connection')
  await s.device('juliet@capulet.lit/old', { presence: false })
  t.same((await list(laptop)).map(({ device, connected, auth }) => [device, connected, auth.join(' ')]).sort(), [
    ["Juliet's laptop", 'true', 'password fast'],
    ["Juliet's phone", 'false', 'fast'],
    ['old', 'true', 'password'],
  ])
  await s.pass('22d')
  t.same((await list(laptop)).find(({ device }) => device === "Juliet's phone")?.auth, [], 'an expired login method is not listed')
  const info = await laptop.asks("<iq type='get' id='i' to='juliet@capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
  t.match(info.toString(), /<feature var="urn:xmpp:cam:0"\/>/)
})

t.test('revoking a client ends its session, connected or hibernating, and its token', async t => {
  const { s, laptop, phone } = await stage(t)
  await phone.says("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
  await phone.loses('connection')
  t.equal(phone.session.connection, 'waiting')
  const id = await idOf(laptop, "Juliet's phone")
  t.equal((await s.host('capulet.lit').clients.tokens(JULIET, 'phone')).length, 1)
  t.equal((await laptop.asks(revoke(id))).attrs['type'], 'result')
  t.equal(phone.session.connection, 'closed')
  t.same(await s.host('capulet.lit').clients.tokens(JULIET, 'phone'), [])
  t.same((await list(laptop)).map(({ device }) => device), ["Juliet's laptop"])
  t.match(await laptop.asks(revoke(id)), { attrs: { type: 'error' } })
})

t.test('a session whose client is revoked ends with not-authorized', async t => {
  const { laptop, phone } = await stage(t)
  await laptop.asks(revoke(await idOf(laptop, "Juliet's phone")))
  t.equal(phone.error?.condition, 'not-authorized')
  t.notOk(laptop.closed)
})

t.test('a client that revokes itself gets the result, and then its session ends', async t => {
  const { phone } = await stage(t)
  t.equal((await phone.asks(revoke(await idOf(phone, "Juliet's phone")))).attrs['type'], 'result')
  t.ok(phone.closed)
})

t.test('revoking a client that knows the password ends its session and token; only a new password excludes it', async t => {
  const { s, laptop, phone } = await stage(t)
  const id = await idOf(phone, "Juliet's laptop")
  const answer = await phone.asks(revoke(id))
  t.match(answer.toString(), /<error type="cancel"><service-unavailable .*<password-reset-required xmlns="urn:xmpp:cam:0"\/><\/error>/)
  t.ok(laptop.closed)
  t.same(await s.host('capulet.lit').clients.tokens(JULIET, 'laptop'), [])
  t.same((await list(phone)).find(line => line.id === id)?.auth, ['password'], 'the client is still listed, because it can log in again')
  await s.host('capulet.lit').setPassword(JULIET, 'another', phone.session)
  t.equal((await phone.asks(revoke(id))).attrs['type'], 'result')
  t.notOk((await list(phone)).some(line => line.id === id))
})

t.test('a session of an unknown client is listed and can be revoked; a new password is needed to exclude it', async t => {
  const { s, phone } = await stage(t)
  const old = await s.device('juliet@capulet.lit/old & grey', { presence: false })
  const answer = await phone.asks(revoke((await idOf(phone, 'old & grey')).replace('&', '&amp;')))
  t.match(answer.toString(), /password-reset-required/)
  t.equal(old.error?.condition, 'not-authorized')
})

t.test("a user cannot see or revoke another's clients, and an unknown client is item-not-found", async t => {
  const { s, phone } = await stage(t)
  const romeo = await s.device('romeo@capulet.lit/orchard')
  const id = await idOf(phone, "Juliet's laptop")
  t.same((await list(romeo)).map(({ device }) => device), ['orchard'])
  const errors = [
    revoke(id), revoke('session:phone'), revoke('invented'), "<iq type='set' id='r'><revoke xmlns='urn:xmpp:cam:0'/></iq>",
    LIST.replace('<iq ', "<iq to='juliet@capulet.lit' "), revoke(id).replace('<iq ', "<iq to='juliet@capulet.lit' "),
  ]
  const conditions = []
  for (const request of errors) conditions.push((await romeo.asks(request)).getChild('error')?.getChildElements()[0]?.name)
  t.same(conditions, ['item-not-found', 'item-not-found', 'item-not-found', 'bad-request', 'service-unavailable', 'service-unavailable'])
  t.equal(phone.session.connection, 'attached')
})
