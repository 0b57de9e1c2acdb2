/** XEP-0490: a device tells the others what was displayed, by a node or with the help of the server. */
import t from 'tap'
import { messagesDisplayed, type MessagesDisplayed } from '../../lib/host/events.js'
import { scenario } from '../scenario.js'
import { hears, interested, itemIds, MODULES, pubsub } from './stage.js'

const JULIET = 'juliet@capulet.lit'
const ROMEO = 'romeo@montague.lit'
const NODE = 'urn:xmpp:mds:displayed:0'
const displayed = (id: string): string => `<displayed xmlns='${NODE}'><stanza-id xmlns='urn:xmpp:sid:0' by='${JULIET}' id='${id}'/></displayed>`

t.test('§4.5 the server publishes the element of a message, and neither recipient nor archive nor carbons have it', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'displayed', 'mam', 'carbons'] })
  const juliet = await s.device(`${JULIET}/balcony`)
  const watch = await interested(s, `${JULIET}/watch`, [NODE])
  await watch.asks("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
  const romeo = await s.device(`${ROMEO}/orchard`)
  await s.contact(JULIET, ROMEO)
  watch.forget()
  const heard: MessagesDisplayed[] = []
  s.host('capulet.lit').hooks.on(messagesDisplayed, event => { heard.push(event) }, 'observe', 'test')
  await juliet.says(`<message to='${ROMEO}' type='chat' id='m'><body>Ay me</body><displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>${displayed('a1')}</message>`)
  const got = await romeo.gets(`<message from='${JULIET}/balcony'><displayed xmlns='urn:xmpp:chat-markers:0' id='x'/></message>`)
  t.notMatch(got.toString(), NODE)
  const [carbon] = watch.unread.filter(one => one.getChild('sent') !== undefined)
  t.ok(carbon)
  t.notMatch(String(carbon), NODE)
  t.same(hears(watch), [`${JULIET} headline: items ${NODE} item ${ROMEO} with payload`])
  await juliet.says("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
  t.notMatch(juliet.unread.map(String).join(''), NODE)
  t.match((await pubsub(juliet, 'get', `<items node='${NODE}'/>`)).toString(), /<stanza-id xmlns="urn:xmpp:sid:0" by="juliet@capulet.lit" id="a1"\/>/)
  t.match((await pubsub(juliet, 'get', `<configure node='${NODE}'/>`, { owner: true })).toString(), /whitelist<\/value>/)
  t.same(heard.map(({ account, contact, id }) => [account.toString(), contact.toString(), id]), [[JULIET, ROMEO, 'a1']])
})

t.test('a published state is told of, one for each chat, and an id that is no address is only stored', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'displayed'] })
  const juliet = await s.device(`${JULIET}/balcony`)
  const heard: MessagesDisplayed[] = []
  s.host('capulet.lit').hooks.on(messagesDisplayed, event => { heard.push(event) }, 'observe', 'test')
  for (const [chat, id] of [[ROMEO, 'a'], [ROMEO, 'b'], ['rooms@x.lit/nick', 'c'], ['not @ one', 'd']] as const) {
    await pubsub(juliet, 'set', `<publish node='${NODE}'><item id='${chat}'>${displayed(id)}</item></publish>`)
  }
  t.same(heard.map(({ contact, id }) => [contact.toString(), id]), [[ROMEO, 'a'], [ROMEO, 'b'], ['rooms@x.lit/nick', 'c']])
  t.same(itemIds(await pubsub(juliet, 'get', `<items node='${NODE}'/>`)), [ROMEO, 'rooms@x.lit/nick', 'not @ one'])
})

t.test('a state for which there is no room is not stored, and its message goes on', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'displayed'], settings: { pep: { bytes: '64KiB' } } })
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const state = `<displayed xmlns='${NODE}'><x xmlns='urn:x'>${'x'.repeat(40_000)}</x></displayed>`
  for (const to of [ROMEO, `${ROMEO}/orchard`]) {
    await juliet.says(`<message to='${to}' type='chat' id='m'><body>Ay me</body>${state}</message>`)
    await romeo.gets(`<message from='${JULIET}/balcony'><body>Ay me</body></message>`)
  }
  await s.settled()
  t.same(itemIds(await pubsub(juliet, 'get', `<items node='${NODE}'/>`)), [ROMEO])
})
