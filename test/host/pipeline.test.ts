/** The way of a stanza: its steps, one settlement at the end, and what the log and a reader see of it. */
import t from 'tap'
import { defineModule, messageArriving, messageSent, StreamError } from '../../lib/api.js'
import { ReleaseOrder } from '../../lib/host/order.js'
import { takeFromServer } from '../../lib/host/pipeline/entry.js'
import type { ServerHome } from '../../lib/host/pipeline/from-server.js'
import { handled, NEXT, Passage, type Outcome, type Step } from '../../lib/host/pipeline/passage.js'
import type { Sighting } from '../../lib/host/pipeline/watch.js'
import { StanzaError } from '../../lib/xmpp/errors.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import { scenario, type Scenario } from '../scenario.js'

const ROMEO = 'romeo@montague.lit'
const JULIET = 'juliet@capulet.lit'
const MODULES = ['presence', 'roster', 'message', 'offline', 'blocking', 'disco']

/** Returns the steps that the log has of each stanza since `from`: its steps with their outcomes and reasons. */
function waysIn (s: Scenario, from = 0): ReadonlyMap<unknown, readonly string[]> {
  const ways = new Map<unknown, string[]>()
  for (const { event, level, fields } of s.lines.slice(from)) {
    if (event !== 'stanza step') continue
    if (level !== 'debug') throw new Error(`a step was logged at level ${level}`)
    const { number, step, outcome, reason } = fields
    const line = [step, outcome, ...reason === undefined ? [] : [reason]].map(String).join(' ')
    ways.set(number, [...ways.get(number) ?? [], line])
  }
  return ways
}

const wayAfter = async (s: Scenario, act: () => Promise<void>): Promise<readonly string[]> => {
  const from = s.lines.length
  await act()
  return [...waysIn(s, from).values()][0] ?? []
}

t.test('at the level debug, the log has one line for each step of a delivered message, with its addresses once', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device(`${ROMEO}/orchard`)
  const juliet = await s.device(`${JULIET}/balcony`)
  const from = s.lines.length
  await romeo.says(`<message to='${JULIET}' type='chat' id='m1'><body>a body that no line holds</body></message>`)
  await juliet.gets("<message id='m1'/>")
  t.same([...waysIn(s, from).values()], [[
    'checkFrom next', 'addLanguage next', 'checkTo next', 'dropForged next', 'fireMessageSent next', 'route to host capulet.lit',
    'serve next', 'awaitTurn next', 'mustExist next', 'fireMessageArriving next', 'fireMessageAddressed next',
    `deliverMessage delivered ${JULIET}/balcony`, 'commit stored delivered',
  ]])
  const named = s.lines.slice(from).filter(({ event, fields }) => event === 'stanza step' && 'from' in fields)
  t.match(named.map(({ fields }) => fields), [{ step: 'checkFrom', kind: 'message', type: 'chat', id: 'm1', from: `${ROMEO}/orchard`, to: JULIET }])
})

t.test('a stanza that is refused has a line with the reason and the module that refused it', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device(`${ROMEO}/orchard`)
  const juliet = await s.device(`${JULIET}/balcony`)
  await juliet.asks(`<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='${ROMEO}'/></block></iq>`)
  const blocked = await wayAfter(s, () => romeo.says(`<message to='${JULIET}' type='chat' id='m'><body>!</body></message>`))
  t.equal(blocked.at(-1), 'fireMessageArriving refused service-unavailable by blocking (messageArriving, screen)')
  const malformed = await wayAfter(s, () => romeo.says("<message to='@' type='chat' id='m'/>"))
  t.equal(malformed.at(-1), 'checkTo refused jid-malformed')
  const unknown = await wayAfter(s, () => romeo.says("<iq type='get' to='capulet.lit' id='x'><x xmlns='urn:nobody:knows'/></iq>"))
  t.equal(unknown.at(-1), 'findHostHandler refused service-unavailable')
  const known = await wayAfter(s, () => romeo.says("<iq type='get' to='capulet.lit' id='d'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"))
  t.same(known.slice(-2), ['answer answered', 'commit stored answered'])
})

