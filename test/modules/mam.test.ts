import t from 'tap'
import type { Element } from '../../lib/xml/element.js'
import { boundInline } from '../../lib/host/slots.js'
import { scenario, type Device, type Scenario } from '../scenario.js'
import { couple, type Couple } from '../couple.js'

const MAM = "xmlns='urn:xmpp:mam:2'"
const MODULES = ['roster', 'presence', 'message', 'carbons', 'offline', 'mam', 'stream-management']
const toJuliet = (text: string, more = ''): string => `<message to='juliet@capulet.lit' type='chat' id='m-${text}'><body>${text}</body>${more}</message>`
const large = (n: number): string => `<message to='juliet@capulet.lit' type='chat'><body>${n}${'x'.repeat(200_000)}</body></message>`
const toRomeo = (text: string, more = ''): string => `<message to='romeo@montague.lit' type='chat'><body>${text}</body>${more}</message>`

interface Asked {
  readonly texts: readonly string[]
  readonly ids: readonly string[]
  readonly complete: boolean
  readonly fin: Element
  readonly results: readonly Element[]
}

/** Sends a query as a client does. Returns the results and the `<fin/>`. */
async function asks (device: Device, inner = '', attributes = ''): Promise<Asked> {
  device.forget()
  const reply = await device.asks(`<iq type='set' id='q'><query ${MAM} ${attributes}>${inner}</query></iq>`)
  const results = device.unread.flatMap(element => element.getChild('result', 'urn:xmpp:mam:2') ?? [])
  device.forget()
  const fin = reply.getChild('fin')
  if (fin === undefined) throw new Error(reply.toString())
  return {
    texts: results.map(result => result.getChild('forwarded')?.getChild('message')?.getChildText('body') ?? '-'),
    ids: results.map(result => String(result.attrs['id'])),
    complete: fin.attrs['complete'] === 'true',
    fin,
    results,
  }
}

async function refused (device: Device, inner: string): Promise<string> {
  const reply = await device.asks(`<iq type='set' id='q'><query ${MAM}>${inner}</query></iq>`)
  return reply.getChild('error')?.children.map(child => typeof child === 'string' ? '' : child.name)[0] ?? reply.toString()
}

const rsm = (inner: string): string => `<set xmlns='http://jabber.org/protocol/rsm'>${inner}</set>`
const form = (fields: Readonly<Record<string, string | readonly string[]>>): string =>
  `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>${
    Object.entries(fields).map(([name, value]) => `<field var='${name}'>${[value].flat().map(one => `<value>${one}</value>`).join('')}</field>`).join('')}</x>`

/** Sends ten messages, 0 to 9, alternately from Romeo and Juliet, one a minute. */
async function conversation (s: Scenario): Promise<Couple> {
  const { romeo, juliet } = await couple(s)
  for (let n = 0; n < 10; n++) {
    await (n % 2 === 0 ? romeo.says(toJuliet(`${n}`)) : juliet.says(toRomeo(`${n}`)))
    await s.pass('1m')
  }
  return { romeo, juliet }
}

// ---- Archiving -------------------------------------------------------------------------------------

t.test('both archives hold the conversation in order, with ids of their own and the times', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  await romeo.says(toJuliet('one'))
  const got = await juliet.gets("<message><body>one</body><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.lit'/></message>")
  t.equal(got.getChildren('stanza-id').length, 1, "the sender gets no id of the recipient's archive")
  await s.pass('1m')
  await juliet.says(toRomeo('two'))
  const hers = await asks(juliet, '', "queryid='q7'")
  t.same(hers.texts, ['one', 'two'])
  t.equal(hers.ids[0], got.getChild('stanza-id')?.attrs['id'])
  t.ok(hers.complete)
  t.equal(hers.results[0]?.attrs['queryid'], 'q7')
  const forwarded = hers.results[0]?.getChild('forwarded')
  t.equal(forwarded?.getChild('delay')?.attrs['stamp'], '2026-01-01T00:00:00.000Z')
  t.match(forwarded?.getChild('message')?.attrs, { from: 'romeo@montague.lit/orchard', to: 'juliet@capulet.lit', type: 'chat', id: 'm-one', xmlns: 'jabber:client' })
  const set = hers.fin.getChild('set')
  t.same([set?.getChildText('first'), set?.getChildText('last')], hers.ids)
  const his = await asks(romeo)
  t.same(his.texts, ['one', 'two'])
  t.not(his.ids[0], hers.ids[0])
})

