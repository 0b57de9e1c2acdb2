/** The stanzas that wait for one account: a sender that floods it does not keep out the others. */
import t, { type Test } from 'tap'
import { FairRoom } from '../../lib/base/fair-room.js'
import { Lanes } from '../../lib/host/pipeline/lanes.js'
import { defineModule, messageArriving, messageUndelivered } from '../../lib/api.js'
import type { Device } from '../device.js'
import { managed } from '../managed.js'
import { OURS, scene, THEIRS } from '../s2s/stage.js'
import { scenario } from '../scenario.js'
import { bodies, conditionOf } from '../stanzas.js'

const NURSE = `nurse@${OURS}`
const MODULES = ['roster', 'presence', 'message']
/** More than may wait for one account. */
const FLOOD = 9000
/** The characters of a long message. */
const LONG = 200_000

/** A module that delays messages for the nurse until its gate opens: those that come, or those that come again. */
function slow (what: 'first' | 'again' = 'first') {
  const gate = { open: () => {} }
  const closed = new Promise<void>(resolve => { gate.open = resolve })
  const wait = ({ account: { local } }: { readonly account: { readonly local: string } }): Promise<void> | undefined =>
    local === 'nurse' ? closed : undefined
  const module = defineModule({
    name: 'slow',
    about: 'Has messages wait, for tests.',
    setup (host) {
      if (what === 'first') host.on(messageArriving, wait, 'screen')
      else host.on(messageUndelivered, wait, 'screen')
    },
  })
  return { module, gate }
}

const chat = (text: string, more = ''): string => `<message to='${NURSE}' type='chat' ${more}><body>${text}</body></message>`
const flood = (): string[] => Array.from({ length: FLOOD }, (_, n) => chat(`flood ${n}`))
const refused = (device: Device): number => device.unread.filter(stanza => conditionOf(stanza) === 'resource-constraint').length
const isFlood = (text: string): boolean => text.startsWith('flood')

async function stage (t: Test) {
  const { module, gate } = slow()
  t.teardown(() => { gate.open() })
  const s = await scenario(t, { modules: [...MODULES, module], hosts: [OURS] })
  const nurse = await s.device(`${NURSE}/house`)
  const romeo = await s.device(`romeo@${OURS}/orchard`)
  const benvolio = await s.device(`benvolio@${OURS}/street`)
  for (const device of [nurse, romeo, benvolio]) device.forget()
  return { s, gate, nurse, romeo, benvolio }
}

t.test('a user who floods an account is refused, and the messages of others come, in order', async t => {
  const { s, gate, nurse, romeo, benvolio } = await stage(t)
  await romeo.says(...flood())
  const waiting = FLOOD - refused(romeo)
  t.ok(waiting > 1000 && waiting < FLOOD / 2, `${waiting} messages of the flood wait`)
  await benvolio.says(...Array.from({ length: 100 }, (_, n) => chat(`sincere ${n}`)))
  t.equal(refused(benvolio), 0)
  gate.open()
  await s.settled()
  const came = bodies(nurse)
  t.same(came.filter(text => !isFlood(text)), Array.from({ length: 100 }, (_, n) => `sincere ${n}`))
  t.same(came.filter(isFlood), Array.from({ length: waiting }, (_, n) => `flood ${n}`), 'and nothing that waits is dropped')
})

t.test('many users who flood an account together do not keep out another one', async t => {
  const { s, gate, nurse, romeo, benvolio } = await stage(t)
  const long = 'x'.repeat(LONG)
  const floods = [romeo]
  for (let n = 0; n < 12; n++) floods.push(await s.device(`montague${n}@${OURS}/x`))
  for (const device of floods) await device.says(...Array.from({ length: 25 }, () => chat(`flood ${long}`)))
  t.ok(floods.every(device => refused(device) > 0), 'each of them is refused in the end')
  await benvolio.says(chat('sincere'))
  t.equal(refused(benvolio), 0)
  gate.open()
  await s.settled()
  t.ok(bodies(nurse).includes('sincere'))
})

scene('a user of another server who floods an account keeps out neither another user there nor another server', async (t, net) => {
  const { module, gate } = slow()
  const ours = await net.town(OURS, { scene: { modules: [...MODULES, module] }, cost: 1_000_000 })
  const nurse = await ours.s.device(`${NURSE}/house`)
  const peer = await net.peer(THEIRS)
  const line = await peer.enters(ours, THEIRS, OURS)
  const other = await (await net.peer('verona.test')).enters(ours, 'verona.test', OURS)
  const sites = await (await net.peer(`sub.${THEIRS}`)).enters(ours, `sub.${THEIRS}`, OURS)
  const from = (address: string): string => `from='${address}'`
  for (let n = 0; n < FLOOD; n += 500) await line.says(Array.from({ length: 500 }, (_, i) => chat(`flood ${n + i}`, from(`spam@${THEIRS}/x`))).join(''))
  await line.says(chat('sincere', from(`rosaline@${THEIRS}/x`)))
  for (let n = 0; n < FLOOD; n += 500) await sites.says(Array.from({ length: 500 }, (_, i) => chat(`flood of the site ${n + i}`, from(`spam${n + i}@sub.${THEIRS}/x`))).join(''))
  await other.says(chat('from elsewhere', from('paris@verona.test/x')))
  gate.open()
  await net.settled()
  const came = bodies(nurse)
  t.same(came.filter(text => !isFlood(text)), ['sincere', 'from elsewhere'])
  t.ok(came.length < FLOOD, `${came.length} messages came`)
})

