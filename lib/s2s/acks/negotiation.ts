/**
 * Stream management on one stream between servers (XEP-0198): negotiation, resumption, and what remains when the stream
 * ends.
 */
import { randomBytes } from 'node:crypto'
import type { Maybe } from '../../base/maybe.js'
import { shortened } from '../../base/text.js'
import { counted } from '../../stream/acks/counters.js'
import { countIn, enabled, failed, isTrue, resumed } from '../../stream/acks/elements.js'
import type { StreamEnd } from '../../stream/stream.js'
import { attributeOf, localName, xml, type Element, type ParsedElement } from '../../xml/element.js'
import { NS } from '../../xml/namespaces.js'
import { flatten } from '../../xml/writer.js'
import { StreamError } from '../../xmpp/errors.js'
import { pairKey, type DialbackAddresses } from '../ground/domain-pair.js'
import type { Dialogue } from '../ground/dialogue.js'
import type { AckedStream, S2sAcks } from './acks.js'
import { RESUMABLE, type OwnCutStream, type Resumable, type PeerCutStreams } from './resumption.js'

// ---- A stream that we opened -----------------------------------------------------------------

/** The needs of a stream that may resume an earlier one, met by its owner. */
export interface FormerHome {
  /** Returns the state of an earlier stream that is to be resumed. */
  former (): OwnCutStream | undefined
  /** The earlier stream was resumed. */
  resumed (former: OwnCutStream): void
  /** Resumption failed. `h`: the peer's last count of handled stanzas, if it gave one. */
  notResumed (h: number | undefined): void
}

export interface Beginning {
  readonly home: FormerHome
  readonly dialogue: Dialogue
  readonly bearer: AckedStream
  /** True if the peer offers stream management. */
  readonly isOffered: boolean
  say (element: Element): void
  /** Makes a new state. */
  managed (): S2sAcks
  /** Uses this state from now on. `pairs`: the pairs of domains that were proven on the earlier stream. */
  becomes (managed: S2sAcks, pairs: readonly string[]): void
}

/** Resumes an earlier stream (§5), or enables stream management (§3). */
export async function begin (how: Beginning): Promise<void> {
  const { home, isOffered, bearer } = how
  const former = home.former()
  if (former !== undefined && isOffered && await resume(former, how)) return
  if (former !== undefined && !isOffered) home.notResumed(undefined)
  const managed = how.managed()
  managed.attach(bearer)
  how.becomes(managed, [])
  if (!isOffered) return
  how.say(xml('enable', { xmlns: NS.SM, resume: 'true' }))
  managed.countSent()
}

async function resume (former: OwnCutStream, how: Beginning): Promise<boolean> {
  const { managed, pairs } = former
  const { home, dialogue, bearer } = how
  how.say(xml('resume', { xmlns: NS.SM, previd: managed.id, h: counted(await managed.settled(), 0) }))
  const answer = await dialogue.next()
  const h = countIn(answer)
  const name = localName(answer)
  const isAnswer = name === 'failed' || name === 'resumed' && h !== undefined
  if (answer.ns !== NS.SM || !isAnswer) throw new StreamError('unsupported-stanza-type')
  const isResumed = name === 'resumed' && h !== undefined
  if (isResumed) {
    if (home.former() !== former) throw new StreamError('policy-violation', 'it took too long') // given up meanwhile
    managed.attach(bearer)
    how.becomes(managed, pairs) // both sides keep which pairs are proven
    managed.resumedAt(h)
    home.resumed(former)
    managed.repeat()
  } else home.notResumed(h)
  dialogue.rest()
  return isResumed
}

// ---- A stream that the peer opened -------------------------------------------------------------

export interface IncomingStream extends AckedStream {
  readonly isOver: boolean
  readonly isBidi: boolean
  /** The pairs for which the peer may speak, by key. The first one has authenticated. */
  readonly proven: Map<string, DialbackAddresses>
  /** True if the policy lets these two domains talk. */
  allows (pair: DialbackAddresses): boolean
  say (element: Element): void
  end (error: StreamError): void
  /** Offers the stream for our stanzas to the peer. */
  offer (): void
}

/** How many requests to enable or resume are refused on one stream before the next one ends it. */
const MOST_REFUSALS = 10

export class IncomingManagement implements Resumable {
  managed: S2sAcks
  readonly #stream: IncomingStream
  readonly #resumables: PeerCutStreams
  /** The peer has resumed a stream, or has begun without. */
  #hasBegun = false
  #isLeft = false
  /** The number of requests that were refused. */
  #refusals = 0

  constructor (stream: IncomingStream, resumables: PeerCutStreams, managed: S2sAcks) {
    this.#stream = stream
    this.#resumables = resumables
    this.managed = managed
    managed.attach(stream)
  }

