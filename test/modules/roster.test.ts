import t from 'tap'
import { childElements } from '../../lib/xml/element.js'
import { inbound, isSubscriptionType, outbound, type State, type SubscriptionType } from '../../modules/roster/subscription.js'
import { scenario, type Scenario } from '../scenario.js'
import type { Device } from '../device.js'
import { conditionOf } from '../stanzas.js'

// ---- RFC 6121 Appendix A, as tables --------------------------------------------------------

/** §A.1: the nine states. */
const STATES = {
  'None': { subscription: 'none', ask: false, pendingIn: false },
  'None + Pending Out': { subscription: 'none', ask: true, pendingIn: false },
  'None + Pending In': { subscription: 'none', ask: false, pendingIn: true },
  'None + Pending Out+In': { subscription: 'none', ask: true, pendingIn: true },
  'To': { subscription: 'to', ask: false, pendingIn: false },
  'To + Pending In': { subscription: 'to', ask: false, pendingIn: true },
  'From': { subscription: 'from', ask: false, pendingIn: false },
  'From + Pending Out': { subscription: 'from', ask: true, pendingIn: false },
  'Both': { subscription: 'both', ask: false, pendingIn: false },
} as const
type Name = keyof typeof STATES
/** The state before, whether the stanza is passed on, and the state after; '=' if the state does not change. */
type Row = readonly [Name, boolean, Name | '=']
const NO = false
const YES = true

/** §A.2.1 to §A.2.4. */
const OUTBOUND: Readonly<Record<SubscriptionType, readonly Row[]>> = {
  subscribe: [['None', YES, 'None + Pending Out'], ['None + Pending Out', YES, '='], ['None + Pending In', YES, 'None + Pending Out+In'],
    ['None + Pending Out+In', YES, '='], ['To', YES, '='], ['To + Pending In', YES, '='], ['From', YES, 'From + Pending Out'],
    ['From + Pending Out', YES, '='], ['Both', YES, '=']],
  unsubscribe: [['None', YES, '='], ['None + Pending Out', YES, 'None'], ['None + Pending In', YES, '='],
    ['None + Pending Out+In', YES, 'None + Pending In'], ['To', YES, 'None'], ['To + Pending In', YES, 'None + Pending In'], ['From', YES, '='],
    ['From + Pending Out', YES, 'From'], ['Both', YES, 'From']],
  subscribed: [['None', NO, '='], ['None + Pending Out', NO, '='], ['None + Pending In', YES, 'From'],
    ['None + Pending Out+In', YES, 'From + Pending Out'], ['To', NO, '='], ['To + Pending In', YES, 'Both'], ['From', NO, '='],
    ['From + Pending Out', NO, '='], ['Both', NO, '=']],
  unsubscribed: [['None', NO, '='], ['None + Pending Out', NO, '='], ['None + Pending In', YES, 'None'],
    ['None + Pending Out+In', YES, 'None + Pending Out'], ['To', NO, '='], ['To + Pending In', YES, 'To'], ['From', YES, 'None'],
    ['From + Pending Out', YES, 'None + Pending Out'], ['Both', YES, 'To']],
}

/** §A.3.1 to §A.3.4. */
const INBOUND: Readonly<Record<SubscriptionType, readonly Row[]>> = {
  subscribe: [['None', YES, 'None + Pending In'], ['None + Pending Out', YES, 'None + Pending Out+In'], ['None + Pending In', NO, '='],
    ['None + Pending Out+In', NO, '='], ['To', YES, 'To + Pending In'], ['To + Pending In', NO, '='], ['From', NO, '='],
    ['From + Pending Out', NO, '='], ['Both', NO, '=']],
  unsubscribe: [['None', NO, '='], ['None + Pending Out', NO, '='], ['None + Pending In', YES, 'None'],
    ['None + Pending Out+In', YES, 'None + Pending Out'], ['To', NO, '='], ['To + Pending In', YES, 'To'], ['From', YES, 'None'],
    ['From + Pending Out', YES, 'None + Pending Out'], ['Both', YES, 'To']],
  subscribed: [['None', NO, '='], ['None + Pending Out', YES, 'To'], ['None + Pending In', NO, '='],
    ['None + Pending Out+In', YES, 'To + Pending In'], ['To', NO, '='], ['To + Pending In', NO, '='], ['From', NO, '='],
    ['From + Pending Out', YES, 'Both'], ['Both', NO, '=']],
  unsubscribed: [['None', NO, '='], ['None + Pending Out', YES, 'None'], ['None + Pending In', NO, '='],
    ['None + Pending Out+In', YES, 'None + Pending In'], ['To', YES, 'None'], ['To + Pending In', YES, 'None + Pending In'], ['From', NO, '='],
    ['From + Pending Out', YES, 'From'], ['Both', YES, 'From']],
}

