/** Entities of a service: loaded when needed, one stanza at a time, saved and unloaded when idle. */
import t from 'tap'
import { defineModule, entityIq, entityKind, entityMessage, NS, parseJid, records, StanzaError, textOf } from '../../lib/api.js'
import type { Batch, EntityBehaviour, EntityTable } from '../../lib/api.js'
import type { HostSettings } from '../../lib/host/host.js'
import { childElements, localName, type Element } from '../../lib/xml/element.js'
import echo, { ECHO, rooms } from '../echo/room.js'
import { scenario, startServer, type Device, type Scenario } from '../scenario.js'

const HALL = 'hall@echo.capulet.lit'
const MODULES = ['presence', 'roster', 'message', 'disco']
const SERVICES = { 'echo.capulet.lit': [echo, 'ping'] }

const says = (to: string, body: string, more = ''): string => `<message to='${to}' type='groupchat'><body>${body}</body>${more}</message>`
const asking = (to: string, payload: string, type = 'get'): string => `<iq to='${to}' type='${type}' id='a'>${payload}</iq>`
const entitiesAt = (s: Scenario, domain: string): number => s.host(domain).entities.size
const entitiesOf = (s: Scenario) => s.host('echo.capulet.lit').entities
const saidIn = async (device: Device, room = HALL): Promise<unknown> =>
  (await device.asks(asking(room, `<said xmlns='${ECHO}'/>`))).getChild('said')?.attrs['count']

/** The condition of an error; undefined if the stanza is none. */
function errorOf (element: Element | undefined): string | undefined {
  const error = element?.attrs['type'] === 'error' ? element.getChild('error') : undefined
  const [condition] = error === undefined ? [] : childElements(error)
  return condition === undefined ? undefined : localName(condition)
}

/** The messages that came from a room, as `nick: body`. */
function talkOf (room: string, heard: readonly Element[]): readonly string[] {
  return heard.filter(({ name, attrs }) => name === 'message' && attrs['from']?.startsWith(room) === true)
    .map(element => `${String(element.attrs['from']).slice(room.length + 1)}: ${String(element.getChildText('body'))}`)
}

/** Two devices in the room. */
async function couple (s: Scenario): Promise<readonly [Device, Device]> {
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  for (const device of [juliet, romeo]) await device.says(`<presence to='${HALL}'/>`)
  return [juliet, romeo]
}

t.test('what is written to a room comes back to all who are in it, in one order for all, whatever waits', async t => {
  const held: (() => void)[] = []
  const slow = defineModule({
    name: 'slow', at: 'services',
    setup (host) {
      host.on(entityMessage, ({ message }) => {
        const body = message.child(NS.CLIENT, 'body')
        if (body !== undefined && textOf(body).endsWith('slow')) return new Promise<void>(resolve => { held.push(resolve) })
        return undefined
      })
    },
  })
  const s = await scenario(t, { modules: MODULES, services: { 'echo.capulet.lit': [echo, slow] } })
  const [juliet, romeo] = await couple(s)
  await juliet.says(says(HALL, '1 slow'), says(HALL, '2', `<no-store xmlns='urn:xmpp:hints'/>`))
  await romeo.says(says(HALL, '3'), says(HALL, '4 slow'))
  await juliet.says(says(HALL, '5'))
  t.same(talkOf(HALL, juliet.unread), [], 'all wait for the first')
  for (; held.length > 0; await s.settled()) for (const go of held.splice(0)) go()
  const order = ['balcony: 1 slow', 'balcony: 2', 'orchard: 3', 'orchard: 4 slow', 'balcony: 5']
  t.same(talkOf(HALL, juliet.unread), order)
  t.same(talkOf(HALL, romeo.unread), order)
})

