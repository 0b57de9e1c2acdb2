/**
 * Hands back the stanzas that a device did not acknowledge before its session ended (XEP-0198 §4), as if the device
 * were offline.
 */
import {
  addressed, attributeOf, errorReply, isMessage, parseElement, parseJid, Stanza, StanzaError,
} from '../../lib/api.js'
import type { Addressed, ModuleHost, Write } from '../../lib/api.js'

/**
 * Hands back one stanza. `octets`: as it was sent; `at`: when, in milliseconds since 1970. `removing` is stored
 * together with that.
 */
export function undelivered (host: Pick<ModuleHost, 'router' | 'batch' | 'log'>, octets: string, at: number, removing: Write | undefined): void {
  const stanza = stanzaIn(octets)
  if (isMessage(stanza)) {
    host.router.redeliver(addressed(stanza, stanza.to), at, removing)
    return
  }
  // RFC 6121 §8.5.3.2.3: the sender of a request gets an error. Presence and results are dropped.
  if (stanza.kind === 'iq' && (stanza.type === 'get' || stanza.type === 'set')) host.router.route(errorReply(stanza, new StanzaError('service-unavailable')))
  if (removing === undefined) return
  const batch = host.batch()
  batch.add(removing)
  batch.commit().catch((error: unknown) => { host.log.warn('session not stored', { error }) })
}

function stanzaIn (octets: string): Addressed {
  const element = parseElement(octets)
  const { name } = element
  const [from, to] = [attributeOf(element, 'from'), attributeOf(element, 'to')]
  if (name !== 'message' && name !== 'presence' && name !== 'iq' || from === undefined || to === undefined) throw new Error('the stored text is not a stanza')
  const recipient = parseJid(to)
  return addressed(new Stanza(name, element, parseJid(from), recipient), recipient)
}
