/** Sends each new account one welcome message, when its first device comes online. */
import { accountCreated, defineModule, records, sessionAvailable, setting, stanza, xml } from '../../lib/api.js'

const GREETING = 'urn:example:greeting:0'
/** The only key that an account has in the store of greetings, until it has been greeted. */
const WAITS = 'waits'

export default defineModule({
  name: 'greeting',
  about: 'Welcomes new accounts.',
  features: { host: [GREETING] },
  settings: {
    text: setting.text().default('Welcome!').says('The text of the welcome message.'),
  },
  stores: { greetings: records<boolean>(1) },

  setup (host) {
    const { greetings } = host.stores

    host.on(accountCreated, ({ account, batch }) => {
      batch.add(greetings.putting(account.toString(), WAITS, true))
    }, 'record')

    host.on(sessionAvailable, async ({ session }) => {
      if (!await isDue(session.account.toString())) return
      const welcome = xml('message', { type: 'chat', id: host.ids.next() }, xml('body', {}, host.settings.text))
      host.router.route(stanza(welcome, host.jid, session.account))
    }, 'observe')

    host.iq.get('host', GREETING, 'greeting', () => xml('greeting', { xmlns: GREETING }, host.settings.text))

    /** True if the account waits for its greeting; of two devices that come at the same time, true for only one. */
    async function isDue (owner: string): Promise<boolean> {
      let due = false
      await greetings.change(owner, old => {
        due = old.has(WAITS)
        return new Map(due ? [[WAITS, undefined]] : [])
      })
      return due
    }
  },
})
