import { createHmac, pbkdf2Sync } from 'node:crypto'
import { accessEnded } from '../../lib/host/events.js'
import { HASHES, keysFrom } from '../../lib/auth/keys.js'
import { clientOf } from '../../lib/host/slots.js'
import type { Session } from '../../lib/host/session.js'
import type { InlineFeature } from '../../lib/stream/negotiation.js'
import { xml } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { play } from '../auth/stage.js'
import { bind, DOMAIN, header, OTHER, PASSWORD, SASL, scene, type Client, type Stage } from './stage.js'

const SASL2 = 'urn:xmpp:sasl:2'
const PHONE = 'd4565fa7-4d72-4749-b3d3-740edbf87770'
const DESK = 'a4565fa7-4d72-4749-b3d3-740edbf87771'
const DAY = 86_400_000

const base64 = (text: string | Buffer): string => Buffer.from(text).toString('base64')
const PLAIN = base64(`\0romeo\0${PASSWORD}`)

interface Asking {
  readonly mechanism?: string
  readonly initial?: string
  readonly agent?: string
  readonly more?: string
}

function authenticate ({ mechanism = 'PLAIN', initial = PLAIN, agent = PHONE, more = '' }: Asking = {}): string {
  return `<authenticate xmlns='${SASL2}' mechanism='${mechanism}'><initial-response>${initial}</initial-response>` +
    `<user-agent id='${agent}'><software>Verona</software><device>the balcony</device></user-agent>${more}</authenticate>`
}

const BIND = "<bind xmlns='urn:xmpp:bind:0'><tag>Verona</tag></bind>"
const request = (mechanism = 'HT-SHA-256-EXPR'): string => `<request-token xmlns='urn:xmpp:fast:0' mechanism='${mechanism}'/>`
const fast = (more = ''): string => `<fast xmlns='urn:xmpp:fast:0' ${more}/>`

async function opened (s: Stage, more = '', domain = DOMAIN): Promise<Client> {
  const client = s.connect({ secure: true })
  await client.says(header(domain, more))
  return client
}

/** Logs in with one `<authenticate/>`. The client then holds what came from `<success/>` or `<failure/>` on. */
async function login (s: Stage, asking: Asking, client?: Client): Promise<Client> {
  const one = client ?? await opened(s)
  one.forget()
  await one.says(authenticate(asking))
  await one.until('</stream:features>', '</failure>')
  return one
}

const tokenIn = (client: Client): string => /<token [^>]*token=["']([^"']+)["']/.exec(client.heard)?.[1] ?? ''
const addressIn = (client: Client): string => /<authorization-identifier>([^<]*)</.exec(client.heard)?.[1] ?? ''
const failureIn = (client: Client): string => /<failure[^>]*><([a-z-]+)/.exec(client.heard)?.[1] ?? ''

function hashed (token: string, name = 'romeo', binding: Buffer = Buffer.alloc(32, 'EXPORTER-Channel-Binding')): string {
  const proof = createHmac('sha256', token).update('Initiator').update(binding).digest()
  return base64(Buffer.concat([Buffer.from(`${name}\0`), proof]))
}

const byToken = (token: string, more = fast(), mechanism = 'HT-SHA-256-EXPR'): Asking => ({
  mechanism, initial: hashed(token, 'romeo', mechanism === 'HT-SHA-256-NONE' ? Buffer.alloc(0) : undefined), more,
})

// ---- Login ------------------------------------------------------------------------------------

scene('the features for one round trip are advertised inside TLS only', {}, async (t, s) => {
  const client = await opened(s)
  t.match(client.heard, /<authentication xmlns="urn:xmpp:sasl:2">(<mechanism>[A-Z0-9-]+<\/mechanism>)+<inline>/)
  t.match(client.heard, /<bind xmlns="urn:xmpp:bind:0"><inline\/?>/)
  t.match(client.heard, /<fast xmlns="urn:xmpp:fast:0"><mechanism>HT-SHA-256-EXPR<.*HT-SHA-256-ENDP<.*HT-SHA-256-NONE</)
  t.match(client.heard, /<upgrade xmlns="urn:xmpp:sasl:upgrade:0">UPGR-SCRAM-SHA-256</)
  const plain = s.connect()
  await plain.opens()
  t.notMatch(plain.heard, /sasl:2/)
})

