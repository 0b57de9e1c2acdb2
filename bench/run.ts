/** One run of the bench: sets the servers up, measures them in turns, and stops them. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Generator } from './generator.js'
import type { Outcome } from './jobs.js'
import { accountsOf, casesOf, friendsOf, jobOf, type Case, type Plan, type Scene } from './plan.js'
import { Ejabberd } from './servers/ejabberd.js'
import { freePorts } from './servers/daemon.js'
import { Prosody } from './servers/prosody.js'
import { Sestina } from './servers/sestina.js'
import type { Certificate, Place, Server } from './servers/server.js'

/** The servers that can be measured, by name. */
export const SERVERS = { sestina: Sestina, prosody: Prosody, ejabberd: Ejabberd } as const
export type ServerName = keyof typeof SERVERS

/** One outcome: what was measured, of whom, in which round. */
export interface Measurement extends Case {
  readonly server: string
  readonly round: number
  readonly outcome: Outcome
}

/** What a run yields; failures are sentences. */
export interface Findings {
  readonly measurements: Measurement[]
  readonly failures: string[]
}

/** A server under test with the load generator that is its own: it keeps the salted passwords of its accounts. */
interface Contestant { readonly server: Server, readonly generator: Generator }

/** Makes a server with a folder and ports of its own. */
export async function serverAt (name: ServerName, folder: string, certificate: Certificate): Promise<Server> {
  return new SERVERS[name](await placeIn(join(folder, name), name === 'sestina', certificate))
}

/** The same for another checkout of Sestina, which has been built. */
export async function checkoutAt (root: string, folder: string, certificate: Certificate): Promise<Server> {
  return new Sestina(await placeIn(join(folder, 'before'), true, certificate), root)
}

async function placeIn (folder: string, hasListeners: boolean, certificate: Certificate): Promise<Place> {
  await mkdir(folder)
  const [plainPort = 0, tlsPort = 0, directPort = 0, adminPort = 0] = await freePorts(4)
  // Sestina has a listener for each; the other two take both on one port.
  return { folder, certificate, plainPort, tlsPort: hasListeners ? tlsPort : plainPort, directPort, adminPort }
}

/** Measures the scenes on each of the servers. `say` hears how it goes on. */
type Say = (text: string) => void

export async function run (servers: readonly Server[], scenes: readonly Scene[], plan: Plan, say: Say): Promise<Findings> {
  const findings: Findings = { measurements: [], failures: [] }
  const start = performance.now()
  const contestants = await setUp(servers, scenes, plan, findings, say)
  const mayBegin = (took: number): boolean => (performance.now() - start + took) / 1000 < plan.budget
  const alone = ALONE.filter(scene => scenes.includes(scene))
  if (alone.length > 0) {
    await Promise.all(contestants.map(async ({ server }) => { await server.stop() }))
    for (const scene of alone) {
      const most = scene === 'memory' ? plan.memoryRounds : plan.rounds
      await rounds(most, mayBegin, async round => {
        say(`${scene}, round ${round} of ${most}`)
        await roundAlone(contestants, scene, plan, round, findings)
      })
    }
    await Promise.all(contestants.map(async ({ server }) => { await server.start() }))
  }
  const cases = casesOf(scenes.filter(scene => !alone.includes(scene)))
  await rounds(cases.length === 0 ? 0 : plan.rounds, mayBegin, async round => {
    say(`${[...new Set(cases.map(({ scene }) => scene))].join(', ')}, round ${round} of ${plan.rounds}`)
    for (const one of cases) {
      // Who begins changes from round to round.
      for (const contestant of rotated(contestants, round)) await measure(contestant, one, plan, round, findings)
    }
  })
  await Promise.all(contestants.map(async ({ server, generator }) => { generator.end(); await server.stop() }))
  return findings
}

/** Starts the servers and gives them accounts and friendships, all at the same time: nothing is measured here. */
async function setUp (
  servers: readonly Server[], scenes: readonly Scene[], plan: Plan, findings: Findings, say: (text: string) => void,
): Promise<Contestant[]> {
  const ready = await Promise.all(servers.map(async (server): Promise<Contestant | undefined> => {
    const generator = new Generator()
    try {
      const start = performance.now()
      await server.start()
      await server.createAccounts(accountsOf(plan, scenes))
      if (scenes.includes('presence')) await generator.play(friendsOf(plan, server))
      say(`${server.name} is set up (${((performance.now() - start) / 1000).toFixed(1)} s)`)
      return { server, generator }
    } catch (error) {
      findings.failures.push(`${server.name} could not be set up: ${String(error)}`)
      generator.end()
      await server.stop()
      return undefined
    }
  }))
  return ready.filter(one => one !== undefined)
}

/**
 * Measured in a fresh process, while the others stand still: memory, for a used process fills what it has freed before it grows; and what
 * an archive costs, which nobody is to pay for in the other scenes.
 */
const ALONE: readonly Scene[] = ['memory', 'catchup']

async function roundAlone (contestants: readonly Contestant[], scene: Scene, plan: Plan, round: number, findings: Findings): Promise<void> {
  for (const one of casesOf([scene])) {
    for (const contestant of rotated(contestants, round)) {
      await contestant.server.start(scene === 'catchup')
      await measure(contestant, one, plan, round, findings)
      await contestant.server.stop()
    }
  }
}

async function measure (contestant: Contestant, one: Case, plan: Plan, round: number, findings: Findings): Promise<void> {
  const { server, generator } = contestant
  try {
    const outcome = await generator.play(jobOf(plan, one, server))
    findings.measurements.push({ ...one, server: server.name, round, outcome })
  } catch (error) {
    findings.failures.push(`${server.name}, ${one.scene} (${one.secure}), round ${round}: ${String(error)}`)
  }
}

/** Plays up to `most` rounds; none begins that would, if it takes as long as the one before, end too late. */
async function rounds (most: number, mayBegin: (took: number) => boolean, play: (round: number) => Promise<void>): Promise<void> {
  let took = 0
  for (let round = 1; round <= most && mayBegin(took); round++) {
    const start = performance.now()
    await play(round)
    took = performance.now() - start
  }
}

function rotated<T> (items: readonly T[], by: number): T[] {
  const at = by % Math.max(1, items.length)
  return [...items.slice(at), ...items.slice(0, at)]
}