t.test('an unknown address gets item-not-found; what nobody answers is ignored', async t => {
  const s = await scenario(t, { modules: MODULES, services: SERVICES })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  for (const stanza of [
    says(HALL, 'who?'), `<message to='${HALL}/nick'><body>!</body></message>`, asking(HALL, `<said xmlns='${ECHO}'/>`),
    asking(HALL, `<query xmlns='${NS.DISCO_INFO}'/>`), `<presence to='${HALL}' type='subscribe'/>`,
  ]) {
    await juliet.says(stanza)
    const replies = juliet.unread.filter(({ attrs }) => attrs['from']?.startsWith(HALL) === true)
    t.same(replies.map(errorOf), ['item-not-found'], stanza)
    juliet.forget()
  }
  for (const stanza of [
    `<presence to='${HALL}' type='unavailable'/>`, `<message to='${HALL}' type='headline'><body>!</body></message>`,
    `<message to='${HALL}' type='error'><body>!</body></message>`, `<iq to='${HALL}' type='result' id='r'/>`,
  ]) {
    await juliet.says(stanza)
    t.same(juliet.unread.filter(({ attrs }) => attrs['from']?.startsWith(HALL) === true), [], stanza)
  }
  t.equal(entitiesOf(s).size, 0)
})

t.test('a room answers requests by its own handlers, by those for all entities, and by disco', async t => {
  const s = await scenario(t, { modules: MODULES, services: SERVICES })
  const [juliet] = await couple(s)
  const info = (await juliet.asks(asking(HALL, `<query xmlns='${NS.DISCO_INFO}'/>`))).getChild('query')
  t.same(info?.getChildren('identity').map(({ attrs }) => attrs['name']), ['A room'])
  t.same(info?.getChildren('feature').map(({ attrs }) => attrs['var']), [NS.DISCO_INFO, NS.DISCO_ITEMS, ECHO, NS.PING])
  const items = (await juliet.asks(asking(HALL, `<query xmlns='${NS.DISCO_ITEMS}' node='occupants'/>`))).getChild('query')
  t.same(items?.getChildren('item').map(({ attrs }) => attrs['jid']), ['juliet@capulet.lit/balcony', 'romeo@montague.lit/orchard'])
  t.equal(items?.attrs['node'], 'occupants')
  for (const query of [NS.DISCO_INFO, NS.DISCO_ITEMS]) {
    t.equal(errorOf(await juliet.asks(asking(HALL, `<query xmlns='${query}' node='nothing'/>`))), 'item-not-found')
  }
  await juliet.says(says(HALL, 'one'))
  t.equal(await saidIn(juliet), '1')
  t.equal((await juliet.asks(asking(HALL, "<ping xmlns='urn:xmpp:ping'/>"))).attrs['type'], 'result')
  t.equal((await juliet.asks(asking(`${HALL}/orchard`, "<ping xmlns='urn:xmpp:ping'/>"))).attrs['type'], 'result', 'the room itself')
  t.equal(errorOf(await juliet.asks(asking(`${HALL}/nobody`, "<ping xmlns='urn:xmpp:ping'/>"))), 'service-unavailable')
  t.equal(errorOf(await juliet.asks(asking(HALL, "<x xmlns='urn:nobody:knows'/>"))), 'service-unavailable')
  await juliet.asks(asking(HALL, `<reset xmlns='${ECHO}'/>`, 'set'))
  t.equal(await saidIn(juliet), '0')
  await juliet.asks(asking(HALL, `<destroy xmlns='${ECHO}'/>`, 'set'))
  t.equal(errorOf(await juliet.asks(asking(HALL, `<said xmlns='${ECHO}'/>`))), 'item-not-found')
})

t.test('a stranger to the room is refused, and hooks may refuse for it', async t => {
  const strict = defineModule({
    name: 'strict', at: 'services',
    setup (host) {
      host.on(entityIq, ({ entity }) => { if (entity.kind === rooms.name) throw new StanzaError('forbidden') }, 'screen')
    },
  })
  const s = await scenario(t, { modules: MODULES, services: { 'echo.capulet.lit': [echo, strict] } })
  const [juliet] = await couple(s)
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says(says(HALL, 'may I?'))
  t.equal(errorOf(nurse.unread.at(-1)), 'not-acceptable')
  t.equal(errorOf(await juliet.asks(asking(HALL, `<said xmlns='${ECHO}'/>`))), 'forbidden')
})

