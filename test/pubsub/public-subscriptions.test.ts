/** XEP-0465, with XEP-0376 for the subscriptions of an account. Each scene is named by the section that it shows. */
import t from 'tap'
import { accountImporting } from '../../lib/host/events.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import type { Element } from '../../lib/xml/element.js'
import { StanzaError } from '../../lib/xmpp/errors.js'
import { parseElement } from '../parse.js'
import type { Device } from '../device.js'
import { scenario, startServer, type Scenario } from '../scenario.js'
import { abroad, declares, form, friends, hears, itemIds, MODULES, options, outcome, publishes, pubsub } from './stage.js'

const JULIET = 'juliet@capulet.lit'
const ROMEO = 'romeo@montague.lit'
const PARIS = 'paris@montague.lit'
const SERVICE = 'pubsub.capulet.lit'
const SUBSCRIBERS = 'urn:xmpp:pps:subscribers:0/n'
const SUBSCRIPTIONS = 'urn:xmpp:pps:subscriptions:0'
const PUBLIC = "<public xmlns='urn:xmpp:pps:0'/>"
const ALL = [...MODULES, 'account-subscriptions']

const get = (device: Device, node: string, to: string): Promise<Element> => pubsub(device, 'get', `<items node='${node}'/>`, { to })
const subscribe = (device: Device, to: string, more = PUBLIC, jid = device.jid.bare.toString()): Promise<Element> =>
  pubsub(device, 'set', `<subscribe node='n' jid='${jid}'>${more}</subscribe>`, { to })
const unsubscribe = (device: Device, to: string): Promise<Element> =>
  pubsub(device, 'set', `<unsubscribe node='n' jid='${device.jid.bare.toString()}'/>`, { to })

/** Subscribes or unsubscribes by the server of the account. */
async function pam (device: Device, service: string, what: 'subscribe' | 'unsubscribe', more = ''): Promise<string> {
  return outcome(await device.asks(`<iq type='set' id='pam'><pam xmlns='urn:xmpp:pam:0' jid='${service}'><${what} xmlns='http://jabber.org/protocol/pubsub' node='n' jid='${device.jid.bare.toString()}'>${more}</${what}></pam></iq>`))
}

async function stage (t: Parameters<typeof scenario>[0], access = 'open'): Promise<{ s: Scenario, juliet: Device, romeo: Device, paris: Device }> {
  const s = await scenario(t, { modules: ALL, services: { [SERVICE]: ['disco', 'pubsub'] } })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  await publishes(juliet, 'n', ['a'], options({ access_model: access, send_last_published_item: 'never' }))
  return { s, juliet, romeo, paris: await s.device(`${PARIS}/street`) }
}

