import t, { type Test } from 'tap'
import { serverReturned } from '../../lib/host/events.js'
import type { MemoryStorage } from '../../lib/storage/memory.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { addressed, Stanza, type Addressed } from '../../lib/xmpp/stanza.js'
import { elsewhere, foreigner } from '../elsewhere.js'
import { scenario, type Scenario } from '../scenario.js'
import { Device } from '../device.js'
import { lovers } from '../couple.js'
import { conditionOf } from '../stanzas.js'

const MODULES = ['presence', 'message']
const ROMEO = 'romeo@montague.lit'
const BENVOLIO = 'benvolio@montague.lit'
const JULIET = 'juliet@capulet.lit'
const OFFLINE = { presence: false } as const

/** The presence stanzas that the device got, as sender and type. */
function seen (device: Device): string[] {
  return device.unread.filter(element => element.name === 'presence').map(element => `${element.attrs['from'] ?? ''} ${element.attrs['type'] ?? 'available'}`).sort()
}

t.test("a new device is announced to subscribers and to the account's other devices, and gets their presence", async t => { // §4.2
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await lovers(s, OFFLINE)
  const stranger = await s.device('paris@capulet.lit/street')
  const street = await s.device(`${ROMEO}/street`)
  await romeo.says('<presence><show>chat</show></presence>')
  t.same(seen(romeo), [`${ROMEO}/orchard available`, `${ROMEO}/street available`], 'its own presence, and that of the other device')
  t.same(seen(street), [`${ROMEO}/orchard available`])
  t.same(seen(juliet), [], 'she is not available yet')
  for (const device of [romeo, street]) device.forget()
  await juliet.says('<presence/>')
  t.same(seen(juliet), [`${JULIET}/balcony available`, `${ROMEO}/orchard available`, `${ROMEO}/street available`])
  t.match(juliet.unread.find(element => element.attrs['from'] === `${ROMEO}/orchard`)?.toString(), '<show>chat</show>', 'the presence as he last sent it')
  for (const device of [romeo, street]) t.same(seen(device), [`${JULIET}/balcony available`])
  await stranger.getsNothing()
  for (const device of [romeo, juliet]) device.forget()
  await juliet.says('<presence><priority>3</priority><show>away</show></presence>')
  await romeo.gets(`<presence from='${JULIET}/balcony' to='${ROMEO}'><show>away</show></presence>`)
  t.same(seen(juliet), [`${JULIET}/balcony available`], 'an available contact is not probed again')
})

t.test('a subscription in one direction shows presence in one direction', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device(`${ROMEO}/orchard`)
  const juliet = await s.device(`${JULIET}/balcony`)
  await romeo.says(`<presence to='${JULIET}' type='subscribe'/>`)
  await juliet.says(`<presence to='${ROMEO}' type='subscribed'/>`)
  for (const device of [romeo, juliet]) device.forget()
  await romeo.says('<presence><show>xa</show></presence>')
  t.same(seen(juliet), [])
  await juliet.says('<presence><show>xa</show></presence>')
  t.same(seen(romeo).filter(line => line.startsWith(JULIET)), [`${JULIET}/balcony available`])
})

t.test('unavailable presence and a lost connection are announced to everyone who saw the device, with the last status', async t => { // §4.5
  for (const how of ['says', 'closes', 'loses']) {
    const s = await scenario(t, { modules: MODULES })
    const { romeo, juliet } = await lovers(s, OFFLINE)
    await romeo.says('<presence/>')
    await juliet.says('<presence/>')
    romeo.forget()
    if (how === 'says') await juliet.says("<presence type='unavailable'><status>nurse calls</status></presence>")
    else if (how === 'loses') await juliet.loses('connection')
    else {
      juliet.session.close()
      await s.settled()
    }
    t.same(seen(romeo), [`${JULIET}/balcony unavailable`], how)
    if (how === 'says') t.match(romeo.unread[0]?.toString(), 'nurse calls')
    romeo.forget()
    if (how === 'says') await juliet.says("<presence type='unavailable'/>")
    await romeo.getsNothing()
  }
})