t.test('a stanza that needs nothing more says who handled it', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device(`${ROMEO}/orchard`)
  await s.account(JULIET)
  const own = await wayAfter(s, () => romeo.says('<presence><show>away</show></presence>'))
  t.same(own.slice(-2), ['firePresenceSent handled presence (presenceSent, act)', 'commit stored handled'])
  const kept = await wayAfter(s, () => romeo.says(`<message to='${JULIET}' type='chat'><body>!</body></message>`))
  t.same(kept.slice(-2), ['deliverMessage kept', 'commit stored kept'])
  const error = await wayAfter(s, () => romeo.says("<message to='nobody@capulet.lit' type='error'><body>!</body></message>"))
  t.same(error.slice(-2), ['mustExist handled there is no such account', 'commit stored handled'])
})

t.test('below the level debug, and without a reader, no step is seen', async t => {
  const s = await scenario(t, { modules: MODULES, debug: false })
  const romeo = await s.device(`${ROMEO}/orchard`)
  t.equal(s.server.pipeline.watch.isOn, false)
  await romeo.says(`<message to='${JULIET}' type='chat'><body>!</body></message>`)
  t.same([...waysIn(s)], [])
})

t.test('an error of a reader is logged, and changes nothing on the way of the stanza', async t => {
  const s = await scenario(t, { modules: MODULES, debug: false })
  const [romeo, juliet] = [await s.device(`${ROMEO}/orchard`), await s.device(`${JULIET}/balcony`)]
  s.expectedErrors.push(['step not shown', 'Error: a fault of the reader'])
  let steps = 0
  t.teardown(s.server.pipeline.watch.read({
    see () { if (steps++ === 0) throw new Error('a fault of the reader') },
    ended () {},
  }))
  await romeo.says(`<message to='${JULIET}' type='chat' id='seen'><body>!</body></message>`)
  await juliet.gets("<message id='seen' type='chat'><body>!</body></message>")
})

t.test('an error without a StanzaError says nothing of the inside in the trace, and answers internal-server-error', async t => {
  const module = defineModule({ name: 'fault', setup: host => { host.on(messageSent, () => { throw new Error('a detail of the inside') }) } })
  const s = await scenario(t, { modules: [...MODULES, module] })
  s.expectedErrors.push(['stanza failed', 'Error: a detail of the inside'])
  const romeo = await s.device(`${ROMEO}/orchard`)
  const way = await wayAfter(s, () => romeo.says(`<message to='${JULIET}' type='chat' id='m'><body>!</body></message>`))
  t.equal(way.at(-1), 'fireMessageSent refused unexpected error, see the log by fault (messageSent, act)')
  await romeo.gets("<message id='m' type='error'><error type='cancel'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
})

t.test('a StreamError of a module closes the session, and invalid-from ends the stream', async t => {
  const module = defineModule({ name: 'expels', setup: host => { host.on(messageSent, () => { throw new StreamError('policy-violation') }) } })
  const s = await scenario(t, { modules: [...MODULES, module] })
  const romeo = await s.device(`${ROMEO}/orchard`)
  await romeo.says(`<message to='${JULIET}' type='chat'><body>!</body></message>`)
  t.match([romeo.error?.condition, romeo.session.connection], ['policy-violation', 'closed'])
  const other = await s.device(`${ROMEO}/street`)
  const way = await wayAfter(s, () => other.says(`<message from='${JULIET}' to='${JULIET}' type='chat'><body>!</body></message>`))
  t.same(way, ['checkFrom ends invalid-from'])
  t.equal(other.error?.condition, 'invalid-from')
})

t.test('from another server, a stanza for a foreign domain or from a domain that is not proved ends the stream', async t => {
  const s = await scenario(t, { modules: MODULES })
  await s.account(JULIET)
  const { pipeline, router } = s.server
  const comes = (from: string, to: string): string => {
    const refused: string[] = []
    const stream: ServerHome['stream'] = {
      order: new ReleaseOrder(s.storage), lang: undefined, charge () {}, isAnswer: () => false,
      mayCarry: (_, remote) => remote === 'proved.lit',
    }
    const arrival = { isFirst: true, whenFirst: (run: () => void) => { run() }, settle: (run: () => void) => { run() }, refuse: () => { refused.push('refused') } }
    try {
      void takeFromServer(pipeline, { router, stream, host: domain => s.server.host(domain) }, stanza(s.element('<message/>'), parseJid(from), parseJid(to)), arrival)
    } catch (error) {
      return `${error instanceof StreamError ? error.condition : String(error)} ${refused.join(' ')}`
    }
    return 'taken'
  }
  t.equal(comes('a@proved.lit', 'b@elsewhere.lit'), 'host-unknown refused', 'the peer does not think that it was handled')
  t.equal(comes('a@other.lit', JULIET), 'invalid-from refused')
  t.equal(comes('a@proved.lit', JULIET), 'taken')
})

// ---- The runner -------------------------------------------------------------------------------------------

t.test('the runner stops at the first step that ends the way, and settles once', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { pipeline } = s.server
  const ran: string[] = []
  const said = (name: string, outcome: Outcome | Promise<Outcome>): Step<undefined> => () => {
    ran.push(name)
    return outcome
  }
  const settled = async (...steps: readonly Step<undefined>[]): Promise<Passage> => {
    const passage = new Passage(stanza(s.element("<message id='m'/>"), parseJid(ROMEO), parseJid(JULIET)), {})
    passage.batch.committed(() => { ran.push('committed') })
    passage.batch.failed(() => { ran.push('failed') })
    await pipeline.run(passage, steps, undefined)
    await s.settled()
    return passage
  }
  t.equal((await settled(said('one', NEXT), said('two', handled('test')), said('three', NEXT))).stage, 'settled')
  t.same(ran.splice(0), ['one', 'two', 'committed'])
  await settled(said('one', Promise.resolve(NEXT)), said('two', Promise.resolve(handled('test'))))
  t.same(ran.splice(0), ['one', 'two', 'committed'])
  await settled(said('one', NEXT), () => { throw new StanzaError('forbidden') }, said('two', NEXT))
  t.same(ran.splice(0), ['one', 'failed'])
  await settled(said('one', NEXT), () => Promise.reject(new StanzaError('forbidden')), said('two', NEXT))
  t.same(ran.splice(0), ['one', 'failed'])
  s.expectedErrors.push(['stanza failed', 'Error: no step has ended the way of the stanza'])
  await settled(said('one', NEXT))
  t.same(ran.splice(0), ['one', 'failed'], 'a list that never ends the way fails closed')
})

