/** All links to other servers: one a pair of domains, streams shared where the peer lets us, and what is known of dead ones. */
import { Cache } from '../base/cache.js'
import type { Clock, Timer } from '../base/clock.js'
import type { Maybe } from '../base/maybe.js'
import { serverReturned, stanzaToServer } from '../host/events.js'
import { unlessHandled, type Destination, type Passage } from '../host/router.js'
import { returnToSender } from '../host/remote.js'
import type { StreamEnd } from '../stream/stream.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import type { Addressed } from '../xmpp/stanza.js'
import { Amends } from './amends.js'
import { Failures } from './failures.js'
import { Link, sharedQueues, type LinkHome } from './link.js'
import { Managed, type Bearer, type ManagedHome } from './managed.js'
import type { Outgoing, OutgoingOwner } from './outgoing.js'
import type { Left, ParkedStream } from './outbox.js'
import { Pings } from './pings.js'
import { receiverOn } from './receive.js'
import { reportOf, reportOfResting, type LinkReport } from './report.js'
import { Formers, Holds, Resumables, type Former } from './resumption.js'
import { shareable } from './sharing.js'
import { addressesIn, byPair, isAnswered, pairKey, waiting, type Carrier, type Waiting } from './waiting.js'
import { LinkError, type FederationWorld } from './world.js'

/** Pairs of domains at a time; and bytes that all of them together have not acknowledged. */
const MOST_LINKS = 10_000
const MOST_BYTES = 64 * 1024 * 1024
/** Keys of others that we check at a time. */
const MOST_CHECKS = 500
/** How often streams that nobody uses are looked for, in milliseconds. */
const ROUND = 30_000

export class Links implements Destination, LinkHome, ManagedHome {
  readonly world: FederationWorld
  readonly #links = new Map<string, Link>()
  readonly #outgoing = new Map<Outgoing, Link>()
  readonly #failures: Failures
  /** When links that are gone stood last. */
  readonly #stood = new Cache<string, number>({ max: MOST_LINKS })
  readonly #amends = new Amends()
  readonly #rounds: Timer
  readonly #holds = new Holds()
  readonly #formers: Formers
  /** Streams of others, to be taken up again where they are cut. */
  readonly resumables: Resumables
  readonly #pings: Pings
  /** Streams whose connection is not gone yet. */
  readonly #open = new Set<Outgoing>()
  #drained: (() => void) | undefined
  readonly queues = sharedQueues()
  #bytes = 0
  #checks = 0
  /** The server stops: nothing more is taken. Then nothing more goes out, either. */
  #isResting = false
  #isClosed = false