t.test('directed presence and its end go to its recipient alone, once, whether it is a subscriber or not', async t => { // §4.6
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await lovers(s, OFFLINE)
  const nurse = await s.device('nurse@capulet.lit/house')
  const tybalt = await s.device('tybalt@capulet.lit/street')
  await juliet.says('<presence/>')
  await romeo.says(`<presence to='nurse@capulet.lit/house'/>`)
  t.same(seen(nurse), [`${ROMEO}/orchard available`], 'an unavailable device may send directed presence')
  await romeo.says('<presence/>', `<presence to='${JULIET}'><show>dnd</show></presence>`, "<presence to='tybalt@capulet.lit'/>", "<presence to='tybalt@capulet.lit' type='unavailable'/>")
  for (const device of [juliet, nurse, tybalt]) device.forget()
  await romeo.says('<presence><show>away</show></presence>')
  t.same(seen(nurse), [], 'broadcast presence does not go to her (§4.6.3)')
  juliet.forget()
  await romeo.loses('connection')
  t.same(seen(juliet), [`${ROMEO}/orchard unavailable`])
  t.same(seen(nurse), [`${ROMEO}/orchard unavailable`])
  t.same(seen(tybalt), [], 'he was already told')
})

t.test('the number of addresses for directed presence is bounded', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { presence: { directedRecipients: 2 } } })
  const romeo = await s.device(`${ROMEO}/orchard`)
  for (const name of ['a', 'b', 'a']) await romeo.says(`<presence id='${name}' to='${name}@rooms.lit/romeo'/>`)
  romeo.forget()
  await romeo.says("<presence id='c' to='c@rooms.lit/romeo'/>")
  t.equal(conditionOf(await romeo.gets("<presence type='error' id='c'/>")), 'resource-constraint')
  await romeo.says("<presence to='a@rooms.lit/romeo' type='unavailable'/>")
  romeo.forget()
  await romeo.says("<presence id='c' to='c@rooms.lit/romeo'/>")
  t.notMatch(romeo.unread.map(conditionOf), ['resource-constraint'])
})

const PRIORITIES: readonly (readonly [string, number | undefined])[] = [
  ['', 0], ['<priority>5</priority>', 5], ['<priority>-128</priority>', -128], ['<priority> 127 </priority>', 127], ['<priority>+1</priority>', 1],
  ['<priority>128</priority>', undefined], ['<priority>-129</priority>', undefined], ['<priority>1.5</priority>', undefined],
  ['<priority>1e1</priority>', undefined], ['<priority/>', undefined], ['<priority>1</priority><priority>2</priority>', undefined],
]

t.test('a priority is an integer of one byte', async t => { // §4.7.2.3
  for (const [text, wanted] of PRIORITIES) {
    const s = await scenario(t, { modules: MODULES })
    const romeo = await s.device(`${ROMEO}/orchard`, { presence: false })
    await romeo.says(`<presence id='p'>${text}</presence>`)
    if (wanted === undefined) t.equal(conditionOf(await romeo.gets("<presence type='error' id='p'/>")), 'bad-request', text)
    else t.equal(romeo.session.priority, wanted, text)
    t.equal(romeo.session.available, wanted !== undefined, text)
  }
})

t.test('presence that needs an address and has none, or has an unknown type, is refused', async t => { // §4.7.1
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device(`${ROMEO}/orchard`)
  await s.account(JULIET)
  for (const type of ['probe', 'subscribe', 'subscribed', 'unsubscribe', 'unsubscribed', 'dance']) {
    await romeo.says(`<presence id='${type}' type='${type}'/>`)
    t.equal(conditionOf(await romeo.gets(`<presence type='error' id='${type}'/>`)), 'bad-request', type)
  }
  await romeo.says(`<presence id='x' to='${JULIET}' type='dance'/>`)
  t.equal(conditionOf(await romeo.gets("<presence type='error' id='x'/>")), 'bad-request')
  await romeo.says(`<presence to='${JULIET}' type='error'/>`, "<presence to='nobody@capulet.lit'/>", "<presence to='capulet.lit'/>")
  await romeo.getsNothing()
})

