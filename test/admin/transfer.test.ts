/** XEP-0227: one server imports what another exported. What is wrong in a file is reported and left out. */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { newKeys, sharedDerivations } from '../../lib/auth/keys.js'
import type { Operator, Report } from '../../lib/admin/talk.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { scenario, type Device, type Scenario } from '../scenario.js'
import { asks, RecordedTalk } from './world.js'
import { temporaryFolder } from '../temporary-folder.js'

const MODULES = ['roster', 'presence', 'message', 'offline', 'private', 'vcard', 'blocking']

/** An XEP-0227 file with these users of capulet.lit. */
function users (...texts: readonly string[]): string {
  return `<?xml version='1.0' encoding='UTF-8'?>\n<server-data xmlns='urn:xmpp:pie:0'><host jid='capulet.lit'>\n${texts.join('\n')}\n</host></server-data>`
}

async function stage (t: Parameters<typeof scenario>[0]): Promise<Scenario> {
  return await scenario(t, { modules: MODULES, hosts: ['capulet.lit'] })
}

t.test('an import of an export on another server gives the same accounts, rosters, vCards, notes, block lists, messages and archives', async t => {
  const folder = temporaryFolder(t)
  const modules = [...MODULES, 'mam']
  const a = await scenario(t, { modules, hosts: ['capulet.lit', 'montague.lit'] })
  const [juliet, romeo] = [await a.device('juliet@capulet.lit/balcony'), await a.device('romeo@montague.lit/orchard')]
  await juliet.asks(`<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='romeo@montague.lit' name='Römeo &amp; &lt;3'><group>Friends</group><group>Ü</group></item></query></iq>`)
  await juliet.says(`<presence type='subscribe' to='romeo@montague.lit'/>`)
  await romeo.says(`<presence type='subscribed' to='juliet@capulet.lit'/>`)
  await juliet.says(`<presence type='subscribe' to='paris@montague.lit'/>`, `<presence type='subscribed' to='nurse@montague.lit'/>`)
  await romeo.says(`<presence type='subscribe' to='juliet@capulet.lit'><status>Let me in</status></presence>`)
  await juliet.asks(`<iq type='set' id='v'><vCard xmlns='vcard-temp'><FN>Juliet</FN><PHOTO><BINVAL>${'QUJD'.repeat(200)}</BINVAL></PHOTO></vCard></iq>`)
  await juliet.asks(`<iq type='set' id='w'><vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>Juliet</text></fn></vcard></iq>`)
  await juliet.asks(`<iq type='set' id='p'><query xmlns='jabber:iq:private'><exodus xmlns='exodus:prefs'><nick>J</nick></exodus></query></iq>`)
  await juliet.asks(`<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='tybalt@capulet.lit'/><item jid='spam.lit'/></block></iq>`)
  await juliet.asks(`<iq type='set' id='a'><prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never><jid>tybalt@capulet.lit</jid></never></prefs></iq>`)
  await juliet.loses('connection')
  await romeo.says(`<message to='juliet@capulet.lit' type='chat' id='m1'><body>Wo bist du? \u{1f339}</body></message>`)
  await a.pass('1m')
  await romeo.says(`<message to='juliet@capulet.lit' type='chat' id='m2'><body>second</body></message>`)
  await a.account('mercutio@montague.lit')
  await asks(a.server, 'user lock', ['mercutio@montague.lit', 'a', 'plague'])

  const [file, again] = [join(folder, 'all.xml'), join(folder, 'again.xml')]
  t.equal(await asks(a.server, 'export', [file]), `3 accounts written to ${file}`)
  t.equal(statSync(file).mode & 0o777, 0o600, 'only its owner can read it, because it holds keys')
  await t.rejects(asks(a.server, 'export', [file]), /exists already/)
  t.notMatch(readFileSync(file, 'utf8'), /a secret for tests/)

  const b = await scenario(t, { modules, hosts: ['capulet.lit', 'montague.lit'] })
  const talk = new RecordedTalk()
  t.match(await asks(b.server, 'import', [file], { talk }), { accounts: 3, before: 0, problems: 0 })
  t.strictSame(talk.problems, [])
  t.equal(talk.progress.length, 1)
  b.clock.pass(120_000)
  await asks(b.server, 'export', [again])
  const created = /created="[^"]*"/g
  t.equal(readFileSync(again, 'utf8').replace(created, ''), readFileSync(file, 'utf8').replace(created, ''), 'a second export is the same')

  t.ok(await b.host('capulet.lit').accounts.verifyPassword('juliet', 'a secret for tests'), 'the password is the same')
  t.match(await asks(b.server, 'user show', ['mercutio@montague.lit']), { state: 'locked', locked: { reason: 'a plague' } })
  const phone = await b.device('juliet@capulet.lit/phone', { presence: false })
  const roster = await phone.asks(`<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>`)
  t.match(roster.toString(), /paris@montague\.lit[^>]*ask="subscribe"/)
  await phone.says('<presence/>')
  await phone.getsInAnyOrder(
    `<presence type='subscribe' from='romeo@montague.lit'><status>Let me in</status></presence>`,
    `<message id='m1'><body>Wo bist du? \u{1f339}</body><delay xmlns='urn:xmpp:delay' from='capulet.lit'/></message>`,
    `<message id='m2'><body>second</body></message>`, '<presence/>')

  const there = await archiveOf(await a.device('juliet@capulet.lit/here'))
  t.same(there.map(({ text }) => text), ['Wo bist du? \u{1f339}', 'second'])
  t.same(await archiveOf(phone), there, 'the archive is the same, with ids and times')
  t.match((await phone.asks(`<iq type='get' id='a'><prefs xmlns='urn:xmpp:mam:2'/></iq>`)).toString(), /<never><jid>tybalt@capulet.lit/)
  t.same((await archiveOf(phone, 'bist')).map(({ text }) => text), ['Wo bist du? \u{1f339}'], 'a search finds it')
  const sender = await b.device('romeo@montague.lit/street')
  await sender.says(`<message to='juliet@capulet.lit' type='chat' id='r'><retract xmlns='urn:xmpp:message-retract:1' id='m2'/></message>`)
  t.same((await archiveOf(phone)).map(({ text }) => text), ['Wo bist du? \u{1f339}', '', ''], 'the sender can retract it')
})

