/** XEP-0490 Message Displayed Synchronization: what one device of a user has displayed, the others and push know. */
import {
  addressed, apart, attributeOf, child, defineModule, JidError, messagesDisplayed, messageSent, NS, namespaceOf,
  parseJid, pepChanging, personalEventing, put, StanzaError,
} from '../lib/api.js'
import type { Element, Jid, MessageSent, ModuleHost, NodeEvent, Work } from '../lib/api.js'

export default defineModule({
  name: 'displayed',
  about: 'Notes which messages a user has displayed, for all devices of the user.',
  xeps: ['0490 v1.0.1'],
  features: { account: [NS.DISPLAYED_ASSIST] },
  requires: ['pep'],

  setup (host) {
    // §4.5.3: before the message is archived and copied.
    host.on(messageSent, event => {
      const displayed = event.message.child(NS.DISPLAYED, 'displayed')
      return displayed === undefined ? undefined : assist(host, event, displayed)
    }, 'stamp')

    // Notifications about what was displayed elsewhere end.
    host.on(pepChanging, ({ account, work }) => {
      for (const event of work.events) {
        const shown = shownBy(event)
        if (shown === undefined) continue
        work.change.batch.committed(() => { void host.fire(messagesDisplayed, { account, ...shown }) })
      }
    })
  },
})

/**
 * Publishes the element of a message, which its recipient must not see (§4.5.2, §5.2). It is stored apart from the
 * message: of a publication that fails in the middle, such as one without room, nothing must be stored.
 */
async function assist (host: ModuleHost, event: MessageSent, displayed: Element): Promise<undefined> {
  const { message, session } = event
  event.message = addressed(message.with({ without: isDisplayed }), message.to)
  try {
    await apart(host, async batch => {
      await host.use(personalEventing).change(session.account, batch, async (work: Work) => {
        await put(work, NS.DISPLAYED, [{ id: message.to.toString(), payload: displayed }], {})
      })
    })
  } catch (error) {
    // The message goes on: its recipient has nothing to do with the nodes of its sender.
    if (!(error instanceof StanzaError)) throw error
    host.log.debug('displayed state not stored', { account: session.account.toString(), condition: error.condition })
  }
  return undefined
}

function isDisplayed (element: Element): boolean {
  return element.getName() === 'displayed' && namespaceOf(element) === NS.DISPLAYED
}

/** Returns the contact and the message that an item says were displayed; undefined if it says nothing. */
function shownBy (event: NodeEvent): { readonly contact: Jid, readonly id: string | undefined } | undefined {
  if (event.what !== 'item' || event.node.name !== NS.DISPLAYED || event.payload === undefined) return undefined
  const stanzaId = child(event.payload, NS.STANZA_ID, 'stanza-id')
  try {
    const id = stanzaId === undefined ? undefined : attributeOf(stanzaId, 'id')
    return id === undefined ? undefined : { contact: parseJid(event.item.id), id }
  } catch (error) {
    if (error instanceof JidError) return undefined
    throw error
  }
}
