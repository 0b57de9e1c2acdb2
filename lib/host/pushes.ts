/** Pushes (RFC 6121 §2.1.6, XEP-0191 §3.3): iq requests that only the server sends to a session. */
import { child } from '../xml/element.js'
import { StanzaError } from '../xmpp/errors.js'
import type { Addressed } from '../xmpp/stanza.js'

/**
 * Returns a handler of `iqArriving` that refuses pushes with this payload namespace. The server's own pushes do not
 * pass this hook, so every push there is forged. Some clients accepted them from anyone (CVE-2015-8688).
 */
export function refusePushes (namespace: string): (event: { readonly iq: Addressed<'iq'> }) => void {
  return ({ iq }) => {
    if (iq.type !== 'set' || iq.to.resource === '') return
    if (child(iq.element, namespace) !== undefined) throw new StanzaError('service-unavailable')
  }
}
