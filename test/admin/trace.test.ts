/** `sestina trace`: what an operator sees of the stanzas of one address, and what never. */
import { createConnection, type Socket } from 'node:net'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { withoutSecrets } from '../../lib/admin/redact.js'
import { serveAdmin } from '../../lib/admin/socket.js'
import { WaitingSteps } from '../../lib/admin/trace.js'
import type { Operator, Report, TracedStep } from '../../lib/admin/talk.js'
import { defineModule, messageArriving } from '../../lib/api.js'
import { silent } from '../../lib/base/logger.js'
import { parseElement } from '../../lib/xml/parse-element.js'
import { scenario, startServer, type Scenario } from '../scenario.js'
import { asks, pathFor, worldOf } from './world.js'

const ROMEO = 'romeo@montague.lit'
const JULIET = 'juliet@capulet.lit'
const BENVOLIO = 'benvolio@montague.lit'
const MODULES = ['presence', 'message', 'offline', 'register', 'private']
const chat = (to: string, id = 'm1'): string => `<message to='${to}' type='chat' id='${id}'><body>a body of two lovers</body></message>`

/** The operator's end of a trace. */
class Reader implements Operator {
  gone = false
  readonly told: Report[] = []
  readonly #isSlow: boolean
  #taken: (() => void) | undefined

