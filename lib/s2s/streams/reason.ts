/** Turns the reason why a stream to another server ended into a LinkError. */
import { PeerStreamError } from '../../stream/stream.js'
import { StreamError } from '../../xmpp/errors.js'
import { LinkError } from '../ground/link-error.js'

/** Stream errors after which it is worth trying again soon. */
const PASSING = ['system-shutdown', 'resource-constraint', 'reset', 'connection-timeout', 'internal-server-error']

export function reasonOf (reason: Error | undefined): LinkError {
  if (reason instanceof LinkError) return reason
  if (reason instanceof PeerStreamError) {
    const isUnknown = reason.condition === 'host-unknown' || reason.condition === 'host-gone'
    const condition = isUnknown ? 'remote-server-not-found' : 'remote-server-timeout'
    const isPassing = PASSING.includes(reason.condition)
    return new LinkError(condition, `it ended the stream: ${reason.condition}`, { isPassing, cause: reason })
  }
  if (reason instanceof StreamError && reason.condition === 'connection-timeout') {
    return new LinkError('remote-server-timeout', 'it took too long', { isPassing: true, cause: reason })
  }
  return new LinkError('remote-server-timeout', 'the connection was lost', { isPassing: true, cause: reason })
}
