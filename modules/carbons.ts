/** XEP-0280 Message Carbons: copies each message of a conversation to the account's other devices. */
import {
  archives, carbons, defineModule, flag, forwarded, localName, messageAddressed, messageSent, NS, slot, xml,
} from '../lib/api.js'
import type { Element, Jid, Message, Session, Stanza } from '../lib/api.js'

const enabled = slot('carbons.enabled', { initial: () => false, codec: flag, shared: true })

export default defineModule({
  name: 'carbons',
  about: 'Copies conversations to all devices of a user that enable it.',
  xeps: ['0280 v1.0.1'],
  features: { host: [NS.CARBONS, NS.CARBONS_RULES], account: [NS.CARBONS, NS.CARBONS_RULES] },

  setup (host) {
    host.iq.set('self', NS.CARBONS, 'enable', ({ session }) => { session.put(enabled, true) })
    host.iq.set('self', NS.CARBONS, 'disable', ({ session }) => { session.put(enabled, false) })

    // XEP-0386 §3.2: carbons can be enabled while the session is bound.
    host.offerInline({
      at: 'bind',
      namespace: NS.CARBONS,
      offered: () => xml('feature', { var: NS.CARBONS }),
      take: ({ session }, request) => {
        if (session !== undefined && request !== undefined && localName(request) === 'enable') session.put(enabled, true)
        return undefined
      },
    })

    host.on(messageSent, ({ message, session, batch }) => {
      if (!isWanted(message)) return
      const id = host.find(archives)?.idOf(session.account, message)
      const known = id === undefined ? message : message.with({ plus: [stanzaId(session.account, id)] })
      for (const device of otherDevices(session.account, [session])) device.sendWith(batch, copy('sent', known, device))
    }, 'observe')

    host.on(messageAddressed, ({ message, account, recipients, batch, handed }) => {
      if (!isCopied(message, account)) return
      for (const device of otherDevices(account, recipients)) {
        // Without recipients, the message is stored for the next available device. A copy for a device that could
        // become available would reach it twice.
        if (recipients.length > 0 || device.priority < 0) device.sendWith(batch, copy('received', message, device), handed)
      }
    }, 'observe')

    host.provide(carbons, { goesTo: (message, device) => device.get(enabled) && isCopied(message, device.account) })

    function otherDevices (account: Jid, but: readonly Session[]): readonly Session[] {
      return host.sessions.of(account).filter(device => !but.includes(device) && device.get(enabled))
    }
  },
})

/** Builds the archive id for the account's own devices (XEP-0313 §3.5). The contact does not get it. */
function stanzaId (account: Jid, id: string): Element {
  return xml('stanza-id', { xmlns: NS.STANZA_ID, by: account.toString(), id })
}

/** True if a received message is copied. For a message to oneself, the 'sent' copies have reached all devices. */
function isCopied (message: Message, account: Jid): boolean {
  return !message.from.bare.equals(account) && isWanted(message) && !isRoomWhisper(message)
}

function copy (direction: 'sent' | 'received', message: Stanza<'message'>, device: Session): Element {
  return xml('message', { from: device.account.toString(), to: device.jid.toString(), type: message.type },
    xml(direction, { xmlns: NS.CARBONS }, forwarded(message)))
}

/** XEP-0280 §6.1. Any element in the carbons namespace forbids copies: it is `<private/>` or a carbon itself. */
function isWanted (message: Message): boolean {
  if (message.has(NS.CARBONS) || message.has(NS.HINTS, 'no-copy')) return false
  if (message.has(NS.MAM, 'result')) return false // an archive result is for the session that asked
  switch (message.type) {
    case 'groupchat': return false
    case 'error': return false // §6.1: only eligible as the reply to an eligible message, and those are not tracked
    case 'chat': return true
    case 'normal': if (message.has(NS.CLIENT, 'body')) return true
  }
  return CONVERSATION.some(namespace => message.has(namespace)) || message.has(NS.MUC_USER, 'x') && !isRoomWhisper(message)
}

const CONVERSATION: readonly string[] = [NS.RECEIPTS, NS.CHAT_STATES, NS.CHAT_MARKERS, NS.INVITATION]

/** True for a private message in a room. The room sends it to each joined device itself. */
function isRoomWhisper (message: Message): boolean {
  return message.to.resource !== '' && message.has(NS.MUC_USER, 'x') && !message.has(NS.MUC_USER, 'invite')
}
