/** Tells which stanzas must survive a crash. */
import type { Stanza } from '../xmpp/stanza.js'
import { storingOf } from '../xmpp/storing.js'

/**
 * True if a crash must not lose the stanza: a message that holds anything. It is stored until it is delivered, which
 * only `no-store` forbids (XEP-0334 §4.2).
 */
export function isLasting (stanza: Stanza): boolean {
  if (stanza.kind !== 'message') return false
  const { noStore, holds } = storingOf(stanza)
  return !noStore && holds !== 'nothing'
}
