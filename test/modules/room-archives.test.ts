/** Archives of rooms (XEP-0313 §5.2): a service of `mam`, with access decided by the room. */
import t from 'tap'
import { journal } from '../../lib/storage/store.js'
import type { Element } from '../../lib/xml/element.js'
import echo, { ECHO } from '../echo/room.js'
import { enable } from '../managed.js'
import { scenario, startServer, type Device, type Scenario, type Scene } from '../scenario.js'
import { archivedBodies, bodies, conditionOf, SM } from '../stanzas.js'

const DOMAIN = 'echo.capulet.lit'
const HALL = `hall@${DOMAIN}`
const SCENE: Scene = { modules: ['presence', 'message', 'disco'], services: { [DOMAIN]: [echo, 'mam', 'disco'] } }
const MAM = "xmlns='urn:xmpp:mam:2'"

const says = (body: string, more = ''): string => `<message to='${HALL}' type='groupchat' id='${body}'><body>${body}</body>${more}</message>`
const asking = (payload: string, type = 'set', to = HALL): string => `<iq to='${to}' type='${type}' id='q'>${payload}</iq>`
const form = (fields: string): string => `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>${fields}</x>`
const field = (name: string, value: string): string => `<field var='${name}'><value>${value}</value></field>`
const query = (inside = ''): string => asking(`<query ${MAM} queryid='p'>${inside}</query>`)
const set = (inside: string): string => `<set xmlns='http://jabber.org/protocol/rsm'>${inside}</set>`

async function couple (s: Scenario): Promise<readonly [Device, Device]> {
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  for (const device of [juliet, romeo]) await device.says(`<presence to='${HALL}'/>`)
  return [juliet, romeo]
}

/** The ids of the room's archive in what the device got from the room. */
const ids = (device: Device): readonly unknown[] => device.unread.map(element => element.getChild('stanza-id')?.attrs['id'])
const idsOf = (page: readonly Element[]): readonly unknown[] => page.flatMap(element => element.getChild('result')?.attrs['id'] ?? [])

/** Asks for a page. Returns its bodies, the ids, and `<fin/>`. */
async function page (device: Device, inside = ''): Promise<{ readonly bodies: readonly string[], readonly ids: readonly unknown[], readonly fin: Element | undefined }> {
  device.forget()
  const answer = await device.asks(query(inside))
  const found = { bodies: archivedBodies(device), ids: idsOf(device.unread), fin: answer.getChild('fin') }
  device.forget()
  return found
}

t.test('what is said in a room is archived in the order in which all got it, without what asks not to be', async t => {
  const s = await scenario(t, SCENE)
  const [juliet, romeo] = await couple(s)
  s.storage.hold()
  await juliet.says(says('1'), says('2', "<no-store xmlns='urn:xmpp:hints'/>"))
  await romeo.says(says('3'), says('4', "<no-permanent-store xmlns='urn:xmpp:hints'/>"))
  await juliet.says(says('5'), `<message to='${HALL}' type='groupchat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>`)
  s.storage.release()
  await s.settled()
  for (const device of [juliet, romeo]) t.same(bodies(device), ['1', '2', '3', '4', '5'])
  const known = ids(juliet)
  t.same(ids(romeo), known, 'all get the id of the archive')
  t.same(known.map(id => id !== undefined), [true, false, true, false, true, false])
  const { bodies: archived, ids: found, fin } = await page(romeo)
  t.same(archived, ['1', '3', '5'])
  t.same(found, known.filter(id => id !== undefined))
  t.equal(fin?.attrs['complete'], 'true')
})

t.test('the archived message is as it was sent, and comes from the room', async t => {
  const s = await scenario(t, SCENE)
  const [juliet] = await couple(s)
  await juliet.says(says('1', "<x xmlns='urn:x'>\u00e6</x>"))
  juliet.forget()
  await juliet.says(query())
  const result = await juliet.gets(`<message from='${HALL}' to='juliet@capulet.lit/balcony'><result ${MAM} queryid='p'/></message>`)
  const message = result.getChild('result')?.getChild('forwarded')?.getChild('message')
  t.equal(message?.attrs['from'], `${HALL}/balcony`)
  t.equal(message?.attrs['type'], 'groupchat')
  t.equal(message?.attrs['to'], undefined)
  t.equal(message?.getChildText('x'), '\u00e6')
  await juliet.gets(`<iq type='result' id='q' from='${HALL}'><fin ${MAM}/></iq>`)
})

