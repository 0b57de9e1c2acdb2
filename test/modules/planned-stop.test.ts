/**
 * A planned stop, step by step: whatever happens meanwhile, nothing is lost or duplicated, and others see nobody become
 * unavailable.
 */
import t, { type Test } from 'tap'
import { hostParting, messageSent } from '../../lib/host/events.js'
import { defineModule } from '../../lib/host/module.js'
import type { AnyModule } from '../../lib/host/module.js'
import { stanza, type Addressed } from '../../lib/xmpp/stanza.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { parseElement } from '../parse.js'
import { scenario, type Device, type Scenario } from '../scenario.js'
import { lovers } from '../couple.js'
import { enable } from '../managed.js'
import { bodies, ENABLE, SM } from '../stanzas.js'

const HOSTS = ['montague.lit', 'capulet.lit']
const MODULES = ['presence', 'message', 'offline', 'csi', 'stream-management']
const toJuliet = (text: string): string => `<message to='juliet@capulet.lit' type='chat'><body>${text}</body></message>`
const toRomeo = (text: string): string => `<message to='romeo@montague.lit' type='chat'><body>${text}</body></message>`

interface Couple {
  readonly romeo: Device
  readonly romeoId: string
  readonly juliet: Device
  readonly julietId: string
}

/** Two users who see each other's presence. Both devices can resume. */
async function couple (s: Scenario): Promise<Couple> {
  const { romeo, juliet } = await lovers(s)
  const [romeoId, julietId] = [await enable(romeo), await enable(juliet)]
  for (const device of [romeo, juliet]) device.forget()
  return { romeo, romeoId, juliet, julietId }
}

async function stage (t: Test, more: readonly AnyModule[] = []): Promise<Scenario> {
  return await scenario(t, { modules: [...MODULES, ...more] })
}

/** Starts the next server process on the same storage. */
async function next (t: Test, s: Scenario): Promise<Scenario> {
  return await scenario(t, { modules: MODULES, hosts: HOSTS, storage: s.storage, ids: 'next' })
}

/**
 * Resumes with `h`, the number of stanzas that the device handled. Throws unless the server handled `has` stanzas of
 * the device.
 */
async function resumed (s: Scenario, account: string, id: string, h: number, has: number): Promise<Device> {
  const { device, answer } = await s.resume(account, `<resume ${SM} previd='${id}' h='${h}'/>`)
  if (device === undefined || answer.attrs['h'] !== String(has)) throw new Error(`resumed with ${answer.toString()}, not h='${has}'`)
  return device
}

/** The number of unread stanzas that count for `h` (XEP-0198 §4). */
const stanzas = (device: Device): number => device.unread.filter(({ name }) => ['message', 'presence', 'iq'].includes(name)).length
const acknowledged = (device: Device): string | undefined => device.unread.findLast(({ name }) => name === 'a')?.attrs['h'] as string | undefined
const went = (device: Device): boolean => device.unread.some(({ name, attrs }) => name === 'presence' && attrs['type'] === 'unavailable')

t.test('a stanza that arrives while the server stops is not handled or counted, and the device sends it again', async t => {
  const s = await stage(t)
  const { romeo, romeoId, juliet, julietId } = await couple(s)
  await romeo.says(toJuliet('one'))
  await s.server.stop(async () => { await romeo.says(toJuliet('two'), `<r ${SM}/>`) })
  t.same(bodies(juliet), ['one'])
  t.equal(acknowledged(romeo), '1')
  const later = await next(t, s)
  const back = await resumed(later, 'romeo@montague.lit', romeoId, stanzas(romeo), 1)
  await back.says(toJuliet('two'))
  t.same(bodies(await resumed(later, 'juliet@capulet.lit', julietId, stanzas(juliet), 0)), ['two'])
})

t.test('a device whose connection breaks while the server stops finds its session, and others do not see it leave', async t => {
  const s = await stage(t)
  const { romeo, romeoId, juliet, julietId } = await couple(s)
  await s.server.stop(async () => {
    await juliet.loses('connection')
    s.server.pipeline.route(from('romeo@montague.lit/orchard', toJuliet('one')))
    await s.settled()
  })
  t.notOk(went(romeo))
  const later = await next(t, s)
  t.notOk(went(await resumed(later, 'romeo@montague.lit', romeoId, stanzas(romeo), 0)))
  t.same(bodies(await resumed(later, 'juliet@capulet.lit', julietId, stanzas(juliet), 0)), ['one'])
})

