/** XEP-0054 vcard-temp, XEP-0292 vCard4: public profiles of accounts. XEP-0398: one avatar for old and new clients. */
import {
  accountExporting, accountImporting, defineModule, isText, localName, namespaceOf, NS, records, setting, StanzaError,
  xml,
} from '../../lib/api.js'
import { Avatars } from './avatars.js'
import { Cards } from './cards.js'
import { Profiles } from './vcard4.js'

/** The two formats, with element name and namespace. */
const FORMS = [
  { name: 'vCard', namespace: NS.VCARD },
  { name: 'vcard', namespace: NS.VCARD4 },
] as const

export default defineModule({
  name: 'vcard',
  about: "Stores the vCards of accounts: a user's name, picture and addresses.",
  xeps: ['0054 v1.3.0', '0084 v1.1.4', '0153 v1.1.1', '0292 v0.12.0', '0398 v1.0.0'],
  features: { host: [NS.VCARD], account: [NS.VCARD, NS.VCARD4] },
  after: ['pep', 'presence'],
  settings: {
    bytes: setting.size({ min: '1KiB', max: '1MiB' }).default('128KiB').says('The most bytes of a vCard.'),
  },
  stores: { cards: records<string>(1, undefined, { check: isText, unreadable: 'moved' }) },

  setup (host) {
    const cards = new Cards(host.stores.cards, host.settings.bytes)
    const avatars = new Avatars(host, cards)
    avatars.follow()
    const profiles = new Profiles(host, cards)
    profiles.follow()

    for (const { name, namespace } of FORMS) {
      host.iq.get('account', namespace, name, async ({ stanza }) => {
        const isNew = namespace === NS.VCARD4
        const kept = isNew ? await profiles.of(stanza.to, stanza.from) : await cards.of(stanza.to, { name, namespace })
        if (kept !== undefined) return kept
        // XEP-0054 §3.1: the owner gets an empty vCard.
        if (stanza.from.bare.equals(stanza.to)) return xml(name, { xmlns: namespace })
        throw new StanzaError('service-unavailable') // the same error as for an account that does not exist
      })
      host.iq.set('self', namespace, name, ({ session, payload, batch }) => {
        return namespace === NS.VCARD4
          ? profiles.set(session.account, payload, batch)
          : avatars.setCard(session.account, payload, batch)
      })
      // XEP-0054 §3.2: nobody sets another account's vCard.
      host.iq.set('account', namespace, name, () => { throw new StanzaError('forbidden') })
    }

    // Export and import (XEP-0227 §4.7).
    host.on(accountExporting, async ({ account, add }) => {
      for (const form of FORMS) {
        const card = await cards.of(account, form)
        if (card !== undefined) add([card])
      }
    })
    host.on(accountImporting, ({ account, element, within, batch }) => {
      const form = FORMS.find(({ name, namespace }) =>
        localName(element) === name && namespaceOf(element) === namespace)
      if (within !== undefined || form === undefined) return undefined
      cards.keep(account, form.name, element, batch)
      return 'handled'
    })
  },
})
