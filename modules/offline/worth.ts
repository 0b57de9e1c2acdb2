/** Decides which messages are stored for an account without an available device (XEP-0160 §3, XEP-0334 §4). */
import { storingOf } from '../../lib/api.js'
import type { Message } from '../../lib/api.js'

/** True if the message is worth storing until a device comes. */
export function isWorthKeeping (message: Message): boolean {
  // XEP-0160 §3: headlines, errors and group chat are not stored.
  if (message.type !== 'chat' && message.type !== 'normal') return false
  const { noStore, store, isResult, holds } = storingOf(message)
  // XEP-0334 §4.1: no-permanent-store does not apply, because the message is removed when a device takes it.
  if (noStore || isResult) return false
  // XEP-0160 §3: messages of type 'normal' are stored; those of type 'chat' unless they hold only a chat state.
  return store || message.type === 'normal' || holds !== 'nothing'
}
