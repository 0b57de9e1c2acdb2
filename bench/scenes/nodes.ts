/** A node of a publish-subscribe service (XEP-0060): users publish items, or read the newest ones. */
import type { Client } from '../client.js'
import type { NodesJob, Outcome } from '../jobs.js'
import { arrive, leave, pause } from './crowd.js'
import { Meter } from './meter.js'

/** A character that occurs once in each reply. */
const MARK = '~'
const PUBSUB = 'http://jabber.org/protocol/pubsub'
const NODE = 'bench'
/** The items that the node holds, and those of one reply. */
const ITEMS = 100
const READ = 20
/** A text as long as a short entry of a feed. */
const TEXT = 'But, soft! what light through yonder window breaks? It is the east, and Juliet is the sun. '.repeat(3)

/** Measures publications, or retrievals of 20 items, by one user with some requests in flight. */
export async function nodes (job: NodesJob): Promise<Outcome> {
  const { target, users: [user = ''], service } = job
  const client = await arrive(target, user)
  await make(client, service)
  const flow = new Flow(client, number => job.kind === 'publish' ? publication(service, `p${MARK}${number}`, number) : retrieval(service, `r${MARK}${number}`))
  flow.keep(job.window)
  await pause(job.warmSeconds)
  const meter = new Meter(job.pids)
  const before = flow.done
  await pause(job.seconds)
  const outcome = meter.read(flow.done - before)
  flow.stop()
  await pause(0.5)
  await leave([client])
  return outcome
}

/** Makes the node and fills it. Throws if the server refuses. */
async function make (client: Client, service: string): Promise<void> {
  const field = (name: string, value: string): string => `<field var='pubsub#${name}'><value>${value}</value></field>`
  const config = `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>${PUBSUB}#node_config</value></field>${
    field('persist_items', '1')}${field('max_items', String(ITEMS))}${field('access_model', 'open')}</x>`
  client.send(`<iq type='set' id='make' to='${service}'><pubsub xmlns='${PUBSUB}'><create node='${NODE}'/><configure>${config}</configure></pubsub></iq>`)
  const [made] = await client.expect(/<iq [^>]*id=['"]make['"].*?(\/>|<\/iq>)/s)
  // The node is there if an earlier scene of this run has made it.
  if (made.includes('<error') && !made.includes('<conflict')) throw new Error(`the node was not made: ${made}`)
  for (let number = 0; number < ITEMS; number++) {
    client.send(publication(service, `fill${number}`, number))
    const [reply] = await client.expect(new RegExp(`<iq [^>]*id=['"]fill${number}['"][^>]*>`))
    if (reply.includes('error')) throw new Error(`not published: ${reply}`)
  }
  client.send(retrieval(service, 'look'))
  const [found] = await client.expect(/<iq [^>]*id=['"]look['"].*?<\/iq>/s)
  const count = found.match(/<item /g)?.length ?? 0
  if (count !== READ) throw new Error(`${count} items were read instead of ${READ}`)
}

function publication (service: string, id: string, number: number): string {
  return `<iq type='set' id='${id}' to='${service}'><pubsub xmlns='${PUBSUB}'><publish node='${NODE}'><item id='i${number % ITEMS}'>` +
    `<entry xmlns='http://www.w3.org/2005/Atom'><title>${number}</title><content>${TEXT}</content></entry></item></publish></pubsub></iq>`
}

function retrieval (service: string, id: string): string {
  return `<iq type='get' id='${id}' to='${service}'><pubsub xmlns='${PUBSUB}'><items node='${NODE}' max_items='${READ}'/></pubsub></iq>`
}

/** Keeps a number of requests in flight. */
class Flow {
  readonly #client: Client
  readonly #request: (number: number) => string
  #window = 0
  #sent = 0
  done = 0

  constructor (client: Client, request: (number: number) => string) {
    this.#client = client
    this.#request = request
    client.count(MARK.charCodeAt(0), times => {
      this.done += times
      this.#fill()
    })
  }

  keep (window: number): void {
    this.#window = window
    this.#fill()
  }

  stop (): void { this.#window = 0 }

  #fill (): void {
    while (this.#sent - this.done < this.#window) this.#client.send(this.#request(this.#sent++))
  }
}