for (const [direction, step, tables] of [['outbound', outbound, OUTBOUND], ['inbound', inbound, INBOUND]] as const) {
  for (const type of ['subscribe', 'unsubscribe', 'subscribed', 'unsubscribed'] as const) {
    t.test(`RFC 6121 Appendix A: ${direction} ${type}`, t => {
      t.equal(tables[type].length, 9)
      for (const [before, passes, after] of tables[type]) {
        const went = step({ ...STATES[before], approved: false }, type)
        t.equal(went.pass, passes, `${before}: ${passes ? 'passed on' : 'not passed on'}`)
        const { approved: _, ...state } = went.state
        t.same(state, STATES[after === '=' ? before : after], `${before} → ${after}`)
        t.equal(went.answer, direction === 'inbound' && type === 'subscribe' && before.startsWith('From') || direction === 'inbound' && type === 'subscribe' && before === 'Both' ? 'subscribed' : undefined)
      }
      t.end()
    })
  }
}

t.test('a pre-approval answers the request when it arrives (§3.4)', t => {
  const none: State = { ...STATES.None, approved: false }
  const approved = outbound(none, 'subscribed').state
  t.same(approved, { ...STATES.None, approved: true })
  t.same(inbound(approved, 'subscribe'), { state: { ...STATES.From, approved: false }, pass: false, answer: 'subscribed' })
  t.same(inbound({ ...STATES.To, approved: true }, 'subscribe').state, { ...STATES.Both, approved: false })
  t.same(outbound(approved, 'unsubscribed').state, none, 'a pre-approval can be cancelled')
  t.notOk(isSubscriptionType('available'))
  t.end()
})

// ---- The roster, in scenes ------------------------------------------------------------------------

const MODULES = ['presence', 'message']
const GET = "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>"
const set = (item: string): string => `<iq type='set' id='s'><query xmlns='jabber:iq:roster'>${item}</query></iq>`
const push = (item: string): string => `<iq type='set'><query xmlns='jabber:iq:roster'>${item}</query></iq>`

async function interested (s: Scenario, address: string): Promise<Device> {
  const device = await s.device(address)
  await device.asks(GET)
  return device
}

t.test('an added, changed or removed contact is pushed to every interested device', async t => {
  const s = await scenario(t, { modules: MODULES })
  const orchard = await interested(s, 'romeo@montague.lit/orchard')
  const balcony = await interested(s, 'romeo@montague.lit/balcony')
  const deaf = await s.device('romeo@montague.lit/deaf')
  balcony.forget()
  orchard.forget()
  t.equal((await orchard.asks(set("<item jid='Juliet@capulet.lit/x' name='Juliet' subscription='both' ask='subscribe'><group>Lovers</group></item>"))).attrs['type'], 'result')
  for (const device of [orchard, balcony]) await device.gets(push("<item jid='juliet@capulet.lit' name='Juliet' subscription='none'><group>Lovers</group></item>"))
  await deaf.getsNothing()
  t.match((await orchard.asks(GET)).toString(), /<item jid="juliet@capulet.lit" subscription="none" name="Juliet"><group>Lovers<\/group><\/item>/)
  await orchard.asks(set("<item jid='juliet@capulet.lit'/>"))
  await balcony.gets(push("<item jid='juliet@capulet.lit'/>"))
  await orchard.asks(set("<item jid='juliet@capulet.lit' subscription='remove'/>"))
  await balcony.gets(push("<item jid='juliet@capulet.lit' subscription='remove'/>"))
  t.equal(conditionOf(await orchard.asks(set("<item jid='juliet@capulet.lit' subscription='remove'/>"))), 'item-not-found')
})

