/** When the user wants to be notified of a chat (XEP-0492), and how that changes what the operator has set. */
import { chatSettings, follow } from '../../lib/api.js'
import type { Jid, Maybe, ModuleHost, NotifySetting } from '../../lib/api.js'

export type Wish = NotifySetting['when']

/** Which messages of group chats trigger notifications. */
export type Rooms = 'never' | 'mentions' | 'all'

/**
 * Returns the setting that fits most (§3); undefined if none does. A registration does not say which kind of device it
 * is for, and app servers are for phones: so it counts as one.
 */
function wishIn (settings: readonly NotifySetting[]): Wish | undefined {
  const of = (category: string | undefined, type: string | undefined): Wish | undefined =>
    settings.find(one => one.category === category && one.type === type)?.when
  return of('client', 'phone') ?? of('client', undefined) ?? of(undefined, undefined)
}

/** Returns when an account wants to be notified of a chat; undefined if it has not chosen, or that cannot be read. */
export function wishOf (host: ModuleHost, account: Jid, chat: Jid): Maybe<Wish | undefined> {
  const settings = host.find(chatSettings)?.notify(account, chat) ?? []
  if (!(settings instanceof Promise)) return wishIn(settings)
  return follow(settings.catch((error: unknown): readonly NotifySetting[] => {
    host.log.warn('notification settings not read', { account: account.toString(), error })
    return []
  }), wishIn)
}

/** Returns which messages of a room count: an operator who allows none has the last word. */
export function roomsFor (rooms: Rooms, wish: Wish | undefined): Rooms {
  if (rooms === 'never' || wish === undefined) return rooms
  return wish === 'always' ? 'all' : wish === 'never' ? 'never' : 'mentions'
}
