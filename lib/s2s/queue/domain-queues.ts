/** All links to other servers, one per pair of domains, and what is known of servers that cannot be reached. */
import { Cache } from '../../base/cache.js'
import type { Clock, Timer } from '../../base/clock.js'
import type { Maybe } from '../../base/maybe.js'
import type { Broadcast, BroadcastPart } from '../../host/broadcast.js'
import type { LinkReport } from '../../host/link-report.js'
import type { Passage, Runner } from '../../host/pipeline/passage.js'
import type { Destination, Room } from '../../host/router.js'
import type { StreamEnd } from '../../stream/stream.js'
import type { Batch } from '../../storage/store.js'
import { StanzaError, StreamError } from '../../xmpp/errors.js'
import type { Jid } from '../../xmpp/jid.js'
import type { Addressed } from '../../xmpp/stanza.js'
import { MissedPresence, settleReturned } from './missed-presence.js'
import { Failures } from './failures.js'
import { KeyChecks, type KeyChecksOwner } from './key-checks.js'
import { DomainQueue, sharedQueues, type LinkHome } from './domain-queue.js'
import { S2sAcks, type AckedStream, type ManagedHome } from '../acks/acks.js'
import type { Outgoing, OutgoingOwner } from '../streams/outgoing.js'
import type { Left, ParkedStream } from './outbox.js'
import { Pings } from './pings.js'
import { receiverOn } from '../streams/receive.js'
import { queueReports } from './report.js'
import { OwnCutStreams, HeldPairs, PeerCutStreams, type OwnCutStream } from '../acks/resumption.js'
import { broadcastToServer, type BroadcastToServerHome } from './broadcast-to-server.js'
import { Rooms } from './room.js'
import { shareable } from './sharing.js'
import { TO_SERVER, type ToServerHome } from './to-server.js'
import { addressesIn, pairKey } from '../ground/domain-pair.js'
import { byPair, isAnswered, waiting, type QueuedStanza } from '../ground/queued-stanza.js'
import { itemsOf, type QueueEntry } from '../ground/queued-broadcast.js'
import type { StanzaSink } from '../ground/stanza-sink.js'
import { LinkError } from '../ground/link-error.js'
import type { FederationContext } from './context.js'

/** The most pairs of domains at a time, and the most unacknowledged bytes on all of them. */
const MOST_LINKS = 10_000
const MOST_BYTES = 64 * 1024 * 1024
/** How often unused streams are looked for, in milliseconds. */
const ROUND = 30_000

export class DomainQueues implements Destination, LinkHome, ManagedHome, KeyChecksOwner {
  readonly world: FederationContext
  /** The name of these queues as a destination. */
  readonly place = 'other servers'
  readonly #links = new Map<string, DomainQueue>()
  readonly #outgoing = new Map<Outgoing, DomainQueue>()
  readonly #failures: Failures
  /** When links that are gone were last up. */
  readonly #stood = new Cache<string, number>({ max: MOST_LINKS })
  readonly #amends = new MissedPresence()
  readonly #rounds: Timer
  readonly #holds = new HeldPairs()
  readonly #formers: OwnCutStreams
  /** Streams that peers opened, kept to be resumed after a cut. */
  readonly resumables: PeerCutStreams
  readonly #pings: Pings
  readonly #keyChecks = new KeyChecks(this)
  /** Streams whose connection is not gone yet. */
  readonly #open = new Set<Outgoing>()
  readonly #rooms = new Rooms(this.#links, (local, remote) => this.trouble(local, remote) !== undefined)
  readonly #steps: ToServerHome & BroadcastToServerHome
  #drained: (() => void) | undefined
  readonly queues = sharedQueues()
  #bytes = 0
  /** The server stops: it takes no more stanzas. `#isClosed`: it sends none either. */
  #isResting = false
  #isClosed = false

