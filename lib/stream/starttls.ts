/** STARTTLS (RFC 6120 §5). */
import { localName, xml } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError } from '../xmpp/errors.js'
import type { StreamFeature } from './negotiation.js'

/** Mandatory wherever it is offered: on each connection that is neither encrypted nor may do without. */
export const starttls: StreamFeature<never> = {
  namespace: NS.TLS,

  offered: stream => stream.secure ? undefined : xml('starttls', { xmlns: NS.TLS }, xml('required')),

  async take (stream, request) {
    if (localName(request) !== 'starttls') throw new StreamError('unsupported-stanza-type')
    // RFC 6120 §5.4.3.2: where the handshake fails there is no stream to say so on.
    await stream.startTls(xml('proceed', { xmlns: NS.TLS }))
    return { go: 'restart' }
  },
}
