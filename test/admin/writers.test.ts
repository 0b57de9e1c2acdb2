/** Account files of other servers: deviations from XEP-0227 are understood, and what cannot be imported is reported. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { newKeys, sharedDerivations, type HashName, type Keys } from '../../lib/auth/keys.js'
import { scenario, type Scenario } from '../scenario.js'
import { asks, RecordedTalk } from './world.js'
import { temporaryFolder } from '../temporary-folder.js'

const MODULES = ['roster', 'presence', 'message', 'private', 'blocking']

/** Imports these lines as the users of capulet.lit. The first one is line 3 of the file. */
async function imports (t: Test, s: Scenario, ...lines: readonly string[]) {
  const text = `<?xml version='1.0' encoding='UTF-8'?>\n<server-data xmlns='urn:xmpp:pie:0'><host jid='capulet.lit'>\n${lines.join('\n')}\n</host></server-data>`
  const file = join(temporaryFolder(t, { 'in.xml': text }), 'in.xml')
  const talk = new RecordedTalk()
  const done = await asks(s.server, 'import', [file], { talk })
  const short = (texts: readonly string[]): readonly string[] => texts.map(text => text.replace(`${file}:`, ''))
  return { done, problems: short(talk.problems), notes: short(talk.notes) }
}

const stage = async (t: Test): Promise<Scenario> => await scenario(t, { modules: MODULES, hosts: ['capulet.lit'] })
const again = (text: string): string => Buffer.from(text).toString('base64')

function scram (mechanism: string, { iterations, salt, storedKey, serverKey }: Keys): string {
  return `<scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='${mechanism}'><iter-count>${iterations}</iter-count>` +
    `<salt>${salt}</salt><server-key>${serverKey}</server-key><stored-key>${storedKey}</stored-key></scram-credentials>`
}

const twice = ({ iterations, salt, storedKey, serverKey }: Keys): Keys =>
  ({ iterations, salt: again(salt), storedKey: again(storedKey), serverKey: again(serverKey) })

async function keysOf (password: string, hash: HashName): Promise<Keys> {
  return await newKeys(password, hash, 4096, sharedDerivations)
}

t.test('SCRAM keys that ejabberd encoded in base64 twice are decoded', async t => {
  const s = await stage(t)
  const [one, two, three] = [await keysOf('the first', 'sha-1'), await keysOf('the second', 'sha-512'), await keysOf('the third', 'sha-256')]
  const { done, problems } = await imports(t, s,
    `<user name='a'>${scram('SCRAM-SHA-1', twice(one))}</user>`,
    `<user name='b'>${scram('SCRAM-SHA-512', twice(two))}</user>`,
    `<user name='c'>${scram('SCRAM-SHA-256', three)}</user>`,
    `<user name='d'>${scram('SCRAM-SHA-1', twice(twice(one)))}</user>`,
    `<user name='e'>${scram('SCRAM-SHA-1', { ...one, serverKey: again(one.serverKey) })}</user>`)
  t.match(done, { accounts: 5, problems: 2 })
  t.same(problems, [
    '6: d@capulet.lit: <scram-credentials/>: not keys of SCRAM-SHA-1', '7: e@capulet.lit: <scram-credentials/>: not keys of SCRAM-SHA-1',
  ])
  const { accounts } = s.host('capulet.lit')
  for (const [name, password, keys, hash] of [['a', 'the first', one, 'sha-1'], ['b', 'the second', two, 'sha-512'], ['c', 'the third', three, 'sha-256']] as const) {
    t.ok(await accounts.verifyPassword(name, password), name)
    t.strictSame(await accounts.credentials(name, hash), keys, name)
  }
})

t.test('SCRAM keys in the attribute password, as older ejabberd wrote them, are keys; another text with that prefix is a password', async t => {
  const s = await stage(t)
  const [one, two] = [await keysOf('the first', 'sha-1'), await keysOf('the second', 'sha-256')]
  const written = ({ storedKey, serverKey, salt, iterations }: Keys): string => `scram:${storedKey},${serverKey},${salt},${iterations}`
  const { done, problems } = await imports(t, s,
    `<user name='once' password='${written(one)}'/>`,
    `<user name='twice' password='${written(twice(one))}'/>`,
    `<user name='named' password='${written(two).replace('scram:', 'scram:sha256,')}'/>`,
    `<user name='plain' password='scram:bled eggs'/>`,
    `<user name='bad' password='scram:QUJD,QUJD,QUJD,4096'/>`,
    `<user name='costly' password='${written({ ...one, iterations: 99_999_999 })}'/>`,
    `<user name='other' password='scram:md5,QUJD,QUJD,QUJD,4096'/>`)
  t.match(done, { accounts: 7, problems: 3 })
  t.match(problems.join('\n'), /^7: bad@.* its keys are not imported: not keys.*\n8: costly@.*iterations.*\n9: other@.*'md5'/s)
  const { accounts } = s.host('capulet.lit')
  for (const [name, password] of [['once', 'the first'], ['twice', 'the first'], ['named', 'the second'], ['plain', 'scram:bled eggs']] as const) {
    t.ok(await accounts.verifyPassword(name, password), name)
    t.notOk(await accounts.verifyPassword(name, written(one)), name)
  }
  t.match(await asks(s.server, 'user show', ['bad@capulet.lit']), { keys: [] })
})