t.test('a probe is answered as the subscription allows', async t => { // §4.3.2
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await lovers(s, OFFLINE)
  const chamber = await s.device(`${JULIET}/chamber`)
  const paris = await s.device('paris@capulet.lit/street')
  await juliet.says('<presence><show>away</show></presence>')
  await romeo.says('<presence/>')
  const asks = async (device: Device, to: string): Promise<string[]> => {
    device.forget()
    await device.says(`<presence to='${to}' type='probe'/>`)
    return seen(device)
  }
  t.same(await asks(romeo, JULIET), [`${JULIET}/balcony available`, `${JULIET}/chamber available`])
  t.same(await asks(romeo, `${JULIET}/chamber`), [`${JULIET}/chamber available`])
  t.same(await asks(romeo, `${JULIET}/gone`), [])
  t.same(await asks(chamber, JULIET), [`${JULIET}/balcony available`, `${JULIET}/chamber available`], 'a user may probe the own account')
  t.same(await asks(paris, JULIET), [], 'an unsubscribed refusal means nothing to a user who never asked to subscribe (§A.3.4)')
  t.same(await asks(paris, 'nobody@capulet.lit'), [], 'an account that does not exist looks the same')
  await juliet.says("<presence to='paris@capulet.lit'/>")
  t.same(await asks(paris, JULIET), [`${JULIET}/balcony available`], 'a recipient of directed presence may probe (§4.6.4)')
  await juliet.says("<presence type='unavailable'/>")
  t.same(await asks(paris, JULIET), [])
})

t.test('presence to an account goes to its available devices, and presence to a device goes to that device alone', async t => { // §8.5.2, §8.5.3
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device(`${ROMEO}/orchard`)
  const balcony = await s.device(`${JULIET}/balcony`)
  const chamber = await s.device(`${JULIET}/chamber`, { presence: '<presence><priority>-1</priority></presence>' })
  const deaf = await s.device(`${JULIET}/deaf`, { presence: false })
  for (const device of [balcony, chamber, deaf]) device.forget()
  await romeo.says(`<presence to='${JULIET}'/>`)
  t.same([balcony, chamber, deaf].map(device => seen(device).length), [1, 1, 0])
  for (const device of [balcony, chamber]) device.forget()
  for (const to of [`${JULIET}/deaf`, `${JULIET}/gone`]) await romeo.says(`<presence to='${to}'/>`)
  t.same([balcony, chamber, deaf].map(device => seen(device).length), [0, 0, 1], 'also if the device itself is not available')
  await romeo.getsNothing()
})

// ---- Repeated presence --------------------------------------------------------------------------

t.test('a repeated presence goes back to its sender only; a changed one goes to all subscribers (§4.4.2)', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'caps', 'disco'] })
  const { romeo, juliet } = await lovers(s, OFFLINE)
  const street = await s.device(`${ROMEO}/street`)
  for (const device of [juliet, romeo]) await device.says('<presence/>')
  const status = (id: string, more = ''): string => `<presence id='${id}'><show>away</show><status xml:lang='it'>così</status><x xmlns='urn:x'><y z='1'/></x>${more}</presence>`
  await romeo.says(status('1'))
  const all = [romeo, street, juliet]
  t.same(all.map(device => device.unread.at(-1)?.attrs['from']), [`${ROMEO}/orchard`, `${ROMEO}/orchard`, `${ROMEO}/orchard`])
  for (const device of all) device.forget()
  await romeo.says(status('2'), status('3').replaceAll("'", '"'), status('4').replace("<y z='1'/>", "<y z='1'></y>"))
  t.same(romeo.unread.map(({ attrs }) => String(attrs['id'])), ['2', '3', '4'], 'the sender')
  for (const device of [street, juliet]) await device.getsNothing()
  const spared = s.host('montague.lit').counters
  t.equal(spared.get('presence.spared.stanzas', { kind: 'presence' }), 6)
  t.ok((spared.get('presence.spared.bytes', { kind: 'presence' }) ?? 0) > 600)
  romeo.forget()
  for (const more of ['<priority>1</priority>', '<status>cosi</status>', '']) {
    await romeo.says(status('5', more))
    for (const device of [street, juliet]) await device.gets("<presence id='5'><show>away</show></presence>")
  }
  await romeo.says("<presence type='unavailable'/>", status('6'))
  for (const device of [street, juliet]) {
    await device.gets("<presence type='unavailable'/>")
    await device.gets("<presence id='6'/>")
  }
  await s.pass('1h')
  for (const device of all) device.forget()
  await romeo.says(status('7'))
  for (const device of all) await device.gets("<presence id='7'/>")
})

