/** Reads the domains in the header of another server's stream. */
import type { Router } from '../../host/router.js'
import type { StreamHeader } from '../../stream/header.js'
import { StreamError } from '../../xmpp/errors.js'

/**
 * Returns the local domain that a stream is for. Throws StreamError if it is not one of this server (RFC 6120 §4.7.2).
 */
export function localIn ({ to }: StreamHeader, router: Router): string {
  if (to === undefined) throw new StreamError('improper-addressing', "the stream has no 'to'")
  if (to.local !== '' || to.resource !== '' || !router.serves(to.domain)) throw new StreamError('host-unknown')
  return to.domain
}

/**
 * Returns the domain that the peer claims, if any; this proves nothing. Throws StreamError if it is not a domain or is
 * local.
 */
export function claimedIn ({ from }: StreamHeader, router: Router): string | undefined {
  if (from === undefined) return undefined
  // RFC 6120 §4.7.1
  if (from.local !== '' || from.resource !== '' || router.serves(from.domain)) throw new StreamError('invalid-from')
  return from.domain
}
