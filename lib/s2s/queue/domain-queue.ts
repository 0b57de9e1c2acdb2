/** The queue and the stream of one pair of domains: stanzas wait here, within bounds, until there is a stream. */
import type { Timer } from '../../base/clock.js'
import { Ledger, type Share } from '../../base/ledger.js'
import { sizeOf } from '../../stream/acks/unacknowledged.js'
import { DRAW_WATER } from '../../stream/bounds.js'
import { StanzaError } from '../../xmpp/errors.js'
import { openOutgoing } from '../streams/open-outgoing.js'
import type { S2sAcks } from '../acks/acks.js'
import type { Outgoing } from '../streams/outgoing.js'
import { isAnswer, type QueuedStanza } from '../ground/queued-stanza.js'
import { entryBytes, itemsOf, type QueueEntry } from '../ground/queued-broadcast.js'
import type { StanzaSink } from '../ground/stanza-sink.js'
import { LinkError } from '../ground/link-error.js'
import type { FederationContext } from './context.js'

/** The bytes that wait on one link. */
export interface LinkShare extends Share { readonly link: DomainQueue }

/**
 * The most bytes that may wait on all links. Beyond that, the newest stanza of the fullest link returns to its sender.
 */
const ALL_QUEUES = 64 * 1024 * 1024

/** Makes the ledger that counts what waits on all links. */
export function sharedQueues (most = ALL_QUEUES): Ledger<LinkShare> {
  return new Ledger<LinkShare>(most, ({ link }) => { link.shed() }, 1)
}

/** The needs of a link, met by its owner. */
export interface LinkHome {
  readonly world: FederationContext
  /** The ledger of what waits on all links. */
  readonly queues: Ledger<LinkShare>
  bounce (item: QueuedStanza, error: StanzaError): void
  /** Finds an open stream that may carry this pair as well. */
  shared (local: string, remote: string): Promise<Outgoing | undefined>
  /** Takes note of a stream that was opened, and watches it from now on. */
  opened (link: DomainQueue, outgoing: Outgoing): void
  /** Takes note that nothing waits and there is no stream. */
  idle (link: DomainQueue): void
  failed (link: DomainQueue, error: LinkError): void
  stands (link: DomainQueue): void
  /** Makes the stream management state for a stream to a remote domain. */
  managed (remote: string): S2sAcks
  /** Resolves when stanzas that were sent on an earlier stream are settled; undefined if there are none. */
  held (local: string, remote: string): Promise<void> | undefined
  /** True if a stream of this link was cut and is to be resumed. */
  hasFormer (link: DomainQueue): boolean
  /** Why no link is made for now; undefined if one may be. */
  trouble (local: string, remote: string): LinkError | undefined
}

/**
 * The factor by which the bounds are wider for iq answers, so that a queue full of other stanzas does not silence them.
 */
const FOR_ANSWERS = 1.1
/** If a server was there less than this time ago, in milliseconds, it is probably restarting: stanzas for it wait. */
const RESTART = 600_000
const FIRST_RETRY = 500
const LAST_RETRY = 10_000
/** If a stream was up for this long, in milliseconds, it is opened again at once. */
const STEADY = 10_000

export class DomainQueue {
  readonly local: string
  readonly remote: string
  lastError: LinkError | undefined
  #home: LinkHome
  #queue: QueueEntry[] = []
  readonly #share: LinkShare = { bytes: 0, link: this }
  #carrier: StanzaSink | undefined
  #opening: Promise<Outgoing> | undefined
  #isConnecting = false
  #deadline: Timer | undefined
  #retry: Timer | undefined
  #retries = 0
  #stoodAt: number
  #standsSince = -Infinity
  #isClosed = false

  /** `stoodAt`: when the last link of this pair was up. */
  constructor (home: LinkHome, local: string, remote: string, stoodAt = -Infinity) {
    this.#home = home
    this.#stoodAt = stoodAt
    this.local = local
    this.remote = remote
  }

