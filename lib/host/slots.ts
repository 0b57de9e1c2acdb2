/** The slots of the core. */
import { slot } from '../base/slot.js'
import type { Session } from './session.js'

/**
 * The client of the account, by its key in lib/auth/clients.ts; '' if the client does not identify itself (XEP-0388
 * §2.3).
 */
export const clientOf = slot<string>('core.client', {
  initial: () => '', codec: { write: key => key, read: key => key },
})

/** The device of a session: its client if that identifies itself, else its resource. */
export function deviceOf (session: Session): string {
  const client = session.get(clientOf)
  return client === '' ? deviceAt(session.jid.resource) : client
}

/** The device of a session whose client does not identify itself. A client's key contains no slash. */
export function deviceAt (resource: string): string { return `/${resource}` }

/** True if the session was bound by Bind 2: its client queries the archive for what it missed (XEP-0386 §3.2). */
export const boundInline = slot<boolean>('core.bound-inline', { initial: () => false })

/** True if a module pings the device when it is silent: no whitespace keepalives are needed. */
export const isPinged = slot<boolean>('core.watched-over', { initial: () => false })
