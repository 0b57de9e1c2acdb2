/**
 * Sestina and its neighbours through joined rooms, a restart and a crash amid a thousand messages: nothing is lost
 * silently.
 */
import { xml } from '@xmpp/client'
import t, { type Test } from 'tap'
import { missing } from '../process.js'
import { Device, logged, Quarter, startEjabberd, startProsody, startSestina, trustAll, type Neighbour, type Stanza } from './servers.js'

// Not below .test: libunbound, which Prosody uses for DNS if lua-unbound is installed, answers for that domain itself.
const OURS = 'montague.example'
const THEIRS = 'capulet.example'
/** The number of messages that are under way while the other server stops and starts. */
const MANY = 1000
const PATIENCE = 300_000
/**
 * The text of the error for a message that may have arrived: it was sent, and the connection broke before the
 * acknowledgement.
 */
const BROKE = 'the connection was lost before the other server acknowledged it'
const skip = process.getuid?.() !== 0 ? 'needs root, for DNS on port 53 and a mount namespace' : missing({ prosody: 'prosody', erl: 'ejabberd', unshare: 'util-linux' })
const MUC = 'http://jabber.org/protocol/muc'

type Start = (quarter: Quarter, domain: string) => Promise<Neighbour>
const startAnother: Start = (quarter, domain) => startSestina(quarter, { domains: [domain], kept: 3 * MANY })
const NEIGHBOURS: Readonly<Record<string, Start>> = { Prosody: startProsody, ejabberd: startEjabberd, 'another Sestina': startAnother }

t.setTimeout(1_200_000)

const chat = (to: string, id: string): Stanza => xml('message', { to, type: 'chat', id }, xml('body', {}, id))
const ping = (to: string, id: string): Stanza => xml('iq', { to, type: 'get', id }, xml('ping', { xmlns: 'urn:xmpp:ping' }))
const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })

interface Stage { readonly ours: Neighbour, readonly theirs: Neighbour, readonly romeo: Device }

async function stage (t: Test, start: Start): Promise<Stage> {
  const quarter = await Quarter.build(t, { trust: 'certificate' })
  trustAll(t)
  const ours = await startSestina(quarter, { domains: [OURS], kept: 3 * MANY })
  const theirs = await start(quarter, THEIRS)
  t.teardown(() => { if (!t.passing()) t.comment(`---- ours\n${ours.said.slice(-6000)}\n---- theirs\n${theirs.said.slice(-3000)}`) })
  for (const name of ['romeo', 'benvolio']) await ours.addUser(name)
  for (const name of ['juliet', 'nurse']) await theirs.addUser(name)
  return { ours, theirs, romeo: await Device.of(t, ours, 'romeo') }
}

for (const [name, start] of Object.entries(NEIGHBOURS)) {
  t.test(`${name}: messages survive a restart and a crash amid a thousand of them each way`, { skip }, async t => {
    const s = await stage(t, start)
    if (start !== startAnother) await t.test('in a room there users of this server talk, are kicked, and leave when their connection is cut', t => room(t, s))
    await t.test('the other server is stopped in order, and started again', async t => {
      const bounced = await interrupted(t, s, 'r', () => s.theirs.stop(), start)
      // XEP-0198 §5, across a restart of the other server.
      if (start === startAnother) t.equal(bounced, 0, 'all have arrived')
    })
    await t.test('the other server is killed, and started again', async t => { await interrupted(t, s, 'k', () => s.theirs.kill(), start) })
  })
}

t.test('three domains of one server share one connection', { skip }, async t => {
  const quarter = await Quarter.build(t, { trust: 'certificate' })
  trustAll(t)
  const domains = [OURS, 'escalus.example', 'paris.example']
  const ours = await startSestina(quarter, { domains })
  const theirs = await startSestina(quarter, { domains: [THEIRS] })
  await theirs.addUser('juliet')
  const juliet = await Device.of(t, theirs, 'juliet')
  for (const domain of domains) {
    const there = { ...ours, domain }
    await ours.addUser('count', domain)
    const count = await Device.of(t, there, 'count')
    await count.says(chat(juliet.full, domain))
    await juliet.gets(`the message of ${domain}`, stanza => stanza.attrs['id'] === domain)
    await juliet.says(chat(count.full, 'back'))
    await count.gets('her answer', stanza => stanza.attrs['id'] === 'back')
  }
  await logged(ours, 's2s link established', 3)
  await logged(theirs, 's2s domain accepted', 3)
  t.equal(ours.said.match(/s2s link established/g)?.length, 3)
  t.equal(theirs.said.match(/s2s domain accepted/g)?.length, 3)
  const links = JSON.parse(await ours.command('s2s', '--json')) as { local: string, direction: string, address: string }[]
  t.same(links.map(({ local }) => local).sort(), [...domains].sort())
})

