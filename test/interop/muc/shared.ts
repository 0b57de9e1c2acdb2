/** Scenes of rooms whose occupants are users of two servers, one of which stops, is killed, or is cut off. */
import { setTimeout as rest } from 'node:timers/promises'
import { xml } from '@xmpp/client'
import type { Test } from 'tap'
import { missing } from '../process.js'
import { Device, Quarter, startSestina, trustAll, type Neighbour, type Sestina, type Stanza } from '../s2s/servers.js'

// Not below .test: libunbound, which Prosody uses for DNS if lua-unbound is installed, answers for that domain itself.
const OURS = 'montague.example'
const THEIRS = 'capulet.example'
const MUC = 'http://jabber.org/protocol/muc'
/** How long somebody may be a ghost, in milliseconds. */
const PATIENCE = 120_000

/** False, or why the scenes cannot be played here. */
export const skip = process.getuid?.() !== 0
  ? 'needs root, for DNS on port 53 and a mount namespace'
  : missing({ prosody: 'prosody', erl: 'ejabberd', unshare: 'util-linux' })

interface Stage { readonly quarter: Quarter, readonly ours: Sestina, readonly theirs: Neighbour }

/** Starts both servers, each with rooms. */
async function stage (t: Test, start: (quarter: Quarter, domain: string) => Promise<Neighbour>): Promise<Stage> {
  const quarter = await Quarter.build(t, { trust: 'certificate', bridged: true })
  trustAll(t)
  const ours = await startSestina(quarter, { domains: [OURS], hasRooms: true })
  const theirs = await start(quarter, THEIRS)
  t.teardown(() => { if (!t.passing()) t.comment(`---- ours\n${ours.said.slice(-8000)}\n---- theirs\n${theirs.said.slice(-4000)}`) })
  for (const name of ['romeo', 'benvolio']) await ours.addUser(name)
  for (const name of ['juliet', 'nurse']) await theirs.addUser(name)
  return { quarter, ours, theirs }
}

/** Plays all scenes in a room here and in one there. */
export async function shared (t: Test, start: (quarter: Quarter, domain: string) => Promise<Neighbour>): Promise<void> {
  const { quarter, ours, theirs } = await stage(t, start)
  await t.test('a room of Sestina', async t => {
    let met = await meeting(t, ours, theirs, { host: 'romeo', one: 'juliet', two: 'nurse' })
    await t.test('the other server stops in order', async t => { met = await visitorsFall(t, theirs, met, () => theirs.stop()) })
    await t.test('the other server is killed', async t => { met = await visitorsFall(t, theirs, met, () => theirs.kill()) })
    await t.test('the link is cut', t => linkFalls(t, quarter, met))
    await t.test('Sestina stops in order', async t => { met = await hostFalls(t, ours, met, () => ours.stop()) })
    await t.test('Sestina is killed', async t => { met = await hostFalls(t, ours, met, () => ours.kill()) })
  })
  await t.test('a room of the other server', async t => {
    const met = await meeting(t, theirs, ours, { host: 'juliet', one: 'romeo', two: 'benvolio' })
    await t.test('Sestina stops in order', async t => { await visitorsFall(t, ours, met, () => ours.stop()) })
  })
}

// ---- Somebody in a room ------------------------------------------------------------------------------

/** One device in one room. */
class Guest {
  readonly device: Device
  readonly hall: string
  readonly nick: string

  constructor (device: Device, hall: string, nick: string) {
    this.device = device
    this.hall = hall
    this.nick = nick
  }

