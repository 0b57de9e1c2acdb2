/** A stored item that cannot be read stops none of the others. If it guards access, access is refused. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ASIDE, type AsideItem } from '../../lib/storage/aside.js'
import { journal, records } from '../../lib/storage/store.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { childElements, textOf, type Element } from '../../lib/xml/element.js'
import { asks, RecordedTalk } from '../admin/world.js'
import { scenario, startServer, type Scenario } from '../scenario.js'
import { conditionOf, ENABLE } from '../stanzas.js'
import { temporaryFolder } from '../temporary-folder.js'

const JULIET = 'juliet@capulet.lit'

/** Expects a log line for each of these unreadable items, and no other error. */
function expect (s: Scenario, ...reasons: readonly string[]): void {
  for (const reason of reasons) s.expectedErrors.push(['stored item unreadable', reason])
}

async function aside (s: Scenario, owner = JULIET): Promise<readonly AsideItem[]> {
  await s.settled()
  const store = await s.storage.open(ASIDE, journal<AsideItem>(1))
  return (await store.page(owner, { limit: 100 })).entries.map(({ value }) => value)
}

const bodies = (elements: readonly Element[]): readonly string[] => elements.filter(({ name }) => name === 'message')
  .map(element => childElements(element).filter(child => child.getName() === 'body').map(textOf).join())

for (const managed of [false, true]) {
  t.test(`offline messages after an unreadable one are delivered${managed ? ', to a managed session as well' : ''}`, async t => {
    const s = await scenario(t, { modules: ['presence', 'message', 'offline', 'stream-management'] })
    const romeo = await s.device('romeo@capulet.lit/orchard')
    await s.account(JULIET)
    for (let n = 1; n <= 6; n++) await romeo.says(`<message to='${JULIET}' type='chat'><body>${n}</body></message>`)
    const store = await s.storage.open('offline.messages', journal<string>(1))
    const { entries } = await store.page(JULIET, { limit: 9 })
    const [first, , third, , fifth] = entries
    s.storage.spoil('offline.messages', JULIET, first?.id ?? '', '{"')
    s.storage.spoil('offline.messages', JULIET, third?.id ?? '', JSON.stringify('<message><body>half'))
    s.storage.spoil('offline.messages', JULIET, fifth?.id ?? '', '5')
    expect(s, 'its value is not JSON', 'its value is not of the form that this store holds', 'not one element')
    const juliet = await s.device(`${JULIET}/balcony`, { presence: false })
    if (managed) await juliet.says(ENABLE)
    await juliet.says('<presence/>')
    await s.settled()
    t.same(bodies(juliet.unread), ['2', '4', '6'])
    t.equal((await store.size(JULIET)).entries, 0)
    t.same((await aside(s)).map(({ id }) => id).sort(), [first?.id, third?.id, fifth?.id].sort())
  })
}

t.test('an archive page and an export leave out an unreadable message', async t => {
  const folder = temporaryFolder(t)
  const s = await scenario(t, { modules: ['presence', 'message', 'mam', 'roster', 'vcard', 'private', 'blocking'] })
  const [juliet, romeo] = [await s.device(`${JULIET}/balcony`), await s.device('romeo@capulet.lit/orchard')]
  for (let n = 1; n <= 5; n++) await romeo.says(`<message to='${JULIET}' type='chat'><body>${n}</body></message>`)
  const store = await s.storage.open('mam.messages', journal<string>(1))
  const { entries } = await store.page(JULIET, { limit: 9 })
  s.storage.spoil('mam.messages', JULIET, entries[1]?.id ?? '', JSON.stringify("<message to='x'><body>half</body></message></result></forwarded></message><message from='bank.lit'>"))
  s.storage.spoil('mam.messages', JULIET, entries[3]?.id ?? '', '[]')
  juliet.forget()
  await juliet.asks("<iq type='set' id='v'><vCard xmlns='vcard-temp'><FN>J</FN></vCard></iq>")
  s.storage.spoil('vcard.cards', JULIET, 'vCard', JSON.stringify('<vCard xmlns='))
  expect(s, 'its value is not of the form that this store holds', 'not one element', 'its value is not of the form that this store holds')
  const fin = await juliet.asks("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>2</max></set></query></iq>")
  t.equal(fin.attrs['type'], 'result')
  const seen = juliet.unread.map(element => /<body>(\d)<\/body>/.exec(element.toString())?.[1])
  t.same(seen, ['1', '3'], 'the page has the requested length')
  await asks(s.server, 'export', [join(folder, 'all.xml')])
  const file = readFileSync(join(folder, 'all.xml'), 'utf8')
  t.same([...file.matchAll(/<body>(\d)<\/body>/g)].filter(([, n]) => n === '5').length, 2, 'every later message is exported, on both sides')
  t.notMatch(file, 'bank.lit')
  t.equal((await aside(s)).length, 3)
})

