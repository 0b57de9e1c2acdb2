/** XEP-0463: versions of the lists of affiliations. */
import t from 'tap'
import type { Element } from '../../lib/xml/element.js'
import { Versions } from '../../modules/muc/versions.js'
import type { Device, Scenario } from '../scenario.js'
import { conditionOf } from '../stanzas.js'
import { asking, changing, entering, guest, hall, HALL, SCENE, stage, userIn } from './stage.js'

const MAV = 'urn:xmpp:muc:affiliations:1'
const PRIVATE = { membersonly: '1', whois: 'anyone', persistentroom: '1', allowinvites: '1' }
const mav = (since?: string): string => `<mav xmlns='${MAV}'${since === undefined ? '' : ` since='${since}'`}/>`
const stepIn = (element: Element | undefined): Readonly<Record<string, string>> | undefined => userIn(element)?.getChild('mav', MAV)?.attrs
const itemsIn = (element: Element | undefined): Readonly<Record<string, unknown>> =>
  Object.fromEntries((userIn(element)?.getChildren('item') ?? []).map(({ attrs }) => [String(attrs['jid']), attrs['affiliation']]))
/** The messages with affiliations that a device got. */
const lists = (device: Device): readonly Element[] => device.unread.filter(one => one.name === 'message' && stepIn(one) !== undefined)
const ownVersion = (device: Device): string | undefined =>
  stepIn(device.unread.filter(one => userIn(one)?.getChildren('status').some(({ attrs }) => attrs['code'] === '110')).at(-1))?.['until']

async function enters (s: Scenario, address: string, inside: string): Promise<Device> {
  const device = await s.device(address)
  await device.says(entering(address.slice(0, address.indexOf('@')), inside))
  return device
}

t.test('§4 a member gets the list before all presence, later what has changed since, and nothing if that is nothing', async t => {
  const s = await stage(t)
  const juliet = await hall(s, PRIVATE)
  const info = (await juliet.asks(asking("<query xmlns='http://jabber.org/protocol/disco#info'/>", 'get'))).getChild('query')
  t.ok(info?.getChildren('feature').some(({ attrs }) => attrs['var'] === MAV))
  await juliet.asks(changing("<item affiliation='member' jid='romeo@montague.lit'/>", "<item affiliation='admin' jid='nurse@capulet.lit'/>", "<item affiliation='outcast' jid='tybalt@capulet.lit'/>"))
  const romeo = await enters(s, 'romeo@montague.lit/orchard', mav())
  const [first] = romeo.unread
  t.same(itemsIn(first), { 'juliet@capulet.lit': 'owner', 'romeo@montague.lit': 'member', 'nurse@capulet.lit': 'admin' }, 'the banned are for admins')
  t.equal(stepIn(first)?.['since'], undefined)
  const version = String(stepIn(first)?.['until'])
  t.equal(ownVersion(romeo), version)
  await romeo.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)

  const again = await enters(s, 'romeo@montague.lit/street', mav(version))
  t.same(lists(again), [])
  t.equal(ownVersion(again), version)
  await again.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)
  await juliet.asks(changing("<item affiliation='none' jid='nurse@capulet.lit'/>"))
  await juliet.asks(changing("<item affiliation='member' jid='benvolio@montague.lit'/>"))
  await juliet.asks(changing("<item affiliation='outcast' jid='sampson@capulet.lit'/>"))
  const late = await enters(s, 'romeo@montague.lit/late', mav(version))
  const [changed, ...more] = lists(late)
  t.same(more, [])
  t.equal(stepIn(changed)?.['since'], version)
  t.equal(stepIn(changed)?.['until'], ownVersion(late))
  t.same(itemsIn(changed), { 'nurse@capulet.lit': 'none', 'benvolio@montague.lit': 'member', 'sampson@capulet.lit': 'none' })
  const admin = await enters(s, 'juliet@capulet.lit/other', mav('unknown'))
  t.equal(stepIn(lists(admin)[0])?.['since'], undefined, 'an unknown version: the whole list')
  t.match(itemsIn(lists(admin)[0]), { 'sampson@capulet.lit': 'outcast', 'tybalt@capulet.lit': 'outcast' })
})

