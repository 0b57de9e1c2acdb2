/** One node of a service: its configuration, affiliations and subscriptions (XEP-0060 §4), and how it is stored. */
import { hasForm } from '../storage/shape.js'
import type { Jid } from '../xmpp/jid.js'
import { isConfig, PEP_DEFAULTS, SERVICE_DEFAULTS, type NodeConfig } from './config.js'

/** The affiliations (§4.1); 'none' is never stored. */
export const AFFILIATIONS = ['owner', 'publisher', 'publish-only', 'member', 'none', 'outcast'] as const
export type Affiliation = typeof AFFILIATIONS[number]

/** A subscription of one address to one node (§4.2). */
export interface Subscription {
  /** The subscribed address, bare or full. */
  readonly jid: string
  readonly state: 'subscribed' | 'pending'
  readonly subid: string
  /** False if the subscriber wants no notifications at the moment (pubsub#deliver). */
  readonly deliver: boolean
  /**
   * When the subscription ends, in milliseconds since 1970 (§12.19); `presence`: with the presence of `device` (§12.5);
   * undefined if it has no end.
   */
  readonly expires?: number | 'presence'
  /** The full address of the device that has asked for a temporary subscription. */
  readonly device?: string
  /** The kind of notifications that a subscriber to a collection gets (XEP-0248 §6.1); undefined means nodes. */
  readonly kind?: SubscriptionKind
  /** The number of levels below the collection that this concerns; undefined means 1. */
  readonly depth?: number | 'all'
  /** True if the address had another subscription to the node when this one was made. */
  readonly beside?: true
  /** True if the subscriber shows the subscription to all who may read the node (XEP-0465). */
  readonly isPublic?: boolean
}

/** The kinds of notifications that a subscriber to a collection can choose. */
export const SUBSCRIPTION_KINDS = ['items', 'nodes', 'all'] as const
export type SubscriptionKind = typeof SUBSCRIPTION_KINDS[number]

/** A node. A change makes a new value. */
export interface Node {
  readonly name: string
  /** The name of the node in the store of items. Another node that is made later with this name has another one. */
  readonly key: string
  readonly config: NodeConfig
  /** The bare address of who made the node. */
  readonly creator: string
  /** In milliseconds since 1970. */
  readonly created: number
  readonly affiliations: ReadonlyMap<string, Affiliation>
  readonly subscriptions: readonly Subscription[]
  /**
   * Returns the node whose access rules and affiliations hold for this one, which the service manages (managed.ts).
   * Undefined if this node has its own.
   */
  readonly target?: () => Node | undefined
}

/** The options that were added after nodes had been stored. */
type Added =
  | 'suggested' | 'nodeType' | 'collections' | 'associationPolicy' | 'associationWhitelist' | 'childrenMax'

/** A node as it is stored, under its name. Its subscriptions are stored apart, so that one can change by itself. */
export interface StoredNode {
  readonly key: string
  /** A configuration that was stored before an option existed lacks it. */
  readonly config: Omit<NodeConfig, Added> & Partial<Pick<NodeConfig, Added>>
  readonly creator: string
  readonly created: number
  readonly affiliations: Readonly<Record<string, string>>
  /** The subscriptions of a node that was stored before they were stored apart. */
  readonly subscriptions?: readonly Subscription[]
}

/** A subscription as it is stored. `node` is the key of its node. */
export interface StoredSubscription extends Subscription { readonly node: string }

/** Returns the node in the form in which it is stored. */
export function storedNode ({ key, config, creator, created, affiliations }: Node): StoredNode {
  return { key, config, creator, created, affiliations: Object.fromEntries(affiliations) }
}

/** Returns a stored node, with its subscriptions. */
export function restoredNode (name: string, stored: StoredNode, subscriptions: readonly Subscription[]): Node {
  const affiliations = new Map<string, Affiliation>()
  for (const [jid, affiliation] of Object.entries(stored.affiliations)) {
    if (isAffiliation(affiliation)) affiliations.set(jid, affiliation)
  }
  const config = { ...PEP_DEFAULTS, ...stored.config }
  return { ...stored, name, config, affiliations, subscriptions }
}

/**
 * The key under which a subscription is stored: one that is beside another one is stored under its id as well. No key
 * of a node has a space, and no address has a line feed.
 */
export function subscriptionKey (node: string, { jid, subid, beside }: Subscription): string {
  return beside === true ? `${node} ${jid}\n${subid}` : `${node} ${jid}`
}

/** The name of the root, the collection of all nodes that are in no other one (XEP-0248 §8.1). */
export const ROOT = ''

/** Returns the root of a service. It is not stored; its subscriptions are. It belongs to the service. */
export function rootOf (service: string, subscriptions: readonly Subscription[]): Node {
  return {
    name: ROOT, key: 'root', config: ROOT_CONFIG, creator: service, created: 0,
    affiliations: new Map([[service, 'owner' as const]]), subscriptions,
  }
}

