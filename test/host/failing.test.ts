/** An exception between a stanza's arrival and its submission fails that stanza as a whole, and nothing else. */
import t, { type Test } from 'tap'
import { Arrivals } from '../../lib/host/arrivals.js'
import { defineModule, messageAddressed, messageArriving, NS, sending } from '../../lib/api.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { scenario, type Device } from '../scenario.js'
import { managed } from '../managed.js'
import { bodies, SM } from '../stanzas.js'

const MODULES = ['presence', 'message', 'carbons', 'offline', 'mam', 'stream-management']
const body = (text: string): string => `<message><body>${text}</body></message>`
const to = (who: string, text: string): string => `<message id='${text}' to='${who}' type='chat'><body>${text}</body></message>`
const INTERNAL = "<error type='cancel'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"

/** Returns a module that makes a device's writer throw, makes a handler throw, or delays the messages to an account. */
function fault () {
  const gate = { open: () => {} }
  const closed = new Promise<void>(resolve => { gate.open = resolve })
  const module = defineModule({
    name: 'fault',
    about: 'Fails, for tests.',
    after: ['offline', 'mam'],
    setup (host) {
      host.on(messageArriving, ({ message }) => message.to.local === 'nurse' ? closed : undefined, 'screen')
      host.on(messageAddressed, ({ message }) => {
        if (message.child(NS.CLIENT, 'body')?.getText() === 'refused') throw new Error('a handler fails')
      })
      host.on(sending, ({ session, stanza }) => {
        const text = stanza.child(NS.CLIENT, 'body')?.getText()
        if (session.jid.resource === 'chamber' && text === 'bad') throw new Error('the writer fails')
      })
    },
  })
  return { module, gate }
}

async function stage (t: Test) {
  const { module, gate } = fault()
  const s = await scenario(t, { modules: [...MODULES, module] })
  s.expectedErrors.push(['stanza failed', 'Error: the writer fails'])
  const [romeo, nurse] = [await managed(s, 'romeo@montague.lit/orchard'), await managed(s, 'nurse@capulet.lit/house')]
  const [balcony, chamber] = [await managed(s, 'juliet@capulet.lit/balcony'), await managed(s, 'juliet@capulet.lit/chamber')]
  for (const device of [romeo, nurse, balcony, chamber]) device.forget()
  return { s, gate, romeo, nurse, balcony, chamber }
}

/** The number of stanzas from the device that the server has acknowledged. */
async function acknowledged (device: Device): Promise<unknown> {
  await device.says(`<r ${SM}/>`)
  return device.unread.findLast(({ name }) => name === 'a')?.attrs['h']
}

t.test('if the writer of one recipient throws, the sender gets an error, and no device waits for the message', async t => {
  const { romeo, balcony, chamber } = await stage(t)
  await romeo.says(to('juliet@capulet.lit', 'bad'))
  await romeo.gets(`<message type='error' id='bad'>${INTERNAL}</message>`)
  await romeo.says(to('juliet@capulet.lit', 'good'))
  t.same([bodies(balcony), bodies(chamber)], [['good'], ['good']])
  t.equal(await acknowledged(romeo), '2')
  await balcony.says("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
  t.equal(balcony.unread.filter(element => element.getChild('result') !== undefined).length, 1, 'the archive has only the other message')
})

t.test('a stanza whose batch fails does not affect its neighbours in the lane', async t => {
  const { s, gate, romeo, nurse, balcony, chamber } = await stage(t)
  await romeo.says(to('nurse@capulet.lit', 'before'), to('juliet@capulet.lit', 'bad'), to('juliet@capulet.lit', 'after'))
  await romeo.getsNothing()
  gate.open()
  await s.settled()
  await nurse.gets(body('before'))
  await romeo.gets(`<message type='error' id='bad'>${INTERNAL}</message>`)
  t.equal(await acknowledged(romeo), '3')
  t.notOk(romeo.unread.some(({ name }) => name === 'message'), 'no other stanza is answered with an error')
  t.same([bodies(balcony), bodies(chamber)], [['after'], ['after']])
})

t.test('if the writer of a device without stream management throws, the other devices get the message', async t => {
  const { module } = fault()
  const s = await scenario(t, { modules: [...MODULES, module] })
  s.expectedErrors.push(['stanza failed', 'Error: the writer fails'])
  const romeo = await s.device('romeo@montague.lit/orchard')
  const chamber = await s.device('juliet@capulet.lit/chamber')
  const balcony = await s.device('juliet@capulet.lit/balcony')
  await romeo.says(to('juliet@capulet.lit', 'bad'), to('juliet@capulet.lit', 'good'))
  t.same([bodies(chamber), bodies(balcony)], [['good'], ['bad', 'good']])
})

t.test("a store's counters are restored if a later handler throws", async t => {
  const { module } = fault()
  const s = await scenario(t, { modules: ['presence', 'message', 'offline', module], settings: { offline: { keep: 1 } } })
  s.expectedErrors.push(['stanza failed', 'Error: a handler fails'])
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  await romeo.says(to('juliet@capulet.lit', 'refused'))
  await romeo.gets(`<message type='error' id='refused'>${INTERNAL}</message>`)
  await romeo.says(to('juliet@capulet.lit', 'kept'))
  await romeo.getsNothing()
})

t.test('each place in the order of arrival gets its turn, although settling another one throws', t => {
  const ran: string[] = []
  const arrivals = new Arrivals(() => { ran.push('turn') }, error => { ran.push(String(error)) })
  const [first, second, third] = [arrivals.arrive(), arrivals.arrive(), arrivals.arrive()]
  second.settle(() => { throw new Error('its own fault') })
  third.settle(() => { ran.push('third') })
  first.settle(() => { ran.push('first') })
  arrivals.afterAll(() => { ran.push('last') })
  t.same(ran, ['turn', 'first', 'turn', 'Error: its own fault', 'turn', 'third', 'last'])
  t.end()
})

t.test('every waiter of a batch gets its outcome, although another one throws', t => {
  const ran: string[] = []
  const stored = new PendingBatch()
  stored.delivering(() => { throw new Error('one') })
  stored.delivering(() => { ran.push('delivered') })
  stored.committed(() => { ran.push('committed') })
  t.throws(() => { stored.done() }, { message: 'one' })
  const failed = new PendingBatch()
  failed.failed(() => { throw new Error('two') })
  failed.failed(() => { ran.push('given back') })
  t.throws(() => { failed.fail(new Error('disk')) }, { message: 'two' })
  const kept = new PendingBatch()
  kept.failed(() => { ran.push('too late') })
  kept.stored()
  kept.fail(new Error('of what followed'))
  t.same(ran, ['delivered', 'committed', 'given back'])
  t.end()
})
