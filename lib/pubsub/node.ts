/** One node of a service: its configuration, affiliations and subscriptions (XEP-0060 §4), and how it is stored. */
import { hasForm } from '../storage/shape.js'
import type { Jid } from '../xmpp/jid.js'
import { isConfig, PEP_DEFAULTS, type NodeConfig } from './config.js'

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
  /** When the subscription ends, in milliseconds since 1970 (§12.19); undefined if it has no end. */
  readonly expires?: number
}

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
}

/** The options that were added after nodes had been stored. */
type Added = 'suggested'

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
  const config = { suggested: PEP_DEFAULTS.suggested, ...stored.config }
  return { ...stored, name, config, affiliations, subscriptions }
}

/** The key under which a subscription is stored. No key of a node has a space. */
export function subscriptionKey (node: string, jid: string): string { return `${node} ${jid}` }

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
  return hasForm(value, { jid: 'string', state: 'string', subid: 'string', deliver: 'boolean', expires: 'number?' }) &&
    (value['state'] === 'subscribed' || value['state'] === 'pending')
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
  const texts = [name, title, description, language, type, ...contacts, ...rosterGroups]
  let bytes = NODE
  for (const text of texts) bytes += 2 * text.length
  for (const jid of affiliations.keys()) bytes += ENTRY + jid.length
  for (const { jid } of subscriptions) bytes += ENTRY + jid.length
  return bytes
}

/** The subscriptions in which two values of a node differ. */
export interface SubscriptionChanges { readonly gone: readonly Subscription[], readonly come: readonly Subscription[] }

/** Compares the subscriptions of two values of a node. A changed subscription is gone and has come. */
export function subscriptionChanges (old: readonly Subscription[], now: readonly Subscription[]): SubscriptionChanges {
  // Most changes are of one subscription among thousands that stay as they are.
  let begin = 0
  while (begin < old.length && begin < now.length && old[begin] === now[begin]) begin++
  let [oldEnd, end] = [old.length, now.length]
  while (oldEnd > begin && end > begin && old[oldEnd - 1] === now[end - 1]) [oldEnd, end] = [oldEnd - 1, end - 1]
  const before = new Set(old.slice(begin, oldEnd))
  const after = new Set(now.slice(begin, end))
  return { gone: [...before].filter(one => !after.has(one)), come: [...after].filter(one => !before.has(one)) }
}

/** Returns the subscription with exactly this address that has not ended; undefined if there is none. */
export function subscriptionOf (node: Node, jid: string, now: number): Subscription | undefined {
  return node.subscriptions.find(one => one.jid === jid && isCurrent(one, now))
}

/** True unless the subscription has ended. */
export function isCurrent ({ expires }: Subscription, now: number): boolean {
  return expires === undefined || expires > now
}

/** True if an address of this account is subscribed to the node. */
export function isSubscribed (node: Node, asker: Jid, now: number): boolean {
  const bare = asker.bare.toString()
  return node.subscriptions.some(one =>
    one.state === 'subscribed' && isCurrent(one, now) && (one.jid === bare || one.jid.startsWith(`${bare}/`)))
}
