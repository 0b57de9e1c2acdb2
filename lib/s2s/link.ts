/** What one domain of ours has to say to one of another server: it waits here until there is a stream, within bounds. */
import type { Timer } from '../base/clock.js'
import { Ledger, type Share } from '../base/ledger.js'
import { StanzaError } from '../xmpp/errors.js'
import { openOutgoing } from './open.js'
import type { Managed } from './managed.js'
import type { Outgoing } from './outgoing.js'
import { isAnswer, type Carrier, type Waiting } from './waiting.js'
import { LinkError, type FederationWorld } from './world.js'

/** What waits on a link. */
export interface LinkShare extends Share { readonly link: Link }

/** Bytes that may wait on all links together. With more, what came last for the domain for which most waits goes back to its sender. */
const ALL_QUEUES = 64 * 1024 * 1024

/** Counts what waits on all links. */
export function sharedQueues (most = ALL_QUEUES): Ledger<LinkShare> {
  return new Ledger<LinkShare>(most, ({ link }) => { link.shed() }, 1)
}

/** What a link asks of all links. */
export interface LinkHome {
  readonly world: FederationWorld
  /** What waits on all links. */
  readonly queues: Ledger<LinkShare>
  bounce (item: Waiting, error: StanzaError): void
  /** A stream that may serve this pair as well. */
  shared (local: string, remote: string): Promise<Outgoing | undefined>
  /** A stream was opened; it is watched from now on. */
  opened (link: Link, outgoing: Outgoing): void
  /** Nothing waits any more, and there is no stream. */
  idle (link: Link): void
  failed (link: Link, error: LinkError): void
  stands (link: Link): void
  /** What is known of the stanzas of a stream to this other server. */
  managed (remote: string): Managed
  /** Resolves when what was sent before is where it belongs; undefined where there is nothing of the kind. */
  held (local: string, remote: string): Promise<void> | undefined
  /** A stream of this link's was cut, and is to be taken up again. */
  hasFormer (link: Link): boolean
  /** Why there will be no link for now. */
  trouble (local: string, remote: string): LinkError | undefined
}

/** Of what may wait, answers may take so much more: a queue full of what others say is not to silence them. */
const FOR_ANSWERS = 1.1
/** A server that was there so many milliseconds ago is being restarted rather than dead: what is for it waits. */
const RESTART = 600_000
const FIRST_RETRY = 500
const LAST_RETRY = 10_000
/** Whose stream stood for so long, in milliseconds, is tried again at once. */
const STEADY = 10_000

export class Link {
  readonly local: string
  readonly remote: string
  lastError: LinkError | undefined
  #home: LinkHome
  #queue: Waiting[] = []
  readonly #share: LinkShare = { bytes: 0, link: this }
  #carrier: Carrier | undefined
  #opening: Promise<Outgoing> | undefined
  #isConnecting = false
  #deadline: Timer | undefined
  #retry: Timer | undefined
  #retries = 0
  #stoodAt: number
  #standsSince = -Infinity
  #isClosed = false

  /** `stoodAt`: when the last link of this pair stood. */
  constructor (home: LinkHome, local: string, remote: string, stoodAt = -Infinity) {
    this.#home = home
    this.#stoodAt = stoodAt
    this.local = local
    this.remote = remote
  }

