/**
 * Kills a server under load, and reconciles what clients saw acknowledged with what was delivered: `npm run test:crash
 * [KILLS] [stops]`. With `stops`, every other kill is an orderly stop (SIGTERM) instead.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePorts } from '../interop/process.js'
import { Caller, type Chain } from './caller.js'
import { only } from '../only.js'
import { DOMAIN } from './line.js'
import { addUser, startServer } from './server.js'

const kills = Number(process.argv[2] ?? 300)
const mode = process.argv[3]
if (mode !== undefined && mode !== 'stops') throw new Error(`there is no mode '${mode}'`)
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
offline = { keep = 100000 }
stream-management = true`)}[host.${DOMAIN}]
`)

/** Only a hang lasts longer, in milliseconds. */
const PATIENCE = 120_000
/** How long the server lives, in milliseconds. */
const SHORTEST = 20
const LONGEST = 700

interface Sent { readonly by: Caller, readonly to: string, readonly audience: readonly Chain[], isSure: boolean }
const sent: Sent[] = []
const callers = [new Caller(`romeo@${DOMAIN}`, 'one'), new Caller(`romeo@${DOMAIN}`, 'two'), new Caller(`juliet@${DOMAIN}`, 'one'), new Caller(`juliet@${DOMAIN}`, 'two')]
let server = await startServer(conf, port)
/** The output of the previous server process. */
let before = ''
let resumed = 0
let anew = 0

try {
  for (const user of ['romeo', 'juliet']) await addUser(conf, `${user}@${DOMAIN}`)
  for (const caller of callers) await arrive(caller, 0)
  for (const caller of callers) await caller.settles()
  for (let kill = 0; kill < kills; kill++) {
    const until = Date.now() + SHORTEST + Math.random() * (LONGEST - SHORTEST)
    // Half of the times one connection is cut as well, or replaced while it lives.
    const unlucky = Math.random() < 0.5 ? callers[Math.floor(Math.random() * callers.length)] : undefined
    if (unlucky !== undefined) await arrive(unlucky, 0)
    while (Date.now() < until) {
      for (const caller of callers) for (let n = 0; n < 3 && caller.isFree; n++) say(caller)
      await sleep(1 + Math.random() * 4)
    }
    const killed = Date.now()
    const isStop = mode === 'stops' && kill % 2 === 0
    server.signal(isStop ? 'SIGTERM' : 'SIGKILL')
    const code = await server.ended
    before = server.said
    for (const caller of callers) await caller.gone
    if (isStop) checkStop(code)
    server = await startServer(conf, port)
    // In an orderly stop the server saves every session, however young.
    for (const caller of callers) await arrive(caller, isStop ? Infinity : killed)
  }
  for (const caller of callers) await caller.settles()
  for (const caller of callers) doubt(caller.unsure)
  await quiet()
  check()
  console.log(`${mode === 'stops' ? `${Math.ceil(kills / 2)} stops, ${Math.floor(kills / 2)} kills` : `${kills} kills`}, ${sent.length} messages, ${resumed} sessions resumed, ${anew} anew: nothing lost, nothing twice`)
} catch (error) {
  console.log(`failed after ${sent.length} messages: ${error instanceof Error ? error.stack : String(error)}\n${before.slice(-4000)}\n${server.said.slice(-4000)}`)
  process.exitCode = 1
} finally {
  for (const caller of callers) await caller.leaves()
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
}

function checkStop (code: number | string): void {
  if (code !== 0) throw new Error(`stopped, the server ended with ${code}`)
  for (const caller of callers) if (caller.isClosed || caller.ending !== '') throw new Error(`the stream of ${caller.account} was closed: ${caller.ending}`)
}

async function arrive (caller: Caller, killed: number): Promise<void> {
  const former = caller.chain
  doubt(await caller.arrives(port))
  if (former !== undefined && caller.chain === former) resumed++
  else anew++
  // The session is stored before its device is told that it is managed.
  if (former !== undefined && caller.chain !== former && killed > 0) {
    throw new Error(`a session did not outlive the ${killed === Infinity ? 'stop' : `crash ${Date.now() - killed} ms ago`}: ${caller.refused}`)
  }
}

function say (caller: Caller): void {
  const to = caller.account === callers[0]?.account ? `juliet@${DOMAIN}` : `romeo@${DOMAIN}`
  const message = sent.length
  // Those whose presence is acknowledged, and so stored.
  const audience = callers.flatMap(({ account, chain }) => account === to && chain?.isThere === true ? [chain] : [])
  sent.push({ by: caller, to, audience, isSure: true })
  caller.says(to, message)
}

function doubt (messages: readonly number[]): void {
  for (const message of messages) (sent[message] as Sent).isSure = false
}

/** Waits until every message has come, or for `PATIENCE`; then half a second for what should not come. */
async function quiet (): Promise<void> {
  const end = Date.now() + PATIENCE
  while (lost() !== undefined && Date.now() < end) await sleep(20)
  await sleep(500)
}

/** Returns what is wrong with the first message that did not come where it had to, or undefined. */
function lost (): string | undefined {
  const got = new Map(callers.flatMap(({ chains }) => chains).map(chain => [chain, new Set(chain.got)]))
  for (const [message, { to, audience, isSure }] of sent.entries()) {
    if (!isSure) continue
    if (![...got].some(([{ account }, messages]) => account === to && messages.has(message))) return `message ${message} to ${to} is lost`
    if (audience.some(chain => chain.isAlive && got.get(chain)?.has(message) !== true)) return `message ${message} did not reach a session of ${to} that was there`
  }
  return undefined
}

function check (): void {
  const all = callers.flatMap(({ chains }) => chains)
  for (const { got } of all) {
    if (new Set(got).size !== got.length) throw new Error(`twice: ${got.filter((message, at) => got.indexOf(message) !== at).join(' ')}`)
    for (const caller of callers) {
      const from = got.filter(message => sent[message]?.by === caller)
      if (from.some((message, at) => at > 0 && message < (from[at - 1] ?? 0))) throw new Error(`not in order: ${from.join(' ')}`)
    }
  }
  const why = lost()
  if (why !== undefined) throw new Error(why)
}
