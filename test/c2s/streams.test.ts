import { play } from '../auth/stage.js'
import { auth, bind, BIND, Client, DOMAIN, header, OTHER, PASSWORD, SASL, scene, Stage, STARTTLS } from './stage.js'

const LONG = 100_000

// ---- Headers --------------------------------------------------------------------------------

const HEADERS: readonly (readonly [string, string, string])[] = [
  ['no version', header().replace("version='1.0' to", 'to'), 'unsupported-version'],
  ['version 0.9', header().replace("version='1.0' to", "version='0.9' to"), 'unsupported-version'],
  ['version 2.0', header().replace("version='1.0' to", "version='2.0' to"), 'unsupported-version'],
  ['a version that is none', header().replace("version='1.0' to", "version='one' to"), 'unsupported-version'],
  ['to nobody', header().replace(`to='${DOMAIN}'`, ''), 'improper-addressing'],
  ['to what is no address', header('a@b@c'), 'improper-addressing'],
  ['from what is no address', header(DOMAIN, "from='@'"), 'improper-addressing'],
  ['to a host that is not ours', header('verona.lit'), 'host-unknown'],
  ['to an account', header(`romeo@${DOMAIN}`), 'host-unknown'],
  ['another namespace of streams', header().replace('etherx', 'ethery'), 'invalid-namespace'],
  ['a server on the port of clients', header().replace('jabber:client', 'jabber:server'), 'invalid-namespace'],
  ['another prefix', header().replaceAll('stream:stream', 's:stream').replace('xmlns:stream', 'xmlns:s'), 'bad-namespace-prefix'],
  ['no XML', 'GET / HTTP/1.1\r\n\r\n', 'not-well-formed'],
  ['a DTD', "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]>", 'restricted-xml'],
  ['UTF-16', '\ufeff<?xml version="1.0" encoding="utf-16"?>', 'unsupported-encoding'],
]

