/** Takes in a stanza of another server. Its addresses are checked here, once (RFC 6120 §8.1.1.2, §8.1.2.2). */
import type { Maybe } from '../../base/maybe.js'
import { ReleaseOrder } from '../../host/order.js'
import { takeFromServer } from '../../host/pipeline/entry.js'
import type { PeerStream, ServerHome } from '../../host/pipeline/from-server.js'
import { attributeOf, localName, type ParsedElement, type Source } from '../../xml/element.js'
import { StanzaError, StreamError } from '../../xmpp/errors.js'
import { JidError, parseJid, type Jid } from '../../xmpp/jid.js'
import type { CountedArrival } from '../acks/arrived.js'
import { addressed, errorReply, isKind, Stanza, type Addressed, type Kind } from '../../xmpp/stanza.js'
import type { Outgoing } from './outgoing.js'
import { pairKey } from '../ground/domain-pair.js'
import type { StreamContext } from './context.js'

/** A stream that stanzas of another server come on. */
export interface Receiving extends PeerStream {
  /** Sends a reply to a stanza whose addresses could not be read. */
  answer (stanza: Addressed): void
  /** Counts the next stanza; undefined if stanzas are not counted. */
  arrive (): CountedArrival | undefined
}

/** Takes one stanza of a peer. Throws StreamError if the stream must end. */
export type Receiver = (element: ParsedElement, source: Source) => Maybe<void>

/** Returns a function that takes the stanzas of one stream. */
export function receiver (world: StreamContext, stream: Receiving): Receiver {
  const home: ServerHome = { router: world.router, stream, host: domain => world.host(domain) }
  return (element, source) => {
    const kind = localName(element)
    if (!isKind(kind)) throw new StreamError('unsupported-stanza-type')
    const arrival = stream.arrive()
    const stanza = readStanza(world, stream, kind, element, source, arrival)
    if (stanza !== undefined) return takeFromServer(world.pipeline, home, stanza, arrival)
    arrival?.settle(() => {})
    return undefined
  }
}

/** Returns a function that takes the stanzas which come back on a stream that we opened (XEP-0288). */
export function receiverOn (
  outgoing: Pick<Outgoing, 'proven' | 'managed' | 'charge'>, world: StreamContext, isAnswer: Receiving['isAnswer'],
): Receiver {
  const { pipeline } = world
  const order = new ReleaseOrder(pipeline.storage)
  return receiver(world, {
    order,
    charge: (units, from) => { outgoing.charge(units, from) },
    lang: undefined,
    // The peer's identity was checked by our policy before a pair was proven there (XEP-0288 §2.2).
    mayCarry: (local, remote) => outgoing.proven.has(pairKey(local, remote)),
    answer: reply => { pipeline.route(reply) },
    arrive: () => outgoing.managed?.arrive(order),
    isAnswer,
  })
}

/**
 * Reads the addresses of a stanza; returns undefined if one cannot be read, in which case the stanza is done with. The
 * steps of FROM_SERVER check what the addresses mean.
 */
function readStanza (
  world: StreamContext, stream: Receiving, kind: Kind, element: ParsedElement, source: Source,
  arrival: CountedArrival | undefined,
): Addressed | undefined {
  try {
    const addresses = addressesOf(world, stream, kind, element)
    return addresses && addressed(new Stanza(kind, element, addresses.from, addresses.to, source), addresses.to)
  } catch (error) {
    arrival?.refuse() // the stream ends, and the peer must not think that the stanza was handled
    throw error
  }
}

/**
 * Returns the addresses of a stanza; undefined if one cannot be read, in which case the stanza is done with. Throws
 * StreamError if one is missing, or if the stream must end for another reason.
 */
function addressesOf (
  world: StreamContext, stream: Receiving, kind: Kind, element: ParsedElement,
): { readonly from: Jid, readonly to: Jid } | undefined {
  const [fromText, toText] = [attributeOf(element, 'from'), attributeOf(element, 'to')]
  // RFC 6120 §4.9.3.7: between servers, both are required.
  if (fromText === undefined || toText === undefined) throw new StreamError('improper-addressing')
  const from = parsed(fromText)
  const to = parsed(toText)
  // The stream goes on for its other users.
  if (from === undefined) unreadable(world, stream, kind, element, fromText, to)
  else if (to === undefined) malformed(world, stream, kind, element, from)
  else return { from, to }
  return undefined
}

/**
 * Replies to a stanza whose recipient cannot be read (RFC 6120 §8.3.3.8). The reply comes from the domain, because the
 * address itself cannot be written. The stream goes on: the mistake of one user must not end it for all.
 */
function malformed (world: StreamContext, stream: Receiving, kind: Kind, element: ParsedElement, from: Jid): void {
  const local = domainIn(attributeOf(element, 'to') ?? '')
  if (local === undefined || !stream.mayCarry(local.domain, from.domain)) throw new StreamError('improper-addressing')
  world.count('malformed')
  const stanza = new Stanza(kind, element, from, local)
  const isAnswer = stanza.type === 'error' || kind === 'iq' && stanza.type === 'result'
  if (!isAnswer) stream.answer(errorReply(stanza, new StanzaError('jid-malformed')))
}

/**
 * Handles a stanza whose sender cannot be read. A request is answered, to the account or room without a resource,
 * because somebody waits for it. Other stanzas are not: a room would take an error as a sign that the local user is
 * gone.
 */
function unreadable (
  world: StreamContext, stream: Receiving, kind: Kind, element: ParsedElement, text: string, to: Jid | undefined,
): void {
  world.count('malformed')
  const slash = text.indexOf('/')
  const from = slash < 0 ? undefined : parsed(text.slice(0, slash))
  if (kind !== 'iq' || from === undefined || to === undefined || !stream.mayCarry(to.domain, from.domain)) return
  const stanza = new Stanza(kind, element, from, to)
  const isRequest = stanza.type === 'get' || stanza.type === 'set'
  if (isRequest) stream.answer(errorReply(stanza, new StanzaError('jid-malformed')))
}

/** Returns the domain of a text that is not a valid address. */
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
