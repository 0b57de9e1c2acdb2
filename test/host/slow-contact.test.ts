/**
 * A contact whose account takes long to read delays what its sender sends to others by at most a second, and nothing is
 * lost.
 */
import t, { type Test } from 'tap'
import { defineModule, iqArriving, messageArriving, presenceArriving, StanzaError } from '../../lib/api.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import type { MemoryStorage } from '../../lib/storage/memory.js'
import { journal, type Write } from '../../lib/storage/store.js'
import { scenario, startServer, type Device, type Scenario, type Scene } from '../scenario.js'
import { managed } from '../managed.js'
import { archivedBodies, bodies, QUERY, SM } from '../stanzas.js'

const MODULES = ['presence', 'message', 'carbons', 'offline', 'mam', 'stream-management', 'roster', 'blocking', 'version']
const ROMEO = 'romeo@montague.lit'
const NURSE = 'nurse@capulet.lit'
const BENVOLIO = 'benvolio@montague.lit'
const HOSTS = ['montague.lit', 'capulet.lit']
const VERSION = (id: string): string => `<iq type='get' id='${id}' to='${NURSE}'><query xmlns='urn:xmpp:slow'/></iq>`
const chat = (text: string, to = NURSE): string => `<message id='${text.slice(0, 9)}' to='${to}' type='chat'><body>${text}</body></message>`

const acks = (device: Device): unknown[] => device.unread.filter(({ name }) => name === 'a').map(({ attrs }) => attrs['h'])

/** Returns a module that delays every stanza for the nurse until its gate opens. */
function slow () {
  const gate = { open: () => {} }
  const closed = new Promise<void>(resolve => { gate.open = resolve })
  const wait = ({ account }: { readonly account: { readonly local: string } }): Promise<void> | undefined =>
    account.local === 'nurse' ? closed : undefined
  const module = defineModule({
    name: 'slow',
    about: 'Has stanzas wait, for tests.',
    setup (host) {
      host.on(messageArriving, async event => {
        await wait(event)
        if (event.message.has('urn:refused')) throw new StanzaError('not-acceptable')
      }, 'screen')
      host.on(presenceArriving, wait, 'screen')
      host.on(iqArriving, wait, 'screen')
      host.iq.get('account', 'urn:xmpp:slow', 'query', () => undefined)
    },
  })
  return { module, gate }
}

async function stage (t: Test, isManaged = true) {
  const { module, gate } = slow()
  const s = await scenario(t, { modules: [...MODULES, module], hosts: HOSTS })
  const nurse = await s.device(`${NURSE}/house`)
  const benvolio = await s.device(`${BENVOLIO}/street`)
  const romeo = isManaged ? await managed(s, `${ROMEO}/orchard`) : await s.device(`${ROMEO}/orchard`)
  for (const device of [nurse, benvolio, romeo]) device.forget()
  t.teardown(() => { gate.open() })
  return { s, gate, nurse, benvolio, romeo }
}

/** The number of stored stanzas in transit to the nurse. */
async function underWay (storage: MemoryStorage): Promise<number> {
  const rows = await storage.open('transfers', journal<unknown>(1))
  return (await rows.page(NURSE, { limit: 10_000 })).entries.length
}

for (const isManaged of [true, false]) {
  t.test(`stanzas for others wait at most a second, ${isManaged ? 'and so does <a/>' : 'also without stream management'}`, async t => {
    const { s, gate, nurse, benvolio, romeo } = await stage(t, isManaged)
    await romeo.says(chat('one'), chat('two', BENVOLIO), ...isManaged ? [`<r ${SM}/>`] : [])
    s.clock.pass(999)
    await s.settled()
    t.same([bodies(benvolio), acks(romeo)], [[], []])
    s.clock.pass(1)
    await s.settled()
    t.same([bodies(benvolio), acks(romeo)], [['two'], isManaged ? ['2'] : []])
    await romeo.says(chat('three', BENVOLIO))
    t.same([bodies(benvolio), bodies(nurse)], [['two', 'three'], []])
    t.equal(await underWay(s.storage), 1)
    gate.open()
    await s.settled()
    t.same(bodies(nurse), ['one'])
    t.equal(await underWay(s.storage), 0)
    romeo.forget()
    await romeo.says(QUERY)
    t.same(archivedBodies(romeo), ['one', 'two', 'three'])
    await nurse.says(QUERY)
    t.same(archivedBodies(nurse), ['one'])
  })
}

