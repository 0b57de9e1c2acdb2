/** The STARTTLS feature (RFC 6120 §5). */
import { localName, xml } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError } from '../xmpp/errors.js'
import type { StreamFeature } from './negotiation.js'

/** Offered, and then required, on each connection that is not encrypted and has to be. */
export const starttls: StreamFeature<never> = {
  namespace: NS.TLS,

  offered: stream => stream.secure ? undefined : xml('starttls', { xmlns: NS.TLS }, xml('required')),

  async take (stream, request) {
    if (localName(request) !== 'starttls') throw new StreamError('unsupported-stanza-type')
    // RFC 6120 §5.4.3.2: after a failed handshake there is no stream on which to report it.
    await stream.startTls(xml('proceed', { xmlns: NS.TLS }))
    return { go: 'restart' }
  },
}
