/**
 * One user publishes personal events (XEP-0163) for many contacts who want them: how they become contacts, and how the
 * notifications are delivered.
 */
import { createHash } from 'node:crypto'
import { Client } from '../client.js'
import type { FansJob, Outcome, PepJob } from '../jobs.js'
import { arrive, inParallel, leave, pause, settled } from './crowd.js'
import { Meter } from './meter.js'
import { becameFriends } from './presence.js'

/** A character that occurs once in each notification. */
const MARK = '~'
const NODE = 'http://jabber.org/protocol/tune'
/** How long all notifications of one publication may take at first, in seconds: servers still learn who wants them. */
const LEARNING = 60

/** Makes the star and each fan contacts of each other, through the protocol alone. */
export async function fans (job: FansJob): Promise<Outcome> {
  const { target, star, users } = job
  const meter = new Meter(job.pids)
  const { domain } = target
  const to = (user: string, type: string): string => `<presence to='${user}@${domain}' type='${type}'/>`
  const famous = await arrive(target, star)
  for (let first = 0; first < users.length; first += GROUP) {
    const group = users.slice(first, first + GROUP)
    const clients = await Promise.all(group.map(user => Client.login(target, user, 'bench')))
    const all = async (stanza: string): Promise<void> => {
      for (const client of clients) client.send(stanza)
      for (const client of clients) await settled(client, domain)
      await pause(SPREAD)
    }
    await all(to(star, 'subscribe'))
    famous.send(group.map(user => to(user, 'subscribed') + to(user, 'subscribe')).join(''))
    await settled(famous, domain)
    await pause(SPREAD)
    await all(to(star, 'subscribed'))
    await leave(clients)
  }
  await becameFriends(famous, users.length)
  const outcome = meter.read(users.length)
  await leave([famous])
  return outcome
}

/** The number of fans that become contacts together, and the seconds after which each request has arrived. */
const GROUP = 50
const SPREAD = 0.5

/** Measures notifications, counted at the recipients. */
export async function pep (job: PepJob): Promise<Outcome> {
  const { target, star, users } = job
  const [first = '', ...others] = users
  const audience = new Audience()
  const famous = await arrive(target, star)
  // The server asks the first fan for what its hash stands for, and then knows it of all others.
  const clients = [await audience.add(job, first)]
  await pause(1)
  await inParallel(others, 32, async user => { clients.push(await audience.add(job, user)) })
  const stage = new Stage(famous, audience, users.length)
  await stage.learn()
  stage.keep(job.window)
  await pause(job.warmSeconds)
  const meter = new Meter(job.pids)
  const before = audience.heard
  await pause(job.seconds)
  const outcome = meter.read(audience.heard - before)
  stage.stop()
  await pause(0.5)
  await leave([...clients, famous])
  return outcome
}

/** The features of a fan's client, and their hash (XEP-0115 §5). */
const FEATURES = ['http://jabber.org/protocol/disco#info', `${NODE}+notify`].sort()
const VER = createHash('sha1').update(['client/pc//Bench', ...FEATURES].map(one => `${one}<`).join('')).digest('base64')
const CAPS = `<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:bench' ver='${VER}'/>`
const INFO = "<identity category='client' type='pc' name='Bench'/>" + FEATURES.map(one => `<feature var='${one}'/>`).join('')
const QUERY = /<iq\b([^>]*)>\s*<query\b([^>]*)/g

/** The fans: each answers queries for its features, and its notifications are counted. */
class Audience {
  heard = 0
  more: () => void = () => {}

  async add ({ target }: PepJob, user: string): Promise<Client> {
    const client = await Client.login(target, user, 'bench')
    client.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
    await client.expect(/<iq [^>]*id=['"]roster['"][^>]*>/)
    client.listen(chunk => { this.#hear(client, chunk.toString('latin1')) })
    client.send(`<presence>${CAPS}</presence>`)
    return client
  }

  #hear (client: Client, text: string): void {
    const times = text.split(MARK).length - 1
    this.heard += times
    if (text.includes('disco#info')) {
      for (const [, iq = '', query = ''] of text.matchAll(QUERY)) answer(client, iq, query)
    }
    if (times > 0) this.more()
  }
}

function answer (client: Client, iq: string, query: string): void {
  const named = (name: string, attributes: string): string | undefined => new RegExp(`\\b${name}=['"]([^'"]*)['"]`).exec(attributes)?.[1]
  const [id, from, node] = [named('id', iq), named('from', iq), named('node', query)]
  if (named('type', iq) !== 'get' || id === undefined || from === undefined) return
  client.send(`<iq type='result' id='${id}' to='${from}'><query xmlns='http://jabber.org/protocol/disco#info'${
    node === undefined ? '' : ` node='${node}'`}>${INFO}</query></iq>`)
}

/** Publishes, and keeps a number of publications in flight. */
class Stage {
  readonly #star: Client
  readonly #audience: Audience
  readonly #size: number
  #sent = 0
  #window = 0

  constructor (star: Client, audience: Audience, size: number) {
    this.#star = star
    this.#audience = audience
    this.#size = size
    star.listen(() => {})
  }

  /** Publishes until one publication has reached every fan. Throws if that does not come true. */
  async learn (): Promise<void> {
    let reached = 0
    for (const end = performance.now() + LEARNING * 1000; performance.now() < end;) {
      await this.#quiet()
      this.#audience.heard = 0
      this.#publish()
      await this.#quiet()
      reached = this.#audience.heard
      // Prosody notifies one of them twice.
      if (reached === this.#size || reached === this.#size + 1) return
    }
    throw new Error(`a publication reached ${reached} fans instead of ${this.#size}`)
  }

  keep (window: number): void {
    this.#sent = 0
    this.#audience.heard = 0
    this.#window = window
    this.#audience.more = () => { this.#fill() }
    this.#fill()
  }

  stop (): void { this.#window = 0 }

  #fill (): void {
    while (this.#window > 0 && this.#sent - this.#audience.heard / this.#size < this.#window) this.#publish()
  }

  #publish (): void {
    const number = ++this.#sent
    this.#star.send(`<iq type='set' id='p${number}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='${NODE}'>` +
      `<item id='current'><tune xmlns='${NODE}'><title>song ${number} ${MARK}</title></tune></item></publish></pubsub></iq>`)
  }

  async #quiet (): Promise<void> {
    for (let before = -1; before !== this.#audience.heard;) {
      before = this.#audience.heard
      await pause(0.7)
    }
  }
}
