/** Pending subscription requests (RFC 6121 §3.1.3): each is stored as it was received, within bounds. */
import {
  attributeOf, clone, flatten, fromOctets, NS, octets, parseElement, siteOf, StanzaError, toOctets, writable, xml,
} from '../../lib/api.js'
import type { Element, Jid } from '../../lib/api.js'

/** The bounds of an account's pending requests. */
export interface RequestBounds {
  /** The most requests of an account. */
  readonly requests: number
  /** The largest request, and all requests of an account together, in bytes. */
  readonly bytesPerRequest: number
  readonly requestBytes: number
}

/**
 * Returns the stored form of a request: the whole stanza as XML (RFC 6121 §3.1.3) without its addresses. Throws
 * StanzaError if it is too large.
 */
export function requestOf (presence: Element, bounds: RequestBounds): string {
  const element = clone(presence)
  for (const name of ['from', 'to']) element.attr(name, null)
  const written = octets(element)
  if (written.length > bounds.bytesPerRequest) throw new StanzaError('policy-violation', 'the request is too large', { type: 'modify' })
  return flatten(fromOctets(written))
}

/** Parses a stored request. Versions before 0.2 stored only the status text. */
export function requestElement (request: string): Element {
  if (!request.startsWith(STANZA)) return ofStatus(request)
  try {
    const element = parseElement(toOctets(request))
    // A status text of an older version may look like a stanza: then only the fact of a request is used.
    return element.name === 'presence' && attributeOf(element, 'type') === 'subscribe' ? element : ofStatus(request)
  } catch {
    return ofStatus('') // the fact of a request is still known
  }
}

/** Throws if a stored request is a stanza that cannot be read. */
export function checkRequest (request: string): void {
  if (request.startsWith(STANZA)) parseElement(toOctets(request))
}

const STANZA = '<presence'

function ofStatus (status: string): Element {
  return xml('presence', { xmlns: NS.CLIENT, type: 'subscribe' }, status === '' ? undefined : xml('status', {}, writable(status)))
}

/** Pending requests with the bare addresses of their contacts. */
type Requests = Iterable<readonly [contact: string, request: string]>

/** The number of pending requests, and their bytes. */
interface Waiting { count: number, bytes: number }

/**
 * Throws StanzaError if there is no room for a request, which replaces an older one of the same contact. Pending
 * requests are never dropped. One site may fill at most half of the room that other sites leave, so a flood from one
 * site is refused before the queue is full.
 */
export function checkRoom (waiting: Requests, contact: Jid, request: string, bounds: RequestBounds): void {
  const [all, own] = counted(waiting, contact)
  const [count, bytes] = [bounds.requests - all.count, bounds.requestBytes - all.bytes]
  if (own.count + 1 > count || own.bytes + Buffer.byteLength(request) > bytes) throw new StanzaError('resource-constraint', 'too many pending requests')
}

/** Checks the room for an imported request, without the limit for a single site. Throws StanzaError. */
export function checkImport (waiting: Requests, contact: Jid, request: string, bounds: RequestBounds): void {
  const [all] = counted(waiting, contact)
  if (all.count + 1 > bounds.requests || all.bytes + Buffer.byteLength(request) > bounds.requestBytes) {
    throw new StanzaError('resource-constraint', 'too many pending requests')
  }
}

/** Counts the requests of all contacts but this one, and of those at its site. */
function counted (waiting: Requests, contact: Jid): readonly [all: Waiting, own: Waiting] {
  const [all, own]: readonly [Waiting, Waiting] = [{ count: 0, bytes: 0 }, { count: 0, bytes: 0 }]
  const [address, site] = [contact.bare.toString(), siteOf(contact.domain)]
  for (const [other, request] of waiting) {
    if (other === address) continue
    add(all, request)
    if (siteOf(other.slice(other.indexOf('@') + 1)) === site) add(own, request)
  }
  return [all, own]
}

function add (waiting: Waiting, request: string): void {
  waiting.count++
  waiting.bytes += Buffer.byteLength(request)
}
