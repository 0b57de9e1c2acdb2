/** Nodes that the service itself makes beside others, and who may ask for what there (XEP-0465, XEP-0470). */
import { attributeOf, childElements, children, localName, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'
import { mustOwn, refusalToRead, rulesOf, type Asker } from './access.js'
import { attach, clearAttachments, detach } from './attachments.js'
import type { NodeConfig } from './config.js'
import { canonicalName, managedBy, type Managed } from './managed-names.js'
import { withManaged } from './managed-nodes.js'
import type { Node } from './node.js'
import { hasEnded } from './public-subscribers.js'
import { visible, type PubSubPlace, type Work } from './work.js'

type Reply = readonly Element[]

/** Returns a request with the name of its node as the service itself writes it. */
export function withCanonicalNode (service: string, pubsub: Element): Element {
  const isOther = (one: Element): boolean => {
    const name = attributeOf(one, 'node')
    return name !== undefined && canonicalName(service, name) !== name
  }
  if (!childElements(pubsub).some(isOther)) return pubsub
  return xml(pubsub.name, pubsub.attrs, ...childElements(pubsub).map(one => isOther(one)
    ? xml(one.name, { ...one.attrs, node: canonicalName(service, attributeOf(one, 'node') ?? '') }, ...one.children)
    : one))
}

/** Returns the node as others see it: with the rules and the affiliations of its target, if the service manages it. */
export function shown (node: Node): Node {
  const rules = rulesOf(node)
  if (rules === node) return node
  const { accessModel, rosterGroups, publishModel } = rules.config
  const config: NodeConfig = { ...node.config, accessModel, rosterGroups, publishModel }
  return { ...node, config, affiliations: rules.affiliations }
}

/** Returns the node whose public subscribers a node lists, if some have ended by time and may be listed still. */
export function endedList (
  nodes: ReadonlyMap<string, Node>, service: string, name: string, now: number,
): string | undefined {
  const managed = managedBy(service, name)
  const target = managed?.kind === 'subscribers' ? nodes.get(managed.target) : undefined
  return target !== undefined && hasEnded(target, now) ? target.name : undefined
}

/** Where something is looked for, and who asks. */
interface Search {
  readonly place: PubSubPlace
  readonly nodes: ReadonlyMap<string, Node>
  readonly service: string
  readonly asker: Asker
}

/**
 * Answers a request for items of public subscribers while there are none. Undefined if the request is another one.
 * Throws StanzaError if the asker may not read the target.
 */
export function emptyList ({ place, nodes, service, asker }: Search, name: string): Reply | undefined {
  const managed = managedBy(service, name)
  if (managed?.kind !== 'subscribers' || nodes.has(name)) return undefined
  const refusal = refusalToRead(visible(place, nodes.get(managed.target), asker), asker)
  if (refusal !== undefined) throw refusal
  return [xml('items', { node: name })]
}

/**
 * Runs a request to a node that the service manages, and returns the reply's content. Undefined if the request is left
 * to the rules of other nodes. Throws StanzaError.
 */
export async function changeManaged (work: Work, request: Element): Promise<Reply | undefined> {
  const name = attributeOf(request, 'node') ?? ''
  const managed = managedBy(work.service.toString(), name)
  if (managed === undefined) return undefined
  switch (localName(request)) {
    case 'create': throw refusalToMake(managed)
    case 'publish': return [xml('publish', { node: name }, xml('item', { id: await attach(work, name, attaching(managed), request) }))]
    case 'retract':
      await detach(work, name, attaching(managed), children(request, NS.PUBSUB, 'item').map(item => attributeOf(item, 'id') ?? ''))
      return []
    case 'subscribe': {
      // One who may read a node can subscribe to what is beside it before there is anything.
      const isBeside = managed.kind === 'summary' || managed.kind === 'subscribers'
      const target = isBeside ? work.change.node(managed.target) : undefined
      if (target !== undefined && refusalToRead(target, work.asker) === undefined) withManaged(work, name, target)
      return undefined
    }
    default: return undefined
  }
}

/** XEP-0470 §4.4, XEP-0465 §5. */
function refusalToMake ({ kind }: Managed): StanzaError {
  return new StanzaError(kind === 'subscribers' || kind === 'subscriptions' ? 'forbidden' : 'not-allowed')
}

/** Returns the item that attachments belong to. Throws StanzaError for nodes to which nobody may publish. */
function attaching (managed: Managed): Extract<Managed, { readonly kind: 'attachments' }> {
  if (managed.kind === 'attachments') return managed
  throw new StanzaError(managed.kind === 'wrong' ? 'item-not-found' : 'forbidden')
}

/**
 * Runs a request of an owner to a node that the service manages: attachments can be purged and deleted, and
 * subscriptions be set. Returns false if the request is left to the rules of other nodes. Throws StanzaError.
 */
export async function manageManaged (work: Work, name: string, request: Element): Promise<boolean> {
  const managed = managedBy(work.service.toString(), name)
  const what = localName(request)
  if (managed === undefined || what === 'subscriptions') return false
  mustOwn(work.node(name), work.asker)
  if (managed.kind !== 'attachments') throw new StanzaError('forbidden')
  if (what !== 'purge' && what !== 'delete') throw new StanzaError('not-allowed')
  await clearAttachments(work, name, managed, what)
  return true
}