t.test('only those whom the room lets read get anything of its archive', async t => {
  const s = await scenario(t, SCENE)
  const [juliet] = await couple(s)
  await juliet.says(says('1'))
  const nurse = await s.device('nurse@capulet.lit/room')
  const prefs = `<prefs ${MAM} default='never'><always/><never/></prefs>`
  for (const request of [
    query(), asking(`<query ${MAM}/>`, 'get'), asking(`<metadata ${MAM}/>`, 'get'), asking(`<prefs ${MAM}/>`, 'get'), asking(prefs),
  ]) t.equal(conditionOf(await nurse.asks(request)), 'forbidden', request)
  await nurse.getsNothing()
  t.equal(conditionOf(await juliet.asks(asking(`<query ${MAM}/>`, 'set', `nowhere@${DOMAIN}`))), 'item-not-found')
})

t.test('a room answers pages, ids, times, metadata and the form, as an account does', async t => {
  const s = await scenario(t, SCENE)
  const [juliet, romeo] = await couple(s)
  for (const body of ['1', '2', '3', '4']) {
    await (Number(body) % 2 === 0 ? romeo : juliet).says(says(body))
    await s.pass('1s')
  }
  const all = ids(juliet) as readonly string[]
  const first = await page(juliet, set('<max>2</max>'))
  t.same(first.bodies, ['1', '2'])
  t.equal(first.fin?.attrs['complete'], undefined)
  t.same((await page(juliet, set(`<max>2</max><after>${all[1]}</after>`))).bodies, ['3', '4'])
  t.same((await page(juliet, set('<max>1</max><before/>'))).bodies, ['4'])
  t.same((await page(juliet, form(`<field var='ids'><value>${all[0]}</value><value>${all[2]}</value></field>`))).bodies, ['1', '3'])
  t.same((await page(juliet, `${form(field('after-id', String(all[1])))}<flip-page/>`)).bodies, ['4', '3'])
  t.same((await page(juliet, form(field('with', `${HALL}/orchard`)))).bodies, ['2', '4'])
  t.equal(conditionOf(await juliet.asks(query(set('<after>unknown</after>')))), 'item-not-found')
  t.equal(conditionOf(await juliet.asks(query(form(field('never-heard-of', '1'))))), 'feature-not-implemented')
  const metadata = (await juliet.asks(asking(`<metadata ${MAM}/>`, 'get'))).getChild('metadata')
  t.same([metadata?.getChild('start')?.attrs['id'], metadata?.getChild('end')?.attrs['id']], [all[0], all[3]])
  t.ok((await juliet.asks(asking(`<query ${MAM}/>`, 'get'))).getChild('query')?.getChild('x'))
  const info = (await juliet.asks(asking("<query xmlns='http://jabber.org/protocol/disco#info'/>", 'get'))).getChild('query')
  const features = info?.getChildren('feature').map(({ attrs }) => attrs['var']) ?? []
  for (const feature of ['urn:xmpp:mam:2', 'urn:xmpp:mam:2#extended', 'urn:xmpp:sid:0']) t.ok(features.includes(feature), feature)
})

t.test('a room goes on while its archive is read slowly, and a reader has a bounded number of queries', async t => {
  const s = await scenario(t, SCENE)
  const [juliet, romeo] = await couple(s)
  for (let n = 0; n < 10; n++) await romeo.says(says(String(n), `<x xmlns='urn:x'>${'x'.repeat(50_000)}</x>`))
  juliet.forget()
  romeo.forget()
  juliet.stopsReading()
  await juliet.says(...Array.from({ length: 10 }, (_, n) => query().replace("id='q'", `id='q${n}'`)))
  await romeo.says(says('on'))
  t.same(bodies(romeo), ['on'])
  await juliet.reads()
  const answers = juliet.unread.filter(({ name }) => name === 'iq')
  const refused = answers.filter(answer => conditionOf(answer) === 'resource-constraint').map(({ attrs }) => attrs['id'])
  t.same(refused, ['q8', 'q9'])
  t.equal(answers.length, 10)
  t.equal(archivedBodies(juliet).length, 80)
  juliet.forget()
  await juliet.says(query())
  await juliet.reads()
  t.equal(archivedBodies(juliet).at(-1), 'on', 'afterwards queries are answered again')
})