t.test('one copy is archived, however many devices get it; a message to the own account is archived once', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  const chamber = await s.device('juliet@capulet.lit/chamber')
  await chamber.asks("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
  await romeo.says(toJuliet('one'))
  await juliet.says(toRomeo('two'), "<message to='juliet@capulet.lit' type='chat'><body>note</body></message>")
  const { ids, texts } = await asks(juliet)
  t.same(texts, ['one', 'two', 'note'])
  t.same((await asks(juliet, form({ with: 'juliet@capulet.lit' }))).texts, ['note'])
  t.equal(ids.length, 3)
})

t.test("the sender's other devices get the archive id in their copies; the contact does not", async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  const chamber = await s.device('juliet@capulet.lit/chamber')
  await chamber.asks("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
  chamber.forget()
  await juliet.says(toRomeo('one'))
  const carbon = await chamber.gets('<message><sent/></message>'.replace('<sent/>', "<sent xmlns='urn:xmpp:carbons:2'/>"))
  const id = carbon.getChild('sent')?.getChild('forwarded')?.getChild('message')?.getChild('stanza-id')?.attrs
  t.match(id, { by: 'juliet@capulet.lit', id: (await asks(juliet)).ids[0] })
  const got = await romeo.gets('<message><body>one</body></message>')
  t.same(got.getChildren('stanza-id').map(element => element.attrs['by']), ['romeo@montague.lit'])
})

t.test('chat states, messages with no-store and refused messages are not archived', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  const hint = (name: string): string => `<${name} xmlns='urn:xmpp:hints'/>`
  await romeo.says(
    "<message to='juliet@capulet.lit' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    "<message to='juliet@capulet.lit' type='headline'><body>news</body></message>",
    "<message to='juliet@capulet.lit/balcony' type='groupchat'><body>all</body></message>",
    "<message to='juliet@capulet.lit/balcony' type='error' id='e'><body>x</body><error type='cancel'/></message>",
    toJuliet('secret', hint('no-store')), toJuliet('passing', hint('no-permanent-store')),
    "<message to='nobody@capulet.lit' type='chat'><body>refused</body></message>",
    "<message to='juliet@capulet.lit' type='chat'><received xmlns='urn:xmpp:receipts' id='r'/></message>",
    `<message to='juliet@capulet.lit' type='chat'><x xmlns='urn:x'/>${hint('store')}</message>`,
    "<message to='juliet@capulet.lit'><body>normal</body></message>")
  t.same((await asks(juliet)).texts, ['-', '-', 'normal'])
  t.same((await asks(romeo)).texts, ['-', '-', 'normal'])
})

t.test('a message is delivered only after its archive entry is stored', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  s.storage.hold()
  await romeo.says(toJuliet('one'))
  await juliet.getsNothing()
  s.storage.release()
  await juliet.gets('<message><body>one</body></message>')
  s.storage.failing = new Error('no space left')
  await romeo.says(toJuliet('two'))
  s.storage.failing = undefined
  await romeo.gets("<message type='error'><error type='wait'/></message>")
  await juliet.getsNothing()
  t.same((await asks(juliet)).texts, ['one'])
})

t.test('a message to an account without devices is in its archive, and is then not refused if the offline store is full', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { offline: { keep: 1 } } })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  await romeo.says(toJuliet('one'), toJuliet('two'))
  await romeo.getsNothing()
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  await juliet.says('<presence/>')
  const waiting = juliet.unread.filter(element => element.name === 'message')
  t.same(waiting.map(element => element.getChildText('body')), ['one'])
  const { texts, ids } = await asks(juliet)
  t.same(texts, ['one', 'two'])
  t.equal(waiting[0]?.getChild('stanza-id')?.attrs['id'], ids[0], 'the stanza id is that of the archive')
})