scene('a login without inline features is followed by features and the usual binding', {}, async (t, s) => {
  const client = await login(s, {})
  t.match(client.heard, /^<success xmlns="urn:xmpp:sasl:2"><authorization-identifier>romeo@montague.lit<\/authorization-identifier><\/success><stream:features>/)
  t.match(client.heard, /<bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/)
  t.notMatch(client.heard, /<mechanism/)
  client.forget()
  await client.says(bind('orchard'))
  t.match(client.heard, /romeo@montague.lit\/orchard/)
  const [session] = s.host.sessions.of(parseJid(`romeo@${DOMAIN}`))
  t.not(session?.get(clientOf), '', 'its client is still known')
  await client.says(authenticate())
  t.equal(client.error, 'unsupported-stanza-type', 'a second login is refused')
})

scene('SCRAM works in SASL2 elements, with channel binding', {}, async (t, s) => {
  const client = await opened(s)
  let first = true
  const { last, verified } = await play({
    mechanism: 'SCRAM-SHA-256-PLUS',
    step: async message => {
      client.forget()
      const data = base64(Buffer.from(message ?? []))
      await client.says(first ? authenticate({ mechanism: 'SCRAM-SHA-256-PLUS', initial: data }) : `<response xmlns='${SASL2}'>${data}</response>`)
      first = false
      const challenge = /<challenge[^>]*>([^<]+)</.exec(client.heard)?.[1]
      if (challenge !== undefined) return { kind: 'challenge', data: Buffer.from(challenge, 'base64') }
      await client.until('</success>')
      const [, data2 = ''] = /<additional-data>([^<]+)</.exec(client.heard) ?? []
      return { kind: 'success', account: parseJid(`romeo@${DOMAIN}`), data: Buffer.from(data2, 'base64') }
    },
  }, { username: 'romeo', password: PASSWORD, hash: 'sha-256', header: 'p=tls-exporter,,', binding: Buffer.alloc(32, 'EXPORTER-Channel-Binding') })
  t.equal(last.kind, 'success')
  t.ok(verified)
})

const REFUSED: readonly (readonly [title: string, Asking, condition: string])[] = [
  ['a wrong password', { initial: base64('\0romeo\0wrong') }, 'not-authorized'],
  ['nobody of this name', { initial: base64('\0mercutio\0wrong') }, 'not-authorized'],
  ['a mechanism that is not offered', { mechanism: 'CRAM-MD5' }, 'invalid-mechanism'],
  ['a mechanism of tokens without saying that it is one', { mechanism: 'HT-SHA-256-NONE', initial: hashed('x') }, 'invalid-mechanism'],
  ['a token that nobody was given', byToken('invented'), 'not-authorized'],
  ['a token of nobody', { ...byToken('invented'), initial: hashed('invented', 'mercutio') }, 'not-authorized'],
  ['a token of a client that does not say which', { ...byToken('invented'), agent: 'me' }, 'invalid-mechanism'],
  ['half a proof', { ...byToken('x'), initial: base64('romeo\0short') }, 'malformed-request'],
  ['no base64', { initial: '!!' }, 'incorrect-encoding'],
  ['to act for another', { initial: base64(`juliet@${DOMAIN}\0romeo\0${PASSWORD}`) }, 'invalid-authzid'],
]

for (const [title, asking, condition] of REFUSED) {
  scene(`refused, and no inline request is done: ${title}`, {}, async (t, s) => {
    const client = await login(s, { ...asking, more: `${asking.more ?? ''}${BIND}${request()}` })
    t.equal(failureIn(client), condition)
    t.match(client.heard, new RegExp(`<${condition} xmlns="${SASL}"/>`))
    t.notMatch(client.heard, /bound|token|features/)
    t.equal(s.host.sessions.count, 0)
    await s.pass(1000) // the throttle
    await login(s, {}, client)
    t.match(client.heard, /<success/, 'another try is allowed')
  })
}

scene('a client whose header names another user cannot log in', {}, async (t, s) => {
  const other = await login(s, {}, await opened(s, `from='juliet@${DOMAIN}'`))
  t.equal(failureIn(other), 'invalid-authzid')
  const right = await login(s, {}, await opened(s, `from='romeo@${DOMAIN}'`))
  t.match(right.heard, /<success/)
  const elsewhere = await opened(s, `from='romeo@${OTHER}'`)
  await elsewhere.says(authenticate())
  t.equal(elsewhere.error, 'invalid-from')
})