t.test('10,000 idle rooms are loaded and unloaded again, and nothing of them is left', async t => {
  const s = await scenario(t, { modules: MODULES, services: SERVICES, debug: false })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const entities = entitiesOf(s)
  for (let n = 0; n < 100; n++) {
    const stanzas = Array.from({ length: 100 }, (_, m) => `room${n * 100 + m}@echo.capulet.lit`)
      .flatMap(room => [`<presence to='${room}'/>`, `<presence to='${room}' type='unavailable'/>`])
    await juliet.says(...stanzas)
  }
  t.equal(entities.size, 10_000)
  t.equal(entities.kind(rooms).loaded.size, 10_000)
  t.equal(entities.bytes, 10_000 * 200)
  await s.pass('6m')
  for (let n = 0; n < 200 && entities.size > 0; n++) await s.settled()
  t.equal(entities.size, 0)
  t.equal(entities.kind(rooms).loaded.size, 0)
  t.equal(entities.bytes, 0)
  t.equal(s.clock.timers, 0)
  t.equal(await saidIn(juliet, 'room77@echo.capulet.lit'), '0', 'it is loaded again')
})

t.test('an idle room is saved when it is unloaded; one with occupants stays', async t => {
  const s = await scenario(t, { modules: MODULES, services: SERVICES })
  const [juliet, romeo] = await couple(s)
  await juliet.says(says(HALL, 'one'), says(HALL, 'two'))
  await s.pass('20m')
  t.equal(entitiesOf(s).size, 1)
  for (const device of [juliet, romeo]) await device.says(`<presence to='${HALL}' type='unavailable'/>`)
  await s.pass('4m')
  t.equal(entitiesOf(s).size, 1, 'not idle for long enough')
  await s.pass('7m')
  t.equal(entitiesOf(s).size, 0)
  t.equal(await saidIn(juliet), '2')
})

t.test('the module keeps its rooms through a reload; turned off, it saves all of them', async t => {
  const s = await scenario(t, { modules: MODULES, services: SERVICES })
  const [juliet] = await couple(s)
  await juliet.says(says(HALL, 'one'))
  juliet.forget()
  await s.reload('echo')
  await juliet.says(says(HALL, 'two'))
  t.same(talkOf(HALL, juliet.unread), ['balcony: two'])
  await s.offers({ 'echo.capulet.lit': ['ping'] })
  t.equal(entitiesOf(s).size, 0)
  t.equal(errorOf(await juliet.asks(asking(HALL, `<said xmlns='${ECHO}'/>`))), 'item-not-found')
  await s.offers(SERVICES)
  t.equal(await saidIn(juliet), '2')
})

interface Box { readonly name: string }
const boxes = entityKind<Box>('box')

/** A module with entities that behave as the test says. */
function boxed (behaviour: Partial<EntityBehaviour<Box>>): ReturnType<typeof defineModule> {
  return defineModule({
    name: 'boxed', at: 'services', requires: ['disco'],
    setup (host) {
      host.entities(boxes, {
        load: ({ local }) => local.startsWith('box') ? { name: local } : undefined,
        bytes: () => 100,
        info: () => ({ identities: [{ category: 'store', type: 'file' }] }),
        ...behaviour,
      })
    },
  })
}

const BOX = 'box.capulet.lit'
function bounded (s: Scenario, entities: HostSettings['entities']): void {
  const host = s.host(BOX)
  host.settings = { ...host.settings, entities }
}
const infoOf = (n: number): string => asking(`box${n}@${BOX}`, `<query xmlns='${NS.DISCO_INFO}'/>`)