t.test('an unreadable block list fails closed: each stanza that it would judge gets internal-server-error', async t => {
  const folder = temporaryFolder(t)
  const s = await scenario(t, { modules: ['presence', 'message', 'blocking', 'roster'] })
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device('romeo@capulet.lit/orchard')
  await juliet.asks("<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='tybalt@capulet.lit'/><item jid='spam.lit'/></block></iq>")
  await juliet.loses('connection')
  s.storage.spoil('blocking.blocked', JULIET, 'spam.lit', '"x"')
  await s.reload('blocking')
  expect(s, 'its value is not of the form that this store holds')
  const again = await s.device(`${JULIET}/balcony`)
  again.forget()
  const tybalt = await s.device('tybalt@capulet.lit/street')
  for (const device of [romeo, tybalt]) {
    device.forget()
    await device.says(`<message to='${JULIET}' type='chat' id='m'><body>now?</body></message>`)
    t.equal(conditionOf(await device.gets("<message type='error' id='m'/>")), 'internal-server-error')
  }
  await again.getsNothing()
  t.equal(conditionOf(await again.asks("<iq type='get' id='l'><blocklist xmlns='urn:xmpp:blocking'/></iq>")), 'internal-server-error')
  const talk = new RecordedTalk()
  await asks(s.server, 'export', [join(folder, 'all.xml')], { talk })
  t.match(talk.problems, [/^juliet@capulet.lit: left out: an item of blocking.blocked cannot be read/, /left out/])
  t.match(readFileSync(join(folder, 'all.xml'), 'utf8'), /<user name="tybalt">/, 'the other accounts are exported')
  t.equal((await aside(s)).length, 0, 'nothing is removed from the list')
})

t.test('an account with an unreadable subscription shows its presence to nobody, and one with unreadable preferences archives nothing', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'roster', 'mam'] })
  await s.account(JULIET)
  await s.account('romeo@capulet.lit')
  await s.contact(JULIET, 'romeo@capulet.lit')
  await s.contact(JULIET, 'nurse@capulet.lit')
  s.storage.spoil('roster.items', JULIET, 'nurse@capulet.lit', '{"name":"","groups":[],"subscription":"bothh","ask":false,"approved":false,"listed":true}')
  await s.reload('roster')
  expect(s, 'its value is not of the form that this store holds', 'its value is not JSON')
  const juliet = await s.device(`${JULIET}/balcony`, { presence: false })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  t.equal(conditionOf(await juliet.asks("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")), 'internal-server-error')
  romeo.forget()
  await romeo.says(`<presence to='${JULIET}' type='subscribe' id='s'/>`)
  t.equal(conditionOf(await romeo.gets("<presence type='error' id='s'/>")), 'internal-server-error')

  await juliet.asks("<iq type='set' id='p'><prefs xmlns='urn:xmpp:mam:2' default='never'><always/><never/></prefs></iq>")
  s.storage.spoil('mam.preferences', JULIET, 'preferences', '{"habit":"nev')
  await s.reload('mam')
  romeo.forget()
  await romeo.says(`<message to='${JULIET}/balcony' type='chat' id='m'><body>secret</body></message>`)
  t.equal(conditionOf(await romeo.gets("<message type='error' id='m'/>")), 'internal-server-error')
  const archive = await s.storage.open('mam.messages', journal<string>(1))
  t.equal((await archive.size(JULIET)).entries, 0)
  const batch = new PendingBatch()
  await s.host('capulet.lit').removingAccount(juliet.jid.bare, batch)
  await s.host('capulet.lit').commit(batch)
  t.notOk(await s.host('capulet.lit').accounts.exists(juliet.jid.bare), 'the account can still be removed')
})