// ---- Rooms -----------------------------------------------------------------------------------------

async function room (t: Test, { ours, romeo }: Stage): Promise<void> {
  const hall = `hall@rooms.${THEIRS}`
  const from = (nick: string, type?: string) => (stanza: Stanza): boolean =>
    stanza.is('presence') && stanza.attrs['from'] === `${hall}/${nick}` && stanza.attrs['type'] === type
  const said = (body: string) => (stanza: Stanza): boolean => stanza.is('message') && stanza.getChildText('body') === body
  const benvolio = await Device.of(t, ours, 'benvolio')

  await romeo.says(xml('presence', { to: `${hall}/romeo` }, xml('x', { xmlns: MUC })))
  await romeo.gets('his own presence in the room', from('romeo'))
  // Unlocks the new room (XEP-0045 §10.1.2).
  await romeo.says(xml('iq', { to: hall, type: 'set', id: 'open' }, xml('query', { xmlns: `${MUC}#owner` }, xml('x', { xmlns: 'jabber:x:data', type: 'submit' }))))
  await romeo.gets('the answer that unlocks the room', stanza => stanza.attrs['id'] === 'open')
  await benvolio.says(xml('presence', { to: `${hall}/benvolio` }, xml('x', { xmlns: MUC })))
  await romeo.gets('the presence of his friend', from('benvolio'))
  await benvolio.gets('his own presence in the room', from('benvolio'))

  await romeo.says(xml('message', { to: hall, type: 'groupchat' }, xml('body', {}, 'Good morrow')))
  for (const one of [romeo, benvolio]) t.equal((await one.gets('the message', said('Good morrow'))).attrs['from'], `${hall}/romeo`)
  await romeo.says(xml('iq', { to: hall, type: 'set', id: 'kick' }, xml('query', { xmlns: `${MUC}#admin` }, xml('item', { nick: 'benvolio', role: 'none' }))))
  const kicked = await benvolio.gets('his own kick', from('benvolio', 'unavailable'))
  t.match(kicked.toString(), /307/, 'kicked')
  await romeo.gets('the kick of his friend', from('benvolio', 'unavailable'))

  await benvolio.says(xml('presence', { to: `${hall}/benvolio` }, xml('x', { xmlns: MUC })))
  await romeo.gets('the presence of his friend again', from('benvolio'))
  benvolio.cut()
  await romeo.gets('unavailable after the connection was cut', from('benvolio', 'unavailable'))
  await romeo.says(xml('presence', { to: `${hall}/romeo`, type: 'unavailable' }))
  await romeo.gets('unavailable of himself', from('romeo', 'unavailable'))
}

// ---- Restarts --------------------------------------------------------------------------------------

/**
 * Sends messages both ways while the other server stops and starts, and compares the counts. Returns how many of
 * Romeo's came back because of the connection. A slow server may also ask a sender to wait who sends much to one
 * account (docs/bounds.md).
 */