t.test('a device that closes its stream while the server stops has ended its session, and others see it leave', async t => {
  const s = await stage(t)
  const { romeo, juliet, julietId } = await couple(s)
  await s.server.stop(async () => {
    juliet.session.close() // as its stream does (XEP-0198 §6)
    await s.settled()
  })
  t.ok(went(romeo))
  const later = await next(t, s)
  const { answer } = await later.resume('juliet@capulet.lit', `<resume ${SM} previd='${julietId}' h='0'/>`)
  t.match(answer.toString(), /item-not-found/)
  t.equal(later.host('capulet.lit').sessions.count, 0)
})

t.test('stanzas of others that arrive while sessions are being saved, or after, are there after the start, once and in order', async t => {
  const sent: string[] = []
  const late = defineModule({
    name: 'late',
    setup: host => {
      host.on(hostParting, ({ sessions }) => {
        if (!sessions.some(({ account }) => account.local === 'juliet')) return
        for (const text of ['one', 'two', 'three']) {
          sent.push(text)
          host.router.route(from('romeo@montague.lit/orchard', text === 'two'
            ? "<presence to='juliet@capulet.lit/balcony'><status>two</status></presence>"
            : toJuliet(text)))
        }
      }, 'observe') // after the handlers that store
    },
  })
  const s = await stage(t, [late])
  const { juliet, julietId } = await couple(s)
  await s.server.stop()
  t.same(sent, ['one', 'two', 'three'])
  t.equal(stanzas(juliet), 0, 'an unsaved stanza is not sent, because the device would count it')
  const back = await resumed(await next(t, s), 'juliet@capulet.lit', julietId, 0, 0)
  t.same(back.unread.flatMap(element => element.getChildText('body') ?? element.getChildText('status') ?? []), ['one', 'two', 'three'])
})

t.test('the server waits for a slow handler: its message is stored, delivered and counted before the stop', async t => {
  let go = (): void => {}
  const slow = slowly(() => new Promise(resolve => { go = resolve }))
  const s = await stage(t, [slow])
  const { romeo, romeoId, juliet, julietId } = await couple(s)
  await romeo.says(toJuliet('one'))
  t.same(bodies(juliet), [])
  const stopped = s.server.stop()
  await s.settled()
  t.notOk(romeo.closed)
  go()
  await stopped
  t.same(bodies(juliet), ['one'])
  t.equal(acknowledged(romeo), '1')
  const later = await next(t, s)
  await resumed(later, 'romeo@montague.lit', romeoId, stanzas(romeo), 1)
  t.same(bodies(await resumed(later, 'juliet@capulet.lit', julietId, stanzas(juliet), 0)), [])
})

t.test('a message whose handler outlasts the stop is not counted; the device sends it again, and it arrives once', async t => {
  const s = await stage(t, [slowly(() => new Promise(() => {}))])
  const { romeo, romeoId, juliet, julietId } = await couple(s)
  await romeo.says(toJuliet('one'))
  const stopped = s.server.stop()
  for (let n = 0; n < 2; n++) await s.pass('5s')
  await stopped
  t.equal(acknowledged(romeo), '0')
  const later = await next(t, s)
  await (await resumed(later, 'romeo@montague.lit', romeoId, stanzas(romeo), 0)).says(toJuliet('one'))
  t.same(bodies(await resumed(later, 'juliet@capulet.lit', julietId, stanzas(juliet), 0)), ['one'])
})

t.test('a message that is handled after the sessions were saved is counted together with what it stores', async t => {
  let go = (): void => {}
  const slow = slowly(() => new Promise(resolve => { go = resolve }))
  const late = defineModule({
    name: 'late',
    setup: host => { host.on(hostParting, async () => { go(); await s.settled() }, 'observe') },
  })
  const s = await stage(t, [slow, late])
  const { romeo, romeoId, juliet, julietId } = await couple(s)
  await romeo.says(toJuliet('one'))
  const stopped = s.server.stop()
  for (let n = 0; n < 2; n++) await s.pass('5s')
  await stopped
  t.same(bodies(juliet), [])
  const later = await next(t, s)
  await resumed(later, 'romeo@montague.lit', romeoId, stanzas(romeo), 1)
  t.same(bodies(await resumed(later, 'juliet@capulet.lit', julietId, stanzas(juliet), 0)), ['one'])
})

