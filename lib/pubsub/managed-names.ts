/**
 * The names of the nodes that the service itself makes beside others: attachments to an item and their summary
 * (XEP-0470), and public subscribers and subscriptions (XEP-0465).
 */
import { NS } from '../xml/namespaces.js'
import type { Node } from './node.js'

const ATTACHMENTS = `${NS.ATTACHMENTS}/`
const SUMMARY = `${NS.ATTACHMENTS_SUMMARY}/`
const SUBSCRIBERS = 'urn:xmpp:pps:subscribers:0/'
/** The node with the public subscriptions of an account. */
export const SUBSCRIPTIONS = 'urn:xmpp:pps:subscriptions:0'

/** The meaning of the name of a node. `item`: the item that has the attachments. 'wrong': no node may have the name. */
export type Managed =
  | { readonly kind: 'attachments', readonly target: string, readonly item: string }
  | { readonly kind: 'summary' | 'subscribers', readonly target: string }
  | { readonly kind: 'subscriptions' }
  | { readonly kind: 'wrong' }

const WRONG: Managed = { kind: 'wrong' }

/** Returns what the name of a node of a service says; undefined if it is not one that the service manages. */
export function managedBy (service: string, name: string): Managed | undefined {
  if (name === SUBSCRIPTIONS) return { kind: 'subscriptions' }
  if (name.startsWith(SUMMARY)) return besides('summary', name.slice(SUMMARY.length))
  if (name.startsWith(SUBSCRIBERS)) return besides('subscribers', name.slice(SUBSCRIBERS.length))
  if (!name.startsWith(ATTACHMENTS)) return undefined
  const [, address, target, item] = /^xmpp:([^?]+)\?;node=([^;]+);item=([^;]+)$/.exec(name.slice(ATTACHMENTS.length)) ?? []
  try {
    if (address === undefined || decodeURIComponent(address) !== service) return WRONG
    const found = decodeURIComponent(target ?? '')
    return isManaged(found) ? WRONG : { kind: 'attachments', target: found, item: decodeURIComponent(item ?? '') }
  } catch (error) {
    if (error instanceof URIError) return WRONG
    throw error
  }
}

function besides (kind: 'summary' | 'subscribers', target: string): Managed {
  return target === '' || isManaged(target) ? WRONG : { kind, target }
}

/** True if the service alone makes nodes of this name. */
export function isManaged (name: string): boolean {
  return name === SUBSCRIPTIONS || [ATTACHMENTS, SUMMARY, SUBSCRIBERS].some(prefix => name.startsWith(prefix))
}

/** True if a node has the attachments of an item: lists of nodes would have one for each item. */
export function hasAttachments ({ name }: Node): boolean { return name.startsWith(ATTACHMENTS) }

/** Returns the name of the node with the attachments to an item (XEP-0470 §4.1, XEP-0060 §12.22). */
export function attachmentsOf (service: string, target: string, item: string): string {
  const address = service.split('@').map(encodeURIComponent).join('@')
  return `${ATTACHMENTS}xmpp:${address}?;node=${encodeURIComponent(target)};item=${encodeURIComponent(item)}`
}

/** Returns the name of the node with the summaries of all attachments to the items of a node (XEP-0470 §4.6). */
export function summaryOf (target: string): string { return `${SUMMARY}${target}` }

/** Returns the name of the node with the public subscribers of a node (XEP-0465 §4.4). */
export function subscribersOf (target: string): string { return `${SUBSCRIBERS}${target}` }

/** Returns the name that the service itself uses: clients escape characters in different ways. */
export function canonicalName (service: string, name: string): string {
  const managed = managedBy(service, name)
  return managed?.kind === 'attachments' ? attachmentsOf(service, managed.target, managed.item) : name
}

/** Returns the node bound to the rules of its target, if the service manages it. */
export function bound (service: string, node: Node, find: (name: string) => Node | undefined): Node {
  const managed = managedBy(service, node.name)
  if (managed === undefined || !('target' in managed)) return node
  return { ...node, target: () => find(managed.target) }
}