t.test('a contact whose account takes 5 s to read delays stanzas for others by a second', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: HOSTS })
  await s.account(NURSE)
  const benvolio = await s.device(`${BENVOLIO}/street`)
  const romeo = await managed(s, `${ROMEO}/orchard`)
  await romeo.says(chat('hello', BENVOLIO))
  benvolio.forget()
  s.storage.holdReads()
  await romeo.says(chat('one'), chat('two', BENVOLIO), `<r ${SM}/>`)
  t.same(bodies(benvolio), [])
  s.clock.pass(1000)
  await s.settled()
  t.same([bodies(benvolio), acks(romeo)], [['two'], ['3']])
  s.clock.pass(4000)
  s.storage.releaseReads()
  await s.settled()
  t.equal(await underWay(s.storage), 0)
  const nurse = await s.device(`${NURSE}/house`, { presence: false })
  await nurse.says('<presence/>')
  t.same(bodies(nurse), ['one'])
})

t.test('stanzas of one sender for the slow contact keep their order, and each of them delays others by at most a second', async t => {
  const { s, gate, nurse, benvolio, romeo } = await stage(t)
  await romeo.says(chat('one'))
  s.clock.pass(500)
  await romeo.says(chat('two'), chat('three', BENVOLIO))
  s.clock.pass(700)
  await s.settled()
  t.same(bodies(benvolio), [])
  s.clock.pass(300)
  await romeo.says(chat('four'))
  t.same(bodies(benvolio), ['three'])
  gate.open()
  await romeo.says(chat('five'))
  t.same(bodies(nurse), ['one', 'two', 'four', 'five'])
  t.equal(await underWay(s.storage), 0)
  nurse.forget()
  await nurse.says(QUERY)
  t.same(archivedBodies(nurse), ['one', 'two', 'four', 'five'])
})

t.test("if the recipient is ready before the sender's turn ends, one commit stores both sides", async t => {
  const { s, gate, nurse, romeo } = await stage(t)
  await romeo.says(chat('one'), chat('two'))
  gate.open()
  await s.settled()
  t.same(bodies(nurse), ['one', 'two'])
  s.clock.pass(2000)
  await s.settled()
  t.equal(await underWay(s.storage), 0)
  t.same(bodies(nurse), ['one', 'two'])
})

t.test('presence and requests to the slow contact also give up their place, and are answered in the end', async t => {
  const { s, gate, benvolio, romeo } = await stage(t)
  await romeo.says(VERSION('v1'), chat('two', BENVOLIO))
  t.same(bodies(benvolio), [])
  s.clock.pass(1000)
  await s.settled()
  t.same(bodies(benvolio), ['two'])
  await romeo.says(`<presence to='${NURSE}'/>`, chat('three', BENVOLIO), `<r ${SM}/>`)
  s.clock.pass(1000)
  await s.settled()
  t.same([bodies(benvolio), acks(romeo)], [['two', 'three'], ['4']])
  t.equal(await underWay(s.storage), 0, 'neither is stored')
  gate.open()
  await s.settled()
  t.ok(romeo.unread.some(({ attrs }) => attrs['id'] === 'v1'))
})

t.test('a request arrives after a message to the same contact that is stored in transit', async t => {
  const { s, gate, nurse, romeo } = await stage(t)
  const order: string[] = []
  await romeo.says(chat('one'))
  s.clock.pass(1000)
  await s.settled()
  nurse.overhear(octets => { order.push(octets.includes('<iq') ? 'iq' : 'message') })
  await romeo.says(`<iq type='get' id='p' to='${NURSE}/house'><ping xmlns='urn:xmpp:ping'/></iq>`)
  gate.open()
  await s.settled()
  t.same(order, ['message', 'iq'])
})