t.test('a suppressed repeat counts for later devices, for new subscribers and for directed presence', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await lovers(s, OFFLINE)
  const says = '<presence><status>here</status></presence>'
  await romeo.says(says, says)
  await juliet.says('<presence/>')
  t.same(seen(juliet), [`${JULIET}/balcony available`, `${ROMEO}/orchard available`])
  const tybalt = await s.device('tybalt@capulet.lit/street')
  await tybalt.says(`<presence type='subscribe' to='${ROMEO}'/>`)
  await romeo.says("<presence type='subscribed' to='tybalt@capulet.lit'/>")
  t.same(seen(tybalt).filter(line => line.startsWith(`${ROMEO}/`)), [`${ROMEO}/orchard available`])
  juliet.forget()
  for (let n = 0; n < 2; n++) await romeo.says(`<presence to='${JULIET}'><status>here</status></presence>`)
  t.equal(juliet.unread.length, 2, 'directed presence is never suppressed')
  juliet.forget()
  await juliet.says(`<presence to='${ROMEO}' type='probe'/>`)
  await juliet.gets('<presence><status>here</status></presence>')
})

t.test('an operator can have each repeat broadcast', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { presence: { repeatAfter: '0s' } } })
  const { romeo, juliet } = await lovers(s, OFFLINE)
  await juliet.says('<presence/>')
  juliet.forget()
  for (let n = 0; n < 3; n++) await romeo.says('<presence/>')
  t.equal(juliet.unread.length, 3)
})

// ---- Presence from another server --------------------------------------------------------------------

interface Abroad {
  /** Returns the presence that was sent to other servers since the last call. */
  readonly went: () => string[]
  /** Receives this presence from Juliet's server. */
  readonly says: (presence: string) => Promise<void>
}

const ELSEWHERE = ['capulet.lit', 'rooms.lit']

/** Juliet is on another server; Romeo and she see each other's presence. */
async function abroad (s: Scenario): Promise<Abroad> {
  const { router } = s.server
  const gone: Addressed[] = []
  router.remote = elsewhere(stanza => { gone.push(stanza) })
  const arrives = foreigner(s.server)
  await s.account(ROMEO)
  await s.contact(ROMEO, JULIET)
  return {
    went: () => gone.splice(0).filter(({ kind, to }) => kind === 'presence' && ELSEWHERE.includes(to.domain)).map(({ type, from, to }) => `${type} ${from.toString()} ${to.toString()}`),
    says: async text => {
      const element = s.element(text)
      const { from, to } = element.attrs as { from: string, to: string }
      const stanza = addressed(new Stanza('presence', element, parseJid(from), parseJid(to)), parseJid(to))
      await arrives(stanza)
      await s.settled()
    },
  }
}

const fromJuliet = (resource: string, content: string, to = ROMEO, type = ''): string =>
  `<presence from='${JULIET}/${resource}' to='${to}'${type}>${content}</presence>`
const CAPS = "<c xmlns='http://jabber.org/protocol/caps' hash='md5' node='urn:n' ver='v'/>"

