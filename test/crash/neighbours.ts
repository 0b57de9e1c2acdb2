/**
 * Kills a server whose users talk with those of another one, and reconciles what both sides saw: `node
 * dist/test/crash/neighbours.js [KILLS]`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePorts } from '../interop/process.js'
import { Caller } from './caller.js'
import { only } from '../only.js'
import { addUser, startServer } from './server.js'

const kills = Number(process.argv[2] ?? 100)
/** How long the server lives, in milliseconds: sessions that are a second old outlive it. */
const SHORTEST = 1100
const LONGEST = 2000
/** The texts of errors for messages that may have arrived. */
const UNSURE = [
  'the connection was lost before the other server acknowledged it', 'this server failed before the other server acknowledged it',
]
/** How long a cut stream can be resumed, in milliseconds; after that its stanzas come back. */
const PATIENCE = 120_000

const folder = mkdtempSync(join(tmpdir(), 'sestina-crash-'))
const [ours = 0, oursForServers = 0, theirs = 0, theirsForServers = 0] = await freePorts(4)
const here = { domain: 'montague.test', port: ours, servers: oursForServers }
const there = { domain: 'capulet.test', port: theirs, servers: theirsForServers }

interface Place { readonly domain: string, readonly port: number, readonly servers: number }
interface Sent { readonly to: string, readonly by: Caller, isSure: boolean }

const sent: Sent[] = []
const returned = new Map<number, string>()
const victims = [new Caller('romeo@montague.test', 'one'), new Caller('romeo@montague.test', 'two')]
const neighbours = [new Caller('juliet@capulet.test', 'one'), new Caller('juliet@capulet.test', 'two')]
const callers = [...victims, ...neighbours]
const [conf, other] = [confOf(here, there), confOf(there, here)]
let server = await startServer(conf, here.port)
const neighbour = await startServer(other, there.port)
let before = ''

try {
  await addUser(conf, 'romeo@montague.test')
  await addUser(other, 'juliet@capulet.test')
  for (const caller of callers) {
    caller.failed = (message, why) => {
      if (returned.has(message)) throw new Error(`message ${message} came back twice`)
      returned.set(message, why)
    }
    await caller.arrives(portOf(caller))
  }
  for (let kill = 0; kill < kills; kill++) {
    const until = Date.now() + SHORTEST + Math.random() * (LONGEST - SHORTEST)
    while (Date.now() < until) {
      for (const caller of callers) for (let n = 0; n < 2 && caller.isFree; n++) say(caller)
      await sleep(1 + Math.random() * 4)
    }
    server.signal('SIGKILL')
    await server.ended
    before = server.said
    for (const caller of victims) await caller.gone
    server = await startServer(conf, here.port)
    for (const caller of victims) await arrive(caller)
  }
  for (const caller of callers) await caller.settles()
  const end = Date.now() + PATIENCE
  while (missing().length > 0 && Date.now() < end) await sleep(200)
  await sleep(1000) // time for what should not come
  check()
  console.log(`${kills} kills, ${sent.length} messages, ${returned.size} came back, ${both().length} of them had arrived: nothing lost, nothing twice`)
} catch (error) {
  console.log(`failed after ${sent.length} messages: ${error instanceof Error ? error.stack : String(error)}`)
  for (const said of [before, server.said, neighbour.said]) console.log(`----\n${said.slice(-4000)}`)
  process.exitCode = 1
} finally {
  for (const caller of callers) await caller.leaves()
  await server.stop()
  await neighbour.stop()
  rmSync(folder, { recursive: true, force: true })
}

function confOf (own: Place, others: Place): string {
  const file = join(folder, own.domain, 'sestina.toml')
  mkdirSync(join(folder, own.domain))
  writeFileSync(file, `
data = "data"
[log]
level = "info"
[[listen]]
for = "clients"
port = ${own.port}
address = ["127.0.0.1"]
tls = "none"
rate = "10MiB/s"
[[listen]]
for = "servers"
port = ${own.servers}
address = ["127.0.0.1"]
[federation]
trust = "dialback"
queue = { timeout = "1m" }
[federation.domain."${others.domain}"]
host = "127.0.0.1"
port = ${others.servers}
[modules]
${only(`roster = true
presence = true
message = true
carbons = true
offline = { keep = 100000 }
stream-management = true`)}[host."${own.domain}"]
`)
  return file
}

function portOf (caller: Caller): number { return victims.includes(caller) ? here.port : there.port }

async function arrive (caller: Caller): Promise<void> {
  const former = caller.chain
  for (const message of await caller.arrives(portOf(caller))) (sent[message] as Sent).isSure = false
  if (caller.chain !== former) throw new Error(`a session did not outlive the crash: ${caller.refused}`)
}

function say (caller: Caller): void {
  const to = victims.includes(caller) ? 'juliet@capulet.test' : 'romeo@montague.test'
  const message = sent.length
  sent.push({ to, by: caller, isSure: true })
  caller.says(to, message)
}

function arrived (message: number): boolean {
  const { to } = sent[message] ?? {}
  return callers.some(({ account, chains }) => account === to && chains.some(({ got }) => got.includes(message)))
}

/** Returns the messages that neither arrived nor came back. */
function missing (): readonly number[] {
  return sent.flatMap(({ isSure }, message) => isSure && !returned.has(message) && !arrived(message) ? [message] : [])
}

function both (): readonly number[] { return [...returned.keys()].filter(arrived) }

function check (): void {
  const lost = missing()
  if (lost.length > 0) throw new Error(`lost: ${lost.join(' ')}`)
  for (const { got } of callers.flatMap(({ chains }) => chains)) {
    if (new Set(got).size !== got.length) throw new Error(`twice: ${got.filter((message, at) => got.indexOf(message) !== at).join(' ')}`)
    for (const caller of callers) {
      const from = got.filter(message => sent[message]?.by === caller)
      if (from.some((message, at) => at > 0 && message < (from[at - 1] ?? 0))) throw new Error(`not in order: ${from.join(' ')}`)
    }
  }
  const wrong = both().filter(message => !UNSURE.includes(returned.get(message) ?? ''))
  if (wrong.length > 0) throw new Error(`came back although they had arrived: ${wrong.map(message => `${message} ${returned.get(message) ?? ''}`).join(', ')}`)
}