t.test('a client with the current roster version gets no roster', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  await romeo.asks(set("<item jid='juliet@capulet.lit'/>"))
  const ver = String(childElements(await romeo.asks(GET))[0]?.attrs['ver'])
  t.equal(childElements(await romeo.asks(GET.replace('/>', ` ver='${ver}'/>`))).length, 0)
  t.equal(childElements(await romeo.asks(GET.replace('/>', " ver='old'/>"))).length, 1)
  t.equal(s.host('montague.lit').features.filter(feature => ['urn:xmpp:features:rosterver', 'urn:xmpp:features:pre-approval'].includes(feature.namespace)).length, 2)
})

t.test('a roster version is the same for the same items only, also after an account is created again (RFC 6121 §2.6)', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  const version = async (device: Device): Promise<string> => String(childElements(await device.asks(GET))[0]?.attrs['ver'])
  const empty = await version(romeo)
  t.not(empty, '')
  await romeo.asks(set("<item jid='juliet@capulet.lit' name='Juliet'/>"))
  const one = await version(romeo)
  await romeo.asks(set("<item jid='nurse@capulet.lit'/>"))
  const two = await version(romeo)
  t.equal(new Set([empty, one, two]).size, 3)
  const pushed = romeo.unread.map(element => String(childElements(element)[0]?.attrs['ver']))
  t.same(pushed, [one, two], 'each push carries the resulting version')
  const paris = await s.device('paris@verona.lit/street')
  await paris.says("<presence type='subscribe' to='romeo@montague.lit'/>")
  t.equal(await version(romeo), two, 'a request that waits is in no roster')
  await s.reload('roster', { bytesPerName: '64B', groupsPerContact: 3 })
  t.equal(await version(romeo), two, 'the version that a query returns')
  await romeo.asks(set("<item jid='nurse@capulet.lit' subscription='remove'/>"))
  t.equal(await version(romeo), one)
  await romeo.asks(set("<item jid='juliet@capulet.lit' name='J'/>"))
  const other = await version(romeo)
  t.notOk([empty, one, two].includes(other))
  await s.host('montague.lit').removeAccount(romeo.jid.bare)
  const anew = await interested(s, 'romeo@montague.lit/anew')
  await anew.asks(set("<item jid='mercutio@verona.lit'/>"))
  t.equal(childElements(await anew.asks(GET.replace('/>', ` ver='${one}'/>`))).length, 1, 'the same number of changes, but other items')
})

const WRONG: readonly (readonly [string, string])[] = [
  ['', 'bad-request'],
  ["<item jid='a@b'/><item jid='c@d'/>", 'bad-request'],
  ['<item/>', 'bad-request'],
  ["<item jid='@'/>", 'jid-malformed'],
  ["<item jid='romeo@montague.lit'/>", 'not-allowed'],
  ["<item jid='a@b'><group>x</group><group>x</group></item>", 'bad-request'],
  ["<item jid='a@b'><group/></item>", 'not-acceptable'],
  [`<item jid='a@b' name='${'x'.repeat(65)}'/>`, 'not-acceptable'],
  [`<item jid='a@b'><group>${'x'.repeat(65)}</group></item>`, 'not-acceptable'],
  ["<item jid='a@b'><group>1</group><group>2</group><group>3</group></item>", 'not-acceptable'],
]

t.test('an invalid roster item is refused', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { roster: { bytesPerName: '64B', groupsPerContact: 2, items: 2 } } })
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  for (const [item, condition] of WRONG) t.equal(conditionOf(await romeo.asks(set(item))), condition, item)
  await romeo.asks(set("<item jid='a@b'/>"))
  await romeo.asks(set("<item jid='c@d'/>"))
  t.equal(conditionOf(await romeo.asks(set("<item jid='e@f'/>"))), 'resource-constraint')
  t.equal((await romeo.asks(set("<item jid='a@b' name='A'/>"))).attrs['type'], 'result', 'an existing contact can be changed')
  romeo.forget()
  await romeo.says("<presence to='g@h' type='subscribe'/>")
  t.equal(conditionOf(await romeo.gets("<presence type='error'/>")), 'resource-constraint')
  await s.account('juliet@montague.lit')
  t.equal(conditionOf(await romeo.asks(GET.replace("id='g'", "id='g' to='juliet@montague.lit'"))), 'service-unavailable', "a user cannot see another's roster")
})