  /** `chance`: returns a random number from 0 to 1, for the back-off. */
  constructor (world: FederationContext, chance: () => number) {
    this.world = world
    this.#steps = {
      world, rooms: this.#rooms,
      push: (stanza, row) => { this.#push(stanza, row) },
      lose: stanza => { this.#drop(stanza) },
      carries: (local, remote) => this.#links.get(pairKey(local, remote))?.carrier !== undefined,
      put: entry => { this.#put(entry) },
      bounce: (item, error) => { this.bounce(item, error) },
    }
    this.#failures = new Failures(world.clock, chance)
    this.#formers = new OwnCutStreams(world.clock, this.#holds, former => { this.#cannotResume(former, undefined) })
    this.resumables = new PeerCutStreams(world.clock, this.#holds, lost => { this.#lost(lost) })
    this.#pings = new Pings(world)
    this.#rounds = world.clock.every(ROUND, () => { this.#goRound() })
  }

  // ---- For the router --------------------------------------------------------------------

  accept (passage: Passage, runner: Runner): Maybe<void> { return runner.run(passage, TO_SERVER, this.#steps) }
  bounced (): void {}

  /** Takes a broadcast to addresses of one domain. */
  broadcast (broadcast: Broadcast, to: readonly Jid[], batch: Batch): BroadcastPart {
    return broadcastToServer(this.#steps, broadcast, to, batch)
  }

  room (local: string, remote: string): Room { return this.#rooms.of(local, remote) }

  #push (stanza: Addressed, row: string | undefined): void { this.#put(waiting(stanza, this.world.clock.now(), row)) }

  #put (entry: QueueEntry): void {
    const items = itemsOf(entry)
    const stanza = items[0]?.stanza
    if (stanza === undefined) return
    const [local, remote] = [stanza.from.domain, stanza.to.domain]
    if (this.#isClosed) { this.world.outbox.park(items, 'queued'); return }
    if (this.world.policy(local, remote).trust === 'refuse') {
      throw new StanzaError('not-allowed', `${local} does not talk to ${remote}`)
    }
    if (stanza.kind === 'presence') for (const item of items) this.#amends.overtaken(item.stanza)
    const link = this.linkOf(local, remote)
    try {
      link.push(entry)
    } finally {
      this.idle(link) // if the link took nothing, it is idle
    }
  }

  linkOf (local: string, remote: string): DomainQueue {
    const key = pairKey(local, remote)
    let link = this.#links.get(key)
    if (link === undefined) {
      if (this.#links.size >= MOST_LINKS) throw new StanzaError('resource-constraint', 'too many other servers')
      link = new DomainQueue(this, local, remote, this.#stood.get(key))
      this.#links.set(key, link)
    }
    return link
  }

  get isClosed (): boolean { return this.#isClosed }

  // ---- For incoming streams ------------------------------------------------------------------

  /** True if a key that `local` was shown comes from `remote`'s own server (XEP-0220 §2.2). Rejects with LinkError. */
  verify (...check: Parameters<KeyChecks['verify']>): Promise<boolean> {
    return this.#keyChecks.verify(...check)
  }

  /** Takes note that a peer has proved a domain, so its server is there. */
  alive (local: string, remote: string): void {
    const key = pairKey(local, remote)
    this.#failures.forget(key)
    this.#amends.back(local, remote)
    this.#links.get(key)?.alive()
  }

  /** Uses a peer's stream for our stanzas too (XEP-0288), unless earlier stanzas are not settled yet. */
  offer (local: string, remote: string, carrier: StanzaSink): void {
    if (!this.#isClosed && !this.#holds.has(pairKey(local, remote))) this.linkOf(local, remote).offer(carrier)
  }

  /** Takes note that a stream which was offered is over. */
  withdraw (local: string, remote: string, carrier: StanzaSink, reason: Error | undefined): void {
    this.#cut([pairKey(local, remote)], reason)
    this.#links.get(pairKey(local, remote))?.lost(carrier, reason)
  }

  // ---- For all streams ---------------------------------------------------------------------

  get clock (): Clock { return this.world.clock }

  /** Makes the stream management state for a stream to or from a remote domain. */
  managed (remote: string): S2sAcks { return new S2sAcks(this, this.#pings.isAnswering(remote)) }

  ping ({ stanza: { from, to } }: QueuedStanza, bearer: AckedStream, answered: (isThere: boolean) => void): boolean {
    return this.#pings.ping(from.domain, to.domain, bearer, answered)
  }

  isAnswer (local: string, remote: string, id: string): boolean { return this.#pings.isAnswer(local, remote, id) }

  /** Takes note that the other server has these stanzas. */
  done (items: readonly QueuedStanza[]): void { for (const item of items) this.world.outbox.done(item) }

  /** Bounces stanzas that may or may not have arrived. */
  #lost (items: readonly QueuedStanza[]): void {
    if (items.length === 0) return
    this.world.count('unacknowledged', items.length)
    if (this.#isResting) { this.world.outbox.park(items, 'unsure'); return } // the sender may be gone already
    const text = 'the connection was lost before the other server acknowledged it'
    const error = new StanzaError('remote-server-timeout', text)
    for (const item of items) this.bounce(item, error)
  }

  // ---- For links -----------------------------------------------------------------------------

  mayWait (bytes: number): boolean { return this.#bytes + bytes <= MOST_BYTES }
  waits (bytes: number): void { this.#bytes += bytes }

  bounce (item: QueuedStanza, error: StanzaError): void {
    const { stanza } = item
    this.world.outbox.done(item)
    const [from, to] = [stanza.from.toString(), stanza.to.toString()]
    this.world.log.debug('stanza not delivered', { id: stanza.id, from, to, reason: error.text ?? error.condition })
    if (!isAnswered(stanza)) { this.#drop(stanza); return }
    this.world.count('bounced', 1, { condition: error.condition })
    this.world.pipeline.returnToSender(stanza, error)
  }

  shared (local: string, remote: string): Promise<Outgoing | undefined> {
    return shareable(this.#outgoing.keys(), this.world, local, remote)
  }

  opened (link: DomainQueue, outgoing: Outgoing): void {
    const own = pairKey(link.local, link.remote)
    this.#outgoing.set(outgoing, link)
    outgoing.owner = {
      ...this.#ownerOf(outgoing),
      former: () => this.#formers.get(own),
      resumed: former => { this.#resumed(link, former) },
      notResumed: h => {
        const former = this.#formers.take(own)
        if (former !== undefined) this.#cannotResume(former, h)
      },
      over: end => { this.#over(outgoing, end) },
    }
    this.#open.add(outgoing)
    if (outgoing.isOver) { this.#over(outgoing, { by: 'loss', reason: undefined }); this.#open.delete(outgoing) } else if (this.#isClosed) outgoing.close()
  }

  /** Takes a stream that is opened for a test. Only a ping is sent on it. */
  tries (outgoing: Outgoing): void {
    outgoing.owner = this.#ownerOf(outgoing)
    this.#open.add(outgoing)
    if (outgoing.isOver) this.#open.delete(outgoing)
  }

  /** Resolves with true if the other server answers a ping. */
  asks (outgoing: Outgoing): Promise<boolean> {
    return this.#pings.asks(outgoing.local, outgoing.remote, { write: text => { outgoing.write(text) } })
  }

  #ownerOf (outgoing: Outgoing): OutgoingOwner {
    return {
      isResting: () => this.#isResting,
      received: receiverOn(outgoing, this.world, (local, remote, id) => this.isAnswer(local, remote, id)),
      former: () => undefined,
      resumed: () => {},
      notResumed: () => {},
      over: () => { outgoing.managed?.finish() },
      closed: () => {
        this.#open.delete(outgoing)
        if (this.#open.size === 0) this.#drained?.()
      },
    }
  }

  #over (outgoing: Outgoing, { by, reason }: StreamEnd): void {
    const link = this.#outgoing.get(outgoing)
    const { managed, local, remote } = outgoing
    const own = pairKey(local, remote)
    this.#outgoing.delete(outgoing)
    const unacknowledged = managed?.unacknowledged
    this.world.log.info('s2s link closed', { local, remote, reason: reason?.message, unacknowledged })
    if (managed !== undefined) {
      // XEP-0198 §5. Also if the peer closed it in order: on resumption it may still say how far it had come.
      const isResumable = managed.id !== '' && (by === 'loss' || by === 'peer' && managed.unacknowledged > 0)
      if (this.#isClosed) this.world.outbox.parkOurs(managed, own, outgoing.proven)
      else if (isResumable) this.#formers.keep(own, managed, [...outgoing.proven])
      else {
        this.#cut(outgoing.proven, reason)
        this.#lost(managed.finish().lost)
      }
    }
    for (const pair of outgoing.proven) if (pair !== own) this.#links.get(pair)?.lost(outgoing, reason)
    link?.closedOutgoing(outgoing, reason)
  }

  /** Lets other pairs send again, after what is sent once more on the resumed stream. */
  #resumed (link: DomainQueue, former: OwnCutStream): void {
    this.#formers.take(pairKey(link.local, link.remote))
    this.world.count('resumed')
    this.world.log.info('s2s link resumed', { local: link.local, remote: link.remote })
    for (const pair of former.pairs) this.#holds.release(pair)
  }

  /** `h`: the peer's count of handled stanzas, if it gave one. */
  #cannotResume ({ managed, pairs }: OwnCutStream, h: number | undefined): void {
    const { again, lost } = managed.finish(h)
    this.#cut(pairs, new Error('not resumed'))
    this.#lost(lost)
    this.#again(again)
    for (const pair of pairs) this.#holds.release(pair)
  }

  held (local: string, remote: string): Promise<void> | undefined { return this.#holds.of(pairKey(local, remote)) }
  hasFormer (link: DomainQueue): boolean { return this.#formers.has(pairKey(link.local, link.remote)) }

  idle (link: DomainQueue): void {
    if (link.hasStream || link.queued > 0) return
    const key = pairKey(link.local, link.remote)
    if (this.#links.get(key) !== link) return
    this.#links.delete(key)
    if (link.stoodAt > 0) this.#stood.set(key, link.stoodAt)
  }

  failed (link: DomainQueue, error: LinkError): void {
    const key = pairKey(link.local, link.remote)
    this.#formers.giveUp(key)
    const retryInSeconds = Math.round(this.#failures.add(key, error) / 1000)
    this.#amends.away(link.local, link.remote)
    this.world.count('failed', 1, { condition: error.condition, fault: error.fault })
    const { local, remote } = link
    const { message: reason, fault } = error
    this.world.log.info('s2s connect failed', { local, remote, reason, fault, retryInSeconds })
  }

  stands (link: DomainQueue): void {
    const key = pairKey(link.local, link.remote)
    this.#failures.forget(key)
    this.#amends.back(link.local, link.remote)
    this.world.count('opened')
    const { local, remote, carrier } = link
    this.world.log.info('s2s link established', { local, remote, security: carrier?.security })
  }

  trouble (local: string, remote: string): LinkError | undefined { return this.#failures.of(pairKey(local, remote)) }

  // ---- For the operator, and the end ------------------------------------------------------------

  report (): readonly LinkReport[] {
    return queueReports(this.#links.values(), this.#failures.entries().filter(([pair]) => !this.#links.has(pair)))
  }

  /** Takes over what the previous process left: sends unsent stanzas, and bounces those that may have arrived. */
  recall ({ queued, unsure, streams, ended }: Left): void {
    this.resumables.recall(ended)
    for (const stream of streams) this.#restore(S2sAcks.restored(this, stream, stream.items), stream)
    this.#again(queued)
    const error = new StanzaError('remote-server-timeout', 'this server failed before the other server acknowledged it')
    for (const item of unsure) this.bounce(item, error)
  }

  #restore (managed: S2sAcks, { side, pairs, isBidi }: ParkedStream): void {
    const [first = ''] = pairs
    if (side === 'ours') {
      this.#formers.keep(first, managed, pairs)
      this.#linkFor(first).again([]) // the stream is resumed even if no stanza waits
    } else this.resumables.restore({ managed, pairs: pairs.map(addressesIn), isBidi, leave: () => {} })
  }

  #again (items: readonly QueuedStanza[]): void {
    for (const [pair, some] of byPair(items)) this.#linkFor(pair).again(some)
  }

  #linkFor (pair: string): DomainQueue {
    const { from, to } = addressesIn(pair)
    return this.linkOf(to, from)
  }

  /** Waits until peers have acknowledged what they received, for `ms` milliseconds at most. */
  async confirmed (ms: number): Promise<void> {
    await Promise.all([...this.#outgoing.keys()].map(outgoing => outgoing.confirmed(ms)))
  }

  /** Takes no more stanzas on our streams, including streams that are opened later, because the server stops. */
  rest (): void { this.#isResting = true }

  /** Ends all streams; what waits goes out after the next start. Resolves when their connections are gone. */
  async close (): Promise<void> {
    if (this.#isClosed) return
    this.#isResting = this.#isClosed = true
    this.#rounds.cancel()
    const { outbox } = this.world
    for (const [own, { managed, pairs }] of this.#formers.close()) outbox.parkOurs(managed, own, pairs)
    this.resumables.close(resumable => { outbox.parkTheirs(resumable) })
    this.#pings.clear()
    for (const link of [...this.#links.values()]) outbox.park(link.close(), 'queued')
    for (const outgoing of [...this.#open]) void outgoing.finish()
    if (this.#open.size > 0) await new Promise<void>(resolve => { this.#drained = resolve })
  }

  /** Ends the streams to domains that are now refused. */
  dismiss (isRefused: (local: string, remote: string) => boolean): void {
    for (const outgoing of [...this.#outgoing.keys()]) {
      if (isRefused(outgoing.local, outgoing.remote)) outgoing.close(new StreamError('policy-violation'))
    }
  }

  #goRound (): void {
    const { clock, limits } = this.world
    for (const one of [...this.#outgoing.keys()]) if (clock.now() - one.lastUsed >= limits.idle) one.close()
    settleReturned(this.#amends, this.world)
  }

  #drop (stanza: Addressed): void {
    this.world.count('dropped')
    if (stanza.kind === 'presence') this.#amends.lost(stanza)
  }

  /** Marks pairs as away if their stream ended with an error. A stream that was closed in order lost nothing. */
  #cut (pairs: Iterable<string>, reason: Error | undefined): void {
    if (reason === undefined || this.#isClosed) return
    for (const { to, from } of [...pairs].map(addressesIn)) this.#amends.away(to, from)
  }
}
