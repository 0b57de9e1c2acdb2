/** An hour of a busy account, as its phone sees it: how many bytes it receives, and how often it is woken. */
import type { Client } from '../client.js'
import type { Outcome, QuietJob } from '../jobs.js'
import { Asked } from './acks.js'
import { arrive, gather, inParallel, leave, pause, settled } from './crowd.js'
import { Meter } from './meter.js'

/** Seconds to wait after each step for what the phone receives. */
const PACE = 0.01
/** How often to check whether the phone has received everything it must, 20 times a second. */
const MOST_TURNS = 400

/**
 * Plays the hour in some seconds, always in the same order: each step begins after the last one has arrived. Counts the
 * bytes that the phone receives, and the steps in which it receives any, because each would have woken it. At the end
 * the phone must have every message and the last presence of each contact: losing stanzas is no way to save bytes.
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
  await pause(0.5) // for the last presence of the logins
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
  // The phone becomes active, and receives what has waited.
  if (inactive) phone.send("<active xmlns='urn:xmpp:csi:0'/>")
  await allArrived(ear, [...due.values()])
  if (ear.step()) wakes++
  const outcome = meter.read(wakes, ear.bytes)
  await leave([desk, phone, ...friends])
  return outcome
}

/** Waits until the phone has everything it must have, and then until no more bytes arrive. */
async function allArrived (ear: Ear, signs: readonly string[]): Promise<void> {
  for (let turn = 0, before = -1; before !== ear.bytes; turn++) {
    const missing = signs.filter(sign => !ear.text.includes(sign))
    if (turn === MOST_TURNS) throw new Error(`the phone has not got ${missing.length} of ${signs.length}: ${missing.slice(0, 5).join(', ')}`)
    if (missing.length === 0) before = ear.bytes
    await pause(missing.length === 0 ? 0.3 : 0.05)
  }
}

/**
 * A stanza of the hour. `to` has received it when it sees `sign`. `keeps` says whether the phone must receive each such
 * stanza, or only the last one from this sender.
 */
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
 * Yields the steps of the hour. Each contact changes its presence every ten minutes. Every five minutes one of four
 * contacts writes to the account, whose user answers with the desktop client: a message each way, with chat states,
 * receipts and markers.
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

/** Returns the stanzas of one conversation, in order. */
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

/** The phone's socket: counts bytes, and acknowledges stanzas on request (XEP-0198). */
class Ear {
  bytes = 0
  /** Everything the phone has received. It is bounded by the hour. */
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

  /** True if anything has arrived since the last step. */
  step (): boolean {
    const before = this.#atLastStep
    this.#atLastStep = this.bytes
    return this.bytes > before
  }
}

const TAG = /<(\/?)(?:message|presence|iq)(?=[\s/>])[^>]*?(\/?)>/g

/** Counts the stanzas of a stream, except those within others. No attribute here holds a '>'. */
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
    // A tag may be split into two chunks.
    const last = all.lastIndexOf('<')
    this.#rest = last >= end && !all.includes('>', last) ? all.slice(last) : ''
  }
}