t.test('a file of an export carries the nodes of an account to another server: configuration, affiliations, subscriptions and items', async t => {
  const folder = temporaryFolder(t)
  const modules = [...MODULES, 'disco', 'caps', 'pep']
  const file = join(folder, 'all.xml')
  const a = await scenario(t, { modules, hosts: ['capulet.lit'] })
  const juliet = await a.device('juliet@capulet.lit/balcony')
  const node = "xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='n'"
  for (const request of [
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item id='a'><rose xmlns='urn:r'/></item></publish></pubsub>",
    `<pubsub ${node}><x xmlns='jabber:x:data' type='submit'><field var='pubsub#title'><value>Roses</value></field></x></configure></pubsub>`,
    "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><affiliations node='n'><affiliation jid='nurse@capulet.lit' affiliation='member'/></affiliations></pubsub>",
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='n' jid='juliet@capulet.lit'/></pubsub>",
  ]) t.equal((await juliet.asks(`<iq type='set' id='n'>${request}</iq>`)).attrs['type'], 'result')
  await asks(a.server, 'export', [file])

  const b = await scenario(t, { modules, hosts: ['capulet.lit'] })
  const talk = new RecordedTalk()
  t.match(await asks(b.server, 'import', [file], { talk }), { accounts: 1, problems: 0 })
  t.strictSame(talk.problems, [])
  const there = await b.device('juliet@capulet.lit/balcony')
  for (const request of [
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/></pubsub>", `<pubsub ${node}/></pubsub>`,
    "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><affiliations node='n'/></pubsub>",
    "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><subscriptions node='n'/></pubsub>",
  ]) {
    const [before, after] = [juliet, there].map(device => device.asks(`<iq type='get' id='g'>${request}</iq>`))
    const answer = String(await before)
    t.match(answer, /<rose|Roses|nurse@|subscribed/)
    t.equal(String(await after), answer)
  }
})

