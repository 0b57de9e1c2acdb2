/**
 * Answers the dialback elements of a connecting server: it claims domains, and asks whether our keys are right
 * (XEP-0220 §2).
 */
import { follow } from '../../base/maybe.js'
import type { TlsInfo } from '../../stream/transport.js'
import { attributeOf, type Element, type ParsedElement } from '../../xml/element.js'
import { StanzaError, StreamError } from '../../xmpp/errors.js'
import { objectionToCaller } from './caller.js'
import { addressesOf, dialbackElement, dialbackError, isDialback, keyIn } from './dialback.js'
import { pairKey, type DialbackAddresses } from '../ground/domain-pair.js'
import { verdictOf } from '../ground/link-error.js'
import type { TrustContext } from './context.js'

/** The stream on which the claims are made. */
export interface ClaimsHome {
  readonly id: string | undefined
  readonly address: string
  readonly tls: TlsInfo | undefined
  readonly isOver: boolean
  readonly isProven: boolean
  /** The number of pairs of domains that are proven on the stream. */
  readonly size: number
  has (name: string): boolean
  /** Accepts the pair as proven. */
  accept (pair: DialbackAddresses): void
  answerClaim (pair: DialbackAddresses, type: 'valid' | 'invalid'): void
  say (element: Element): void
  /** Counts a failed claim. After some of them the stream ends. */
  fail (): void
  close (): void
}

/** The most pairs of domains on one stream, and the most keys of it that are checked at a time. */
const MOST_PAIRS = 500
const MOST_CHECKS = 16

/** Who asks a domain's own server about a key. */
export interface Verifier {
  /** True if a key that `local` was shown comes from `remote`'s own server (XEP-0220 §2.2). Rejects with LinkError. */
  verify (local: string, remote: string, id: string, key: string, address: string): Promise<boolean>
}

export class Claims {
  readonly #world: TrustContext
  readonly #verifier: Verifier
  readonly #home: ClaimsHome
  readonly #checking = new Set<string>()

  constructor (world: TrustContext, verifier: Verifier, home: ClaimsHome) {
    this.#world = world
    this.#verifier = verifier
    this.#home = home
  }

  /** Handles a dialback element. Throws StreamError. */
  element (element: ParsedElement): void {
    // An answer. We have asked for nothing on this stream, so we ignore it.
    if (attributeOf(element, 'type') !== undefined) return
    const addresses = addressesOf(element)
    if (addresses === undefined) throw new StreamError('improper-addressing')
    if (isDialback(element, 'result')) this.#claim(addresses, keyIn(element))
    else if (isDialback(element, 'verify')) this.#asks(addresses, attributeOf(element, 'id') ?? '', keyIn(element))
    else throw new StreamError('unsupported-stanza-type')
  }

  /** XEP-0220 §2.3: another server was shown a key of a local domain; only we know whether it is right. */
  #asks ({ from, to }: DialbackAddresses, id: string, key: string): void {
    if (!this.#world.router.serves(to)) {
      this.#home.say(dialbackError('verify', { from: to, to: from }, new StanzaError('item-not-found'), id))
      return
    }
    const type = this.#world.keys.isRight(key, from, to, id) ? 'valid' : 'invalid'
    this.#home.say(dialbackElement('verify', { from: to, to: from, id, type }))
  }

  /** XEP-0220 §2.1: the peer claims to speak for `from`. */
  #claim (pair: DialbackAddresses, key: string): void {
    const { from, to } = pair
    const name = pairKey(to, from)
    if (this.#home.has(name)) { this.#home.answerClaim(pair, 'valid'); return }
    const error = this.#objection(pair, name)
    if (error !== undefined) {
      this.#world.count('refused', 1, { reason: error.condition })
      this.#home.say(dialbackError('result', { from: to, to: from }, error))
      this.#home.fail()
      return
    }
    // A certificate proves more than dialback can (XEP-0220 §2.1.2, XEP-0344).
    this.#checking.add(name)
    void follow(objectionToCaller(this.#world, to, from, this.#home.tls), doubt => {
      if (this.#home.isOver) return
      if (doubt !== undefined) { this.#check(pair, name, key); return }
      this.#checking.delete(name)
      this.#home.accept(pair)
    })
  }

  /** XEP-0220 §2.2: asks the domain's own server. */
  #check (pair: DialbackAddresses, name: string, key: string): void {
    const { from, to } = pair
    const { id, address } = this.#home
    if (id === undefined) return
    this.#verifier.verify(to, from, id, key, address).then(isRight => {
      this.#checking.delete(name)
      if (this.#home.isOver) return
      if (isRight) { this.#home.accept(pair); return }
      this.#world.count('refused', 1, { reason: 'false key' })
      this.#world.log.warn('dialback refused', { from, to, address, reason: 'wrong key' })
      this.#home.answerClaim(pair, 'invalid')
      // XEP-0220 §2.1.2: a peer that lied about its only domain gets no further.
      if (!this.#home.isProven && this.#checking.size === 0) this.#home.close()
      else this.#home.fail()
    }, (error: unknown) => {
      this.#checking.delete(name)
      if (this.#home.isOver) return
      this.#world.count('refused', 1, { reason: 'key not checked' })
      const reason = error instanceof Error ? error.message : String(error)
      this.#world.log.info('dialback check failed', { from, to, address, reason })
      this.#home.say(dialbackError('result', { from: to, to: from }, verdictOf(error)))
      // Each check costs DNS queries and a connection to a server that the peer named.
      this.#home.fail()
    })
  }

  /** Returns why a claim is refused at once (XEP-0220 §2.4.2); undefined if it is not. */
  #objection ({ from, to }: DialbackAddresses, name: string): StanzaError | undefined {
    const { router } = this.#world
    if (!router.serves(to)) return new StanzaError('item-not-found')
    if (router.serves(from)) return new StanzaError('not-allowed')
    if (this.#world.policy(to, from).trust === 'refuse') {
      return new StanzaError('policy-violation', undefined, { type: 'cancel' })
    }
    // One key at a time for a pair, and a bound, so that no peer keeps us busy with the servers of others.
    const isFull = this.#checking.size >= MOST_CHECKS || this.#home.size >= MOST_PAIRS
    if (this.#checking.has(name) || isFull) return new StanzaError('resource-constraint')
    return undefined
  }
}
