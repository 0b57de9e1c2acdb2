/** Pairs of users who send each other chat messages as fast as the server accepts them. */
import { occurrences, type Client } from '../client.js'
import type { MessagesJob, Outcome } from '../jobs.js'
import { Acks } from './acks.js'
import { gather, inParallel, leave, pause, settled } from './crowd.js'
import { Meter } from './meter.js'

/** A byte that occurs once in each message and nowhere else. */
const MARK = '~'.charCodeAt(0)
/** The number of different messages of a user, which are sent in turn. */
const RING = 64
/** How often to check whether all messages have arrived, 20 times a second. */
const MOST_TURNS = 400

/** Measures routed messages, counted at the recipients. */
export async function messages (job: MessagesJob): Promise<Outcome> {
  const clients = await cast(job)
  await inParallel(clients, 8, async client => {
    client.send("<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    await settled(client, domainOf(client))
  })
  const [one, other] = clients
  if (job.elsewhere !== undefined && one !== undefined && other !== undefined) await acquaint(one, other)
  if (job.managed) await inParallel(clients, 8, async client => { await client.enable() })
  const tally: Tally = { written: 0, arrived: 0, open: true }
  const accounts = job.managed ? new Map(clients.map(client => [client, new Acks(client)] as const)) : undefined
  const pens = clients.flatMap((client, i) => {
    const partner = clients[i ^ 1]
    return partner === undefined ? [] : [new Pen(client, partner, tally, accounts?.get(client), accounts?.get(partner))]
  })
  for (const pen of pens) pen.write(job.outstanding)
  await pause(job.warmSeconds)
  const meter = new Meter(job.pids)
  const before = tally.arrived
  await pause(job.seconds)
  const outcome = meter.read(tally.arrived - before)
  tally.open = false
  await allArrived(tally)
  await leave(clients)
  return outcome
}

interface Tally { written: number, arrived: number, open: boolean }

/** Waits for messages in flight: after their recipients are gone, they would be stored and disturb the next round. */
async function allArrived (tally: Tally): Promise<void> {
  for (let turn = 0; tally.arrived < tally.written; turn++) {
    if (turn === MOST_TURNS) throw new Error(`of ${tally.written} messages only ${tally.arrived} arrived`)
    await pause(0.05)
  }
}

/** Logs in the users, pair by pair. With a server elsewhere, the second user of each pair is there. */
async function cast ({ target, elsewhere = target, users }: MessagesJob): Promise<Client[]> {
  const near = await gather(target, users.filter((_, i) => i % 2 === 0))
  const far = await gather(elsewhere, users.filter((_, i) => i % 2 === 1))
  return near.flatMap((client, i) => [client, ...far.slice(i, i + 1)])
}

/** Sends a message each way first, because connecting the servers is not measured. */
async function acquaint (one: Client, other: Client): Promise<void> {
  for (const [from, to] of [[one, other], [other, one]] as const) {
    from.send(`<message to='${bareOf(to)}' type='chat'><body>Good morrow</body></message>`)
    await to.expect(/Good morrow/)
  }
}

function bareOf ({ jid }: Client): string {
  return jid.split('/')[0] ?? jid
}

function domainOf (client: Client): string {
  return bareOf(client).split('@')[1] ?? ''
}

/** One direction of a pair: for each message that arrives, the next one is written. */
class Pen {
  readonly #from: Client
  readonly #ring: Buffer
  readonly #length: number
  readonly #tally: Tally
  readonly #acks: Acks | undefined
  #at = 0

  /** `acks` and `acksOfOther` are given if the streams have stream management. */
  constructor (from: Client, to: Client, tally: Tally, acks?: Acks, acksOfOther?: Acks) {
    this.#from = from
    this.#tally = tally
    this.#acks = acks
    const texts = Array.from({ length: RING }, (_, i) => chat(bareOf(to), i))
    this.#ring = Buffer.from(texts.join(''))
    this.#length = this.#ring.length / RING
    to.listen(chunk => {
      const times = occurrences(chunk, MARK)
      tally.arrived += times
      acksOfOther?.received(times, chunk)
      if (tally.open && times > 0) this.write(times)
    })
  }

  write (times: number): void {
    this.#tally.written += times
    for (let left = times; left > 0;) {
      const next = Math.min(left, RING - this.#at)
      this.#from.send(this.#ring.subarray(this.#at * this.#length, (this.#at + next) * this.#length))
      this.#at = (this.#at + next) % RING
      left -= next
    }
    this.#acks?.sent(times)
  }
}

/**
 * Makes a message of about 400 bytes, like those of a modern client. Numbers have two digits, so all are equally long.
 */
function chat (to: string, number: number): string {
  const id = `5e571a-0c0ffee-4b1d-9e0f-${10 + number}`
  return `<message to='${to}' type='chat' id='${id}'><body>A line of the ${10 + number}th sestina, neither long nor short ~</body>` +
    "<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>" +
    `<markable xmlns='urn:xmpp:chat-markers:0'/><origin-id xmlns='urn:xmpp:sid:0' id='${id}'/></message>`
}