  /** Enters. Resolves with the nicks of all who are shown before the guest. */
  async enters (): Promise<readonly string[]> {
    this.device.came.splice(0)
    await this.device.says(xml('presence', { to: `${this.hall}/${this.nick}` }, xml('x', { xmlns: MUC }, xml('history', { maxstanzas: '0' }))))
    const others: string[] = []
    for (;;) {
      const presence = await this.device.gets(`the presence of the occupants of ${this.hall}`, stanza =>
        stanza.is('presence') && (stanza.attrs['from'] ?? '').startsWith(`${this.hall}/`), PATIENCE)
      if (presence.attrs['type'] === 'error') throw new Error(`not let in: ${presence.toString()}`)
      if (codesIn(presence).includes('110')) return others.sort()
      others.push((presence.attrs['from'] ?? '').slice(this.hall.length + 1))
    }
  }

  /** Makes a new room that stays when nobody is in it. */
  async makes (): Promise<void> {
    await this.enters()
    const field = (name: string, value: string): Stanza => xml('field', { var: name }, xml('value', {}, value))
    const form = xml('x', { xmlns: 'jabber:x:data', type: 'submit' }, field('FORM_TYPE', `${MUC}#roomconfig`), field('muc#roomconfig_persistentroom', '1'))
    await this.device.says(xml('iq', { to: this.hall, type: 'set', id: 'make' }, xml('query', { xmlns: `${MUC}#owner` }, form)))
    const answer = await this.device.gets('the answer to the configuration', stanza => stanza.attrs['id'] === 'make', PATIENCE)
    if (answer.attrs['type'] !== 'result') throw new Error(`not configured: ${answer.toString()}`)
  }

  async says (body: string): Promise<void> {
    await this.device.says(xml('message', { to: this.hall, type: 'groupchat', id: body }, xml('body', {}, body)))
  }

  async hears (nick: string, body: string): Promise<void> {
    await this.device.gets(`'${body}' of ${nick}`, stanza => stanza.attrs['from'] === `${this.hall}/${nick}` && stanza.getChildText('body') === body, PATIENCE)
  }

  async sees (nick: string, type?: 'unavailable'): Promise<Stanza> {
    return await this.device.gets(`${nick} ${type ?? 'available'}`, stanza =>
      stanza.is('presence') && stanza.attrs['from'] === `${this.hall}/${nick}` && stanza.attrs['type'] === type, PATIENCE)
  }

  /**
   * Says something, and enters anew if the answer is that the guest is not in the room, as clients do: a message was
   * lost on its way, and the room has let the guest go. Returns true if the guest was in the room. Says it again if the
   * guest's own server does not try yet to reach the room.
   */
  async isIn (): Promise<boolean> {
    const end = performance.now() + PATIENCE
    let answer = await this.#asksIfIn()
    while (isUnreachable(answer) && performance.now() < end) {
      await rest(100)
      answer = await this.#asksIfIn()
    }
    if (answer.attrs['type'] !== 'error') return true
    if (!answer.toString().includes('not-acceptable')) throw new Error(`not the error of one who is not in the room: ${answer.toString()}`)
    await this.enters()
    return false
  }

  async #asksIfIn (): Promise<Stanza> {
    await this.says('Am I here?')
    return await this.device.gets('the message, or an error', stanza => stanza.is('message') && stanza.attrs['id'] === 'Am I here?', PATIENCE)
  }

  async leaves (): Promise<void> {
    await this.device.says(xml('presence', { to: `${this.hall}/${this.nick}`, type: 'unavailable' }))
    await this.sees(this.nick, 'unavailable')
  }
}

const isUnreachable = (answer: Stanza): boolean =>
  answer.attrs['type'] === 'error' && answer.toString().includes('<remote-server-')

const codesIn = (presence: Stanza): readonly string[] =>
  (presence.getChild('x', `${MUC}#user`)?.getChildren('status') ?? []).map(({ attrs }) => attrs['code'] ?? '')

async function guest (t: Test, server: Neighbour, name: string, hall: string, resource = 'orchard'): Promise<Guest> {
  const device = await Device.of(t, server, name, resource)
  device.xmpp.reconnect.stop()
  return new Guest(device, hall, name)
}

/** One says something, and all hear it. */
async function talk (speaker: Guest, body: string, ...all: readonly Guest[]): Promise<void> {
  await speaker.says(body)
  for (const one of all) await one.hears(speaker.nick, body)
}