t.test('an unreadable subscription request is put aside, and the others are shown', async t => {
  const s = await scenario(t, { modules: ['roster', 'presence'] })
  await s.account(JULIET)
  for (const name of ['romeo', 'paris']) {
    const device = await s.device(`${name}@capulet.lit/orchard`)
    const nick = `<nick xmlns='http://jabber.org/protocol/nick'>${name}</nick>`
    await device.says(`<presence to='${JULIET}' type='subscribe' id='${name}'>${nick}</presence>`)
  }
  const store = await s.storage.open('roster.items', records<{ request?: string }>(1))
  const item = await store.get(JULIET, 'paris@capulet.lit')
  s.storage.spoil('roster.items', JULIET, 'paris@capulet.lit', JSON.stringify({ ...item, request: '<presence type="subscribe"><nick' }))
  await s.reload('roster')
  expect(s, 'not one element')
  const juliet = await s.device(`${JULIET}/balcony`, { presence: false })
  await juliet.says('<presence/>')
  await s.settled()
  const requests = juliet.unread.filter(({ attrs }) => attrs['type'] === 'subscribe')
  t.same(requests.map(({ attrs }) => attrs['from']).sort(), ['paris@capulet.lit', 'romeo@capulet.lit'], 'that there is one stays known')
  t.same(requests.map(element => childElements(element).map(textOf).join()).sort(), ['', 'romeo'])
  const [put] = await aside(s)
  t.match(put, { id: 'paris@capulet.lit', text: /<nick/ })
  t.equal((await store.get(JULIET, 'paris@capulet.lit'))?.request, '')
})

t.test('an account with an unreadable lock cannot log in, and the others can', async t => {
  const s = await scenario(t, { modules: ['message'], hosts: ['capulet.lit'] })
  await s.account(JULIET)
  await s.account('romeo@capulet.lit')
  await asks(s.server, 'user lock', [JULIET, 'why'])
  const store = await s.storage.open('accounts', records<{ locked: unknown }>(1))
  const account = await store.get('capulet.lit', 'juliet')
  s.storage.spoil('accounts', 'capulet.lit', 'juliet', JSON.stringify({ ...account, locked: 'since when?' }))
  const next = await startServer({ modules: ['message'], hosts: ['capulet.lit'], storage: s.storage, ids: 'next' })
  await t.rejects(Promise.resolve(next.host('capulet.lit').accounts.verifyPassword('juliet', 'a secret for tests')))
  t.ok(await next.host('capulet.lit').accounts.verifyPassword('romeo', 'a secret for tests'))
  t.match(await asks(next.server, 'user list'), [{ account: 'romeo@capulet.lit' }])
  await next.end()
})

t.test('a session with one unreadable queued stanza is resumed with the others, after a restart as well', async t => {
  const modules = ['presence', 'message', 'offline', 'stream-management']
  const s = await startServer({ modules, hosts: ['capulet.lit'] })
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device('romeo@capulet.lit/orchard')
  await juliet.says(ENABLE)
  const id = String((await juliet.gets("<enabled xmlns='urn:xmpp:sm:3'/>")).attrs['id'])
  for (let n = 1; n <= 4; n++) await romeo.says(`<message to='${JULIET}/balcony' type='chat'><body>${n}</body></message>`)
  await juliet.loses('connection')
  await s.end()
  const rows = await s.storage.open('stream-management.unacknowledged', journal<{ octets: string }>(1))
  const { entries } = await rows.page(JULIET, { limit: 9 })
  t.equal(entries.length, 4)
  s.storage.spoil('stream-management.unacknowledged', JULIET, entries[1]?.id ?? '', '{"octets":"<message"}')
  s.storage.spoil('stream-management.unacknowledged', JULIET, entries[3]?.id ?? '', '{')

  const next = await scenario(t, { modules, hosts: ['capulet.lit'], storage: s.storage, ids: 'next' })
  await next.settled()
  expect(next, 'its value is not JSON', 'the stored text is not a stanza')
  const { device, answer } = await next.resume(JULIET, `<resume xmlns='urn:xmpp:sm:3' previd='${id}' h='0'/>`)
  t.equal(answer.name, 'resumed')
  t.same(bodies(device?.unread ?? []), ['1', '3'])
  await device?.says("<a xmlns='urn:xmpp:sm:3' h='2'/>")
  t.equal(device?.error, undefined)
  t.equal((await aside(next)).length, 2)
})

