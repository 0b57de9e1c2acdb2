/** One run of the bench: sets up the servers, measures them in turn, and stops them. */
import { Generator } from './generator.js'
import type { Outcome } from './jobs.js'
import { accountsOf, casesOf, fameOf, friendsOf, isPossible, jobOf, needsFriends, roundsOf, type Case, type Plan, type Scene } from './plan.js'
import type { Features } from './servers/server.js'
import type { Pair } from './servers/stage.js'

/** One outcome, with its case, server and round. */
export interface Measurement extends Case {
  readonly server: string
  readonly round: number
  readonly outcome: Outcome
}

/** The results of a run. Failures are sentences. */
export interface Findings {
  readonly measurements: Measurement[]
  readonly failures: string[]
}

/** Reports the progress of the run. */
type Say = (text: string) => void

/** A pair of servers with its own load generator, which keeps the salted passwords of its accounts. */
interface Contestant extends Pair { readonly generator: Generator }

/** Measures the scenes on each server. */
export async function run (pairs: readonly Pair[], scenes: readonly Scene[], plan: Plan, say: Say): Promise<Findings> {
  return await new Run(scenes, plan, say).play(pairs)
}

class Run {
  readonly #scenes: readonly Scene[]
  readonly #plan: Plan
  readonly #say: Say
  readonly #start = performance.now()
  readonly #findings: Findings = { measurements: [], failures: [] }
  #contestants: readonly Contestant[] = []

  constructor (scenes: readonly Scene[], plan: Plan, say: Say) {
    this.#scenes = scenes
    this.#plan = plan
    this.#say = say
  }

  async play (pairs: readonly Pair[]): Promise<Findings> {
    const asked = (among: readonly Scene[]): readonly Scene[] => among.filter(scene => this.#scenes.includes(scene))
    this.#contestants = await this.#setUp(pairs)
    await this.#each(({ server }) => server.stop())
    for (const scene of asked(ALONE)) await this.#alone(scene)
    await this.#neighbours(asked(NEIGHBOURS))
    await this.#together(asked(TOGETHER))
    for (const { generator } of this.#contestants) generator.end()
    return this.#findings
  }

  /** Starts the servers and makes accounts and contacts, on all servers at the same time. Nothing is measured here. */
  async #setUp (pairs: readonly Pair[]): Promise<Contestant[]> {
    const ready = await Promise.all(pairs.map(async (pair): Promise<Contestant | undefined> => {
      const { server } = pair
      const generator = new Generator()
      const start = performance.now()
      const isReady = await this.#tries(`${server.name} could not be set up`, async () => {
        await server.start()
        await server.createAccounts(accountsOf(this.#plan, this.#scenes))
        if (needsFriends(this.#scenes)) await generator.play(friendsOf(this.#plan, server))
        for (const job of fameOf(this.#plan, this.#scenes, server)) await generator.play(job)
      })
      if (isReady) {
        this.#say(`${server.name} is set up (${((performance.now() - start) / 1000).toFixed(1)} s)`)
        return { ...pair, generator }
      }
      generator.end()
      await server.stop()
      return undefined
    }))
    return ready.filter(one => one !== undefined)
  }

  /** Measures pairs of servers. All run, but one pair is measured at a time: idle servers cost the others nothing. */
  async #neighbours (scenes: readonly Scene[]): Promise<void> {
    if (scenes.length === 0) return
    const standing = await this.#startAll(scenes, async pair => { await this.#meet(pair) })
    await this.#rounds(scenes, this.#plan.rounds, async round => {
      for (const one of casesOf(scenes)) await this.#inTurn(standing, one, round)
    })
    await this.#each(async ({ server, neighbour }) => { await Promise.all([server.stop(), neighbour.stop()]) })
  }

  /** Measures single servers. Each is started anew for each scene, so that one scene does not change the next. */
  async #together (scenes: readonly Scene[]): Promise<void> {
    await this.#rounds(scenes, this.#plan.rounds, async round => {
      for (const scene of scenes.filter(scene => round <= roundsOf(this.#plan, scene))) {
        const features: Features = { pubsub: NODES.includes(scene) }
        const standing = await this.#startAll([scene], async ({ server }) => { await server.start(features) })
        for (const one of casesOf([scene])) await this.#inTurn(standing, one, round)
        await this.#each(({ server }) => server.stop())
      }
    })
  }

  /** Starts the servers; returns those that could be started. */
  async #startAll (scenes: readonly Scene[], start: (pair: Pair) => Promise<void>): Promise<Contestant[]> {
    const all = this.#contestants
    const stand = await Promise.all(all.map(async pair =>
      await this.#tries(`${pair.server.name} could not be started for ${scenes.join(', ')}`, async () => { await start(pair) })))
    return all.filter((_, i) => stand[i])
  }

  async #inTurn (standing: readonly Contestant[], one: Case, round: number): Promise<void> {
    const able = standing.filter(({ server }) => isPossible(one, server))
    for (const contestant of rotated(able, round)) await this.#measure(contestant, one, round)
  }

  async #meet ({ server, neighbour }: Pair): Promise<void> {
    await Promise.all([server.start({ neighbour: neighbour.place }), neighbour.start({ neighbour: server.place })])
    await neighbour.createAccounts(accountsOf(this.#plan, NEIGHBOURS))
  }

  async #alone (scene: Scene): Promise<void> {
    const features: Features = scene === 'catchup' ? { archive: true } : {}
    await this.#rounds([scene], roundsOf(this.#plan, scene), async round => {
      for (const one of casesOf([scene])) {
        for (const contestant of rotated(this.#contestants, round)) {
          const { server } = contestant
          const isReady = await this.#tries(`${server.name} could not be started for ${scene}`, async () => { await server.start(features) })
          if (isReady) await this.#measure(contestant, one, round)
          await server.stop()
        }
      }
    })
  }

