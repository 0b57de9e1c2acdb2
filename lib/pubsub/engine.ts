/** The engine of publish-subscribe (XEP-0060): answers requests to the services of one host. */
import type { Maybe } from '../base/maybe.js'
import type { Request } from '../host/iq.js'
import type { DiscoItem, DiscoNode } from '../host/disco.js'
import { unlessUnreadable } from '../storage/aside.js'
import type { Batch } from '../storage/store.js'
import { attributeOf, child, childElements, localName, namespaceOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'
import { parseJid, type Jid } from '../xmpp/jid.js'
import type { Addressed } from '../xmpp/stanza.js'
import { isClosedTo, mayRead, maySubscribe, mustOwn, refusalToRead, type Asker } from './access.js'
import { apart } from './apart.js'
import { endBounced, endTemporary, isGone } from './bounces.js'
import { associate } from './collections.js'
import { Delivery, type DeliveryHome } from './delivery.js'
import { parentsOf } from './config.js'
import { pubsubError, unsupported } from './errors.js'
import { typeFilter } from './filtering.js'
import { TO_PARSE, type Item } from './items.js'
import { collectionInfo, discoItem, nodeInfo, nodeItems, shimInfo } from './describing.js'
import { changeManaged, emptyList, endedList, manageManaged, shown, withCanonicalNode } from './managed.js'
import { canonicalName, hasAttachments } from './managed-names.js'
import { ROOT, type Node } from './node.js'
import {
  affiliate, affiliations, configure, remove, removePerson, setSubscriptions, subscriptions,
} from './owning.js'
import { dropEnded } from './public-subscribers.js'
import { purge } from './publishing.js'
import { applyRequest, FOLLOWED, isForRoot, nodeName, OWNER_SETS, subscribedNode, theOne } from './requests.js'
import { ownAffiliations, ownSubscriptions, retrieve, retrieveLeaves, sinceOf, type Reading } from './retrieving.js'
import { settle } from './settling.js'
import { DEFAULT_OPTIONS, optionsForm, optionsOf } from './subscribing.js'
import { ServiceEnded, type Trees } from './trees.js'
import { isHidden, knows, visible, Work, type PubSubPlace } from './work.js'

/** The parts of an engine. */
export interface EngineDeps { readonly home: DeliveryHome, readonly place: PubSubPlace, readonly trees: Trees }

/** One who is served, and where. */
interface Call { readonly service: Jid, readonly asker: Asker, readonly batch: Batch, charge (units: number): void }

type Reply = readonly Element[]

export class PubSubEngine {
  readonly delivery: Delivery
  readonly #home: DeliveryHome
  readonly #place: PubSubPlace
  readonly #trees: Trees

  constructor ({ home, place, trees }: EngineDeps) {
    this.#home = home
    this.#place = place
    this.#trees = trees
    this.delivery = new Delivery(home, place, trees)
  }

  /** Returns the nodes of a service, as they are stored. */
  nodes (service: Jid): Maybe<ReadonlyMap<string, Node>> { return this.#trees.of(service.toString()) }

  /** Returns who asks. */
  async asker (service: Jid, jid: Jid): Promise<Asker> {
    return { jid, standing: await this.#place.standing(service, jid), now: this.#home.now() }
  }

  /** Answers `<pubsub/>` of either namespace. Rejects with StanzaError. */
  async answer ({ stanza: { type, from, to }, payload: asked, batch, session }: Request): Promise<Element | undefined> {
    const payload = withCanonicalNode(to.toString(), asked)
    const asker = await this.asker(to, from)
    const call: Call = { service: to, asker, batch, charge: units => { session?.charge(units) } }
    const namespace = namespaceOf(payload) ?? ''
    try {
      const isOwners = namespace === NS.PUBSUB_OWNER
      const reply = type === 'get'
        ? await (isOwners ? this.#ownerAsks(call, payload) : this.#asks(call, payload))
        : await (isOwners ? this.#ownerSets(call, payload) : this.#sets(call, payload))
      return reply.length === 0 ? undefined : xml('pubsub', { xmlns: namespace }, ...reply)
    } catch (error) {
      const { isOwner, seesPresence } = asker.standing
      // A stranger who may not do something gets the answer of an address without an account.
      if (error instanceof StanzaError && this.#place.hides && !isOwner && !seesPresence) throw new StanzaError('service-unavailable')
      // One who may publish only learns nothing of the members.
      const isClosed = error instanceof StanzaError && error.plus?.name === 'closed-node'
      if (isClosed && this.#place.hidesClosed === true) throw new StanzaError('item-not-found')
      throw error
    }
  }

  /** Runs a change of a service, stores it with the batch, and tells others. Rejects with what `run` throws. */
  async change<T> (
    { service, asker, batch, charge, isUrgent }: Omit<Call, 'charge'> & Partial<Pick<Call, 'charge'>> & { readonly isUrgent?: boolean },
    run: (work: Work) => Maybe<T>,
  ): Promise<T> {
    await this.delivery.room(service)
    const change = await this.#trees.change(service.toString(), batch, isUrgent)
    const work = new Work({ place: this.#place, service, asker, change, ids: this.#home.ids })
    const result = await run(work)
    await settle(work)
    await this.#place.changed?.(work)
    batch.committed(() => {
      this.delivery.deliver(service, work.events, node => change.above(node), count => { charge?.(count) })
    })
    return result
  }

  /**
   * Removes an account of this server from the nodes of all services of this host, before it is removed with the batch:
   * a new account of its name must inherit no affiliation and no subscription. Each service has a commit of its own.
   * From now on, until the batch is stored or has failed, no node can name the account. A service whose nodes cannot be
   * read is left as it is. Rejects if something cannot be stored.
   */
  async forget (account: Jid, batch: Batch): Promise<void> {
    const { people } = this.#trees
    const end = people.leave(account)
    batch.committed(end)
    batch.failed(end)
    await this.#trees.naming(account.bare.toString())
    for await (const services of people.servicesWith(account)) {
      await Promise.all(services.map(service => this.#forgetAt(parseJid(service), account)))
    }
  }

  async #forgetAt (service: Jid, account: Jid): Promise<void> {
    try {
      await unlessUnreadable(apart(this.#home, async batch => {
        const asker = await this.asker(service, service)
        await this.change({ service, asker, batch, isUrgent: true }, work => { removePerson(work, account) })
      }))
    } catch (error) {
      if (!(error instanceof ServiceEnded)) throw error
    }
  }

  /** True if an error message says that a subscriber of its recipient is gone (§12.4). */
  async isBounce ({ type, from, to, element }: Addressed): Promise<boolean> {
    if (type !== 'error' || to.resource !== '' || !isGone(element)) return false
    const jid = from.toString()
    return [...(await this.nodes(to)).values()].some(node => node.subscriptions.some(one => one.jid === jid))
  }

  /** Ends the subscriptions of the sender of such an error, in this batch. */
  async bounced ({ from, to, element }: Addressed, batch: Batch): Promise<void> {
    const asker = await this.asker(to, from)
    await this.change({ service: to, asker, batch }, work => { endBounced(work, from, element) })
  }

  /**
   * Ends the temporary subscriptions of a device at a service, because its presence has ended (§12.5). Rejects if that
   * cannot be stored.
   */
  async left (service: Jid, device: Jid): Promise<void> {
    const full = device.toString()
    if ((await this.#trees.temporary(service.toString(), full)).size === 0) return
    await apart(this.#home, async batch => {
      const asker = await this.asker(service, device)
      const names = await this.#trees.temporary(service.toString(), full)
      await this.change({ service, asker, batch }, work => { endTemporary(work, [...names], full) })
    })
  }

  // ---- Requests of anybody ------------------------------------------------------------------------------------

  async #asks (call: Call, pubsub: Element): Promise<Reply> {
    const { service, asker } = call
    const request = theOne(pubsub, NS.PUBSUB, ['items', 'subscriptions', 'affiliations', 'options', 'default'])
    const nodes = await this.nodes(service)
    const name = attributeOf(request, 'node')
    switch (localName(request)) {
      case 'subscriptions': return [this.#known(ownSubscriptions(this.#visible(nodes, asker), asker, name), asker)]
      case 'affiliations': return [this.#known(ownAffiliations(this.#visible(nodes, asker), asker, name), asker)]
      case 'default': {
        if (name !== undefined) this.#readable(nodes, name, asker)
        else if (!this.#knows(asker)) throw new StanzaError('service-unavailable')
        return [xml('default', { node: name }, optionsForm(DEFAULT_OPTIONS, 'result', nodes.get(name ?? '')))]
      }
      case 'options': {
        const node = this.#followed(nodes, request, asker)
        const subscription = optionsOf(node, request, asker)
        return [xml('options', { node: name, jid: subscription.jid, subid: subscription.subid }, optionsForm(subscription, 'form', node))]
      }
      default: {
        const wanted = subscribedNode(this.#place, request)
        await this.#prune(service, endedList(nodes, service.toString(), wanted, asker.now))
        return emptyList({ place: this.#place, nodes, service: service.toString(), asker }, wanted) ??
          await this.#retrieve(call, this.#followed(await this.nodes(service), request, asker), request, pubsub)
      }
    }
  }

  /** Ends the subscriptions to a node that have ended by time. */
  async #prune (service: Jid, node: string | undefined): Promise<void> {
    if (node === undefined) return
    await apart(this.#home, async batch => {
      const asker = await this.asker(service, service)
      await this.change({ service, asker, batch }, work => { dropEnded(work, node) })
    })
  }

  /** One who loses access while items are read gets none: they may have been published after that. */
  async #retrieve ({ service, asker }: Call, node: Node, request: Element, pubsub: Element): Promise<Reply> {
    if (node.config.nodeType === 'collection') {
      const leaves = (await this.#children(service, node)).filter(({ config }) => config.nodeType === 'leaf')
      const lists = await retrieveLeaves(this.#reading(service, node, asker), leaves, request, pubsub)
      const now = await this.nodes(service)
      const refusal = refusalNow(now, node, asker)
      if (refusal !== undefined) throw refusal
      return lists.filter(({ leaf }) => refusalNow(now, leaf, asker) === undefined).map(({ items }) => items)
    }
    const reply = await retrieve(this.#reading(service, node, asker), request, pubsub)
    const refusal = refusalNow(await this.nodes(service), node, asker)
    if (refusal !== undefined) throw refusal
    return reply
  }

  /** Returns the nodes of a collection. */
  async #children (service: Jid, { name }: Node): Promise<readonly Node[]> {
    const nodes = await this.nodes(service)
    if (name === ROOT) return [...nodes.values()].filter(isAtRoot)
    const names = await this.#trees.childrenOf(service.toString(), name)
    return [...names].map(one => nodes.get(one)).filter(node => node !== undefined)
  }

  /** Returns the nodes that are not hidden from the asker. */
  #visible (nodes: ReadonlyMap<string, Node>, asker: Asker): readonly Node[] {
    const all = [...nodes.values()]
    return this.#place.hidesClosed === true ? all.filter(node => !isClosedTo(node, asker)) : all
  }

  /** A stranger without a subscription or affiliation learns nothing. */
  #known (list: Element, asker: Asker): Element {
    if (list.children.length === 0 && !this.#knows(asker)) throw new StanzaError('service-unavailable')
    return list
  }

  #knows (asker: Asker): boolean { return knows(this.#place, asker) }

  /** True if disco shows the node: its metadata name owners and publishers, and are for those whom it may concern. */
  #mayNotice (node: Node, asker: Asker): boolean {
    return mayRead(node, asker) || this.#knows(asker) && maySubscribe(node, asker)
  }

  /** Returns the node that is requested, which may be the root. Throws nodeid-required or item-not-found. */
  #followed (nodes: ReadonlyMap<string, Node>, request: Element, asker: Asker): Node {
    return visible(this.#place, nodes.get(subscribedNode(this.#place, request)), asker)
  }

  /** Returns the node that is requested. Throws nodeid-required or item-not-found. */
  #named (nodes: ReadonlyMap<string, Node>, request: Element, asker: Asker): Node {
    return visible(this.#place, nodes.get(nodeName(request)), asker)
  }

  #readable (nodes: ReadonlyMap<string, Node>, name: string, asker: Asker): Node {
    const node = nodes.get(name)
    if (node === undefined || !mayRead(node, asker)) throw new StanzaError('item-not-found')
    return node
  }

  async #sets (call: Call, pubsub: Element): Promise<Reply> {
    const request = theOne(pubsub, NS.PUBSUB, ['create', 'publish', 'retract', 'subscribe', 'unsubscribe', 'options'])
    // §6.3.7, §8.1.3: the options and the configuration follow.
    if (FOLLOWED.has(localName(request)) && childElements(pubsub)[0] !== request) throw new StanzaError('bad-request')
    return await this.change(call, async work =>
      await changeManaged(work, request) ?? await applyRequest(work, request, pubsub))
  }

  // ---- Requests of owners -------------------------------------------------------------------------------------

  async #ownerAsks ({ service, asker }: Call, pubsub: Element): Promise<Reply> {
    const request = theOne(pubsub, NS.PUBSUB_OWNER, ['configure', 'default', 'subscriptions', 'affiliations'])
    const { form } = this.#place
    if (localName(request) === 'default') {
      if (!this.#knows(asker)) throw new StanzaError('service-unavailable')
      const isCollection = attributeOf(request, 'type') === 'collection'
      if (isCollection && this.#place.collections !== true) throw unsupported('collections')
      const nodeType = isCollection ? 'collection' : 'leaf'
      return [xml('default', {}, form.show({ ...this.#place.defaultsOf(), nodeType }))]
    }
    const node = shown(this.#named(await this.nodes(service), request, asker))
    mustOwn(node, asker)
    switch (localName(request)) {
      case 'configure': {
        const children = await this.#trees.childrenOf(service.toString(), node.name)
        return [xml('configure', { node: node.name }, form.show(node.config, [...children]))]
      }
      case 'subscriptions': return [subscriptions(node, asker.now)]
      default: return [affiliations(node)]
    }
  }

  async #ownerSets (call: Call, pubsub: Element): Promise<Reply> {
    const request = theOne(pubsub, NS.PUBSUB_OWNER, OWNER_SETS)
    // XEP-0248 §7.4.3.1: the root belongs to the service.
    if (localName(request) === 'delete' && isForRoot(this.#place, request)) throw new StanzaError('not-allowed')
    if (localName(request) === 'collection') return await this.#associate(call, request)
    const name = nodeName(request)
    await this.change(call, async work => {
      if (await manageManaged(work, name, request)) return
      switch (localName(request)) {
        case 'configure': await configure(work, name, request); break
        case 'delete': {
          const redirect = child(request, NS.PUBSUB_OWNER, 'redirect')
          remove(work, name, redirect === undefined ? undefined : attributeOf(redirect, 'uri'))
          break
        }
        case 'purge': purge(work, name); break
        case 'subscriptions': await setSubscriptions(work, name, request); break
        default: await affiliate(work, name, request)
      }
    })
    return []
  }

  async #associate (call: Call, request: Element): Promise<Reply> {
    if (this.#place.collections !== true) throw unsupported('collections')
    await this.change(call, work => { associate(work, request) })
    return []
  }

  // ---- Reading ------------------------------------------------------------------------------------------------

  /** Returns a node for one who may read its items. Rejects with StanzaError for others. */
  async reading (service: Jid, name: string | undefined, jid: Jid): Promise<Reading> {
    if (name === undefined || name === '') throw pubsubError('bad-request', 'nodeid-required')
    const asker = await this.asker(service, jid)
    const node = (await this.nodes(service)).get(name)
    const refusal = node === undefined ? new StanzaError('item-not-found') : refusalToRead(node, asker)
    if (node !== undefined && refusal === undefined) return this.#reading(service, node, asker)
    if (!this.#knows(asker)) throw new StanzaError('service-unavailable')
    throw refusal === undefined || node !== undefined && isHidden(this.#place, node, asker) ? new StanzaError('item-not-found') : refusal
  }

  #reading (service: Jid, node: Node, asker: Asker): Reading {
    return { owner: service.toString(), node, asker, items: this.#trees.items }
  }

  /** Returns the disco answers for a node; undefined if there is none that the asker may know of. */
  async disco (service: Jid, name: string, asker: Asker): Promise<DiscoNode | undefined> {
    if (name === NS.SHIM && this.#knows(asker)) return shimInfo(this.#place.collections === true)
    const node = (await this.nodes(service)).get(canonicalName(service.toString(), name))
    if (node === undefined || !this.#mayNotice(node, asker)) return undefined
    if (node.config.nodeType === 'collection') {
      const children = (await this.#children(service, node)).filter(child => this.#mayNotice(child, asker))
      return { info: collectionInfo(node, asker.now), items: children.map(child => discoItem(service, child)) }
    }
    const { items } = await this.#trees.items.size(service.toString(), node)
    const listed = await nodeItems(this.#reading(service, node, asker), service)
    if (refusalNow(await this.nodes(service), node, asker) !== undefined && listed.length > 0) return undefined
    return { info: nodeInfo(shown(node), { items, most: this.#place.limits.itemsPerNode }, asker.now), items: listed }
  }

  /**
   * Returns the nodes that the asker may read or subscribe to, for disco#items (§5.2, XEP-0163 §6.2), as far as they
   * are in the root (XEP-0248 §5.2), and the query wants them (XEP-0462). Rejects with StanzaError if its filter is
   * malformed.
   */
  async list (service: Jid, asker: Asker, query: Element): Promise<readonly DiscoItem[]> {
    const isWanted = typeFilter(query)
    const nodes = [...(await this.nodes(service)).values()]
    const isListed = (node: Node): boolean => isAtRoot(node) && isWanted(node) && !hasAttachments(node)
    const found = nodes.filter(node => isListed(node) && this.#mayNotice(node, asker))
    return found.map(node => discoItem(service, node))
  }

  /** Returns the newest item of a node; undefined if there is none, or if it has expired. */
  async newest (service: Jid, node: Node): Promise<Item | undefined> {
    const query = { limit: 1, bytes: Infinity, newest: true, since: sinceOf(node, this.#home.now()) }
    return (await this.#trees.items.some(service.toString(), node, query)).items[0]
  }

  /** Returns the item of a node with this id; undefined if there is none. */
  async item (service: Jid, node: Node, id: string): Promise<Item | undefined> {
    return (await this.#trees.items.byId(service.toString(), node, [id])).items[0]
  }

  /** Yields the items of a node, the oldest first: `size` at a time, and no more than are parsed within a turn. */
  async * pages (service: Jid, node: Node, size: number): AsyncGenerator<readonly Item[]> {
    for (let after: string | undefined; ;) {
      const paging = { max: size, after, before: undefined, index: undefined }
      const page = await this.#trees.items.some(service.toString(), node, {
        limit: size, bytes: TO_PARSE, since: undefined, paging,
      })
      if (page.items.length > 0) yield page.items
      after = page.items.at(-1)?.id
      if (page.isComplete || after === undefined) return
    }
  }
}

/** Returns why the asker may not read a node that was there before something was read; undefined if it may. */
function refusalNow (nodes: ReadonlyMap<string, Node>, { name, key }: Node, asker: Asker): StanzaError | undefined {
  const now = nodes.get(name)
  return now?.key === key ? refusalToRead(now, asker) : new StanzaError('item-not-found')
}

/** True if a node is in the root. */
function isAtRoot ({ name, config }: Node): boolean { return name !== ROOT && parentsOf(config).includes(ROOT) }
