/** Stops stanzas between an account and the addresses that it has blocked (XEP-0191 §3.3). */
import {
  broadcastArriving, follow, iqArriving, iqSent, messageArriving, messageSent, NS, presenceArriving, presenceSent,
  StanzaError, xml,
} from '../../lib/api.js'
import type { Addressed, Jid, Maybe, ModuleHost } from '../../lib/api.js'
import type { BlockLists } from './lists.js'
import { matches } from './matching.js'

/** Refuses stanzas to blocked addresses, and drops or refuses those from them. */
export function screenStanzas (host: ModuleHost, lists: BlockLists): void {
  host.on(messageSent, ({ message, session }) => refuse(lists, session.account, message.to), 'screen')
  host.on(iqSent, ({ iq, session }) => refuse(lists, session.account, iq.to), 'screen')
  host.on(presenceSent, ({ presence: { to }, session }) => {
    return to === undefined ? undefined : refuse(lists, session.account, to)
  }, 'screen')

  host.on(messageArriving, ({ message, account }) => stop(lists, account, message), 'screen')
  host.on(presenceArriving, ({ presence, account }) => stop(lists, account, presence), 'screen')
  host.on(iqArriving, ({ iq, account }) => stop(lists, account, iq), 'screen')
  // The usual way stops the stanzas that are blocked or may be.
  host.on(broadcastArriving, event => {
    const { from } = event.stanza
    event.recipients = event.recipients.filter(({ account }) => isOpen(lists, account, from))
  }, 'screen')
}

/** True if the account's list is in memory, and does not block the sender. */
function isOpen (lists: BlockLists, account: Jid, from: Jid): boolean {
  const list = lists.of(account)
  if (!(list instanceof Promise)) return !matches(list, account, from)
  list.catch(() => undefined) // the usual way waits for the list, and refuses the stanza if it cannot be read
  return false
}

/** Throws StanzaError if the account has blocked the recipient. */
function refuse (lists: BlockLists, account: Jid, to: Jid): Maybe<undefined> {
  return follow(lists.of(account), list => {
    if (!matches(list, account, to)) return undefined
    const plus = xml('blocked', { xmlns: NS.BLOCKING_ERRORS })
    throw new StanzaError('not-acceptable', undefined, { type: 'cancel', plus })
  })
}

/** Drops presence, replies and errors from a blocked address; refuses messages and requests. */
function stop (lists: BlockLists, account: Jid, arriving: Addressed): Maybe<'handled' | undefined> {
  return follow(lists.of(account), list => {
    if (!matches(list, account, arriving.from)) return undefined
    const answers = arriving.kind === 'message' ? arriving.type !== 'error' : arriving.type === 'get' || arriving.type === 'set'
    if (arriving.kind !== 'presence' && answers) throw new StanzaError('service-unavailable')
    return 'handled'
  })
}
