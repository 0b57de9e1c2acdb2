/**
 * Kills a server while the occupants of a room talk, and reconciles what each of them heard with the room's archive:
 * `node dist/test/crash/rooms.js [KILLS] [OCCUPANTS]`.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Element } from '../../lib/xml/element.js'
import { freePorts } from '../interop/process.js'
import { Caller } from './caller.js'
import { only } from '../only.js'
import { DOMAIN, Line } from './line.js'
import { addUser, startServer } from './server.js'

const kills = Number(process.argv[2] ?? 300)
const count = Number(process.argv[3] ?? 50)
/** The number of devices of each account. */
const EACH = 10
const SERVICE = `rooms.${DOMAIN}`
const HALL = `hall@${SERVICE}`
const MUC = 'http://jabber.org/protocol/muc'
/** Only a hang lasts longer, in milliseconds. */
const PATIENCE = 120_000
/** How long the server lives after all have resumed, in milliseconds. */
const SHORTEST = 20
const LONGEST = 700
/** How many of the occupants say something at a time. */
const SHARE = 0.05

const folder = mkdtempSync(join(tmpdir(), 'sestina-crash-'))
const conf = join(folder, 'sestina.toml')
const [port = 0] = await freePorts(1)
writeFileSync(conf, `
data = "data"
[log]
level = "info"
[[listen]]
for = "clients"
port = ${port}
address = ["127.0.0.1"]
tls = "none"
rate = "10MiB/s"
[modules]
${only(`roster = true
presence = true
message = true
carbons = true
stream-management = true`)}[host.${DOMAIN}]
[host."${SERVICE}"]
service = "muc"
[host."${SERVICE}".modules]
muc = true
mam = true
disco = true
ping = true
`)

interface Guest { readonly caller: Caller, readonly nick: string }
const accounts = Array.from({ length: Math.ceil(count / EACH) }, (_, n) => `user${n}@${DOMAIN}`)
const guests: readonly Guest[] = Array.from({ length: count }, (_, n) => ({
  caller: new Caller(accounts[Math.floor(n / EACH)] ?? '', `device${n % EACH}`), nick: `guest${n}`,
}))
/** The first presence that nobody should have seen; '' if there was none. */
let wrong = ''
let messages = 0
let server = await startServer(conf, port)
/** The output of the previous server process. */
let before = ''

try {
  for (const account of accounts) await addUser(conf, account)
  for (const guest of guests) await enter(guest)
  for (let kill = 0; kill < kills; kill++) {
    const until = Date.now() + SHORTEST + Math.random() * (LONGEST - SHORTEST)
    while (Date.now() < until) {
      for (const { caller } of guests) if (caller.isFree && Math.random() < SHARE) caller.says(HALL, messages++, 'groupchat')
      await sleep(1 + Math.random() * 4)
    }
    server.signal('SIGKILL')
    await server.ended
    before = server.said
    for (const { caller } of guests) await caller.gone
    server = await startServer(conf, port)
    for (const guest of guests) await resume(guest)
    await check()
  }
  for (const { caller } of guests) await caller.settles()
  await reconcile()
  console.log(`${kills} kills, ${messages} messages, ${count} occupants: nothing lost, nothing twice, one order`)
} catch (error) {
  console.log(`failed after ${messages} messages: ${error instanceof Error ? error.stack : String(error)}\n${before.slice(-4000)}\n${server.said.slice(-4000)}`)
  process.exitCode = 1
} finally {
  for (const { caller } of guests) await caller.leaves()
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
}