  async #measure ({ server, neighbour, generator }: Contestant, one: Case, round: number): Promise<void> {
    await this.#tries(`${server.name}, ${one.scene} (${one.secure}${one.inactive === true ? ', inactive' : ''}), round ${round}`, async () => {
      const outcome = await generator.play(jobOf(this.#plan, one, server, neighbour))
      this.#findings.measurements.push({ ...one, server: server.name, round, outcome })
    })
  }

  /** Plays up to `most` rounds. No round begins if, with the length of the last one, it would end after the budget. */
  async #rounds (scenes: readonly Scene[], most: number, play: (round: number) => Promise<void>): Promise<void> {
    if (scenes.length === 0 || this.#contestants.length === 0) return
    let took = 0
    for (let round = 1; round <= most && (performance.now() - this.#start + took) / 1000 < this.#plan.budget; round++) {
      this.#say(`${scenes.join(', ')}, round ${round} of ${most}`)
      const start = performance.now()
      await play(round)
      took = performance.now() - start
    }
  }

  async #each (does: (contestant: Contestant) => Promise<void>): Promise<void> {
    await Promise.all(this.#contestants.map(does))
  }

  /** Runs `work`. Returns true if it succeeds; otherwise notes the failure. */
  async #tries (what: string, work: () => Promise<void>): Promise<boolean> {
    try {
      await work()
      return true
    } catch (error) {
      this.#findings.failures.push(`${what}: ${String(error)}`)
      return false
    }
  }
}

/**
 * The scenes that are measured in a fresh process, while no other server runs: memory, because a used process first
 * fills what it has freed; and the archive, which must not add to the cost of other scenes.
 */
const ALONE: readonly Scene[] = ['memory', 'catchup']

/** The scenes that need two servers of each kind. */
const NEIGHBOURS: readonly Scene[] = ['federation']

/** The scenes that need one server of each kind, all running at the same time. */
const TOGETHER: readonly Scene[] = ['messages', 'managed', 'logins', 'resume', 'presence', 'quiet', 'pep', 'pepMany', 'publish', 'retrieve']

/** The scenes that need publish-subscribe, which must not add to the cost of others. */
const NODES: readonly Scene[] = ['pep', 'pepMany', 'publish', 'retrieve']

/** Rotates the list, so that another server begins in each round. */
function rotated<T> (items: readonly T[], by: number): T[] {
  const at = by % Math.max(1, items.length)
  return [...items.slice(at), ...items.slice(0, at)]
}
