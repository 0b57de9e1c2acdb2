/** Subscription requests that wait for an answer are stored whole and within bounds, for each domain separately. */
import t from 'tap'
import { accountExporting, accountImporting } from '../../lib/host/events.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { records } from '../../lib/storage/store.js'
import type { Element } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import type { StoredItem } from '../../modules/roster/items.js'
import { parseElement } from '../parse.js'
import { scenario } from '../scenario.js'
import { conditionOf } from '../stanzas.js'

const MODULES = ['presence', 'message']

t.test('a subscription request is stored and delivered with its id, language, nick and extensions (RFC 6121 §3.1.3)', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  const nick = "<nick xmlns='http://jabber.org/protocol/nick'>Romeo \u{1f339}</nick>"
  const content = `<status>it is me</status>${nick}<x xmlns='urn:example'><y a='&lt;'/></x>`
  await romeo.says(`<presence to='juliet@capulet.lit' type='subscribe' id='s1' xml:lang='it'>${content}</presence>`)
  const whole = `<presence type='subscribe' id='s1' xml:lang='it' from='romeo@montague.lit'`
  for (const resource of ['one', 'two']) {
    const juliet = await s.device(`juliet@capulet.lit/${resource}`, { presence: false })
    await juliet.says('<presence/>')
    juliet.unread.filter(element => element.attrs['type'] !== 'subscribe').forEach(element => { juliet.forget(element) })
    await juliet.gets(`${whole} to='juliet@capulet.lit'>${content}</presence>`)
  }

  const exported: Element[] = []
  const host = s.host('capulet.lit')
  const adding: Promise<void>[] = []
  await host.hooks.fire(accountExporting, {
    account: parseJid('juliet@capulet.lit'),
    add: (elements, within) => {
      if (within !== undefined) return
      adding.push((async () => { for await (const element of elements) exported.push(element) })())
    },
  })
  await Promise.all(adding)
  t.equal(exported.length, 1)
  t.same(exported[0]?.toString(), parseElement(`<presence type='subscribe' id='s1' xml:lang='it' xmlns='jabber:client' from='romeo@montague.lit'>${content}</presence>`).toString())
  await s.account('nurse@capulet.lit')
  const batch = new PendingBatch()
  await host.hooks.fire(accountImporting, { account: parseJid('nurse@capulet.lit'), element: exported[0] as Element, within: undefined, batch, leavesOut: () => {} })
  await host.commit(batch)
  const nurse = await s.device('nurse@capulet.lit/x', { presence: false })
  await nurse.says('<presence/>')
  nurse.unread.filter(element => element.attrs['type'] !== 'subscribe').forEach(element => { nurse.forget(element) })
  await nurse.gets(`${whole} to='nurse@capulet.lit'>${content}</presence>`)
})

t.test('a request that is too large is refused, but one that an older version stored is delivered', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { roster: { bytesPerRequest: '300B', requestBytes: '1KiB' } } })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  await romeo.says(`<presence to='juliet@capulet.lit' type='subscribe'><status>${'x'.repeat(300)}</status></presence>`)
  t.equal(conditionOf(await romeo.gets("<presence type='error'/>")), 'policy-violation')
  const store = await s.storage.open('roster.items', records<StoredItem>(1))
  const old: StoredItem = { name: '', groups: [], subscription: 'none', ask: false, approved: false, listed: false, request: 'it is me' }
  await store.put('nurse@capulet.lit', 'romeo@montague.lit', old)
  await s.account('nurse@capulet.lit')
  const nurse = await s.device('nurse@capulet.lit/x', { presence: false })
  await nurse.says('<presence/>')
  t.match(nurse.unread.map(String).join(''), /<presence[^>]*type="subscribe"[^>]*><status>it is me<\/status>/)
})

t.test('a status that an older version stored only says that somebody asks, whatever its content', async t => {
  const s = await scenario(t, { modules: MODULES })
  const store = await s.storage.open('roster.items', records<StoredItem>(1))
  const old = { name: '', groups: [], subscription: 'none', ask: false, approved: false, listed: false } as const
  const statuses = ["<presence type='subscribed'/>", '<presence/>', "<presence-x type='subscribe'/>", "<presence type='subscribe'"]
  for (const [n, request] of statuses.entries()) await store.put('nurse@capulet.lit', `romeo${n}@montague.lit`, { ...old, request })
  s.expectedErrors.push(['stored item unreadable', 'not one element']) // the last one may be a broken stanza: put aside
  await s.account('nurse@capulet.lit')
  const nurse = await s.device('nurse@capulet.lit/x', { presence: false })
  await nurse.says('<presence/>')
  const asking = nurse.unread.filter(one => String(one.attrs['from']).startsWith('romeo'))
  t.strictSame(asking.map(({ name, attrs }) => `${name} ${String(attrs['type'])}`), statuses.map(() => 'presence subscribe'))
})

t.test('if one domain fills the queue of requests, its requests are refused, others are accepted, and waiting ones stay', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { roster: { requests: 10 } } })
  await s.account('juliet@capulet.lit')
  const ask = async (address: string): Promise<string | undefined> => {
    const from = await s.device(`${address}/x`)
    await from.says("<presence to='juliet@capulet.lit' type='subscribe'/>")
    const error = from.unread.find(element => element.attrs['type'] === 'error')
    return error === undefined ? 'waits' : conditionOf(error)
  }
  const evil: (string | undefined)[] = []
  for (let i = 0; i < 12; i++) evil.push(await ask(`user${i}@${i % 2 === 0 ? 'evil.example' : `sub${i}.evil.example`}`))
  t.same(evil, [...Array.from({ length: 5 }, () => 'waits'), ...Array.from({ length: 7 }, () => 'resource-constraint')], 'from any subdomain')
  t.equal(await ask('romeo@montague.lit'), 'waits')
  t.equal(await ask('benvolio@montague.lit'), 'waits')
  t.equal(await ask('paris@verona.example'), 'waits')
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  await juliet.says('<presence/>')
  const waiting = juliet.unread.filter(element => element.attrs['type'] === 'subscribe').map(element => String(element.attrs['from']))
  t.equal(waiting.length, 8)
  for (const from of ['user0@evil.example', 'romeo@montague.lit', 'paris@verona.example']) t.ok(waiting.includes(from), from)
  await juliet.says("<presence to='user0@evil.example' type='unsubscribed'/>")
  t.equal(await ask('user13@evil.example'), 'resource-constraint', 'four requests of the domain wait, and three places are free')
})