  /** A slow reader takes one report a call of `takes`. */
  constructor (isSlow = false) { this.#isSlow = isSlow }

  async tell (told: Report): Promise<void> {
    this.told.push(told)
    if (this.#isSlow) await new Promise<void>(resolve => { this.#taken = resolve })
  }

  takes (): void { this.#taken?.() }
  get steps (): readonly TracedStep[] { return this.told.filter(told => told.kind === 'step') }
  /** All that was told, as the socket carries it. */
  get text (): string { return JSON.stringify(this.told) }
}

interface Traced { readonly reader: Reader, readonly ended: Promise<unknown>, end (): Promise<void> }

/** Starts a trace, which ends with the test. */
async function traced (s: Scenario, args: readonly string[], reader = new Reader()): Promise<Traced> {
  const ended = asks(s.server, 'trace', args, { talk: reader })
  await s.settled()
  return {
    reader, ended,
    end: async () => {
      reader.gone = true
      reader.takes()
      s.clock.pass(1000)
      await ended
    },
  }
}

t.test('a trace shows each step of the stanzas from and to one account, without content, and no others', async t => {
  const s = await scenario(t, { modules: MODULES })
  const [romeo, juliet, benvolio] = [await s.device(`${ROMEO}/orchard`), await s.device(`${JULIET}/balcony`), await s.device(`${BENVOLIO}/street`)]
  const { reader, end } = await traced(s, [JULIET])
  await romeo.says(chat(JULIET))
  await benvolio.says(chat(ROMEO, 'other'))
  await juliet.says(chat(ROMEO, 'm2'))
  await end()
  t.match(reader.told[0], { kind: 'note', text: `tracing ${JULIET}; end with Ctrl-C` })
  const [first] = reader.steps
  t.match(first, { step: 'checkFrom', outcome: 'next', at: /^2\d{3}-.*Z$/, passed: 0, stanza: { kind: 'message', type: 'chat', id: 'm1', from: `${ROMEO}/orchard`, to: JULIET, holds: 'body' } })
  t.same(reader.steps.flatMap(({ stanza }) => stanza === undefined ? [] : [stanza.id]), ['m1', 'm2'])
  t.match(reader.steps.filter(({ step }) => step === 'deliverMessage').map(({ outcome, reason }) => `${outcome} ${String(reason)}`),
    [`delivered ${JULIET}/balcony`, `delivered ${ROMEO}/orchard`])
  t.equal(reader.steps.at(-1)?.step, 'commit')
  t.notMatch(reader.text, 'a body of two lovers')
})

t.test('a trace of a device shows that device, and a trace of a host what is for the host itself', async t => {
  const s = await scenario(t, { modules: MODULES })
  const [orchard, street] = [await s.device(`${ROMEO}/orchard`), await s.device(`${ROMEO}/street`)]
  const one = await traced(s, [`${ROMEO}/orchard`])
  const host = await traced(s, ['montague.lit'])
  await orchard.says(chat(JULIET, 'from-orchard'))
  await street.says(chat(JULIET, 'from-street'), "<iq type='get' to='montague.lit' id='for-host'><query xmlns='jabber:iq:register'/></iq>")
  await one.end()
  await host.end()
  const ids = ({ reader }: Traced): unknown => reader.steps.flatMap(({ stanza }) => stanza?.id ?? [])
  t.same([ids(one), ids(host)], [['from-orchard'], ['for-host']])
})

t.test('a trace of an entity shows what comes for it, also before it exists', async t => {
  const silentService = defineModule({ name: 'silent-service', at: 'services', setup () {} })
  const s = await scenario(t, { modules: MODULES, services: { 'rooms.capulet.lit': [silentService] } })
  const juliet = await s.device(`${JULIET}/balcony`)
  const { reader, end } = await traced(s, ['garden@rooms.capulet.lit'])
  await juliet.says(chat('garden@rooms.capulet.lit', 'for-it'), chat('other@rooms.capulet.lit', 'for-another'))
  await end()
  t.same(reader.steps.flatMap(({ stanza }) => stanza?.id ?? []), ['for-it'])
  t.equal(reader.steps.at(-1)?.outcome, 'refused')
})

t.test('with --bodies the content is shown, but no registration, login, command or password', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device(`${ROMEO}/orchard`)
  await s.device(`${JULIET}/balcony`)
  const { reader, end } = await traced(s, [ROMEO, '--bodies'])
  await romeo.says(
    chat(JULIET),
    `<iq type='set' to='capulet.lit' id='1'><query xmlns='jabber:iq:register'><username>romeo</username><password>my-new-password</password></query></iq>`,
    `<iq type='set' to='montague.lit' id='2'><query xmlns='jabber:iq:auth'><username>romeo</username><digest>the-digest-of-it</digest></query></iq>`,
    `<iq type='set' to='montague.lit' id='3'><command xmlns='http://jabber.org/protocol/commands' node='http://jabber.org/protocol/admin#change-user-password' action='execute'>` +
      `<x xmlns='jabber:x:data' type='submit'><field var='password'><value>her-new-password</value></field></x></command></iq>`,
    `<iq type='set' id='4'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'><conference jid='a@b' name='shown'><password>the-room-password</password></conference></storage></query></iq>`,
    `<message to='${JULIET}'><x xmlns='jabber:x:conference' jid='a@b' password='an-invitation-password'/></message>`,
    `<message to='${JULIET}'><x xmlns='jabber:x:data' type='submit'><field type='text-private' var='x'><value>a-private-value</value></field><field var='secret'><value>a-push-secret</value></field></x></message>`,
    `<message to='${JULIET}'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><x xmlns='http://jabber.org/protocol/muc'><password>a-deep-password</password></x></message></forwarded></message>`,
  )
  await end()
  t.match(reader.steps[0]?.stanza?.content, /^<message .*<body>a body of two lovers<\/body><\/message>$/)
  t.match(reader.text, 'name=\\"shown\\"')
  t.match(reader.text, 'admin#change-user-password', 'which command it is, is no secret')
  t.match(reader.text, '[not shown]')
  for (const secret of ['my-new-password', 'the-digest-of-it', 'her-new-password', 'the-room-password', 'an-invitation-password', 'a-private-value', 'a-push-secret', 'a-deep-password']) {
    t.notMatch(reader.text, secret)
  }
})

t.test('secrets are hidden at any depth, and nothing else changes', async t => {
  const shown = (xml: string): string => withoutSecrets(parseElement(xml)).toString()
  for (const [given, wanted] of [
    ["<a xmlns='urn:x' b='1' xml:lang='en'>text<c>deep</c></a>", '<a xmlns="urn:x" b="1" xml:lang="en">text<c xmlns="urn:x">deep</c></a>'],
    ["<error xmlns='jabber:client'><query xmlns='jabber:iq:register' k='v'><a/></query></error>", '<error xmlns="jabber:client"><query xmlns="jabber:iq:register">[not shown]</query></error>'],
    ["<a xmlns='urn:x' token='t' password='p'/>", '<a xmlns="urn:x" token="[not shown]" password="[not shown]"/>'],
    ["<put xmlns='urn:xmpp:http:upload:0'><header name='Authorization'>Basic x</header></put>",
      '<put xmlns="urn:xmpp:http:upload:0"><header xmlns="urn:xmpp:http:upload:0" name="Authorization">[not shown]</header></put>'],
    ["<slot xmlns='urn:xmpp:http:upload:0'><put url='https://up.lit/1?sig=x'><header name='Expires'>1</header></put><get url='https://up.lit/1'/></slot>",
      '<slot xmlns="urn:xmpp:http:upload:0"><put xmlns="urn:xmpp:http:upload:0" url="[not shown]"><header xmlns="urn:xmpp:http:upload:0" name="Expires">1</header></put>' +
      '<get xmlns="urn:xmpp:http:upload:0" url="https://up.lit/1"/></slot>'],
    ["<slot xmlns='urn:xmpp:http:upload'><put>https://up.lit/1?sig=x</put></slot>",
      '<slot xmlns="urn:xmpp:http:upload"><put xmlns="urn:xmpp:http:upload">[not shown]</put></slot>'],
    ["<iq xmlns='jabber:client'><query xmlns='jabber:iq:gateway'><prompt>1234</prompt></query></iq>",
      '<iq xmlns="jabber:client"><query xmlns="jabber:iq:gateway">[not shown]</query></iq>'],
    ["<message xmlns='jabber:client'><body xml:lang='en'>The id is a7374</body><thread>t</thread><confirm xmlns='http://jabber.org/protocol/http-auth' id='a7374' method='GET' url='https://a.lit/b'/></message>",
      '<message xmlns="jabber:client"><body xmlns="jabber:client" xml:lang="en">[not shown]</body><thread xmlns="jabber:client">t</thread>' +
      '<confirm xmlns="http://jabber.org/protocol/http-auth" method="GET">[not shown]</confirm></message>'],
    ["<x xmlns='jabber:x:data' type='result'><reported><field var='a' type='text-private'/><field var='b' type='text-single'/></reported>" +
      "<item><field var='a'><value>1</value></field><field var='b'><value>2</value></field></item></x>",
    '<x xmlns="jabber:x:data" type="result"><reported xmlns="jabber:x:data"><field xmlns="jabber:x:data" var="a" type="text-private">[not shown]</field>' +
      '<field xmlns="jabber:x:data" var="b" type="text-single"/></reported><item xmlns="jabber:x:data"><field xmlns="jabber:x:data" var="a">[not shown]</field>' +
      '<field xmlns="jabber:x:data" var="b"><value xmlns="jabber:x:data">2</value></field></item></x>'],
    ["<a xmlns='urn:x' pin='1' pinned='2' monkey='3'><pwd>4</pwd><pin>5</pin><key>6</key><api-key>7</api-key><keys>8</keys></a>",
      '<a xmlns="urn:x" pin="[not shown]" pinned="2" monkey="3"><pwd xmlns="urn:x">[not shown]</pwd><pin xmlns="urn:x">[not shown]</pin><key xmlns="urn:x">[not shown]</key>' +
      '<api-key xmlns="urn:x">[not shown]</api-key><keys xmlns="urn:x">8</keys></a>'],
  ] as const) t.equal(shown(given), wanted)
})

t.test('an address of nobody is refused, and so is a ninth trace', async t => {
  const s = await scenario(t, { modules: MODULES })
  await s.account(ROMEO)
  await t.rejects(asks(s.server, 'trace', []), /an address is missing/)
  await t.rejects(asks(s.server, 'trace', ['nobody@montague.lit']), /there is no nobody@montague.lit/)
  await t.rejects(asks(s.server, 'trace', ['a@elsewhere.lit']), /elsewhere.lit is not a host of this server/)
  const eight = await Promise.all(Array.from({ length: 8 }, () => traced(s, [ROMEO])))
  await t.rejects(asks(s.server, 'trace', [ROMEO]), /8 traces are running already/)
  for (const one of eight) await one.end()
  t.equal(s.server.pipeline.watch.readers, 0)
  t.equal(s.server.pipeline.watch.isOn, true, 'the log still is at the level debug')
})

t.test('a slow reader costs no memory: steps are lost, counted, and told where they are missing', async t => {
  const waiting = new WaitingSteps()
  let made = 0
  const add = (step: string): void => {
    waiting.add(() => { made++; return { kind: 'step', number: 1, at: '', passed: 0, step, outcome: 'next' } })
  }
  for (let i = 0; i < 5000; i++) add(String(i))
  t.equal(made, 1000, 'a step that is lost is not even made')
  for (let i = 0; i < 10; i++) t.match(waiting.take(), { step: String(i) })
  add('after')
  const told: (Report | undefined)[] = []
  for (let next = waiting.take(); next !== undefined; next = waiting.take()) told.push(next)
  t.match(told.slice(-2), [{ kind: 'lost', steps: 4000 }, { step: 'after' }])
  t.equal(told.length, 992)
  for (let i = 0; i < 2000; i++) add('x'.repeat(10_000))
  let [steps, lost] = [0, 0]
  for (let next = waiting.take(); next !== undefined; next = waiting.take()) {
    if (next.kind === 'lost') lost += next.steps
    else steps++
  }
  t.equal(steps + lost, 2000, 'a loss at the end is told too')
  t.ok(steps < 110, 'long steps are bounded by their characters')
})

t.test('a trace that starts while a stanza is on its way shows which stanza that is, and so does one after lost steps', async t => {
  let open = (): void => {}
  const gate = new Promise<void>(resolve => { open = resolve })
  const slow = defineModule({ name: 'slow', about: 'Has messages wait, for tests.', setup (host) { host.on(messageArriving, () => gate, 'screen') } })
  const s = await scenario(t, { modules: [...MODULES, slow] })
  const [romeo] = [await s.device(`${ROMEO}/orchard`), await s.device(`${JULIET}/balcony`)]
  const first = await traced(s, [JULIET])
  await romeo.says(chat(JULIET))
  const second = await traced(s, [JULIET])
  open()
  await s.settled()
  const heads = ({ reader }: Traced): unknown => reader.steps.map(({ stanza }) => stanza?.id)
  await first.end()
  await second.end()
  t.same((heads(first) as unknown[]).filter(id => id !== undefined), ['m1'])
  t.ok(second.reader.steps.length > 1)
  t.same(heads(second), ['m1', ...second.reader.steps.slice(1).map(() => undefined)])
})

t.test('a slow reader of a trace does not delay the stanzas', async t => {
  const s = await scenario(t, { modules: MODULES })
  const [romeo, juliet] = [await s.device(`${ROMEO}/orchard`), await s.device(`${JULIET}/balcony`)]
  const { reader, end } = await traced(s, [JULIET], new Reader(true))
  for (let i = 0; i < 200; i++) await romeo.says(chat(JULIET))
  t.equal(juliet.unread.length, 200)
  t.equal(reader.told.length, 1)
  await end()
})

t.test('a trace ends when its server stops', async t => {
  const s = await startServer({ modules: MODULES })
  await s.account(ROMEO)
  const { ended } = await traced(s, [ROMEO])
  await s.end()
  t.equal(await ended, 'the server stops')
})

// ---- Over the socket ------------------------------------------------------------------------------------------

async function asker (t: Test, path: string, address: string): Promise<Socket> {
  const socket = createConnection({ path, allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  socket.end(JSON.stringify({ command: 'trace', args: [address] }))
  return socket
}

t.test('a trace ends with its reader, also with one that reads nothing', async t => {
  const s = await startServer({ modules: MODULES })
  const romeo = await s.device(`${ROMEO}/orchard`)
  const path = pathFor(t)
  const admin = await serveAdmin(path, worldOf(s.server), silent)
  const { watch } = s.server.pipeline
  const first = await asker(t, path, ROMEO)
  await once(first.setEncoding('utf8'), 'data')
  t.equal(watch.readers, 1)
  first.destroy()
  // The server learns of it from its next write, which its clock makes after 5 s at the latest.
  while (watch.readers > 0) {
    await romeo.says(chat(ROMEO))
    s.clock.pass(1000)
    await new Promise(resolve => { setImmediate(resolve) })
  }
  const second = await asker(t, path, ROMEO)
  await once(second, 'data')
  second.pause()
  for (let i = 0; i < 500; i++) await romeo.says(chat(ROMEO))
  await s.end()
  const closed = admin.close()
  s.clock.pass(10_000)
  s.clock.pass(10_000)
  await closed
  while (watch.readers > 0) await new Promise(resolve => { setImmediate(resolve) })
  t.equal(s.clock.timers, 0)
})

t.test('with --bodies, an element in the namespace of the prefix xml is shown, and the stanza is delivered', async t => {
  const s = await scenario(t, { modules: MODULES })
  const [romeo, juliet] = [await s.device(`${ROMEO}/orchard`), await s.device(`${JULIET}/balcony`)]
  const { reader, end } = await traced(s, [JULIET, '--bodies'])
  await romeo.says(`<message to='${JULIET}' type='chat' id='xml'><body>x</body><xml:note xml:a='b'>n</xml:note></message>`)
  await romeo.says(chat(JULIET, 'next'))
  await end()
  t.match(reader.text, '<xml:note>n</xml:note>')
  await juliet.gets("<message id='xml'><body>x</body><xml:note xml:a='b'>n</xml:note></message>")
  await juliet.gets("<message id='next'><body>a body of two lovers</body></message>")
})
