/** XEP-0280 Message Carbons: each device of a user sees the whole conversation. */
import { archives, carbons, defineModule, flag, forwarded, localName, messageAddressed, messageSent, slot, xml, NS } from '../lib/api.js'
import type { Element, Jid, Message, Session, Stanza } from '../lib/api.js'

const enabled = slot('carbons.enabled', { initial: () => false, codec: flag, shared: true })

export default defineModule({
  name: 'carbons',
  about: 'Copies a conversation to every device of a user that asks for it.',
  xeps: ['0280 v1.0.1'],
  features: { host: [NS.CARBONS, NS.CARBONS_RULES], account: [NS.CARBONS, NS.CARBONS_RULES] },

  setup (host) {
    host.iq.set('self', NS.CARBONS, 'enable', ({ session }) => { session.put(enabled, true) })
    host.iq.set('self', NS.CARBONS, 'disable', ({ session }) => { session.put(enabled, false) })

    // XEP-0386 §3.2: who binds within its login need not ask again.
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
        // What finds nobody waits for the first device that comes: one that comes meanwhile gets it then, and not twice.
        if (recipients.length > 0 || device.priority < 0) device.sendWith(batch, copy('received', message, device), handed)
      }
    }, 'observe')

    host.provide(carbons, { goesTo: (message, device) => device.get(enabled) && isCopied(message, device.account) })

    function otherDevices (account: Jid, but: readonly Session[]): readonly Session[] {
      return host.sessions.of(account).filter(device => !but.includes(device) && device.get(enabled))
    }
  },
})

/** XEP-0313 §3.5: one's own devices are told where it is archived, and the contact is not. */
function stanzaId (account: Jid, id: string): Element {
  return xml('stanza-id', { xmlns: NS.STANZA_ID, by: account.toString(), id })
}

/** Of a note to self 'sent' has reached them all. */
function isCopied (message: Message, account: Jid): boolean {
  return !message.from.bare.equals(account) && isWanted(message) && !isRoomWhisper(message)
}

function copy (direction: 'sent' | 'received', message: Stanza<'message'>, device: Session): Element {
  return xml('message', { from: device.account.toString(), to: device.jid.toString(), type: message.type },
    xml(direction, { xmlns: NS.CARBONS }, forwarded(message)))
}

/** XEP-0280 §6.1. Any element of the carbons namespace forbids: a wish for privacy, or a carbon itself. */
function isWanted (message: Message): boolean {
  if (message.has(NS.CARBONS) || message.has(NS.HINTS, 'no-copy')) return false
  if (message.has(NS.MAM, 'result')) return false // for the one who asked for it
  switch (message.type) {
    case 'groupchat': return false
    case 'error': return false // eligible only as the answer to an eligible one, which would need tracking
    case 'chat': return true
    case 'normal': if (message.has(NS.CLIENT, 'body')) return true
  }
  return CONVERSATION.some(namespace => message.has(namespace)) || message.has(NS.MUC_USER, 'x') && !isRoomWhisper(message)
}

const CONVERSATION: readonly string[] = [NS.RECEIPTS, NS.CHAT_STATES, NS.CHAT_MARKERS, NS.INVITATION]

/** A whisper in a room comes to a full address, and the room sends it to each joined device itself. */
function isRoomWhisper (message: Message): boolean {
  return message.to.resource !== '' && message.has(NS.MUC_USER, 'x') && !message.has(NS.MUC_USER, 'invite')
}
