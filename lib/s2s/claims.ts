/** What a server that calls us says by dialback: for which domains it speaks, and whether keys of ours are right (XEP-0220 §2). */
import { follow } from '../base/maybe.js'
import type { TlsInfo } from '../stream/transport.js'
import { attributeOf, type Element, type ParsedElement } from '../xml/element.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import { doubtOfCaller } from './caller.js'
import { addressesOf, dialbackElement, dialbackError, isDialback, keyIn, type DialbackAddresses } from './dialback.js'
import type { Links } from './links.js'
import { pairKey } from './waiting.js'
import { verdictOf, type FederationWorld } from './world.js'

/** The stream on which it says so. */
export interface ClaimsHome {
  readonly id: string | undefined
  readonly address: string
  readonly tls: TlsInfo | undefined
  readonly isOver: boolean
  readonly isProven: boolean
  /** Pairs of domains that are proven on it. */
  readonly size: number
  has (name: string): boolean
  /** The pair is proven. */
  accept (pair: DialbackAddresses): void
  answerClaim (pair: DialbackAddresses, type: 'valid' | 'invalid'): void
  say (element: Element): void
  /** One more claim has failed; after some the stream ends. */
  fail (): void
  close (): void
}

/** Pairs of domains on one stream, and keys of it that are being checked. */
const MOST_PAIRS = 500
const MOST_CHECKS = 16

export class Claims {
  readonly #world: FederationWorld
  readonly #links: Links
  readonly #home: ClaimsHome
  readonly #checking = new Set<string>()

  constructor (world: FederationWorld, links: Links, home: ClaimsHome) {
    this.#world = world
    this.#links = links
    this.#home = home
  }

  /** Takes an element of dialback. Throws StreamError. */
  element (element: ParsedElement): void {
    // An answer: on this stream we have asked for nothing, and believe nothing.
    if (attributeOf(element, 'type') !== undefined) return
    const addresses = addressesOf(element)
    if (addresses === undefined) throw new StreamError('improper-addressing')
    if (isDialback(element, 'result')) this.#claim(addresses, keyIn(element))
    else if (isDialback(element, 'verify')) this.#asks(addresses, attributeOf(element, 'id') ?? '', keyIn(element))
    else throw new StreamError('unsupported-stanza-type')
  }

  /** XEP-0220 §2.3: somebody was shown a key of ours; only we know whether it is. */
  #asks ({ from, to }: DialbackAddresses, id: string, key: string): void {
    if (!this.#world.router.serves(to)) {
      this.#home.say(dialbackError('verify', { from: to, to: from }, new StanzaError('item-not-found'), id))
      return
    }
    const type = this.#world.keys.isRight(key, from, to, id) ? 'valid' : 'invalid'
    this.#home.say(dialbackElement('verify', { from: to, to: from, id, type }))
  }

  /** XEP-0220 §2.1: the peer says that it speaks for `from`. */
  #claim (pair: DialbackAddresses, key: string): void {
    const { from, to } = pair
    const name = pairKey(to, from)
    if (this.#home.has(name)) { this.#home.answerClaim(pair, 'valid'); return }
    const error = this.#objection(pair, name)
    if (error !== undefined) {
      this.#world.count('refused', 1, { why: error.condition })
      this.#home.say(dialbackError('result', { from: to, to: from }, error))
      this.#home.fail()
      return
    }
    // A certificate says more than dialback could (XEP-0220 §2.1.2, XEP-0344).
    this.#checking.add(name)
    void follow(doubtOfCaller(this.#world, to, from, this.#home.tls), doubt => {
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
    this.#links.verify(to, from, id, key).then(isRight => {
      this.#checking.delete(name)
      if (this.#home.isOver) return
      if (isRight) { this.#home.accept(pair); return }
      this.#world.count('refused', 1, { why: 'false key' })
      this.#world.log.warn('false key', { from, to, address })
      this.#home.answerClaim(pair, 'invalid')
      // XEP-0220 §2.1.2: who lies about the only domain has nothing to say here.
      if (!this.#home.isProven && this.#checking.size === 0) this.#home.close()
      else this.#home.fail()
    }, (error: unknown) => {
      this.#checking.delete(name)
      if (this.#home.isOver) return
      this.#world.count('refused', 1, { why: 'key not checked' })
      this.#world.log.info('key not checked', { from, to, address, why: error instanceof Error ? error.message : String(error) })
      this.#home.say(dialbackError('result', { from: to, to: from }, verdictOf(error)))
      // Each check costs questions to DNS and a connection to whom the peer has named.
      this.#home.fail()
    })
  }

  /** XEP-0220 §2.4.2 */
  #objection ({ from, to }: DialbackAddresses, name: string): StanzaError | undefined {
    const { router } = this.#world
    if (!router.serves(to)) return new StanzaError('item-not-found')
    if (router.serves(from)) return new StanzaError('not-allowed')
    if (this.#world.policy(to, from).trust === 'refuse') return new StanzaError('policy-violation', undefined, { type: 'cancel' })
    // One key at a time for a pair; and no peer keeps us busy with the servers of others.
    if (this.#checking.has(name) || this.#checking.size >= MOST_CHECKS || this.#home.size >= MOST_PAIRS) return new StanzaError('resource-constraint')
    return undefined
  }
}
