/** All links to other servers: one a pair of domains, streams shared where the peer lets us, and what is known of dead ones. */
import { Cache } from '../base/cache.js'
import type { Clock, Timer } from '../base/clock.js'
import type { Maybe } from '../base/maybe.js'
import { serverReturned, stanzaToServer } from '../host/events.js'
import { unlessHandled, type Destination, type Passage } from '../host/router.js'
import { ReleaseOrder } from '../host/order.js'
import { returnToSender } from '../host/remote.js'
import type { StreamEnd } from '../stream/stream.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import type { Addressed } from '../xmpp/stanza.js'
import { Amends } from './amends.js'
import { Link, type LinkHome } from './link.js'
import { Managed, type Bearer, type ManagedHome } from './managed.js'
import type { Outgoing, OutgoingOwner } from './outgoing.js'
import { Pings } from './pings.js'
import { receive } from './receive.js'
import { reportOf, reportOfResting, type LinkReport } from './report.js'
import { Formers, Holds, Resumables, type Former } from './resumption.js'
import { byPair, isBounced, pairKey, type Carrier, type Waiting } from './waiting.js'
import { LinkError, type FederationWorld } from './world.js'

/** Pairs of domains at a time; and bytes that wait for all of them together. */
const MOST_LINKS = 10_000
const MOST_BYTES = 64 * 1024 * 1024
/** Keys of others that we check at a time. */
const MOST_CHECKS = 500
/** Domains that are remembered as dead. */
const MOST_FAILURES = 10_000
/** After a failure a domain is left alone for so long, in milliseconds; doubled each time, and by chance a quarter more or less. */
const FIRST_REST = 5000
const LONGEST_REST = 300_000
/** How often streams that nobody uses are looked for, in milliseconds. */
const ROUND = 30_000

interface Failure { readonly error: LinkError, readonly until: number, readonly times: number }

export class Links implements Destination, LinkHome, ManagedHome {
  readonly world: FederationWorld
  readonly #chance: () => number
  readonly #links = new Map<string, Link>()
  readonly #outgoing = new Map<Outgoing, Link>()
  readonly #failures = new Cache<string, Failure>({ max: MOST_FAILURES })
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
  #bytes = 0
  #checks = 0
  #isClosed = false

  /** `chance`: from 0 to 1, for back-off. */
  constructor (world: FederationWorld, chance: () => number) {
    this.world = world
    this.#chance = chance
    this.#formers = new Formers(world.clock, this.#holds, former => { this.#cannotResume(former, undefined) })
    this.resumables = new Resumables(world.clock, this.#holds, lost => { this.#lost(lost) })
    this.#pings = new Pings(world)
    this.#rounds = world.clock.every(ROUND, () => {
      this.#closeIdle()
      this.#makeAmends()
    })
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

  /** Behind the commit of what the stanza stores here. */
  #forward (stanza: Addressed, passage: Passage): void {
    this.world.router.settle(stanza, passage, () => {
      try {
        this.#push(stanza)
      } catch (error) {
        if (!(error instanceof StanzaError) || this.#isAnswered(stanza)) throw error
        this.#drop(stanza)
      }
    })
  }