  get isBidi (): boolean { return this.#stream.isBidi }
  get isResumable (): boolean { return this.managed.id !== '' }
  get pairs (): readonly DialbackAddresses[] { return [...this.#stream.proven.values()] }
  get #first (): string { return [...this.#stream.proven.keys()][0] ?? '' }

  /** Gives up the state to another stream, and ends this one. */
  leave (error: StreamError): void {
    this.#isLeft = true
    this.#stream.end(error)
  }

  /** Takes note of a stanza: the peer can no longer resume another stream. */
  stanza (): void { if (!this.#hasBegun) this.#begins() }

  element (element: ParsedElement): Maybe<void> {
    const name = localName(element)
    if (name === 'enable') { this.#enable(element); return undefined }
    if (name === 'resume') return this.#resume(element)
    if (!this.managed.isCounting) throw new StreamError('policy-violation', 'stream management is not enabled')
    answerTo(element, this.managed)
    return undefined
  }

  /** Sends the last `<a/>` once all that came is stored (§4). */
  async farewell (): Promise<void> {
    await this.managed.settled()
    this.managed.sendFinalAck()
  }

  /** Handles the end of the stream. Its unacknowledged stanzas are lost, unless it may be resumed. */
  over (by: StreamEnd['by']): void {
    if (this.#isLeft) return
    if (this.managed.id === '') this.#resumables.lost(this.managed)
    else if (by === 'loss' || by === 'us' && this.#resumables.isClosed) this.#resumables.cut(this)
    else this.#resumables.ended(this)
  }

  #enable (element: ParsedElement): void {
    const { managed } = this
    // §3: once per stream.
    if (managed.isCounting) throw new StreamError('policy-violation', 'stream management is enabled already')
    const isResumable = isTrue(element, 'resume')
    if (isResumable) managed.id = randomBytes(18).toString('base64url')
    this.#stream.say(enabled(isResumable ? { id: managed.id, time: RESUMABLE } : undefined))
    managed.countReceived()
    managed.countSent()
    if (isResumable) this.#resumables.opened(this)
    this.#begins()
  }

  #begins (): void {
    this.#hasBegun = true
    this.#resumables.forget(this.#first)
    this.#stream.offer()
  }

  async #resume (element: ParsedElement): Promise<void> {
    const stream = this.#stream
    const h = countIn(element)
    if (h === undefined) { this.#refuse(failed('bad-request')); return }
    if (this.managed.isCounting || this.#hasBegun) { this.#refuse(failed('unexpected-request')); return }
    const id = attributeOf(element, 'previd') ?? ''
    const found = await this.#resumables.take(id, this.#first, new StreamError('conflict', 'resumed elsewhere'))
    if (found === undefined || typeof found === 'number') { this.#refuse(failed('item-not-found', found)); return }
    if (stream.isOver) { this.#resumables.back(found); return }
    this.#takeOver(found, h)
  }

  /** XEP-0198 §3, §5: the stream goes on after a refusal, but the number of refusals is bounded. */
  #refuse (answer: Element): void {
    if (++this.#refusals > MOST_REFUSALS) throw new StreamError('policy-violation', 'too many refused requests')
    this.#stream.say(answer)
  }

  #takeOver (found: Resumable, h: number): void {
    const stream = this.#stream
    const { managed } = found
    // The id was told only to a peer that spoke for the same domain. It may speak for the earlier stream's other
    // domains, too.
    for (const pair of found.pairs) {
      if (stream.allows(pair)) stream.proven.set(pairKey(pair.to, pair.from), pair)
    }
    managed.precede(this.managed.finish().lost)
    this.managed = managed
    this.#hasBegun = true
    managed.attach(stream)
    this.#resumables.opened(this)
    stream.say(resumed(managed.id, managed.handled))
    managed.resumedAt(h)
    managed.repeat()
    this.#resumables.release(found)
    stream.offer()
  }
}

// ---- Either ------------------------------------------------------------------------------------

/** The most characters of an id that a peer makes. */
const LONGEST_ID = 1024

/** Handles an element of stream management once that was negotiated. Throws StreamError if it is not allowed. */
export function answerTo (element: ParsedElement, managed: S2sAcks): void {
  switch (localName(element)) {
    case 'r': managed.requested(); return
    case 'a': {
      const h = countIn(element)
      if (h === undefined) throw new StreamError('invalid-xml', 'an acknowledgement needs a count')
      managed.acknowledged(h)
      return
    }
    case 'enabled':
      if (managed.isCounting || !managed.isAcknowledged) throw new StreamError('policy-violation')
      managed.countReceived()
      if (isTrue(element, 'resume')) managed.id = flatten(shortened(attributeOf(element, 'id') ?? '', LONGEST_ID))
      return
    case 'failed': managed.giveUp(); return
    default: throw new StreamError('unsupported-stanza-type')
  }
}