t.test('an import reports how many accounts lack which keys, and how many came without a password', async t => {
  const s = await stage(t)
  const one = await keysOf('the first', 'sha-1')
  const { notes, problems } = await imports(t, s, `<user name='a'>${scram('SCRAM-SHA-1', one)}</user>`,
    `<user name='b'>${scram('SCRAM-SHA-1', one)}${scram('SCRAM-SHA-256', await keysOf('the first', 'sha-256'))}</user>`,
    "<user name='c' password='the third'/>", "<user name='d'/>")
  t.same(problems, [])
  t.match(notes, [/^capulet\.lit: 1 account has no keys for SCRAM-SHA-256\. It is not offered there/,
    /^capulet\.lit: 2 accounts have no keys for SCRAM-SHA-512\./, /^capulet\.lit: 1 account came without a password\. Nobody can log in/])
  t.match(await asks(s.server, 'status'), { hosts: [{ host: 'capulet.lit', notOffered: 'SCRAM-SHA-256 (1 account lacks it), SCRAM-SHA-512 (2 accounts lack it)' }] })
  for (const name of ['a', 'b']) await asks(s.server, 'user password', [`${name}@capulet.lit`], { input: 'another one' })
  t.match(await asks(s.server, 'status'), { hosts: [{ host: 'capulet.lit', notOffered: '' }] })
})

t.test('a password that is shorter than the minimum for new ones is imported', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: ['capulet.lit'], shortest: 8 })
  t.match((await imports(t, s, "<user name='a' password='short'/>")).done, { accounts: 1, problems: 0 })
  t.ok(await s.host('capulet.lit').accounts.verifyPassword('a', 'short'))
  await t.rejects(asks(s.server, 'user password', ['a@capulet.lit'], { input: 'shorter' }), /too short: it must have at least 8 characters/)
})

t.test('a privacy list whose default is in another query is applied, in any order and with any prefixes', async t => {
  const s = await stage(t)
  const list = (name: string, value: string): string => `<list name='${name}'><item type='jid' value='${value}' action='deny' order='1'/></list>`
  const query = (inner: string): string => `<query xmlns='jabber:iq:privacy'>${inner}</query>`
  const { done, problems } = await imports(t, s,
    `<user name='a' password='a secret'>${query("<default name='x'/>")}${query(list('x', 'one.lit') + list('y', 'no.lit'))}</user>`,
    `<user name='b' password='a secret'>${query(list('x', 'no.lit'))}${query(list('y', 'two.lit'))}`,
    `<query xmlns='jabber:iq:private'><note xmlns='urn:n'/></query><p:query xmlns:p='jabber:iq:privacy'><p:default name='y'/></p:query></user>`,
    `<user name='c' password='a secret'>${query(list('x', 'no.lit'))}</user>`,
    `<user name='d' password='a secret'>${query("<default name='x'/>")}`,
    `${query("<list name='x'><item type='group' value='g' action='deny' order='1'/></list>")}</user>`)
  t.match(done, { accounts: 4, problems: 1 })
  t.same(problems, ['8: d@capulet.lit: <query/>: the privacy list does more than block addresses'])
  for (const [name, blocked] of [['a', 'one.lit'], ['b', 'two.lit'], ['c', ''], ['d', '']] as const) {
    const device = await s.device(`${name}@capulet.lit/x`)
    const found = (await device.asks("<iq type='get' id='b'><blocklist xmlns='urn:xmpp:blocking'/></iq>")).toString()
    t.strictSame([...found.matchAll(/jid="([^"]*)"/g)].map(([, jid]) => jid), blocked === '' ? [] : [blocked], name)
  }
})

t.test('a contact with empty or duplicate groups is imported without them, and that is reported', async t => {
  const s = await stage(t)
  const { done, problems, notes } = await imports(t, s, "<user name='a' password='a secret'><query xmlns='jabber:iq:roster'>",
    "<item jid='one@y' subscription='both'><group>F</group><group></group><group>F</group><group>G</group></item>",
    "<item jid='two@y'><group/></item>", "<item jid='three@y'><group>F</group></item></query></user>")
  t.match(done, { accounts: 1, elements: 3, problems: 0 })
  t.same(problems, [])
  t.match(notes, [/^4: a@capulet\.lit: one@y: groups that are empty or named twice are left out/, /^5: a@capulet\.lit: two@y: groups/])
  const device = await s.device('a@capulet.lit/x', { presence: false })
  const roster = (await device.asks("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")).toString()
  t.match(roster, /<item[^>]*jid="one@y"[^>]*subscription="both"[^>]*><group>F<\/group><group>G<\/group><\/item>/)
  t.match(roster, /<item[^>]*jid="two@y"[^>]*\/>/)
  t.match((await device.asks("<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='x@y'><group/></item></query></iq>")).toString(),
    /not-acceptable/, 'a client is refused (RFC 6121 §2.3.3)')
})
