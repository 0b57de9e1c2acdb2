/**
 * Users in a ring, each with its neighbours as contacts: how they subscribe to each other, and how presence is
 * delivered.
 */
import type { Client } from '../client.js'
import type { FriendsJob, Outcome, PresenceJob } from '../jobs.js'
import { gather, inParallel, leave, pause, settled } from './crowd.js'
import { Meter } from './meter.js'

/** A character that occurs once in each presence that is counted. */
const MARK = '~'
const SHOWS = ['away', 'dnd', 'xa', 'chat']

/** Subscribes the users to each other through the protocol alone, and checks every roster afterwards. */
export async function friends (job: FriendsJob): Promise<Outcome> {
  const clients = await gather(job.target, job.users)
  const meter = new Meter(job.pids)
  for (const type of ['subscribe', 'subscribed']) {
    await inParallel(clients.map((_, i) => i), 8, async i => {
      const to = neighbours(job, i).map(user => `<presence to='${user}@${job.target.domain}' type='${type}'/>`)
      clients[i]?.send(to.join(''))
      if (clients[i] !== undefined) await settled(clients[i], job.target.domain)
    })
    // Every request must arrive before it is approved: an approval without a request is dropped (RFC 6121 §3.1.6).
    await pause(1)
  }
  await inParallel(clients, 8, async client => { await becameFriends(client, job.contacts) })
  const outcome = meter.read(job.users.length * job.contacts)
  await leave(clients)
  return outcome
}

/** Measures deliveries of presence, counted at the recipients. The sender's own copy counts, if a server sends one. */
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

/** Keeps a number of presence changes in flight, from all users in turn. */
class Spread {
  readonly #clients: readonly Client[]
  #window = 0
  #fan = 1
  #sent = 0
  /**
   * The number of the next presence. It makes each presence different, because a server need not deliver a repeated
   * one.
   */
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

  /** Returns the number of sessions that one presence reaches, measured with one presence of each user. */
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

/** Waits until a user has this number of contacts, each in both directions. */
export async function becameFriends (client: Client, contacts: number): Promise<void> {
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
