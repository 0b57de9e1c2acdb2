/**
 * Attacks by strangers on a stream: floods, slow sending, guessing, and incomplete logins. In memory, with its own
 * clock.
 */
import type { Test } from 'tap'
import { sessionBound } from '../../lib/host/events.js'
import { StanzaError } from '../../lib/xmpp/errors.js'
import { auth, bind, DOMAIN, header, PASSWORD, SASL, scene, STARTTLS, type Client, type Stage } from '../c2s/stage.js'
import { heapUsed } from '../heap.js'

// ---- Handshakes ---------------------------------------------------------------------------------

scene('a flood of failed handshakes does not block later ones', { handshakes: 5, limits: { connections: 1000 } }, async (t, s) => {
  for (let i = 0; i < 200; i++) await s.connect().says(header() + STARTTLS)
  await s.pass(20_000)
  const late = s.connect()
  await late.says(header() + STARTTLS)
  t.match(late.heard, /<proceed/)
})

// ---- Slow sending -------------------------------------------------------------------------------

type At = 'nothing' | 'header' | 'clear' | 'secure' | 'login' | 'loggedIn'
const SCRAM = `<auth xmlns='${SASL}' mechanism='SCRAM-SHA-256'>${Buffer.from('n,,n=romeo,r=abc').toString('base64')}</auth>`

async function at (s: Stage, state: At): Promise<Client> {
  if (state === 'loggedIn') return s.loggedIn()
  const client = s.connect({ secure: state === 'secure' || state === 'login' })
  if (state === 'header') await client.says('<?xml version')
  else if (state !== 'nothing') await client.opens()
  if (state === 'login') await client.says(SCRAM)
  client.forget()
  return client
}

const DRIPS: readonly (readonly [string, (i: number) => string])[] = [
  ['a stanza that never ends', i => i === 0 ? '<message><body>' : 'x'],
  ['an attribute that never ends', i => i === 0 ? "<message to='" : 'x'],
  ['a name that never ends', i => i === 0 ? '<' : 'x'],
  ['a CDATA section that never ends', i => i === 0 ? '<message><![CDATA[' : ']'],
  ['elements that never end', i => i === 0 ? '<message>' : '<a/>'],
  ['whitespace that never ends', () => ' '],
  ['nothing at all', () => ''],
]

for (const [what, drip] of DRIPS) {
  scene(`without a session, a client that sends ${what}, a byte a second, is disconnected when its time to negotiate is over`, {}, async (t, s) => {
    for (const state of ['nothing', 'header', 'clear', 'secure', 'login', 'loggedIn'] as const) {
      const client = await at(s, state)
      for (let second = 0; second < 30 && !client.isClosed; second++) {
        await client.says(state === 'nothing' || state === 'header' ? second === 0 && state === 'nothing' ? '<' : ' ' : drip(second))
        await s.pass(1000)
      }
      t.ok(client.isClosed, state)
      t.match(client.error, /^(?:connection-timeout|policy-violation|not-well-formed)$/, `${state}: ${client.error ?? ''}`)
    }
    t.equal(s.clock.timers, 0)
  })
}

scene('an endless stanza, at a byte a second, ends its stream at the limit; other clients notice nothing', { listener: { stanza: 12_000 } }, async (t, s) => {
  const other = await s.bound('balcony', { account: `juliet@${DOMAIN}` })
  const romeo = await s.bound('orchard')
  await romeo.says('<message><body>')
  const before = heapUsed()
  let seconds = 0
  while (!romeo.isClosed && seconds < 13_000) {
    romeo.transport.write('x')
    await new Promise(resolve => { process.nextTick(resolve) })
    s.clock.pass(1000)
    if (++seconds % 1000 === 0) await s.settled()
  }
  await s.settled()
  t.equal(romeo.error, 'policy-violation')
  t.ok(seconds > 11_000 && seconds < 12_100, `after ${seconds} seconds`)
  t.ok(heapUsed() - before < 50_000_000)
  t.ok(other.heard.trim() === '', 'only spaces')
})

const TOO_MUCH: readonly (readonly [string, string])[] = [
  ['10,001 bytes', `<iq type='set' id='1'><a xmlns='urn:x'>${'x'.repeat(9_960)}</a></iq>`],
  ['an attribute of 10,001 bytes', `<a xmlns='urn:x' b='${'x'.repeat(10_001)}'/>`],
  ['a header of 10,001 bytes', `<stream:stream a='${'x'.repeat(10_001)}'`],
  ['65 elements', `<a xmlns='urn:x'>${'<b/>'.repeat(64)}</a>`],
  ['17 levels', `<a xmlns='urn:x'>${'<b>'.repeat(16)}${'</b>'.repeat(16)}</a>`],
  ['33 attributes', `<a ${Array.from({ length: 33 }, (_, i) => `a${i}=''`).join(' ')}/>`],
  ['33 prefixes', `<a ${Array.from({ length: 33 }, (_, i) => `xmlns:a${i}='urn:${i}'`).join(' ')}/>`],
  ['a name of 257 bytes', `<${'x'.repeat(257)} xmlns='urn:x'/>`],
]
for (const [what, text] of TOO_MUCH) {
  scene(`before login, ${what} exceed a limit`, {}, async (t, s) => {
    for (const state of what.startsWith('a header') ? ['nothing'] as const : ['clear', 'secure', 'login'] as const) {
      const client = await at(s, state)
      await client.says(text)
      t.equal(client.error, 'policy-violation', state)
      t.ok(client.isClosed)
    }
  })
}

