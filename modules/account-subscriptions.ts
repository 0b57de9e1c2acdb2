/** XEP-0376: the server subscribes an account to nodes, and keeps the list; XEP-0465 shows those that are public. */
import { createHash } from 'node:crypto'
import {
  accountExporting, accountImporting, accountRemoved, apart, attributeOf, capabilities, child, childElements,
  defineModule, errorReply, has, hasForm, jidAt, localName, messageArriving, namespaceOf, NS, personalEventing, records,
  resultReply, setting, showSubscription, stanza, StanzaError, xml,
} from '../lib/api.js'
import type { Addressed, Batch, Element, Jid, Maybe, MessageArriving, ModuleHost, Records } from '../lib/api.js'

/** A subscription of an account. `service` is the address of the service as text. */
interface Kept {
  readonly service: string
  readonly node: string
  readonly state: 'subscribed' | 'pending'
  readonly subid?: string
  readonly isPublic: boolean
}

/** A subscription that has ended. */
type Ended = Omit<Kept, 'state'> & { readonly state: 'none' }

/** The most requests of an account, to services of one domain, and of all accounts, that wait for an answer. */
const MOST_OF_ONE = 8
const MOST_TO_ONE = 100
const MOST = 1000
/** The most characters of the name of a node, and of the id that a service gives. A longer id is not kept. */
const LONGEST = 1023
const LONGEST_ID = 256

/** The requests of an account that wait for services. They end with the account. */
interface Waiting { count: number, isOver: boolean }

export default defineModule({
  name: 'account-subscriptions',
  about: 'Subscribes accounts to nodes of other services, keeps the list for all their devices, and shows public ones.',
  xeps: ['0376 v0.2', '0465 v0.1.1'],
  features: { account: [NS.PAM] },
  requires: ['pep'],
  settings: {
    subscriptions: setting.count({ min: 1, max: 10_000 }).default(500).says('The most subscriptions that the server keeps for an account.'),
  },
  stores: { subscriptions: records<Kept>(1, undefined, { check: isKept, unreadable: 'moved' }) },

  setup (host) {
    const list = new Subscriptions(host, host.stores.subscriptions, host.settings.subscriptions)
    host.iq.set('self', NS.PAM, 'pam', ({ stanza: iq, payload, batch }) => list.take(iq, payload, batch))
    host.iq.get('self', NS.PAM, 'subscriptions', async ({ session, payload }) => await list.answer(session.account, payload))
    host.on(messageArriving, event => { list.hear(event) }, 'screen')
    host.on(accountRemoved, ({ account, batch }) => { batch.committed(() => { list.forget(account) }) }, 'record')
    host.on(accountExporting, async ({ account, add }) => {
      const all = await list.all(account)
      if (all.children.length > 0) add([all])
    })
    host.on(accountImporting, async ({ account, element, within, batch }) => {
      if (within !== undefined || namespaceOf(element) !== NS.PAM) return undefined
      await list.restore(account, childElements(element), batch)
      return 'handled'
    })
  },
})

function isKept (value: unknown): boolean {
  return hasForm(value, { service: 'string', node: 'string', state: 'string', subid: 'string?', isPublic: 'boolean' }) &&
    (value['state'] === 'subscribed' || value['state'] === 'pending')
}

/** The subscriptions of the accounts of a host. */
class Subscriptions {
  readonly #host: ModuleHost
  readonly #store: Records<Kept>
  readonly #most: number
  /** The requests that wait for a service, by account. */
  readonly #open = new Map<string, Waiting>()
  /** The number of requests that wait for a domain. A slow one must not take the room of others. */
  readonly #asked = new Map<string, number>()
  #count = 0

  constructor (host: ModuleHost, store: Records<Kept>, most: number) {
    this.#host = host
    this.#store = store
    this.#most = most
  }

  // ---- Requests of the account --------------------------------------------------------------------------------