t.test('two users subscribe to each other, and unsubscribe', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  const juliet = await interested(s, 'juliet@capulet.lit/balcony')
  await romeo.says("<presence to='juliet@capulet.lit/balcony' type='subscribe'><status>please</status></presence>")
  await romeo.gets(push("<item jid='juliet@capulet.lit' subscription='none' ask='subscribe'/>"))
  await juliet.gets("<presence type='subscribe' from='romeo@montague.lit' to='juliet@capulet.lit'><status>please</status></presence>")
  t.notMatch((await juliet.asks(GET)).toString(), /romeo/, 'a user who has only asked is not in the roster')
  await juliet.says("<presence to='romeo@montague.lit' type='subscribed'/>")
  await romeo.gets("<presence type='subscribed' from='juliet@capulet.lit' to='romeo@montague.lit'/>")
  await romeo.gets(push("<item jid='juliet@capulet.lit' subscription='to'/>"))
  await romeo.gets("<presence from='juliet@capulet.lit/balcony' to='romeo@montague.lit'/>")
  await juliet.gets(push("<item jid='romeo@montague.lit' subscription='from'/>"))

  await juliet.says("<presence to='romeo@montague.lit' type='subscribe'/>")
  await romeo.says("<presence to='juliet@capulet.lit' type='subscribed'/>")
  romeo.forget()
  juliet.forget()
  t.match((await romeo.asks(GET)).toString(), /jid="juliet@capulet.lit" subscription="both"/)

  await juliet.says("<presence to='romeo@montague.lit' type='unsubscribed'/>")
  await romeo.gets("<presence type='unavailable' from='juliet@capulet.lit/balcony'/>")
  await romeo.gets("<presence type='unsubscribed' from='juliet@capulet.lit'/>")
  await romeo.gets(push("<item jid='juliet@capulet.lit' subscription='from'/>"))
  juliet.forget()
  await juliet.says("<presence to='romeo@montague.lit' type='unsubscribe'/>")
  await romeo.gets("<presence type='unsubscribe' from='juliet@capulet.lit'/>")
  await romeo.gets(push("<item jid='juliet@capulet.lit' subscription='none'/>"))
  await juliet.gets(push("<item jid='romeo@montague.lit' subscription='none'/>"))
  await juliet.gets("<presence type='unavailable' from='romeo@montague.lit/orchard'/>")
})

t.test('removing a contact ends the subscriptions in both directions and notifies the contact', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  const juliet = await interested(s, 'juliet@capulet.lit/balcony')
  await romeo.says("<presence to='juliet@capulet.lit' type='subscribe'/>")
  await juliet.says("<presence to='romeo@montague.lit' type='subscribed'/>", "<presence to='romeo@montague.lit' type='subscribe'/>")
  await romeo.says("<presence to='juliet@capulet.lit' type='subscribed'/>")
  juliet.forget()
  await romeo.asks(set("<item jid='juliet@capulet.lit' subscription='remove'/>"))
  const types = juliet.unread.filter(element => element.name === 'presence').map(element => element.attrs['type'])
  t.same(types.sort(), ['unavailable', 'unsubscribe', 'unsubscribed'])
  t.match((await juliet.asks(GET)).toString(), /jid="romeo@montague.lit" subscription="none"/)
})

t.test('a subscription request waits for an unavailable user, is delivered at each login, and the number is bounded', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { roster: { requests: 1 } } })
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  await romeo.says("<presence to='juliet@capulet.lit' type='subscribe'><status>it is me</status></presence>", "<presence to='juliet@capulet.lit' type='subscribe'/>")
  romeo.forget()
  for (const resource of ['one', 'two']) {
    const juliet = await s.device(`juliet@capulet.lit/${resource}`, { presence: false })
    await juliet.says('<presence/>')
    const requests = juliet.unread.filter(element => element.attrs['type'] === 'subscribe')
    t.equal(requests.length, 1)
    t.equal(requests[0]?.attrs['from'], 'romeo@montague.lit')
    await juliet.loses('connection')
  }
  const paris = await s.device('paris@montague.lit/street')
  await paris.says("<presence to='juliet@capulet.lit' type='subscribe'/>")
  t.equal(conditionOf(await paris.gets("<presence type='error'/>")), 'resource-constraint')
  const juliet = await interested(s, 'juliet@capulet.lit/three')
  await juliet.says("<presence to='romeo@montague.lit' type='unsubscribed'/>")
  await romeo.gets("<presence type='unsubscribed' from='juliet@capulet.lit'/>")
  await romeo.gets(push("<item jid='juliet@capulet.lit' subscription='none'/>"))
})

