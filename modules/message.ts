/** RFC 6121 §8.5: which of an account's sessions a message goes to. */
import { defineModule, messageArriving, NS, StanzaError } from '../lib/api.js'
import type { Jid, Message, Session, Sessions } from '../lib/api.js'

export default defineModule({
  name: 'message',
  about: 'Delivers messages to the devices of an account, as RFC 6121 §8.5 says.',

  setup (host) {
    host.on(messageArriving, event => {
      const chosen = choose(host.sessions, event.message, event.account)
      if (chosen === 'ignored') return 'handled'
      event.recipients = chosen
      return undefined
    })
  },
})

/** RFC 6121 §8.5.4, table 1. An empty list: nobody is there, and the message may wait. */
function choose (sessions: Sessions, message: Message, account: Jid): readonly Session[] | 'ignored' {
  if (message.to.resource === '') return toBare(sessions, message.type, account)
  const match = sessions.at(message.to)
  if (match !== undefined) return [match] // §8.5.3.1: whatever its priority
  // §8.5.3.2.1: only chat is taken for the account; the others are an error, or nothing.
  switch (message.type) {
    // A page of an archive is for the session that asked for it (XEP-0313 §4.2), and for no other one.
    case 'chat': return message.has(NS.MAM, 'result') ? 'ignored' : toBare(sessions, 'chat', account)
    case 'headline': case 'error': return 'ignored'
    default: throw new StanzaError('service-unavailable')
  }
}

function toBare (sessions: Sessions, type: string, account: Jid): readonly Session[] | 'ignored' {
  if (type === 'groupchat') throw new StanzaError('service-unavailable') // §8.5.2.1.1
  if (type === 'error') return 'ignored'
  // §8.5.2.1.1: never to a negative priority; to all the others, so that each device has the conversation.
  const present = sessions.of(account).filter(session => session.available && session.priority >= 0)
  return type === 'headline' && present.length === 0 ? 'ignored' : present // §8.5.2.2.1
}
