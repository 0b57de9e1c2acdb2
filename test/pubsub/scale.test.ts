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
import { capsOf, capsReplies, MODULES, publishes } from './stage.js'

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
