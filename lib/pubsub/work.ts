/** One request to a publish-subscribe service, while it changes something. */
import { flatten } from '../xml/writer.js'
import type { Ids } from '../base/ids.js'
import type { Maybe } from '../base/maybe.js'
import { StanzaError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { affiliationOf, isClosedTo, mayRead, rulesOf, type Asker, type Standing } from './access.js'
import type { NodeConfig, NodeForm } from './config.js'
import { pubsubError } from './errors.js'
import type { Item } from './items.js'
import { isManaged } from './managed-names.js'
import { bytesOfNode, ROOT, type Node, type Subscription } from './node.js'
import type { Change } from './change.js'
import type { Element } from '../xml/element.js'

/** Bounds of one service. */
export interface PubSubLimits {
  readonly nodes: number
  /** The most nodes that one who is no owner of the service may have made; without it there is no such bound. */
  readonly nodesPerCreator?: number
  /** The most items of one node, and of all. */
  readonly itemsPerNode: number
  readonly items: number
  /** The most bytes of all items, and of all nodes with their configuration. */
  readonly bytes: number
  readonly nodeBytes: number
  /** The most subscriptions, and the most affiliations, of one node. */
  readonly subscriptions: number
  readonly affiliations: number
  /** The most nodes that the service makes beside others: one for each item with attachments (XEP-0470). */
  readonly managedNodes: number
  /** Returns how many of them may be beside the nodes that this address has made; without it there is no such bound. */
  readonly managedOf?: (creator: string) => number
}

/** An event at a node. */
export type NodeEvent =
  | { readonly what: 'item', readonly node: Node, readonly item: Item, readonly payload: Element | undefined }
  /** `isQuiet`: nobody is told. */
  | { readonly what: 'retract', readonly node: Node, readonly id: string, readonly isQuiet: boolean }
  | { readonly what: 'delete', readonly node: Node, readonly redirect: string | undefined }
  | { readonly what: 'signal' | 'purge' | 'configuration' | 'created', readonly node: Node }
  /** A node is in a collection now, or is not any more (XEP-0248 §5.3.2). */
  | { readonly what: 'associated' | 'dissociated', readonly node: Node, readonly child: Node }
  /** A subscription has another state: these addresses are told. */
  | { readonly what: 'subscription', readonly node: Node, readonly state: SubscriptionState, readonly to: readonly string[] }
  /** A subscription waits for an owner. */
  | { readonly what: 'request', readonly node: Node, readonly subscription: Subscription }
  /** A new subscriber gets the last item. */
  | { readonly what: 'last', readonly node: Node, readonly to: string }

/** A subscription as others are told of it; 'none' if it has ended. */
export interface SubscriptionState {
  readonly jid: string
  readonly state: 'subscribed' | 'pending' | 'none'
  readonly subid: string
}

/** The kind of service that an engine serves: the addresses of accounts, or the domain of a service host. */
export interface PubSubPlace {
  readonly form: NodeForm
  /** Returns the default configuration of a node with this name; of any node without a name. */
  defaultsOf (node?: string): NodeConfig
  readonly limits: PubSubLimits
  /** True if an owner's publication to a node that is not there makes it (XEP-0060 §7.1.4). */
  readonly creates: boolean
  /** True if those who may not know the service get the answer of an address without an account. */
  readonly hides: boolean
  /** True if a node for members alone counts as missing for others. */
  readonly hidesClosed?: boolean
  /** True if nodes can be in collections (XEP-0248), all below a root. */
  readonly collections?: boolean
  /**
   * True if the service gets the presence of a device, so that a subscription can end with it (§12.5). Without it none
   * can.
   */
  hearsOf? (device: Jid): boolean
  /** Returns what the service knows of an asker. */
  standing (service: Jid, asker: Jid): Maybe<Standing>
  /** True if the asker may make nodes. */
  mayCreate (asker: Asker): boolean
  /** Calls `tell` for each full address that gets notifications of the node without a subscription (XEP-0163 §4). */
  implicit? (service: Jid, node: Node, tell: (to: Jid) => void): Maybe<void>
  /** True unless an address gets no messages of the service, whatever its subscriptions and affiliations. */
  mayTell? (service: Jid, to: Jid): Maybe<boolean>
  /** Takes part in a change, in its batch: other forms of the same data follow it. */
  changed? (work: Work): Maybe<unknown>
}

/** The longest name of a node and id of an item, in characters. */
export const LONGEST = 1023

/** The most bytes of a node without its items. It is written as a whole when one subscription changes. */
const LARGEST_NODE = 4 * 1024 * 1024

/** A request, with the change that it makes. */
export class Work {
  readonly place: PubSubPlace
  readonly service: Jid
  readonly asker: Asker
  readonly change: Change
  readonly ids: Ids
  /** The events of which others are told after the change is stored. */
  readonly events: NodeEvent[] = []
  #isSilent = false

  constructor (parts: Pick<Work, 'place' | 'service' | 'asker' | 'change' | 'ids'>) {
    this.place = parts.place
    this.service = parts.service
    this.asker = parts.asker
    this.change = parts.change
    this.ids = parts.ids
  }

  get isSilent (): boolean { return this.#isSilent }

  /** Tells nobody of the change: it restores what has been before. */
  silence (): void {
    this.#isSilent = true
    this.events.length = 0
  }

  /** Returns the node with this name. Throws item-not-found, also for a node that is hidden from the asker. */
  node (name: string): Node {
    return visible(this.place, this.change.node(name), this.asker)
  }

  /**
   * Returns a node that a request names beside its own. Throws item-not-found, also for one that counts as missing for
   * the asker.
   */
  other (name: string): Node {
    const node = this.node(name)
    if (this.hides(node)) throw new StanzaError('item-not-found')
    return node
  }

  /** True if a node counts as missing for the asker. */
  hides (node: Node): boolean { return isHidden(this.place, node, this.asker) }

  /** Makes a node (§8.1). Throws StanzaError if there is no room. */
  create (name: string, config: NodeConfig): Node {
    const { place: { limits }, asker: { jid, now } } = this
    if (name === '' || name.length > LONGEST) throw new StanzaError('not-acceptable', 'the name of a node is too long')
    const creator = jid.bare.toString()
    let [count, own] = [0, 0]
    for (const node of this.change.nodes()) {
      if (node.name === ROOT || isManaged(node.name)) continue
      count++
      if (node.creator === creator) own++
    }
    const most = this.asker.standing.isOwner ? Infinity : limits.nodesPerCreator ?? Infinity
    if (!isManaged(name) && (count >= limits.nodes || own >= most)) throw pubsubError('not-allowed', 'max-nodes-exceeded')
    const node = {
      name: flatten(name), key: this.ids.next(), config, creator, created: now, subscriptions: [],
      affiliations: new Map([[creator, 'owner' as const]]),
    }
    this.put(node)
    return node
  }

  /**
   * Stores a changed node. Throws StanzaError if the nodes of the service have no room for it. Half of the room is for
   * owners alone, so that subscribers cannot keep them from making nodes.
   */
  put (node: Node): void {
    const { place: { limits }, change, asker } = this
    const old = change.node(node.name)
    const growth = bytesOfNode(node) - (old === undefined ? 0 : bytesOfNode(old))
    if (growth > 0) {
      const bytes = change.nodeBytes + growth
      const most = affiliationOf(node, asker) === 'owner' ? limits.nodeBytes : limits.nodeBytes / 2
      if (bytes > most || bytesOfNode(node) > LARGEST_NODE) throw new StanzaError('resource-constraint', 'there is no room for this', { type: 'cancel' })
    }
    change.put(node)
  }

  /** Notes that a subscription has another state. Its address is told, and the owners if they want that. */
  tell (node: Node, state: SubscriptionState, isAsked = false): void {
    const owners = node.config.notifySub ? ownersOf(node) : []
    // §12.14: the subscriber is told of what somebody else has done.
    const to = isAsked ? owners : [state.jid, ...owners]
    if (to.length > 0) this.events.push({ what: 'subscription', node, state, to })
  }
}

/**
 * Returns the node if there is one that the asker may know of. Throws item-not-found: all that follows is answered as
 * for a node that is missing.
 */
export function visible ({ hidesClosed }: PubSubPlace, node: Node | undefined, asker: Asker): Node {
  if (node === undefined || hidesClosed === true && isClosedTo(node, asker)) throw new StanzaError('item-not-found')
  return node
}

/** True if a node counts as missing for the asker, also for one who may publish there. */
export function isHidden ({ hidesClosed }: PubSubPlace, node: Node, asker: Asker): boolean {
  return hidesClosed === true && rulesOf(node).config.accessModel === 'whitelist' && !mayRead(node, asker)
}

/** True if the asker may know that the address exists: on the address of an account, strangers may not. */
export function knows ({ hides }: PubSubPlace, { standing: { isOwner, seesPresence } }: Asker): boolean {
  return !hides || isOwner || seesPresence
}

/** Returns the bare addresses of the owners. */
export function ownersOf (node: Node): readonly string[] {
  return [...node.affiliations].filter(([, affiliation]) => affiliation === 'owner').map(([jid]) => jid)
}

/** Returns the id of an item as it is stored. Throws StanzaError if it is too long. */
export function checkedId (id: string): string {
  if (id === '' || id.length > LONGEST) throw new StanzaError('not-acceptable', 'the id of an item is too long')
  return flatten(id)
}