t.test('without an offline store the archive is enough', async t => {
  const s = await scenario(t, { modules: ['message', 'mam'] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  await romeo.says(toJuliet('one'), toJuliet('no', "<no-store xmlns='urn:xmpp:hints'/>"))
  await romeo.gets("<message type='error' id='m-no'/>")
  await romeo.getsNothing()
  t.same((await asks(await s.device('juliet@capulet.lit/balcony'))).texts, ['one'])
})

t.test('unacknowledged messages of an ended session are in the archive, and are then not refused if other stores are full', async t => {
  const kinds = [{ modules: MODULES, settings: { offline: { keep: 1 } } }, { modules: ['message', 'mam', 'stream-management'] }]
  for (const scene of kinds) {
    const s = await scenario(t, scene)
    const { romeo, juliet } = await couple(s)
    await juliet.says("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    await romeo.says(toJuliet('one'), toJuliet('two'), toJuliet('no', "<no-permanent-store xmlns='urn:xmpp:hints'/>"))
    juliet.session.close()
    await s.settled()
    await romeo.gets("<message type='error' id='m-no'><error><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    await romeo.getsNothing()
    t.same((await asks(await s.device('juliet@capulet.lit/chamber'))).texts, ['one', 'two'])
  }
})

t.test('a device that binds within its login gets from the offline store only what the archive does not have', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  await romeo.says(toJuliet('archived'), toJuliet('not archived', "<no-permanent-store xmlns='urn:xmpp:hints'/>"))
  await s.pass('1m')
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  juliet.session.put(boundInline, true)
  await s.pass('1s')
  await romeo.says(toJuliet('since'))
  await juliet.says('<presence/>')
  const bodies = juliet.unread.filter(element => element.name === 'message').map(element => element.getChildText('body'))
  t.same(bodies, ['not archived', 'since'], 'messages that arrived after binding may be after the last page')
  const later = await s.device('juliet@capulet.lit/chamber', { presence: false })
  juliet.session.close()
  await later.says('<presence/>')
  t.same(later.unread.filter(element => element.name === 'message'), [], 'nothing waits any more')
})

// ---- Queries ------------------------------------------------------------------------------------------

t.test('a client pages forward and backward, and learns where the archive ends', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await conversation(s)
  const first = await asks(juliet, rsm('<max>4</max>'))
  t.same(first.texts, ['0', '1', '2', '3'])
  t.notOk(first.complete)
  const second = await asks(juliet, rsm(`<max>4</max><after>${first.ids[3] ?? ''}</after>`))
  t.same(second.texts, ['4', '5', '6', '7'])
  const third = await asks(juliet, rsm(`<max>4</max><after>${second.ids[3] ?? ''}</after>`))
  t.same(third.texts, ['8', '9'])
  t.ok(third.complete)
  const last = await asks(juliet, rsm('<max>3</max><before/>'))
  t.same(last.texts, ['7', '8', '9'])
  t.notOk(last.complete)
  t.same((await asks(juliet, rsm(`<max>3</max><before>${last.ids[0] ?? ''}</before>`))).texts, ['4', '5', '6'])
  const flipped = await asks(juliet, `${rsm('<max>3</max><before/>')}<flip-page/>`)
  t.same(flipped.texts, ['9', '8', '7'])
  t.equal(flipped.fin.getChild('set')?.getChildText('first'), last.ids[0], 'the page is the same')
  const none = await asks(juliet, rsm(`<after>${third.ids[1] ?? ''}</after>`))
  t.same([none.texts, none.complete], [[], true])
  t.notOk(none.fin.getChild('set')?.getChild('first'))
  const counted = await asks(juliet, rsm('<max>0</max>'))
  t.same([counted.texts, counted.complete, counted.fin.getChild('set')?.getChildText('count')], [[], false, '10'])
  t.equal((await asks(juliet, rsm(`<max>0</max><after>${first.ids[3] ?? ''}</after>`))).fin.getChild('set')?.getChildText('count'), '6')
})

t.test('a query can be filtered by contact, by time and by known ids', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await conversation(s)
  const nurse = await s.device('nurse@capulet.lit/kitchen')
  await nurse.says("<message to='juliet@capulet.lit' type='chat'><body>Madam!</body></message>")
  const { ids } = await asks(juliet)
  const texts = async (fields: Readonly<Record<string, string | readonly string[]>>, paging = ''): Promise<readonly string[]> => (await asks(juliet, form(fields) + paging)).texts
  t.same(await texts({ with: 'nurse@capulet.lit' }), ['Madam!'])
  t.same(await texts({ with: 'romeo@montague.lit/orchard' }), ['0', '2', '4', '6', '8'], 'her answers were sent to the bare address')
  t.equal((await texts({ with: 'romeo@montague.lit' })).length, 10)
  t.same(await texts({ start: '2026-01-01T00:08:00Z', end: '2026-01-01T00:09:00Z' }), ['8', '9'])
  t.same(await texts({ 'after-id': ids[6] ?? '', 'before-id': ids[9] ?? '' }), ['7', '8'])
  t.same(await texts({ 'after-id': ids[2] ?? '' }, rsm(`<after>${ids[5] ?? ''}</after><max>2</max>`)), ['6', '7'])
  t.same(await texts({ 'after-id': ids[7] ?? '' }, rsm(`<after>${ids[5] ?? ''}</after><max>2</max>`)), ['8', '9'])
  t.same(await texts({ 'before-id': ids[3] ?? '' }, rsm('<before/><max>2</max>')), ['1', '2'])
  t.same(await texts({ ids: [ids[4] ?? '', ids[1] ?? ''] }), ['1', '4'])
  t.same(await texts({ 'include-groupchat': 'false' }, rsm('<max>1</max>')), ['0'])
})

t.test('a page can be requested by the index of its first message', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  await romeo.says(...['one', 'two', 'three', 'four'].map(text => toJuliet(text)))
  juliet.forget()
  const { ids } = await asks(juliet)
  const middle = await asks(juliet, rsm('<index>1</index><max>2</max>'))
  t.same(middle.texts, ['two', 'three'])
  t.notOk(middle.complete)
  const set = middle.fin.getChild('set')
  t.equal(set?.getChild('first')?.attrs['index'], '1')
  t.same([set?.getChildText('first'), set?.getChildText('last'), set?.getChildText('count')], [ids[1], ids[2], '4'])
  const last = await asks(juliet, rsm('<index>3</index>'))
  t.same([last.texts, last.complete], [['four'], true])
  // XEP-0059 §2.6: an index beyond the last item gets an empty page.
  const none = await asks(juliet, rsm('<index>4</index>'))
  t.same([none.texts, none.complete, none.fin.getChild('set')?.getChild('first')], [[], true, undefined])
  t.same((await asks(juliet, rsm('<index>0</index><max>1</max>'))).texts, ['one'])
  const later = await asks(juliet, form({ 'after-id': ids[0] ?? '' }) + rsm('<index>1</index><max>1</max>'))
  t.same([later.texts, later.fin.getChild('set')?.getChildText('count')], [['three'], '3'])
})

