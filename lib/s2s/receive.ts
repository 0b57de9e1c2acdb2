/** A stanza as another server sent it: who it is from and to is checked here, and once (RFC 6120 §8.1.1.2, §8.1.2.2). */
import type { Maybe } from '../base/maybe.js'
import { ReleaseOrder } from '../host/order.js'
import { PER_REQUEST, type Payer } from '../host/cost.js'
import { enterFromServer } from '../host/remote.js'
import { attributeOf, localName, type ParsedElement, type Source } from '../xml/element.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'
import { addressed, errorReply, Stanza, type Addressed, type Kind } from '../xmpp/stanza.js'
import type { Place } from './inbound.js'
import type { Outgoing } from './outgoing.js'
import { pairKey } from './waiting.js'
import type { FederationWorld } from './world.js'

export interface Receiving extends Payer {
  readonly order: ReleaseOrder
  /** xml:lang of the stream. */
  readonly lang: string | undefined
  /** Whether the peer has proved that it speaks for `remote` to `local`. */
  mayCarry (local: string, remote: string): boolean
  /** An answer to what could not even be read. */
  answer (stanza: Addressed): void
  /** The next stanza has its place; undefined where they are not counted. */
  arrive (): Place | undefined
  /** Whether this answers a ping of our own server to theirs. */
  isAnswer (local: string, remote: string, id: string): boolean
}

/** Takes one stanza of a peer's into the server. Throws StreamError where the stream must end. */
export function receive (world: FederationWorld, stream: Receiving, element: ParsedElement, source: Source): Maybe<void> {
  const kind = localName(element)
  if (!isKind(kind)) throw new StreamError('unsupported-stanza-type')
  const arrival = stream.arrive()
  try {
    const wait = take(world, stream, kind, element, source, arrival)
    if (wait === 'taken') { arrival?.settle(() => {}); return undefined }
    return wait
  } catch (error) {
    arrival?.refuse() // the stream ends by it, and the peer is not to think that it was handled
    throw error
  }
}

/** Takes the stanzas that come back on a stream that we have opened (XEP-0288). */
export function receiverOn (
  outgoing: Pick<Outgoing, 'proven' | 'managed' | 'charge'>, world: FederationWorld, isAnswer: Receiving['isAnswer'],
): (element: ParsedElement, source: Source) => Maybe<void> {
  const { router } = world
  const order = new ReleaseOrder(router.storage)
  const receiving: Receiving = {
    order,
    charge: (units, from) => { outgoing.charge(units, from) },
    lang: undefined,
    // Whom we have proven ourselves to there was found, and believed, as our policy wants it (XEP-0288 §2.2).
    mayCarry: (local, remote) => outgoing.proven.has(pairKey(local, remote)),
    answer: reply => { router.route(reply) },
    arrive: () => outgoing.managed?.arrive(order),
    isAnswer,
  }
  return (element, source) => receive(world, receiving, element, source)
}

/** 'taken': there is nothing more to be done with it. */
function take (
  world: FederationWorld, stream: Receiving, kind: Kind, element: ParsedElement, source: Source, arrival: Place | undefined,
): Maybe<void> | 'taken' {
  const [fromText, toText] = [attributeOf(element, 'from'), attributeOf(element, 'to')]
  // RFC 6120 §4.9.3.7: between servers, both are there.
  if (fromText === undefined || toText === undefined) throw new StreamError('improper-addressing')
  const from = parsed(fromText)
  const to = parsed(toText)
  if (from === undefined) { unreadable(world, stream, kind, element, fromText, to); return 'taken' } // the link is for its other users
  if (to === undefined) { malformed(world, stream, kind, element, from); return 'taken' }
  // RFC 6120 §4.9.3.9, §4.9.3.6
  if (!world.router.serves(to.domain)) throw new StreamError('host-unknown')
  if (!stream.mayCarry(to.domain, from.domain)) throw new StreamError('invalid-from')
  // RFC 6120 §8.1.5: without one of its own it has the stream's.
  if (stream.lang !== undefined && element.attrs['xml:lang'] === undefined) element.attrs['xml:lang'] = stream.lang
  const stanza = addressed(new Stanza(kind, element, from, to, source), to)
  if (kind === 'iq' && to.local === '' && from.local === '' && isReply(stanza) && stream.isAnswer(to.domain, from.domain, stanza.id ?? '')) return 'taken'
  if (kind !== 'message') stream.charge(PER_REQUEST, from) // a message is charged for its recipients, and bounded by its sender
  return enterFromServer(world.router, world.host(to.domain), stanza, stream.order, arrival, stream)
}

/** RFC 6120 §8.3.3.8: by one of ours, for the address itself cannot be written. One user's fault does not end the link of all. */
function malformed (world: FederationWorld, stream: Receiving, kind: Kind, element: ParsedElement, from: Jid): void {
  const local = domainIn(attributeOf(element, 'to') ?? '')
  if (local === undefined || !stream.mayCarry(local.domain, from.domain)) throw new StreamError('improper-addressing')
  world.count('malformed')
  const stanza = new Stanza(kind, element, from, local)
  const isAnswer = stanza.type === 'error' || kind === 'iq' && stanza.type === 'result'
  if (!isAnswer) stream.answer(errorReply(stanza, new StanzaError('jid-malformed')))
}

/**
 * A sender's address that cannot be read as a whole. A request is answered, to the account or room without its resource, for somebody waits
 * for that. Other stanzas are not: a room would take an error for a sign that our user is gone.
 */
function unreadable (
  world: FederationWorld, stream: Receiving, kind: Kind, element: ParsedElement, text: string, to: Jid | undefined,
): void {
  world.count('malformed')
  const slash = text.indexOf('/')
  const from = slash < 0 ? undefined : parsed(text.slice(0, slash))
  if (kind !== 'iq' || from === undefined || to === undefined || !stream.mayCarry(to.domain, from.domain)) return
  const stanza = new Stanza(kind, element, from, to)
  if (stanza.type === 'get' || stanza.type === 'set') stream.answer(errorReply(stanza, new StanzaError('jid-malformed')))
}

/** The domain of what is no address as a whole. */
function domainIn (text: string): Jid | undefined {
  const [account = ''] = text.split('/', 1)
  return parsed(account.slice(account.lastIndexOf('@') + 1))
}

function parsed (text: string): Jid | undefined {
  try {
    return parseJid(text)
  } catch (error) {
    if (error instanceof JidError) return undefined
    throw error
  }
}

function isReply ({ type }: Stanza): boolean { return type === 'result' || type === 'error' }

function isKind (name: string): name is Kind {
  return name === 'message' || name === 'presence' || name === 'iq'
}