t.test('§4.1, §4.4 a subscriber is shown if it asks for that, and no other is', async t => {
  const { juliet, romeo, paris } = await stage(t)
  t.equal(outcome(await get(romeo, SUBSCRIBERS, JULIET)), 'result', 'an empty list')
  t.equal(outcome(await subscribe(romeo, JULIET)), 'result')
  t.equal(outcome(await subscribe(paris, JULIET, '')), 'result')
  const reply = await get(paris, SUBSCRIBERS, JULIET)
  t.same(itemIds(reply), [ROMEO])
  t.match(reply.toString(), `<subscriber xmlns="urn:xmpp:pps:0" jid="${ROMEO}"/>`)
  t.match((await juliet.asks(`<iq type='get' id='d' to='${JULIET}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)).toString(), '"urn:xmpp:pps:0"', '§6')
})

t.test('§4.3 a subscription is public as long as the last request said so', async t => {
  const { s, juliet, romeo } = await stage(t)
  await pubsub(juliet, 'set', `<subscribe node='${SUBSCRIBERS}' jid='${JULIET}'/>`)
  hears(juliet)
  await subscribe(romeo, JULIET)
  await subscribe(romeo, JULIET, PUBLIC, `${ROMEO}/orchard`)
  t.same(hears(juliet), [`${JULIET} headline: items ${SUBSCRIBERS} item ${ROMEO} with payload`], 'an account is shown once, without its resource')
  await unsubscribe(romeo, JULIET)
  t.same(itemIds(await get(juliet, SUBSCRIBERS, JULIET)), [ROMEO])
  await subscribe(romeo, JULIET, '', `${ROMEO}/orchard`)
  t.same(hears(juliet), [`${JULIET} headline: items ${SUBSCRIBERS} retract ${ROMEO}`])
  await subscribe(romeo, JULIET)
  await pubsub(juliet, 'set', `<subscriptions node='n'><subscription jid='${ROMEO}' subscription='none'/></subscriptions>`, { owner: true })
  t.same(itemIds(await get(juliet, SUBSCRIBERS, JULIET)), [], 'an owner has ended it')
  await pubsub(romeo, 'set', `<subscribe node='n' jid='${ROMEO}'>${PUBLIC}</subscribe><options>${form('subscribe_options', { expire: new Date(s.clock.now() + 60_000).toISOString() })}</options>`, { to: JULIET })
  t.same(itemIds(await get(juliet, SUBSCRIBERS, JULIET)), [ROMEO])
  await s.pass('2m')
  t.same(itemIds(await get(juliet, SUBSCRIBERS, JULIET)), [], 'it has ended by time')
})

t.test('§4.4 whoever may not read a node learns no subscriber, and one who waits for approval is not shown', async t => {
  const { juliet, romeo, paris } = await stage(t, 'authorize')
  await subscribe(romeo, JULIET)
  t.same(itemIds(await get(juliet, SUBSCRIBERS, JULIET)), [])
  t.equal(outcome(await get(romeo, SUBSCRIBERS, JULIET)), 'auth not-authorized not-subscribed')
  await pubsub(juliet, 'set', `<subscriptions node='n'><subscription jid='${ROMEO}' subscription='subscribed'/></subscriptions>`, { owner: true })
  t.same(itemIds(await get(romeo, SUBSCRIBERS, JULIET)), [ROMEO])
  for (const node of [SUBSCRIBERS, 'urn:xmpp:pps:subscribers:0/none', SUBSCRIPTIONS]) {
    t.equal(outcome(await get(paris, node, JULIET)), 'cancel service-unavailable')
    t.equal(outcome(await get(paris, node, 'nobody@capulet.lit')), 'cancel service-unavailable')
  }
  await pubsub(juliet, 'set', "<delete node='n'/>", { owner: true })
  t.equal(outcome(await get(juliet, SUBSCRIBERS, JULIET)), 'cancel item-not-found')
})

t.test('§5 nobody makes, purges, deletes or changes such a node by hand', async t => {
  const { juliet, romeo } = await stage(t)
  await subscribe(romeo, JULIET)
  await pam(juliet, SERVICE, 'subscribe')
  for (const node of [SUBSCRIBERS, SUBSCRIPTIONS]) {
    t.equal(outcome(await pubsub(juliet, 'set', `<create node='${node}'/>`)), 'auth forbidden')
    const item = `<item id='x'><subscriber xmlns='urn:xmpp:pps:0' jid='${PARIS}'/></item>`
    t.equal(outcome(await pubsub(juliet, 'set', `<publish node='${node}'>${item}</publish>`)), 'auth forbidden')
    t.equal(outcome(await pubsub(juliet, 'set', `<retract node='${node}'><item id='${ROMEO}'/></retract>`)), 'auth forbidden')
  }
  for (const what of ['purge', 'delete']) {
    t.equal(outcome(await pubsub(juliet, 'set', `<${what} node='${SUBSCRIBERS}'/>`, { owner: true })), 'auth forbidden')
  }
})

t.test('§4.4 a service shows public subscribers, too; an account that ends is shown no more', async t => {
  const { s, juliet, romeo, paris } = await stage(t)
  await pubsub(juliet, 'set', "<create node='n'/>", { to: SERVICE })
  await subscribe(romeo, SERVICE)
  t.same(itemIds(await get(paris, SUBSCRIBERS, SERVICE)), [ROMEO])
  await s.server.host('montague.lit')?.removeAccount(romeo.jid.bare)
  t.same(itemIds(await get(paris, SUBSCRIBERS, SERVICE)), [])
})

t.test('XEP-0376 §3.2, §4.1 to §4.3 the server subscribes the account, and shows public subscriptions', async t => {
  const { s, juliet, romeo, paris } = await stage(t)
  const shown = async (device: Device): Promise<string> => {
    const reply = await get(device, SUBSCRIPTIONS, ROMEO)
    return outcome(reply) === 'result' ? itemIds(reply).length === 0 ? 'nothing' : reply.toString() : outcome(reply)
  }
  t.equal(await shown(paris), 'cancel service-unavailable', '§7')
  t.equal(await pam(romeo, JULIET, 'subscribe'), 'result')
  t.equal(await shown(paris), 'cancel service-unavailable')
  t.equal(await shown(juliet), 'cancel item-not-found')
  const phone = await s.device(`${ROMEO}/phone`, { presence: false })
  await declares(phone, [], '')
  t.equal(await pam(romeo, JULIET, 'subscribe', PUBLIC), 'result')
  t.match(await shown(paris), `<subscription xmlns="urn:xmpp:pps:0" node="n" jid="${JULIET}"/>`)
  t.same(itemIds(await get(paris, SUBSCRIBERS, JULIET)), [ROMEO])
  const listed = await romeo.asks("<iq type='get' id='l'><subscriptions xmlns='urn:xmpp:pam:0'/></iq>")
  t.match(listed.toString(), new RegExp(`<subscription service="${JULIET}" node="n" jid="${ROMEO}" subscription="subscribed" subid="[^"]+"><public`))
  const ver = listed.getChild('subscriptions')?.attrs['ver']
  t.equal((await romeo.asks(`<iq type='get' id='l'><subscriptions xmlns='urn:xmpp:pam:0' ver='${ver}'/></iq>`)).getChild('subscriptions'), undefined, '§3.4')
  t.equal(await pam(romeo, JULIET, 'subscribe'), 'result')
  t.equal(await shown(paris), 'cancel service-unavailable', 'the last public one is hidden again')
  t.equal(await shown(juliet), 'nothing')
  t.same(itemIds(await get(juliet, SUBSCRIBERS, JULIET)), [])
  await pam(romeo, JULIET, 'subscribe', PUBLIC)
  t.equal(await pam(romeo, JULIET, 'unsubscribe'), 'result')
  t.equal(await shown(juliet), 'nothing')
  t.notMatch((await romeo.asks("<iq type='get' id='l'><subscriptions xmlns='urn:xmpp:pam:0'/></iq>")).toString(), JULIET)
})

t.test('XEP-0376 §3.2 a request is refused, or the service refuses it, and nothing is kept', async t => {
  const { romeo } = await stage(t)
  const wrong = async (inside: string, jid = JULIET): Promise<string> =>
    outcome(await romeo.asks(`<iq type='set' id='w'><pam xmlns='urn:xmpp:pam:0' jid='${jid}'>${inside}</pam></iq>`))
  const subscription = (jid: string, node = 'n'): string => `<subscribe xmlns='http://jabber.org/protocol/pubsub' node='${node}' jid='${jid}'/>`
  t.equal(await wrong(subscription(`${ROMEO}/orchard`)), 'modify bad-request invalid-jid')
  t.equal(await wrong(subscription(PARIS)), 'modify bad-request invalid-jid')
  t.equal(await wrong(subscription(ROMEO), ''), 'modify jid-malformed')
  t.equal(await wrong(subscription(ROMEO, '')), 'modify bad-request')
  t.equal(await wrong(subscription(ROMEO, 'none')), 'cancel item-not-found')
  t.notMatch((await romeo.asks("<iq type='get' id='l'><subscriptions xmlns='urn:xmpp:pam:0'/></iq>")).toString(), '<subscription ')
})

t.test('the subscriptions that the server keeps for an account are bounded', async t => {
  const s = await scenario(t, { modules: ALL, services: { [SERVICE]: ['disco', 'pubsub'] }, settings: { 'account-subscriptions': { subscriptions: 1 } } })
  const romeo = await s.device(`${ROMEO}/orchard`)
  const juliet = await s.device(`${JULIET}/balcony`)
  await pubsub(romeo, 'set', "<create node='n'/>", { to: SERVICE })
  await publishes(juliet, 'n', ['a'], options({ access_model: 'open' }))
  t.equal(await pam(romeo, SERVICE, 'subscribe'), 'result')
  t.equal(await pam(romeo, SERVICE, 'subscribe', PUBLIC), 'result')
  t.equal(await pam(romeo, JULIET, 'subscribe'), 'cancel resource-constraint')
  t.equal(await pam(romeo, SERVICE, 'unsubscribe'), 'result')
  t.equal(await pam(romeo, JULIET, 'subscribe'), 'result')
})

t.test('§4.3 a subscription that the service ends is shown no more, and one that waits is shown when it is allowed', async t => {
  const { juliet, romeo, paris } = await stage(t, 'authorize')
  await pam(romeo, JULIET, 'subscribe', PUBLIC)
  t.equal(outcome(await get(paris, SUBSCRIPTIONS, ROMEO)), 'cancel service-unavailable')
  const set = (state: string): Promise<Element> =>
    pubsub(juliet, 'set', `<subscriptions node='n'><subscription jid='${ROMEO}' subscription='${state}'/></subscriptions>`, { owner: true })
  await set('subscribed')
  t.equal(itemIds(await get(paris, SUBSCRIPTIONS, ROMEO)).length, 1)
  await set('none')
  t.equal(outcome(await get(paris, SUBSCRIPTIONS, ROMEO)), 'cancel service-unavailable')
})

t.test('§4.2 a service on another server is asked for the account; another address that answers is ignored', async t => {
  const s = await scenario(t, { modules: ALL })
  const romeo = await s.device(`${ROMEO}/orchard`)
  const there = abroad(s)
  await romeo.says(`<iq type='set' id='pam'><pam xmlns='urn:xmpp:pam:0' jid='pubsub.example.net'><subscribe xmlns='http://jabber.org/protocol/pubsub' node='n' jid='${ROMEO}'>${PUBLIC}</subscribe></pam></iq>`)
  const request = there.heard.find(({ name }) => name === 'iq')
  t.match(request?.toString(), `from="${ROMEO}"`)
  t.match(request?.toString(), PUBLIC.replaceAll("'", '"'))
  const id = request?.attrs['id']
  await there.says(`<iq type='result' id='${id}' from='evil.example.net' to='${ROMEO}'/>`)
  await romeo.getsNothing()
  await there.says(`<iq type='result' id='${id}' from='pubsub.example.net' to='${ROMEO}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><subscription node='n' jid='${ROMEO}' subid='7' subscription='subscribed'/></pubsub></iq>`)
  await romeo.gets("<iq type='result' id='pam'/>")
  await there.says(`<message from='evil.example.net' to='${ROMEO}'><event xmlns='http://jabber.org/protocol/pubsub#event'><delete node='n'/></event></message>`)
  t.equal(itemIds(await get(romeo, SUBSCRIPTIONS, ROMEO)).length, 1)
  await there.says(`<message from='pubsub.example.net' to='${ROMEO}'><event xmlns='http://jabber.org/protocol/pubsub#event'><delete node='n'/></event></message>`)
  t.equal(itemIds(await get(romeo, SUBSCRIPTIONS, ROMEO)).length, 0)
})

/** Romeo asks his server to subscribe him to a node far away. Returns what the service there says. */
async function waits (s: Scenario): Promise<{ romeo: Device, answers: (subid: string) => Promise<void> }> {
  const romeo = await s.device(`${ROMEO}/orchard`)
  const there = abroad(s)
  await romeo.says(`<iq type='set' id='pam'><pam xmlns='urn:xmpp:pam:0' jid='pubsub.example.net'><subscribe xmlns='http://jabber.org/protocol/pubsub' node='n' jid='${ROMEO}'>${PUBLIC}</subscribe></pam></iq>`)
  const id = there.heard.find(({ name }) => name === 'iq')?.attrs['id']
  const answers = (subid: string): Promise<void> => there.says(`<iq type='result' id='${id}' from='pubsub.example.net' to='${ROMEO}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><subscription node='n' jid='${ROMEO}' subid='${subid}' subscription='subscribed'/></pubsub></iq>`)
  return { romeo, answers }
}

t.test('an account that is removed while a service is asked leaves nothing to a new one of its name', async t => {
  for (const isMadeAgain of [false, true]) {
    const s = await scenario(t, { modules: ALL, ids: `removed${isMadeAgain}` })
    const { romeo, answers } = await waits(s)
    await s.server.host('montague.lit')?.removeAccount(romeo.jid.bare)
    if (isMadeAgain) await s.account(ROMEO)
    await answers('7')
    t.same(await s.traces(ROMEO), [])
    const again = await s.device(`${ROMEO}/garden`)
    t.notMatch((await again.asks("<iq type='get' id='l'><subscriptions xmlns='urn:xmpp:pam:0'/></iq>")).toString(), '<subscription ')
    t.equal(outcome(await get(again, SUBSCRIPTIONS, ROMEO)), 'cancel item-not-found')
  }
})

t.test('an id of a subscription that is too long is not kept', async t => {
  const { romeo, answers } = await waits(await scenario(t, { modules: ALL }))
  await answers('7'.repeat(257))
  const listed = (await romeo.asks("<iq type='get' id='l'><subscriptions xmlns='urn:xmpp:pam:0'/></iq>")).toString()
  t.match(listed, '<subscription service="pubsub.example.net"')
  t.notMatch(listed, 'subid')
})

t.test('public subscriptions and attachments are there after a restart, with the access of their node', async t => {
  const storage = new MemoryStorage()
  const first = await startServer({ modules: ALL, storage, ids: 'first' })
  await friends(first, JULIET, ROMEO)
  const juliet = await first.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'], options({ publish_model: 'open' }))
  const romeo = await first.device(`${ROMEO}/orchard`)
  const node = `urn:xmpp:pubsub-attachments:1/xmpp:${JULIET}?;node=n;item=a`
  const attachment = "<attachments xmlns='urn:xmpp:pubsub-attachments:1'><noticed/></attachments>"
  t.equal(outcome(await pubsub(romeo, 'set', `<publish node='${node}'><item id='${ROMEO}'>${attachment}</item></publish>`, { to: JULIET })), 'result')
  t.equal(await pam(romeo, JULIET, 'subscribe', PUBLIC), 'result')
  await first.end()
  const s = await scenario(t, { modules: ALL, storage, ids: 'second' })
  const again = await s.device(`${ROMEO}/orchard`)
  const paris = await s.device(`${PARIS}/street`)
  await s.account(JULIET)
  t.same(itemIds(await get(again, node, JULIET)), [ROMEO])
  t.same(itemIds(await get(again, SUBSCRIBERS, JULIET)), [ROMEO])
  t.equal(itemIds(await get(paris, SUBSCRIPTIONS, ROMEO)).length, 1)
  t.equal(outcome(await get(paris, node, JULIET)), 'cancel service-unavailable')
  t.equal(outcome(await pubsub(again, 'set', `<publish node='${node}'><item id='${ROMEO}'>${attachment.replace('<noticed/>', '')}</item></publish>`, { to: JULIET })), 'result')
  t.same(itemIds(await get(again, 'urn:xmpp:pubsub-attachments:summary:1/n', JULIET)), [])
})

t.test('an imported list is bounded', async t => {
  const s = await scenario(t, { modules: ALL, settings: { 'account-subscriptions': { subscriptions: 2 } } })
  const list = (count: number): Element => parseElement(`<subscriptions xmlns='urn:xmpp:pam:0'>${Array.from({ length: count }, (_, n) => `<subscription service='${JULIET}' node='n${n}' subscription='subscribed'/>`).join('')}</subscriptions>`)
  const romeo = await s.account(ROMEO)
  const host = s.host('montague.lit')
  const imports = async (count: number): Promise<string> => {
    const batch = new PendingBatch()
    try {
      await host.hooks.fire(accountImporting, {
        account: romeo, element: list(count), within: undefined, batch, leavesOut: () => {},
      })
      return 'taken'
    } catch (error) {
      return error instanceof StanzaError ? error.condition : String(error)
    }
  }
  t.equal(await imports(2), 'taken')
  t.equal(await imports(3), 'resource-constraint')
})

t.test('a service that does not answer leaves room for requests to others, and what is refused is not sent', async t => {
  const s = await scenario(t, { modules: ALL })
  const there = abroad(s)
  const asking = (device: Device, to: string, id: number): string =>
    `<iq type='set' id='pam${id}'><pam xmlns='urn:xmpp:pam:0' jid='${to}'><subscribe xmlns='http://jabber.org/protocol/pubsub' node='n${id}' jid='${device.jid.bare.toString()}'/></pam></iq>`
  for (let n = 0; n < 13; n++) {
    const device = await s.device(`user${n}@montague.lit/a`)
    const service = `service${n % 4}@slow.example.net`
    await device.says(...Array.from({ length: 8 }, (_, id) => asking(device, service, id)))
  }
  await s.settled()
  t.equal(there.heard.filter(({ name }) => name === 'iq').length, 100)
  const romeo = await s.device(`${ROMEO}/orchard`)
  await romeo.says(asking(romeo, 'slow.example.net', 1), asking(romeo, 'other.example.net', 2))
  t.match(romeo.unread.map(String).join(''), /id="pam1"[^]*resource-constraint/)
  t.equal(there.heard.at(-1)?.attrs['to'], 'other.example.net')
  there.heard.splice(0)
  for (let n = 0; n < 5; n++) {
    const device = await s.device(`other${n}@montague.lit/a`)
    await device.says(...Array.from({ length: 8 }, (_, id) => asking(device, 'one.example.net', id)))
  }
  await s.settled()
  t.equal(there.heard.filter(({ name }) => name === 'iq').length, 32, 'the bound of one address')
})
