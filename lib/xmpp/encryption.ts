/** Encrypted messages: what the server knows of them. */
import { NS } from '../xml/namespaces.js'
import type { Stanza } from './stanza.js'

/** XEP-0380, XEP-0384 (current and former), XEP-0373. */
const ENCRYPTED: readonly string[] = [NS.ENCRYPTION, NS.OMEMO, NS.OMEMO_LEGACY, NS.OPENPGP]

/** True if a message is end-to-end encrypted. Its body only says so, for clients that cannot decrypt it. */
export function isEncrypted (message: Stanza): boolean {
  return ENCRYPTED.some(namespace => message.has(namespace))
}
