import { auth, bind, DOMAIN, header, OTHER, PASSWORD, SASL, scene, STARTTLS, type Client, type Stage } from './stage.js'

// ---- Headers --------------------------------------------------------------------------------

const HEADERS: readonly (readonly [string, string, string])[] = [
  ['no version', header().replace("version='1.0' to", 'to'), 'unsupported-version'],
  ['version 0.9', header().replace("version='1.0' to", "version='0.9' to"), 'unsupported-version'],
  ['version 00.9', header().replace("version='1.0' to", "version='00.9' to"), 'unsupported-version'],
  ['version 0.10', header().replace("version='1.0' to", "version='0.10' to"), 'unsupported-version'],
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

for (const version of ['2.0', '1.1', '01.0', '10.0']) {
  scene(`a header of version ${version} is answered with version 1.0 and features`, {}, async (t, s) => {
    const client = s.connect()
    await client.says(header().replace("version='1.0' to", `version='${version}' to`))
    t.match(client.heard, /<stream:stream [^>]*version=["']1\.0["']/)
    t.match(client.heard, /<stream:features/)
    t.equal(client.error, undefined)
  })
}

scene("the server's header names the host, the client if it named itself, and a new id each time", {}, async (t, s) => {
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

// ---- Elements by state ----------------------------------------------------------------------

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
    { clear: 'not-authorized', secure: 'not-authorized', login: 'not-authorized', loggedIn: 'not-authorized', established: "type='result' id='1'" }],
  ['what nobody knows', "<a xmlns='urn:example'/>",
    { clear: 'unsupported-stanza-type', secure: 'unsupported-stanza-type', login: 'policy-violation', loggedIn: 'unsupported-stanza-type', established: 'unsupported-stanza-type' }],
  ['no stanza', '<letter/>', { clear: 'unsupported-stanza-type', secure: 'unsupported-stanza-type', login: 'not-authorized', loggedIn: 'unsupported-stanza-type', established: 'unsupported-stanza-type' }],
  ['compression', "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
    { clear: 'policy-violation', secure: 'policy-violation', login: 'policy-violation', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
  ['resume', "<resume xmlns='urn:xmpp:sm:3' h='0' previd='x'/>",
    { clear: 'policy-violation', secure: 'policy-violation', login: 'policy-violation', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
  ['SASL2', "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>",
    { clear: 'policy-violation', secure: 'challenge', login: 'policy-violation', loggedIn: 'policy-violation', established: 'unsupported-stanza-type' }],
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
  scene(`in every state, ${what} gets the answer that is right in that state`, {}, async (t, s) => {
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

scene('a client that pipelines everything is served up to encryption, and what it sent too early is ignored', {}, async (t, s) => {
  const client = s.connect()
  await client.says(header() + STARTTLS + header() + auth('PLAIN', `\0romeo\0${PASSWORD}`) + bind())
  t.match(client.heard, /<proceed xmlns=["']urn:ietf:params:xml:ns:xmpp-tls["']\/>$/)
  await client.opens()
  t.equal(client.heard.split('<stream:features>').length, 3)
  t.notMatch(client.heard, /success|failure/)
})

scene('data that follows the last message of a login belongs to the new stream, and is not lost', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.says(header() + auth('PLAIN', `\0romeo\0${PASSWORD}`) + header(DOMAIN, `from='romeo@${DOMAIN}'`) + bind('orchard') +
    "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq></stream:stream>")
  await client.until('</stream:stream>')
  t.match(client.heard, /<success.*<stream:stream .*<jid>romeo@montague.lit\/orchard<\/jid>.*id=["']p["'].*<\/stream:stream>$/)
  t.ok(client.isClosed)
})

scene('bytes that arrive one by one make the same stream', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  const text = header() + auth('PLAIN', `\0romeo\0${PASSWORD}`) + header() + bind('orchard') + '</stream:stream>'
  for (const byte of text) {
    client.transport.write(byte)
    await new Promise(resolve => { process.nextTick(resolve) })
  }
  await client.until('</stream:stream>')
  t.match(client.heard, /<success.*<jid>romeo@montague.lit\/orchard<\/jid>.*<\/stream:stream>$/)
})