  /** `chance`: from 0 to 1, for back-off. */
  constructor (world: FederationWorld, chance: () => number) {
    this.world = world
    this.#failures = new Failures(world.clock, chance)
    this.#formers = new Formers(world.clock, this.#holds, former => { this.#cannotResume(former, undefined) })
    this.resumables = new Resumables(world.clock, this.#holds, lost => { this.#lost(lost) })
    this.#pings = new Pings(world)
    this.#rounds = world.clock.every(ROUND, () => { this.#goRound() })
  }

  // ---- As the router sees it -------------------------------------------------------------

  deliver (stanza: Addressed, passage: Passage): Maybe<void> {
    const { router } = this.world
    const [local, remote] = [stanza.from.domain, stanza.to.domain]
    if (!router.serves(local)) { this.world.count('relayed'); return undefined } // we speak for nobody else
    const host = this.world.host(local)
    if (host?.hooks.has(stanzaToServer) !== true) { this.#forward(stanza, passage); return undefined }
    const verdict = host.hooks.fire(stanzaToServer, { stanza, peer: remote })
    return unlessHandled(verdict, () => { this.#forward(stanza, passage) }, () => { router.settle(stanza, passage, () => {}) })
  }

  bounced (): void {}

  /** Behind the commit of what the stanza stores here: what is on its way is stored as well. */
  #forward (stanza: Addressed, passage: Passage): void {
    const { router, outbox } = this.world
    const row = outbox.keep(stanza, passage.batch)
    router.settle(stanza, passage, () => {
      try {
        this.#push(stanza, row)
      } catch (error) {
        outbox.done({ row, stanza })
        if (!(error instanceof StanzaError)) throw error
        if (!isAnswered(stanza)) { this.#drop(stanza); return }
        this.world.count('bounced', 1, { condition: error.condition })
        throw error
      }
    })
  }

  #push (stanza: Addressed, row: string | undefined): void {
    const [local, remote] = [stanza.from.domain, stanza.to.domain]
    const { clock, outbox } = this.world
    const item = waiting(stanza, clock.now(), row)
    if (this.#isClosed) { outbox.park([item], 'queued'); return }
    if (this.world.policy(local, remote).trust === 'refuse') throw new StanzaError('not-allowed', `${local} does not talk to ${remote}`)
    if (stanza.kind === 'presence') this.#amends.overtaken(stanza)
    const link = this.#linkOf(local, remote)
    try {
      link.push(item)
    } finally {
      this.idle(link) // as it is where it took nothing
    }
  }

  #linkOf (local: string, remote: string): Link {
    const key = pairKey(local, remote)
    let link = this.#links.get(key)
    if (link === undefined) {
      if (this.#links.size >= MOST_LINKS) throw new StanzaError('resource-constraint', 'too many other servers')
      link = new Link(this, local, remote, this.#stood.get(key))
      this.#links.set(key, link)
    }
    return link
  }

  // ---- As incoming streams see it ------------------------------------------------------------

  /** Whether the key that somebody has shown is that of `remote`'s own server (XEP-0220 §2.2). Rejects with LinkError. */
  async verify (local: string, remote: string, id: string, key: string): Promise<boolean> {
    const trouble = this.trouble(local, remote)
    if (trouble !== undefined) throw trouble
    if (this.#isClosed || this.#checks >= MOST_CHECKS) throw new LinkError('resource-constraint', 'too many keys to check', { isPassing: true, mender: 'us' })
    this.#checks++
    let link: Link | undefined
    try {
      link = this.#linkOf(local, remote)
      return await (await link.outgoing()).verify(local, remote, id, key)
    } catch (error) {
      if (error instanceof StanzaError) throw new LinkError(error.condition, 'too many links', { isPassing: true, mender: 'us' })
      throw error
    } finally {
      this.#checks--
      if (link !== undefined) this.idle(link)
    }
  }

  /** A domain has proved to us that it is there. */
  alive (local: string, remote: string): void {
    const key = pairKey(local, remote)
    this.#failures.forget(key)
    this.#amends.back(local, remote)
    this.#links.get(key)?.alive()
  }

  /** Its stream takes what we have for it, too (XEP-0288): once what was sent before is where it belongs. */
  offer (local: string, remote: string, carrier: Carrier): void {
    if (!this.#isClosed && !this.#holds.has(pairKey(local, remote))) this.#linkOf(local, remote).offer(carrier)
  }

  /** That stream is over. */
  withdraw (local: string, remote: string, carrier: Carrier, reason: Error | undefined): void {
    this.#cut([pairKey(local, remote)], reason)
    this.#links.get(pairKey(local, remote))?.lost(carrier, reason)
  }

  // ---- As streams see it -------------------------------------------------------------------

  get clock (): Clock { return this.world.clock }

  /** What is known of the stanzas of a stream to or from this other server. */
  managed (remote: string): Managed { return new Managed(this, this.#pings.isAnswering(remote)) }

  ping ({ stanza: { from, to } }: Waiting, bearer: Bearer, answered: (isThere: boolean) => void): boolean {
    return this.#pings.ping(from.domain, to.domain, bearer, answered)
  }

  isAnswer (local: string, remote: string, id: string): boolean { return this.#pings.isAnswer(local, remote, id) }

  /** The other server has these. */
  done (items: readonly Waiting[]): void { for (const item of items) this.world.outbox.done(item) }

  /** Nobody can say whether these have arrived. */
  #lost (items: readonly Waiting[]): void {
    if (items.length === 0) return
    this.world.count('unacknowledged', items.length)
    if (this.#isResting) { this.world.outbox.park(items, 'unsure'); return } // its sender may not be here any more
    const error = new StanzaError('remote-server-timeout', 'the connection broke before it was acknowledged')
    for (const item of items) this.bounce(item, error)
  }

  // ---- As links see it -----------------------------------------------------------------------

  mayWait (bytes: number): boolean { return this.#bytes + bytes <= MOST_BYTES }
  waits (bytes: number): void { this.#bytes += bytes }

  bounce (item: Waiting, error: StanzaError): void {
    const { stanza } = item
    this.world.outbox.done(item)
    this.world.log.debug('not delivered', { id: stanza.id, from: stanza.from.toString(), to: stanza.to.toString(), why: error.text ?? error.condition })
    if (!isAnswered(stanza)) { this.#drop(stanza); return }
    this.world.count('bounced', 1, { condition: error.condition })
    returnToSender(this.world.router, stanza, error)
  }

  shared (local: string, remote: string): Promise<Outgoing | undefined> {
    return shareable(this.#outgoing.keys(), this.world, local, remote)
  }

  opened (link: Link, outgoing: Outgoing): void {
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
    if (outgoing.isOver) { this.#over(outgoing, { by: 'loss', reason: undefined }); this.#open.delete(outgoing) }
    else if (this.#isClosed) outgoing.close()
  }

  /** A stream that is opened to look at what happens; nothing is sent on it but a ping. */
  tries (outgoing: Outgoing): void {
    outgoing.owner = this.#ownerOf(outgoing)
    this.#open.add(outgoing)
    if (outgoing.isOver) this.#open.delete(outgoing)
  }

  /** Resolves with whether the other server has answered. */
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
    this.world.log.info('link closed', { local, remote, reason: reason?.message, unacknowledged: managed?.unacknowledged })
    if (managed !== undefined) {
      // XEP-0198 §5. Also where the peer has ended it in order: it may still say how far it had come.
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

  /** Behind it goes what has waited meanwhile. */
  #resumed (link: Link, former: Former): void {
    this.#formers.take(pairKey(link.local, link.remote))
    this.world.count('resumed')
    this.world.log.info('link resumed', { local: link.local, remote: link.remote })
    for (const pair of former.pairs) this.#holds.release(pair)
  }

  /** `h`: so much has come, says the peer. */
  #cannotResume ({ managed, pairs }: Former, h: number | undefined): void {
    const { again, lost } = managed.finish(h)
    this.#cut(pairs, new Error('not taken up again'))
    this.#lost(lost)
    this.#again(again)
    for (const pair of pairs) this.#holds.release(pair)
  }

  held (local: string, remote: string): Promise<void> | undefined { return this.#holds.of(pairKey(local, remote)) }
  hasFormer (link: Link): boolean { return this.#formers.has(pairKey(link.local, link.remote)) }

  idle (link: Link): void {
    if (link.hasStream || link.queued > 0) return
    const key = pairKey(link.local, link.remote)
    if (this.#links.get(key) !== link) return
    this.#links.delete(key)
    if (link.stoodAt > 0) this.#stood.set(key, link.stoodAt)
  }

  failed (link: Link, error: LinkError): void {
    const key = pairKey(link.local, link.remote)
    this.#formers.giveUp(key)
    const rest = this.#failures.add(key, error)
    this.#amends.away(link.local, link.remote)
    this.world.count('failed', 1, { condition: error.condition, mender: error.mender })
    this.world.log.info('no link', { local: link.local, remote: link.remote, why: error.message, mender: error.mender, rest: Math.round(rest / 1000) })
  }

  stands (link: Link): void {
    const key = pairKey(link.local, link.remote)
    this.#failures.forget(key)
    this.#amends.back(link.local, link.remote)
    this.world.count('opened')
    this.world.log.info('link established', { local: link.local, remote: link.remote, security: link.carrier?.security })
  }

  trouble (local: string, remote: string): LinkError | undefined { return this.#failures.of(pairKey(local, remote)) }

  // ---- As the operator sees it ------------------------------------------------------------------

  report (): readonly LinkReport[] {
    const resting = this.#failures.entries().filter(([pair]) => !this.#links.has(pair))
    return [...[...this.#links.values()].map(reportOf), ...resting.map(([pair, error]) => reportOfResting(pair, error))]
  }

  /** What the process before this one has left behind: what had not gone out goes now, and of the rest nobody knows whether it has come. */
  recall ({ queued, unsure, streams, ended }: Left): void {
    this.resumables.recall(ended)
    for (const stream of streams) this.#restore(Managed.restored(this, stream, stream.items), stream)
    this.#again(queued)
    const error = new StanzaError('remote-server-timeout', 'this server broke down before it was acknowledged')
    for (const item of unsure) this.bounce(item, error)
  }

  #restore (managed: Managed, { side, pairs, isBidi }: ParkedStream): void {
    const [first = ''] = pairs
    if (side === 'ours') {
      this.#formers.keep(first, managed, pairs)
      this.#linkFor(first).again([]) // it is taken up, whether there is more to say or not
    } else this.resumables.restore({ managed, pairs: pairs.map(addressesIn), isBidi, leave: () => {} })
  }

  #again (items: readonly Waiting[]): void { for (const [pair, some] of byPair(items)) this.#linkFor(pair).again(some) }

  #linkFor (pair: string): Link {
    const { from, to } = addressesIn(pair)
    return this.#linkOf(to, from)
  }

  /** Gives the others time to say what has come to them, so many milliseconds at the most. */
  async confirmed (ms: number): Promise<void> { await Promise.all([...this.#outgoing.keys()].map(outgoing => outgoing.confirmed(ms))) }

  /** The server stops: takes nothing more on streams of ours, nor on those that are opened from now on. */
  rest (): void { this.#isResting = true }

  /** Ends all streams; what waits goes out behind the next start. Resolves when their connections are gone. */
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

  /** Ends the streams to domains that are refused now. */
  dismiss (isRefused: (local: string, remote: string) => boolean): void {
    for (const outgoing of [...this.#outgoing.keys()]) {
      if (isRefused(outgoing.local, outgoing.remote)) outgoing.close(new StreamError('policy-violation'))
    }
  }

  #goRound (): void {
    const { clock, limits } = this.world
    for (const outgoing of [...this.#outgoing.keys()]) if (clock.now() - outgoing.lastUsed >= limits.idle) outgoing.close()
    this.#makeAmends()
  }

  #drop (stanza: Addressed): void {
    this.world.count('dropped')
    if (stanza.kind === 'presence') this.#amends.lost(stanza)
  }

  /** A stream that ends as it should has lost nothing; one that was cut, or of a server that stops, may have. */
  #cut (pairs: Iterable<string>, reason: Error | undefined): void {
    if (reason === undefined || this.#isClosed) return
    for (const { to, from } of [...pairs].map(addressesIn)) this.#amends.away(to, from)
  }

  #makeAmends (): void {
    for (const { local, remote, owed } of this.#amends.settle()) {
      for (const stanza of owed) this.world.router.route(stanza)
      void this.world.host(local)?.hooks.fire(serverReturned, { peer: remote })
    }
  }
}