scene('a user of another server whose messages to a slow account are too many is refused, and the stream is acknowledged', async (t, net) => {
  const { module, gate } = slow()
  const ours = await net.town(OURS, { scene: { modules: [...MODULES, module] }, cost: 1_000_000 })
  const nurse = await ours.s.device(`${NURSE}/house`)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const line = await (await net.peer(THEIRS)).enters(ours, THEIRS, OURS)
  await line.says("<enable xmlns='urn:xmpp:sm:3'/>")
  const spam = (n: number): string => chat(`flood ${n}`, `from='spam@${THEIRS}/x' id='f${n}'`)
  await line.says(Array.from({ length: 510 }, (_, n) => spam(n)).join(''))
  await line.says(`<message from='rosaline@${THEIRS}/x' to='romeo@${OURS}' type='chat'><body>sincere</body></message>`)
  await net.settled()
  await net.pass(1000)
  t.same(bodies(romeo), ['sincere'])
  await line.says("<r xmlns='urn:xmpp:sm:3'/>")
  t.match(line.heard, /<a [^>]*h="511"/, 'all of it is acknowledged')
  gate.open()
  await net.settled()
  t.same(bodies(nurse), Array.from({ length: 500 }, (_, n) => `flood ${n}`))
})

t.test('messages that a device left unacknowledged all wait for the next one, however many they are', async t => {
  const { module, gate } = slow('again')
  t.teardown(() => { gate.open() })
  const s = await scenario(t, { modules: [...MODULES, 'stream-management', module], hosts: [OURS] })
  const romeo = await s.device(`romeo@${OURS}/orchard`)
  const nurse = await managed(s, `${NURSE}/house`)
  const texts = Array.from({ length: 1900 }, (_, n) => `${n}`)
  await romeo.says(...texts.map(text => chat(text)))
  const second = await s.device(`${NURSE}/street`)
  nurse.session.close()
  await s.settled()
  gate.open()
  await s.settled()
  t.same(bodies(second), texts)
  t.equal(refused(romeo), 0)
})

t.test('the lanes of all accounts have a bound, which takes nothing from an account or a sender with little', async t => {
  const storage = { after () {}, settled: 0, submitted: 0 }
  const bounds = { account: 20_000, overAll: 30_000, least: 3000, leastOfSender: 1500 }
  const lanes = new Lanes({ storage, turns: undefined, defect (error) { throw error } }, bounds)
  let open = (): void => {}
  const gate = new Promise<void>(resolve => { open = resolve })
  for (const account of ['a', 'b', 'c', 'd', 'e']) lanes.begin(account, gate)
  const fill = (account: string, sender: string): number => {
    let taken = 0
    while (lanes.after(account, { bytes: 976, sender: [sender] }, () => {})) taken++ // each counts as 2000 bytes
    return taken
  }
  t.same([fill('a', 'one'), fill('b', 'one')], [5, 3], 'each account has a bound, and a sender one over all of them')
  t.same([fill('a', 'two'), fill('b', 'two')], [3, 1], 'which leaves room to others, and less and less of it')
  t.equal(fill('d', 'one'), 1, 'an account with little has room')
  t.ok(lanes.after('a', { bytes: 400, sender: ['three'] }, () => {}), 'a sender with little too')
  t.notOk(lanes.after('a', { bytes: 400, sender: ['one'] }, () => {}))
  t.ok(lanes.after('a', { bytes: 100_000, sender: undefined }, () => {}), 'what waited for a device before is never refused')
  t.notOk(lanes.after('e', { bytes: 3000, sender: ['two'] }, () => {}))
  open()
  await lanes.idle()
  lanes.begin('a', new Promise(() => {}))
  t.equal(fill('a', 'one'), 5, 'and all is given back')
})

t.test('room that groups share', t => {
  const room = new FairRoom(1000, 20)
  const fill = (names: readonly string[], size = 10): number => {
    let taken = 0
    while (room.take(names, size)) taken += size
    return taken
  }
  t.equal(fill(['site', 'one']), 250, 'a sender fills half of what its group may have')
  t.equal(fill(['site', 'two']), 130, 'and the next one half of what is left to the group')
  t.equal(fill(['site', 'three']), 60)
  t.equal(fill(['another']), 280, 'a group without members fills half of what is left')
  t.ok(room.bytes < 1000)
  room.giveBack(['another'], 280)
  t.equal(fill(['another']), 280, 'what was given back can be taken again')
  let groups = 0
  while (room.take([`group ${groups}`], 20)) groups++
  t.equal(room.bytes, 2000, 'each group gets a little, until twice the bound is used')
  t.notOk(room.take(['late'], 1))
  t.same([new FairRoom(10, 1).isLittle(['a'], 1), new FairRoom(10, 1).isLittle(['a'], 2)], [true, false])
  t.end()
})