t.test('a second device gets at once the presence of contacts on other servers, without new probes', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { went, says } = await abroad(s)
  const orchard = await s.device(`${ROMEO}/orchard`)
  t.same(went(), [`available ${ROMEO}/orchard ${JULIET}`, `probe ${ROMEO}/orchard ${JULIET}`])
  await says(fromJuliet('balcony', `<show>away</show>${CAPS}`, `${ROMEO}/orchard`))
  await says(fromJuliet('chamber', '<status>&lt;ü&gt;</status><p:x xmlns:p="urn:p" p:a="1"/>', `${ROMEO}/orchard`))
  t.equal(orchard.unread.length, 2)
  const early = await s.device(`${ROMEO}/early`)
  t.same(went(), [`available ${ROMEO}/early ${JULIET}`, `probe ${ROMEO}/early ${JULIET}`], 'while answers may still arrive')
  early.forget()
  await s.pass('3m')
  await says(fromJuliet('balcony', '<show>xa</show>'))
  orchard.forget()
  const street = await Device.bind(s, s.host('montague.lit'), parseJid(`${ROMEO}/street`), '192.0.2.1')
  await street.says('<presence/>')
  t.same(went(), [`available ${ROMEO}/street ${JULIET}`])
  await street.getsInAnyOrder(
    `<presence from='${JULIET}/balcony' to='${ROMEO}/street'><show>xa</show>${CAPS}</presence>`,
    `<presence from='${JULIET}/chamber' to='${ROMEO}/street'><status>&lt;ü&gt;</status><p:x xmlns:p="urn:p" p:a="1"/></presence>`,
    `<presence from='${ROMEO}/street'/>`, `<presence from='${ROMEO}/orchard'/>`, `<presence from='${ROMEO}/early'/>`,
  )
  await street.getsNothing()
  t.equal(s.host('montague.lit').counters.get('presence.spared.stanzas', { kind: 'probe' }), 1)
  await says(fromJuliet('balcony', '', ROMEO, " type='unavailable'"))
  const late = await Device.bind(s, s.host('montague.lit'), parseJid(`${ROMEO}/late`), '192.0.2.1')
  await late.says('<presence/>')
  t.same(seen(late).filter(line => line.startsWith(JULIET)), [`${JULIET}/chamber available`])
  await s.pass('1h')
  went()
  const hour = await Device.bind(s, s.host('montague.lit'), parseJid(`${ROMEO}/hour`), '192.0.2.1')
  await hour.says('<presence/>')
  t.same(seen(hour).filter(line => line.startsWith(JULIET)), [`${JULIET}/chamber available`])
  t.same(went(), [`available ${ROMEO}/hour ${JULIET}`, `probe ${ROMEO}/hour ${JULIET}`], 'presence that is too old is probed for as well')
})

t.test('a repeat from another server is not sent to devices that have it; new or directed presence is', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { says } = await abroad(s)
  const orchard = await s.device(`${ROMEO}/orchard`)
  const deaf = await s.device(`${ROMEO}/deaf`, { presence: false })
  await says(fromJuliet('balcony', `<show>away</show>${CAPS}`))
  await orchard.gets('<presence><show>away</show></presence>')
  for (const again of [`<show>away</show>${CAPS}`, '<show>away</show>', `${CAPS}<show>away</show>`]) await says(fromJuliet('balcony', again))
  await orchard.getsNothing()
  t.equal(s.host('montague.lit').counters.get('presence.spared.stanzas', { kind: 'presence' }), 3)
  for (const time of ['1s', '3m'] as const) {
    await s.pass(time)
    for (let n = 0; n < 2; n++) await says(fromJuliet('balcony', '<show>away</show>', `${ROMEO}/orchard`))
    t.equal(orchard.unread.length, 2, 'directed presence, and the answer to a probe')
    orchard.forget()
  }
  await says(fromJuliet('balcony', '<show>dnd</show>', `${ROMEO}/orchard`))
  orchard.forget()
  for (const [resource, content, type] of [['chamber', '<show>away</show>'], ['balcony', '<show>dnd</show>'], ['balcony', '', 'unavailable'], ['balcony', '', 'unavailable'], ['balcony', '<show>dnd</show>']] as const) {
    await says(fromJuliet(resource, content, ROMEO, type === undefined ? '' : ` type='${type}'`))
    t.equal(orchard.unread.length, 1, `${resource} ${type ?? 'available'}`)
    orchard.forget()
  }
  await deaf.says('<presence/>')
  deaf.forget()
  await deaf.says("<presence type='unavailable'/>", '<presence/>')
  t.same(seen(deaf).filter(line => line.startsWith(JULIET)), [`${JULIET}/balcony available`, `${JULIET}/chamber available`], 'a contact that was unavailable is announced again')
  deaf.forget()
  orchard.forget()
  await says(fromJuliet('balcony', '<show>dnd</show>'))
  for (const device of [orchard, deaf]) await device.getsNothing()
  for (let n = 0; n < 2; n++) await says(`<presence from='room@rooms.lit/juliet' to='${ROMEO}/orchard'/>`)
  t.equal(orchard.unread.length, 2, 'rooms are no contacts')
})

