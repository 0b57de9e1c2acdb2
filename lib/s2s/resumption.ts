/** Streams between servers that were cut, and may be taken up again (XEP-0198 §5): those that we have opened, and those of others. */
import { Cache } from '../base/cache.js'
import type { Clock, Timer } from '../base/clock.js'
import type { StreamError } from '../xmpp/errors.js'
import type { DialbackAddresses } from './dialback.js'
import type { Managed } from './managed.js'
import { pairKey, type Waiting } from './waiting.js'

/** How long we try to take up a stream of ours, in milliseconds; and how long others may. */
export const TRYING = 60_000
export const RESUMABLE = 75_000
/** So long what we have for a peer whose stream was cut waits for it to come back; then we go there ourselves. */
const HOLD = 5000
/** Streams that are cut, and those whose end alone is remembered. */
const MOST_CUT = 2000
const MOST_ENDED = 5000

/** Pairs of domains for which nothing may be sent: what was sent before has to come first. */
export class Holds {
  readonly #held = new Map<string, { readonly over: Promise<void>, readonly release: () => void }>()

  /** Resolves when it is over; undefined where it is not held. */
  of (pair: string): Promise<void> | undefined { return this.#held.get(pair)?.over }
  has (pair: string): boolean { return this.#held.has(pair) }

  hold (pair: string): void {
    this.release(pair)
    let release = (): void => {}
    const over = new Promise<void>(resolve => { release = resolve })
    this.#held.set(pair, { over, release })
  }

  release (pair: string): void {
    const held = this.#held.get(pair)
    this.#held.delete(pair)
    held?.release()
  }
}

/** What is left of a stream that we had opened, and want to take up again. */
export interface Former { readonly managed: Managed, readonly pairs: readonly string[], readonly timer: Timer }

/** By the pair of domains that has opened them. */
export class Formers {
  readonly #clock: Clock
  readonly #holds: Holds
  readonly #givenUp: (former: Former) => void
  readonly #formers = new Map<string, Former>()

  /** `givenUp`: it could not be taken up in time. */
  constructor (clock: Clock, holds: Holds, givenUp: (former: Former) => void) {
    this.#clock = clock
    this.#holds = holds
    this.#givenUp = givenUp
  }

  has (owner: string): boolean { return this.#formers.has(owner) }
  get (owner: string): Former | undefined { return this.#formers.get(owner) }

  keep (owner: string, managed: Managed, pairs: readonly string[]): void {
    this.giveUp(owner)
    managed.detach()
    const timer = this.#clock.after(TRYING, () => { this.giveUp(owner) })
    this.#formers.set(owner, { managed, pairs, timer })
    for (const pair of pairs) if (pair !== owner) this.#holds.hold(pair)
  }

  /** It is taken up, or cannot be: it is no concern of ours any more. */
  take (owner: string): Former | undefined {
    const former = this.#formers.get(owner)
    if (former === undefined) return undefined
    this.#formers.delete(owner)
    former.timer.cancel()
    return former
  }

  giveUp (owner: string): void {
    const former = this.take(owner)
    if (former !== undefined) this.#givenUp(former)
  }

  /** The server stops. Answers with all of them, by the pair that had opened each. */
  close (): ReadonlyMap<string, Former> {
    const formers = new Map(this.#formers)
    for (const owner of formers.keys()) this.take(owner)
    return formers
  }
}

/** A stream that a peer has opened. */
export interface Resumable {
  readonly managed: Managed
  /** For whom the peer may speak there; the first is the one that has authenticated. */
  readonly pairs: readonly DialbackAddresses[]
  readonly isBidi: boolean
  /** Lets go of its management: another stream has it now. */
  leave (error: StreamError): void
}

/** A stream of a peer's that has ended: how far it had come. */
interface Ended {
  readonly first: string
  readonly managed: Pick<Managed, 'handled' | 'settled'>
}

/** The same as it is written down: the id of the stream, whose it was, and how many of its stanzas had come. */
export type Handled = readonly [id: string, first: string, h: number]

interface Cut { readonly resumable: Resumable, readonly hold: Timer, readonly end: Timer }

/** By the id that the peer was told. */
export class Resumables {
  readonly #clock: Clock
  readonly #holds: Holds
  readonly #given: (items: readonly Waiting[]) => void
  readonly #live = new Map<string, Resumable>()
  readonly #cut = new Map<string, Cut>()
  readonly #ended = new Cache<string, Ended>({ max: MOST_ENDED })
  /** The server stops: what is cut is no longer kept here. */
  #park: ((resumable: Resumable) => void) | undefined

  /** `lost`: what was sent on one that will not be taken up any more. */
  constructor (clock: Clock, holds: Holds, lost: (items: readonly Waiting[]) => void) {
    this.#clock = clock
    this.#holds = holds
    this.#given = lost
  }

  opened (resumable: Resumable): void { this.#live.set(resumable.managed.id, resumable) }

  /** Its connection is gone. */
  cut (resumable: Resumable): void {
    const { managed } = resumable
    const { id } = managed
    if (this.#live.get(id) !== resumable) return
    this.#live.delete(id)
    managed.detach()
    this.forget(firstOf(resumable))
    if (this.#park === undefined) this.#keep(resumable)
    else this.#park(resumable)
  }

  /** One that was written down when the server was stopped. */
  restore (resumable: Resumable): void { this.#keep(resumable) }

  #keep (resumable: Resumable): void {
    const { managed: { id }, pairs, isBidi } = resumable
    const [oldest] = this.#cut.keys()
    if (this.#cut.size >= MOST_CUT && oldest !== undefined) this.#end(oldest)
    if (isBidi) for (const { to, from } of pairs) this.#holds.hold(pairKey(to, from))
    const hold = this.#clock.after(HOLD, () => { this.release(resumable) })
    this.#cut.set(id, { resumable, hold, end: this.#clock.after(RESUMABLE, () => { this.#end(id) }) })
  }

  /** It has ended in order; how far it had come may still be asked. */
  ended (resumable: Resumable): void {
    const { managed } = resumable
    if (this.#live.get(managed.id) !== resumable) return
    this.#live.delete(managed.id)
    this.#over(resumable)
  }

  /** The peer has begun anew: what was cut between these two will not be taken up. */
  forget (first: string): void {
    for (const [id, { resumable }] of this.#cut) if (firstOf(resumable) === first) this.#end(id)
  }

  /**
   * Takes up a stream for the pair of domains that asks for it. Resolves with it, once all that had come on it is stored: what waits for
   * it is still held then, until `release`. With a number where it has ended, and so much had come; with undefined where it is not
   * known, or is nothing to these two.
   */
  async take (id: string, first: string, error: StreamError): Promise<Resumable | number | undefined> {
    const live = this.#live.get(id)
    if (live !== undefined && firstOf(live) === first) {
      live.leave(error)
      this.cut(live)
    }
    const resumable = this.#cut.get(id)?.resumable
    if (resumable === undefined) {
      const ended = this.#ended.get(id)
      return ended?.first === first ? await ended.managed.settled() : undefined
    }
    if (firstOf(resumable) !== first) return undefined
    await resumable.managed.settled()
    const cut = this.#cut.get(id)
    if (cut?.resumable !== resumable) return undefined // two have asked for it, or it took too long
    this.#remove(id, cut)
    return resumable
  }

  /** It was taken, and who has taken it is gone. */
  back (resumable: Resumable): void {
    this.opened(resumable)
    this.cut(resumable)
  }

  /** What was sent on it comes back. */
  lost (managed: Managed): void { this.#given(managed.finish().lost) }

  get isClosed (): boolean { return this.#park !== undefined }

  /** The server stops: what is cut, and what is cut from now on, may be taken up behind its next start. */
  close (park: (resumable: Resumable) => void): void {
    this.#park = park
    for (const [id, cut] of this.#cut) {
      this.#remove(id, cut)
      this.release(cut.resumable)
      park(cut.resumable)
    }
  }

  /** How far streams had come that have ended: behind the next start of this server their peers may still ask. */
  handled (): readonly Handled[] {
    return [...this.#ended.entries()].map(([id, { first, managed }]) => [id, first, managed.handled])
  }

  /** What was written down at the last stop. */
  recall (all: readonly Handled[]): void {
    for (const [id, first, h] of all) this.#ended.set(id, { first, managed: { handled: h, settled: () => Promise.resolve(h) } })
  }

  #end (id: string): void {
    const cut = this.#cut.get(id)
    if (cut === undefined) return
    this.#remove(id, cut)
    this.release(cut.resumable)
    this.#over(cut.resumable)
  }

  /** What waited for it may go. */
  release ({ isBidi, pairs }: Resumable): void {
    if (isBidi) for (const { to, from } of pairs) this.#holds.release(pairKey(to, from))
  }

  #remove (id: string, { hold, end }: Cut): void {
    this.#cut.delete(id)
    hold.cancel()
    end.cancel()
  }

  #over (resumable: Resumable): void {
    const { managed } = resumable
    this.#ended.set(managed.id, { managed, first: firstOf(resumable) })
    this.lost(managed)
  }
}

function firstOf ({ pairs }: Resumable): string {
  const [first] = pairs
  return first === undefined ? '' : pairKey(first.to, first.from)
}