t.test('a page ends after all that came before the query, also if that is not stored yet', async t => {
  const s = await scenario(t, SCENE)
  const [juliet, romeo] = await couple(s)
  s.storage.hold()
  await romeo.says(says('1'))
  await juliet.says(query())
  s.storage.release()
  await s.settled()
  t.same(archivedBodies(juliet), ['1'])
})

t.test('a room has preferences, and a room that is destroyed has no archive', async t => {
  const s = await scenario(t, SCENE)
  const [juliet, romeo] = await couple(s)
  await juliet.says(says('1'))
  const prefs = `<prefs ${MAM} default='always'><always/><never><jid>${HALL}/orchard</jid></never></prefs>`
  t.equal((await juliet.asks(asking(prefs))).attrs['type'], 'result')
  t.equal((await juliet.asks(asking(`<prefs ${MAM}/>`, 'get'))).getChild('prefs')?.getChild('never')?.getChildText('jid'), `${HALL}/orchard`)
  await romeo.says(says('2'))
  t.same((await page(juliet)).bodies, ['1'])
  await juliet.asks(asking(`<destroy xmlns='${ECHO}'/>`))
  for (const device of [juliet, romeo]) await device.says(`<presence to='${HALL}'/>`)
  t.same((await page(juliet)).bodies, [])
  await romeo.says(says('3'))
  t.same((await page(juliet)).bodies, ['3'], 'the preferences are gone, too')
})

t.test('if a message of a room cannot be stored, nobody gets it and the archive has it not', async t => {
  const s = await scenario(t, SCENE)
  const [juliet, romeo] = await couple(s)
  s.storage.failing = new Error('the disk is full')
  await romeo.says(says('1'))
  s.storage.failing = undefined
  t.same(bodies(juliet), [])
  t.equal(conditionOf(romeo.unread.at(-1)), 'resource-constraint')
  t.same((await page(juliet)).bodies, [])
})

t.test('the archives of rooms are trimmed, and what devices are owed is not touched', async t => {
  const s = await scenario(t, { ...SCENE, settings: { mam: { expire: '1d' } } })
  const [juliet] = await couple(s)
  await juliet.says(says('1'))
  await s.pass('25h')
  await s.pass('25h')
  t.same((await page(juliet)).bodies, [])
})

t.test('whenever the process is killed, a room message is owed to all managed occupants and archived, or it never was said', async t => {
  const modules = ['presence', 'message', 'disco', 'ping', 'stream-management']
  const scene: Scene = { ...SCENE, modules, settings: { ping: { initialInterval: '1d' } } }
  const s = await startServer(scene)
  const guests: { readonly device: Device, readonly id: string }[] = []
  for (let n = 0; n < 3; n++) {
    const device = await s.device(`guest${n}@capulet.lit/phone`)
    const id = await enable(device)
    await device.says(`<presence to='${HALL}'/>`)
    guests.push({ device, id })
  }
  // The disk before and after each commit, and at each turn of the event loop between them.
  const remains = [s.storage.remains()]
  let turns = setImmediate(function next () {
    remains.push(s.storage.remains())
    turns = setImmediate(next)
  })
  for (const { device } of guests) await device.says(says(`of ${device.jid.local}`))
  clearImmediate(turns)
  await s.end()
  const seen = new Set<number>()
  for (const storage of remains) {
    const archived = await (await storage.open('mam.messages', journal<string>(1))).count(HALL, {})
    if (seen.has(archived)) continue
    seen.add(archived)
    const next = await startServer({ ...scene, hosts: ['capulet.lit'], storage: storage.remains(), ids: `next${archived}` })
    for (const { device: { jid }, id } of guests) {
      const { device } = await next.resume(jid.bare.toString(), `<resume ${SM} previd='${id}' h='0'/>`)
      t.same(device === undefined ? undefined : bodies(device), guests.slice(0, archived).map(({ device: { jid } }) => `of ${jid.local}`))
    }
    await next.end()
  }
  t.same([...seen], [0, 1, 2, 3])
})