  get carrier (): Carrier | undefined { return this.#carrier?.isOver === false ? this.#carrier : undefined }
  get state (): 'established' | 'connecting' | 'waiting' | 'idle' {
    if (this.carrier !== undefined) return 'established'
    if (this.#isConnecting) return 'connecting'
    return this.#retry === undefined ? 'idle' : 'waiting'
  }
  get queued (): number { return this.#queue.length }
  get bytes (): number { return this.#share.bytes }
  get stoodAt (): number { return this.#stoodAt }

  /** Sends a stanza, now or once there is a stream. Throws StanzaError where it cannot wait. */
  push (item: Waiting): void {
    const { world } = this.#home
    const { carrier } = this
    if (carrier === undefined) { this.#enqueue(item); return }
    // What a slow peer does not read piles up here: its senders are told, before the stream is given up with all that is in it.
    if (carrier.backlog > world.limits.queue.size || !carrier.hasRoom) throw new StanzaError('resource-constraint', 'the other server reads too slowly')
    this.#carry(carrier, item)
  }

  /** An open stream to the other server, secured; not yet proven to be ours. */
  outgoing (): Promise<Outgoing> {
    return this.#opening ??= this.#open()
  }

  /** A stream that the peer opened serves this direction too (XEP-0288). */
  offer (carrier: Carrier): void {
    if (this.carrier === undefined) this.#stand(carrier)
  }

  /** The stream that carried this is gone. */
  lost (carrier: Carrier, reason: Error | undefined): void {
    if (this.#carrier !== carrier) return
    this.#carrier = undefined
    const now = this.#stoodAt = this.#home.world.clock.now()
    if (reason !== undefined) this.lastError = reason instanceof LinkError ? reason : new LinkError('remote-server-timeout', 'the connection is gone', { isPassing: true, detail: reason.message })
    if (now - this.#standsSince >= STEADY) this.#retries = 0
    if (!this.#isWanted) this.#settle()
    else if (this.#retries > 0) this.#wait()
    else this.#connect()
    this.#retries++
  }

  /** These have not come to the other server: they go before all others. */
  again (items: readonly Waiting[]): void {
    for (const { octets } of items) {
      this.#home.queues.change(this.#share, octets.length)
    }
    this.#queue.unshift(...items)
    this.#arm()
    const { carrier } = this
    if (carrier !== undefined) for (const item of this.#empty()) this.#carryOrBounce(carrier, item)
    else if (this.#retry === undefined) this.#connect()
  }

  /** The other server has shown that it is there: no need to wait any longer. */
  alive (): void {
    if (this.#retry === undefined) return
    this.#retry.cancel()
    this.#retry = undefined
    this.#retries = 0
    this.#connect()
  }

  /** Too much waits on all links, and most of it here: what came last goes back to its sender. */
  shed (): void {
    const item = this.#queue.pop()
    if (item === undefined) return
    this.#leave(item.octets.length)
    this.#home.bounce(item, new StanzaError('resource-constraint', 'too much waits for the other server', { type: 'wait' }))
  }

  /** Nothing is taken any more. Answers with what waits. */
  close (): readonly Waiting[] {
    this.#isClosed = true
    this.#retry?.cancel()
    this.#retry = undefined
    return this.#empty()
  }

  #enqueue (item: Waiting): void {
    const { world } = this.#home
    const { queue } = world.limits
    const trouble = this.#isRecent ? undefined : this.#home.trouble(this.local, this.remote)
    if (trouble !== undefined) throw trouble.stanzaError()
    if (this.#isClosed) throw new StanzaError('remote-server-timeout')
    const bytes = item.octets.length
    const most = isAnswer(item.stanza) ? FOR_ANSWERS : 1
    if (this.#queue.length >= queue.stanzas * most || this.bytes + bytes > queue.size * most) {
      throw new StanzaError('resource-constraint', 'too much waits for the other server', { type: 'wait' })
    }
    this.#queue.push(item)
    if (this.#queue.length === 1) this.#arm()
    this.#home.queues.change(this.#share, bytes)
    if (!this.#isConnecting && this.#retry === undefined) this.#connect()
  }

  get #isWanted (): boolean { return this.#queue.length > 0 || this.#home.hasFormer(this) }
  get #isRecent (): boolean { return this.#home.world.clock.now() - this.#stoodAt < RESTART }

  async #open (): Promise<Outgoing> {
    try {
      const outgoing = await openOutgoing(this.#home.world, this.local, this.remote, remote => this.#home.managed(remote))
      this.#home.opened(this, outgoing)
      return outgoing
    } catch (error) {
      this.#opening = undefined
      throw error
    }
  }

  /** To be called once the stream of `outgoing ()` is over. */
  closedOutgoing (outgoing: Outgoing, reason: Error | undefined): void {
    this.#opening = undefined
    if (this.#carrier === outgoing) this.lost(outgoing, reason)
    else this.#settle()
  }

  /** A stream is there, or being opened. */
  get hasStream (): boolean { return this.#opening !== undefined || this.carrier !== undefined || this.#isConnecting }

  #connect (): void {
    if (this.#isConnecting || this.#isClosed) return
    this.#isConnecting = true
    this.#way().then(carrier => {
      this.#isConnecting = false
      if (this.carrier === undefined) this.#stand(carrier)
    }, (error: unknown) => {
      this.#isConnecting = false
      this.#fail(error instanceof LinkError ? error : new LinkError('remote-server-timeout', 'it cannot be reached', { cause: error }))
    })
  }

  async #way (): Promise<Carrier> {
    const { local, remote } = this
    if (!this.#home.hasFormer(this)) await this.#home.held(local, remote)
    if (this.carrier !== undefined) return this.carrier
    const shared = this.#opening === undefined ? await this.#home.shared(local, remote) : undefined
    if (shared !== undefined) {
      try {
        await shared.authorise(local, remote)
        return shared
      } catch (error) {
        this.#home.world.log.debug('stream not shared', { local, remote, error }) // a stream of its own, then
      }
    }
    const outgoing = await this.outgoing()
    await outgoing.authorise(local, remote).catch((error: unknown) => {
      outgoing.close()
      throw error
    })
    return outgoing
  }

  #stand (carrier: Carrier): void {
    if (this.#isClosed) return
    this.#carrier = carrier
    this.#stoodAt = this.#standsSince = this.#home.world.clock.now()
    this.lastError = undefined
    this.#home.stands(this)
    const queue = this.#empty()
    for (const item of queue) this.#carryOrBounce(carrier, item)
    this.#settle()
  }

  #carryOrBounce (carrier: Carrier, item: Waiting): void {
    try {
      this.#carry(carrier, item)
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error
      this.#home.bounce(item, error)
    }
  }

  #carry (carrier: Carrier, item: Waiting): void {
    // XEP-0478 §3: it would end the stream, for all.
    if (carrier.largest !== undefined && item.octets.length > carrier.largest) {
      throw new StanzaError('policy-violation', `the other server takes ${carrier.largest} bytes at most`)
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

  /** A little later, and later each time. */
  #wait (): void {
    const delay = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** Math.min(this.#retries - 1, 10))
    this.#retry?.cancel()
    this.#retry = this.#home.world.clock.after(delay, () => {
      this.#retry = undefined
      if (this.#isWanted) this.#connect()
      else this.#settle()
    })
  }

  /** The oldest that waits says how long. */
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
    const count = this.#queue.findIndex(item => item.since > end)
    const late = this.#queue.splice(0, count < 0 ? this.#queue.length : count)
    for (const { octets } of late) this.#leave(octets.length)
    this.#arm()
    const error = new StanzaError('remote-server-timeout', this.lastError?.text)
    for (const item of late) this.#home.bounce(item, error)
    this.#settle()
  }

  #bounceAll (error: StanzaError): void {
    for (const item of this.#empty()) this.#home.bounce(item, error)
    this.#settle()
  }

  #empty (): readonly Waiting[] {
    const queue = this.#queue
    this.#queue = []
    for (const { octets } of queue) this.#leave(octets.length)
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
