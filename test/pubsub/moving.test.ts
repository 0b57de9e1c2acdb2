/** The nodes of a service in a file: one server imports what another one exported. */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PEP_DEFAULTS } from '../../lib/pubsub/config.js'
import { inOrder } from '../../lib/pubsub/moving.js'
import type { Node } from '../../lib/pubsub/node.js'
import { asks } from '../admin/world.js'
import { scenario, type Scenario } from '../scenario.js'
import { form, hears, itemIds, outcome, publishing, pubsub, valuesIn } from './stage.js'
import { temporaryFolder } from '../temporary-folder.js'

const SERVICE = 'pubsub.capulet.lit'
const OTHER = 'news.capulet.lit'
const to = SERVICE
const JULIET = 'juliet@capulet.lit'
const ROMEO = 'romeo@montague.lit'

function stage (t: Test, settings: Readonly<Record<string, unknown>> = {}): Promise<Scenario> {
  return scenario(t, {
    modules: ['presence', 'message', 'disco'], settings: { pubsub: settings },
    services: { [OTHER]: ['disco', 'pubsub'], [SERVICE]: ['disco', 'pubsub'] },
  })
}
const move = async (s: Scenario, how: 'export' | 'import', file: string, domain = SERVICE): Promise<unknown> =>
  await asks(s.server, `pubsub ${how}`, [domain, file])
const make = (node: string, fields: Parameters<typeof form>[1] = {}): string =>
  `<create node='${node}'/><configure>${form('node_config', fields)}</configure>`

/** Makes a server with three nodes, and exports them. */
async function exported (t: Test, file: string): Promise<Scenario> {
  const s = await stage(t)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  await pubsub(juliet, 'set', make('news', { title: 'N&amp;üs', max_items: '3', access_model: 'whitelist', contact: [JULIET, ROMEO] }), { to })
  const members = `<affiliation jid='${ROMEO}' affiliation='member'/><affiliation jid='tybalt@capulet.lit' affiliation='outcast'/>`
  await pubsub(juliet, 'set', `<affiliations node='news'>${members}</affiliations>`, { to, owner: true })
  const end = form('subscribe_options', { expire: '2026-01-02T00:00:00Z' })
  await pubsub(romeo, 'set', `<subscribe node='news' jid='${ROMEO}'/><options>${end}</options>`, { to })
  for (const id of ['a', 'b', 'c', 'd']) {
    await s.pass('1m')
    await pubsub(juliet, 'set', publishing('news', id), { to })
  }
  await pubsub(romeo, 'set', make('fleeting', { persist_items: '0' }), { to })
  await pubsub(romeo, 'set', make('empty'), { to })
  t.same(await move(s, 'export', file), { nodes: 3, items: 3, problems: 0, leftOut: [] })
  return s
}

t.test('an import on another server gives the same nodes, items, affiliations and subscriptions, and tells nobody', async t => {
  const folder = temporaryFolder(t)
  const [file, again] = [join(folder, 'nodes.jsonl'), join(folder, 'again.jsonl')]
  const a = await exported(t, file)
  t.equal(statSync(file).mode & 0o777, 0o600)
  await t.rejects(move(a, 'export', file), /exists already/)
  const b = await stage(t)
  const romeo = await b.device(`${ROMEO}/orchard`)
  const juliet = await b.device(`${JULIET}/balcony`)
  t.same(await move(b, 'import', file), { nodes: 3, items: 3, problems: 0, leftOut: [] })
  t.same(hears(romeo), [])
  await move(b, 'export', again)
  t.equal(readFileSync(again, 'utf8'), readFileSync(file, 'utf8'), 'a second export is the same')
  t.same(itemIds(await pubsub(romeo, 'get', "<items node='news'/>", { to })), ['b', 'c', 'd'])
  const tybalt = await b.device('tybalt@capulet.lit/x')
  t.equal(outcome(await pubsub(tybalt, 'get', "<items node='news'/>", { to })), 'auth forbidden')
  t.same(valuesIn(await pubsub(juliet, 'get', "<configure node='news'/>", { to, owner: true })).get('title'), ['N&üs'])
  await pubsub(juliet, 'set', publishing('news', 'e'), { to })
  t.same(hears(romeo), [`${SERVICE} headline: items news item e with payload`], 'the subscription goes on')
})

