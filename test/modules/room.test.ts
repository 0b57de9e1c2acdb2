/**
 * Data that an account stores and its clients get in one answer, and what waits for the account, are bounded in bytes.
 */
import t from 'tap'
import { defineModule, messageArriving } from '../../lib/api.js'
import { childElements, localName, type Element } from '../../lib/xml/element.js'
import { scenario, type Device } from '../scenario.js'

const KIB = 1024

/** The condition of an error; undefined if the stanza is no error. */
function errorOf (stanza: Element): string | undefined {
  const error = stanza.attrs['type'] === 'error' ? stanza.getChild('error') : undefined
  const [condition] = error === undefined ? [] : childElements(error)
  return condition === undefined ? undefined : localName(condition)
}

/** The condition of each answer; undefined for a result. */
async function refusals (device: Device, requests: readonly string[]): Promise<readonly (string | undefined)[]> {
  const found: (string | undefined)[] = []
  for (const request of requests) found.push(errorOf(await device.asks(request)))
  return found
}

const ask = (id: string, payload: string, type = 'set'): string => `<iq type='${type}' id='${id}'>${payload}</iq>`
const address = (n: number, length = 900): string => `${String(n).padStart(4, '0')}${'a'.repeat(length)}@elsewhere.example`

t.test('a roster is bounded in bytes: an item that makes it too large is refused, one that makes it smaller is accepted', async t => {
  const s = await scenario(t, { modules: ['roster'], settings: { roster: { bytes: '16KiB' } } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const item = (n: number, name: number): string =>
    `<query xmlns='jabber:iq:roster'><item jid='c${n}@elsewhere.example' name='${'n'.repeat(name)}'><group>${'g'.repeat(1000)}</group></item></query>`
  const found = await refusals(juliet, Array.from({ length: 10 }, (_, n) => ask(`r${n}`, item(n, 1000))))
  t.same(found, [...Array.from({ length: 7 }, () => undefined), ...Array.from({ length: 3 }, () => 'resource-constraint')])
  const list = await juliet.asks(ask('get', "<query xmlns='jabber:iq:roster'/>", 'get'))
  t.ok(list.toString().length < 16 * KIB)
  t.same(await refusals(juliet, [ask('less', item(0, 10)), ask('again', item(7, 10))]), [undefined, undefined])
})

t.test('a block list is bounded in bytes', async t => {
  const s = await scenario(t, { modules: ['blocking'], settings: { blocking: { bytes: '8KiB' } } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const block = (n: number): string => ask(`b${n}`, `<block xmlns='urn:xmpp:blocking'><item jid='${address(n)}'/></block>`)
  const found = await refusals(juliet, Array.from({ length: 12 }, (_, n) => block(n)))
  t.equal(found.findIndex(condition => condition === 'resource-constraint'), 8)
  t.same(await refusals(juliet, [ask('u', `<unblock xmlns='urn:xmpp:blocking'><item jid='${address(0)}'/></unblock>`), block(20)]), [undefined, undefined])
})

t.test('the addresses in archive preferences are bounded in bytes', async t => {
  const s = await scenario(t, { modules: ['mam'] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const prefs = (count: number): string => ask(`p${count}`, `<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never>${
    Array.from({ length: count }, (_, n) => `<jid>${address(n)}</jid>`).join('')}</never></prefs>`)
  t.same(await refusals(juliet, [prefs(100), prefs(200)]), [undefined, 'resource-constraint'])
})

t.test('the recipients of directed presence are bounded in bytes', async t => {
  const s = await scenario(t, { modules: ['presence'], settings: { presence: { directedRecipients: 10 } } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  for (let n = 0; n < 5; n++) await juliet.says(`<presence to='${address(n)}' id='d${n}'/>`)
  const refused = juliet.unread.filter(element => errorOf(element) === 'resource-constraint').map(({ attrs }) => attrs['id'])
  t.same(refused, ['d3', 'd4'])
})

t.test('stanzas that wait for an account while a module reads are bounded in bytes; an account with few is refused nothing', async t => {
  let go: () => void = () => {}
  const held = new Promise<void>(resolve => { go = resolve })
  const slow = defineModule({
    name: 'slow',
    setup (host) { host.on(messageArriving, ({ account }) => account.local === 'juliet' || account.local === 'nurse' ? held : undefined, 'screen') },
  })
  const s = await scenario(t, { modules: ['message', slow] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const nurse = await s.device('nurse@capulet.lit/room')
  const romeo = await s.device('romeo@montague.lit/orchard')
  const send = (to: Device, n: number): string => `<message to='${to.jid.toString()}' type='chat' id='m${n}'><body>${'x'.repeat(200 * KIB)}</body></message>`
  for (let n = 0; n < 60; n++) await romeo.says(send(juliet, n))
  await romeo.says(send(nurse, 99))
  const refused = romeo.unread.filter(element => errorOf(element) === 'resource-constraint')
  t.equal(refused.length, 60 - 21, 'one stanza is being handled, and half of 8 MiB waits, as they are of one sender')
  t.notOk(refused.some(({ attrs }) => attrs['id'] === 'm99'))
  go()
  await s.settled()
  t.equal(juliet.unread.length, 21)
  t.equal(nurse.unread.length, 1)
})
