/** Streams between servers that were cut and may be resumed (XEP-0198 §5), opened by us or by peers. */
import type { Clock, Timer } from '../../base/clock.js'
import { ResumeTable } from '../../stream/acks/resume-table.js'
import type { StreamError } from '../../xmpp/errors.js'
import { pairKey, type DialbackAddresses } from '../ground/domain-pair.js'
import type { S2sAcks } from './acks.js'
import type { QueuedStanza } from '../ground/queued-stanza.js'

/** How long we try to resume our streams, and how long peers may resume theirs, in milliseconds. */
export const TRYING = 60_000
export const RESUMABLE = 75_000
/**
 * After a peer's stream was cut, our stanzas wait this long for its return, in milliseconds; then we open a stream
 * ourselves.
 */
const HOLD = 5000
/** The most streams that are kept after a cut, and the most ended streams whose counts are remembered. */
const MOST_CUT = 2000
const MOST_ENDED = 5000

/** The pairs of domains that may send nothing until earlier stanzas are settled. */
export class HeldPairs {
  readonly #held = new Map<string, { readonly over: Promise<void>, readonly release: () => void }>()

  /** Resolves when the pair is released; undefined if it is not held. */
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

/** The rest of a stream that we opened and want to resume. */
export interface OwnCutStream { readonly managed: S2sAcks, readonly pairs: readonly string[], readonly timer: Timer }

/** The streams that we opened and want to resume, by the pair of domains that opened them. */
export class OwnCutStreams {
  readonly #clock: Clock
  readonly #holds: HeldPairs
  readonly #givenUp: (former: OwnCutStream) => void
  readonly #formers = new Map<string, OwnCutStream>()

  /** `givenUp`: called if a stream could not be resumed in time. */
  constructor (clock: Clock, holds: HeldPairs, givenUp: (former: OwnCutStream) => void) {
    this.#clock = clock
    this.#holds = holds
    this.#givenUp = givenUp
  }