t.test('an export reports the number of accounts and elements so far, and the number of all accounts', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: ['capulet.lit', 'montague.lit'] })
  for (let n = 0; n < 120; n++) await s.account(`a${n}@${n % 2 === 0 ? 'capulet' : 'montague'}.lit`)
  const told: Report[] = []
  const talk: Operator = { gone: false, tell: what => Promise.resolve(void told.push(what)) }
  await asks(s.server, 'export', [join(temporaryFolder(t), 'all.xml')], { talk })
  // Of each account: its times, and keys of three hashes.
  t.strictSame(told, [200, 400].map(elements => {
    const done = elements / 4 - 1 // the account of the last element is not complete yet
    return { kind: 'progress', done, of: 120, text: `${done} of 120 accounts, ${elements} elements` }
  }))
})

interface Archived { readonly id: string, readonly stamp: string, readonly text: string }

/** Returns what a device finds in its archive, or what a search for `words` finds. */
async function archiveOf (device: Device, words?: string): Promise<readonly Archived[]> {
  const search = words === undefined ? '' : "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>" +
    `<field var='{urn:xmpp:fulltext:0}fulltext'><value>${words}</value></field></x>`
  device.forget()
  await device.asks(`<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'>${search}</query></iq>`)
  return device.unread.flatMap(element => {
    const result = element.getChild('result')
    const forwarded = result?.getChild('forwarded')
    if (result === undefined || forwarded === undefined) return []
    const text = forwarded.getChild('message')?.getChildText('body') ?? ''
    return [{ id: String(result.attrs['id']), stamp: String(forwarded.getChild('delay')?.attrs['stamp']), text }]
  })
}

t.test('an archive of another server is imported with each message once, and entries that are no messages of the account are reported', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'mam'], hosts: ['capulet.lit'] })
  const message = (text: string, how = "from='romeo@montague.lit/orchard' to='juliet@capulet.lit' type='chat'"): string =>
    `<message xmlns='jabber:client' ${how}><body>${text}</body></message>`
  const result = (id: string, inner: string, stamp = "<delay xmlns='urn:xmpp:delay' stamp='2025-07-10T23:08:25Z'/>"): string =>
    `<result xmlns='urn:xmpp:mam:2' ${id}><forwarded xmlns='urn:xmpp:forward:0'>${stamp}${inner}</forwarded></result>`
  const told = message('told').replace('</message>', "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.lit' id='x'/></message>")
  const long = 'x'.repeat(3000)
  const lines = [
    `<user name='juliet' password='x'><archive xmlns='urn:xmpp:pie:0#mam'>`,
    `${result("id='one'", told)}${result("id='one'", told)}${result("id='two'", message('sent', "from='juliet@capulet.lit/b' to='romeo@montague.lit'"))}`,
    `${result('', message('no id'))}${result('', message('no id'))}${result(`id='${long}'`, message('long id'))}${result("id='one'", told)}`,
    result("id='bad'", ''), // 6
    result("id='bad'", message('when'), ''),
    result("id='bad'", message('when'), "<delay xmlns='urn:xmpp:delay' stamp='yesterday'/>"),
    result("id='bad'", message('room', "from='verona@rooms.lit/r' to='juliet@capulet.lit' type='groupchat'")),
    result("id='bad'", message('others', "from='romeo@montague.lit' to='nurse@capulet.lit' type='chat'")),
    result("id='bad'", message('nobody', "from='@' to='juliet@capulet.lit' type='chat'")),
    "<message xmlns='jabber:client'/>",
    '</archive></user>',
  ]
  const file = join(temporaryFolder(t, { 'in.xml': users(...lines) }), 'in.xml')
  const talk = new RecordedTalk()
  t.match(await asks(s.server, 'import', [file], { talk }), { accounts: 1, elements: 7, problems: 7 })
  t.same(talk.problems.map(line => Number(line.replace(`${file}:`, '').split(':')[0])), [6, 7, 8, 9, 10, 11, 12], talk.problems.join('\n'))
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const found = await archiveOf(juliet)
  t.same(found.map(({ text }) => text), ['told', 'sent', 'no id', 'long id'])
  t.same(found.slice(0, 2).map(({ id }) => id), ['one', 'two'])
  t.ok(found.every(({ id }) => id !== '' && id.length < 100))
  t.equal(found[0]?.stamp, '2025-07-10T23:08:25.000Z')
  juliet.forget()
  await juliet.asks(`<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>` +
    `<value>urn:xmpp:mam:2</value></field><field var='with'><value>romeo@montague.lit</value></field></x></query></iq>`)
  t.equal(juliet.unread.length, 4, 'the contact is the other party, whoever sent the message')
  t.notMatch(juliet.unread.join(''), /stanza-id/)
})

