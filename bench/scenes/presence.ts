/** Users on a ring, each a friend of its neighbours: how they become friends, and how their presence is spread. */
import type { Client } from '../client.js'
import type { FriendsJob, Outcome, PresenceJob } from '../jobs.js'
import { gather, inParallel, leave, pause, settled } from './crowd.js'
import { Meter } from './meter.js'

/** Occurs once in each presence that is counted. */
const MARK = '~'
const SHOWS = ['away', 'dnd', 'xa', 'chat']

/** Makes friends through the protocol alone, and looks into every roster whether it came to be. */
export async function friends (job: FriendsJob): Promise<Outcome> {
  const clients = await gather(job.target, job.users)
  const meter = new Meter(job.pids)
  for (const type of ['subscribe', 'subscribed']) {
    await inParallel(clients.map((_, i) => i), 8, async i => {
      const to = neighbours(job, i).map(user => `<presence to='${user}@${job.target.domain}' type='${type}'/>`)
      clients[i]?.send(to.join(''))
      if (clients[i] !== undefined) await settled(clients[i], job.target.domain)
    })
    // Every request has to be there before it is granted: a grant without a request is dropped (RFC 6121 §3.1.6).
    await pause(1)
  }
  await inParallel(clients, 8, async client => { await becameFriends(client, job.contacts) })
  const outcome = meter.read(job.users.length * job.contacts)
  await leave(clients)
  return outcome
}

/** Deliveries of presence, counted where they arrive; the sender's own copy, where a server sends one, counts as well. */
export async function presence (job: PresenceJob): Promise<Outcome> {
  const clients = await gather(job.target, job.users)
  await inParallel(clients, 8, async client => { await settled(client, job.target.domain) })
  const spread = new Spread(clients)
  const fan = await spread.fan()
  if (fan < job.contacts || fan > job.contacts + 1) throw new Error(`a presence reached ${fan} sessions instead of ${job.contacts}`)
  spread.keep(job.window, fan)
  await pause(job.warmSeconds)
  const meter = new Meter(job.pids)
  const before = spread.arrived
  await pause(job.seconds)
  const outcome = meter.read(spread.arrived - before)
  spread.stop()
  await pause(0.5)
  await leave(clients)
  return outcome
}

/** Keeps a number of presence changes on the way, in turns over all users. */
class Spread {
  readonly #clients: readonly Client[]
  #window = 0
  #fan = 1
  #sent = 0
  /** Of the next presence: none says what another has said before, for a server need not spread that. */
  #number = 0
  arrived = 0

  constructor (clients: readonly Client[]) {
    this.#clients = clients
    for (const client of clients) {
      client.count(MARK.charCodeAt(0), times => {
        this.arrived += times
        this.#fill()
      })
    }
  }

  /** To how many sessions one presence goes: measured with one of each user. */
  async fan (): Promise<number> {
    await this.#quiet()
    this.arrived = 0
    this.#clients.forEach(() => { this.#next() })
    await this.#quiet()
    return this.arrived / this.#clients.length
  }

  keep (window: number, fan: number): void {
    this.#sent = 0
    this.arrived = 0
    this.#window = window
    this.#fan = fan
    this.#fill()
  }

  stop (): void {
    this.#window = 0
  }

  #fill (): void {
    while (this.#window > 0 && this.#sent - this.arrived / this.#fan < this.#window) this.#next()
  }

  #next (): void {
    const number = this.#number++
    this.#sent++
    const show = SHOWS[Math.floor(number / this.#clients.length) % SHOWS.length]
    this.#clients[number % this.#clients.length]?.send(`<presence><show>${show}</show><status>line ${number} ${MARK}</status></presence>`)
  }

  async #quiet (): Promise<void> {
    let before = -1
    for (let turns = 0; before !== this.arrived && turns < 40; turns++) {
      before = this.arrived
      await pause(0.4)
    }
  }
}

async function becameFriends (client: Client, contacts: number): Promise<void> {
  let found = 0
  for (let turn = 0; turn < 20; turn++) {
    client.send(`<iq type='get' id='look${turn}'><query xmlns='jabber:iq:roster'/></iq>`)
    const [roster] = await client.expect(new RegExp(`<iq [^>]*id=['"]look${turn}['"].*?</iq>`, 's'))
    found = roster.match(/subscription=['"]both['"]/g)?.length ?? 0
    if (found === contacts) return
    await pause(0.5)
  }
  throw new Error(`only ${found} of ${contacts} contacts became friends of ${client.jid}`)
}

function neighbours (job: FriendsJob, i: number): string[] {
  const steps = Array.from({ length: job.contacts / 2 }, (_, step) => step + 1)
  const at = (place: number): string => job.users[(place + job.users.length) % job.users.length] ?? ''
  return steps.flatMap(step => [at(i + step), at(i - step)])
}
