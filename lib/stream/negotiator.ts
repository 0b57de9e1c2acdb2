/** Offers features, and lets the peer take one after another until its stream is established (RFC 6120 §4.3). */
import { childElements, localName, namespaceOf, xml, type Element, type ParsedElement } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { octets } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { isKind } from '../xmpp/stanza.js'
import { StreamOver, type Negotiation, type Outcome, type StreamFeature } from './negotiation.js'

/** The needs of a negotiator, met by its stream and its owner. */
export interface NegotiationDeps<S> {
  /** All features, in the order in which they are offered. */
  features (): readonly StreamFeature<S>[]
  send (octets: string): void
  restart (): void
  /** Returns the last element of an offer, which names all others (`rest`, as octets; XEP-0509); undefined for none. */
  version? (rest: string): Element | undefined
  /** The peer has proved this address. */
  identified (identity: Jid): void
  /** The stream is established. If `announce`, call `announce ()` first, to tell the peer the other features. */
  established (session: S, announce: boolean): void
  /** A session was made, but the stream had ended by then: nobody knows of it. */
  abandoned? (session: S): void
  /** Returns the answer to a request that comes too early, by its feature; undefined if there is none. */
  refusal? (element: ParsedElement): Element | undefined
  /** A step failed in a way that ends the stream, unless that has ended already. */
  failed (error: unknown): void
}

/** More steps than any client needs, failed logins included. */
const MOST_STEPS = 32
/** The most requests that come too early and are answered. The next one ends the stream. */
const MOST_REFUSALS = 10
/** Namespaces of negotiation: a request of one of them is out of place, not unknown. */
const KNOWN: ReadonlySet<string> = new Set<string>([
  NS.TLS, NS.SASL, NS.SASL2, NS.BIND, NS.BIND2, NS.SM, NS.CSI, NS.FAST, NS.DIALBACK,
  'http://jabber.org/protocol/compress',
])

interface Waiting { readonly resolve: (element: Element) => void, readonly reject: (error: Error) => void }

export class Negotiator<S> {
  readonly #stream: Negotiation
  readonly #ground: NegotiationDeps<S>
  #offered: readonly StreamFeature<S>[] = []
  #taking = false
  #waiting: Waiting | undefined
  #turn: (() => void) | undefined
  #steps = 0
  #refusals = 0
  #over = false

  constructor (stream: Negotiation, ground: NegotiationDeps<S>) {
    this.#stream = stream
    this.#ground = ground
  }

  /** Sends `<stream:features/>`. Must be called after each of our stream headers (RFC 6120 §4.3.2). */
  offer (): void {
    const shown: Element[] = []
    this.#offered = this.#ground.features().filter(feature => {
      const element = feature.offered(this.#stream)
      if (element !== undefined) shown.push(element)
      return element !== undefined
    })
    const version = this.#ground.version?.(shown.map(element => octets(element)).join(''))
    if (version !== undefined) shown.push(version)
    this.#ground.send(octets(xml('stream:features', {}, ...shown)))
  }

  /** Sends `<stream:features/>` to a peer that has a session already, as information only (XEP-0388 §2.6.1). */
  announce (): void {
    this.offer()
    this.#offered = []
  }

  /**
   * Handles the peer's next element. Resolves when another may come: nothing is read during a step. Throws StreamError.
   */
  receive (element: ParsedElement): Promise<void> {
    const refusal = this.#ground.refusal?.(element)
    if (refusal !== undefined) return this.#refuse(refusal)
    const waiting = this.#waiting
    if (waiting === undefined && this.#taking) throw new Error('two negotiation steps at once')
    const step = waiting === undefined ? this.#chosen(element) : undefined
    // RFC 6120 §4.9.3.12: a stanza during a dialogue, before there is a session.
    if (step === undefined && element.ns === NS.CLIENT) throw new StreamError('not-authorized')
    if (++this.#steps > MOST_STEPS) throw new StreamError('policy-violation', 'too many steps')
    const turn = new Promise<void>(resolve => { this.#turn = resolve })
    this.#waiting = undefined
    if (step === undefined) waiting?.resolve(element)
    else void this.#take(step)
    return turn
  }

  /** Answers a request that comes too early. A running step goes on. */
  #refuse (answer: Element): Promise<void> {
    if (++this.#refusals > MOST_REFUSALS) throw new StreamError('policy-violation', 'too many requests came too early')
    this.#ground.send(octets(answer))
    return Promise.resolve()
  }

  /** Resolves with the peer's next nonza. Rejects with StreamOver if the stream ends first. */
  next (): Promise<Element> {
    if (this.#over) return Promise.reject(new StreamOver())
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      this.#endTurn()
    })
  }

  /** Ends the negotiation: a running step gets no more elements, and its result is dropped. */
  end (): void {
    this.#over = true
    this.#offered = []
    this.#waiting?.reject(new StreamOver())
    this.#waiting = undefined
    this.#endTurn()
  }

  async #take (take: () => Promise<Outcome<S>>): Promise<void> {
    this.#taking = true
    try {
      const outcome = await take()
      this.#taking = false
      if (!this.#over) this.#follow(outcome)
      else if (outcome.go === 'session') this.#ground.abandoned?.(outcome.session)
    } catch (error) {
      this.#taking = false
      this.#ground.failed(error)
    }
    this.#endTurn()
  }

  #follow (outcome: Outcome<S>): void {
    switch (outcome.go) {
      case 'continue': return
      case 'session':
        this.#offered = []
        if (outcome.identity !== undefined) this.#ground.identified(outcome.identity)
        this.#ground.established(outcome.session, outcome.identity !== undefined)
        return
      case 'identity':
        this.#ground.identified(outcome.identity)
        this.offer()
        return
      case 'restart':
        if (outcome.identity !== undefined) this.#ground.identified(outcome.identity)
        this.#offered = []
        this.#ground.restart()
    }
  }

  /** Returns the step that the peer requests, if it is still offered. Throws StreamError for anything else. */
  #chosen (element: ParsedElement): () => Promise<Outcome<S>> {
    const isStanza = element.ns === NS.CLIENT
    const namespace = isStanza ? payloadNamespace(element) : element.ns
    for (const feature of this.#offered) {
      if (feature.namespace !== namespace || feature.take === undefined) continue
      return feature.take.bind(feature, this.#stream, element)
    }
    if (isStanza) throw new StreamError(isKind(localName(element)) ? 'not-authorized' : 'unsupported-stanza-type')
    // RFC 6120 §4.9.3.24 for an unknown namespace; a known one that was not offered breaks our policy (§4.9.3.14).
    throw new StreamError(KNOWN.has(element.ns) ? 'policy-violation' : 'unsupported-stanza-type')
  }

  #endTurn (): void {
    const turn = this.#turn
    this.#turn = undefined
    turn?.()
  }
}

/** RFC 6120 §7: a bind request is an iq. */
function payloadNamespace (element: Element): string | undefined {
  if (localName(element) !== 'iq') return undefined
  const payload = childElements(element)[0]
  return payload === undefined ? undefined : namespaceOf(payload)
}
