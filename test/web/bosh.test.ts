/** Clients over BOSH (XEP-0124, XEP-0206), on real connections. */
import t, { type Test } from 'tap'
import type { AnyModule } from '../../lib/host/module.js'
import message from '../../modules/message.js'
import presence from '../../modules/presence/index.js'
import roster from '../../modules/roster/index.js'
import streamManagement from '../../modules/stream-management/index.js'
import { auth, bind, DOMAIN, openFrame, PASSWORD } from '../c2s/stage.js'
import { SM } from '../stanzas.js'
import { until, webStage, type Frames, type Wanted } from './stage.js'

const MODULES = [roster, presence, message, streamManagement] as unknown as readonly AnyModule[]
const BIND = 'http://jabber.org/protocol/httpbind'
const to = (address: string, text: string): string => `<message xmlns='jabber:client' to='${address}' type='chat'><body>${text}</body></message>`
const attribute = (text: string, name: string): string | undefined => new RegExp(`^<body [^>]*\\b${name}="([^"]*)"`).exec(text)?.[1]
const over = (condition?: string): RegExp => new RegExp(`^<body [^>]*type="terminate"${condition === undefined ? '' : ` condition="${condition}"`}`)

type Stage = Awaited<ReturnType<typeof webStage>>

interface Heard { readonly status: number, readonly body: string, readonly type: string | undefined }
interface Couple { readonly s: Stage, readonly romeo: Poster, readonly juliet: Frames }

/** A client of BOSH, which sends one request after the other unless a test wants it otherwise. */
class Poster {
  sid = ''
  rid = 1_000_000
  readonly #stage: Stage