scene('an aborted login ends, and an unexpected element in a login ends the stream', {}, async (t, s) => {
  const scram = { mechanism: 'SCRAM-SHA-256', initial: base64('n,,n=romeo,r=abc') }
  const client = await opened(s)
  await client.says(authenticate(scram), `<abort xmlns='${SASL2}'/>`)
  t.equal(failureIn(client), 'aborted')
  await client.says(authenticate(scram), '<message/>')
  t.equal(client.error, 'not-authorized')
  const other = await opened(s)
  await other.says(authenticate(scram), authenticate())
  t.equal(other.error, 'policy-violation')
  t.equal(s.logged('login failed').length, 0)
})

// ---- Bind 2 ---------------------------------------------------------------------------------------

scene('a session is bound within the login, under the same address each time', {}, async (t, s) => {
  const client = await login(s, { more: BIND })
  const address = addressIn(client)
  t.match(address, /^romeo@montague.lit\/Verona\/[\w-]{12}$/)
  t.match(client.heard, /<bound xmlns="urn:xmpp:bind:0"\/><\/success><stream:features>/)
  t.notMatch(client.heard, /xmpp-bind|xmpp-session/, 'no binding is offered any more')
  t.notMatch(client.heard, PHONE)
  t.equal(client.stream.state.at, 'established')
  const again = await login(s, { more: BIND })
  t.equal(addressIn(again), address)
  t.equal(client.error, 'conflict')
  const desk = await login(s, { more: BIND, agent: DESK })
  t.not(addressIn(desk), address)
  t.equal(s.host.sessions.count, 2)
})