for (const [what, text, condition] of HEADERS) {
  scene(`a header with ${what} is answered with a header and then ${condition}`, {}, async (t, s) => {
    const client = s.connect()
    await client.says(text)
    t.match(client.heard, /^<\?xml version='1.0'\?><stream:stream [^>]*id=["']id-\d+["'][^>]*>/)
    t.match(client.heard, /from=["']montague.lit["']/)
    t.match(client.heard, /version=["']1.0["']/)
    t.equal(client.error, condition)
    t.match(client.heard, /<\/stream:error><\/stream:stream>$/)
    t.ok(client.isClosed)
  })
}

scene('our header names the host, the peer where it has named itself, and an id of its own each time', {}, async (t, s) => {
  const client = s.connect()
  await client.says(header(OTHER.toUpperCase(), `from='juliet@${OTHER}' xml:lang='it'`))
  t.match(client.heard, /from=["']capulet.lit["']/)
  t.match(client.heard, /to=["']juliet@capulet.lit["']/)
  t.match(client.heard, /xml:lang=["']en["']/)
  t.equal(client.stream.lang, 'it')
  const first = /id=["']([^"']+)/.exec(client.heard)?.[1]
  client.forget()
  await client.says(STARTTLS)
  await client.opens(OTHER)
  t.not(/id=["']([^"']+)/.exec(client.heard)?.[1], first)
})

// ---- What may be said when ------------------------------------------------------------------

type At = 'clear' | 'secure' | 'login' | 'loggedIn' | 'established'

/** Brings a client to a state. */
async function at (s: Stage, state: At): Promise<Client> {
  if (state === 'established') return s.bound('orchard')
  if (state === 'loggedIn') return s.loggedIn()
  const client = s.connect({ secure: state !== 'clear' })
  await client.opens()
  if (state === 'login') await client.says(`<auth xmlns='${SASL}' mechanism='SCRAM-SHA-256'>${Buffer.from('n,,n=romeo,r=abc').toString('base64')}</auth>`)
  client.forget()
  return client
}

const SAID: readonly (readonly [string, string, Readonly<Record<At, string>>])[] = [
  ['starttls', STARTTLS, { clear: 'proceed', secure: 'policy-violation', login: 'policy-violation', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
  ['another element of TLS', "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    { clear: 'unsupported-stanza-type', secure: 'policy-violation', login: 'policy-violation', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
  ['auth', auth('PLAIN', `\0romeo\0${PASSWORD}`),
    { clear: 'policy-violation', secure: 'success', login: 'malformed-request', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
  ['response', `<response xmlns='${SASL}'/>`,
    { clear: 'policy-violation', secure: 'malformed-request', login: 'malformed-request', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
  ['abort', `<abort xmlns='${SASL}'/>`,
    { clear: 'policy-violation', secure: 'malformed-request', login: 'aborted', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
  ['success', `<success xmlns='${SASL}'/>`,
    { clear: 'policy-violation', secure: 'malformed-request', login: 'malformed-request', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
  ['bind', bind('x'), { clear: 'not-authorized', secure: 'not-authorized', login: 'not-authorized', loggedIn: "type='result'", established: 'service-unavailable' }],
  ['message', `<message to='romeo@${DOMAIN}'><body>O!</body></message>`,
    { clear: 'not-authorized', secure: 'not-authorized', login: 'not-authorized', loggedIn: 'not-authorized', established: '' }],
  ['presence', '<presence/>', { clear: 'not-authorized', secure: 'not-authorized', login: 'not-authorized', loggedIn: 'not-authorized', established: '' }],
  ['iq', "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
    { clear: 'not-authorized', secure: 'not-authorized', login: 'not-authorized', loggedIn: 'not-authorized', established: 'service-unavailable' }],
  ['an iq without a payload', "<iq type='get' id='1'/>",
    { clear: 'not-authorized', secure: 'not-authorized', login: 'not-authorized', loggedIn: 'not-authorized', established: 'bad-request' }],
  ['session', "<iq type='set' id='1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    { clear: 'not-authorized', secure: 'not-authorized', login: 'not-authorized', loggedIn: 'not-authorized', established: "<iq type='result' id='1'/>" }],
  ['what nobody knows', "<a xmlns='urn:example'/>",
    { clear: 'unsupported-stanza-type', secure: 'unsupported-stanza-type', login: 'policy-violation', loggedIn: 'unsupported-stanza-type', established: 'unsupported-stanza-type' }],
  ['no stanza', '<letter/>', { clear: 'unsupported-stanza-type', secure: 'unsupported-stanza-type', login: 'not-authorized', loggedIn: 'unsupported-stanza-type', established: 'unsupported-stanza-type' }],
  ['compression', "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
    { clear: 'policy-violation', secure: 'policy-violation', login: 'policy-violation', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
  ['resume', "<resume xmlns='urn:xmpp:sm:3' h='0' previd='x'/>",
    { clear: 'policy-violation', secure: 'policy-violation', login: 'policy-violation', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
  ['SASL2', "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>",
    { clear: 'policy-violation', secure: 'policy-violation', login: 'policy-violation', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
  ['features', '<stream:features/>',
    { clear: 'unsupported-stanza-type', secure: 'unsupported-stanza-type', login: 'policy-violation', loggedIn: 'unsupported-stanza-type', established: 'unsupported-stanza-type' }],
  ['a stream error', "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
    { clear: 'closes', secure: 'closes', login: 'closes', loggedIn: 'closes', established: 'closes' }],
  ['the end', '</stream:stream>', { clear: 'closes', secure: 'closes', login: 'closes', loggedIn: 'closes', established: 'closes' }],
  ['what is no XML', '<a><b></a>',
    { clear: 'not-well-formed', secure: 'not-well-formed', login: 'not-well-formed', loggedIn: 'not-well-formed', established: 'not-well-formed' }],
  ['a comment', '<!-- -->', { clear: 'restricted-xml', secure: 'restricted-xml', login: 'restricted-xml', loggedIn: 'restricted-xml', established: 'restricted-xml' }],
]
const ENDS = new Set([
  'policy-violation', 'unsupported-stanza-type', 'not-authorized', 'not-well-formed', 'restricted-xml',
])

for (const [what, text, answers] of SAID) {
  scene(`in every state, ${what} has the answer that is right there`, {}, async (t, s) => {
    for (const state of ['clear', 'secure', 'login', 'loggedIn', 'established'] as const) {
      const client = await at(s, state)
      await client.says(text)
      const answer = answers[state]
      const heard = client.heard.replaceAll('"', "'")
      if (answer === 'closes') {
        t.equal(heard, '</stream:stream>', `${state}: is answered in kind`)
        t.ok(client.isClosed)
      } else if (ENDS.has(answer)) {
        t.equal(client.error, answer, `${state}: ${answer}`)
        t.ok(client.isClosed)
      } else {
        if (answer === 'success') await client.until('<success')
        t.equal(client.error, undefined, `${state}: no error`)
        t.ok(client.heard.replaceAll('"', "'").includes(answer), `${state}: ${answer} in ${heard}`)
        t.notOk(client.isClosed)
      }
    }
    t.same(s.logged('login failed').filter(line => line.fields['reason'] === 'aborted'), [])
  })
}

// ---- Restarts -------------------------------------------------------------------------------

const RESTARTS: readonly (readonly [string, string, string])[] = [
  ['to another host', header(OTHER), 'not-authorized'],
  ['from somebody else', header(DOMAIN, `from='juliet@${DOMAIN}'`), 'invalid-from'],
  ['from the same name at another host', header(DOMAIN, `from='romeo@${OTHER}'`), 'invalid-from'],
  ['in another namespace', header().replace('jabber:client', 'jabber:server'), 'invalid-namespace'],
  ['without a header', '<presence/>', 'invalid-namespace'],
]
for (const [what, text, condition] of RESTARTS) {
  scene(`after login a stream ${what} is refused: ${condition}`, {}, async (t, s) => { // CVE-2018-10847
    const client = s.connect({ secure: true })
    await client.opens()
    await client.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
    await client.until('<success')
    client.forget()
    await client.says(text)
    t.match(client.heard, /^<\?xml version='1.0'\?><stream:stream /)
    t.equal(client.error, condition)
    t.ok(client.isClosed)
  })
}

scene('a client that says all at once is served as far as encryption, and what it said too early is not heard', {}, async (t, s) => {
  const client = s.connect()
  await client.says(header() + STARTTLS + header() + auth('PLAIN', `\0romeo\0${PASSWORD}`) + bind())
  t.match(client.heard, /<proceed xmlns=["']urn:ietf:params:xml:ns:xmpp-tls["']\/>$/)
  await client.opens()
  t.equal(client.heard.split('<stream:features>').length, 3)
  t.notMatch(client.heard, /success|failure/)
})

scene('what follows the last message of a login belongs to the new stream, and is not lost', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.says(header() + auth('PLAIN', `\0romeo\0${PASSWORD}`) + header(DOMAIN, `from='romeo@${DOMAIN}'`) + bind('orchard') +
    "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq></stream:stream>")
  await client.until('</stream:stream>')
  t.match(client.heard, /<success.*<stream:stream .*<jid>romeo@montague.lit\/orchard<\/jid>.*id=["']p["'].*<\/stream:stream>$/)
  t.ok(client.isClosed)
})

scene('bytes that come one by one make the same stream', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  const text = header() + auth('PLAIN', `\0romeo\0${PASSWORD}`) + header() + bind('orchard') + '</stream:stream>'
  for (const byte of text) {
    client.transport.write(byte)
    await new Promise(resolve => { process.nextTick(resolve) })
  }
  await client.until('</stream:stream>')
  t.match(client.heard, /<success.*<jid>romeo@montague.lit\/orchard<\/jid>.*<\/stream:stream>$/)
})

// ---- Login ----------------------------------------------------------------------------------

scene('after three failed logins it is enough', {}, async (t, s) => {
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

scene('one that waits for a login to be slowed leaves nothing behind when it goes', {}, async (t, s) => {
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
scene('a login that is not as it should be fails with the right condition, and may be tried again', { authentication: { attempts: 20 } }, async (t, s) => {
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

scene('a client that gives up again and again is given up', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  for (let turn = 0; turn < 40 && !client.isClosed; turn++) {
    await client.says(`<auth xmlns='${SASL}' mechanism='PLAIN'/>`, `<abort xmlns='${SASL}'/>`)
  }
  t.equal(client.error, 'policy-violation')
  t.same(s.logged('login failed'), [])
})

scene('without a mechanism there is no login to be seen', { authentication: { mechanisms: ['EXTERNAL'] } }, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  t.notMatch(client.heard, /<mechanism/)
  await client.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  t.equal(client.error, 'policy-violation')
})

scene('storage that fails is told as a passing trouble, and logged', {}, async (t, s) => {
  s.expected.push('login impossible')
  const client = s.connect({ secure: true })
  await client.opens()
  s.host.accounts.verifyPassword = () => Promise.reject(new Error('the disk is gone'))
  await client.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await client.until('</failure>')
  t.match(client.heard, /<temporary-auth-failure/)
  t.equal(s.logged('login impossible').length, 1)
})

// ---- Binding --------------------------------------------------------------------------------

scene('a resource that cannot be is refused, and another may be asked for', {}, async (t, s) => {
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

scene('who comes with the resource of another takes it over', {}, async (t, s) => {
  const old = await s.bound('orchard')
  const young = await s.bound('orchard')
  t.equal(old.error, 'conflict')
  t.ok(old.isClosed)
  t.equal(s.host.sessions.count, 1)
  t.equal(young.stream.state.at, 'established')
})

scene('where the host refuses, the old one stays', { host: { conflict: 'refuse' } }, async (t, s) => {
  await s.bound('orchard')
  const young = await s.loggedIn()
  await young.says(bind('orchard'))
  t.match(young.heard, /<conflict /)
  await young.says(bind('balcony'))
  t.match(young.heard, /<jid>romeo@montague.lit\/balcony<\/jid>/)
})

scene('more devices than an account may have are refused', {}, async (t, s) => {
  await s.bound('one')
  await s.bound('two')
  const third = await s.loggedIn()
  await third.says(bind('three'))
  t.match(third.heard, /<resource-constraint /)
})

scene('a client that goes while it binds has no session', {}, async (t, s) => {
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

scene('what a session hears while it is bound comes behind the answer that it is', {}, async (t, s) => {
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

// ---- Limits and time ------------------------------------------------------------------------

scene('before login an element may be small and simple only; after it as the listener says', { listener: { stanza: 20_000 } }, async (t, s) => {
  for (const text of [`<auth xmlns='${SASL}' mechanism='PLAIN'>${'A'.repeat(10_100)}`, `<auth xmlns='${SASL}'>${'<a/>'.repeat(70)}`, '<a '.padEnd(10_100, 'x')]) {
    const client = s.connect({ secure: true })
    await client.opens()
    await client.says(text)
    t.equal(client.error, 'policy-violation', text.slice(0, 50))
    t.ok(client.isClosed)
  }
  const client = await s.bound('orchard')
  await client.says(`<message to='romeo@${DOMAIN}'><body>${'x'.repeat(15_000)}</body></message>`)
  t.equal(client.error, undefined)
  await client.says(`<message><body>${'x'.repeat(20_000)}`)
  t.equal(client.error, 'policy-violation')
})

scene('a stanza that never ends is stopped at its limit, however slowly it comes', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  let said = 0
  await client.says('<auth>')
  for (; said < 12_000 && !client.isClosed; said += 1000) await client.says('x'.repeat(1000))
  t.equal(client.error, 'policy-violation')
  t.ok(said <= 11_000)
})

scene('a negotiation has its time, all of it together', {}, async (t, s) => {
  const silent = s.connect()
  const talker = s.connect()
  await talker.opens()
  const guesser = s.connect({ secure: true })
  await guesser.opens()
  await guesser.says(`<auth xmlns='${SASL}' mechanism='PLAIN'/>`)
  await s.pass(20_000)
  await talker.says(STARTTLS, header())
  const bound = await s.bound('orchard')
  await s.pass(9_999)
  t.notOk(silent.isClosed || talker.isClosed || guesser.isClosed)
  await s.pass(1)
  for (const client of [silent, talker, guesser]) {
    t.equal(client.error, 'connection-timeout')
    t.ok(client.isClosed)
  }
  await s.pass(LONG)
  t.notOk(bound.isClosed)
})

scene('a silent client gets spaces, and at last connection-timeout', { limits: { keepalive: 10_000, idle: 35_000 } }, async (t, s) => {
  const client = await s.bound('orchard')
  await s.pass(10_000)
  t.equal(client.heard, ' ')
  await s.pass(5_000)
  await client.says(' ')
  await s.pass(9_999)
  t.equal(client.heard, ' ', 'it has been heard meanwhile')
  await s.pass(1)
  t.equal(client.heard, '  ')
  await s.pass(24_999)
  t.notOk(client.isClosed)
  await s.pass(1)
  t.equal(client.error, 'connection-timeout')
  t.equal(s.host.sessions.count, 0)
})

scene('a client that does not read is not read, and given up in the end', {}, async (t, s) => {
  const client = await s.bound('orchard')
  const [session] = s.host.sessions.all()
  client.transport.pause()
  session?.write('x'.repeat(300_000))
  await s.settled()
  await client.says("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
  t.equal(client.stream.backlog, 300_000, 'nothing was answered')
  client.transport.resume()
  await s.settled()
  t.match(client.heard, /id=["']p["']/)
  client.transport.pause()
  for (let count = 0; count < 100; count++) session?.write('x'.repeat(100_000))
  await s.settled()
  t.equal(s.host.sessions.count, 0)
  await s.pass(5000)
  t.ok(client.isClosed, 'it is cut off where it takes nothing')
})

scene('who sends faster than the listener wants is read later, and loses nothing', { listener: { rate: 1000 } }, async (t, s) => {
  const client = await s.bound('orchard')
  const ping = (id: string): string => `<iq type='get' id='${id}'><ping xmlns='urn:xmpp:ping'/></iq>`
  await client.says(`<message><body>${'x'.repeat(20_000)}</body></message>`)
  await client.says(ping('late'))
  t.notMatch(client.heard, /late/)
  await s.pass(5_000)
  t.notMatch(client.heard, /late/)
  await s.pass(30_000)
  t.match(client.heard, /late/)
})

scene('too many handshakes at once wait, and more of them are turned away', { handshakes: 5 }, async (t, s) => {
  const clients = Array.from({ length: 20 }, () => s.connect())
  for (const client of clients) await client.says(header() + STARTTLS)
  t.equal(clients.filter(client => client.heard.includes('<proceed')).length, 5)
  t.equal(clients.filter(client => client.isClosed).length, 5)
  await s.pass(10_000)
  t.equal(clients.filter(client => client.heard.includes('<proceed')).length, 15)
})

// ---- The end --------------------------------------------------------------------------------

scene('whenever a client goes, nothing of it is left', {}, async (t, s) => {
  const script = [header(), STARTTLS, header(), auth('PLAIN', `\0romeo\0${PASSWORD}`), header(), bind('orchard'), '<presence/>']
  for (let steps = 0; steps <= script.length; steps++) {
    for (const how of ['cut', 'close', 'middle'] as const) {
      const client = s.connect()
      for (const text of script.slice(0, steps)) {
        await client.says(text)
        if (text.includes('<auth')) await client.until('<success')
      }
      if (how === 'middle') await client.says('<mess')
      if (how === 'close') client.transport.end()
      else client.transport.destroy()
      await s.settled()
      t.equal(s.host.sessions.count, 0)
      t.equal(client.stream.state.at, 'closed')
    }
  }
  t.equal(s.gone, s.clients.length)
  t.equal(s.clock.timers, 0)
})

scene('a server that closes waits for the client to close as well, but not for long', {}, async (t, s) => {
  const [polite, rude] = [await s.bound('a'), await s.bound('b')]
  for (const client of [polite, rude]) client.stream.close()
  await polite.says('<presence/></stream:stream>')
  t.equal(polite.heard, '</stream:stream>')
  t.ok(polite.isClosed)
  await s.pass(4999)
  t.notOk(rude.isClosed)
  await s.pass(1)
  t.ok(rude.isClosed)
  t.equal(s.host.sessions.count, 0)
})

scene('stanzas that wait for their turn are handled before the end that came behind them', {}, async (t, s) => {
  const client = await s.bound('orchard')
  const { host } = s
  const real = host.receive.bind(host)
  const handled: string[] = []
  const go: (() => void)[] = []
  host.receive = async (session, element, source) => {
    await new Promise<void>(resolve => { go.push(resolve) })
    handled.push(String(element.attrs['id']))
    return real(session, element, source)
  }
  await client.says(Array.from({ length: 100 }, (_, id) => `<message id='${id}'/>`).join('') + '</stream:stream>')
  for (let turn = 0; turn < 100; turn++) {
    t.equal(go.length, turn + 1, 'one at a time')
    go[turn]?.()
    await s.settled()
  }
  t.same(handled, Array.from({ length: 100 }, (_, id) => String(id)))
  t.ok(client.isClosed)
})

scene('a stanza that came before a stream error of ours is the last one handled', {}, async (t, s) => {
  const client = await s.bound('orchard')
  await client.says("<message from='juliet@capulet.lit'/><iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
  t.equal(client.error, 'invalid-from')
  t.notMatch(client.heard, /id=.p/)
})

scene('a defect in the host ends the stream with internal-server-error, and tells nothing of itself', {}, async (t, s) => {
  s.expected.push('defect')
  const client = await s.bound('orchard')
  s.host.receive = () => { throw new Error('secret inside') }
  await client.says('<presence/>')
  t.equal(client.error, 'internal-server-error')
  t.notMatch(client.heard, /secret/)
  t.equal(s.logged('defect').length, 1)
})
