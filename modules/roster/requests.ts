/** Subscription requests that wait for an account to answer them (RFC 6121 §3.1.3): each is kept as it came, within bounds. */
import { attributeOf, clone, flatten, fromOctets, NS, octets, parseElement, siteOf, StanzaError, toOctets, writable, xml } from '../../lib/api.js'
import type { Element, Jid } from '../../lib/api.js'

export interface RequestBounds {
  /** How many may wait for an account. */
  readonly requests: number
  /** The largest, and all that wait for an account together, in bytes. */
  readonly request: number
  readonly requestBytes: number
}

/** What of a request is kept: the whole stanza (RFC 6121 §3.1.3), as XML, but for its addresses. Throws StanzaError if it is too large. */
export function requestOf (presence: Element, bounds: RequestBounds): string {
  const element = clone(presence)
  for (const name of ['from', 'to']) element.attr(name, null)
  const written = octets(element)
  if (written.length > bounds.request) throw new StanzaError('policy-violation', 'the request is too large', { type: 'modify' })
  return flatten(fromOctets(written))
}

/** The stanza that a stored request is. Versions before 0.2 stored its status only. */
export function requestElement (request: string): Element {
  if (!request.startsWith(STANZA)) return ofStatus(request)
  try {
    const element = parseElement(toOctets(request))
    // A status of an older version may look like a stanza: it must not say anything but that somebody asks.
    return element.name === 'presence' && attributeOf(element, 'type') === 'subscribe' ? element : ofStatus(request)
  } catch {
    return ofStatus('') // that somebody asks is known nevertheless
  }
}

const STANZA = '<presence'

function ofStatus (status: string): Element {
  return xml('presence', { xmlns: NS.CLIENT, type: 'subscribe' }, status === '' ? undefined : xml('status', {}, writable(status)))
}

/** Those that wait, by the bare addresses of their contacts. */
type Requests = Iterable<readonly [contact: string, request: string]>

/** How many requests wait, and their bytes. */
interface Waiting { count: number, bytes: number }

/**
 * Whether there is room for one more request, which takes the place of an older one from the same contact. What waits is never dropped. The
 * requests of one site may be as many as there is room left for others, and no more: whoever fills the queue is refused before it is full.
 * Throws StanzaError.
 */
export function checkRoom (waiting: Requests, contact: Jid, request: string, bounds: RequestBounds): void {
  const [all, own] = counted(waiting, contact)
  const [count, bytes] = [bounds.requests - all.count, bounds.requestBytes - all.bytes]
  if (own.count + 1 > count || own.bytes + Buffer.byteLength(request) > bytes) throw new StanzaError('resource-constraint', 'too many requests wait')
}

/** The same for an import, where the requests of one site are as good as others. Throws StanzaError. */
export function checkImport (waiting: Requests, contact: Jid, request: string, bounds: RequestBounds): void {
  const [all] = counted(waiting, contact)
  if (all.count + 1 > bounds.requests || all.bytes + Buffer.byteLength(request) > bounds.requestBytes) {
    throw new StanzaError('resource-constraint', 'too many requests wait')
  }
}

/** Of all contacts but this one; and of those at its site. */
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