// ---- The scenes --------------------------------------------------------------------------------------

/** Users of both servers meet in a room of `home`. */
async function meeting (t: Test, home: Neighbour, away: Neighbour, names: Names): Promise<Meeting> {
  const hall = `hall@rooms.${home.domain}`
  const host = await guest(t, home, names.host, hall)
  await host.makes()
  const one = await guest(t, away, names.one, hall)
  t.same(await one.enters(), [names.host], 'a user of the other server enters, and sees who is there')
  await host.sees(names.one)
  const two = await guest(t, away, names.two, hall)
  t.same(await two.enters(), [names.host, names.one].sort(), 'so does a second one')
  await host.sees(names.two)
  await one.sees(names.two)
  await talk(host, 'Good morrow', host, one, two)
  await talk(one, 'Is the day so young?', host, one, two)
  await two.leaves()
  await host.sees(names.two, 'unavailable')
  await one.sees(names.two, 'unavailable')
  t.pass('all talk, and all see one leave')
  return { t, hall, host, one, two }
}

interface Names { readonly host: string, readonly one: string, readonly two: string }
/** `t`: the test whose end is the end of the devices. */
interface Meeting {
  readonly t: Test
  readonly hall: string
  readonly host: Guest
  readonly one: Guest
  readonly two: Guest
}

/** The server of the visitors stops or is killed while one is in the room; another one returns first. */
async function visitorsFall (
  t: Test, away: Neighbour, { t: whole, host, one, two }: Meeting, goes: () => Promise<void>,
): Promise<Meeting> {
  await goes()
  one.device.cut()
  two.device.cut()
  await away.start()
  const back = await guest(whole, away, two.nick, host.hall, 'back')
  await back.enters()
  await host.sees(two.nick)
  await host.sees(one.nick, 'unavailable')
  t.pass('who is not back leaves the room')
  const again = await guest(whole, away, one.nick, host.hall, 'back')
  t.same(await again.enters(), [host.nick, back.nick].sort(), 'nobody is there twice, nobody is a ghost')
  await host.sees(one.nick)
  await talk(host, 'What news?', host, again, back)
  await talk(again, 'None', host, again, back)
  await back.leaves()
  await host.sees(back.nick, 'unavailable')
  await again.sees(back.nick, 'unavailable')
  return { t: whole, hall: host.hall, host, one: again, two: back }
}

/** The links are cut while somebody of the other server goes. */
async function linkFalls (t: Test, quarter: Quarter, { host, one, two }: Meeting): Promise<void> {
  await two.enters()
  await host.sees(two.nick)
  await quarter.cut()
  await one.device.leaves()
  await host.says('Is anybody there?')
  await host.hears(host.nick, 'Is anybody there?')
  await quarter.mend()
  await host.sees(one.nick, 'unavailable')
  t.pass('who went while the link was cut leaves the room when the link is there again')
  await two.isIn()
  await talk(host, 'Once more', host, two)
  await talk(two, 'So be it', host, two)
  t.pass('and the other one is in the room, or hears that a message was lost, and enters again')
}

/** Sestina, at which the room is, goes and comes back: a visitor is in the room all the time. */
async function hostFalls (
  t: Test, home: Neighbour, { t: whole, host, one, two }: Meeting, goes: () => Promise<void>,
): Promise<Meeting> {
  await goes()
  host.device.cut()
  await home.start()
  const back = await guest(whole, home, host.nick, host.hall, 'back')
  if (await two.isIn()) await two.sees(host.nick, 'unavailable')
  t.pass('a visitor is in the room after it, and learns that a user of that server is gone; or a message was lost, and the visitor enters again')
  t.same(await back.enters(), [two.nick], 'nobody else is in the room')
  await talk(back, 'Here I am', back, two)
  await talk(two, 'So am I', back, two)
  return { t: whole, hall: host.hall, host: back, one, two }
}