t.test('remote presence is forgotten with the last device, the link, an error, a subscription, or a block', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'blocking'] })
  const { went, says } = await abroad(s)
  const block = (how: string): string => `<iq type='set' id='b'><${how} xmlns='urn:xmpp:blocking'><item jid='${JULIET}'/></${how}></iq>`
  const forgets: Readonly<Record<string, (device: Device) => Promise<void>>> = {
    'nothing': () => Promise.resolve(),
    'nothing of hers': async () => {
      await says(`<presence from='nurse@capulet.lit' to='${ROMEO}/orchard' type='error'><error type='cancel'/></presence>`)
      await s.host('montague.lit').hooks.fire(serverReturned, { peer: 'verona.lit' })
    },
    'the last device': async device => { await device.says("<presence type='unavailable'/>", '<presence/>') },
    'the link': async () => { await s.host('montague.lit').hooks.fire(serverReturned, { peer: 'capulet.lit' }) },
    'an error': () => says(fromJuliet('balcony', "<error type='cancel'/>", `${ROMEO}/orchard`, " type='error'")),
    'a subscription': async () => {
      await says(`<presence from='${JULIET}' to='${ROMEO}' type='unsubscribed'/>`)
      await s.contact(ROMEO, JULIET)
    },
    'a block': async device => { await device.asks(block('block')); await device.asks(block('unblock')) },
  }
  for (const [why, forget] of Object.entries(forgets)) {
    const orchard = await s.device(`${ROMEO}/orchard`)
    await says(fromJuliet('balcony', '<show>away</show>'))
    await s.pass('3m')
    await forget(orchard)
    await s.settled()
    went()
    const street = await s.device(`${ROMEO}/street`)
    t.equal(went().filter(line => line.startsWith('probe')).length, why.startsWith('nothing') ? 0 : 1, why)
    orchard.forget()
    street.forget()
    await says(fromJuliet('balcony', '<show>away</show>'))
    t.equal(orchard.unread.length, why.startsWith('nothing') ? 0 : 1, why)
    for (const device of [orchard, street]) device.session.close()
    await s.settled()
  }
})

t.test('the cache of remote presence has a bound; presence that does not fit is delivered as it arrives', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { presence: { cacheSize: '2KiB' } } })
  const { went, says } = await abroad(s)
  const orchard = await s.device(`${ROMEO}/orchard`)
  const again = async (content: string): Promise<number> => {
    for (let n = 0; n < 3; n++) await says(fromJuliet('balcony', content))
    const { length } = orchard.unread
    orchard.forget()
    return length
  }
  t.equal(await again('<show>away</show>'), 1)
  t.equal(await again(`<status>${'x'.repeat(2000)}</status>`), 3)
  t.equal(await again('<show>away</show>'), 3, 'until the next probe')
  await s.reload('presence', { cacheSize: '0B' })
  await orchard.says("<presence type='unavailable'/>", '<presence/>')
  orchard.forget()
  t.equal(await again('<show>away</show>'), 3)
  await s.pass('3m')
  went()
  await s.device(`${ROMEO}/street`)
  t.equal(went().length, 2)
})

// ---- Restarts ------------------------------------------------------------------------------------

const MANAGED = [...MODULES, 'stream-management']

/** Starts the same hosts again on `storage`. What they send to other servers is recorded. */
async function again (t: Test, storage: MemoryStorage, ids: string): Promise<Abroad & { readonly s: Scenario }> {
  const s = await scenario(t, { modules: MANAGED, storage, ids })
  return { s, ...await abroad(s) }
}

