/** XEP-0054 vcard-temp and XEP-0292 vCard4: what a user tells everybody of themselves. */
import {
  accountExporting, accountImporting, defineModule, fromOctets, isText, localName, namespaceOf, NS, octets, records, setting, StanzaError,
  StoredTexts, xml,
} from '../lib/api.js'
import type { Batch, Element, Jid } from '../lib/api.js'

/** The two forms, each by its own name and namespace. */
const FORMS = [
  { name: 'vCard', namespace: NS.VCARD },
  { name: 'vcard', namespace: NS.VCARD4 },
] as const
interface Form { readonly name: string, readonly namespace: string }

export default defineModule({
  name: 'vcard',
  about: "Keeps the vCards of accounts: a user's name, picture and addresses.",
  xeps: ['0054 v1.3.0', '0292 v0.12.0'],
  features: { host: [NS.VCARD], account: [NS.VCARD, NS.VCARD4] },
  settings: {
    bytes: setting.size({ min: '1KiB', max: '1MiB' }).default('128KiB').says('The largest vCard.'),
  },
  stores: { cards: records<string>(1, undefined, { check: isText, unreadable: 'moved' }) },

  setup (host) {
    const { cards } = host.stores
    const texts = new StoredTexts()

    for (const { name, namespace } of FORMS) {
      host.iq.get('account', namespace, name, async ({ stanza }) => {
        const kept = await cardOf(stanza.to, { name, namespace })
        if (kept !== undefined) return kept
        // XEP-0054 §3.1: for oneself, an empty one.
        if (stanza.from.bare.equals(stanza.to)) return xml(name, { xmlns: namespace })
        throw new StanzaError('service-unavailable') // as where there is no such account, or names could be tried
      })

      host.iq.set('self', namespace, name, ({ session, payload, batch }) => {
        keep(session.account, name, payload, batch)
      })

      // XEP-0054 §3.2: nobody writes another's.
      host.iq.set('account', namespace, name, () => { throw new StanzaError('forbidden') })
    }

    /** One that cannot be read is put aside: then there is none. */
    async function cardOf (account: Jid, { name, namespace }: Form): Promise<Element | undefined> {
      const kept = await cards.get(account.toString(), name)
      try {
        return kept === undefined ? undefined : texts.element(name, namespace, kept)
      } catch (error) {
        await cards.setAside(account.toString(), name, kept ?? '', error)
        return undefined
      }
    }

    function keep (account: Jid, name: string, card: Element, batch: Batch): void {
      const text = fromOctets(octets(card))
      if (Buffer.byteLength(text) > host.settings.bytes) throw new StanzaError('resource-constraint', 'the vCard is too large', { type: 'cancel' })
      batch.add(cards.putting(account.toString(), name, text))
    }

    // XEP-0227 §4.7
    host.on(accountExporting, async ({ account, add }) => {
      for (const form of FORMS) {
        const card = await cardOf(account, form)
        if (card !== undefined) add([card])
      }
    })
    host.on(accountImporting, ({ account, element, within, batch }) => {
      const form = FORMS.find(({ name, namespace }) => localName(element) === name && namespaceOf(element) === namespace)
      if (within !== undefined || form === undefined) return undefined
      keep(account, form.name, element, batch)
      return 'handled'
    })
  },
})