t.test('an invalid query is answered with an error', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  await romeo.says(toJuliet('one'))
  juliet.forget()
  const { ids } = await asks(juliet)
  for (const inner of [rsm('<after>x</after>'), rsm('<before>x</before>'), form({ 'after-id': 'x' }), form({ 'before-id': 'x' }),
    form({ ids: ['x', ids[0] ?? ''] }), form({ 'after-id': 'x' }) + rsm(`<after>${ids[0] ?? ''}</after>`)]) {
    t.equal(await refused(juliet, inner), 'item-not-found', inner)
  }
  t.equal(await refused(juliet, form({ 'urn:unknown': 'x' })), 'feature-not-implemented')
  t.equal(await refused(juliet, rsm('<index>0</index><before/>')), 'bad-request')
  t.equal(await refused(juliet, form({ start: 'yesterday' })), 'bad-request')
  t.equal(await refused(juliet, rsm('<max>many</max>')), 'bad-request')
  t.equal(await refused(juliet, form({ ids: Array.from({ length: 501 }, (_, n) => `${n}`) })), 'bad-request')
  t.equal(await refused(juliet, form({ with: 'a@@b' })), 'not-acceptable')
  for (const name of ['query', 'prefs']) {
    const reply = await romeo.asks(`<iq type='set' id='f' to='juliet@capulet.lit'><${name} ${MAM}/></iq>`)
    t.ok(reply.getChild('error')?.getChild('forbidden'), name)
  }
  t.ok((await romeo.asks(`<iq type='get' id='f' to='juliet@capulet.lit'><metadata ${MAM}/></iq>`)).getChild('error')?.getChild('forbidden'))
})