t.test('a file of another server is imported: plain passwords become keys, SCRAM keys stay, and elements go to their modules', async t => {
  const s = await stage(t)
  const keys = await newKeys('for scram', 'sha-1', 4096, sharedDerivations)
  const folder = temporaryFolder(t, { 'in.xml': users(`<user name='Juliet' password='for plain'>
  <query xmlns='jabber:iq:roster'><item jid='romeo@montague.lit/orchard' subscription='both' name='R'><group>F</group></item></query>
  <offline-messages><message xmlns='jabber:client' from='romeo@montague.lit/orchard' to='juliet@capulet.lit' type='chat'><body>hi</body>
    <delay xmlns='urn:xmpp:delay' from='capulet.lit' stamp='2020-07-21T00:32:29Z'>Offline Storage</delay></message>
    <message xmlns='jabber:client' from='romeo@montague.lit/orchard' to='juliet@capulet.lit' type='chat'><body>old</body>
    <x xmlns='jabber:x:delay' from='capulet.lit' stamp='20200722T00:32:29'/></message></offline-messages>
  <query xmlns='jabber:iq:privacy'><default name='d'/><list name='d'><item type='jid' value='tybalt@capulet.lit' action='deny' order='2'/>
    <item type='jid' value='spam.lit' action='deny' order='1'><message/><iq/><presence-in/><presence-out/></item><item action='allow' order='9'/></list></query>
</user>`, `<user name='nurse'><scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='SCRAM-SHA-1'><iter-count>4096</iter-count>
  <salt>${keys.salt}</salt><server-key>${keys.serverKey}</server-key><stored-key>${keys.storedKey}</stored-key></scram-credentials></user>`,
  `<user name='nobody'/>`) })
  s.clock.pass(Date.parse('2020-08-01T00:00:00Z') - s.clock.now())
  t.match(await asks(s.server, 'import', [join(folder, 'in.xml')]), { accounts: 3, problems: 0 })
  const { accounts } = s.host('capulet.lit')
  t.ok(await accounts.verifyPassword('juliet', 'for plain'))
  t.match(await asks(s.server, 'user show', ['juliet@capulet.lit']), { keys: ['SCRAM-SHA-1', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] })
  t.ok(await accounts.verifyPassword('nurse', 'for scram'))
  t.match(await asks(s.server, 'user show', ['nurse@capulet.lit']), { keys: ['SCRAM-SHA-1'] })
  t.match(await asks(s.server, 'user show', ['nobody@capulet.lit']), { keys: [], state: 'active' })
  for (const password of ['', 'nobody']) t.notOk(await accounts.verifyPassword('nobody', password), 'without keys nobody logs in')

  const phone = await s.device('juliet@capulet.lit/phone', { presence: false })
  t.match((await phone.asks(`<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>`)).toString(), /jid="romeo@montague\.lit"[^>]*subscription="both"/)
  t.match((await phone.asks(`<iq type='get' id='b'><blocklist xmlns='urn:xmpp:blocking'/></iq>`)).toString(), /spam\.lit.*tybalt@capulet\.lit/)
  await phone.says('<presence/>')
  phone.unread.filter(({ name }) => name !== 'message').forEach(stanza => { phone.forget(stanza) })
  const hi = await phone.gets(`<message><body>hi</body><delay xmlns='urn:xmpp:delay' from='capulet.lit' stamp='2020-07-21T00:32:29Z'/></message>`)
  t.equal(hi.toString().match(/<delay/g)?.length, 1, 'the time occurs once')
  await phone.gets(`<message><body>old</body><delay xmlns='urn:xmpp:delay' stamp='2020-07-22T00:32:29Z'/></message>`)
})

