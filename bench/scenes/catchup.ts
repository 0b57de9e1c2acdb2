/** A device that was offline reads what it has missed from the archive, page by page (XEP-0313). */
import type { Client } from '../client.js'
import type { CatchupJob, Outcome } from '../jobs.js'
import { gather, leave, pause, settled } from './crowd.js'
import { Meter } from './meter.js'

/** The most messages of a page in the default settings of all the servers. */
const PAGE = 50
/** The number of messages that are written before waiting for the server, because an archive may be slow to fill. */
const BURST = 250

/** Measures messages read from the archive. Filling the archive first is not measured. */
export async function catchup (job: CatchupJob): Promise<Outcome> {
  const clients = await gather(job.target, job.users)
  const [writer, reader] = clients
  if (writer === undefined || reader === undefined) throw new Error('two users are needed')
  const to = reader.jid.split('/')[0] ?? ''
  const from = writer.jid.split('/')[0] ?? ''
  for (let n = 0; n < job.messages; n++) {
    writer.send(chat(to, n))
    if (n % BURST === BURST - 1) await settled(writer, job.target.domain)
  }
  await settled(writer, job.target.domain)
  await reader.expect(new RegExp(`Line ${job.messages - 1} of`))
  await pause(job.settleSeconds)
  await read(job, reader, from, job.passes / 4) // not measured: the first readings cost more
  const meter = new Meter(job.pids)
  const outcome = meter.read(await read(job, reader, from, job.passes))
  await leave(clients)
  return outcome
}

/** Reads all messages again and again; returns the number of messages that were read. */
async function read (job: CatchupJob, reader: Client, from: string, passes: number): Promise<number> {
  const end = performance.now() + job.seconds * 1000
  let count = 0
  for (let pass = 0; pass < passes && (pass === 0 || performance.now() < end); pass++) {
    count += await pages(reader, from, job.messages)
  }
  return count
}

/** Reads pages forward until it has that many messages; returns the number of messages. */
async function pages (reader: Client, from: string, messages: number): Promise<number> {
  let count = 0
  for (let after = ''; count < messages;) {
    reader.send(`<iq type='set' id='page'><query xmlns='urn:xmpp:mam:2'>${form(from)}` +
      `<set xmlns='http://jabber.org/protocol/rsm'><max>${PAGE}</max>${after}</set></query></iq>`)
    const [, results = '', end = ''] = await reader.expect(/([^]*?)(<fin [^]*?<\/iq>|<iq [^>]*type=['"]error['"][^]*?<\/iq>)/)
    const last = /<last>([^<]+)<\/last>/.exec(end)?.[1]
    if (last === undefined) throw new Error(`no page: ${end.slice(0, 400)}`)
    count += results.split('<result ').length - 1
    after = `<after>${last}</after>`
  }
  return count
}

function form (other: string): string {
  return "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>" +
    `<field var='with'><value>${other}</value></field></x>`
}

/** Makes a message as long as those of the scene `messages`. */
function chat (to: string, number: number): string {
  const id = `5e571a-0c0ffee-4b1d-9e0f-${number}`
  return `<message to='${to}' type='chat' id='${id}'><body>Line ${number} of a long sestina, neither long nor short by itself</body>` +
    "<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>" +
    `<markable xmlns='urn:xmpp:chat-markers:0'/><origin-id xmlns='urn:xmpp:sid:0' id='${id}'/></message>`
}