t.test('a pre-approved contact is subscribed at once', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  const juliet = await interested(s, 'juliet@capulet.lit/balcony')
  await juliet.says("<presence to='romeo@montague.lit' type='subscribed'/>")
  await juliet.gets(push("<item jid='romeo@montague.lit' subscription='none' approved='true'/>"))
  await romeo.getsNothing()
  await romeo.says("<presence to='juliet@capulet.lit' type='subscribe'/>")
  await romeo.getsInAnyOrder(push("<item jid='juliet@capulet.lit' ask='subscribe'/>"), "<presence type='subscribed' from='juliet@capulet.lit'/>",
    push("<item jid='juliet@capulet.lit' subscription='to'/>"), "<presence from='juliet@capulet.lit/balcony'/>")
  await juliet.gets(push("<item jid='romeo@montague.lit' subscription='from'/>"))
  await juliet.getsNothing()
})

t.test('nobody can subscribe to the own account', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  await romeo.says("<presence to='romeo@montague.lit' type='subscribe'/>")
  await romeo.getsNothing()
})

t.test('a change whose storage fails has no effect, and no change is answered before it is stored', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  s.storage.failing = new Error('disk full')
  t.equal(conditionOf(await romeo.asks(set("<item jid='juliet@capulet.lit'/>"))), 'resource-constraint')
  await romeo.getsNothing()
  s.storage.failing = undefined
  t.notMatch((await romeo.asks(GET)).toString(), /juliet/)

  s.storage.hold()
  await romeo.says(set("<item jid='juliet@capulet.lit'/>"))
  await romeo.getsNothing()
  s.storage.release()
  await romeo.getsInAnyOrder("<iq type='result' id='s'/>", push("<item jid='juliet@capulet.lit'/>"))
})

t.test('a removed account is unsubscribed from the rosters of its contacts', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  const juliet = await interested(s, 'juliet@capulet.lit/balcony')
  await romeo.says("<presence to='juliet@capulet.lit' type='subscribe'/>")
  await juliet.says("<presence to='romeo@montague.lit' type='subscribed'/>")
  romeo.forget()
  await s.host('capulet.lit').removeAccount(juliet.jid.bare)
  await romeo.getsInAnyOrder("<presence type='unavailable' from='juliet@capulet.lit/balcony'/>", "<presence type='unsubscribed' from='juliet@capulet.lit'/>",
    push("<item jid='juliet@capulet.lit' subscription='none'/>"))
  t.equal(juliet.error?.condition, 'not-authorized')
})

t.test('nobody can change the roster of another, whether the account exists or not (RFC 6121 §2.1.5, §2.3.3, §2.4.3)', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await interested(s, 'juliet@capulet.lit/balcony')
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  for (const to of ['juliet@capulet.lit', 'nobody@capulet.lit', 'nobody@montague.lit']) {
    for (const item of ["<item jid='paris@capulet.lit'/>", "<item jid='paris@capulet.lit' subscription='remove'/>", '']) {
      const answer = await romeo.asks(set(item).replace('<iq', `<iq to='${to}'`))
      t.equal(conditionOf(answer), 'forbidden', `${to} ${item}`)
    }
  }
  t.notMatch((await juliet.asks(GET)).toString(), /paris/)
  await juliet.getsNothing()
})

t.test('the push of a change precedes the result of the request (RFC 6121 §2.5.2)', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await interested(s, 'romeo@montague.lit/orchard')
  for (const item of ["<item jid='juliet@capulet.lit' name='J'/>", "<item jid='juliet@capulet.lit' name='Jule'/>", "<item jid='juliet@capulet.lit' subscription='remove'/>"]) {
    await romeo.says(set(item))
    await romeo.gets(push(item))
    await romeo.gets("<iq type='result' id='s'/>")
  }
})
