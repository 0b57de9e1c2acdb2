/** The commands that run: bounded in number and bytes for each asker's account or domain, and in time. */
import { FairCache, type Clock, type FormAnswers, type Ids, type Jid } from '../../lib/api.js'
import { fault } from './elements.js'

/** After this time without a step a command ends, in milliseconds. */
const TIMEOUT = 10 * 60_000
/** The bytes that are counted for a command before anything is submitted. */
const LEAST = 4096
/** The most bytes of one account of this server, or of all users of another domain, and of all. */
const EACH = 16 * LEAST
const ALL = 256 * EACH

/** A command that runs. */
export interface Run {
  readonly id: string
  readonly node: string
  readonly asker: Jid
  readonly to: Jid
  /** The index of the step that is shown. */
  step: number
  answers: readonly FormAnswers[]
  /** The bytes of the submitted forms. */
  bytes: number
  /** When the last step was shown, in milliseconds since 1970. */
  at: number
}

export class Runs {
  readonly #clock: Clock
  readonly #ids: Ids
  readonly #groupOf: (asker: Jid) => string
  readonly #runs = new FairCache<Run>({ each: EACH, all: ALL, sizeOf: (_id, { bytes }) => LEAST + bytes })
  /** The ids of commands that have ended: their askers learn that, and not that they never were. */
  readonly #ended = new FairCache<true>({ each: EACH / 4, all: ALL / 4, sizeOf: () => 100 })

  /** `groupOf` returns who is counted for an asker: the account, or the domain of another server. */
  constructor (clock: Clock, ids: Ids, groupOf: (asker: Jid) => string) {
    this.#clock = clock
    this.#ids = ids
    this.#groupOf = groupOf
  }

  get size (): number { return this.#runs.size }
  get bytes (): number { return this.#runs.bytes }

  make (node: string, asker: Jid, to: Jid): Run {
    return { id: this.#ids.next(), node, asker, to, step: 0, answers: [], bytes: 0, at: 0 }
  }

  /**
   * Keeps a command for its next step. If the asker's account has too many, its oldest ends.
   * Throws bad-payload if its forms are too large; then it stays as it was.
   */
  keep (run: Run): void {
    if (LEAST + run.bytes > EACH) throw fault('bad-payload', 'the forms are too large')
    run.at = this.#clock.now()
    this.#runs.set(this.#groupOf(run.asker), run.id, run)
  }

  /** Returns a command that runs. Throws bad-sessionid, or session-expired if it has ended (XEP-0050 §4.4). */
  find (id: string, node: string, asker: Jid, to: Jid): Run {
    const group = this.#groupOf(asker)
    const run = this.#runs.get(group, id)
    if (run === undefined) throw fault(this.#ended.get(group, id) === true ? 'session-expired' : 'bad-sessionid')
    // §3.3: it is valid only between one asker and one address, and for its own node.
    if (run.node !== node || !run.asker.equals(asker) || !run.to.equals(to)) throw fault('bad-sessionid')
    if (run.at + TIMEOUT > this.#clock.now()) return run
    this.end(run)
    throw fault('session-expired')
  }

  end (run: Run): void {
    const group = this.#groupOf(run.asker)
    this.#runs.delete(group, run.id)
    this.#ended.set(group, run.id, true)
  }
}