t.test('an unreadable session counts as ended: its unacknowledged messages wait, and no rows stay', async t => {
  const modules = ['presence', 'message', 'offline', 'stream-management']
  const s = await startServer({ modules, hosts: ['capulet.lit'] })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  const ids: string[] = []
  for (const name of ['balcony', 'chamber', 'garden']) {
    const juliet = await s.device(`${JULIET}/${name}`)
    await juliet.says(ENABLE)
    ids.push(String((await juliet.gets("<enabled xmlns='urn:xmpp:sm:3'/>")).attrs['id']))
    await romeo.says(`<message to='${JULIET}/${name}' type='chat'><body>${name}</body></message>`)
    await juliet.loses('connection')
  }
  await s.end()
  const sessions = await s.storage.open('stream-management.sessions', records<Record<string, unknown>>(1))
  const state = await sessions.get(JULIET, ids[0] ?? '')
  s.storage.spoil('stream-management.sessions', JULIET, ids[0] ?? '', JSON.stringify({ ...state, presence: '<presence' }))
  s.storage.spoil('stream-management.counts', JULIET, ids[1] ?? '', '{"in":"many"}')
  const next = await scenario(t, { modules, hosts: ['capulet.lit'], storage: s.storage, ids: 'next' })
  await next.settled()
  expect(next, 'its value is not of the form that this store holds', 'not one element')
  for (const id of ids.slice(0, 2)) {
    t.equal((await next.resume(JULIET, `<resume xmlns='urn:xmpp:sm:3' previd='${id}' h='0'/>`)).answer.name, 'failed')
  }
  t.equal((await next.resume(JULIET, `<resume xmlns='urn:xmpp:sm:3' previd='${ids[2] ?? ''}' h='0'/>`)).answer.name, 'resumed')
  t.same([...(await sessions.all(JULIET)).keys()], [ids[2]])
  t.same([...(await (await next.storage.open('stream-management.counts', records<unknown>(1))).all(JULIET)).keys()], [ids[2]])
})

t.test('an unreadable push registration, private element or last activity affects no other', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'offline', 'push', 'private', 'roster', 'last-activity'] })
  const juliet = await s.device(`${JULIET}/balcony`)
  for (const node of ['a', 'b']) await juliet.asks(`<iq type='set' id='p'><enable xmlns='urn:xmpp:push:0' jid='app.lit' node='${node}'/></iq>`)
  await juliet.asks("<iq type='set' id='n'><query xmlns='jabber:iq:private'><one xmlns='urn:one'/></query></iq>")
  await juliet.asks("<iq type='set' id='n'><query xmlns='jabber:iq:private'><two xmlns='urn:two'><nick>J</nick></two></query></iq>")
  const store = await s.storage.open('push.registrations', records<Record<string, unknown>>(1))
  const [found] = await store.all(JULIET)
  const [key, stored] = found ?? ['', {}]
  s.storage.spoil('push.registrations', JULIET, key, JSON.stringify({ ...stored, service: '@@' }))
  s.storage.spoil('private.pieces', JULIET, 'one urn:one', JSON.stringify('<one'))
  await s.reload('push')
  s.expectedErrors.push(['stored item unreadable', 'not one element'])
  const both = await juliet.asks("<iq type='get' id='n'><query xmlns='jabber:iq:private'><one xmlns='urn:one'/><two xmlns='urn:two'/></query></iq>")
  t.match(both.toString(), '<nick>J</nick>')
  const shown = JSON.stringify(await asks(s.server, 'push', [JULIET]))
  t.match(shown, 'app.lit')
  const errors = s.lines.filter(({ event }) => event === 'stored item unreadable')
  t.equal(errors.length, 2)
  s.expectedErrors.push(['stored item unreadable', String(errors[1]?.fields['error'])])
  t.equal((await aside(s)).length, 2)
})
