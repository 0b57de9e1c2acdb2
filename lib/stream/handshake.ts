/** The TLS handshake of a stream, as either side (RFC 6120 §5.4.3). */
import type { Clock } from '../base/clock.js'
import type { Logger } from '../base/logger.js'
import type { Stream } from './stream.js'
import type { ClientTlsSettings, TlsSettings } from './transport.js'

/** The parts of a stream that its handshake uses. */
type Shaken = Pick<Stream<never>, 'transport' | 'startTls' | 'cut'>

/**
 * Encrypts a stream. `ready` comes first, if given: it may wait for the handshake's turn, and sends `<proceed/>`. If
 * `ready` or the handshake fails, the connection is cut, because there is no stream on which to report it (RFC 6120
 * §5.4.3.2); rejects with the reason.
 */
export async function shakeHands (
  stream: Shaken, how: TlsSettings | ClientTlsSettings, { clock, log }: { readonly clock: Clock, readonly log: Logger },
  ready?: () => Promise<void>,
): Promise<void> {
  const began = clock.now()
  try {
    if (ready !== undefined) await ready()
    await stream.startTls(how)
  } catch (error) {
    const reason = error instanceof Error ? error : new Error(String(error))
    const { address } = stream.transport
    log.debug('handshake failed', { address, afterMilliseconds: clock.now() - began, error: reason })
    stream.cut(reason)
    throw reason
  }
}
