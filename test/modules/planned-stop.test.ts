/** A planned stop, moment by moment: whatever happens while it goes on, nothing is lost, nothing comes twice, and others see nobody go. */
import t, { type Test } from 'tap'
import { hostParting, messageSent } from '../../lib/host/events.js'
import { defineModule } from '../../lib/host/module.js'
import type { AnyModule } from '../../lib/host/module.js'
import { stanza, type Addressed } from '../../lib/xmpp/stanza.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { parseElement } from '../parse.js'
import { scenario, type Device, type Scenario } from '../scenario.js'

const SM = "xmlns='urn:xmpp:sm:3'"
const HOSTS = ['montague.lit', 'capulet.lit']
const MODULES = ['presence', 'message', 'offline', 'csi', 'stream-management']
const ENABLE = `<enable ${SM} resume='true'/>`
const toJuliet = (text: string): string => `<message to='juliet@capulet.lit' type='chat'><body>${text}</body></message>`
const toRomeo = (text: string): string => `<message to='romeo@montague.lit' type='chat'><body>${text}</body></message>`

async function enable (device: Device): Promise<string> {
  await device.says(ENABLE)
  return (await device.gets(`<enabled ${SM}/>`)).attrs['id'] as string
}

interface Couple { readonly romeo: Device, readonly romeoId: string, readonly juliet: Device, readonly julietId: string }

/** Two who see each other, and can both resume. */
async function couple (s: Scenario): Promise<Couple> {
  for (const domain of HOSTS) await s.raise([domain])
  for (const [one, other] of [['romeo@montague.lit', 'juliet@capulet.lit'], ['juliet@capulet.lit', 'romeo@montague.lit']] as const) {
    await s.account(one)
    await s.contact(one, other)
  }
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const [romeoId, julietId] = [await enable(romeo), await enable(juliet)]
  for (const device of [romeo, juliet]) device.forget()
  return { romeo, romeoId, juliet, julietId }
}

async function stage (t: Test, more: readonly AnyModule[] = []): Promise<Scenario> {
  return await scenario(t, { modules: [...MODULES, ...more] })
}

/** The next life of the server, on the same storage. */
async function next (t: Test, s: Scenario): Promise<Scenario> {
  return await scenario(t, { modules: MODULES, hosts: HOSTS, storage: s.storage, ids: 'next' })
}

/** Resumes, having got so many stanzas; `has`: so many of its own were handled. */
async function resumed (s: Scenario, account: string, id: string, h: number, has: number): Promise<Device> {
  const { device, answer } = await s.resume(account, `<resume ${SM} previd='${id}' h='${h}'/>`)
  if (device === undefined || answer.attrs['h'] !== String(has)) throw new Error(`resumed with ${answer.toString()}, not h='${has}'`)
  return device
}

const bodies = (device: Device): string[] => device.unread.flatMap(element => element.getChildText('body') ?? [])
/** What of it is counted (XEP-0198 §4). */
const stanzas = (device: Device): number => device.unread.filter(({ name }) => ['message', 'presence', 'iq'].includes(name)).length
const acknowledged = (device: Device): string | undefined => device.unread.findLast(({ name }) => name === 'a')?.attrs['h'] as string | undefined
const went = (device: Device): boolean => device.unread.some(({ name, attrs }) => name === 'presence' && attrs['type'] === 'unavailable')

t.test('what a device says while the server stops is not taken: it is not counted, and the device says it again', async t => {
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

t.test('a device whose line breaks while the server stops finds its session, and nobody sees it go', async t => {
  const s = await stage(t)
  const { romeo, romeoId, juliet, julietId } = await couple(s)
  await s.server.stop(async () => {
    await juliet.loses('connection')
    s.server.router.route(from('romeo@montague.lit/orchard', toJuliet('one')))
    await s.settled()
  })
  t.notOk(went(romeo))
  const later = await next(t, s)
  t.notOk(went(await resumed(later, 'romeo@montague.lit', romeoId, stanzas(romeo), 0)))
  t.same(bodies(await resumed(later, 'juliet@capulet.lit', julietId, stanzas(juliet), 0)), ['one'])
})

t.test('a device that closes its stream while the server stops has ended its session, and others see it go', async t => {
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

t.test('what others send while sessions are written down, and after that, is there after the start: once, and in order', async t => {
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
      }, 'observe') // after those who write down
    },
  })
  const s = await stage(t, [late])
  const { juliet, julietId } = await couple(s)
  await s.server.stop()
  t.same(sent, ['one', 'two', 'three'])
  t.equal(stanzas(juliet), 0, 'what is not written down yet does not go out: the device would count it')
  const back = await resumed(await next(t, s), 'juliet@capulet.lit', julietId, 0, 0)
  t.same(back.unread.flatMap(element => element.getChildText('body') ?? element.getChildText('status') ?? []), ['one', 'two', 'three'])
})

t.test('a message whose handler takes its time is waited for: it is stored, delivered and counted before the server ends', async t => {
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

t.test('one that takes longer than the server waits is not counted; the device says it again, and it comes once', async t => {
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

t.test('one that is done after the sessions were written down is counted together with what it stores', async t => {
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

t.test('stream management that is being turned on when the server stops is on after the start', async t => {
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

t.test('what waits for a device that nobody looks at is among what it gets after the start', async t => {
  const s = await stage(t)
  const { romeo, juliet, julietId } = await couple(s)
  await juliet.says("<inactive xmlns='urn:xmpp:csi:0'/>")
  await romeo.says('<presence><status>near</status></presence>')
  t.equal(stanzas(juliet), 0, 'it waits for a device that nobody looks at')
  await s.server.stop(async () => {
    s.server.router.route(from('romeo@montague.lit/orchard', toJuliet('one')))
    await s.settled()
  })
  const before = stanzas(juliet)
  const back = await resumed(await next(t, s), 'juliet@capulet.lit', julietId, before, 0)
  t.equal(before + stanzas(back), 2)
})

t.test('who cannot resume is told that the server stops, and what it has not acknowledged waits for the account', async t => {
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

t.test('what cannot be written down at the stop is as after a crash: what was acknowledged is there', async t => {
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

/** Messages wait for this on their way in. */
function slowly (wait: () => Promise<void>): AnyModule {
  return defineModule({ name: 'slow', setup: host => { host.on(messageSent, async () => { await wait(); return undefined }) } })
}

/** A stanza as another server would hand it over. */
function from (sender: string, text: string): Addressed {
  const element = parseElement(text)
  return stanza(element, parseJid(sender), parseJid(String(element.attrs['to'])))
}