async function interrupted (
  t: Test, { ours, theirs, romeo }: Stage, prefix: string, goes: () => Promise<void>, start: Start,
): Promise<number> {
  const nurse = await Device.of(t, theirs, 'nurse', `${prefix}-before`)
  await theirsSend(nurse, romeo, `${prefix}b`)
  await nurse.leaves()

  let gone: Promise<void> | undefined
  for (let n = 0; n < MANY; n++) {
    await romeo.says(chat(`juliet@${THEIRS}`, `${prefix}${n}`)) // she is offline: it is stored for her
    if (n % 10 === 0) await turn()
    if (n === MANY * 0.4) gone = goes()
  }
  await gone
  await theirs.start()
  const back = await Device.of(t, theirs, 'nurse', `${prefix}-after`)
  await theirsSend(back, romeo, `${prefix}a`)
  await back.leaves()
  t.same(taken(romeo, `${prefix}b`), numbers(MANY / 2), 'what was sent to us before: all, once, in order')
  const after = taken(romeo, `${prefix}a`)
  // Prosody keeps the first ones for the stream that it opens itself, and uses ours for the rest as soon as that is
  // open (XEP-0288).
  if (start === startProsody) t.same(inOrder(after), numbers(MANY / 2), 'what was sent to us after it: all, once')
  else t.same(after, numbers(MANY / 2), 'what was sent to us after it: all, once, in order')

  const juliet = await Device.of(t, theirs, 'juliet', prefix)
  await juliet.says(ping(THEIRS, `${prefix}-kept`))
  await juliet.gets('an answer after all stored messages', stanza => stanza.attrs['id'] === `${prefix}-kept`, PATIENCE)
  const got = new Map<string, number>()
  const bounced = new Set<string>()
  const errors: Stanza[] = []
  const open = (): readonly string[] => {
    errors.push(...romeo.came.filter(stanza => stanza.attrs['type'] === 'error'))
    for (const id of idsOf(juliet, prefix)) got.set(id, (got.get(id) ?? 0) + 1)
    for (const id of idsOf(romeo, prefix, 'error')) bounced.add(id)
    return Array.from({ length: MANY }, (_, n) => `${prefix}${n}`).filter(id => !got.has(id) && !bounced.has(id))
  }
  // Messages that their process had, and lost by its crash, were theirs: their log shows them.
  const unheard = (): readonly string[] => {
    const left = open()
    if (left.length === 0) return left
    const logged = new Set(theirs.said.match(new RegExp(`\\b${prefix}\\d+\\b`, 'g')))
    return left.filter(id => !logged.has(id))
  }
  const end = Date.now() + PATIENCE
  while (unheard().length > 0 && Date.now() < end) await Promise.race([juliet.hears(500), romeo.hears(500)])
  t.same(unheard(), [], 'each of ours was received there, or has come back')
  t.same([...got].filter(([, count]) => count > 1), [], 'none came twice')
  const both = [...got.keys()].filter(id => bounced.has(id))
  const unsure = new Set(errors.filter(stanza => stanza.toString().includes(BROKE)).map(({ attrs }) => attrs['id']))
  t.same(both.filter(id => !unsure.has(id)), [], `none did both, except where the connection broke before the acknowledgement (${both.length})`)
  t.comment(`${got.size} arrived, ${bounced.size} came back, ${both.length} did both: ${reasons(errors)}`)
  await juliet.leaves()
  return [...bounced].filter(id => unsure.has(id)).length
}

/** Sends half a thousand messages, and waits until an answer to a later ping shows that they have passed. */
async function theirsSend (sender: Device, romeo: Device, prefix: string): Promise<void> {
  for (let n = 0; n < MANY / 2; n++) await sender.says(chat(romeo.full, `${prefix}${n}`))
  await sender.says(ping(OURS, `${prefix}-done`))
  await sender.gets('an answer after all messages', stanza => stanza.attrs['id'] === `${prefix}-done`, PATIENCE)
  const end = Date.now() + PATIENCE
  const wanted = new RegExp(`^${prefix}\\d+$`)
  const come = (): number => new Set(romeo.came.map(({ attrs }) => attrs['id'] ?? '').filter(id => wanted.test(id))).size
  while (come() < MANY / 2 && Date.now() < end) await romeo.hears(500)
}

const numbers = (count: number): readonly string[] => Array.from({ length: count }, (_, n) => String(n))

function idsOf (device: Device, prefix: string, type = 'chat'): readonly string[] {
  const wanted = new RegExp(`^${prefix}\\d+$`)
  const found = device.came.filter(stanza => stanza.is('message') && stanza.attrs['type'] === type && wanted.test(stanza.attrs['id'] ?? ''))
  for (const stanza of found) device.came.splice(device.came.indexOf(stanza), 1)
  return found.map(stanza => stanza.attrs['id'] ?? '')
}

/** Returns the conditions of the errors, and how often each came. */
function reasons (errors: readonly Stanza[]): string {
  const counts = new Map<string, number>()
  for (const error of errors) {
    const [, name = ''] = /<error[^>]*>.*?<([a-z-]+) xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/.exec(error.toString()) ?? []
    const text = `${name} ${error.getChild('error')?.getChildText('text') ?? ''}`.trim()
    counts.set(text, (counts.get(text) ?? 0) + 1)
  }
  return [...counts].map(([name, count]) => `${count} ${name}`).join(', ')
}

const inOrder = (found: readonly string[]): readonly string[] => [...found].sort((a, b) => Number(a) - Number(b))

function taken (device: Device, prefix: string): readonly string[] {
  return idsOf(device, prefix).map(id => id.slice(prefix.length))
}