  constructor (stage: Stage) { this.#stage = stage }

  async raw (body: string, headers: Record<string, string> = {}): Promise<Heard> {
    const { status, body: heard, headers: { 'content-type': type } } = await this.#stage.ask('/http-bind', { method: 'POST', body, headers })
    return { status, body: heard, type }
  }

  /** Sends a request with the next rid, or with a given one. */
  async posts (payload = '', more = '', rid = ++this.rid): Promise<string> {
    return (await this.raw(`<body rid='${rid}' sid='${this.sid}' ${more} xmlns='${BIND}'>${payload}</body>`)).body
  }

  async begins (more = "hold='1' wait='60' ver='1.6'"): Promise<string> {
    const { body } = await this.raw(`<body rid='${this.rid}' to='${DOMAIN}' ${more} xml:lang='en' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh' xmlns='${BIND}'/>`)
    this.sid = attribute(body, 'sid') ?? ''
    return body
  }

  /** Sends requests until a response matches. */
  async gets (wanted: RegExp, payload = '', more = ''): Promise<string> {
    let heard = await this.posts(payload, more)
    while (!wanted.test(heard)) heard = await this.posts()
    return heard
  }

  async restarts (): Promise<string> {
    return await this.gets(/features/, '', `to='${DOMAIN}' xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'`)
  }

  async logsIn (account = 'romeo', resource = 'orchard', more?: string): Promise<void> {
    await this.begins(more)
    await this.gets(/<success/, auth('PLAIN', `\0${account}\0${PASSWORD}`))
    await this.restarts()
    await this.gets(/<\/iq>/, bind(resource).replace('<iq ', "<iq xmlns='jabber:client' "))
  }
}

/** Sends a request that is held; resolves when the server has it. */
async function held (romeo: Poster, juliet: Frames): Promise<{ readonly answer: Promise<string> }> {
  const answer = romeo.posts(to(`juliet@${DOMAIN}/balcony`, 'held'))
  await juliet.gets(/held/)
  return { answer }
}

/** A stage with Romeo on BOSH and Juliet on a WebSocket. */
async function couple (t: Test, more?: string): Promise<Couple> {
  const s = await stage(t)
  const [romeo, juliet] = [new Poster(s), await s.webSocket()]
  await romeo.logsIn('romeo', 'orchard', more)
  await juliet.logsIn('juliet', 'balcony')
  return { s, romeo, juliet }
}

async function stage (t: Test, how: Wanted = {}): Promise<Stage> {
  return await webStage(t, { modules: MODULES, ...how, isProxied: true })
}

t.test('a client logs in, chats with one on a WebSocket, and ends its session', async t => {
  const s = await stage(t)
  const romeo = new Poster(s)
  const first = await romeo.begins("hold='1' wait='30' ver='1.6' ack='1'")
  t.match([attribute(first, 'requests'), attribute(first, 'hold'), attribute(first, 'wait'), attribute(first, 'ver'), attribute(first, 'ack'), attribute(first, 'from'), attribute(first, 'xmpp:version'), attribute(first, 'xmpp:restartlogic')],
    ['2', '1', '30', '1.6', String(romeo.rid), DOMAIN, '1.0', 'true'])
  t.match(first, /<stream:features xmlns:stream="http:\/\/etherx.jabber.org\/streams">.*SCRAM-SHA-256<.*<\/stream:features><\/body>$/)
  t.notMatch(first, /starttls|-PLUS/)
  t.ok((attribute(first, 'sid')?.length ?? 0) >= 16)
  await romeo.gets(/<success/, auth('PLAIN', `\0romeo\0${PASSWORD}`))
  t.match(await romeo.restarts(), /<bind /)
  await romeo.gets(/<iq xmlns="jabber:client".*<\/iq>/, bind('orchard').replace('<iq ', "<iq xmlns='jabber:client' "))
  const juliet = await s.webSocket()
  await juliet.logsIn('juliet', 'balcony')
  juliet.says(to(`romeo@${DOMAIN}/orchard`, 'one'))
  t.match(await romeo.gets(/one/), /^<body [^>]*><message xmlns="jabber:client" [^>]*><body>one<\/body><\/message><\/body>$/)
  const held = romeo.posts(to(`juliet@${DOMAIN}/balcony`, 'two') + to(`juliet@${DOMAIN}/balcony`, 'three'))
  await juliet.gets(/two.*three/)
  t.match(await romeo.posts("<presence type='unavailable' xmlns='jabber:client'/>", "type='terminate'"), /^<body xmlns="[^"]*"[^>]*><\/body>$/)
  t.match(await held, over(), 'the oldest request is told')
  t.notMatch(await held, 'condition')
  t.match(await romeo.posts(), over('item-not-found'))
  await until(() => s.listener.clients.counts.connections === 1)
})

t.test('a payload without a namespace of its own, and one with the prefix of the body, mean what they say', async t => {
  const s = await stage(t)
  const romeo = new Poster(s)
  await romeo.logsIn()
  t.match(await romeo.gets(/pong|result/, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>"), /id="r"/)
  const juliet = await s.webSocket()
  await juliet.logsIn('juliet', 'balcony')
  void romeo.raw(`<body rid='${++romeo.rid}' sid='${romeo.sid}' xmlns='${BIND}' xmlns:p='urn:example'>${to(`juliet@${DOMAIN}/balcony`, 'x').replace('</message>', '<p:a/></message>')}</body>`)
  t.match(await juliet.gets(/<\/message>/), /xmlns:p="urn:example".*<p:a\/>/)
})

t.test('requests are handed over in the order of their rids, whatever the order in which they come', async t => {
  const s = await stage(t)
  const romeo = new Poster(s)
  await romeo.logsIn('romeo', 'orchard', "hold='2' wait='60' ver='1.6'")
  const juliet = await s.webSocket()
  await juliet.logsIn('juliet', 'balcony')
  const rid = romeo.rid
  const later = romeo.posts(to(`juliet@${DOMAIN}/balcony`, 'second'), '', rid + 2)
  await s.s.settled()
  t.equal(juliet.heard, '')
  const sooner = romeo.posts(to(`juliet@${DOMAIN}/balcony`, 'first'), '', rid + 1)
  t.match(await juliet.gets(/first.*second/), /first.*second/)
  romeo.rid = rid + 2
  const third = romeo.posts(to(`romeo@${DOMAIN}/orchard`, 'back'))
  t.match(await Promise.race([sooner, later, third]), /back/)
  t.match(await sooner, /back/, 'the oldest request is answered first')
})

t.test('a request beyond the window ends the session, and so does one whose response is forgotten', async t => {
  const s = await stage(t)
  const far = new Poster(s)
  await far.begins()
  t.match(await far.posts('', '', far.rid + 3), over('item-not-found'))
  t.match(await far.posts(), over('item-not-found'))
  const old = new Poster(s)
  await old.logsIn()
  t.match(await old.posts("<iq type='get' id='r' xmlns='jabber:client'><query xmlns='jabber:iq:roster'/></iq>"), /id="r"/)
  t.match(await old.posts('', '', 1_000_001), over('item-not-found'))
})

t.test('a response that was lost is sent again, and its request has its effect once', async t => {
  const s = await stage(t)
  const romeo = new Poster(s)
  await romeo.logsIn()
  const juliet = await s.webSocket()
  await juliet.logsIn('juliet', 'balcony')
  const echo = to(`romeo@${DOMAIN}/orchard`, 'echo') + to(`juliet@${DOMAIN}/balcony`, 'once')
  const first = await romeo.posts(echo)
  t.match(first, 'echo')
  t.equal(await romeo.posts(echo, '', romeo.rid), first)
  await juliet.gets(/once/)
  await s.s.settled()
  t.equal(juliet.heard, '')
})

t.test('a request that is repeated while it is held is answered there, and the former one with an error', async t => {
  const { romeo, juliet } = await couple(t)
  const { answer: former } = await held(romeo, juliet)
  const latter = romeo.posts(to(`juliet@${DOMAIN}/balcony`, 'held'), '', romeo.rid)
  t.match(await former, /^<body [^>]*type="error"/)
  juliet.says(to(`romeo@${DOMAIN}/orchard`, 'late'))
  t.match(await latter, 'late')
  t.notMatch(juliet.heard, 'held', 'the request has its effect once')
})

t.test('a request is held until its time is over, and a further one lets the oldest go', async t => {
  const { s, romeo, juliet } = await couple(t, "hold='1' wait='20' ver='1.6'")
  let isAnswered = false
  const { answer } = await held(romeo, juliet)
  void answer.then(() => { isAnswered = true })
  await s.s.pass(19_000)
  t.notOk(isAnswered)
  await s.s.pass(1000)
  t.match(await answer, /^<body [^>]*><\/body>$/)
  const { answer: next } = await held(romeo, juliet)
  void romeo.posts()
  t.match(await next, /^<body [^>]*><\/body>$/)
})

t.test('a client without a request here for too long is gone, and its session can be resumed over TCP frames', async t => {
  const s = await stage(t)
  const romeo = new Poster(s)
  await romeo.logsIn()
  const enabled = await romeo.gets(/<enabled/, `<enable ${SM} resume='true'/>`)
  const id = /<enabled [^>]*\bid="([^"]+)"/.exec(enabled)?.[1] ?? ''
  await s.s.pass(61_000)
  t.match(await romeo.posts(), over('item-not-found'))
  const juliet = await s.webSocket()
  await juliet.logsIn('juliet', 'balcony')
  juliet.says(to(`romeo@${DOMAIN}/orchard`, 'meanwhile'))
  await s.s.settled()
  const again = await s.webSocket()
  again.says(openFrame())
  await again.gets(/features>/)
  again.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await again.gets(/<success/)
  again.says(openFrame())
  again.says(`<resume ${SM} previd='${id}' h='0'/>`)
  t.match(await again.gets(/meanwhile/), /<resumed /)
})

t.test('a pause lets all requests go without payloads, and the client may be silent for longer', async t => {
  const { s, romeo, juliet } = await couple(t)
  const { answer } = await held(romeo, juliet)
  t.match(await romeo.posts('', "pause='100'"), /^<body [^>]*><\/body>$/)
  t.match(await answer, /^<body [^>]*><\/body>$/)
  await s.s.pass(95_000)
  t.match(await romeo.posts(to(`romeo@${DOMAIN}/orchard`, 'here')), 'here')
  await s.s.pass(61_000)
  t.match(await romeo.posts(), over('item-not-found'), 'the next request ended the pause')
})

t.test('a client that polls may do so only so often as it was told', async t => {
  const s = await stage(t)
  const romeo = new Poster(s)
  t.match(await romeo.begins("hold='0' wait='0' ver='1.6'"), /polling="2"/)
  t.match(await romeo.posts(), /^<body [^>]*><\/body>$/)
  await s.s.pass(2000)
  t.match(await romeo.posts(), /^<body [^>]*><\/body>$/)
  await s.s.pass(1999)
  t.match(await romeo.posts(), over('policy-violation'))
})

t.test('too many requests at a time end the session', async t => {
  const s = await stage(t)
  const romeo = new Poster(s)
  await romeo.begins("hold='1' wait='60' ver='1.6'")
  const rid = romeo.rid
  // Two requests wait for one that does not come, so nothing is handed over.
  void romeo.posts('', '', rid + 2)
  t.match(await Promise.race([romeo.posts('', '', rid + 3), romeo.posts('', '', rid + 4)]), over())
})

t.test('acknowledgements say which requests have come, and a response that may be lost is reported', async t => {
  const { s, romeo, juliet } = await couple(t, "hold='1' wait='60' ver='1.6' ack='1'")
  const { answer: first } = await held(romeo, juliet)
  const { answer: second } = await held(romeo, juliet)
  t.equal(attribute(await first, 'ack'), String(romeo.rid))
  await s.s.pass(3000)
  void romeo.posts('', `ack='${romeo.rid - 2}'`)
  t.match(await second, new RegExp(`report="${romeo.rid - 2}" time="3000"`))
})

t.test('a stream error ends the session, and is in its last body', async t => {
  const s = await stage(t)
  const romeo = new Poster(s)
  await romeo.logsIn()
  const heard = await romeo.gets(/terminate/, "<x:y xmlns:x='urn:example'/><stream:x xmlns:stream='http://etherx.jabber.org/streams'/>")
  t.match(heard, /type="terminate" condition="remote-stream-error".*<stream:error xmlns:stream="[^"]*">.*<\/stream:error><\/body>$/)
})

for (const [title, body] of [
  ['no XML', 'nonsense'],
  ['half a start tag', `<body rid='1' xmlns='${BIND}'`],
  ['another root', "<html xmlns='http://www.w3.org/1999/xhtml'/>"],
  ['a body of another namespace', "<body rid='1' xmlns='urn:example'/>"],
  ['no rid', `<body to='${DOMAIN}' ver='1.6' xmlns='${BIND}'/>`],
  ['a rid that is too large', `<body rid='9007199254740993' to='${DOMAIN}' ver='1.6' xmlns='${BIND}'/>`],
  ['a document type', `<!DOCTYPE body><body rid='1' ver='1.6' xmlns='${BIND}'/>`],
] as const) {
  t.test(`${title} is a bad request`, async t => {
    const { status, body: heard } = await new Poster(await stage(t)).raw(body)
    t.equal(status, 200)
    t.match(heard, over('bad-request'))
  })
}

t.test('half a body, text between payloads, and an unknown host end the stream with its error', async t => {
  const s = await stage(t)
  for (const payload of ["<iq xmlns='jabber:client'>", 'text', '</body>']) {
    const romeo = new Poster(s)
    await romeo.logsIn()
    t.match(await romeo.posts(payload === '</body>' ? '<a xmlns="urn:example">' : payload), over('remote-stream-error'), payload)
  }
  const stranger = new Poster(s)
  t.match((await stranger.raw(`<body rid='7' to='nowhere.lit' ver='1.6' xmlns='${BIND}'/>`)).body, /condition="remote-stream-error".*<host-unknown /)
})

t.test('a client that knows no conditions gets codes of HTTP, and the type that it can read', async t => {
  const s = await stage(t)
  const old = new Poster(s)
  const { body, type } = await old.raw(`<body rid='1' to='${DOMAIN}' wait='60' hold='1' content='text/plain; charset=utf-8' xmlns='${BIND}'/>`)
  t.equal(type, 'text/plain; charset=utf-8')
  old.sid = attribute(body, 'sid') ?? ''
  old.rid = 1
  t.equal((await old.raw(`<body rid='99' sid='${old.sid}' xmlns='${BIND}'/>`)).status, 404)
  const odd = await new Poster(s).raw(`<body rid='1' to='${DOMAIN}' wait='60' hold='1' ver='1.6' content='text/html' xmlns='${BIND}'/>`)
  t.equal(odd.type, 'text/xml; charset=utf-8', 'no type in which a script could run')
})

t.test('a session that began within TLS does not go on without it', async t => {
  const s = await stage(t)
  const romeo = new Poster(s)
  await romeo.begins()
  const { body } = await romeo.raw(`<body rid='${romeo.rid + 1}' sid='${romeo.sid}' xmlns='${BIND}'/>`, { 'x-forwarded-proto': 'http' })
  t.match(body, over('item-not-found'))
})

t.test('sessions are counted by the addresses of their clients', async t => {
  const s = await stage(t, { limits: { connections: 2 } })
  for (const wanted of [/<stream:features/, /<stream:features/, over('policy-violation')]) t.match(await new Poster(s).begins(), wanted)
})

t.test('a client that asks for much and takes nothing keeps no more than a session may', async t => {
  const s = await stage(t, { web: { rate: 100_000_000 } })
  const romeo = new Poster(s)
  await romeo.logsIn()
  const juliet = await s.webSocket()
  await juliet.logsIn('juliet', 'balcony')
  const big = 'x'.repeat(200_000)
  for (let n = 0; n < 60 && s.listener.clients.counts.established === 2; n++) {
    juliet.says(to(`romeo@${DOMAIN}/orchard`, big))
    await s.s.settled()
  }
  await until(() => s.listener.clients.counts.established === 1)
  t.match(await romeo.posts(), over())
})

t.test('at a stop, the held request is told', async t => {
  const { s, romeo, juliet } = await couple(t)
  const { answer } = await held(romeo, juliet)
  const closed = s.listener.close()
  t.match(await answer, over('remote-stream-error'))
  t.match(await answer, '<system-shutdown ')
  await closed
})

t.test('before login the rest of a long body is not read', async t => {
  const stage = await webStage(t, { modules: MODULES, web: { tls: 'none' } })
  const guest = new Poster(stage)
  await guest.begins()
  for (const sid of [`sid='${guest.sid}' `, '', "sid='unknown' "]) {
    const line = await stage.line()
    line.says(`POST /http-bind HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n<body rid='${guest.rid + 1}' ${sid}xmlns='${BIND}'><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>${'x'.repeat(5000)}`)
    t.match(await line.end(), /Connection: close[^]*condition="policy-violation"/i, sid)
  }
})