scene('a tag that cannot be part of a resource is left out', { host: { resources: 10 } }, async (t, s) => {
  for (const tag of ['&#x200e;', '']) {
    const client = await login(s, { more: `<bind xmlns='urn:xmpp:bind:0'><tag>${tag}</tag></bind>`, agent: 'none' })
    t.match(addressIn(client), /^romeo@montague.lit\/[\w-]{12}$/)
  }
  const long = await login(s, { more: `<bind xmlns='urn:xmpp:bind:0'><tag>${'x'.repeat(3000)}</tag></bind>` })
  t.match(addressIn(long), /^romeo@montague.lit\/x{128}\//)
})

scene('if the account may have no more sessions, the login still succeeds', { host: { resources: 1 } }, async (t, s) => {
  await login(s, { more: BIND })
  const client = await login(s, { more: BIND, agent: DESK })
  t.match(client.heard, /<authorization-identifier>romeo@montague.lit<.*<failed xmlns="urn:xmpp:bind:0"><error type="wait"><resource-constraint/)
  t.match(client.heard, /xmpp-bind/)
})

scene('the features of a bind request are each enabled, and a request that brings a session comes first', {}, async (t, s) => {
  const taken: string[] = []
  const feature = (at: 'authenticate' | 'bind', namespace: string, session?: () => Session): InlineFeature<Session> => ({
    at,
    namespace,
    offered: () => at === 'bind' ? xml('feature', { var: namespace }) : xml('x', { xmlns: namespace }),
    take: (context, element) => {
      taken.push(`${namespace} ${element?.name ?? 'nothing'} ${context.account.toString()} ${context.userAgent.software}`)
      return session === undefined ? { element: xml('done', { xmlns: namespace }) } : { session: session() }
    },
  })
  s.host.inline.push(feature('bind', 'urn:a'), feature('bind', 'urn:b'))
  const before = await opened(s)
  t.match(before.heard, /<bind xmlns="urn:xmpp:bind:0"><inline><feature var="urn:a"\/><feature var="urn:b"\/><\/inline><\/bind>/)
  const client = await login(s, { more: "<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:b'/></bind>" }, before)
  t.match(client.heard, /<bound xmlns="urn:xmpp:bind:0"><done xmlns="urn:a"\/><done xmlns="urn:b"\/><\/bound>/)
  t.same(taken.splice(0), [`urn:a nothing romeo@${DOMAIN} Verona`, `urn:b enable romeo@${DOMAIN} Verona`])
  const [session] = s.host.sessions.of(parseJid(`romeo@${DOMAIN}`))
  s.host.inline.push(feature('authenticate', 'urn:resume', () => session!))
  const resumed = await opened(s)
  resumed.forget()
  await resumed.says(authenticate({ more: `${BIND}<resume xmlns='urn:resume'/>`, agent: DESK }))
  await resumed.until('</success>')
  t.notMatch(resumed.heard, /features/, 'a resumed stream gets no features')
  t.same(taken, [`urn:resume resume romeo@${DOMAIN} Verona`])
  t.notMatch(resumed.heard, /bound/)
  t.equal(addressIn(resumed), session!.jid.toString())
})

// ---- Tokens -----------------------------------------------------------------------------------------

scene('a logged-in client gets a token on request, and the token logs in', {}, async (t, s) => {
  const token = tokenIn(await login(s, { more: `${BIND}${request()}` }))
  t.match(token, /^[\w-]{43}$/)
  const client = await login(s, byToken(token, `${fast()}${BIND}`))
  t.match(client.heard, /<success/)
  const proof = createHmac('sha256', token).update('Responder').update(Buffer.alloc(32, 'EXPORTER-Channel-Binding')).digest()
  t.match(client.heard, `<additional-data>${base64(proof)}<`, 'the server has it too')
  t.equal(tokenIn(client), '', 'the token is not due for replacement')
  t.notMatch(JSON.stringify(s.lines), token)
})

scene('a token is valid only for its mechanism, its client and its account', {}, async (t, s) => {
  const token = tokenIn(await login(s, { more: request() }))
  const elsewhere = hashed(token, 'romeo', Buffer.alloc(32, 'another connection'))
  for (const asking of [
    byToken(token, fast(), 'HT-SHA-256-NONE'), { ...byToken(token), agent: DESK }, { ...byToken(token), initial: hashed(token, 'juliet') },
    { ...byToken(token), initial: elsewhere },
  ]) {
    t.equal(failureIn(await login(s, asking)), 'not-authorized')
  }
  t.match((await login(s, byToken(token))).heard, /<success/)
})

scene('a login by token is not delayed, however many passwords were wrong', {}, async (t, s) => {
  const token = tokenIn(await login(s, { more: request() }))
  for (let failures = 0; failures < 4; failures++) {
    await s.pass(60_000)
    t.equal(failureIn(await login(s, { initial: Buffer.from('\0romeo\0wrong').toString('base64') })), 'not-authorized')
  }
  t.match((await login(s, byToken(token))).heard, /<success/)
})

scene('a token in use is replaced each day, and the old one is valid until the new one is used', {}, async (t, s) => {
  const first = tokenIn(await login(s, { more: request() }))
  await s.pass(DAY)
  const second = tokenIn(await login(s, byToken(first)))
  t.not(second, '')
  t.not(second, first)
  t.match((await login(s, byToken(first))).heard, /<success/, 'the new token may never have arrived')
  const third = tokenIn(await login(s, byToken(first)))
  t.equal(failureIn(await login(s, byToken(second))), 'not-authorized', 'an unused new token ended with the next one')
  await s.pass(60_000)
  t.match((await login(s, byToken(third))).heard, /<success/)
  t.equal(failureIn(await login(s, byToken(first))), 'not-authorized')
})

scene('a token expires, and only its owner gets to know that', {}, async (t, s) => {
  const token = tokenIn(await login(s, { more: request() }))
  await s.pass(22 * DAY)
  t.equal(failureIn(await login(s, byToken(token))), 'credentials-expired')
  t.equal(failureIn(await login(s, byToken('another'))), 'not-authorized')
})

scene('a client can invalidate its token', {}, async (t, s) => {
  const token = tokenIn(await login(s, { more: request() }))
  await s.pass(2 * DAY)
  const ended: string[] = []
  s.host.hooks.on(accessEnded, ({ account, device }) => { ended.push(`${account.toString()} ${device}`) }, 'observe', 'test')
  const client = await login(s, byToken(token, fast("invalidate='true'")))
  t.match(client.heard, /<success/)
  t.equal(tokenIn(client), '')
  t.match(ended, [/^romeo@\S+ [0-9a-f]{64}$/], 'the device gets that it has signed out')
  t.equal(failureIn(await login(s, byToken(token))), 'not-authorized')
})

scene('a new password, a lock and a removal delete all tokens', {}, async (t, s) => {
  const romeo = parseJid(`romeo@${DOMAIN}`)
  const token = tokenIn(await login(s, { more: request() }))
  await s.host.accounts.lock(romeo, '')
  t.equal(failureIn(await login(s, byToken(token))), 'account-disabled')
  await s.host.accounts.unlock(romeo)
  t.match((await login(s, byToken(token))).heard, /<success/)
  await s.host.setPassword(romeo, 'another')
  t.equal(failureIn(await login(s, byToken(token))), 'not-authorized')
  await s.pass(60_000)
  const next = tokenIn(await login(s, { initial: base64('\0romeo\0another'), more: request() }))
  await s.host.removeAccount(romeo)
  await s.host.createAccount(romeo, PASSWORD)
  t.equal(failureIn(await login(s, byToken(next))), 'not-authorized')
})

scene("the user agent's texts are cut between characters", {}, async (t, s) => {
  const client = await opened(s)
  client.forget()
  await client.says(authenticate().replace('the balcony', 'b'.repeat(255) + '🌹'))
  await client.until('</stream:features>')
  const [known] = (await s.host.clients.of(parseJid(`romeo@${DOMAIN}`))).values()
  t.equal(known?.device, 'b'.repeat(255))
})

scene('a new password ends the logins that began with the old one', {}, async (t, s) => {
  const romeo = parseJid(`romeo@${DOMAIN}`)
  const waiting = await opened(s)
  await waiting.says(authenticate({ mechanism: 'SCRAM-SHA-256', initial: base64('n,,n=romeo,r=c') }))
  await waiting.until('</challenge>')
  const known = await login(s, {})
  const plain = await s.loggedIn()
  const juliet = await s.loggedIn({ account: `juliet@${DOMAIN}` })
  const failed = await login(s, { initial: base64('\0romeo\0wrong') })
  for (const client of [waiting, known, plain]) client.forget()
  await s.host.setPassword(romeo, 'another')
  for (const client of [waiting, known, plain]) t.match(client.heard, /<stream:error><reset /)
  t.notMatch(juliet.heard + failed.heard, /<stream:error>/, 'neither those of others nor failed ones')
  await s.pass(60_000)
  t.match((await login(s, { initial: base64('\0romeo\0another') })).heard, /<success/)
})

scene('a token that is revoked during its login is refused', {}, async (t, s) => {
  const romeo = parseJid(`romeo@${DOMAIN}`)
  const token = tokenIn(await login(s, { more: request() }))
  const client = await login(s, byToken(token))
  const desk = await login(s, { agent: DESK })
  const [phone] = [...await s.host.clients.of(romeo)].find(([, one]) => one.current !== undefined) ?? []
  const { id = '' } = (await s.host.clients.of(romeo)).get(phone ?? '') ?? {}
  await s.host.revoke(romeo, id)
  t.match(client.heard, /<stream:error><not-authorized /, 'the session is not bound yet')
  t.notMatch(desk.heard, /<stream:error>/, 'another device')
  t.equal(failureIn(await login(s, byToken(token))), 'not-authorized')

  const used = { secret: token, mechanism: 'HT-SHA-256-EXPR', made: 1, expires: 2 } as const
  const agent = { id: PHONE, software: '', device: '' }
  t.equal(await s.host.clients.visited(romeo, agent, { by: 'token', used, wants: used.mechanism, lifetime: DAY }), 'gone')
})

scene('keys that a client uploads never replace existing ones', {}, async (t, s) => {
  const romeo = parseJid(`romeo@${DOMAIN}`)
  const before = await s.host.accounts.credentials('romeo', 'sha-256')
  await s.host.accounts.addKeys(romeo, 'sha-256', { ...before, storedKey: 'another' })
  t.same(await s.host.accounts.credentials('romeo', 'sha-256'), before)
})

scene('a client that asks for no token gets none', { authentication: { fast: false } }, async (t, s) => {
  const client = await opened(s)
  t.notMatch(client.heard, /fast/)
  t.equal(tokenIn(await login(s, { more: request() }, client)), '')
})

scene('if nothing can be stored, a login succeeds, unless it invalidates its token', {}, async (t, s) => {
  s.expected.push('client not stored')
  const token = tokenIn(await login(s, { more: request() }))
  s.storage.failing = new Error('disk full')
  t.match((await login(s, byToken(token))).heard, /<success/)
  t.equal(failureIn(await login(s, byToken(token, fast("invalidate='1'")))), 'temporary-auth-failure')
})

scene('the number of known clients is bounded', {}, async (t, s) => {
  for (let count = 0; count < 40; count++) {
    await login(s, { agent: `d4565fa7-4d72-4749-b3d3-7400000000${String(count).padStart(2, '0')}` })
    await s.pass(1000)
  }
  const romeo = parseJid(`romeo@${DOMAIN}`)
  t.equal((await s.host.clients.of(romeo)).size, 32)
  await s.pass(91 * DAY)
  await login(s, {})
  t.equal((await s.host.clients.of(romeo)).size, 1)
})

// ---- Pipelining, and new keys ------------------------------------------------------------------------

scene('a client that pipelines a login with known features is answered at once, or is told that they have changed', {}, async (t, s) => {
  const version = /<config-version [^>]*value="([^"]+)"/.exec((await opened(s)).heard)?.[1] ?? ''
  t.not(version, '')
  const element = (value: string): string => `<config-version xmlns='urn:xmpp:iap:0' scheme='opaque' value='${value}'/>`
  const client = s.connect({ secure: true })
  await client.says(header() + authenticate({ more: element(version) }))
  await client.until('</success>')
  s.host.inline.push({ at: 'authenticate', namespace: 'urn:new', offered: () => xml('new', { xmlns: 'urn:new' }), take: () => undefined })
  const late = s.connect({ secure: true })
  await late.says(header() + authenticate({ more: element(version) }))
  t.match(late.heard, /<failure xmlns="urn:xmpp:sasl:2"><aborted [^>]*\/><config-version-mismatch xmlns="urn:xmpp:iap:0"\/>/)
  t.equal(s.logged('login failed').length, 0, 'this is no failed login')
})

