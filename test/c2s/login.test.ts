import { xml } from '../../lib/xml/element.js'
import { StreamError } from '../../lib/xmpp/errors.js'
import { StorageUnavailable } from '../../lib/storage/store.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { play } from '../auth/stage.js'
import { auth, bind, BIND, DOMAIN, PASSWORD, SASL, scene, STARTTLS, type Client } from './stage.js'

scene('a client gets from the first byte to its own stanza by STARTTLS and SCRAM', {}, async (t, s) => {
  const client = s.connect()
  await client.opens()
  t.match(client.heard, /^<\?xml version='1.0'\?><stream:stream [^>]*from=["']montague.lit["']/)
  t.match(client.heard, /<stream:features><starttls xmlns=["']urn:ietf:params:xml:ns:xmpp-tls["']><required\/><\/starttls><\/stream:features>$/)
  client.forget()
  await client.says(STARTTLS)
  t.equal(client.heard.replaceAll('"', "'"), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
  client.forget()
  await client.opens()
  t.match(client.heard, /<mechanism>SCRAM-SHA-256-PLUS<\/mechanism><mechanism>SCRAM-SHA-256<\/mechanism>/)
  t.match(client.heard, /<channel-binding type=["']tls-exporter["']\/><channel-binding type=["']tls-server-end-point["']\/>/)
  const { last, verified } = await play(client.dialogue('SCRAM-SHA-256-PLUS'), {
    username: 'romeo',
    password: PASSWORD,
    hash: 'sha-256',
    header: 'p=tls-exporter,,',
    binding: Buffer.alloc(32, 'EXPORTER-Channel-Binding'),
  })
  t.equal(last.kind, 'success')
  t.ok(verified, 'the server knows the password too')
  client.forget()
  await client.opens()
  t.match(client.heard, /<bind xmlns=.*<session xmlns=.*<optional\/>/)
  t.match(client.heard, /<max-bytes>262144<\/max-bytes><idle-seconds>86400<\/idle-seconds>/)
  client.forget()
  await client.says(bind('orchard'))
  t.match(client.heard, /^<iq type=["']result["'] id=["']b["']>.*<jid>romeo@montague.lit\/orchard<\/jid>/)
  client.forget()
  await client.says(`<message to='romeo@${DOMAIN}/orchard'><body>O me!</body></message>`)
  t.equal(client.stream.state.at, 'established')
  await client.says('</stream:stream>')
  t.match(client.heard, /<\/stream:stream>$/)
  t.ok(client.isClosed)
})

// ---- Login ----------------------------------------------------------------------------------

scene('the stream ends after three failed logins', {}, async (t, s) => {
  const client = s.connect({ secure: true, address: '198.51.100.7' })
  await client.opens()
  for (let attempt = 1; attempt <= 3; attempt++) {
    client.forget()
    await client.says(auth('PLAIN', '\0romeo\0guess'))
    if (attempt > 1) await s.pass(1000 * 2 ** (attempt - 2)) // the throttle
    await client.until('</failure>')
    t.match(client.heard, /<not-authorized/)
  }
  t.equal(client.error, 'policy-violation')
  t.ok(client.isClosed)
  t.same(s.logged('login failed').map(line => line.fields), Array.from({ length: 3 }, () => (
    { address: '198.51.100.7', account: `romeo@${DOMAIN}`, mechanism: 'PLAIN', reason: 'not-authorized' })))
  t.notMatch(JSON.stringify(s.lines), /guess/)
})

scene('a lock and a removal end the logins in progress, and ended logins are not kept', {}, async (t, s) => {
  const romeo = parseJid(`romeo@${DOMAIN}`)
  const client = await s.loggedIn()
  const begun = s.connect({ secure: true })
  await begun.opens()
  await begun.says(`<auth xmlns='${SASL}' mechanism='SCRAM-SHA-256'>${Buffer.from('n,,n=romeo,r=abc').toString('base64')}</auth>`)
  await begun.until('</challenge>')
  t.equal(s.host.kick(romeo, new StreamError('not-authorized')), 0, 'a login is no session')
  for (const one of [client, begun]) t.match(one.heard, /<stream:error><not-authorized /)
  const bound = await s.bound('orchard')
  s.host.logins.end(romeo, new StreamError('not-authorized'))
  t.equal(bound.heard, '', 'a session is no login any more')
})

scene('a client that waits for a delayed login leaves nothing when it disconnects', {}, async (t, s) => {
  const guess = async (): Promise<Client> => {
    const client = s.connect({ secure: true })
    await client.opens()
    await client.says(auth('PLAIN', '\0romeo\0guess'))
    return client
  }
  await (await guess()).until('</failure>')
  const impatient = await guess()
  t.notMatch(impatient.heard, /failure/)
  impatient.transport.destroy()
  await s.settled()
  t.equal(s.gone, 1)
  t.equal(s.logged('login failed').length, 1)
})

const MESSAGES: readonly (readonly [string, string, string])[] = [
  ['no base64', `<auth xmlns='${SASL}' mechanism='PLAIN'>!</auth>`, 'incorrect-encoding'],
  ['base64 with spaces', `<auth xmlns='${SASL}' mechanism='PLAIN'> AHJvbWVv AGE= </auth>`, 'incorrect-encoding'],
  ['base64 without its padding', `<auth xmlns='${SASL}' mechanism='PLAIN'>YQ</auth>`, 'incorrect-encoding'],
  ['nothing in it, said plainly', `<auth xmlns='${SASL}' mechanism='PLAIN'>=</auth>`, 'malformed-request'],
  ['a mechanism that is not offered', auth('EXTERNAL', ''), 'invalid-mechanism'],
  ['no mechanism', `<auth xmlns='${SASL}'/>`, 'invalid-mechanism'],
  ['another name to act for', auth('PLAIN', `juliet@${DOMAIN}\0romeo\0${PASSWORD}`), 'invalid-authzid'],
]
scene('an invalid login fails with the right condition, and may be tried again', { authentication: { attempts: 20 } }, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  for (const [what, text, condition] of MESSAGES) {
    client.forget()
    await client.says(text)
    await client.until('</failure>')
    t.match(client.heard.replaceAll('"', "'"), `<failure xmlns='${SASL}'><${condition}`, what)
  }
  client.forget()
  await client.says(`<auth xmlns='${SASL}' mechanism='PLAIN'/>`)
  t.equal(client.heard.replaceAll('"', "'"), `<challenge xmlns='${SASL}'/>`)
  await client.says(`<response xmlns='${SASL}'>${Buffer.from(`\0romeo\0${PASSWORD}`).toString('base64')}</response>`)
  await client.until('<success')
})

scene('a wrong proof fails, and the right one after it succeeds', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  t.equal((await play(client.dialogue('SCRAM-SHA-256'), { username: 'romeo', password: 'guess', hash: 'sha-256' })).last.kind, 'failure')
  await s.pass(1000)
  t.equal((await play(client.dialogue('SCRAM-SHA-256'), { username: 'romeo', password: PASSWORD, hash: 'sha-256' })).last.kind, 'success')
})

scene('the stream of a client that aborts again and again is closed', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  for (let turn = 0; turn < 40 && !client.isClosed; turn++) {
    await client.says(`<auth xmlns='${SASL}' mechanism='PLAIN'/>`, `<abort xmlns='${SASL}'/>`)
  }
  t.equal(client.error, 'policy-violation')
  t.same(s.logged('login failed'), [])
})

scene('without a usable mechanism no mechanisms are advertised', { authentication: { mechanisms: ['EXTERNAL'] } }, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  t.notMatch(client.heard, /<mechanism/)
  await client.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  t.equal(client.error, 'policy-violation')
})

scene('a defect during a login is a temporary failure for the client, and is logged with its stack', {}, async (t, s) => {
  s.expected.push('login not processed')
  const client = s.connect({ secure: true })
  await client.opens()
  s.host.accounts.verifyPassword = () => Promise.reject(new Error('a defect'))
  await client.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await client.until('</failure>')
  t.match(client.heard, /<temporary-auth-failure/)
  t.equal(s.logged('login not processed').length, 1)
})

scene('logins while the storage is unavailable are no failed logins, and are logged once a minute', { authentication: { attempts: 20 } }, async (t, s) => {
  s.host.accounts.credentials = () => Promise.reject(new StorageUnavailable('the database is away'))
  // A client whose login with channel binding fails tries without it, and says that it supports it (flag "y").
  const attempts = [['SCRAM-SHA-256-PLUS', 'p=tls-exporter'], ['SCRAM-SHA-256', 'y'], ['SCRAM-SHA-1', 'y']] as const
  const tryAll = async (): Promise<void> => {
    const client = s.connect({ secure: true, address: '198.51.100.7' })
    await client.opens()
    for (const [mechanism, flag] of attempts) {
      client.forget()
      await client.says(auth(mechanism, `${flag},,n=romeo,r=abc`))
      await client.until('</failure>')
      t.match(client.heard, /<temporary-auth-failure/, `${mechanism} with flag ${flag}`)
    }
  }
  await tryAll()
  await s.pass(60_000)
  await tryAll()
  t.same(s.logged('login failed'), [], 'none of them is a line for fail2ban')
  const line = { address: '198.51.100.7', account: undefined, mechanism: 'SCRAM-SHA-256-PLUS', reason: 'the storage is unavailable' }
  t.same(s.logged('login unavailable').map(({ fields }) => fields), [{ ...line, count: 1 }, { ...line, count: 3 }])
})

// ---- Binding --------------------------------------------------------------------------------

scene('an invalid resource is refused, and the client may bind another', {}, async (t, s) => {
  const client = await s.loggedIn()
  const asked: readonly (readonly [string, string])[] = [
    [bind('x'.repeat(1100)), 'bad-request'],
    [bind('a&#9;b'), 'bad-request'],
    [bind('x').replace("type='set'", "type='get'"), 'bad-request'],
    [bind('x').replace(" id='b'", ''), 'bad-request'],
    [`<iq type='set' id='b'><other xmlns='${BIND}'/></iq>`, 'bad-request'],
  ]
  for (const [text, condition] of asked) {
    client.forget()
    await client.says(text)
    t.match(client.heard, new RegExp(`^<iq type=["']error["'].*<${condition} `), text.slice(0, 60))
  }
  client.forget()
  await client.says(bind())
  t.match(client.heard, /<jid>romeo@montague.lit\/id-\d+<\/jid>/)
})

scene('binding a resource that is in use replaces its session', {}, async (t, s) => {
  const old = await s.bound('orchard')
  const young = await s.bound('orchard')
  t.equal(old.error, 'conflict')
  t.ok(old.isClosed)
  t.equal(s.host.sessions.count, 1)
  t.equal(young.stream.state.at, 'established')
})

scene('if the host refuses conflicts, the old session stays', { host: { conflict: 'refuse' } }, async (t, s) => {
  await s.bound('orchard')
  const young = await s.loggedIn()
  await young.says(bind('orchard'))
  t.match(young.heard, /<conflict /)
  await young.says(bind('balcony'))
  t.match(young.heard, /<jid>romeo@montague.lit\/balcony<\/jid>/)
})

scene('a session beyond the bound of an account is refused', {}, async (t, s) => {
  await s.bound('one')
  await s.bound('two')
  const third = await s.loggedIn()
  await third.says(bind('three'))
  t.match(third.heard, /<resource-constraint /)
})

scene('a client that disconnects while it binds has no session', {}, async (t, s) => {
  const client = await s.loggedIn()
  const { host } = s
  const real = host.bind.bind(host)
  let go = (): void => {}
  host.bind = async (...how) => {
    await new Promise<void>(resolve => { go = resolve })
    return real(...how)
  }
  await client.says(bind('orchard'))
  client.transport.destroy()
  await s.settled()
  go()
  await s.settled()
  t.equal(host.sessions.count, 0)
})

scene('stanzas for a session that is being bound come after the result of the bind', {}, async (t, s) => {
  const client = await s.loggedIn()
  const { host } = s
  const real = host.bind.bind(host)
  host.bind = async (...how) => {
    const session = await real(...how)
    session.write('<early/>')
    return session
  }
  await client.says(bind('orchard'))
  t.match(client.heard, /<\/iq><early\/>$/)
})

scene('a host that stops ends its streams with system-shutdown, and binds no more', {}, async (t, s) => {
  const [client, late] = [await s.bound('orchard'), await s.loggedIn()]
  s.host.stop()
  await s.settled()
  t.equal(client.error, 'system-shutdown')
  await late.says(bind())
  t.equal(late.error, 'system-shutdown')
})

// ---- Features of modules ----------------------------------------------------------------------

scene('a feature that a module announces is advertised inside TLS only', {}, async (t, s) => {
  s.host.features.push({ namespace: 'urn:a', offered: stream => stream.identity === undefined ? undefined : xml('a', { xmlns: 'urn:a' }) })
  const client = s.connect({ secure: true })
  await client.opens()
  t.notMatch(client.heard, /urn:a/)
  const loggedIn = await s.loggedIn()
  await loggedIn.says("<a xmlns='urn:a'/>")
  t.equal(loggedIn.error, 'unsupported-stanza-type', 'the feature is only an announcement')
})

scene("a module's feature can replace binding, and only with a session", {}, async (t, s) => {
  s.expected.push('defect')
  const client = await s.bound('orchard')
  const [session] = s.host.sessions.all()
  let what: unknown = session
  s.host.features.push({
    namespace: 'urn:r',
    offered: () => xml('r', { xmlns: 'urn:r' }),
    take: (_, request) => {
      const isResume = request.getName() === 'resume'
      if (isResume) session?.attach(s.clients[1]?.stream ?? client.stream)
      return Promise.resolve(isResume ? { go: 'session', session: what } : { go: 'continue' })
    },
  })
  const again = await s.loggedIn()
  await again.says("<r xmlns='urn:r'/><resume xmlns='urn:r'/><iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
  t.equal(client.error, 'conflict')
  t.match(again.heard, /id=["']p["']/)
  t.equal(s.host.sessions.count, 1)
  what = 'no session'
  const third = await s.loggedIn()
  await third.says("<resume xmlns='urn:r'/>")
  t.equal(third.error, 'internal-server-error')
})
