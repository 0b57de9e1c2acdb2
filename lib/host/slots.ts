/** What the core itself keeps in a session. */
import { slot } from '../base/slot.js'
import type { Session } from './session.js'

/** Which of the account's clients it is, as lib/auth/clients.ts keys them; '' where the client does not say (XEP-0388 §2.3). */
export const clientOf = slot<string>('core.client', { initial: () => '', codec: { write: key => key, read: key => key } })

/** Which of the account's devices a session is: its client where that says which it is, else whoever has the resource. */
export function deviceOf (session: Session): string {
  const client = session.get(clientOf)
  return client === '' ? deviceAt(session.jid.resource) : client
}

/** The device of a session whose client does not say which it is: no key of a client has a slash. */
export function deviceAt (resource: string): string { return `/${resource}` }

/** It was bound by Bind 2: its client takes from the archive what came while it was away (XEP-0386 §3.2). */
export const boundInline = slot<boolean>('core.bound-inline', { initial: () => false })

/** A module asks its device for signs of life when it has been silent: no spaces are needed for that. */
export const watchedOver = slot<boolean>('core.watched-over', { initial: () => false })