scene('an account without keys for a hash gets them from a client that knows the password', {}, async (t, s) => {
  const romeo = parseJid(`romeo@${DOMAIN}`)
  const salted = (salt: Buffer, iterations: number): Buffer => pbkdf2Sync(PASSWORD, salt, iterations, HASHES['sha-256'].size, 'sha256')
  const store = await s.storage.open('accounts', (await import('../../lib/auth/accounts.js')).accountsShape)
  const stored = await store.get(DOMAIN, 'romeo')
  const { 'sha-256': _, ...keys } = stored!.keys
  await store.put(DOMAIN, 'romeo', { ...stored!, keys })

  const upgrade = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade><upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-ROT13</upgrade>"
  const client = await opened(s)
  client.forget()
  await client.says(authenticate({ more: upgrade }))
  await client.until('</continue>')
  t.match(client.heard, /<tasks><task>UPGR-SCRAM-SHA-256<\/task><\/tasks>/)
  client.forget()
  await client.says(`<next xmlns='${SASL2}' task='UPGR-SCRAM-SHA-256'/>`)
  const [, iterations = '', salt = ''] = /<salt xmlns="urn:xmpp:scram-upgrade:0" iterations="(\d+)">([^<]+)</.exec(client.heard) ?? []
  const hash = salted(Buffer.from(salt, 'base64'), Number(iterations))
  await client.says(`<task-data xmlns='${SASL2}'><hash xmlns='urn:xmpp:scram-upgrade:0'>${base64(hash)}</hash></task-data>`)
  await client.until('</success>')
  const now = (await s.host.accounts.credentials('romeo', 'sha-256'))
  t.equal(now.storedKey, keysFrom(hash, 'sha-256').storedKey)
  t.match((await login(s, { more: upgrade })).heard, /^<success/, 'one upgrade is enough')

  await store.put(DOMAIN, 'romeo', { ...stored!, keys })
  for (const [said, condition] of [[`<abort xmlns='${SASL2}'/>`, 'aborted'], [`<next xmlns='${SASL2}' task='x'/>`, 'malformed-request']] as const) {
    const other = await opened(s)
    await other.says(authenticate({ more: upgrade }))
    await other.until('</continue>')
    await other.says(said)
    t.equal(failureIn(other), condition)
  }
  const token = tokenIn(await login(s, { more: request() }))
  t.match((await login(s, byToken(token, `${fast()}${upgrade}`))).heard, /<success/, 'a login by token upgrades no keys')
  t.equal(await s.host.accounts.lacks(romeo, 'sha-256'), true)
})
