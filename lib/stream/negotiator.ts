/** Offers features, and lets the peer take one after the other until its stream is established (RFC 6120 §4.3). */
import { childElements, localName, namespaceOf, xml, type Element, type ParsedElement } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { octets } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { StreamOver, type Negotiation, type Outcome, type StreamFeature } from './negotiation.js'

/** What the negotiator asks of the stream below, and tells its owner. */
export interface NegotiationGround<S> {
  /** Those that there are, in the order in which they are offered. */
  features (): readonly StreamFeature<S>[]
  send (octets: string): void
  restart (): void
  /** What is offered last, and names all the rest, which it is given as it is written (XEP-0509); undefined for nothing. */
  version? (rest: string): Element | undefined
  /** The peer has proved who it is. */
  identified (identity: Jid): void
  /** `announce`: what the stream has beside its session is to be told first, by `announce ()`. */
  established (session: S, announce: boolean): void
  /** A session was made for a stream that was over by then: nobody has heard of it. */
  abandoned? (session: S): void
  /** What a request is answered that comes too early, as its feature has it; undefined: it does not. */
  refusal? (element: ParsedElement): Element | undefined
  /** A step went wrong in a way that ends the stream, if that has not ended already. */
  failed (error: unknown): void
}

/** More steps than any client needs, failed logins included. */
const MOST_STEPS = 32
/** Requests that come too early and are answered; the next one ends the stream. */
const MOST_REFUSALS = 10
/** Namespaces of negotiation: out of place here, rather than unknown. */
const KNOWN: ReadonlySet<string> = new Set<string>([
  NS.TLS, NS.SASL, NS.SASL2, NS.BIND, NS.BIND2, NS.SM, NS.CSI, NS.FAST, NS.DIALBACK, 'http://jabber.org/protocol/compress',
])

interface Waiting { readonly resolve: (element: Element) => void, readonly reject: (error: Error) => void }

export class Negotiator<S> {
  readonly #stream: Negotiation
  readonly #ground: NegotiationGround<S>
  #offered: readonly StreamFeature<S>[] = []
  #taking = false
  #waiting: Waiting | undefined
  #turn: (() => void) | undefined
  #steps = 0
  #refusals = 0
  #over = false

  constructor (stream: Negotiation, ground: NegotiationGround<S>) {
    this.#stream = stream
    this.#ground = ground
  }

  /** Sends `<stream:features/>`: to be called behind each of our stream headers (RFC 6120 §4.3.2). */
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

  /** Sends `<stream:features/>` for those who have a session already: to be read, nothing in it can be taken (XEP-0388 §2.6.1). */
  announce (): void {
    this.offer()
    this.#offered = []
  }

  /** The peer's next element. Resolves when another may come: while a feature is at work, nothing is read. Throws StreamError. */
  receive (element: ParsedElement): Promise<void> {
    const refusal = this.#ground.refusal?.(element)
    if (refusal !== undefined) return this.#refuse(refusal)
    const waiting = this.#waiting
    if (waiting === undefined && this.#taking) throw new Error('two steps of a negotiation at once')
    const step = waiting === undefined ? this.#chosen(element) : undefined
    // RFC 6120 §4.9.3.12: a stanza in the midst of a dialogue, before there is a session
    if (step === undefined && element.ns === NS.CLIENT) throw new StreamError('not-authorized')
    if (++this.#steps > MOST_STEPS) throw new StreamError('policy-violation', 'too many steps')
    const turn = new Promise<void>(resolve => { this.#turn = resolve })
    this.#waiting = undefined
    if (step === undefined) waiting?.resolve(element)
    else void this.#take(step)
    return turn
  }

  /** What is under way goes on. */
  #refuse (answer: Element): Promise<void> {
    if (++this.#refusals > MOST_REFUSALS) throw new StreamError('policy-violation', 'too many requests that come too early')
    this.#ground.send(octets(answer))
    return Promise.resolve()
  }

  /** Resolves with the peer's next nonza. */
  next (): Promise<Element> {
    if (this.#over) return Promise.reject(new StreamOver())
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      this.#endTurn()
    })
  }

  /** The stream is over: what a feature waits for does not come, and what it answers is not heard. */
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

  /** What the peer asks for, if it was offered and still is. Throws the StreamError for anything else. */
  #chosen (element: ParsedElement): () => Promise<Outcome<S>> {
    const isStanza = element.ns === NS.CLIENT
    const namespace = isStanza ? payloadNamespace(element) : element.ns
    for (const feature of this.#offered) {
      if (feature.namespace !== namespace || feature.take === undefined) continue
      return feature.take.bind(feature, this.#stream, element)
    }
    if (isStanza) throw new StreamError(isStanzaName(localName(element)) ? 'not-authorized' : 'unsupported-stanza-type')
    // RFC 6120 §4.9.3.24 for what nobody knows; what is known and was not offered breaks our policy (§4.9.3.14).
    throw new StreamError(KNOWN.has(element.ns) ? 'policy-violation' : 'unsupported-stanza-type')
  }

  #endTurn (): void {
    const turn = this.#turn
    this.#turn = undefined
    turn?.()
  }
}

/** RFC 6120 §7: binding asks by an iq. */
function payloadNamespace (element: Element): string | undefined {
  if (localName(element) !== 'iq') return undefined
  const payload = childElements(element)[0]
  return payload === undefined ? undefined : namespaceOf(payload)
}

function isStanzaName (name: string): boolean {
  return name === 'message' || name === 'presence' || name === 'iq'
}
