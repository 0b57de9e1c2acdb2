/**
 * Attacks by users with accounts on each other: forgery, spying, poisoning, and traces that a removed account leaves.
 */
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { capabilities } from '../../lib/host/services.js'
import { childElements, namespaceOf, type Element } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import type { Device } from '../device.js'
import { scenario, type Scenario } from '../scenario.js'
import { conditionOf } from '../stanzas.js'
import { staysBelow } from './turns.js'

const EVERYTHING = [
  'roster', 'presence', 'message', 'carbons', 'offline', 'disco', 'caps', 'blocking', 'private', 'vcard', 'last-activity', 'version', 'time', 'ping', 'register',
]

async function befriend (a: Device, b: Device): Promise<void> {
  const [one, two] = [a.jid.bare.toString(), b.jid.bare.toString()]
  await a.says(`<presence to='${two}' type='subscribe'/>`)
  await b.says(`<presence to='${one}' type='subscribed'/>`, `<presence to='${one}' type='subscribe'/>`)
  await a.says(`<presence to='${two}' type='subscribed'/>`)
  a.forget()
  b.forget()
}

async function loversAndMallory (t: Test) {
  const s = await scenario(t, { modules: EVERYTHING })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@capulet.lit/orchard')
  const mallory = await s.device('mallory@capulet.lit/cave')
  await befriend(juliet, romeo)
  return { s, juliet, romeo, mallory }
}

// ---- Forgery --------------------------------------------------------------------------------------