// ---- Guessing -----------------------------------------------------------------------------------

/** Makes one guess. */
async function guess (s: Stage, client: Client): Promise<void> {
  await client.opens()
  await client.says(auth('PLAIN', '\0romeo\0wrong'))
}

scene('many connections guess no faster than one', { limits: { connections: 1000 }, authentication: { attempts: 100 } }, async (t, s) => {
  const clients = Array.from({ length: 60 }, () => s.connect({ secure: true, address: '198.51.100.7' }))
  for (const client of clients) await guess(s, client)
  const looked = (): number => s.logged('login failed').length
  await until(s, () => looked() >= 8)
  t.ok(looked() <= 10, `${looked()} guesses at once`)
  for (let second = 0; second < 29; second++) {
    await s.pass(1000)
    await threads()
    await s.settled()
  }
  t.ok(looked() <= 16, `${looked()} guesses in half a minute`)
  const owner = s.connect({ secure: true, address: '203.0.113.9' })
  await owner.opens()
  await owner.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await owner.until('<success')
  t.pass('the owner, elsewhere, is let in at once')
})

scene('an aborted attempt leaves its place to the next', {}, async (t, s) => {
  for (let round = 0; round < 20; round++) {
    const client = s.connect({ secure: true })
    await client.opens()
    await client.says(SCRAM)
    t.match(client.heard, /<challenge/)
    client.transport.destroy()
    await s.settled()
  }
  const client = s.connect({ secure: true })
  await client.opens()
  await client.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await client.until('<success')
})

async function threads (): Promise<void> {
  for (let turn = 0; turn < 300; turn++) await new Promise(resolve => { setImmediate(resolve) })
}

/** Waits until something is so, or for a while: what is checked after it holds at any time. */
async function until (s: Stage, done: () => boolean): Promise<void> {
  for (let turn = 0; turn < 20_000 && !done(); turn++) await new Promise(resolve => { setImmediate(resolve) })
  await threads()
  await s.settled()
}

// ---- Incomplete logins --------------------------------------------------------------------------

const MECHANISMS = ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-512', 'SCRAM-SHA-224', 'EXTERNAL', 'ANONYMOUS', 'DIGEST-MD5', 'plain', 'PLAIN ', '', '__proto__', 'x'.repeat(9000)]
scene('a mechanism that was not offered is refused, known or not', { authentication: { mechanisms: ['PLAIN', 'SCRAM-SHA-256', 'EXTERNAL'], attempts: 100 } }, async (t, s) => {
  for (const mechanism of MECHANISMS) {
    const client = s.connect({ secure: true })
    await client.opens()
    client.forget()
    await client.says(auth(mechanism, mechanism.startsWith('SCRAM') ? 'n,,n=romeo,r=x' : `\0romeo\0${PASSWORD}`))
    t.match(client.heard, /<failure[^>]*><invalid-mechanism/, mechanism.slice(0, 20))
    t.notOk(client.isClosed)
  }
})

scene('a restarted stream may have another language, and nothing else may change', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.says(header(DOMAIN, "xml:lang='it'"))
  await client.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await client.until('<success')
  await client.says(header(DOMAIN, "xml:lang='de'"))
  t.equal(client.stream.lang, 'de')
  await client.says(bind('orchard'))
  await client.until('</iq>')
  await client.says(header())
  t.ok(client.isClosed, 'a stream with a session does not restart')
})

for (const [what, error] of [['a defect', new Error('out of order')], ['a refusal', new StanzaError('resource-constraint')]] as const) {
  scene(`${what} in a module while a session is bound leaves no session`, {}, async (t: Test, s: Stage) => {
    const off = s.host.hooks.on(sessionBound, () => Promise.reject(error), 'record', 'a test')
    if (!(error instanceof StanzaError)) s.expected.push('defect')
    const client = await s.loggedIn()
    await client.says(bind('orchard'))
    t.equal(s.host.sessions.count, 0)
    if (error instanceof StanzaError) {
      t.match(client.heard, /<resource-constraint/)
      off()
      await client.says(bind('orchard'))
      await client.until('<jid>')
      t.equal(s.host.sessions.count, 1, 'the client may ask again')
    } else {
      t.equal(client.error, 'internal-server-error')
      t.notMatch(client.heard, /out of order/)
    }
  })
}

scene('data after the end of a stream is ignored', {}, async (t, s) => {
  const romeo = await s.bound('orchard')
  const juliet = await s.bound('balcony', { account: `juliet@${DOMAIN}` })
  await romeo.says(`</stream:stream><message to='juliet@${DOMAIN}/balcony'><body>x</body></message>${header()}`)
  t.ok(romeo.isClosed)
  t.equal(juliet.heard, '')
})