t.test('a page has a bound in messages', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { mam: { pageSize: 10 } } })
  const { romeo, juliet } = await couple(s)
  for (let n = 0; n < 12; n++) await romeo.says(toJuliet(`${n}`))
  t.equal((await asks(juliet)).texts.length, 10)
  t.equal((await asks(juliet, rsm('<max>1000</max>'))).texts.length, 10)
})

t.test('a page has a bound in bytes, and what does not fit is on the next page', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  for (let n = 0; n < 9; n++) await romeo.says(large(n))
  const lengths: number[] = []
  for (let last: string | undefined; ;) {
    const page = await asks(juliet, last === undefined ? '' : rsm(`<after>${last}</after>`))
    lengths.push(page.texts.length)
    last = page.ids.at(-1)
    if (page.complete) break
  }
  t.same(lengths, [5, 4])
})

t.test('a full-text search finds words in any script, and nothing encrypted', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  const nurse = await s.device('nurse@capulet.lit/kitchen')
  await romeo.says(toJuliet('Meeting at the café'), toJuliet('明天在东京见面'), toJuliet('카페에서 만나요'),
    toJuliet('met, but encrypted', "<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2'/>"))
  await nurse.says("<message to='juliet@capulet.lit' type='chat'><subject>Meet</subject><body>me</body></message>")
  const found = async (text: string, more: Readonly<Record<string, string>> = {}, paging = ''): Promise<readonly string[]> =>
    (await asks(juliet, form({ '{urn:xmpp:fulltext:0}fulltext': text, ...more }) + paging)).texts
  t.same(await found('CAFE meet'), ['Meeting at the café'])
  t.same(await found('meet'), ['Meeting at the café', 'me'])
  t.same(await found('meet', { with: 'nurse@capulet.lit' }), ['me'])
  t.same(await found('meet', {}, rsm('<max>1</max><before/>')), ['me'])
  t.same(await found('东京'), ['明天在东京见面'])
  t.same(await found('만나'), ['카페에서 만나요'])
  t.same(await found('met'), [])
  t.same(await found('?!'), [])
  t.equal((await found(' ')).length, 5, 'an empty search finds nothing')
})

// ---- Retraction ------------------------------------------------------------------------------------

const retracting = (to: string, id: string, own = 'r1'): string => `<message to='${to}' type='chat' id='${own}'><retract xmlns='urn:xmpp:message-retract:1' id='${id}'/></message>`

t.test('a message that its sender retracts is gone from both archives; a tombstone and the retraction stay', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  await romeo.says(toJuliet('wrong'), toJuliet('right'),
    "<message to='juliet@capulet.lit' type='chat' id='m-2'><body>corrected</body><replace xmlns='urn:xmpp:message-correct:0' id='m-wrong'/></message>")
  const before = await asks(juliet)
  await s.pass('1m')
  await romeo.says(retracting('juliet@capulet.lit', 'm-wrong'))
  for (const device of [romeo, juliet]) {
    const { results, texts } = await asks(device)
    t.same(texts, ['-', 'right', '-', '-'])
    const message = results[0]?.getChild('forwarded')?.getChild('message')
    t.match(message?.attrs, { id: 'm-wrong', from: 'romeo@montague.lit/orchard', to: 'juliet@capulet.lit', type: 'chat' })
    t.match(message?.getChild('retracted', 'urn:xmpp:message-retract:1')?.attrs, { id: 'r1', stamp: '2026-01-01T00:01:00Z' })
    t.equal(message?.children.length, 1)
    t.equal(results[0]?.getChild('forwarded')?.getChild('delay')?.attrs['stamp'], '2026-01-01T00:00:00.000Z', 'the time of the tombstone is that of the message')
    t.ok(results[3]?.getChild('forwarded')?.getChild('message')?.getChild('retract'))
  }
  t.same((await asks(juliet)).ids.slice(0, 3), before.ids)
  t.same((await asks(juliet, form({ '{urn:xmpp:fulltext:0}fulltext': 'wrong' }))).texts, [])
})

t.test('an id may be as long as a stanza', async t => {
  const { romeo, juliet } = await couple(await scenario(t, { modules: MODULES }))
  const id = 'i'.repeat(10_000)
  await romeo.says(`<message to='juliet@capulet.lit' type='chat' id='${id}'><body>long</body></message>`, toJuliet('short'))
  await romeo.says(retracting('juliet@capulet.lit', id))
  t.same((await asks(juliet)).texts, ['-', 'short', '-'])
})

