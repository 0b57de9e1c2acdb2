/** The runner: leads each stanza through its steps, and settles it once, at the end. */
import type { Clock } from '../../base/clock.js'
import type { Logger } from '../../base/logger.js'
import type { Maybe } from '../../base/maybe.js'
import type { Turns } from '../../base/turns.js'
import { Traffic } from '../../stream/traffic.js'
import type { Storage } from '../../storage/storage.js'
import type { StanzaError } from '../../xmpp/errors.js'
import type { Addressed } from '../../xmpp/stanza.js'
import type { Router } from '../router.js'
import { Commits } from './commit.js'
import { NEXT, Passage, type Origin, type Outcome, type Runner, type Step } from './passage.js'
import { Replies } from './reply.js'
import { Watch } from './watch.js'

export interface PipelineDeps {
  readonly router: Router
  readonly storage: Storage
  readonly clock: Clock
  readonly log: Logger
  readonly turns: Turns | undefined
}

/** The origin of a stanza of the server itself. */
const OURS: Origin = {}

export class Pipeline implements Runner {
  readonly router: Router
  readonly storage: Storage
  /**
   * Shares the event loop among all streams; undefined in tests, where each stanza is taken in the turn in which it
   * comes.
   */
  readonly turns: Turns | undefined
  /** Counts the stanzas received and sent since the start. */
  readonly traffic = new Traffic()
  readonly watch: Watch
  readonly commits: Commits
  readonly replies: Replies

  constructor ({ router, storage, clock, log, turns }: PipelineDeps) {
    this.router = router
    this.storage = storage
    this.turns = turns
    this.watch = new Watch(clock, log)
    this.replies = new Replies({
      log,
      route: stanza => { this.route(stanza) },
      returned: stanza => router.local(stanza.to.domain)?.returned?.(stanza),
      bounced: (domain, stanza, error) => { router.local(domain)?.bounced(stanza, error) },
    })
    this.commits = new Commits(storage, this.replies, this.watch)
  }

  /** Sends a stanza of the server itself on its way. */
  route (stanza: Addressed): void { void this.#end(new Passage(stanza, OURS), 'route', this.router.way(stanza.to.domain)) }

  /** Answers the sender with an error because a stanza did not reach its recipient. */
  returnToSender (stanza: Addressed, error: StanzaError): void {
    const passage = new Passage(stanza, OURS)
    if (this.watch.isOn) this.watch.refused(passage, 'return', error)
    this.replies.refuse(passage, error)
  }

  /**
   * Runs the steps of a list until one of them ends the way. The result is a promise if the sender's next stanzas must
   * wait. Throws StreamError, or rejects with it, if the stream must end.
   */
  run<H> (passage: Passage, steps: readonly Step<H>[], home: H): Maybe<void> {
    return this.#from(passage, steps, 0, home)
  }

  #from<H> (passage: Passage, steps: readonly Step<H>[], start: number, home: H): Maybe<void> {
    const isSeen = this.watch.isOn
    for (let i = start; ; i++) {
      const step = steps[i] ?? unended
      let outcome: Maybe<Outcome>
      try {
        outcome = step(passage, home)
      } catch (error) {
        this.#refuse(passage, step.name, error)
        return undefined
      }
      if (outcome === NEXT && !isSeen) continue // most steps, most of the time
      if (outcome instanceof Promise) return this.#wait(passage, outcome, steps, i, home)
      if (outcome.go !== 'next') return this.#end(passage, step.name, outcome)
      if (isSeen) this.watch.step(passage, step.name, outcome)
    }
  }

  /** Waits for the outcome of step `at`. Who waits besides the stanza itself is said by its `hold`. */
  #wait<H> (
    passage: Passage, pending: Promise<Outcome>, steps: readonly Step<H>[], at: number, home: H,
  ): Maybe<void> {
    const step = steps[at]?.name ?? ''
    if (this.watch.isOn) this.watch.waits(passage, step)
    const rest = pending.then(outcome => {
      if (passage.isDropped) return this.#drop(passage, step)
      if (outcome.go !== 'next') return this.#end(passage, step, outcome)
      if (this.watch.isOn) this.watch.step(passage, step, outcome)
      return this.#from(passage, steps, at + 1, home)
    }, (error: unknown) => { this.#refuse(passage, step, error) })
    const { hold } = passage
    return hold === undefined || passage.stage !== 'received' ? rest : hold.waits(passage, rest)
  }

  /** Ends the list with this outcome: the stanza goes on to its destination, or is settled. */
  #end (passage: Passage, step: string, outcome: Outcome): Maybe<void> {
    if (this.watch.isOn) this.watch.step(passage, step, outcome)
    switch (outcome.go) {
      case 'to': return this.#accept(passage, outcome)
      case 'ends': return endStream(passage, outcome.error)
      case 'next': return undefined
      default: this.commits.settle(passage, outcome)
    }
    return undefined
  }

  #accept (passage: Passage, { where }: Extract<Outcome, { go: 'to' }>): Maybe<void> {
    try {
      return where.accept(passage, this)
    } catch (error) {
      this.#refuse(passage, 'accept', error)
      return undefined
    }
  }

  #drop (passage: Passage, step: string): void {
    if (this.watch.isOn) this.watch.dropped(passage, step)
    this.replies.drop(passage)
  }

  #refuse (passage: Passage, step: string, error: unknown): void {
    if (this.watch.isOn) this.watch.refused(passage, step, error)
    this.replies.refuse(passage, error)
  }
}

/** The step after the last one of a list: each list must have a step that ends the way. */
function unended (): Outcome { throw new Error('no step has ended the way of the stanza') }

/** Gives the place of the stanza back, and throws the error to the stream. */
function endStream (passage: Passage, error: Error): never {
  const { arrival } = passage
  passage.settle()
  // The peer must not think that the stanza was handled. A client's stream ends after its earlier stanzas.
  if (arrival?.refuse === undefined) arrival?.settle(() => {})
  else arrival.refuse()
  throw error
}
