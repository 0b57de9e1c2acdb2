/** Between whom another server says that its stream is. */
import type { Router } from '../host/router.js'
import type { StreamHeader } from '../stream/header.js'
import { StreamError } from '../xmpp/errors.js'

/** The domain of ours. Throws StreamError where there is none (RFC 6120 §4.7.2). */
export function localIn ({ to }: StreamHeader, router: Router): string {
  if (to === undefined) throw new StreamError('improper-addressing', "the stream is 'to' nobody")
  if (to.local !== '' || to.resource !== '' || !router.serves(to.domain)) throw new StreamError('host-unknown')
  return to.domain
}

/** The domain that the peer says it is, where it says so; it proves nothing. Throws StreamError where that is no server but us. */
export function claimedIn ({ from }: StreamHeader, router: Router): string | undefined {
  if (from === undefined) return undefined
  if (from.local !== '' || from.resource !== '' || router.serves(from.domain)) throw new StreamError('invalid-from') // RFC 6120 §4.7.1
  return from.domain
}