t.test("a client cannot forge a carbon, an archive page or a push of another's server", async t => { // CVE-2017-5589, CVE-2015-8688
  const { juliet, romeo, mallory } = await loversAndMallory(t)
  await juliet.asks("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
  const inner = "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='romeo@capulet.lit/orchard' to='juliet@capulet.lit'><body>I hate thee</body></message></forwarded>"
  for (const to of ['juliet@capulet.lit', 'juliet@capulet.lit/balcony']) {
    for (const forged of [
      `<received xmlns='urn:xmpp:carbons:2'>${inner}</received>`, `<sent xmlns='urn:xmpp:carbons:2'>${inner}</sent>`,
      `<c:sent xmlns:c='urn:xmpp:carbons:2'>${inner}</c:sent>`, `<result xmlns='urn:xmpp:mam:2' id='1' queryid='q'>${inner}</result>`,
    ]) {
      await mallory.says(`<message to='${to}' type='chat'>${forged}${forged}<body>x</body></message>`)
      const got = await juliet.gets("<message from='mallory@capulet.lit/cave'><body>x</body></message>")
      t.notMatch(got.toString(), /hate|carbons|mam/, forged)
    }
    await mallory.says(`<message to='${to}' type='chat'>${inner}<body>x</body><private xmlns='urn:xmpp:carbons:2'/></message>`)
    t.match((await juliet.gets('<message><body>x</body></message>')).toString(), /I hate thee.*private/, 'forwarded stanzas and hints of the sender stay unchanged')
  }
  for (const push of [
    "<query xmlns='jabber:iq:roster'><item jid='evil@capulet.lit' subscription='both'/></query>",
    "<r:query xmlns:r='jabber:iq:roster'><r:item jid='evil@capulet.lit' subscription='both'/></r:query>",
    "<block xmlns='urn:xmpp:blocking'><item jid='romeo@capulet.lit'/></block>",
  ]) {
    t.equal(conditionOf(await mallory.asks(`<iq type='set' id='p' to='juliet@capulet.lit/balcony'>${push}</iq>`)), 'service-unavailable')
    t.ok(conditionOf(await mallory.asks(`<iq type='set' id='q' to='juliet@capulet.lit'>${push}</iq>`)))
    t.equal(conditionOf(await romeo.asks(`<iq type='set' id='p' to='juliet@capulet.lit/balcony'>${push}</iq>`)), 'service-unavailable', 'a contact cannot either')
  }
  await juliet.getsNothing()
})

t.test('a device cannot send from another address, in any kind of stanza', async t => {
  for (const from of ['romeo@capulet.lit', 'capulet.lit', 'juliet@capulet.lit', 'mallory@capulet.lit/other', '@', 'mallory@capulet.lit.evil.lit']) {
    for (const kind of ["message to='juliet@capulet.lit'", 'presence', "iq type='get' id='x'"]) {
      const s = await scenario(t, { modules: ['presence', 'message'] })
      const juliet = await s.device('juliet@capulet.lit/balcony')
      const mallory = await s.device('mallory@capulet.lit/cave')
      juliet.forget()
      await mallory.says(`<${kind} from='${from}'/>`)
      t.equal(mallory.error?.condition, 'invalid-from', `${kind} from ${from}`)
      t.notOk(juliet.unread.some(element => element.name === 'message'))
    }
  }
})

t.test('an answer counts only from the address that was asked, even if another sender guesses its id', async t => { // CVE-2024-46957
  const { s, juliet, romeo, mallory } = await loversAndMallory(t)
  const host = s.host('capulet.lit')
  const answered = (): { readonly said: string[], readonly done: Promise<void> } => {
    const said: string[] = []
    const done = host.ask(juliet.jid, s.element("<ping xmlns='urn:xmpp:ping'/>")).then(reply => { said.push(reply.toString()) })
    return { said, done }
  }
  const { said, done } = answered()
  await s.settled()
  const id = String(juliet.unread.find(element => element.name === 'iq')?.attrs['id'])
  for (const liar of [mallory, romeo]) {
    for (const to of ['capulet.lit', 'mallory@capulet.lit', 'juliet@capulet.lit', 'juliet@capulet.lit/balcony']) {
      await liar.says(`<iq type='result' id='${id}' to='${to}'><lie xmlns='urn:example'/></iq>`, `<iq type='error' id='${id}' to='${to}'/>`)
    }
  }
  t.same(said, [])
  await juliet.says(`<iq type='result' id='${id}' to='capulet.lit'><truth xmlns='urn:example'/></iq>`)
  await done
  t.match(said, [/truth/])
  await juliet.says(`<iq type='result' id='${id}' to='capulet.lit'/>`)
  t.equal(host.requests.count, 0)
})

// ---- Spying ---------------------------------------------------------------------------------------------

t.test('to a stranger, an unused name, an account and an unavailable device look the same', async t => {
  const { juliet, mallory } = await loversAndMallory(t)
  await juliet.says('<presence><status>I am here</status></presence>')
  const answer = async (stanza: string, name: string): Promise<string> => {
    mallory.forget()
    await mallory.says(stanza.replaceAll('NAME', name))
    const said = mallory.unread.map(element => element.toString().replaceAll(name, 'NAME')).join('')
    mallory.forget()
    return said
  }
  const names = ['nobody@capulet.lit', 'juliet@capulet.lit']
  const asked = [
    "<iq type='get' id='a' to='NAME'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    "<iq type='get' id='a' to='NAME'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>",
    "<iq type='get' id='a' to='NAME'><vCard xmlns='vcard-temp'/></iq>",
    "<iq type='get' id='a' to='NAME'><vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/></iq>",
    "<iq type='get' id='a' to='NAME'><query xmlns='jabber:iq:private'><x xmlns='urn:example'/></query></iq>",
    "<iq type='get' id='a' to='NAME'><query xmlns='jabber:iq:roster'/></iq>",
    "<iq type='get' id='a' to='NAME'><blocklist xmlns='urn:xmpp:blocking'/></iq>",
    "<iq type='get' id='a' to='NAME'><query xmlns='urn:example'/></iq>",
    "<iq type='get' id='a' to='NAME/nowhere'><query xmlns='jabber:iq:version'/></iq>",
    "<iq type='set' id='a' to='NAME/nowhere'><query xmlns='urn:example'/></iq>",
    "<iq type='result' id='a' to='NAME/nowhere'/>",
    "<message type='normal' to='NAME/nowhere'><body>x</body></message>",
    "<message type='groupchat' to='NAME'><body>x</body></message>",
    "<message type='headline' to='NAME/nowhere'><body>x</body></message>",
    "<presence type='probe' to='NAME'/>",
    "<presence type='unsubscribe' to='NAME'/>",
    "<presence type='unavailable' to='NAME/nowhere'/>",
  ]
  for (const stanza of asked) {
    const [none, some] = [await answer(stanza, names[0] as string), await answer(stanza, names[1] as string)]
    t.equal(some, none, stanza)
    t.notMatch(some, /I am here|balcony/, stanza)
  }
  t.equal(conditionOf(await mallory.asks("<iq type='get' id='l' to='juliet@capulet.lit'><query xmlns='jabber:iq:last'/></iq>")), 'forbidden')
  t.notOk(juliet.unread.some(element => element.name === 'iq'), 'juliet was not asked')
})

t.test('a blocked contact cannot probe or query, and unblocking one of two matching items keeps the block', async t => {
  const { juliet, romeo, mallory } = await loversAndMallory(t)
  await juliet.says("<presence to='mallory@capulet.lit/cave'/>")
  await mallory.gets("<presence from='juliet@capulet.lit/balcony'/>")
  const block = (...jids: readonly string[]): string => `<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'>${jids.map(jid => `<item jid='${jid}'/>`).join('')}</block></iq>`
  await juliet.asks(block('romeo@capulet.lit', 'capulet.lit'))
  for (const blocked of [romeo, mallory]) await blocked.gets("<presence type='unavailable' from='juliet@capulet.lit/balcony'/>")
  for (const blocked of [romeo, mallory]) {
    const name = blocked.jid.bare.toString()
    await blocked.says("<presence type='probe' to='juliet@capulet.lit'/>", "<presence type='probe' to='juliet@capulet.lit/balcony'/>", "<presence type='subscribe' to='juliet@capulet.lit'/>")
    for (const payload of ["<query xmlns='jabber:iq:last'/>", "<query xmlns='jabber:iq:version'/>", "<vCard xmlns='vcard-temp'/>", "<ping xmlns='urn:xmpp:ping'/>"]) {
      for (const to of ['juliet@capulet.lit', 'juliet@capulet.lit/balcony']) {
        t.equal(conditionOf(await blocked.asks(`<iq type='get' id='a' to='${to}'>${payload}</iq>`)), 'service-unavailable', `${name}: ${payload}`)
      }
    }
    blocked.forget()
  }
  await juliet.says('<presence><show>dnd</show></presence>')
  await juliet.asks(block('romeo@capulet.lit').replaceAll('block ', 'unblock ').replace('</block', '</unblock'))
  for (const blocked of [romeo, mallory]) t.notOk(blocked.unread.some(element => element.toString().includes('juliet')), 'another item still matches')
  await juliet.says("<presence type='unavailable'/>")
  await mallory.getsNothing()
  await juliet.asks("<iq type='get' id='h' to='capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>")
})

t.test("a user's own server cannot be blocked", async t => { // MongooseIM 4600
  const { s, juliet } = await loversAndMallory(t)
  await juliet.asks("<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='capulet.lit'/><item jid='juliet@capulet.lit'/></block></iq>")
  t.equal((await juliet.asks("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")).attrs['type'], 'result')
  t.equal((await juliet.asks("<iq type='get' id='d' to='capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")).attrs['type'], 'result')
  const asked = s.host('capulet.lit').ask(juliet.jid, s.element("<ping xmlns='urn:xmpp:ping'/>"))
  await s.settled()
  const id = String(juliet.unread.find(element => element.name === 'iq' && element.attrs['type'] === 'get')?.attrs['id'])
  await juliet.says(`<iq type='result' id='${id}' to='capulet.lit'/>`)
  t.equal((await asked).attrs['type'], 'result')
})

// ---- Poisoning ----------------------------------------------------------------------------------------------

t.test('capabilities are believed if the hash proves them, and a device that does not answer delays nobody', async t => {
  const { s, juliet, mallory } = await loversAndMallory(t)
  const caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://code.google.com/p/exodus' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>"
  await mallory.says(`<presence>${caps}</presence>`)
  const questionTo = (device: Device): Element | undefined => device.unread.find(element => element.name === 'iq' && element.attrs['type'] === 'get')
  t.ok(questionTo(mallory), 'mallory is asked, and does not answer')
  await juliet.says(`<presence>${caps}</presence>`)
  t.ok(questionTo(juliet), 'juliet is asked nevertheless')
  const of = (device: Device): ReadonlySet<string> | undefined => s.host('capulet.lit').service(capabilities)?.of(device.jid)
  await mallory.says(`<iq type='result' to='capulet.lit' id='${String(questionTo(mallory)?.attrs['id'])}'><query xmlns='http://jabber.org/protocol/disco#info' node='x'><feature var='urn:evil'/></query></iq>`)
  t.equal(of(juliet), undefined)
  for (let i = 0; i < 40; i++) await mallory.says(`<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='${i}'/></presence>`)
  t.ok(mallory.unread.filter(element => element.name === 'iq').length < 10, 'one account is asked a few things at a time')
})

// ---- Traces of a removed account ------------------------------------------------------------------------------

t.test('a new account with the name of a removed one inherits nothing, neither from disk nor from memory', async t => { // CVE-2024-25420
  const { s, juliet, romeo } = await loversAndMallory(t)
  await juliet.asks("<iq type='set' id='1'><block xmlns='urn:xmpp:blocking'><item jid='paris@capulet.lit'/></block></iq>")
  await juliet.asks("<iq type='set' id='2'><query xmlns='jabber:iq:private'><n xmlns='a:b'>secret</n></query></iq>")
  await juliet.asks("<iq type='set' id='3'><vCard xmlns='vcard-temp'><FN>secret</FN></vCard></iq>")
  await juliet.says('<presence><status>secret</status></presence>', "<presence to='mallory@capulet.lit' type='subscribe'/>")
  await juliet.says("<presence type='unavailable'><status>secret</status></presence>")
  await romeo.says("<message to='juliet@capulet.lit' type='chat'><body>secret</body></message>")
  await juliet.asks("<iq type='set' id='4'><query xmlns='jabber:iq:register'><remove/></query></iq>")
  await s.settled()
  t.same(await s.traces('juliet@capulet.lit'), [], 'no row is left')
  const item = (await romeo.asks("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")).toString()
  t.notMatch(item, /juliet@capulet.lit" subscription="(?:to|from|both)"/)
  const again = await s.device('juliet@capulet.lit/balcony')
  const asked = [
    "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>", "<iq type='get' id='b'><blocklist xmlns='urn:xmpp:blocking'/></iq>",
    "<iq type='get' id='p'><query xmlns='jabber:iq:private'><n xmlns='a:b'/></query></iq>", "<iq type='get' id='v'><vCard xmlns='vcard-temp'/></iq>",
    "<iq type='get' id='l' to='juliet@capulet.lit'><query xmlns='jabber:iq:last'/></iq>",
  ]
  for (const iq of asked) t.notMatch((await again.asks(iq)).toString(), /secret|paris|romeo|mallory/, iq)
  await again.getsNothing()
  romeo.forget()
  await again.says('<presence/>', '<presence><show>away</show></presence>')
  t.notOk(romeo.unread.some(element => element.name === 'presence'), 'no presence is shown')
})

// ---- Names that objects have --------------------------------------------------------------------------------------

const NAMES = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', '__defineGetter__', 'prototype']

t.test('names of Object.prototype are names like others, wherever they occur', async t => { // GHSA-x3cc-x39p-42qx
  const s = await scenario(t, { modules: EVERYTHING })
  for (const name of NAMES) {
    const address = parseJid(`${name}@constructor`).toString()
    const one = await s.device(`${address}/${name}`)
    const other = await s.device(`other@constructor/${name}`)
    t.equal(one.jid.resource, name)
    await one.says(`<message to='other@constructor' type='chat' ${name}='1'><body>a ${name}</body><${name} xmlns='${name}' ${name}='2'><${name}/></${name}></message>`)
    const got = await other.gets(`<message><body>a ${name}</body></message>`)
    t.match(got.toString(), `<${name} xmlns="${name}" ${name}="2"`)
    t.ok(got.toString().includes(`${name}="1"`), 'unknown attributes of a stanza are passed on')
    await one.asks(`<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='${name}@elsewhere.lit' name='${name}'><group>${name}</group></item></query></iq>`)
    t.match((await one.asks("<iq type='get' id='2'><query xmlns='jabber:iq:roster'/></iq>")).toString(), `<group>${name}</group>`)
    await one.asks(`<iq type='set' id='3'><query xmlns='jabber:iq:private'><${name} xmlns='${name}'>kept</${name}></query></iq>`)
    t.match((await one.asks(`<iq type='get' id='4'><query xmlns='jabber:iq:private'><${name} xmlns='${name}'/></query></iq>`)).toString(), />kept</)
    await one.asks(`<iq type='set' id='5'><vCard xmlns='vcard-temp'><${name}>kept</${name}></vCard></iq>`)
    t.match((await other.asks(`<iq type='get' id='6' to='${address}'><vCard xmlns='vcard-temp'/></iq>`)).toString(), `<${name}>kept</${name}>`)
    await one.asks(`<iq type='set' id='7'><block xmlns='urn:xmpp:blocking'><item jid='constructor/${name}'/></block></iq>`)
    t.match((await one.asks("<iq type='get' id='8'><blocklist xmlns='urn:xmpp:blocking'/></iq>")).toString(), `jid="constructor/${name}"`)
    await one.says(`<message to='nobody@constructor' type='${name}' id='${name}'/>`, `<presence type='${name}'/>`, `<iq type='${name}' id='other'/>`, `<presence><c xmlns='http://jabber.org/protocol/caps' hash='${name}' node='${name}' ver='${name}'/></presence>`)
    t.equal(conditionOf(await one.asks(`<iq type='get' id='${name}'><${name} xmlns='${name}'/></iq>`)), 'service-unavailable')
    t.equal(conditionOf(await one.asks(`<iq type='get' id='c' to='constructor'><query xmlns='http://jabber.org/protocol/disco#info' node='${name}'/></iq>`)), 'item-not-found')
  }
  t.equal(Object.keys(Object.prototype).length, 0, 'Object.prototype is unchanged')
})

// ---- Requests -------------------------------------------------------------------------------------------------------

const ADDRESSES = [
  undefined, 'mallory@capulet.lit', 'mallory@capulet.lit/cave', 'capulet.lit', 'capulet.lit/x', 'juliet@capulet.lit', 'juliet@capulet.lit/balcony',
  'juliet@capulet.lit/nowhere', 'nobody@capulet.lit', 'nobody@capulet.lit/x', 'elsewhere.lit', 'a@elsewhere.lit/b', '@', 'a@@b', 'mallory@capulet.lit/other',
]
const PAYLOADS = [
  ['query', 'jabber:iq:roster'], ['query', 'jabber:iq:private'], ['query', 'jabber:iq:last'], ['query', 'jabber:iq:version'], ['query', 'jabber:iq:register'],
  ['query', 'http://jabber.org/protocol/disco#info'], ['query', 'http://jabber.org/protocol/disco#items'], ['vCard', 'vcard-temp'], ['ping', 'urn:xmpp:ping'],
  ['time', 'urn:xmpp:time'], ['enable', 'urn:xmpp:carbons:2'], ['block', 'urn:xmpp:blocking'], ['blocklist', 'urn:xmpp:blocking'], ['unblock', 'urn:xmpp:blocking'],
  ['bind', 'urn:ietf:params:xml:ns:xmpp-bind'], ['session', 'urn:ietf:params:xml:ns:xmpp-session'], ['a', 'urn:example'], ['query', ''],
] as const
const CONTENTS = ['', '<item/>', "<item jid='a@b'/>", "<item jid='@'/>", "<x xmlns='urn:x'/>", '<remove/><x/>', '<username>a</username>', 'text', "<item jid='a@b'/><item jid='c@d'/>"]

const iqs = fc.record({
  type: fc.constantFrom('get', 'set', 'result', 'error', 'other', '', undefined),
  id: fc.constantFrom('1', '', undefined, 'x'.repeat(300), '&lt;&quot;'),
  to: fc.constantFrom(...ADDRESSES),
  payloads: fc.array(fc.record({ what: fc.constantFrom(...PAYLOADS), content: fc.constantFrom(...CONTENTS), node: fc.constantFrom(undefined, 'n') }), { maxLength: 2 }),
})

t.test('each request gets exactly one answer and a reply gets none, whatever their content', async t => { // RFC 6120 §8.2.3
  const s = await scenario(t, { modules: EVERYTHING })
  await s.device('juliet@capulet.lit/balcony')
  await s.device('mallory@capulet.lit/other')
  let mallory = await s.device('mallory@capulet.lit/cave')
  const seen = { runs: 0, answered: 0, silent: 0 }
  const runs = Number(process.env['HOSTILE_RUNS'] ?? 2000)
  await fc.assert(fc.asyncProperty(iqs, async ({ type, id, to, payloads }) => {
    seen.runs++
    if (mallory.closed) mallory = await s.device('mallory@capulet.lit/cave')
    mallory.forget()
    const attributes = Object.entries({ type, id, to }).filter(([, value]) => value !== undefined).map(([name, value]) => ` ${name}='${String(value)}'`).join('')
    const inner = payloads.map(({ what: [name, namespace], content, node }) =>
      `<${name}${namespace === '' ? '' : ` xmlns='${namespace}'`}${node === undefined ? '' : ` node='${node}'`}>${content}</${name}>`).join('')
    await mallory.says(`<iq${attributes}>${inner}</iq>`)
    await s.settled()
    const pushes = mallory.unread.filter(element => element.name === 'iq' && element.attrs['type'] === 'set')
    const own = to === 'mallory@capulet.lit/cave' // the device gets its own request and would have to answer it
    const answers = mallory.unread.filter(element => element.name === 'iq' && !pushes.includes(element) && (element.attrs['type'] === 'result' || element.attrs['type'] === 'error'))
    const isReply = type === 'result' || type === 'error'
    const malformed = to === '@' || to === 'a@@b' || !isReply && (type !== 'get' && type !== 'set' || id === undefined || id === '' || payloads.length !== 1)
    const toOther = (to === 'juliet@capulet.lit/balcony' || to === 'mallory@capulet.lit/other') && !malformed && !isReply
    const forged = toOther && type === 'set' && ['jabber:iq:roster', 'urn:xmpp:blocking'].includes(payloads[0]?.what[1] ?? '')
    if (own) return
    const wanted = isReply || (toOther && !forged) ? 0 : 1
    if (type === 'result' && payloads.length > 1) return // an error may come back or not: the stanza answers nothing
    if (answers.length !== wanted) throw new Error(`${answers.length} answers, not ${wanted}: ${answers.map(String).join('')}`)
    seen[wanted === 1 ? 'answered' : 'silent']++
    if (wanted === 1) {
      const [answer] = answers
      const expected = id === undefined ? undefined : id === '&lt;&quot;' ? '<"' : id
      if (answer?.attrs['id'] !== expected) throw new Error(`another id: ${String(answer)}`)
      if (malformed && answer?.attrs['type'] !== 'error') throw new Error(`not refused: ${String(answer)}`)
      if (to !== undefined && to !== '@' && to !== 'a@@b' && answer?.attrs['from'] !== parseJid(to).toString()) throw new Error(`from another: ${String(answer)}`)
      const error = answer === undefined ? undefined : childElements(answer).find(child => child.getName() === 'error')
      if (error !== undefined && namespaceOf(childElements(error)[0] as Element) !== 'urn:ietf:params:xml:ns:xmpp-stanzas') throw new Error('no condition')
    }
  }), { numRuns: runs, seed: 42, interruptAfterTimeLimit: 40_000, markInterruptAsFailure: false })
  // A slow machine makes fewer runs.
  t.ok(seen.answered > seen.runs / 4 && seen.silent > seen.runs / 10, JSON.stringify(seen))
  t.equal(s.host('capulet.lit').requests.count, 0)
})

// ---- Cost ---------------------------------------------------------------------------------------------------------

t.test('the cost of blocking and unblocking is linear in the number of contacts', async t => {
  const cost = async (many: number): Promise<number> => {
    const s: Scenario = await scenario(t, { modules: ['presence', 'message', 'blocking'], settings: { roster: { items: 5000 }, blocking: { items: 5000 } } })
    const juliet = await s.device('juliet@capulet.lit/balcony')
    for (let i = 0; i < many; i++) await s.contact('juliet@capulet.lit', `c${i}@elsewhere.lit`)
    const items = Array.from({ length: many }, (_, i) => `<item jid='x${i}@elsewhere.lit'/>`).join('')
    const began = process.cpuUsage()
    for (let round = 0; round < 3; round++) {
      await juliet.asks(`<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'>${items}</block></iq>`)
      await juliet.asks("<iq type='set' id='u'><unblock xmlns='urn:xmpp:blocking'/></iq>")
    }
    const { user, system } = process.cpuUsage(began)
    return user + system
  }
  await cost(100)
  let [few, many] = [Infinity, Infinity]
  await staysBelow(t, 8, async () => {
    few = Math.min(few, await cost(500))
    many = Math.min(many, await cost(2000))
    return many / few
  }, growth => `four times as many contacts cost ${growth.toFixed(1)} times as much`)
})