t.test('entities are bounded in number and bytes: the one that was not used for the longest time goes', async t => {
  const saved: string[] = []
  const box = boxed({ save: ({ name }) => { saved.push(name) } })
  const s = await scenario(t, { modules: MODULES, services: { [BOX]: [box] } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const { entities } = s.host(BOX)
  bounded(s, { most: 3, bytes: 1000 })
  for (const n of [1, 2, 3, 1, 4]) t.equal((await juliet.asks(infoOf(n))).attrs['type'], 'result')
  t.same(saved, ['box2'])
  t.equal(entities.size, 3)
  bounded(s, { most: 100, bytes: 250 })
  t.equal((await juliet.asks(infoOf(5))).attrs['type'], 'result')
  t.ok(entities.bytes <= 300, `${entities.bytes} bytes`)
  t.equal(entities.bytes, entities.size * 100)
})

t.test('if all loaded entities are in use, one more gets resource-constraint, to be tried again', async t => {
  const s = await scenario(t, { modules: MODULES, services: { [BOX]: [boxed({ isBusy: () => true })] } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  bounded(s, { most: 2, bytes: 1000 })
  for (const n of [1, 2]) t.equal((await juliet.asks(infoOf(n))).attrs['type'], 'result')
  const refused = await juliet.asks(infoOf(3))
  t.equal(errorOf(refused), 'resource-constraint')
  t.equal(refused.getChild('error')?.attrs['type'], 'wait')
  t.equal((await juliet.asks(infoOf(1))).attrs['type'], 'result')
})

t.test('an entity that cannot be saved stays loaded, and is saved later', async t => {
  let fails = true
  const save = (): void => { if (fails) throw new Error('no room') }
  const s = await scenario(t, { modules: MODULES, services: { [BOX]: [boxed({ save })] } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.asks(infoOf(1))
  await s.pass('6m')
  t.equal(s.host(BOX).entities.size, 1)
  t.match(s.lines.filter(({ level }) => level === 'warn'), [{ event: 'entity not saved', fields: { entity: `box1@${BOX}`, kind: 'box' } }])
  fails = false
  await s.pass('6m')
  t.equal(s.host(BOX).entities.size, 0)
})

t.test('a kind without a message handler refuses messages and ignores presence; an error while loading is answered', async t => {
  const load: EntityBehaviour<Box>['load'] = ({ local }) => {
    if (local === 'broken') throw new StanzaError('internal-server-error')
    return Promise.resolve(local.startsWith('box') ? { name: local } : undefined)
  }
  const s = await scenario(t, { modules: MODULES, services: { [BOX]: [boxed({ load })] } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(`<message to='box1@${BOX}'><body>!</body></message>`)
  t.equal(errorOf(juliet.unread.at(-1)), 'service-unavailable')
  juliet.forget()
  await juliet.says(`<presence to='box1@${BOX}'/>`, `<message to='box1@${BOX}' type='headline'><body>!</body></message>`)
  t.same(juliet.unread, [])
  t.equal(errorOf(await juliet.asks(asking(`broken@${BOX}`, `<query xmlns='${NS.DISCO_INFO}'/>`))), 'internal-server-error')
  t.equal(s.host(BOX).entities.size, 1)
})

t.test('a message that waits for its entity delays its sender for a second at most, and a crash does not lose it', async t => {
  const got: (string | undefined)[] = []
  let go: () => void = () => {}
  const held = new Promise<void>(resolve => { go = resolve })
  const waiting = (wait?: Promise<void>): ReturnType<typeof boxed> => boxed({
    message: async (_box, { stanza, batch }) => {
      await wait
      batch.committed(() => { got.push(stanza.id) })
    },
  })
  const s = await startServer({ modules: MODULES, services: { [BOX]: [waiting(held)] } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  const message = (id: string, to: string): string => `<message to='${to}' type='chat' id='${id}'><body>!</body></message>`
  await juliet.says(message('first', `box1@${BOX}`), message('second', 'romeo@montague.lit'))
  t.same(romeo.unread, [])
  await s.pass('1s')
  t.same(romeo.unread.map(({ attrs }) => attrs['id']), ['second'])
  const later = { ids: 'later', now: Date.UTC(2026, 0, 2), storage: s.storage.remains() }
  const next = await scenario(t, { modules: MODULES, services: { [BOX]: [waiting()] }, ...later })
  await next.settled()
  t.same(got, ['first'])
  go()
  await s.end()
})

/** The error that a promise is rejected with; undefined if it is not. */
async function failureOf (work: Promise<unknown> | undefined): Promise<unknown> {
  return await Promise.resolve(work).then(() => undefined, (error: unknown) => error)
}

t.test('timers and commands reach an entity in its turn, and later stanzas see what they have changed', async t => {
  const stores = { boxes: records<number>(1) }
  const order: string[] = []
  interface Counter { value: number }
  const counters = entityKind<Counter>('counter')
  let table: EntityTable<Counter> | undefined
  const counting = defineModule({
    name: 'counting', at: 'services', requires: ['disco'], stores,
    setup (host) {
      const { boxes } = host.stores
      table = host.entities(counters, {
        async load ({ local }) {
          order.push(`loaded ${local}`)
          return local.startsWith('box') ? { value: await boxes.get(local, 'value') ?? 0 } : undefined
        },
        bytes: () => 100,
        message (counter, { stanza: { id } }) { order.push(`${id} saw ${counter.value}`) },
        info: () => ({ identities: [{ category: 'store', type: 'file' }] }),
      })
    },
  })
  const s = await scenario(t, { modules: MODULES, services: { [BOX]: [counting] } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const store = await s.storage.open('counting.boxes', stores.boxes)
  const [box, other] = [parseJid(`box1@${BOX}`), parseJid(`box2@${BOX}/nick`)]
  const add = (by: number) => async (counter: Counter, batch: Batch): Promise<number> => {
    order.push(`adds ${by}`)
    await Promise.resolve()
    counter.value += by
    batch.add(store.putting('box1', 'value', counter.value))
    return counter.value
  }
  s.storage.hold()
  const works = [1, 2].map(async by => await table?.with(box, add(by)))
  await juliet.says(`<message to='box1@${BOX}' id='m'><body>!</body></message>`)
  t.same(order, ['loaded box1', 'adds 1'], 'all wait for the commit of the first')
  s.storage.release()
  t.same(await Promise.all(works), [1, 3])
  await s.settled()
  t.same(order.slice(2), ['adds 2', 'm saw 3'])
  t.equal(await store.get('box1', 'value'), 3)
  t.equal(await table?.with(other, ({ value }) => value), 0, 'the bare address')
  t.equal(await table?.with(parseJid(`nobody@${BOX}`), () => 1), undefined)
  t.match(await failureOf(table?.with(box, (_, batch) => {
    batch.add(store.putting('box1', 'value', 9))
    throw new StanzaError('forbidden')
  })), { condition: 'forbidden' })
  await s.settled()
  t.equal(await store.get('box1', 'value'), 3, 'nothing of it is stored')
  s.storage.failing = new Error('the disk is full')
  t.match(await failureOf(table?.with(box, add(5))), { message: 'the disk is full' })
  s.storage.failing = undefined
  await s.pass('6m')
  t.equal(entitiesAt(s, BOX), 0, 'it is unloaded like all others')
})

t.test('the domain above a service lists it with its name, as long as it runs', async t => {
  const s = await scenario(t, { modules: MODULES, services: SERVICES })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const items = async (): Promise<unknown> =>
    (await juliet.asks(asking('capulet.lit', `<query xmlns='${NS.DISCO_ITEMS}'/>`))).getChild('query')?.getChildren('item').map(({ attrs }) => attrs)
  t.same(await items(), [{ jid: 'echo.capulet.lit', name: 'Echo' }])
  await s.offers({ 'echo.capulet.lit': ['disco'] })
  t.same(await items(), [{ jid: 'echo.capulet.lit' }], 'it has no name any more')
})