  #push (stanza: Addressed): void {
    const [local, remote] = [stanza.from.domain, stanza.to.domain]
    if (this.#isClosed) throw new StanzaError('remote-server-timeout')
    if (this.world.policy(local, remote).trust === 'refuse') throw new StanzaError('not-allowed', `${local} does not talk to ${remote}`)
    if (stanza.kind === 'presence') this.#amends.overtaken(stanza)
    const link = this.#linkOf(local, remote)
    try {
      link.push(stanza)
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
      const outgoing = await link.outgoing()
      return await outgoing.verify(local, remote, id, key)
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
    this.#failures.delete(key)
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

  /** Nobody can say whether these have arrived. */
  #lost (items: readonly Waiting[]): void {
    if (items.length > 0) this.world.count('unacknowledged', items.length)
    const error = new StanzaError('remote-server-timeout', 'the connection broke before it was acknowledged')
    for (const { stanza } of items) this.bounce(stanza, error)
  }

  // ---- As links see it -----------------------------------------------------------------------

  mayWait (bytes: number): boolean { return this.#bytes + bytes <= MOST_BYTES }
  waits (bytes: number): void { this.#bytes += bytes }

  bounce (stanza: Addressed, error: StanzaError): void {
    if (!this.#isAnswered(stanza)) { this.#drop(stanza); return }
    this.world.count('bounced')
    returnToSender(this.world.router, stanza, error)
  }

  async shared (local: string, remote: string): Promise<Outgoing | undefined> {
    const fitting = [...this.#outgoing.keys()].filter(outgoing => outgoing.mayCarry(local, remote))
    const same = fitting.find(outgoing => outgoing.remote === remote)
    if (same !== undefined || fitting.length === 0) return same
    // XEP-0220 §2.6.2: another domain of the same server, as DNS has it.
    const targets = await this.world.resolver.resolve(remote, this.world.policy(local, remote).byHand).catch(() => [])
    return fitting.find(({ isOver, target }) => !isOver && targets.some(({ address, port, tls }) =>
      address === target.address && port === target.port && tls === target.tls))
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
    return new Promise(resolve => {
      const isAsked = this.#pings.ping(outgoing.local, outgoing.remote, { write: text => { outgoing.write(text) } }, resolve)
      if (!isAsked) resolve(false)
    })
  }

  #ownerOf (outgoing: Outgoing): OutgoingOwner {
    const { router } = this.world
    const order = new ReleaseOrder(router.storage)
    return {
      received: (element, source) => receive(this.world, {
        order,
        lang: undefined,
        // Whom we have proven ourselves to there was found, and believed, as our policy wants it (XEP-0288 §2.2).
        mayCarry: (local, remote) => outgoing.proven.has(pairKey(local, remote)),
        answer: reply => { router.route(reply) },
        arrive: () => outgoing.managed?.arrive(order),
        isAnswer: (local, remote, id) => this.isAnswer(local, remote, id),
      }, element, source),
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
      const isResumable = managed.id !== '' && !this.#isClosed && (by === 'loss' || by === 'peer' && managed.unacknowledged > 0)
      if (isResumable) this.#formers.keep(own, managed, [...outgoing.proven])
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
    for (const [pair, items] of byPair(again)) {
      const [local = '', remote = ''] = pair.split(' ')
      this.#linkOf(local, remote).again(items)
    }
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
    const times = (this.#failures.get(key)?.times ?? 0) + 1
    const rest = Math.min(LONGEST_REST, FIRST_REST * 2 ** Math.min(times - 1, 16)) * (0.75 + this.#chance() / 2)
    this.#formers.giveUp(key)
    this.#failures.set(key, { error, until: this.world.clock.now() + rest, times })
    this.#amends.away(link.local, link.remote)
    this.world.count('failed')
    this.world.log.info('no link', { local: link.local, remote: link.remote, why: error.message, mender: error.mender, rest: Math.round(rest / 1000) })
  }

  stands (link: Link): void {
    const key = pairKey(link.local, link.remote)
    this.#failures.delete(key)
    this.#amends.back(link.local, link.remote)
    this.world.count('opened')
    const { carrier } = link
    this.world.log.info('link established', { local: link.local, remote: link.remote, security: carrier?.security })
  }

  trouble (local: string, remote: string): LinkError | undefined {
    const failure = this.#failures.get(pairKey(local, remote))
    return failure !== undefined && this.world.clock.now() < failure.until ? failure.error : undefined
  }

  // ---- As the operator sees it ------------------------------------------------------------------

  report (): readonly LinkReport[] {
    const resting = [...this.#failures.entries()].filter(([pair]) => !this.#links.has(pair))
    return [...[...this.#links.values()].map(reportOf), ...resting.map(([pair, { error }]) => reportOfResting(pair, error))]
  }

  /** Ends all streams; what waits comes back to those who are still here. Resolves when their connections are gone. */
  async close (): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#rounds.cancel()
    this.#formers.clear()
    this.resumables.clear()
    this.#pings.clear()
    for (const link of [...this.#links.values()]) link.close(new StanzaError('remote-server-timeout', 'this server stops'))
    for (const outgoing of [...this.#open]) void outgoing.finish()
    if (this.#open.size > 0) await new Promise<void>(resolve => { this.#drained = resolve })
  }

  /** Ends the streams to domains that are refused now. */
  dismiss (isRefused: (local: string, remote: string) => boolean): void {
    for (const outgoing of [...this.#outgoing.keys()]) {
      if (isRefused(outgoing.local, outgoing.remote)) outgoing.close(new StreamError('policy-violation'))
    }
  }

  #closeIdle (): void {
    const { clock, limits } = this.world
    for (const outgoing of [...this.#outgoing.keys()]) {
      if (clock.now() - outgoing.lastUsed >= limits.idle) outgoing.close()
    }
  }

  #drop (stanza: Addressed): void {
    this.world.count('dropped')
    if (stanza.kind === 'presence') this.#amends.lost(stanza)
  }

  /** A stream that ends as it should has lost nothing; one that was cut, or of a server that stops, may have. */
  #cut (pairs: Iterable<string>, reason: Error | undefined): void {
    if (reason === undefined || this.#isClosed) return
    for (const pair of pairs) {
      const [local = '', remote = ''] = pair.split(' ')
      this.#amends.away(local, remote)
    }
  }

  #makeAmends (): void {
    const { router } = this.world
    for (const { local, remote, owed } of this.#amends.settle()) {
      for (const stanza of owed) router.route(stanza)
      void this.world.host(local)?.hooks.fire(serverReturned, { peer: remote })
    }
  }

  /** A presence to a resource is a wish to enter a room, and its sender waits for an answer; all other presence is dropped. */
  #isAnswered (stanza: Addressed): boolean {
    return isBounced(stanza) || stanza.kind === 'presence' && stanza.type === 'available' && stanza.to.local !== '' && stanza.to.resource !== ''
  }
}