t.test('stream management that is being enabled during a stop is enabled after the start', async t => {
  const s = await stage(t)
  const { juliet } = await couple(s)
  const chamber = await s.device('juliet@capulet.lit/chamber')
  s.storage.hold()
  const said = chamber.says(ENABLE)
  const stopped = s.server.stop()
  s.storage.release()
  await Promise.all([said, stopped])
  const id = (await chamber.gets(`<enabled ${SM}/>`)).attrs['id'] as string
  t.equal(acknowledged(chamber), '0')
  t.equal(chamber.error, undefined)
  t.ok(juliet.closed)
  const back = await resumed(await next(t, s), 'juliet@capulet.lit', id, 0, 0)
  t.ok(back.session.available)
})

t.test('stanzas that wait for an inactive device are among those that it gets after the start', async t => {
  const s = await stage(t)
  const { romeo, juliet, julietId } = await couple(s)
  await juliet.says("<inactive xmlns='urn:xmpp:csi:0'/>")
  await romeo.says('<presence><status>near</status></presence>')
  t.equal(stanzas(juliet), 0, 'the stanza waits for the inactive device')
  await s.server.stop(async () => {
    s.server.pipeline.route(from('romeo@montague.lit/orchard', toJuliet('one')))
    await s.settled()
  })
  const before = stanzas(juliet)
  const back = await resumed(await next(t, s), 'juliet@capulet.lit', julietId, before, 0)
  t.equal(before + stanzas(back), 2)
})

t.test('a device that cannot resume gets system-shutdown, and what it has not acknowledged waits for the account', async t => {
  const s = await stage(t)
  const { romeo } = await couple(s)
  const chamber = await s.device('juliet@capulet.lit/chamber', { presence: '<presence><priority>5</priority></presence>' })
  await chamber.says(`<enable ${SM}/>`)
  await romeo.says("<message to='juliet@capulet.lit/chamber' type='chat'><body>one</body></message>")
  t.same(bodies(chamber), ['one'])
  await s.server.stop()
  t.equal(chamber.error?.condition, 'system-shutdown')
  t.ok(romeo.unread.some(({ attrs }) => attrs['type'] === 'unavailable' && attrs['from'] === 'juliet@capulet.lit/chamber'))
  const other = await (await next(t, s)).device('juliet@capulet.lit/hall', { presence: false })
  await other.says('<presence/>')
  t.same(bodies(other), ['one'])
})

t.test('if a session cannot be saved at the stop, the start is as after a crash: everything acknowledged is there', async t => {
  const s = await stage(t)
  const { romeo, romeoId, juliet, julietId } = await couple(s)
  await romeo.says(toJuliet('one'))
  await juliet.says(toRomeo('two'))
  await s.pass('1s')
  await s.server.stop(() => {
    s.storage.failing = new Error('the disk is full')
    return Promise.resolve()
  })
  s.expectedErrors.push(...HOSTS.map(() => ['defect', 'Error: the disk is full'] as const))
  s.storage.failing = undefined
  t.equal(acknowledged(romeo), undefined)
  const later = await next(t, s)
  t.same(bodies(await resumed(later, 'juliet@capulet.lit', julietId, 0, 1)), ['one'])
  t.same(bodies(await resumed(later, 'romeo@montague.lit', romeoId, 0, 1)), ['two'])
})

/** Returns a module that delays arriving messages by `wait`. */
function slowly (wait: () => Promise<void>): AnyModule {
  return defineModule({ name: 'slow', setup: host => { host.on(messageSent, async () => { await wait(); return undefined }) } })
}

/** A stanza as another server hands it over. */
function from (sender: string, text: string): Addressed {
  const element = parseElement(text)
  return stanza(element, parseJid(sender), parseJid(String(element.attrs['to'])))
}