t.test('after a crash, users who saw a device that is gone get unavailable, here and elsewhere; one that can resume stays available', async t => {
  const s = await scenario(t, { modules: MANAGED })
  const { went } = await abroad(s)
  await s.contact(ROMEO, BENVOLIO)
  await s.contact(BENVOLIO, JULIET)
  const orchard = await s.device(`${ROMEO}/orchard`)
  await s.device(`${ROMEO}/early`)
  const phone = await s.device(`${BENVOLIO}/phone`, { presence: false })
  await phone.says("<enable xmlns='urn:xmpp:sm:3' resume='true'/>", '<presence/>')
  const id = String(phone.unread.find(({ name }) => name === 'enabled')?.attrs['id'])
  const heard = phone.unread.filter(({ name }) => name !== 'enabled' && name !== 'r').length
  await orchard.says('<presence><show>away</show></presence>')
  await s.pass('1s')
  await s.device(`${ROMEO}/late`) // too late to be stored
  orchard.session.close()
  await s.settled()
  went()

  const next = await again(t, s.storage.remains(), 'next')
  await next.s.settled()
  t.same(next.went().sort(), [
    `available ${BENVOLIO}/phone ${JULIET}`, `probe ${BENVOLIO}/phone ${JULIET}`, `unavailable ${ROMEO}/early ${JULIET}`, `unavailable ${ROMEO}/orchard ${JULIET}`,
  ])
  const { device } = await next.s.resume(BENVOLIO, `<resume xmlns='urn:xmpp:sm:3' previd='${id}' h='${heard}'/>`)
  t.same(device === undefined ? [] : seen(device).filter(line => line.endsWith('unavailable')), [`${ROMEO}/early unavailable`, `${ROMEO}/orchard unavailable`])
  await next.s.pass('1s')

  const last = await again(t, next.s.storage.remains(), 'last')
  await last.s.settled()
  t.same(last.went().sort(), [`available ${BENVOLIO}/phone ${JULIET}`, `probe ${BENVOLIO}/phone ${JULIET}`], 'once')
})

t.test('after a crash, rooms and other recipients of directed presence get unavailable, unless the device can resume', async t => {
  const s = await scenario(t, { modules: MANAGED })
  await abroad(s)
  const orchard = await s.device(`${ROMEO}/orchard`, { presence: false })
  await orchard.says("<presence to='hall@rooms.lit/romeo'/>", "<presence to='left@rooms.lit/romeo'/>", "<presence to='early@rooms.lit/romeo'/>")
  await s.pass('1s')
  await orchard.says("<presence to='left@rooms.lit/romeo' type='unavailable'/>")
  const phone = await s.device(`${BENVOLIO}/phone`, { presence: false })
  await phone.says("<enable xmlns='urn:xmpp:sm:3' resume='true'/>", '<presence/>', "<presence to='hall@rooms.lit/benvolio'/>")
  await s.pass('1s')
  const remains = s.storage.remains()

  const next = await again(t, remains, 'next')
  await next.s.settled()
  t.same(next.went().filter(line => line.includes('rooms.lit')).sort(), [
    `unavailable ${ROMEO}/orchard early@rooms.lit/romeo`, `unavailable ${ROMEO}/orchard hall@rooms.lit/romeo`,
  ])
  t.same(next.s.host('montague.lit').sessions.at(parseJid(`${BENVOLIO}/phone`))?.connection, 'waiting')
  await next.s.pass('1h')
  t.ok(next.went().includes(`unavailable ${BENVOLIO}/phone hall@rooms.lit/benvolio`), 'until its resume timeout')

  const last = await again(t, next.s.storage.remains(), 'last')
  await last.s.settled()
  t.same(last.went().filter(line => line.includes('rooms.lit')), [], 'once')
})

t.test('after a planned restart no contact is wrongly available, and other servers are probed for changes', async t => {
  const s = await scenario(t, { modules: MANAGED })
  const { went } = await abroad(s)
  await s.device(`${ROMEO}/orchard`)
  const phone = await s.device(`${ROMEO}/phone`)
  await phone.says("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
  await s.pass('1s')
  went()
  await s.end()
  t.same(went(), [`unavailable ${ROMEO}/orchard ${JULIET}`])
  const next = await again(t, s.storage, 'next')
  await next.s.settled()
  t.same(next.went().sort(), [`available ${ROMEO}/phone ${JULIET}`, `probe ${ROMEO}/phone ${JULIET}`])
})

t.test('a removed account leaves no stored presence', async t => {
  const s = await scenario(t, { modules: MODULES })
  await s.device(`${ROMEO}/orchard`)
  await s.pass('1s')
  t.same(await s.traces(ROMEO), ['presence.here'])
  await s.host('montague.lit').removeAccount(parseJid(ROMEO))
  await s.pass('1s')
  t.same(await s.traces(ROMEO), [])
})