t.test("a retraction needs an id, and holds only for the sender's own message in the same conversation", async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  const nurse = await s.device('nurse@capulet.lit/kitchen')
  await romeo.says(toJuliet('a'), toJuliet('b', "<x xmlns='http://jabber.org/protocol/muc#user'/>"))
  await nurse.says(retracting('juliet@capulet.lit', 'm-a'))
  await juliet.says(retracting('romeo@montague.lit', 'm-a'))
  await romeo.says(retracting('nurse@capulet.lit', 'm-a'))
  await romeo.says("<message to='juliet@capulet.lit' type='chat'><retract xmlns='urn:xmpp:message-retract:1' id='m-a'/></message>")
  const other = await s.device('romeo@montague.lit/mantua')
  await other.says(retracting('juliet@capulet.lit', 'm-b'))
  t.same((await asks(juliet)).texts.filter(text => text !== '-'), ['a', 'b'], 'outside a room the sender has to be the same')
  await other.says(retracting('juliet@capulet.lit', 'm-a'))
  t.same((await asks(juliet)).texts.filter(text => text !== '-'), ['b'], 'any device of the sender may retract')
  await romeo.says(retracting('juliet@capulet.lit', 'r1', 'r2'))
  t.equal((await asks(juliet)).results.filter(result => result.getChild('forwarded')?.getChild('message')?.getChild('retracted')).length, 1)
})

t.test('the form lists the fields of a query, and the metadata the ends of the archive', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  const described = await juliet.asks(`<iq type='get' id='g'><query ${MAM}/></iq>`)
  const fields = described.getChild('query')?.getChild('x')?.getChildren('field').map(one => [one.attrs['var'], one.attrs['type']])
  t.strictSame(fields, [['FORM_TYPE', 'hidden'], ['with', 'jid-single'], ['start', 'text-single'], ['end', 'text-single'],
    ['before-id', 'text-single'], ['after-id', 'text-single'], ['include-groupchat', 'boolean'],
    ['{urn:xmpp:fulltext:0}fulltext', 'text-single'], ['ids', 'list-multi']])
  const empty = await juliet.asks(`<iq type='get' id='m'><metadata ${MAM}/></iq>`)
  t.same(empty.getChild('metadata')?.children, [])
  await romeo.says(toJuliet('one'))
  await s.pass('1h')
  await romeo.says(toJuliet('two'))
  const { ids } = await asks(juliet)
  const metadata = (await juliet.asks(`<iq type='get' id='m'><metadata ${MAM}/></iq>`)).getChild('metadata')
  t.match(metadata?.getChild('start')?.attrs, { id: ids[0], timestamp: '2026-01-01T00:00:00.000Z' })
  t.match(metadata?.getChild('end')?.attrs, { id: ids[1], timestamp: '2026-01-01T01:00:00.000Z' })
})

// ---- Preferences and expiry ---------------------------------------------------------------------------

t.test('archive preferences say whose messages are archived', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  const nurse = await s.device('nurse@capulet.lit/kitchen')
  const prefs = async (xml: string): Promise<Element> => await juliet.asks(`<iq type='set' id='p'>${xml}</iq>`)
  const usual = await juliet.asks(`<iq type='get' id='p'><prefs ${MAM}/></iq>`)
  t.equal(usual.getChild('prefs')?.attrs['default'], 'always')
  const applied = await prefs(`<prefs ${MAM} default='never'><always><jid>nurse@capulet.lit</jid><jid>romeo@montague.lit/orchard</jid></always><never><jid>nurse@capulet.lit/kitchen</jid></never></prefs>`)
  t.match(applied.toString(), /<prefs xmlns="urn:xmpp:mam:2" default="never"><always><jid>nurse@capulet.lit<\/jid>/)
  await romeo.says(toJuliet('his'))
  await nurse.says("<message to='juliet@capulet.lit' type='chat'><body>hers</body></message>")
  await juliet.says(toRomeo('mine'))
  t.same((await asks(juliet)).texts, ['his'])
  await prefs(`<prefs ${MAM} default='roster'/>`)
  await romeo.says(toJuliet('no contact'))
  await s.contact('juliet@capulet.lit', 'romeo@montague.lit')
  await romeo.says(toJuliet('contact'))
  t.same((await asks(juliet)).texts, ['his', 'contact'])
  t.match((await prefs(`<prefs ${MAM} default='perhaps'/>`)).toString(), /bad-request/)
  t.match((await prefs(`<prefs ${MAM} default='always'><never><jid>a@@b</jid></never></prefs>`)).toString(), /jid-malformed/)
  const many = Array.from({ length: 1001 }, (_, n) => `<jid>a${n}@b.lit</jid>`).join('')
  t.match((await prefs(`<prefs ${MAM} default='always'><never>${many}</never></prefs>`)).toString(), /resource-constraint/)
})

