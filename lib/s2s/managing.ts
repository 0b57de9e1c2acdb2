/** Stream management on one stream between servers (XEP-0198): agreed on, taken over from a stream before it, and left to one behind it. */
import { randomBytes } from 'node:crypto'
import type { Maybe } from '../base/maybe.js'
import { countIn, failed, isTrue } from '../stream/stream-management.js'
import type { StreamEnd } from '../stream/stream.js'
import { attributeOf, localName, xml, type Element, type ParsedElement } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError } from '../xmpp/errors.js'
import type { DialbackAddresses } from './dialback.js'
import type { Dialogue } from './dialogue.js'
import { answerTo, type Bearer, type Managed } from './managed.js'
import { RESUMABLE, type Former, type Resumable, type Resumables } from './resumption.js'
import { pairKey } from './waiting.js'

// ---- A stream that we have opened ------------------------------------------------------------

/** What its stream asks of links, and what it tells them. */
export interface FormerHome {
  /** What is left of the stream before this one, to be taken up again. */
  former (): Former | undefined
  /** It was. */
  resumed (former: Former): void
  /** It cannot be; so much had come, where the peer says so. */
  notResumed (h: number | undefined): void
}

export interface Beginning {
  readonly home: FormerHome
  readonly dialogue: Dialogue
  readonly bearer: Bearer
  /** The peer offers it. */
  readonly isOffered: boolean
  say (element: Element): void
  /** Made anew. */
  managed (): Managed
  /** From now on this is what its stanzas are kept in; `pairs`: for whom it speaks besides. */
  becomes (managed: Managed, pairs: readonly string[]): void
}

/** Takes up the stream before this one (§5), or begins anew (§3). */
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

async function resume (former: Former, how: Beginning): Promise<boolean> {
  const { managed, pairs } = former
  const { home, dialogue, bearer } = how
  how.say(xml('resume', { xmlns: NS.SM, previd: managed.id, h: await managed.settled() }))
  const answer = await dialogue.next()
  const h = countIn(answer)
  const name = localName(answer)
  if (answer.ns !== NS.SM || name !== 'failed' && (name !== 'resumed' || h === undefined)) throw new StreamError('unsupported-stanza-type')
  const isResumed = name === 'resumed' && h !== undefined
  if (isResumed) {
    if (home.former() !== former) throw new StreamError('policy-violation', 'it took too long') // given up meanwhile
    managed.attach(bearer)
    how.becomes(managed, pairs) // the peer keeps who may speak there, as we do
    managed.resumedAt(h)
    home.resumed(former)
    managed.repeat()
  } else home.notResumed(h)
  dialogue.rest()
  return isResumed
}

// ---- A stream that the peer has opened ---------------------------------------------------------

export interface IncomingStream extends Bearer {
  readonly isOver: boolean
  readonly isBidi: boolean
  /** For whom the peer may speak, by their key; whom it has authenticated as comes first. */
  readonly proven: Map<string, DialbackAddresses>
  /** Whether these two may talk. */
  allows (pair: DialbackAddresses): boolean
  say (element: Element): void
  end (error: StreamError): void
  /** It takes what we have for the peer. */
  offer (): void
}

/** Requests to enable or to resume that are refused on one stream; the next one ends it. */
const MOST_REFUSALS = 10

export class IncomingManagement implements Resumable {
  managed: Managed
  readonly #stream: IncomingStream
  readonly #resumables: Resumables
  /** The peer has taken up a former stream, or has not. */
  #hasBegun = false
  #isLeft = false
  /** Requests that were refused. */
  #refusals = 0

  constructor (stream: IncomingStream, resumables: Resumables, managed: Managed) {
    this.#stream = stream
    this.#resumables = resumables
    this.managed = managed
    managed.attach(stream)
  }

  get isBidi (): boolean { return this.#stream.isBidi }
  get isResumable (): boolean { return this.managed.id !== '' }
  get pairs (): readonly DialbackAddresses[] { return [...this.#stream.proven.values()] }
  get #first (): string { return [...this.#stream.proven.keys()][0] ?? '' }

  /** Another stream has what was ours. */
  leave (error: StreamError): void {
    this.#isLeft = true
    this.#stream.end(error)
  }

  /** Whoever sends a stanza does not take up anything any more. */
  stanza (): void { if (!this.#hasBegun) this.#begins() }

  element (element: ParsedElement): Maybe<void> {
    const name = localName(element)
    if (name === 'enable') { this.#enable(element); return undefined }
    if (name === 'resume') return this.#resume(element)
    if (!this.managed.isCounting) throw new StreamError('policy-violation', 'stream management is not enabled')
    answerTo(element, this.managed)
    return undefined
  }

  /** The last that is said: how far we have come, once that is stored (§4). */
  async farewell (): Promise<void> {
    await this.managed.settled()
    this.managed.farewell()
  }

  /** Its stream is over. What was sent on it comes back, unless it may be taken up again. */
  over (by: StreamEnd['by']): void {
    if (this.#isLeft) return
    if (this.managed.id === '') this.#resumables.lost(this.managed)
    else if (by === 'loss' || by === 'us' && this.#resumables.isClosed) this.#resumables.cut(this)
    else this.#resumables.ended(this)
  }

  #enable (element: ParsedElement): void {
    const { managed } = this
    // §3: once.
    if (managed.isCounting) throw new StreamError('policy-violation', 'stream management is enabled already')
    const isResumable = isTrue(element, 'resume')
    if (isResumable) managed.id = randomBytes(18).toString('base64url')
    this.#stream.say(xml('enabled', { xmlns: NS.SM, ...isResumable ? { id: managed.id, resume: 'true', max: String(RESUMABLE / 1000) } : {} }))
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
    const found = await this.#resumables.take(attributeOf(element, 'previd') ?? '', this.#first, new StreamError('conflict', 'resumed elsewhere'))
    if (found === undefined || typeof found === 'number') { this.#refuse(failed('item-not-found', found)); return }
    if (stream.isOver) { this.#resumables.back(found); return }
    this.#takeOver(found, h)
  }

  /** XEP-0198 §3, §5: the stream goes on; but nobody asks for ever. */
  #refuse (answer: Element): void {
    if (++this.#refusals > MOST_REFUSALS) throw new StreamError('policy-violation', 'too many requests that are refused')
    this.#stream.say(answer)
  }

  #takeOver (found: Resumable, h: number): void {
    const stream = this.#stream
    const { managed } = found
    // It was told to nobody but who spoke for the same domain: for whom else that one could speak, this one can.
    for (const pair of found.pairs) {
      if (stream.allows(pair)) stream.proven.set(pairKey(pair.to, pair.from), pair)
    }
    managed.precede(this.managed.finish().lost)
    this.managed = managed
    this.#hasBegun = true
    managed.attach(stream)
    this.#resumables.opened(this)
    stream.say(xml('resumed', { xmlns: NS.SM, previd: managed.id, h: managed.handled }))
    managed.resumedAt(h)
    managed.repeat()
    this.#resumables.release(found)
    stream.offer()
  }
}