const ROOT_CONFIG: NodeConfig = { ...SERVICE_DEFAULTS, nodeType: 'collection' }

/** True if a value is a stored node. A node with something unknown in it must not count as one without it. */
export function isStoredNode (value: unknown): boolean {
  return hasForm(value, { key: 'string', config: 'object', creator: 'string', created: 'number', affiliations: 'object' }) &&
    isConfig(value['config']) &&
    Object.values(value['affiliations'] ?? {}).every(one => typeof one === 'string' && isAffiliation(one)) &&
    areSubscriptions(value['subscriptions'])
}

function areSubscriptions (value: unknown): boolean {
  return value === undefined || Array.isArray(value) && value.every(isSubscription)
}

/** True if a value is a stored subscription. */
export function isStoredSubscription (value: unknown): boolean {
  return isSubscription(value) && hasForm(value, { node: 'string' })
}

export function isAffiliation (text: string): text is Affiliation {
  return AFFILIATIONS.some(one => one === text)
}

function isSubscription (value: unknown): boolean {
  return hasForm(value, {
    jid: 'string', state: 'string', subid: 'string', deliver: 'boolean', device: 'string?', beside: 'boolean?',
    isPublic: 'boolean?',
  }) && (value['state'] === 'subscribed' || value['state'] === 'pending') && hasOptions(value)
}

function hasOptions ({ expires, kind, depth }: Readonly<Record<string, unknown>>): boolean {
  return (expires === undefined || expires === 'presence' || typeof expires === 'number') &&
    (kind === undefined || SUBSCRIPTION_KINDS.some(one => one === kind)) &&
    (depth === undefined || depth === 'all' || typeof depth === 'number')
}

/** Bytes of a node, of an affiliation and of a subscription in memory beside their texts, about. */
const NODE = 1000
const ENTRY = 150

/** The bytes of nodes that were counted. A node never changes. */
const COUNTED = new WeakMap<Node, number>()

/** Returns about how many bytes a node takes in memory. */
export function bytesOfNode (node: Node): number {
  const known = COUNTED.get(node)
  if (known !== undefined) return known
  const bytes = countBytes(node)
  COUNTED.set(node, bytes)
  return bytes
}

function countBytes ({ name, config, affiliations, subscriptions }: Node): number {
  const { title, description, language, type, contacts, rosterGroups } = config
  const { collections, associationWhitelist } = config
  const lists = [contacts, rosterGroups, collections, associationWhitelist]
  const texts = [name, title, description, language, type, ...lists.flat()]
  let bytes = NODE
  for (const text of texts) bytes += 2 * text.length
  for (const jid of affiliations.keys()) bytes += ENTRY + jid.length
  for (const { jid, device = '' } of subscriptions) bytes += ENTRY + jid.length + device.length
  return bytes
}

/** The subscriptions in which two values of a node differ. */
export interface SubscriptionChanges { readonly gone: readonly Subscription[], readonly come: readonly Subscription[] }

const NO_CHANGES: SubscriptionChanges = { gone: [], come: [] }

/** Compares the subscriptions of two values of a node. A changed subscription is gone and has come. */
export function subscriptionChanges (old: readonly Subscription[], now: readonly Subscription[]): SubscriptionChanges {
  if (old === now) return NO_CHANGES
  // Most changes are of one subscription among thousands that stay as they are.
  let begin = 0
  while (begin < old.length && begin < now.length && old[begin] === now[begin]) begin++
  let [oldEnd, end] = [old.length, now.length]
  while (oldEnd > begin && end > begin && old[oldEnd - 1] === now[end - 1]) [oldEnd, end] = [oldEnd - 1, end - 1]
  const before = new Set(old.slice(begin, oldEnd))
  const after = new Set(now.slice(begin, end))
  return { gone: [...before].filter(one => !after.has(one)), come: [...after].filter(one => !before.has(one)) }
}

/** Returns the subscriptions with exactly this address that have not ended. */
export function subscriptionsOf (node: Node, jid: string, now: number): readonly Subscription[] {
  return node.subscriptions.filter(one => one.jid === jid && isCurrent(one, now))
}

/** True unless the subscription has ended. */
export function isCurrent ({ expires }: Subscription, now: number): boolean {
  return expires === undefined || expires === 'presence' || expires > now
}

/** True if an address of this account is subscribed to the node. */
export function isSubscribed (node: Node, asker: Jid, now: number): boolean {
  const bare = asker.bare.toString()
  return node.subscriptions.some(one =>
    one.state === 'subscribed' && isCurrent(one, now) && (one.jid === bare || one.jid.startsWith(`${bare}/`)))
}