t.test('messages beyond the limits of age and number expire, and a removed account leaves none', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { mam: { keep: 100, expire: '7d' } } })
  const { romeo, juliet } = await couple(s)
  await romeo.says(toJuliet('old'))
  await s.pass('6d')
  for (let n = 0; n < 101; n++) await romeo.says(toJuliet(`${n}`))
  await s.pass('1h')
  const kept = (await asks(juliet)).texts
  t.equal(kept.length, 100)
  t.equal(kept[0], '1')
  await s.pass('8d')
  t.same((await asks(juliet)).texts, [])
  await romeo.says(toJuliet('new'))
  await juliet.asks(`<iq type='set' id='p'><prefs ${MAM} default='roster'/></iq>`)
  await s.host('capulet.lit').removeAccount(juliet.jid.bare)
  await s.settled()
  t.same(await s.traces('juliet@capulet.lit'), [])
})

t.test('an operator gives one account other limits, and messages beyond a limit in bytes expire as well', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { mam: { expire: '7d', bytes: '1MiB' } } })
  const { romeo, juliet } = await couple(s)
  const command = (...args: readonly string[]): Promise<unknown> => s.host('capulet.lit').commands.get('mam')?.(args) ?? Promise.reject(new Error('none'))
  await romeo.says(toJuliet('one'), toJuliet('two'), toJuliet('three'))
  t.match(await command('juliet@capulet.lit'), { account: 'juliet@capulet.lit', messages: 3, expire: 'default', keep: 'default' })
  t.match(await command('juliet@capulet.lit', 'keep', '2'), { messages: 2, keep: 2 })
  t.match(await command('juliet@capulet.lit', 'expire', '30d'), { messages: 2, keep: 2, expire: '30d' })
  await s.pass('10d')
  t.same((await asks(juliet)).texts, ['two', 'three'])
  t.same((await asks(romeo)).texts, [], 'the other accounts keep the limits of the conf')
  t.match(await command('juliet@capulet.lit', 'expire', 'default'), { messages: 0, keep: 2, expire: 'default' })
  await command('juliet@capulet.lit', 'keep', 'default')
  for (let n = 0; n < 6; n++) await romeo.says(large(n))
  await s.pass('1h')
  t.equal((await asks(juliet)).texts[0]?.[0], '1')
  for (const args of [[], ['juliet@capulet.lit', 'keep'], ['juliet@capulet.lit', 'keep', 'many'], ['juliet@capulet.lit', 'some', '1'], ['a@@b']]) {
    await t.rejects(command(...args), args.join(' '))
  }
})

t.test('an archive expires by the settings of its own host', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { mam: { expire: '7d' } } })
  const { romeo, juliet } = await couple(s)
  await romeo.says(toJuliet('one'))
  const command = s.host('capulet.lit').commands.get('mam')
  await command?.(['juliet@capulet.lit', 'expire', '1y'])
  await s.pass('9d')
  t.same([(await asks(romeo)).texts, (await asks(juliet)).texts], [[], ['one']])
})

t.test('an unacknowledged archive page is not delivered again as a message', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await couple(s)
  await juliet.says("<enable xmlns='urn:xmpp:sm:3'/>")
  await romeo.says(toJuliet('one'))
  await asks(juliet)
  await juliet.says("<a xmlns='urn:xmpp:sm:3' h='1'/>")
  await asks(juliet)
  await juliet.loses('connection')
  const chamber = await s.device('juliet@capulet.lit/chamber', { presence: false })
  await chamber.says('<presence/>')
  t.notOk(chamber.unread.some(element => element.getChild('result') !== undefined))
})
