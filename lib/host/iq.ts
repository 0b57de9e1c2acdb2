/** Who answers which request (RFC 6120 §8.2.3), and the requests of our own that wait for an answer. */
import type { Clock, Timer } from '../base/clock.js'
import type { Maybe } from '../base/maybe.js'
import type { Batch } from '../storage/store.js'
import { childElements, namespaceOf, type Element } from '../xml/element.js'
import { StanzaError, stanzaErrorOf } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed, Iq } from '../xmpp/stanza.js'
import type { Session } from './session.js'

/** A request as its handler sees it. What it adds to the batch is stored before the answer goes out. */
export interface Request {
  readonly stanza: Addressed<'iq'>
  readonly payload: Element
  /** The requesting session, where it is one of this server's. */
  readonly session: Session | undefined
  readonly batch: Batch
}

/** The returned element becomes the result; nothing returned, an empty result. A StanzaError thrown becomes the error. */
export type Answer = Maybe<Element | void>

/**
 * 'self': a user's own account. 'account': anybody's request to a bare address of this host, whether there is such an account or not: its
 * handler answers strangers with what it would answer for a name that nobody has, and stores nothing for it. 'host': to the domain.
 */
export type IqTarget = 'self' | 'account' | 'host'

export type Answering = (request: Request) => Answer
/** Of a user's own account: the session is there by construction. */
export type OwnAnswering = (request: Request & { readonly session: Session }) => Answer
export type Handling =
  | readonly [to: 'self', namespace: string, name: string, answer: OwnAnswering]
  | readonly [to: 'account' | 'host', namespace: string, name: string, answer: Answering]

export interface IqTable {
  get (to: 'self', namespace: string, name: string, answer: OwnAnswering): void
  get (to: 'account' | 'host', namespace: string, name: string, answer: Answering): void
  set (to: 'self', namespace: string, name: string, answer: OwnAnswering): void
  set (to: 'account' | 'host', namespace: string, name: string, answer: Answering): void
}

/** The handlers of one host. */
export class IqHandlers {
  readonly #handlers = new Map<string, Answering>()

  /** Adds a handler, and returns what removes it. Throws where another one answers already. */
  add (to: IqTarget, type: 'get' | 'set', namespace: string, name: string, answer: Answering): () => void {
    const key = keyOf(to, type, namespace, name)
    if (this.#handlers.has(key)) throw new Error(`two handlers answer iq ${type} ${name} of ${namespace} to ${to}`)
    this.#handlers.set(key, answer)
    return () => { this.#handlers.delete(key) }
  }

  find (to: IqTarget, type: string, payload: Element): Answering | undefined {
    return this.#handlers.get(keyOf(to, type, namespaceOf(payload) ?? '', payload.getName()))
  }
}

function keyOf (to: string, type: string, namespace: string, name: string): string {
  return `${to} ${type} ${name} ${namespace}`
}

/** The one payload of a well-formed request; undefined for a reply. Throws bad-request (RFC 6120 §8.2.3). */
export function payloadOf (iq: Iq): Element | undefined {
  if (iq.type === 'error') return undefined // its error element, and perhaps what it answers
  const children = childElements(iq.element)
  if (iq.type === 'result') {
    if (children.length > 1) throw new StanzaError('bad-request', 'a result has one payload at most')
    return undefined
  }
  if (iq.type !== 'get' && iq.type !== 'set') throw new StanzaError('bad-request', 'an iq is get, set, result or error')
  if (iq.id === undefined || iq.id === '') throw new StanzaError('bad-request', 'an iq has an id')
  const [payload] = children
  if (payload === undefined || children.length > 1) throw new StanzaError('bad-request', 'a request has exactly one payload')
  return payload
}

interface Pending { readonly peer: string, readonly timer: Timer, readonly done: (result: Element | StanzaError) => void }

/** How many requests of ours may wait for one peer, and for all. */
const BOUND_A_PEER = 32
const BOUND = 100_000

/** Requests of the server's own, matched by peer and id: a reply from anyone else is nothing (features map: id-only matching). */
export class PendingRequests {
  readonly #pending = new Map<string, Pending>()
  readonly #byPeer = new Map<string, number>()
  readonly #clock: Clock

  constructor (clock: Clock) { this.#clock = clock }

  get count (): number { return this.#pending.size }

  /** Resolves with the result's payload-bearing iq; rejects with the peer's StanzaError, or with remote-server-timeout. */
  wait (peer: Jid, id: string, timeout: number): Promise<Element> {
    const name = peer.toString()
    const already = this.#byPeer.get(name) ?? 0
    if (already >= BOUND_A_PEER || this.#pending.size >= BOUND) {
      return Promise.reject(new StanzaError('resource-constraint', 'too many requests wait for an answer'))
    }
    this.#byPeer.set(name, already + 1)
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

  /** True where the reply was awaited. */
  settle (reply: Iq): boolean {
    if (reply.id === undefined) return false
    const result = reply.type === 'error' ? stanzaErrorOf(reply.element) : reply.element
    return this.#settle(`${reply.from.toString()}\n${reply.id}`, result)
  }

  /** Every wait ends with this error. */
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