t.test('each element that cannot be imported is reported with its line, and the rest is imported', async t => {
  const s = await scenario(t, {
    modules: MODULES, hosts: ['capulet.lit'],
    settings: { offline: { keep: 2 }, private: { bytes: '1KiB' }, vcard: { bytes: '1KiB' }, roster: { items: 3, groupsPerContact: 1 }, blocking: { items: 1 } },
  })
  await s.account('there@capulet.lit')
  const message = (body: string, more = ''): string => `<message xmlns='jabber:client' from='romeo@montague.lit' ${more}><body>${body}</body></message>`
  const scram = (how: Readonly<Record<string, string>>): string => `<scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='${how['mechanism'] ?? 'SCRAM-SHA-1'}'>` +
    Object.entries({ 'iter-count': '4096', 'salt': 'QUJD', 'server-key': 'A'.repeat(27) + '=', 'stored-key': 'A'.repeat(27) + '=', ...how })
      .map(([name, value]) => value === '' ? '' : `<${name}>${value}</${name}>`).join('') + '</scram-credentials>'
  const lines = [
    `<user name='a'><query xmlns='jabber:iq:roster'>`,
    `<item jid='@'/>`, // 4
    `<item subscription='both'/>`,
    `<item jid='x@y' subscription='often'/>`,
    `<item jid='a@capulet.lit'/>`,
    `<item jid='x@y'><group>1</group><group>2</group></item>`,
    `<item jid='1@y'/><item jid='2@y'/><item jid='3@y'/>`, // 9: valid
    `<item jid='4@y'/>`,
    `</query>`,
    `<presence xmlns='jabber:client' type='unavailable' from='x@y'/>`, // 12
    `<presence xmlns='jabber:client' type='subscribe'/>`,
    `<offline-messages>${message('1')}${message('2')}`, // 14: valid
    message('3'),
    message('4', `type='groupchat'`),
    message('5', `to='@'`),
    `<message><body>of no namespace of ours</body></message>`,
    `</offline-messages>`,
    `<query xmlns='jabber:iq:private'><plain/>`, // 20: in the container's own namespace
    `<big xmlns='urn:x'>${'x'.repeat(2000)}</big>`,
    `<fine xmlns='urn:x'/></query>`,
    `<vCard xmlns='vcard-temp'><FN>${'x'.repeat(2000)}</FN></vCard>`, // 23
    `<blocklist xmlns='urn:xmpp:blocking'><item jid='1@y'/><item jid='2@y'/><item/></blocklist>`,
    `<query xmlns='jabber:iq:privacy'><default name='d'/><list name='d'><item type='group' value='x' action='deny' order='1'/></list></query>`,
    ...[{ 'iter-count': '0' }, { 'iter-count': '99999999' }, { salt: '!' }, { 'server-key': 'QUJD' }, { 'stored-key': '' }, { mechanism: 'SCRAM-MD5' }].map(scram), // 26
    `<unknown xmlns='urn:u'/><unknown xmlns='urn:u'/>`, // 32: reported once
    `<b xmlns='urn:x' a='1' a='2'/></user>`,
    `<user name='@'/>`, // 34
    `<user><query xmlns='jabber:iq:roster'><item jid='lost@y'/></query></user>`,
    `<user name='there'><query xmlns='jabber:iq:roster'><item jid='lost@y'/></query></user>`,
    `<user name='p' password='&#x200e;'/>`,
    `<user name='last' password='x'/>`,
    `</host><host jid='elsewhere.lit'><user name='lost' password='x'/></host><other/><host jid='capulet.lit'>`, // 39
  ]
  const folder = temporaryFolder(t, { 'in.xml': users(...lines) })
  const talk = new RecordedTalk()
  const done = await asks(s.server, 'import', [join(folder, 'in.xml')], { talk })
  const told = talk.problems.map(line => line.replace(`${folder}/in.xml:`, '').replace(/^(\d+): (?:a@capulet\.lit: )?/, '$1 '))
  t.strictSame(told.map(line => Number(line.split(' ')[0])), [
    4, 5, 6, 7, 8, 10, 12, 13, 15, 16, 17, 18, 20, 21, 23, 24, 24, 25, 26, 27,
    28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 39, 39,
  ], told.join('\n'))
  t.match(told.join('\n'), /^15 <message\/>: too many offline messages$/m)
  t.match(told.join('\n'), /^32 no module imports <unknown xmlns='urn:u'\/>, here and in all accounts$/m)
  t.match(told.join('\n'), /^36 there: the account exists already/m)
  t.match(done, { accounts: 2, problems: told.length })
  const phone = await s.device('a@capulet.lit/phone', { presence: false })
  const roster = (await phone.asks(`<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>`)).toString()
  t.strictSame([...roster.matchAll(/jid="([^"]*)"/g)].map(([, jid]) => jid), ['1@y', '2@y', '3@y'])
  t.match((await phone.asks(`<iq type='get' id='p'><query xmlns='jabber:iq:private'><fine xmlns='urn:x'/></query></iq>`)).toString(), /fine/)
  await phone.says('<presence/>')
  phone.unread.filter(({ name }) => name !== 'message').forEach(stanza => { phone.forget(stanza) })
  await phone.gets('<message><body>1</body></message>')
  await phone.gets('<message><body>2</body></message>')
  await phone.getsNothing()
  t.notOk(await s.host('capulet.lit').exists(parseJid('lost@capulet.lit')))

  await t.rejects(asks(s.server, 'import', [join(folder, 'in.xml'), '--strict', '--merge']), /in\.xml:34: /, 'with --strict the import ends there')
  await t.rejects(asks(s.server, 'import', [join(folder, 'missing.xml')]), /there is no file/)
  for (const [text, error] of [
    ['<html/>', /:1: this is not a file of accounts/], ['<!DOCTYPE x><server-data/>', /:1: a document type/], ['', /:1: /],
    [users('<user name="q"><vCard>'), /:5: |:4: |:3: /],
  ] as const) {
    writeFileSync(join(folder, 'bad.xml'), text)
    await t.rejects(asks(s.server, 'import', [join(folder, 'bad.xml')]), error)
  }
  t.ok(await s.host('capulet.lit').exists(parseJid('q@capulet.lit')), 'the elements before the error are imported')
})

t.test('an interrupted import goes on where it stopped, and imports nothing twice', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: ['capulet.lit'], settings: { offline: { keep: 5000 } } })
  const message = (n: number): string => `<message xmlns='jabber:client' from='romeo@montague.lit' type='chat'><body>message ${n}</body></message>`
  const messages = Array.from({ length: 2000 }, (_, n) => message(n)).join('\n')
  const folder = temporaryFolder(t, { 'in.xml': users(
    `<user name='first' password='x'><offline-messages>${message(-1)}</offline-messages></user>`,
    `<user name='juliet' password='x'><offline-messages>${messages}</offline-messages><vCard xmlns='vcard-temp'><FN>J</FN></vCard></user>`) })
  const file = join(folder, 'in.xml')
  const count = async (name: string): Promise<number> => {
    const records = await s.storage.open('offline.messages', (await import('../../lib/storage/store.js')).journal<string>(1))
    return (await records.size(`${name}@capulet.lit`)).entries
  }
  let last = 0
  for (let run = 1; run <= 3; run++) {
    await t.rejects(asks(s.server, 'import', [file], { talk: new RecordedTalk(run * 2) }), /interrupted/)
    const now = await count('juliet')
    t.ok(now > last && now < 2000, `run ${run}: ${now} messages are there`)
    last = now
  }
  // A device that logs in between two runs gets what is imported so far. The next run does not import it again.
  const early = await s.device('juliet@capulet.lit/early')
  for (let turn = 0; turn < 1000 && await count('juliet') > 0; turn++) await s.settled()
  t.equal(await count('juliet'), 0)
  await early.loses('connection')
  t.match(await asks(s.server, 'import', [file]), { accounts: 1, before: 1, problems: 0 })
  t.equal(await count('juliet'), 2000 - last)
  t.equal(await count('first'), 1)
  t.match(await asks(s.server, 'import', [file]), { accounts: 0, before: 2, elements: 0, problems: 0 }, 'a third import has nothing to do')
  t.equal(await count('juliet'), 2000 - last)

  // The same messages in another file: with --merge, the waiting messages are recognized.
  const other = join(folder, 'other.xml')
  writeFileSync(other, users(`<user name='first' password='another'><offline-messages>${message(-1)}${message(-2)}${message(-2)}</offline-messages></user>`))
  t.match(await asks(s.server, 'import', [other]), { accounts: 0, problems: 1 })
  t.match(await asks(s.server, 'import', [other, '--merge']), { accounts: 1, problems: 0 })
  t.equal(await count('first'), 2)
  t.ok(await s.host('capulet.lit').accounts.verifyPassword('first', 'x'), 'an existing account keeps its password')
})