  has (owner: string): boolean { return this.#formers.has(owner) }
  get (owner: string): OwnCutStream | undefined { return this.#formers.get(owner) }

  keep (owner: string, managed: S2sAcks, pairs: readonly string[]): void {
    this.giveUp(owner)
    managed.detach()
    const timer = this.#clock.after(TRYING, () => { this.giveUp(owner) })
    this.#formers.set(owner, { managed, pairs, timer })
    for (const pair of pairs) if (pair !== owner) this.#holds.hold(pair)
  }

  /** Removes a stream that was resumed or cannot be, and returns it. */
  take (owner: string): OwnCutStream | undefined {
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

  /** Removes and returns all streams, by the pair that opened each, because the server stops. */
  close (): ReadonlyMap<string, OwnCutStream> {
    const formers = new Map(this.#formers)
    for (const owner of formers.keys()) this.take(owner)
    return formers
  }
}

/** A stream that a peer opened. */
export interface Resumable {
  readonly managed: S2sAcks
  /** The pairs for which the peer may speak on it. The first one has authenticated. */
  readonly pairs: readonly DialbackAddresses[]
  readonly isBidi: boolean
  /** Gives up the stream's state, because another stream has it now. */
  leave (error: StreamError): void
}

/** The stored form of an ended stream: its id, the pair that opened it, and the count of its handled stanzas. */
export type Handled = readonly [id: string, first: string, h: number]

/** The streams of peers, by the id that the peer was told. */
export class PeerCutStreams {
  readonly #clock: Clock
  readonly #holds: HeldPairs
  readonly #given: (items: readonly QueuedStanza[]) => void
  readonly #table: ResumeTable<Resumable>
  /** The timers after which the stanzas that wait for a cut stream are released. */
  readonly #holding = new Map<Resumable, Timer>()
  /** Set when the server stops: what is cut later goes there and is not kept here. */
  #park: ((resumable: Resumable) => void) | undefined

  /** `lost`: called with the stanzas of a stream that will not be resumed. */
  constructor (clock: Clock, holds: HeldPairs, lost: (items: readonly QueuedStanza[]) => void) {
    this.#clock = clock
    this.#holds = holds
    this.#given = lost
    this.#table = new ResumeTable<Resumable>({
      clock, ended: MOST_ENDED, waiting: MOST_CUT, expired: resumable => { this.#end(resumable) },
    })
  }

  opened (resumable: Resumable): void { this.#table.enter(resumable.managed.id, firstOf(resumable), resumable) }

  /** Keeps a stream whose connection is gone. */
  cut (resumable: Resumable): void {
    if (!this.#isLive(resumable)) return
    const { managed } = resumable
    managed.detach()
    this.forget(firstOf(resumable))
    if (this.#park === undefined) { this.#keep(resumable); return }
    this.#table.leave(managed.id)
    this.#park(resumable)
  }

  /** Restores a stream that was stored when the server was stopped. */
  restore (resumable: Resumable): void {
    this.opened(resumable)
    this.#keep(resumable)
  }

  #keep (resumable: Resumable): void {
    const { managed: { id }, pairs, isBidi } = resumable
    this.#table.wait(id, RESUMABLE)
    if (isBidi) for (const { to, from } of pairs) this.#holds.hold(pairKey(to, from))
    this.#holding.set(resumable, this.#clock.after(HOLD, () => { this.release(resumable) }))
  }

  /** Takes note that a stream ended in order. The peer may still ask for its count. */
  ended (resumable: Resumable): void { if (this.#isLive(resumable)) this.#over(resumable) }

  /** Ends the cut streams of a pair, because its peer has begun a new one. */
  forget (first: string): void { for (const resumable of this.#table.waiting(first)) this.#end(resumable) }

  /**
   * Takes a stream that its own pair of domains asks to resume. Resolves with it once all that came on it is stored;
   * stanzas that wait for it are held until `release`. Resolves with the count of handled stanzas if the stream has
   * ended, and with undefined if it is unknown or belongs to another pair.
   */
  async take (id: string, first: string, error: StreamError): Promise<Resumable | number | undefined> {
    const live = this.#table.at(id, first)
    if (live !== undefined && this.#isLive(live)) {
      live.leave(error)
      this.cut(live)
    }
    const resumable = this.#table.at(id, first)
    if (resumable === undefined) return await this.#table.countOf(id, first)
    // otherwise another has asked for it later, or it took too long
    if (!await this.#table.lock(id, () => resumable.managed.settled())) return undefined
    this.#remove(resumable)
    return resumable
  }

  /** Puts back a stream whose new connection was gone before it could be used. */
  back (resumable: Resumable): void {
    this.opened(resumable)
    this.cut(resumable)
  }

  /** Ends a stream's state and reports its unacknowledged stanzas as lost. */
  lost (managed: S2sAcks): void { this.#given(managed.finish().lost) }

  get isClosed (): boolean { return this.#park !== undefined }

  /** Hands all cut streams to `park`, now and from now on: they may be resumed after the next start. */
  close (park: (resumable: Resumable) => void): void {
    this.#park = park
    for (const resumable of this.#table.waiting()) {
      this.#remove(resumable)
      this.release(resumable)
      park(resumable)
    }
  }

  /** Returns the counts of ended streams: peers may ask for them after the next start. */
  handled (): readonly Handled[] { return this.#table.ended() }

  /** Restores the counts that were stored at the last stop. */
  recall (all: readonly Handled[]): void {
    for (const [id, first, handled] of all) this.#table.remember(id, first, { handled })
  }

  /** Lets the stanzas go that waited for a stream. */
  release ({ isBidi, pairs }: Resumable): void {
    if (isBidi) for (const { to, from } of pairs) this.#holds.release(pairKey(to, from))
  }

  /** True if the stream has a connection. */
  #isLive (resumable: Resumable): boolean {
    const { id } = resumable.managed
    return this.#table.has(id, resumable) && !this.#table.isWaiting(id)
  }

  #end (resumable: Resumable): void {
    this.#stopHolding(resumable)
    this.release(resumable)
    this.#over(resumable)
  }

  #remove (resumable: Resumable): void {
    this.#table.leave(resumable.managed.id)
    this.#stopHolding(resumable)
  }

  #stopHolding (resumable: Resumable): void {
    this.#holding.get(resumable)?.cancel()
    this.#holding.delete(resumable)
  }

  #over ({ managed }: Resumable): void {
    this.#table.end(managed.id, managed)
    this.lost(managed)
  }
}

function firstOf ({ pairs }: Resumable): string {
  const [first] = pairs
  return first === undefined ? '' : pairKey(first.to, first.from)
}