t.test('a subscription request that waits is stored: a crash loses it on neither side', async t => {
  const { s, romeo } = await stage(t)
  await romeo.says(`<presence to='${NURSE}' type='subscribe'/>`)
  s.clock.pass(1000)
  await s.settled()
  t.equal(await underWay(s.storage), 1)
  const next = await life(t, s.storage.remains())
  t.equal(await underWay(next.storage), 0)
  const nurse = await next.device(`${NURSE}/house`, { presence: false })
  await nurse.says('<presence/>')
  t.ok(nurse.unread.some(({ name, attrs }) => name === 'presence' && attrs['type'] === 'subscribe'))
})

t.test('a refused stanza bounces in the end, and no row stays', async t => {
  const { s, gate, nurse, romeo } = await stage(t)
  await romeo.says(`<message id='one' to='${NURSE}' type='chat'><body>one</body><x xmlns='urn:refused'/></message>`, chat('two'))
  s.clock.pass(1000)
  await s.settled()
  t.equal(await underWay(s.storage), 2)
  gate.open()
  await s.settled()
  await romeo.gets("<message id='one' type='error'><error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
  t.same(bodies(nurse), ['two'])
  t.equal(await underWay(s.storage), 0)
})

t.test('if a stanza in transit cannot be stored, its sender gets an error, and it is not delivered', async t => {
  const { s, gate, nurse, benvolio, romeo } = await stage(t)
  s.storage.failing = new Error('disk full')
  await romeo.says(chat('one'), chat('two'))
  s.clock.pass(1000)
  await s.settled()
  s.storage.failing = undefined
  const errors = romeo.unread.filter(({ name }) => name === 'message')
  t.same(errors.map(({ attrs }) => [attrs['type'], attrs['id']]).sort(), [['error', 'one'], ['error', 'two']])
  romeo.forget()
  await romeo.says(chat('three'), chat('four', BENVOLIO))
  gate.open()
  await s.settled()
  t.same([bodies(nurse), bodies(benvolio)], [['three'], ['four']])
  t.equal(await underWay(s.storage), 0)
  await nurse.says(QUERY)
  t.same(archivedBodies(nurse), ['three'])
  t.same(bodies(romeo), [], 'each sender gets one error')
})

t.test("if the recipient's side cannot be stored, the sender gets an error, and the row goes once the disk works", async t => {
  const { s, gate, nurse, romeo } = await stage(t)
  await romeo.says(chat('one'))
  s.clock.pass(1000)
  await s.settled()
  s.storage.failing = new Error('disk full')
  gate.open()
  await s.settled()
  await romeo.gets("<message id='one' type='error'><error type='wait'/></message>")
  t.equal(await underWay(s.storage), 1)
  s.storage.failing = undefined
  s.clock.pass(1000)
  await s.settled()
  t.equal(await underWay(s.storage), 0)
  t.same(bodies(nurse), [])
})

t.test('if too much is in transit, a message holds its place until its recipient is ready, and later ones wait', async t => {
  const { s, gate, nurse, benvolio, romeo } = await stage(t)
  const long = 'x'.repeat(250_000)
  await romeo.says(...['1', '2', '3', '4', '5'].map(number => chat(number + long)), chat('after', BENVOLIO))
  s.clock.pass(5000)
  await s.settled()
  t.equal(await underWay(s.storage), 4)
  t.same(bodies(benvolio), [])
  const tybalt = await s.device('tybalt@capulet.lit/square')
  await tybalt.says(chat('mine'), chat('yours', BENVOLIO))
  s.clock.pass(1000)
  await s.settled()
  t.same(bodies(benvolio), ['yours'], 'another sender still has room')
  gate.open()
  await s.settled()
  t.same(bodies(benvolio), ['yours', 'after'])
  t.same(bodies(nurse).map(text => text?.slice(0, 1)), ['1', '2', '3', '4', '5', 'm'])
  t.equal(await underWay(s.storage), 0)
  await romeo.says(chat('one'))
  t.equal(bodies(nurse).length, 7)
})

/** Starts the next server process on this storage. */
async function life (t: Test, storage: MemoryStorage, modules: Scene['modules'] = MODULES): Promise<Scenario> {
  const s = await scenario(t, { modules, hosts: HOSTS, storage, ids: 'later', now: Date.UTC(2026, 0, 2) })
  await s.settled()
  return s
}

/**
 * Returns what the nurse gets when she becomes available, the messages in both archives, and the number of stanzas
 * still in transit.
 */
async function found (s: Scenario): Promise<unknown> {
  const nurse = await s.device(`${NURSE}/house`, { presence: false })
  await nurse.says('<presence/>')
  const got = bodies(nurse)
  nurse.forget()
  await nurse.says(QUERY)
  const nurses = archivedBodies(nurse)
  const romeo = await s.device(`${ROMEO}/orchard`)
  await romeo.says(QUERY)
  return { got, nurse: nurses, romeo: archivedBodies(romeo), rows: await underWay(s.storage) }
}

t.test('a crash at any point loses no acknowledged message and duplicates none', async t => {
  const { module, gate } = slow()
  const s = await startServer({ modules: [...MODULES, module], hosts: HOSTS })
  await s.account(NURSE)
  const romeo = await managed(s, `${ROMEO}/orchard`)
  s.storage.hold()
  await romeo.says(chat('one'), chat('two'), `<r ${SM}/>`)
  s.clock.pass(1000)
  t.same(await found(await life(t, s.storage.remains())), { got: [], nurse: [], romeo: [], rows: 0 }, "before the sender's commit")
  t.same(acks(romeo), [])
  s.storage.release()
  await s.settled()
  t.same(acks(romeo), ['2'])
  const both = { got: ['one', 'two'], nurse: ['one', 'two'], romeo: ['one', 'two'], rows: 0 }
  t.same(await found(await life(t, s.storage.remains())), both, "after the sender's commit")
  s.storage.hold()
  gate.open()
  for (let turns = 0; turns < 5; turns++) await new Promise(resolve => { setImmediate(resolve) })
  t.same(await found(await life(t, s.storage.remains())), both, "before the recipient's commit")
  s.storage.release()
  await s.settled()
  t.same(await found(await life(t, s.storage.remains())), both, "after the recipient's commit")
  const next = await life(t, s.storage.remains())
  t.same(await found(await life(t, next.storage.remains())), both, 'after another start')
  await s.end()
})

t.test('messages in transit at a crash go to the resumed session, with their time, before later ones', async t => {
  const { module } = slow()
  const s = await startServer({ modules: [...MODULES, module], hosts: HOSTS })
  const nurse = await managed(s, `${NURSE}/house`)
  const romeo = await managed(s, `${ROMEO}/orchard`)
  s.clock.pass(1000)
  await romeo.says(chat('one'), chat('two'))
  s.clock.pass(1000)
  await s.settled()
  const next = await life(t, s.storage.remains())
  const id = nurse.session.manager !== undefined && 'id' in nurse.session.manager ? String(nurse.session.manager.id) : ''
  const again = await next.device(`${ROMEO}/street`)
  await again.says(chat('three'))
  const { device } = await next.resume(NURSE, `<resume ${SM} h='0' previd='${id}'/>`)
  t.same(device === undefined ? [] : bodies(device), ['one', 'two', 'three'])
  const delay = device?.unread[0]?.getChild('delay')?.attrs['stamp']
  t.equal(delay, '2026-01-01T00:00:02Z')
})

t.test("new stanzas wait until the account's messages in transit at the crash are delivered", async t => {
  const { module } = slow()
  const s = await startServer({ modules: [...MODULES, module], hosts: HOSTS })
  await s.account(NURSE)
  const romeo = await managed(s, `${ROMEO}/orchard`)
  await romeo.says(chat('one'))
  s.clock.pass(1000)
  await s.settled()
  const second = slow()
  const next = await life(t, s.storage.remains(), [...MODULES, second.module])
  const benvolio = await next.device(`${BENVOLIO}/street`)
  await benvolio.says(chat('two'))
  second.gate.open()
  await next.settled()
  t.same(await found(next), { got: ['one', 'two'], nurse: ['one', 'two'], romeo: ['one'], rows: 0 })
})

t.test('an unreadable row does not stop the others', async t => {
  const { module } = slow()
  const s = await startServer({ modules: [...MODULES, module], hosts: HOSTS })
  await s.account(NURSE)
  const romeo = await managed(s, `${ROMEO}/orchard`)
  await romeo.says(chat('one'), chat('two'))
  s.clock.pass(1000)
  await s.settled()
  const rows = await s.storage.open('transfers', journal<unknown>(1))
  const [first] = (await rows.page(NURSE, { limit: 1 })).entries
  s.storage.spoil('transfers', NURSE, first?.id ?? '', JSON.stringify({ text: '<message' }))
  const next = await life(t, s.storage.remains())
  next.expectedErrors.push(...next.lines.filter(({ level }) => level === 'error').map(({ event, fields }) => [event, String(fields['error'])] as const))
  t.match(await found(next), { got: ['two'], rows: 0 })
})

t.test('messages that wait at a stop are delivered after the next start, and no sender gets an error', async t => {
  const { module, gate } = slow()
  const s = await startServer({ modules: [...MODULES, module], hosts: HOSTS })
  await s.account(NURSE)
  const romeo = await managed(s, `${ROMEO}/orchard`)
  await romeo.says(chat('one'), chat('two'), `<r ${SM}/>`)
  s.clock.pass(1000)
  await s.settled()
  t.same(acks(romeo), ['2'])
  romeo.forget()
  const ended = s.end()
  for (let turns = 0; turns < 10; turns++) {
    s.clock.pass(5000)
    await new Promise(resolve => { setImmediate(resolve) })
  }
  await ended
  gate.open()
  await s.settled()
  t.same(bodies(romeo), [])
  t.same(await found(await life(t, s.storage)), { got: ['one', 'two'], nurse: ['one', 'two'], romeo: ['one', 'two'], rows: 0 })
})

t.test('two sides in one batch are stored together and in order, or each by itself', async t => {
  const s = await scenario(t)
  const written: string[][] = []
  const storage = Object.assign(Object.create(s.storage) as MemoryStorage, {
    submit: (writes: readonly Write[]) => { written.push(writes.map(({ store }) => store)); return written.length },
  })
  const ran: string[] = []
  const filled = (name: string, batch: PendingBatch): PendingBatch => {
    batch.add({ store: name })
    batch.submitting(() => { batch.add({ store: `${name}, last` }) })
    batch.delivering(() => { ran.push(`${name} goes`) })
    batch.committed(() => {
      ran.push(`${name} is stored`)
      batch.committed(() => { ran.push(`${name} is last`) })
    })
    batch.failed(() => { ran.push(`${name} fails`) })
    return batch
  }
  const empty = new PendingBatch()
  t.equal(empty.divide(), empty)
  const both = filled('second', filled('first', new PendingBatch()).divide())
  both.submit(storage)
  both.stored()
  both.done()
  both.fail(new Error('too late'))
  t.same(written.splice(0), [['first', 'first, last', 'second', 'second, last']])
  t.same(ran.splice(0), ['first goes', 'second goes', 'first is stored', 'second is stored', 'first is last', 'second is last'])
  filled('second', filled('first', new PendingBatch()).divide()).fail(new Error('refused'))
  t.same(ran.splice(0), ['first fails', 'second fails'])
  const second = filled('second', filled('first', new PendingBatch()).divide())
  const first = second.part()
  first.submit(storage)
  first.stored()
  first.done()
  second.fail(new Error('refused'))
  t.same(written, [['first', 'first, last']])
  t.same(ran, ['first goes', 'first is stored', 'first is last', 'second fails'])
})