t.test('an import that is run again changes nothing, and one that was interrupted is continued', async t => {
  const file = join(temporaryFolder(t), 'nodes.jsonl')
  await exported(t, file)
  const b = await stage(t)
  const juliet = await b.device(`${JULIET}/balcony`)
  const lines = readFileSync(file, 'utf8').split('\n')
  const half = `${file}.half`
  writeFileSync(half, lines.slice(0, 1 + lines.findIndex(line => line.startsWith('{"item":"b"'))).join('\n'))
  t.match(await move(b, 'import', half), { items: 1, problems: 0 })
  t.match(await move(b, 'import', file), { items: 2, problems: 0 })
  t.same(itemIds(await pubsub(juliet, 'get', "<items node='news'/>", { to })), ['b', 'c', 'd'])
  await b.pass('1h')
  await pubsub(juliet, 'set', publishing('news', 'e'), { to })
  t.same(await move(b, 'import', file), { nodes: 0, items: 0, problems: 0, leftOut: [] })
  t.same(itemIds(await pubsub(juliet, 'get', "<items node='news'/>", { to })), ['c', 'd', 'e'], 'what has come since stays the newest')
})

t.test('what cannot be imported is left out and named, and the rest is imported', async t => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'nodes.jsonl')
  await exported(t, file)
  const [head = '', ...rest] = readFileSync(file, 'utf8').trimEnd().split('\n')
  const b = await stage(t)
  const juliet = await b.device(`${JULIET}/balcony`)
  await pubsub(juliet, 'set', make('fleeting'), { to })
  const wrong = join(folder, 'wrong.jsonl')
  const broken = rest.map(line => line.startsWith('{"item":"c"') ? line.replace('</t>', '') : line)
  writeFileSync(wrong, [head, ...broken, '{"node":"x"}', '{"item":"y","publisher":"a@b","published":"2026-01-01T00:00:00Z"}', 'no JSON', ''].join('\n'))
  const said = await move(b, 'import', wrong)
  t.match(said, { nodes: 2, items: 2, problems: 4 })
  t.match(JSON.stringify(said), /line \d+: .*fleeting: .*another node of this name.*line \d+: .*line \d+: a line is no JSON/)
  t.same(itemIds(await pubsub(juliet, 'get', "<items node='news'/>", { to })), ['b', 'd'])
})

t.test('a file that is no export, a domain that has no nodes, and a full service are refused', async t => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'nodes.jsonl')
  const a = await exported(t, file)
  t.same(await move(a, 'export', join(folder, 'other.jsonl'), OTHER), { nodes: 0, items: 0, problems: 0, leftOut: [] }, 'the domain chooses the service')
  await t.rejects(move(a, 'export', join(folder, 'x'), 'capulet.lit'), /no service/)
  await t.rejects(move(a, 'import', join(folder, 'none')), /cannot be used/)
  for (const [name, text] of Object.entries({ empty: '', other: '{"format":"x","version":1,"domain":"d"}', headless: '{"item":"a"}', later: readFileSync(file, 'utf8').replace('"version":1', '"version":2') })) {
    writeFileSync(join(folder, name), text)
    await t.rejects(move(a, 'import', join(folder, name)), /export of nodes|another format|neither/, name)
  }
  const small = await stage(t, { nodes: 1 })
  t.match(await move(small, 'import', file), { nodes: 1, problems: 2 })
})

t.test('an export of nodes that are in each other, as damaged data may have them, ends', t => {
  const inside = (name: string, collection: string): Node => ({
    name, key: name, config: { ...PEP_DEFAULTS, nodeType: 'collection', collections: [collection] }, creator: '', created: 0,
    affiliations: new Map(), subscriptions: [],
  })
  const nodes = new Map([inside('a', 'b'), inside('b', 'c'), inside('c', 'a')].map(node => [node.name, node]))
  t.same(inOrder(nodes).map(({ name }) => name).sort(), ['a', 'b', 'c'])
  t.end()
})
