/** An hour in the life of a busy account, as its phone sees it: how much comes to it, and how often it is woken. */
import type { Client } from '../client.js'
import type { Outcome, QuietJob } from '../jobs.js'
import { Asked } from './acks.js'
import { arrive, gather, inParallel, leave, pause, settled } from './crowd.js'
import { Meter } from './meter.js'

/** Seconds after each step in which the phone may get its share. */
const PACE = 0.01
/** How often it is looked, twenty times a second, whether the phone has all that it must have in the end. */
const MOST_TURNS = 400

/**
 * Every step is taken when the one before has arrived: an hour passes in some seconds, in the same order each time. The phone counts the
 * bytes that come, and the steps in which any do: each would have woken it. In the end it must have every message, and of each contact
 * the last presence: bytes are not saved by losing them.
 */
export async function quiet (job: QuietJob): Promise<Outcome> {
  const { target, contacts, inactive } = job
  const [owner = '', ...others] = job.users
  const around = [...others.slice(0, contacts / 2), ...others.slice(-contacts / 2)]
  const friends = await gather(target, around)
  const desk = await arrive(target, owner, 'desk')
  const phone = await arrive(target, owner, 'phone')
  for (const client of [desk, phone]) client.send("<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
  await inParallel([desk, phone, ...friends], 8, async client => { await settled(client, target.domain) })
  await pause(0.5) // the last presence of the beginning
  await settled(phone, target.domain)
  await phone.enable()
  const ear = new Ear(phone)
  if (inactive) phone.send("<inactive xmlns='urn:xmpp:csi:0'/>")
  await pause(0.2)
  const meter = new Meter(job.pids)
  ear.begin()
  const due = new Map<Client | Step, string>()
  let wakes = 0
  for (const step of hour(desk, friends)) {
    if (step.keeps !== undefined) due.set(step.keeps === 'last' ? step.from : step, step.sign)
    step.from.send(step.text)
    await step.to.expect(new RegExp(step.sign.replace('.', '\\.')))
    await pause(PACE)
    if (ear.step()) wakes++
  }
  // It is taken out of the pocket: what has waited comes now.
  if (inactive) phone.send("<active xmlns='urn:xmpp:csi:0'/>")
  await allArrived(ear, [...due.values()])
  if (ear.step()) wakes++
  const outcome = meter.read(wakes, ear.bytes)
  await leave([desk, phone, ...friends])
  return outcome
}

/** What the phone must have, it has; and then all that comes behind it. */
async function allArrived (ear: Ear, signs: readonly string[]): Promise<void> {
  for (let turn = 0, before = -1; before !== ear.bytes; turn++) {
    const missing = signs.filter(sign => !ear.text.includes(sign))
    if (turn === MOST_TURNS) throw new Error(`the phone has not got ${missing.length} of ${signs.length}: ${missing.slice(0, 5).join(', ')}`)
    if (missing.length === 0) before = ear.bytes
    await pause(missing.length === 0 ? 0.3 : 0.05)
  }
}

/** A stanza, where it is seen to have arrived by what sign, and whether the phone must have it, or the last of its kind from there. */
interface Step {
  readonly from: Client
  readonly to: Client
  readonly text: string
  readonly sign: string
  readonly keeps?: 'each' | 'last'
}

const TALKS = 12
const CHANGES = 6
const STATES = 'http://jabber.org/protocol/chatstates'
const SHOWS = ['<show>away</show>', '', '<show>xa</show>', '<show>dnd</show>']

/**
 * Each contact changes its presence every ten minutes. Every five minutes one of four writes to the account, whose user answers at the
 * desk: a message each way, and what clients say around them: that somebody writes or pauses, and that it has come and was read.
 */
function * hour (desk: Client, friends: readonly Client[]): Generator<Step> {
  let number = 0
  const talks = TALKS / CHANGES
  for (let turn = 0; turn < CHANGES; turn++) {
    for (const [i, friend] of friends.entries()) {
      const n = number++
      const text = `<presence>${SHOWS[(turn + i) % SHOWS.length] ?? ''}<status>step ${n}.</status><priority>5</priority>` +
        "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://bench.test' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>"
      yield { from: friend, to: desk, text, sign: `step ${n}.`, keeps: 'last' }
      if ((i + 1) % Math.ceil(friends.length / talks) !== 0) continue
      const talker = friends[(turn * talks + i) % 4]
      if (talker === undefined) continue
      for (const [from, to, content] of talk(talker, desk)) {
        const id = `step-${number++}.`
        const text = `<message to='${bareOf(to)}' type='chat' id='${id}'>${content}</message>`
        yield { from, to, text, sign: id, ...content.startsWith('<body>') ? { keeps: 'each' } : {} }
      }
    }
  }
}

/** In the order in which it is said. */
function talk (friend: Client, desk: Client): (readonly [Client, Client, string])[] {
  const state = (name: string): string => `<${name} xmlns='${STATES}'/>`
  const store = "<no-store xmlns='urn:xmpp:hints'/>"
  const receipt = `<received xmlns='urn:xmpp:receipts' id='5e571a'/><store xmlns='urn:xmpp:hints'/>`
  const read = `<displayed xmlns='urn:xmpp:chat-markers:0' id='5e571a'/><store xmlns='urn:xmpp:hints'/>`
  const said = '<body>Neither a long line nor a short one, of those that people write all day</body>' +
    `${state('active')}<request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>`
  const asks = [`${state('composing')}${store}`, `${state('paused')}${store}`, `${state('composing')}${store}`, said]
  const answers = [receipt, read, `${state('composing')}${store}`, said]
  return [
    ...asks.map(content => [friend, desk, content] as const),
    ...answers.map(content => [desk, friend, content] as const),
    ...[receipt, read, `${state('gone')}${store}`].map(content => [friend, desk, content] as const),
  ]
}

function bareOf ({ jid }: Client): string {
  return jid.split('/')[0] ?? jid
}

/** The phone's socket: counts, and acknowledges stanzas when it is asked (XEP-0198). */
class Ear {
  bytes = 0
  /** All of it: no more than an hour. */
  text = ''
  #atLastStep = 0

  constructor (phone: Client) {
    const stanzas = new Stanzas()
    const asked = new Asked()
    phone.listen(chunk => {
      const text = chunk.toString('latin1')
      this.bytes += chunk.length
      this.text += text
      stanzas.read(text)
      if (asked.hears(chunk)) phone.send(`<a xmlns='urn:xmpp:sm:3' h='${stanzas.count}'/>`)
    })
  }

  begin (): void {
    this.bytes = 0
    this.#atLastStep = 0
  }

  /** Whether something has come since the last. */
  step (): boolean {
    const before = this.#atLastStep
    this.#atLastStep = this.bytes
    return this.bytes > before
  }
}

const TAG = /<(\/?)(?:message|presence|iq)(?=[\s/>])[^>]*?(\/?)>/g

/** Counts stanzas in a stream, those within others left out. No attribute here holds a '>'. */
class Stanzas {
  count = 0
  #depth = 0
  #rest = ''

  read (text: string): void {
    const all = this.#rest + text
    let end = 0
    for (const match of all.matchAll(TAG)) {
      const [tag, closes, isEmpty] = match
      end = match.index + tag.length
      if (closes === '' && isEmpty === '') this.#depth++
      else if (closes !== '') this.#depth--
      if (this.#depth === 0) this.count++
    }
    // A tag may be cut in two.
    const last = all.lastIndexOf('<')
    this.#rest = last >= end && !all.includes('>', last) ? all.slice(last) : ''
  }
}
