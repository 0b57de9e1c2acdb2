/** A publication by an account with many contacts: one commit, one body, in turns of the event loop. */
import t from 'tap'
import { Turns } from '../../lib/base/turns.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { rosters } from '../../lib/host/services.js'
import { attributeOf, clone, type Element } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { addressed, Stanza, type Addressed } from '../../lib/xmpp/stanza.js'
import { elsewhere, foreigner } from '../elsewhere.js'
import { parseElement } from '../parse.js'
import { scenario } from '../scenario.js'
import { capsOf, capsReplies, form, hears, MODULES, outcome, publishes, publishing, pubsub } from './stage.js'

const JULIET = 'juliet@capulet.lit'
const CONTACTS = 2000

t.test('a publication to 2,000 interested contacts is one commit and one body, and leaves the event loop to others in between', async t => {
  // During the publication each turn is used up at once, so that work that can wait always does.
  let isBusy = false
  let time = 0
  const turning = new Turns(() => isBusy ? ++time : time, 1)
  const s = await scenario(t, {
    modules: MODULES, settings: { roster: { items: 5000 } }, turns: turning, debug: false,
  })
  const heard: Addressed[] = []
  s.server.router.remote = elsewhere(stanza => { heard.push(stanza) })
  const arrives = foreigner(s.server)
  await s.account(JULIET)
  const host = s.host('capulet.lit')
  const contacts = Array.from({ length: CONTACTS }, (_, i) => `contact${i}@server${i % 20}.example`)
  const batch = new PendingBatch()
  for (const contact of contacts) {
    await host.service(rosters)?.put(parseJid(JULIET), { jid: parseJid(contact), name: '', groups: [], subscription: 'both', ask: false, approved: false }, batch)
  }
  await host.commit(batch)
  const takes = async (element: Element, from: string): Promise<void> => {
    const to = parseJid(attributeOf(element, 'to') ?? '')
    await arrives(addressed(new Stanza(element.getName() === 'iq' ? 'iq' : 'presence', element, parseJid(from), to), to))
  }
  for (const contact of contacts) await takes(parseElement(`<presence to='${JULIET}'>${capsOf(['n'])}</presence>`), `${contact}/x`)
  await s.settled()
  for (const query of heard.filter(({ kind }) => kind === 'iq')) {
    const element = query.toElement()
    for (const reply of capsReplies([clone(element)], ['n'])) await takes(parseElement(reply), query.to.toString())
  }
  const juliet = await s.device(`${JULIET}/balcony`)
  heard.length = 0

  isBusy = true
  let turns = 0
  let commits = 0
  const { submit } = s.storage
  s.storage.submit = writes => { commits++; return submit.call(s.storage, writes) }
  const isOver = (): boolean => heard.filter(({ kind }) => kind === 'message').length === CONTACTS
  const publication = publishes(juliet, 'n', ['a'])
  while (!isOver() && turns < 100_000) {
    turns++
    await new Promise(resolve => { setImmediate(resolve) })
  }
  isBusy = false
  await publication
  s.storage.submit = submit
  const messages = heard.filter(({ kind }) => kind === 'message')
  t.equal(messages.length, CONTACTS)
  t.equal(commits, 1, 'one commit')
  t.equal(new Set(messages.map(({ element }) => element)).size, 1, 'all messages have one body')
  t.ok(turns > 20, `${turns} turns`)
})

t.test('a publication below many collections is one commit, and looks at each of them once; many nodes come into a collection with one commit', async t => {
  const service = 'pubsub.capulet.lit'
  const s = await scenario(t, {
    modules: MODULES, services: { [service]: ['disco', 'pubsub'] }, settings: { pubsub: { nodesPerUser: 1000 } }, debug: false,
  })
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device('romeo@montague.lit/orchard')
  const asks = async (device: typeof juliet, content: string, owner = false): Promise<string> =>
    outcome(await pubsub(device, 'set', content, { to: service, owner }))
  const makes = async (node: string, fields: Parameters<typeof form>[1]): Promise<string> =>
    await asks(juliet, `<create node='${node}'/><configure>${form('node_config', fields)}</configure>`)
  // 10 levels of 8 collections, each in all of the level above: more than a thousand million ways to the top.
  const level = (n: number): readonly string[] => n < 0 ? [] : Array.from({ length: 8 }, (_, i) => `c${n}-${i}`)
  for (let n = 0; n < 10; n++) {
    for (const name of level(n)) await makes(name, { node_type: 'collection', collection: level(n - 1) })
  }
  await makes('leaf', { collection: level(9) })
  const chosen = form('subscribe_options', { subscription_type: 'items', subscription_depth: 'all' })
  t.equal(await asks(romeo, `<subscribe node='c0-0' jid='romeo@montague.lit'/><options>${chosen}</options>`), 'result')
  let commits = 0
  const { submit } = s.storage
  s.storage.submit = writes => { commits++; return submit.call(s.storage, writes) }
  t.equal(await asks(juliet, publishing('leaf', 'a')), 'result')
  t.same([commits, hears(romeo).length], [1, 1])
  s.storage.submit = submit
  const leaves = Array.from({ length: 300 }, (_, n) => `n${n}`)
  for (const name of leaves) await makes(name, {})
  commits = 0
  s.storage.submit = writes => { commits++; return submit.call(s.storage, writes) }
  t.equal(await asks(juliet, `<configure node='c0-0'>${form('node_config', { children: [...level(1), ...leaves] })}</configure>`, true), 'result')
  t.equal(commits, 1)
  s.storage.submit = submit
})