  /** Takes a request to subscribe or unsubscribe; its answer comes when the service has answered (§3.2). */
  take (iq: Addressed<'iq'>, pam: Element, batch: Batch): 'later' {
    const account = iq.from.bare
    const service = jidAt(pam, 'jid')
    const [request] = childElements(pam)
    const what = request === undefined ? '' : localName(request)
    const isKnown = request !== undefined && namespaceOf(request) === NS.PUBSUB && (what === 'subscribe' || what === 'unsubscribe')
    if (service === undefined || !isKnown) throw new StanzaError('bad-request')
    const node = attributeOf(request, 'node') ?? ''
    if (node === '' || node.length > LONGEST) throw new StanzaError('bad-request', 'the name of the node is missing or too long')
    // The server subscribes the account itself, and no single device.
    if (jidAt(request, 'jid')?.equals(account) !== true) throw invalidJid()
    const waiting = this.#begin(account, service)
    const end = (): void => { this.#finish(account, service, waiting) }
    const work = async (): Promise<void> => {
      const kept = what === 'subscribe'
        ? await this.#subscribe(account, service, node, request)
        : await this.#unsubscribe(account, service, node, request)
      // The account may have been removed while the service was asked: a new one of its name inherits nothing.
      if (kept !== undefined) await this.#change(account, kept, () => !waiting.isOver)
    }
    batch.failed(end)
    batch.committed(() => {
      void work().then(() => { this.#host.router.route(resultReply(iq, undefined)) })
        .catch((error: unknown) => { this.#host.router.route(errorReply(iq, this.#errorOf(error))) }).finally(end)
    })
    return 'later'
  }

  /** Notes that a request waits. Throws resource-constraint. */
  #begin (account: Jid, { domain }: Jid): Waiting {
    const mine = this.#open.get(account.toString()) ?? { count: 0, isOver: false }
    const asked = this.#asked.get(domain) ?? 0
    if (mine.count >= MOST_OF_ONE || asked >= MOST_TO_ONE || this.#count >= MOST) {
      throw new StanzaError('resource-constraint', 'too many requests wait for services', { type: 'wait' })
    }
    this.#open.set(account.toString(), mine)
    this.#asked.set(domain, asked + 1)
    mine.count++
    this.#count++
    return mine
  }

  #finish (account: Jid, { domain }: Jid, waiting: Waiting): void {
    waiting.count--
    this.#count--
    const asked = (this.#asked.get(domain) ?? 0) - 1
    if (asked > 0) this.#asked.set(domain, asked)
    else this.#asked.delete(domain)
    if (waiting.count === 0 && !waiting.isOver) this.#open.delete(account.toString())
  }

  /** Ends what waits for an account that was removed. */
  forget (account: Jid): void {
    const waiting = this.#open.get(account.toString())
    if (waiting === undefined) return
    waiting.isOver = true
    this.#open.delete(account.toString())
  }

  #errorOf (error: unknown): StanzaError {
    if (error instanceof StanzaError) return error
    this.#host.log.error('subscription not stored', { error })
    return new StanzaError('internal-server-error')
  }

  /** Asks the service, and returns what is kept then. */
  async #subscribe (account: Jid, service: Jid, node: string, request: Element): Promise<Kept> {
    const known = await this.#store.get(account.toString(), keyOf(service.toString(), node))
    if (known === undefined && (await this.#store.all(account.toString())).size >= this.#most) {
      throw tooMany()
    }
    const reply = await this.#ask(account, service, request)
    const pubsub = child(reply, NS.PUBSUB, 'pubsub')
    const made = pubsub === undefined ? undefined : child(pubsub, NS.PUBSUB, 'subscription')
    const state = made === undefined ? 'subscribed' : attributeOf(made, 'subscription')
    if (state !== 'subscribed' && state !== 'pending') throw new StanzaError('undefined-condition', 'the service has not subscribed the account')
    return {
      service: service.toString(), node, state, ...made === undefined ? {} : subidOf(made),
      isPublic: has(request, NS.PUBLIC_SUBSCRIPTIONS, 'public'),
    }
  }

  /** Asks the service, and returns what has ended. One that the service does not know any more ends as well. */
  async #unsubscribe (account: Jid, service: Jid, node: string, request: Element): Promise<Ended | undefined> {
    const known = await this.#store.get(account.toString(), keyOf(service.toString(), node))
    try {
      await this.#ask(account, service, request)
    } catch (error) {
      const isGone = error instanceof StanzaError && (error.condition === 'item-not-found' || error.plus?.name === 'not-subscribed')
      if (known === undefined || !isGone) throw error
    }
    return known === undefined ? undefined : { ...known, state: 'none' }
  }

  async #ask (from: Jid, service: Jid, request: Element): Promise<Element> {
    return await this.#host.ask(service, xml('pubsub', { xmlns: NS.PUBSUB }, request), { from, type: 'set' })
  }

  // ---- The list -----------------------------------------------------------------------------------------------

  /** Returns all subscriptions of an account; nothing if the client has the list already (§3.4). */
  async answer (account: Jid, request: Element): Promise<Element | undefined> {
    const all = await this.all(account)
    return attributeOf(request, 'ver') === attributeOf(all, 'ver') ? undefined : all
  }

  /** Returns the list of an account's subscriptions. */
  async all (account: Jid): Promise<Element> {
    const kept = [...(await this.#store.all(account.toString())).values()]
    const ver = createHash('sha256').update(JSON.stringify(kept)).digest('base64url').slice(0, 16)
    return xml('subscriptions', { xmlns: NS.PAM, ver }, ...kept.map(({ service, node, state, subid, isPublic }) =>
      xml('subscription', { service, node, jid: account.toString(), subscription: state, subid },
        isPublic ? xml('public', { xmlns: NS.PUBLIC_SUBSCRIPTIONS }) : undefined)))
  }

  /** Stores the subscriptions of an exported list. Throws StanzaError if one is malformed, or if they are too many. */
  async restore (account: Jid, list: readonly Element[], batch: Batch): Promise<void> {
    const keys = new Set((await this.#store.all(account.toString())).keys())
    for (const element of list) {
      const kept = keptIn(element)
      const key = keyOf(kept.service, kept.node)
      if (keys.add(key).size > this.#most) throw tooMany()
      batch.add(this.#store.putting(account.toString(), key, kept))
    }
  }

  /**
   * Stores a subscription, or that it has ended, together with what others see of it, and tells the devices. Rejects if
   * it must not be stored any more: that is asked when no other change of the account is under way.
   */
  async #change (account: Jid, kept: Kept | Ended, mayStore: () => Maybe<boolean>): Promise<void> {
    const { service, node, state } = kept
    const now = state === 'none' ? undefined : { ...kept, state }
    await apart(this.#host, async batch => {
      await this.#host.use(personalEventing).change(account, batch, async work => {
        if (!await mayStore()) throw new StanzaError('item-not-found')
        batch.add(this.#store.putting(account.toString(), keyOf(service, node), now))
        await showSubscription(work, { service, node }, kept.isPublic && state === 'subscribed')
      })
    })
    await this.#tell(account, kept)
  }

  /** Tells the devices that know the list, before the request is answered (§3.2). */
  async #tell (account: Jid, { service, node, subid, state }: Kept | Ended): Promise<void> {
    const ver = attributeOf(await this.all(account), 'ver')
    const devices = this.#host.sessions.of(account).filter(({ jid, available }) =>
      available && this.#host.find(capabilities)?.of(jid)?.has(NS.PAM) === true)
    for (const { jid } of devices) {
      const made = xml('subscription', { xmlns: NS.PUBSUB, node, jid: account.toString(), subscription: state, subid })
      const notify = xml('notify', { xmlns: NS.PAM, ver, service }, made)
      this.#host.router.route(stanza(xml('message', { type: 'headline', id: this.#host.ids.next() }, notify), account, jid))
    }
  }

  // ---- Messages of services ---------------------------------------------------------------------------------

  /** Takes what a service says of a subscription: that it is allowed, or has ended, or that the node is deleted. */
  hear ({ message, account, batch }: MessageArriving): void {
    const event = message.type === 'error' ? undefined : message.child(NS.PUBSUB_EVENT, 'event')
    const [what] = event === undefined ? [] : childElements(event)
    const node = what === undefined ? undefined : attributeOf(what, 'node')
    if (what === undefined || node === undefined) return
    const kind = localName(what)
    const told = kind === 'subscription' ? attributeOf(what, 'subscription') : undefined
    const state = kind === 'delete' ? 'none' : told
    if (state !== 'none' && state !== 'subscribed') return
    batch.committed(() => {
      this.#heard(account, message.from.toString(), node, state).catch((error: unknown) => { this.#errorOf(error) })
    })
  }

  async #heard (account: Jid, service: string, node: string, state: 'none' | 'subscribed'): Promise<void> {
    const key = keyOf(service, node)
    const known = await this.#store.get(account.toString(), key)
    if (known === undefined || known.state === state) return
    const isThere = async (): Promise<boolean> => await this.#store.get(account.toString(), key) !== undefined
    await this.#change(account, { ...known, state }, isThere)
  }
}

/** Returns the key of a subscription. Both texts may be long, and a key is part of an index. */
function keyOf (service: string, node: string): string {
  return createHash('sha256').update(`${service}\n${node}`).digest('base64url')
}

/** Returns a subscription of an exported list. Throws StanzaError if it is malformed. */
function keptIn (element: Element): Kept {
  const service = jidAt(element, 'service')?.toString()
  const node = attributeOf(element, 'node')
  const state = attributeOf(element, 'subscription') === 'pending' ? 'pending' : 'subscribed'
  if (service === undefined || node === undefined || node.length > LONGEST) throw new StanzaError('bad-request', 'a subscription without a service or node')
  return { service, node, state, ...subidOf(element), isPublic: has(element, NS.PUBLIC_SUBSCRIPTIONS, 'public') }
}

function tooMany (): StanzaError {
  return new StanzaError('resource-constraint', 'the account has too many subscriptions', { type: 'cancel' })
}

/** Returns the id that a service gives to a subscription, unless it is too long to be kept. */
function subidOf (made: Element): Pick<Kept, 'subid'> {
  const subid = attributeOf(made, 'subid')
  return subid === undefined || subid.length > LONGEST_ID ? {} : { subid }
}

/** XEP-0060 §6.1.3.1. */
function invalidJid (): StanzaError {
  return new StanzaError('bad-request', undefined, { plus: xml('invalid-jid', { xmlns: NS.PUBSUB_ERRORS }) })
}