async function enter ({ caller, nick }: Guest): Promise<void> {
  await caller.arrives(port)
  const isIn = new Promise<void>((resolve, reject) => {
    caller.sees = presence => {
      if (presence.attrs['from'] !== `${HALL}/${nick}`) return
      if (presence.attrs['type'] === undefined) resolve()
      else reject(new Error(`not let in: ${presence.toString()}`))
    }
  })
  caller.posts(`<presence to='${HALL}/${nick}'><x xmlns='${MUC}'/></presence>`)
  await isIn
  if (nick === guests[0]?.nick) {
    const fields = `<field var='FORM_TYPE'><value>${MUC}#roomconfig</value></field><field var='muc#roomconfig_persistentroom'><value>1</value></field>`
    caller.posts(`<iq type='set' id='make' to='${HALL}'><query xmlns='${MUC}#owner'><x xmlns='jabber:x:data' type='submit'>${fields}</x></query></iq>`)
  }
  await caller.settles()
  caller.sees = presence => {
    if (presence.attrs['type'] === 'unavailable' && String(presence.attrs['from']).startsWith(HALL)) wrong ||= presence.toString()
  }
}

async function resume ({ caller }: Guest): Promise<void> {
  const { chain } = caller
  await caller.arrives(port)
  if (caller.chain !== chain) throw new Error(`a session did not outlive the crash: ${caller.refused}`)
}

/** Right after a crash all are in the room, and nobody has seen anybody go. */
async function check (): Promise<void> {
  if (wrong !== '') throw new Error(`somebody was seen to go: ${wrong}`)
  const listed = await asked(`<iq type='get' id='q' to='${HALL}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
  const form = listed.at(-1)?.getChild('query')?.getChild('x')?.getChildren('field')
  const shown = form?.find(({ attrs }) => attrs['var'] === 'muc#roominfo_occupants')?.getChildText('value')
  if (shown !== String(count)) throw new Error(`${String(shown)} occupants are in the room, not ${count}`)
}

/** Compares what each occupant heard with the archive. */
async function reconcile (): Promise<void> {
  const archived = await archive()
  const end = Date.now() + PATIENCE
  for (const { caller, nick } of guests) {
    const heard = (): readonly number[] => caller.chain?.got ?? []
    while (heard().length < messages && Date.now() < end) await sleep(20)
    compare(`${nick} heard`, heard(), archived)
  }
  await sleep(500) // time for what should not come
  for (const { caller, nick } of guests) compare(`${nick} heard at last`, caller.chain?.got ?? [], archived)
  if (archived.length !== messages) throw new Error(`${archived.length} of ${messages} messages are in the archive`)
}

function compare (what: string, found: readonly number[], archived: readonly number[]): void {
  const seen = new Set<number>()
  const twice = found.filter(message => seen.size === seen.add(message).size)
  if (twice.length > 0) throw new Error(`${what} twice: ${twice.join(' ')}`)
  const at = archived.findIndex((message, place) => found[place] !== message)
  if (at >= 0 || found.length !== archived.length) {
    throw new Error(`${what} ${found.length} messages, and the archive has ${archived.length}: at ${at} there is ${String(found[at])} and not ${String(archived[at])}`)
  }
}

/** Returns the messages in the archive, in order. */
async function archive (): Promise<readonly number[]> {
  const found: number[] = []
  for (let after = ''; ;) {
    const set = `<set xmlns='http://jabber.org/protocol/rsm'><max>50</max>${after === '' ? '' : `<after>${after}</after>`}</set>`
    const answer = await asked(`<iq type='set' id='q' to='${HALL}'><query xmlns='urn:xmpp:mam:2'>${set}</query></iq>`)
    const results = answer.flatMap(element => element.getChild('result') ?? [])
    for (const result of results) {
      const body = result.getChild('forwarded')?.getChild('message')?.getChildText('body')
      if (typeof body === 'string') found.push(Number(body))
      after = String(result.attrs['id'])
    }
    if (results.length === 0) return found
  }
}

/** Asks with a device of its own. Returns all that came, up to the answer. */
async function asked (iq: string): Promise<readonly Element[]> {
  const line = await Line.login(port, accounts[0]?.split('@')[0] ?? '')
  line.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
  await line.next()
  line.send(iq)
  const came: Element[] = []
  for (;;) {
    const element = await line.next()
    came.push(element)
    if (element.name === 'iq' && element.attrs['id'] === 'q') break
  }
  line.cut()
  if (came.at(-1)?.attrs['type'] !== 'result') throw new Error(`refused: ${String(came.at(-1))}`)
  return came
}
