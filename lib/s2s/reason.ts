/** Why a stream to another server is over, as those who waited for it hear of it. */
import { PeerStreamError } from '../stream/stream.js'
import { StreamError } from '../xmpp/errors.js'
import { LinkError } from './world.js'

/** Stream errors after which it is worth to come again soon. */
const PASSING = ['system-shutdown', 'resource-constraint', 'reset', 'connection-timeout', 'internal-server-error']

export function reasonOf (reason: Error | undefined): LinkError {
  if (reason instanceof LinkError) return reason
  if (reason instanceof PeerStreamError) {
    const condition = reason.condition === 'host-unknown' || reason.condition === 'host-gone' ? 'remote-server-not-found' : 'remote-server-timeout'
    return new LinkError(condition, `it ends the stream: ${reason.condition}`, { isPassing: PASSING.includes(reason.condition), cause: reason })
  }
  if (reason instanceof StreamError && reason.condition === 'connection-timeout') {
    return new LinkError('remote-server-timeout', 'it takes too long', { isPassing: true, cause: reason })
  }
  return new LinkError('remote-server-timeout', 'the connection is gone', { isPassing: true, cause: reason })
}
