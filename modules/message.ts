/** RFC 6121 §8.5: selects the sessions of an account that receive a message. */
import { defineModule, messageArriving, NS, StanzaError } from '../lib/api.js'
import type { Jid, Message, Session, Sessions } from '../lib/api.js'

export default defineModule({
  name: 'message',
  about: 'Delivers messages to the devices of an account by the rules of RFC 6121 §8.5.',

  setup (host) {
    host.on(messageArriving, event => {
      const chosen = choose(host.sessions, event.message, event.account)
      if (chosen === 'ignored') return 'handled'
      event.recipients = chosen
      return undefined
    })
  },
})

/**
 * Selects the recipients by RFC 6121 §8.5.4, table 1. An empty list means that no session is available, and the message
 * may be stored.
 */
function choose (sessions: Sessions, message: Message, account: Jid): readonly Session[] | 'ignored' {
  if (message.to.resource === '') return toBare(sessions, message.type, account)
  const match = sessions.at(message.to)
  if (match !== undefined) return [match] // §8.5.3.1: whatever the priority
  // §8.5.3.2.1: only chat messages fall back to the bare address; other types get an error, or are ignored.
  switch (message.type) {
    // An archive result is only for the session that asked for it (XEP-0313 §4.2).
    case 'chat': return message.has(NS.MAM, 'result') ? 'ignored' : toBare(sessions, 'chat', account)
    case 'headline': case 'error': return 'ignored'
    default: throw new StanzaError('service-unavailable')
  }
}

function toBare (sessions: Sessions, type: string, account: Jid): readonly Session[] | 'ignored' {
  if (type === 'groupchat') throw new StanzaError('service-unavailable') // §8.5.2.1.1
  if (type === 'error') return 'ignored'
  // §8.5.2.1.1: never a session with a negative priority; all others, so that each device has the conversation.
  const present = sessions.of(account).filter(session => session.available && session.priority >= 0)
  return type === 'headline' && present.length === 0 ? 'ignored' : present // §8.5.2.2.1
}
