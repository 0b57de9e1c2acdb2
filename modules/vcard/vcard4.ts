/**
 * XEP-0292: the vCard4 of an account is an item of the node `urn:xmpp:vcard4`. Clients that know an earlier version ask
 * for it, and set it, by iq: they get the same one. Without publish-subscribe it is stored here.
 */
import { NS, parsedPayload, pepChanging, personalEventing, put } from '../../lib/api.js'
import type { Batch, Element, Jid, ModuleHost } from '../../lib/api.js'
import type { Cards, Form } from './cards.js'

const FORM: Form = { name: 'vcard', namespace: NS.VCARD4 }
/** The id of the item that is published for a client that sets its vCard by iq. */
const ID = 'current'

export class Profiles {
  readonly #host: ModuleHost
  readonly #cards: Cards

  constructor (host: ModuleHost, cards: Cards) {
    this.#host = host
    this.#cards = cards
  }

  /** Forgets what is stored here once the node is used: it must not come back when the node is deleted. */
  follow (): void {
    this.#host.on(pepChanging, ({ account, work }) => {
      const isUsed = work.events.some(({ node }) => node.name === NS.VCARD4_NODE)
      if (isUsed) this.#cards.drop(account, FORM.name, work.change.batch)
    })
  }

  /** Returns the vCard4 as far as the asker may see it; undefined if there is none for it. */
  async of (account: Jid, asker: Jid): Promise<Element | undefined> {
    const pep = this.#host.find(personalEventing)
    const node = (await pep?.nodes(account))?.get(NS.VCARD4_NODE)
    if (pep === undefined || node === undefined) return await this.#cards.of(account, FORM)
    if (!await pep.mayRead(account, node, asker)) return undefined
    const payload = (await pep.newest(account, node))?.payload
    return payload?.name === FORM.name && payload.namespace === FORM.namespace ? parsedPayload(payload) : undefined
  }

  /** Stores a vCard4. A node that is made for it is open, as vCards by iq always were. Rejects with StanzaError. */
  async set (account: Jid, card: Element, batch: Batch): Promise<void> {
    const pep = this.#host.find(personalEventing)
    if (pep === undefined) {
      this.#cards.keep(account, FORM.name, card, batch)
      return
    }
    this.#cards.check(card)
    await pep.change(account, batch, work => put(work, NS.VCARD4_NODE, [{ id: ID, payload: card }], { accessModel: 'open' }))
  }
}