  get carrier (): StanzaSink | undefined { return this.#carrier?.isOver === false ? this.#carrier : undefined }
  get state (): 'established' | 'connecting' | 'waiting' | 'idle' {
    if (this.carrier !== undefined) return 'established'
    if (this.#isConnecting) return 'connecting'
    return this.#retry === undefined ? 'idle' : 'waiting'
  }
  get queued (): number { return this.#queue.length }
  get bytes (): number { return this.#share.bytes }
  /** True if little waits for the other server. A long answer to it goes on while this is true. */
  get hasRoom (): boolean {
    const { carrier } = this
    return carrier === undefined ? this.bytes <= DRAW_WATER : carrier.backlog <= DRAW_WATER && carrier.hasRoom
  }

  get stoodAt (): number { return this.#stoodAt }

  /** Sends a stanza or a broadcast, now or once there is a stream. Throws StanzaError if it cannot be sent or wait. */
  push (entry: QueueEntry): void {
    const { world } = this.#home
    const { carrier } = this
    if (carrier === undefined) { this.#enqueue(entry); return }
    // Refuses stanzas for a slow peer before its stream is given up with all that is in it.
    if (carrier.backlog > world.limits.queue.size || !carrier.hasRoom) {
      throw new StanzaError('resource-constraint', 'the other server reads too slowly')
    }
    for (const item of itemsOf(entry)) this.#carry(carrier, item)
  }

  /** Returns an open, encrypted stream to the other server. Our domain is not proven on it yet. */
  outgoing (): Promise<Outgoing> {
    return this.#opening ??= this.#open()
  }

  /** Uses a stream that the peer opened for this direction too (XEP-0288), if there is no other. */
  offer (carrier: StanzaSink): void {
    if (this.carrier === undefined) this.#stand(carrier)
  }

  /** Takes note that the stream that carried this pair is gone. */
  lost (carrier: StanzaSink, reason: Error | undefined): void {
    if (this.#carrier !== carrier) return
    this.#carrier = undefined
    const now = this.#stoodAt = this.#home.world.clock.now()
    if (reason !== undefined) this.lastError = lossOf(reason)
    if (now - this.#standsSince >= STEADY) this.#retries = 0
    if (!this.#isWanted) this.#settle()
    else if (this.#retries > 0) this.#wait()
    else this.#connect()
    this.#retries++
  }

  /** Sends stanzas that did not reach the other server, before all others. */
  again (items: readonly QueuedStanza[]): void {
    for (const item of items) this.#home.queues.change(this.#share, sizeOf(item))
    this.#queue.unshift(...items)
    this.#arm()
    const { carrier } = this
    if (carrier !== undefined) this.#carryAll(carrier)
    else if (this.#retry === undefined) this.#connect()
  }

  /** Takes note that the other server is there, and connects now if it waited to try again. */
  alive (): void {
    if (this.#retry === undefined) return
    this.#retry.cancel()
    this.#retry = undefined
    this.#retries = 0
    this.#connect()
  }

  /** Returns the newest entry to its sender: too much waits on all links, and most of it here. */
  shed (): void {
    const entry = this.#queue.pop()
    if (entry === undefined) return
    this.#leave(entryBytes(entry))
    this.#bounce([entry], tooMuchWaits())
  }

  /** Takes no more stanzas. Returns those that wait. */
  close (): readonly QueuedStanza[] {
    this.#isClosed = true
    this.#retry?.cancel()
    this.#retry = undefined
    return this.#empty().flatMap(itemsOf)
  }

  #enqueue (entry: QueueEntry): void {
    const { world } = this.#home
    const { queue } = world.limits
    const trouble = this.#isRecent ? undefined : this.#home.trouble(this.local, this.remote)
    if (trouble !== undefined) throw trouble.stanzaError()
    if (this.#isClosed) throw new StanzaError('remote-server-timeout')
    const bytes = entryBytes(entry)
    const most = 'stanza' in entry && isAnswer(entry.stanza) ? FOR_ANSWERS : 1
    if (this.#queue.length >= queue.stanzas * most || this.bytes + bytes > queue.size * most) {
      throw tooMuchWaits()
    }
    this.#queue.push(entry)
    if (this.#queue.length === 1) this.#arm()
    this.#home.queues.change(this.#share, bytes)
    if (!this.#isConnecting && this.#retry === undefined) this.#connect()
  }

  get #isWanted (): boolean { return this.#queue.length > 0 || this.#home.hasFormer(this) }
  get #isRecent (): boolean { return this.#home.world.clock.now() - this.#stoodAt < RESTART }

  async #open (): Promise<Outgoing> {
    try {
      const { world } = this.#home
      const outgoing = await openOutgoing(world, this.local, this.remote, remote => this.#home.managed(remote))
      this.#home.opened(this, outgoing)
      return outgoing
    } catch (error) {
      this.#opening = undefined
      throw error
    }
  }

  /** Takes note that the stream of `outgoing ()` is over. */
  closedOutgoing (outgoing: Outgoing, reason: Error | undefined): void {
    this.#opening = undefined
    if (this.#carrier === outgoing) this.lost(outgoing, reason)
    else this.#settle()
  }

  /** True if there is a stream or one is being opened. */
  get hasStream (): boolean { return this.#opening !== undefined || this.carrier !== undefined || this.#isConnecting }

  #connect (): void {
    if (this.#isConnecting || this.#isClosed) return
    this.#isConnecting = true
    this.#way().then(carrier => {
      this.#isConnecting = false
      if (this.carrier === undefined) this.#stand(carrier)
    }, (error: unknown) => {
      this.#isConnecting = false
      this.#fail(error instanceof LinkError ? error : unreachable(error))
    })
  }

  async #way (): Promise<StanzaSink> {
    const { local, remote } = this
    if (!this.#home.hasFormer(this)) await this.#home.held(local, remote)
    if (this.carrier !== undefined) return this.carrier
    const shared = this.#opening === undefined ? await this.#home.shared(local, remote) : undefined
    if (shared !== undefined) {
      try {
        await shared.authorise(local, remote)
        return shared
      } catch (error) {
        // Opens a stream of its own instead.
        this.#home.world.log.debug('s2s stream not shared', { local, remote, error })
      }
    }
    const outgoing = await this.outgoing()
    await outgoing.authorise(local, remote).catch((error: unknown) => {
      outgoing.close()
      throw error
    })
    return outgoing
  }

  #stand (carrier: StanzaSink): void {
    if (this.#isClosed) return
    this.#carrier = carrier
    this.#stoodAt = this.#standsSince = this.#home.world.clock.now()
    this.lastError = undefined
    this.#home.stands(this)
    this.#carryAll(carrier)
    this.#settle()
  }

  #carryAll (carrier: StanzaSink): void {
    for (const entry of this.#empty()) for (const item of itemsOf(entry)) this.#carryOrBounce(carrier, item)
  }

  #carryOrBounce (carrier: StanzaSink, item: QueuedStanza): void {
    try {
      this.#carry(carrier, item)
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error
      this.#home.bounce(item, error)
    }
  }

  #carry (carrier: StanzaSink, item: QueuedStanza): void {
    // XEP-0478 §3: a larger stanza would end the stream for all.
    if (carrier.largest !== undefined && sizeOf(item) > carrier.largest) {
      throw new StanzaError('policy-violation', `the other server accepts at most ${carrier.largest} bytes`)
    }
    carrier.send(item)
  }

  #fail (error: LinkError): void {
    this.lastError = error
    if (this.#isClosed) return
    if (error.isPassing && this.#isRecent && this.#isWanted) {
      this.#retries++
      this.#wait()
      return
    }
    this.#home.failed(this, error)
    this.#bounceAll(error.stanzaError())
  }

  /** Connects again a little later; each time the delay is longer. */
  #wait (): void {
    const delay = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** Math.min(this.#retries - 1, 10))
    this.#retry?.cancel()
    this.#retry = this.#home.world.clock.after(delay, () => {
      this.#retry = undefined
      if (this.#isWanted) this.#connect()
      else this.#settle()
    })
  }

  /** Sets the timer for the time when the oldest waiting stanza expires. */
  #arm (): void {
    const [oldest] = this.#queue
    this.#deadline?.cancel()
    this.#deadline = undefined
    if (oldest === undefined) return
    const { clock, limits } = this.#home.world
    this.#deadline = clock.after(Math.max(0, oldest.since + limits.queue.time - clock.now()), () => { this.#expire() })
  }

  #expire (): void {
    const { clock, limits } = this.#home.world
    const end = clock.now() - limits.queue.time
    const count = this.#queue.findIndex(({ since }) => since > end)
    const late = this.#queue.splice(0, count < 0 ? this.#queue.length : count)
    for (const entry of late) this.#leave(entryBytes(entry))
    this.#arm()
    this.#bounce(late, new StanzaError('remote-server-timeout', this.lastError?.text))
    this.#settle()
  }

  #bounceAll (error: StanzaError): void {
    this.#bounce(this.#empty(), error)
    this.#settle()
  }

  #bounce (entries: readonly QueueEntry[], error: StanzaError): void {
    for (const entry of entries) for (const item of itemsOf(entry)) this.#home.bounce(item, error)
  }

  #empty (): readonly QueueEntry[] {
    const queue = this.#queue
    this.#queue = []
    for (const entry of queue) this.#leave(entryBytes(entry))
    this.#arm()
    return queue
  }

  #leave (bytes: number): void {
    this.#home.queues.change(this.#share, -bytes)
  }

  #settle (): void {
    if (this.#isWanted) return
    this.#retry?.cancel()
    this.#retry = undefined
    if (this.carrier === undefined && !this.#isConnecting) this.#home.idle(this)
  }
}

/** Returns the error for a stanza that is one too many in the queue. */
function tooMuchWaits (): StanzaError {
  return new StanzaError('resource-constraint', 'too many stanzas wait for the other server', { type: 'wait' })
}

/** Returns a lost connection as a LinkError. */
function lossOf (reason: Error): LinkError {
  if (reason instanceof LinkError) return reason
  return new LinkError('remote-server-timeout', 'the connection was lost', { isPassing: true, detail: reason.message })
}

function unreachable (cause: unknown): LinkError {
  return new LinkError('remote-server-timeout', 'it cannot be reached', { cause })
}
