/** Pairs of users who send each other chat messages as fast as the server takes them. */
import type { Client } from '../client.js'
import type { MessagesJob, Outcome } from '../jobs.js'
import { gather, inParallel, leave, pause, settled } from './crowd.js'
import { Meter } from './meter.js'

/** Occurs once in each message and nowhere else. */
const MARK = '~'
/** So many different messages a user has, one after the other. */
const RING = 64

/** Routed messages, counted where they arrive. */
export async function messages (job: MessagesJob): Promise<Outcome> {
  const clients = await gather(job.target, job.users)
  await inParallel(clients, 8, async client => {
    client.send("<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    await settled(client, job.target.domain)
  })
  const tally = { arrived: 0, open: true }
  const pens = clients.flatMap((client, i) => {
    const partner = clients[i ^ 1]
    return partner === undefined ? [] : [new Pen(client, partner, tally)]
  })
  for (const pen of pens) pen.write(job.outstanding)
  await pause(job.warmSeconds)
  const meter = new Meter(job.pid)
  const before = tally.arrived
  await pause(job.seconds)
  const outcome = meter.read(tally.arrived - before)
  tally.open = false
  await pause(0.2)
  await leave(clients)
  return outcome
}

/** One direction of a pair: for each message that arrives, the next is written. */
class Pen {
  readonly #from: Client
  readonly #ring: Buffer
  readonly #length: number
  #at = 0

  constructor (from: Client, to: Client, tally: { arrived: number, readonly open: boolean }) {
    this.#from = from
    const bare = to.jid.split('/')[0] ?? to.jid
    const texts = Array.from({ length: RING }, (_, i) => chat(bare, i))
    this.#ring = Buffer.from(texts.join(''))
    this.#length = this.#ring.length / RING
    to.count(MARK.charCodeAt(0), times => {
      tally.arrived += times
      if (tally.open) this.write(times)
    })
  }

  write (times: number): void {
    for (let left = times; left > 0;) {
      const next = Math.min(left, RING - this.#at)
      this.#from.send(this.#ring.subarray(this.#at * this.#length, (this.#at + next) * this.#length))
      this.#at = (this.#at + next) % RING
      left -= next
    }
  }
}

/** About 400 octets, as a client of today writes it; every number of two digits, so that all are of one length. */
function chat (to: string, number: number): string {
  const id = `5e571a-0c0ffee-4b1d-9e0f-${10 + number}`
  return `<message to='${to}' type='chat' id='${id}'><body>A line of the ${10 + number}th sestina, neither long nor short ${MARK}</body>` +
    "<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>" +
    `<markable xmlns='urn:xmpp:chat-markers:0'/><origin-id xmlns='urn:xmpp:sid:0' id='${id}'/></message>`
}
