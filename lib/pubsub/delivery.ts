/**
 * Sends what happened at nodes to those who may know it (XEP-0060 §7.1.2, §12.2, XEP-0163 §4): one serialised body
 * for all, each message with one item or retraction, in the order of the changes of a service.
 */
import { FairCache } from '../base/fair-cache.js'
import type { Ids } from '../base/ids.js'
import { follow, type Maybe } from '../base/maybe.js'
import { Turns } from '../base/turns.js'
import type { Batch } from '../storage/store.js'
import { xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { formatDateTime } from '../xmpp/datetime.js'
import { DataForm, field } from '../xmpp/form.js'
import { parseJid, type Jid } from '../xmpp/jid.js'
import { addressed, stanza, type Addressed } from '../xmpp/stanza.js'
import { mayRead } from './access.js'
import type { Above } from './graph.js'
import { bytesOfPayload, storedPayload, type Item } from './items.js'
import { ROOT, type Node, type Subscription } from './node.js'
import {
  headersElement, headersOf, mayBeTold, recipientsOf, type Headers, type Reason, type ToldEvent,
} from './recipients.js'
import { itemsWith, sinceOf } from './retrieving.js'
import { subscriptionElement } from './subscribing.js'
import type { Trees } from './trees.js'
import { ownersOf, type NodeEvent, type PubSubPlace } from './work.js'

/** The parts of the host that delivery uses. */
export interface DeliveryHome {
  readonly ids: Ids
  now (): number
  /** Makes a batch for writes that belong to no stanza. */
  batch (): Batch & { commit (): Promise<void> }
  route (stanza: Addressed): void
  /** Runs `work` for each of many items, in as many turns of the event loop as needed. */
  each<T> (items: readonly T[], work: (item: T) => void): Maybe<void>
  failed (error: unknown): void
}

/** The messages of one service that may wait before the next change of that service waits. */
const MOST_WAITING = 20
/** Bytes of last items in memory: of one service, and of all. Larger ones are read each time. */
const LAST_OF_ONE = 64 * 1024
const LAST_OF_ALL = 16 * 1024 * 1024

/** The last item of a node; undefined if the node has none. */
interface Last { readonly item: Item | undefined }

export class Delivery {
  readonly #turns = new Turns()
  readonly #home: DeliveryHome
  readonly #place: PubSubPlace
  readonly #trees: Trees
  /** The deliveries that are under way, by service. */
  readonly #chains = new Map<string, { readonly end: Promise<void>, readonly count: number }>()
  readonly #last = new FairCache<Last>({
    each: LAST_OF_ONE, all: LAST_OF_ALL,
    sizeOf: (key, { item }) => 200 + 2 * key.length + 2 * bytesOfPayload(item?.payload),
  })
  /** Counts events, so that an item that was read before one is not remembered after it. */
  #version = 0

  constructor (home: DeliveryHome, place: PubSubPlace, trees: Trees) {
    this.#home = home
    this.#place = place
    this.#trees = trees
  }

  /** Resolves when another change of the service may begin; undefined if it may begin at once. */
  room (service: Jid): Promise<void> | undefined {
    const chain = this.#chains.get(service.toString())
    return chain !== undefined && chain.count >= MOST_WAITING ? chain.end : undefined
  }

  /**
   * Sends these events after those before them. `above` returns the collections above a node. Calls `told` with the
   * number of messages.
   */
  deliver (
    service: Jid, events: readonly NodeEvent[], above: (node: Node) => readonly Above[], told: (count: number) => void,
  ): void {
    if (events.length === 0) return
    const owner = service.toString()
    for (const event of events) this.#remember(owner, event)
    // Collections may have changed when the events are sent.
    const collections = new Map([...new Set(events.map(({ node }) => node))].map(node => [node, above(node)]))
    const before = this.#chains.get(owner)
    const end = (before?.end ?? Promise.resolve()).then(async () => {
      let count = 0
      for (const [at, event] of events.entries()) {
        // One change may have an event for each of many items.
        if (at > 0 && this.#turns.isSpent) await new Promise<void>(resolve => { this.#turns.later(resolve) })
        count += await this.#one(service, event, collections.get(event.node) ?? [])
      }
      told(count)
    }).catch((error: unknown) => { this.#home.failed(error) }).finally(() => {
      const now = this.#chains.get(owner)
      if (now?.end === end) this.#chains.delete(owner)
    })
    this.#chains.set(owner, { end, count: (before?.count ?? 0) + 1 })
  }

  #remember (owner: string, event: NodeEvent): void {
    this.#version++
    const { key } = event.node
    if (event.what === 'item' && event.node.config.persistItems) this.#last.set(owner, key, { item: event.item })
    else if (event.what === 'retract' || event.what === 'purge' || event.what === 'delete' || event.what === 'configuration') {
      this.#last.delete(owner, key)
    }
  }

  /** Forgets the last items of a node, or of all nodes of a service. */
  forget (service: Jid, node: Node): void {
    this.#version++
    this.#last.delete(service.toString(), node.key)
  }

  /** Sends one event. Resolves with the number of messages. */
  async #one (service: Jid, event: NodeEvent, above: readonly Above[]): Promise<number> {
    const { node } = event
    switch (event.what) {
      case 'subscription': {
        const content = subscriptionElement(node.name, event.state)
        const message = this.#message(service, { ...node, config: { ...node.config, notificationType: 'normal' } }, content)
        return await this.#tell(service, event.to, to => { this.#send(message, to) })
      }
      case 'request':
        // §8.6: asks the owners to approve a subscription.
        return await this.#tell(service, ownersOf(node), to => { this.ask(service, node, event.subscription, to) })
      case 'last': return await this.#sendLast(service, node, parseJid(event.to))
      default: return isTold(event) ? await this.#broadcast(service, event, above) : 0
    }
  }

  #content (event: ToldEvent): Element {
    const { node } = event
    const { name, config } = node
    switch (event.what) {
      case 'item': return itemsWith(node, event.item, config.deliverPayloads ? event.payload : undefined)
      case 'retract': return xml('items', { node: name }, xml('retract', { id: event.id }))
      case 'purge': return xml('purge', { node: name })
      case 'signal': return xml('items', { node: name })
      case 'created': return xml('create', { node: name })
      case 'associated': case 'dissociated': {
        const what = event.what === 'associated' ? 'associate' : 'dissociate'
        return xml('collection', { node: name === ROOT ? undefined : name }, xml(what, { node: event.child.name }))
      }
      case 'configuration':
        return xml('configuration', { node: name }, config.deliverPayloads ? this.#place.form.told(config) : undefined)
      case 'delete': {
        const { redirect } = event
        return xml('delete', { node: name }, redirect === undefined ? undefined : xml('redirect', { uri: redirect }))
      }
    }
  }

  /** Sends a message to all who get notifications of the event. Resolves with their number. */
  async #broadcast (service: Jid, event: ToldEvent, above: readonly Above[]): Promise<number> {
    const message = this.#message(service, event.node, this.#content(event))
    const noted = new Noted(message, service)
    const told = new Set<string>()
    let count = 0
    await this.#place.implicit?.(service, event.node, to => {
      if (told.has(to.toString())) return
      told.add(to.toString()).add(to.bare.toString())
      count++
      this.#send(message, to)
    })
    const waits: Promise<void>[] = []
    const recipients = await recipientsOf(this.#home, event, above)
    await this.#home.each([...recipients], ([jid, reasons]) => {
      if (told.has(jid)) return
      const to = parseJid(jid)
      const wait = follow(this.#allowed(service, to, event, reasons), allowed => {
        if (allowed.length === 0) return
        count++
        this.#send(noted.with(headersOf(event, allowed)), to)
      })
      if (wait instanceof Promise) waits.push(wait)
    })
    await Promise.all(waits)
    return count
  }

  /** Returns the reasons for which an address may be told of an event. */
  #allowed (service: Jid, to: Jid, event: ToldEvent, reasons: readonly Reason[]): Maybe<readonly Reason[]> {
    const place = this.#place
    return follow(place.standing(service, to), standing => {
      const asker = { jid: to, standing, now: this.#home.now() }
      const allowed = reasons.filter(reason => mayBeTold(event, reason, asker))
      return allowed.length === 0 ? allowed : follow(place.mayTell?.(service, to) ?? true, may => may ? allowed : [])
    })
  }

  #maySee (service: Jid, node: Node, to: Jid): Maybe<boolean> {
    const place = this.#place
    return follow(place.standing(service, to), standing => {
      if (!mayRead(node, { jid: to, standing, now: this.#home.now() })) return false
      return place.mayTell?.(service, to) ?? true
    })
  }

  /**
   * Sends the last items of these nodes to one device that has become interested in them, as far as it may see them and
   * the nodes are configured so (XEP-0163 §4.3.4).
   */
  async sendLast (service: Jid, nodes: Iterable<Node>, to: Jid): Promise<void> {
    for (const node of nodes) {
      if (node.config.sendLast === 'on_sub_and_presence') await this.#sendLast(service, node, to)
    }
  }

  async #sendLast (service: Jid, node: Node, to: Jid): Promise<number> {
    const { deliverNotifications, deliverPayloads, persistItems } = node.config
    if (!deliverNotifications || !persistItems || !await this.#maySee(service, node, to)) return 0
    const item = await this.#lastOf(service.toString(), node)
    if (item === undefined || !await this.#maySeeNow(service, node, to)) return 0
    const payload = !deliverPayloads || item.payload === undefined ? undefined : storedPayload(item.payload)
    const delay = xml('delay', { xmlns: NS.DELAY, stamp: formatDateTime(item.at) })
    this.#send(this.#message(service, node, itemsWith(node, item, payload), delay), to)
    return 1
  }

  /** Access may have changed while the item was read, and then the item may be a newer one. */
  async #maySeeNow (service: Jid, node: Node, to: Jid): Promise<boolean> {
    const now = (await this.#trees.of(service.toString())).get(node.name)
    return now === node || now?.key === node.key && await this.#maySee(service, now, to)
  }

  async #lastOf (owner: string, node: Node): Promise<Item | undefined> {
    const known = this.#last.get(owner, node.key)
    if (known !== undefined) return isFresh(node, known.item, this.#home.now()) ? known.item : undefined
    const version = this.#version
    const query = { limit: 1, bytes: Infinity, newest: true, since: undefined }
    const { items: [item] } = await this.#trees.items.some(owner, node, query)
    if (version === this.#version) this.#last.set(owner, node.key, { item })
    return isFresh(node, item, this.#home.now()) ? item : undefined
  }

  /** Calls `send` for those of these addresses that may be told anything. Resolves with their number. */
  async #tell (service: Jid, addresses: readonly string[], send: (to: Jid) => void): Promise<number> {
    let count = 0
    for (const address of addresses) {
      const to = parseJid(address)
      if (await (this.#place.mayTell?.(service, to) ?? true)) {
        count++
        send(to)
      }
    }
    return count
  }

  /** Asks one owner to approve a subscription (§8.6). */
  ask (service: Jid, node: Node, { jid, subid }: Subscription, to: Jid): void {
    const form = AUTHORIZATION.form([
      APPROVAL.subid.is(subid), APPROVAL.node.is(node.name), APPROVAL.subscriber.is(parseJid(jid)),
      APPROVAL.allow.is(false),
    ])
    this.#home.route(stanza(xml('message', { id: this.#home.ids.next() }, form), service, to))
  }

  #message (service: Jid, { config }: Node, content: Element, ...after: readonly Element[]): Addressed {
    const type = config.notificationType === 'headline' ? 'headline' : undefined
    const message = xml('message', { type, id: this.#home.ids.next() }, xml('event', { xmlns: NS.PUBSUB_EVENT }, content), ...after)
    return stanza(message, service, service)
  }

  /** Sends a copy of the message. All copies share what is written. */
  #send (message: Addressed, to: Jid): void { this.#home.route(addressed(message.with({ to }), to)) }
}

/** A message with headers for its recipients. All with the same collections share what is written. */
class Noted {
  readonly #message: Addressed
  readonly #service: Jid
  readonly #known = new Map<string, Addressed>()

  constructor (message: Addressed, service: Jid) {
    this.#message = message
    this.#service = service
  }

  with (headers: Headers | undefined): Addressed {
    if (headers === undefined) return this.#message
    const key = headers.ids.length > 0 ? undefined : JSON.stringify(headers.collections)
    const known = key === undefined ? undefined : this.#known.get(key)
    if (known !== undefined) return known
    const made = addressed(this.#message.with({ plus: [headersElement(headers)] }), this.#service)
    if (key !== undefined) this.#known.set(key, made)
    return made
  }
}

/** The fields of a request for approval (§8.6). */
export const APPROVAL = {
  subid: field.hidden('pubsub#subid'),
  node: field.text('pubsub#node', { label: 'The node' }),
  subscriber: field.jid('pubsub#subscriber_jid', { label: 'Who wants to subscribe' }),
  allow: field.flag('pubsub#allow', { label: 'Allow this subscription' }),
}
export const AUTHORIZATION = new DataForm(NS.PUBSUB_SUBSCRIBE_AUTHORIZATION, Object.values(APPROVAL), {
  title: 'A subscription waits for you',
  instructions: 'Submit the form to allow or to refuse the subscription.',
})

/** True if the configuration of the node says that others are told (§8.2). */
function isTold (event: NodeEvent): boolean {
  const { config } = event.node
  if (!config.deliverNotifications) return false
  switch (event.what) {
    case 'retract': return !event.isQuiet
    case 'configuration': return config.notifyConfig
    case 'delete': return config.notifyDelete
    case 'purge': return config.notifyRetract
    default: return true
  }
}

function isFresh (node: Node, item: Item | undefined, now: number): boolean {
  return item !== undefined && item.at >= (sinceOf(node, now) ?? -Infinity)
}