t.test('§4 each change is told with the versions before and after it, without a gap, by presence or by message', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { ...PRIVATE, presencebroadcast: ['moderator', 'participant'] })
  await juliet.asks(changing("<item affiliation='member' jid='romeo@montague.lit'/>", "<item affiliation='member' jid='nurse@capulet.lit'/>"))
  const romeo = await enters(s, 'romeo@montague.lit/orchard', mav())
  let version = String(ownVersion(romeo))
  await guest(s, 'nurse@capulet.lit/room')
  await juliet.says(changing("<item role='visitor' nick='nurse'/>"))
  const follows = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    romeo.forget()
    await work()
    const steps = romeo.unread.map(stepIn).filter(step => step?.['since'] !== undefined)
    t.ok(steps.length > 0, `${what}: ${romeo.unread.join(' ')}`)
    for (const step of steps) {
      t.equal(step?.['since'], version, what)
      version = String(step?.['until'])
    }
  }
  await follows('several at once, present and absent', () => juliet.asks(changing("<item affiliation='none' jid='benvolio@montague.lit'/>", "<item affiliation='admin' jid='romeo@montague.lit'/>", "<item affiliation='member' jid='benvolio@montague.lit'/>", "<item affiliation='outcast' jid='capulet.lit'/>")))
  await follows('somebody whose presence is not shown', () => juliet.asks(changing("<item affiliation='none' jid='nurse@capulet.lit'/>")))
  await follows('an invitation that makes a member', () => juliet.says(`<message to='${HALL}'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='peter@montague.lit'/></x></message>`))
  await follows('a ban', () => juliet.asks(changing("<item affiliation='outcast' jid='benvolio@montague.lit'/>")))
  const late = await enters(s, 'juliet@capulet.lit/other', mav(version))
  t.same(lists(late), [], 'the last version that was told is the current one')
})

t.test('the version is the same after a restart, when older changes are not known, and a long list comes in parts', async t => {
  const s = await stage(t)
  const juliet = await hall(s, PRIVATE)
  const many = Array.from({ length: 450 }, (_, n) => `<item affiliation='member' jid='u${n}@montague.lit'/>`)
  await juliet.asks(changing(...many))
  const first = await enters(s, 'juliet@capulet.lit/first', mav())
  const version = String(ownVersion(first))
  t.same(lists(first).map(one => Object.keys(itemsIn(one)).length), [200, 200, 51])
  let before: string | undefined
  for (const one of lists(first)) {
    t.equal(stepIn(one)?.['since'], before)
    before = stepIn(one)?.['until']
  }
  t.equal(before, version)
  await s.end()
  const next = await stage(t, { ...SCENE, storage: s.storage, ids: 'next' })
  const again = await enters(next, 'juliet@capulet.lit/again', mav(version))
  t.same(lists(again), [])
  t.equal(ownVersion(again), version)
})

t.test('§5 who may not read the lists gets an error and no version, and enters all the same', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  await juliet.asks(changing("<item affiliation='admin' jid='nurse@capulet.lit'/>"))
  for (const who of ['romeo@montague.lit/orchard', 'nurse@capulet.lit/room']) {
    const device = await enters(s, who, mav())
    t.equal(conditionOf(device.unread[0]), 'forbidden')
    t.equal(device.unread[0]?.name, 'message')
    t.notOk(device.unread.some(one => stepIn(one) !== undefined))
    t.ok(device.unread.some(one => one.name === 'presence' && one.attrs['type'] === undefined))
  }
  juliet.forget()
  await juliet.says(changing("<item affiliation='member' jid='romeo@montague.lit'/>"))
  t.ok(juliet.unread.some(one => stepIn(one)?.['since'] !== undefined))
})

t.test('the last 500 changes are remembered at most, and the same list has the same version', t => {
  const versions = new Versions('salt', [])
  const empty = versions.current
  const first = (): void => { versions.change('romeo@montague.lit', 'none', 'member') }
  first()
  const second = versions.current
  for (let n = 0; n < 500; n++) versions.change(`user${n}@montague.lit`, 'none', 'outcast')
  t.equal(versions.since(empty), undefined)
  t.equal(versions.since(second), undefined)
  t.ok(versions.bytes <= 500 * 300)
  const known = versions.current
  versions.change('romeo@montague.lit', 'member', 'owner')
  t.strictSame([...versions.since(known) ?? []], [['romeo@montague.lit', 'owner']])
  versions.change('romeo@montague.lit', 'owner', 'member')
  t.equal(versions.current, known)
  t.strictSame([...versions.since(known) ?? []], [])
  for (let n = 0; n < 500; n++) versions.change(`user${n}@montague.lit`, 'outcast', 'none')
  versions.change('romeo@montague.lit', 'member', 'none')
  t.equal(versions.current, empty)
  t.not(new Versions('other', [['romeo@montague.lit', { affiliation: 'member' }]]).current, second)
  t.equal(new Versions('salt', [['romeo@montague.lit', { affiliation: 'member' }]]).current, second)
  t.end()
})
