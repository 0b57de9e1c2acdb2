/** The handlers that answer iq requests (RFC 6120 §8.2.3), and the server's own requests that wait for an answer. */
import type { Clock, Timer } from '../base/clock.js'
import type { Maybe } from '../base/maybe.js'
import type { Batch } from '../storage/store.js'
import { childElements, namespaceOf, type Element } from '../xml/element.js'
import { StanzaError, stanzaErrorOf } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed, Iq } from '../xmpp/stanza.js'
import type { Payer } from './cost.js'
import type { Entity } from './entity.js'
import type { Session } from './session.js'

/** Who has a feature (XEP-0030): the domain, the accounts, or the entities of a service. */
export type Featured = 'host' | 'account' | 'entity'

/** A request as its handler sees it. What the handler adds to the batch is stored before the answer is sent. */
export interface Request {
  readonly stanza: Addressed<'iq'>
  readonly payload: Element
  /** The session that sent the request, if it is one of this server. */
  readonly session: Session | undefined
  readonly batch: Batch
  /** The entity that is asked, if the request is to one. */
  readonly entity?: Entity | undefined
  /** Pays for what the request causes (cost.ts); undefined for requests of the server itself. */
  readonly payer?: Payer | undefined
}

/**
 * The returned element becomes the result; undefined gives an empty result. A thrown StanzaError becomes the error.
 * 'later': the handler itself sends the answer, when the batch is stored or later; others do not wait for it.
 */
export type Answer = Maybe<Element | 'later' | void>

/**
 * Whose requests a handler answers. 'self': requests of a user to the own account. 'account': requests of anybody to a
 * bare address of this host, also if no such account exists. The handler gives strangers the answer for a missing
 * account, and stores nothing for it. 'host': requests to the domain. 'entity': requests to the bare address of an
 * entity that exists; `entity NAME`: only to those of one kind.
 */
export type IqTarget = 'self' | 'account' | 'host' | 'entity' | `entity ${string}`

export type Answering = (request: Request) => Answer
/** A handler of requests to the user's own account: there is always a session. */
export type OwnAnswering = (request: Request & { readonly session: Session }) => Answer
/** A handler of requests to entities. */
export type EntityAnswering = (request: Request & { readonly entity: Entity }) => Answer
export type Handling =
  | readonly [to: 'self', namespace: string, name: string, answer: OwnAnswering]
  | readonly [to: 'entity', namespace: string, name: string, answer: EntityAnswering]
  | readonly [to: 'account' | 'host', namespace: string, name: string, answer: Answering]

export interface IqTable {
  get (to: 'self', namespace: string, name: string, answer: OwnAnswering): void
  get (to: 'entity', namespace: string, name: string, answer: EntityAnswering): void
  get (to: 'account' | 'host', namespace: string, name: string, answer: Answering): void
  set (to: 'self', namespace: string, name: string, answer: OwnAnswering): void
  set (to: 'entity', namespace: string, name: string, answer: EntityAnswering): void
  set (to: 'account' | 'host', namespace: string, name: string, answer: Answering): void
}

/** The iq handlers of one host. */
export class IqHandlers {
  readonly #handlers = new Map<string, Answering>()

