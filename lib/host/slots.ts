/** What the core itself keeps in a session. */
import { slot } from '../base/slot.js'

/** Which of the account's clients it is, as lib/auth/clients.ts keys them; '' where the client does not say (XEP-0388 §2.3). */
export const clientOf = slot<string>('core.client', { initial: () => '', codec: { write: key => key, read: key => key } })

/** It was bound by Bind 2: its client takes from the archive what came while it was away (XEP-0386 §3.2). */
export const boundInline = slot<boolean>('core.bound-inline', { initial: () => false })

/** A module asks its device for signs of life when it has been silent: no spaces are needed for that. */
export const watchedOver = slot<boolean>('core.watched-over', { initial: () => false })