t.test('a step that waits is seen while it waits', async t => {
  const gate = { open: () => {} }
  const closed = new Promise<void>(resolve => { gate.open = resolve })
  const slow = defineModule({ name: 'slow', setup: host => { host.on(messageArriving, () => closed, 'screen') } })
  const s = await scenario(t, { modules: [...MODULES, slow] })
  const romeo = await s.device(`${ROMEO}/orchard`)
  await s.account(JULIET)
  const seen: Sighting[] = []
  const end = s.server.pipeline.watch.read({ see: sighting => { seen.push(sighting) }, ended () {} })
  for (const id of ['one', 'two']) await romeo.says(`<message to='${JULIET}' type='chat' id='${id}'><body>!</body></message>`)
  const last = (): readonly string[] => ['one', 'two'].map(wanted => {
    const { step, outcome } = seen.findLast(({ stanza: { id } }) => id === wanted) ?? {}
    return `${step ?? ''} ${outcome ?? ''}`
  })
  t.same(last(), ['fireMessageArriving waits', 'awaitTurn waits'])
  s.clock.pass(300)
  gate.open()
  await s.settled()
  t.same(last(), ['commit stored', 'commit stored'])
  t.match(seen.findLast(({ stanza: { id } }) => id === 'two'), { passed: 300 })
  const { length } = seen
  end()
  await romeo.says(`<message to='${JULIET}' type='chat'><body>!</body></message>`)
  t.equal(seen.length, length, 'a reader that has ended sees nothing more')
})

t.test('a message whose body is replaced on the way is answered and delivered as its last step left it', async t => {
  const stamped = defineModule({
    name: 'stamped',
    setup: host => {
      host.on(messageSent, event => {
        event.message = event.message.with({ plus: [s.element("<x xmlns='urn:stamp'/>")] }) as typeof event.message
      }, 'stamp')
    },
  })
  const s = await scenario(t, { modules: [...MODULES, stamped] })
  const romeo = await s.device(`${ROMEO}/orchard`)
  const juliet = await s.device(`${JULIET}/balcony`)
  await romeo.says(`<message to='${JULIET}' type='chat'><body>hi</body></message>`)
  t.ok((await juliet.gets('<message/>')).getChild('x', 'urn:stamp'))
})