t.test('an import follows XInclude to files below the folder of the first one, up to a depth', async t => {
  const s = await stage(t)
  const xi = `xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude'`
  const folder = temporaryFolder(t, {
    'secret.xml': `<host xmlns='urn:xmpp:pie:0' jid='capulet.lit'><user name='stolen' password='x'/></host>`,
    'in': {
      'main.xml': `<server-data ${xi}>\n<xi:include href='capulet.lit.xml'/>\n<xi:include href='../secret.xml'/>\n<xi:include href='/etc/passwd'/>
<xi:include href='file:///etc/passwd'/>\n<xi:include href='missing.xml'/>\n<xi:include href='capulet.lit.xml' parse='text'/></server-data>`,
      'capulet.lit.xml': `<host ${xi} jid='capulet.lit'><xi:include href='capulet.lit/juliet%20x.xml'/>\n<xi:include href='capulet.lit/nurse.xml'/></host>`,
      'capulet.lit': {
        'juliet x.xml': `<user ${xi} name='juliet' password='x'><vCard xmlns='vcard-temp'><FN>J</FN></vCard>
<query xmlns='jabber:iq:private'><xi:include href='../../secret.xml'/></query></user>`,
        'nurse.xml': `<user ${xi} name='nurse' password='x'><xi:include href='loop.xml'/></user>`,
        'loop.xml': `<vCard ${xi.replace('urn:xmpp:pie:0', 'vcard-temp')}><FN>N</FN></vCard>`,
      },
    },
  })
  const talk = new RecordedTalk()
  const main = join(folder, 'in', 'main.xml')
  t.match(await asks(s.server, 'import', [main], { talk }), { accounts: 2, elements: 2 + 1 })
  t.strictSame(talk.problems.map(line => Number(line.replace(`${main}:`, '').split(':')[0])), [3, 4, 5, 6, 7])
  t.match(await asks(s.server, 'user list'), [{ account: 'juliet@capulet.lit' }, { account: 'nurse@capulet.lit' }])
})