  /** Adds a handler, and returns a function that removes it. Throws if there is one already. */
  add (to: IqTarget, type: 'get' | 'set', namespace: string, name: string, answer: Answering): () => void {
    const key = keyOf(to, type, namespace, name)
    if (this.#handlers.has(key)) throw new Error(`two handlers answer iq ${type} ${name} of ${namespace} to ${to}`)
    this.#handlers.set(key, answer)
    return () => { this.#handlers.delete(key) }
  }

  has (to: IqTarget, type: 'get' | 'set', namespace: string, name: string): boolean {
    return this.#handlers.has(keyOf(to, type, namespace, name))
  }

  find (to: IqTarget, type: string, payload: Element): Answering | undefined {
    return this.#handlers.get(keyOf(to, type, namespaceOf(payload) ?? '', payload.getName()))
  }
}

function keyOf (to: string, type: string, namespace: string, name: string): string {
  return `${to} ${type} ${name} ${namespace}`
}

/** Returns the one payload of a well-formed request; undefined for a reply. Throws bad-request (RFC 6120 §8.2.3). */
export function payloadOf (iq: Iq): Element | undefined {
  if (iq.type === 'error') return undefined // holds its error element, and perhaps the request
  const children = childElements(iq.element)
  if (iq.type === 'result') {
    if (children.length > 1) throw new StanzaError('bad-request', 'a result must have at most one payload')
    return undefined
  }
  if (iq.type !== 'get' && iq.type !== 'set') {
    throw new StanzaError('bad-request', 'the type of an iq must be get, set, result or error')
  }
  if (iq.id === undefined || iq.id === '') throw new StanzaError('bad-request', 'an iq must have an id')
  const [payload] = children
  if (payload === undefined || children.length > 1) {
    throw new StanzaError('bad-request', 'a request must have exactly one payload')
  }
  return payload
}

/** RFC 3921 §3: old clients ask for a session; bind has made it. The iq counts as a stanza (XEP-0198 §4). */
export function legacySession ({ session }: Request): void {
  if (session === undefined) throw new StanzaError('service-unavailable')
}

/** How a request of the server is sent. `timeout` is in milliseconds. */
export interface Asking { readonly from?: Jid, readonly type?: 'get' | 'set', readonly timeout?: number }

interface Pending {
  readonly peer: string
  readonly timer: Timer
  readonly done: (result: Element | StanzaError) => void
}

/** How long the server waits for an answer to its own request, in milliseconds. */
const IQ_TIMEOUT = 30_000
/** The most own requests that may wait for one peer, and for all peers. */
const BOUND_A_PEER = 32
const BOUND = 100_000

/** The server's own requests. A reply must match both peer and id: a reply from another address is ignored. */
export class PendingRequests {
  readonly #pending = new Map<string, Pending>()
  readonly #byPeer = new Map<string, number>()
  readonly #clock: Clock

  constructor (clock: Clock) { this.#clock = clock }

  get count (): number { return this.#pending.size }

  /** Returns why no more requests to a peer may be sent; undefined if one may. */
  refusal (peer: Jid): StanzaError | undefined {
    const already = this.#byPeer.get(peer.toString()) ?? 0
    if (already < BOUND_A_PEER && this.#pending.size < BOUND) return undefined
    return new StanzaError('resource-constraint', 'too many requests wait for an answer')
  }

  /**
   * Resolves with the result of a request. Rejects with the peer's StanzaError, with remote-server-timeout, or with the
   * refusal. `timeout` is in milliseconds.
   */
  wait (peer: Jid, id: string, timeout = IQ_TIMEOUT): Promise<Element> {
    const refusal = this.refusal(peer)
    if (refusal !== undefined) return Promise.reject(refusal)
    const name = peer.toString()
    this.#byPeer.set(name, (this.#byPeer.get(name) ?? 0) + 1)
    return new Promise((resolve, reject) => {
      const key = `${name}\n${id}`
      const timer = this.#clock.after(timeout, () => { this.#settle(key, new StanzaError('remote-server-timeout')) })
      this.#pending.set(key, {
        peer: name,
        timer,
        done: result => { if (result instanceof StanzaError) reject(result); else resolve(result) },
      })
    })
  }

  /** Ends the wait for this reply. True if the reply was expected. */
  settle (reply: Iq): boolean {
    if (reply.id === undefined) return false
    const result = reply.type === 'error' ? stanzaErrorOf(reply.element) : reply.element
    return this.#settle(`${reply.from.toString()}\n${reply.id}`, result)
  }

  /** Ends every wait with this error. */
  clear (error: StanzaError): void {
    for (const key of [...this.#pending.keys()]) this.#settle(key, error)
  }

  #settle (key: string, result: Element | StanzaError): boolean {
    const pending = this.#pending.get(key)
    if (pending === undefined) return false
    this.#pending.delete(key)
    const left = (this.#byPeer.get(pending.peer) ?? 1) - 1
    if (left > 0) this.#byPeer.set(pending.peer, left)
    else this.#byPeer.delete(pending.peer)
    pending.timer.cancel()
    pending.done(result)
    return true
  }
}
