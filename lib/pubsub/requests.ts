/** The parts of a request: what it asks for, of which node, and the form that comes with it. */
import { attributeOf, child, childElements, children, localName, namespaceOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'
import { formIn } from '../xmpp/form.js'
import { mayRead } from './access.js'
import { pubsubError } from './errors.js'
import { ROOT } from './node.js'
import { create } from './owning.js'
import { newItem, publish, retract } from './publishing.js'
import { setOptions, subscribe, unsubscribe } from './subscribing.js'
import { knows, type PubSubPlace, type Work } from './work.js'

/** The requests with which owners change something. */
export const OWNER_SETS = ['configure', 'delete', 'purge', 'subscriptions', 'affiliations', 'collection']

/** The requests that are followed by a form for them. */
export const FOLLOWED: ReadonlySet<string> = new Set(['create', 'subscribe'])

/** Returns the child that says what is requested. Throws StanzaError if there is none, or more than one. */
export function theOne (pubsub: Element, namespace: string, known: readonly string[]): Element {
  const found = childElements(pubsub).filter(one => namespaceOf(one) === namespace && known.includes(localName(one)))
  // <options/> also follows <subscribe/> (§6.3.7).
  const [first, second] = found.length > 1 ? found.filter(one => localName(one) !== 'options') : found
  if (first === undefined) throw new StanzaError('feature-not-implemented')
  if (second !== undefined) throw new StanzaError('bad-request')
  return first
}

/** Returns the form in the element that follows a request (§7.1.5, §8.1.3). Throws bad-request. */
function formOf (pubsub: Element, name: string): Element | undefined {
  const element = child(pubsub, NS.PUBSUB, name)
  if (element === undefined) return undefined
  if (attributeOf(element, 'node') !== undefined) throw new StanzaError('bad-request') // §8.1.3
  const form = formIn(element)
  if (form === undefined && name === 'publish-options') throw new StanzaError('bad-request', 'the form is missing')
  return form
}

/** Returns the name of the node. Throws nodeid-required. */
export function nodeName (request: Element): string {
  const name = attributeOf(request, 'node')
  if (name === undefined || name === '') throw pubsubError('bad-request', 'nodeid-required')
  return name
}

/** True if a request is for the root collection: it names no other node, and the service has a root. */
export function isForRoot ({ collections }: PubSubPlace, request: Element): boolean {
  return collections === true && (attributeOf(request, 'node') ?? ROOT) === ROOT
}

/** Returns the name of the node of a subscription, which may be the root. Throws nodeid-required. */
export function subscribedNode (place: PubSubPlace, request: Element): string {
  return isForRoot(place, request) ? ROOT : nodeName(request)
}

/** Does what a request of type set in `<pubsub/>` asks for. Returns the reply's content. Rejects with StanzaError. */
export async function applyRequest (work: Work, request: Element, pubsub: Element): Promise<readonly Element[]> {
  const { place } = work
  switch (localName(request)) {
    case 'create': return create(work, attributeOf(request, 'node'), formOf(pubsub, 'configure'))
    case 'publish': return await publishItems(work, request, formOf(pubsub, 'publish-options'))
    case 'retract': return await retractItems(work, request)
    case 'subscribe': return subscribeTo(work, request, pubsub)
    case 'unsubscribe': return unsubscribe(work, subscribedNode(place, request), request)
    default:
      setOptions(work, subscribedNode(place, request), request)
      return []
  }
}

function subscribeTo (work: Work, request: Element, pubsub: Element): readonly Element[] {
  const options = child(pubsub, NS.PUBSUB, 'options')
  // §6.3.7
  if (options !== undefined && (attributeOf(options, 'node') ?? attributeOf(options, 'jid')) !== undefined) {
    throw new StanzaError('bad-request')
  }
  // A stranger must not learn that a node waits for subscribers.
  const name = subscribedNode(work.place, request)
  const node = work.change.node(name)
  if (node?.config.accessModel === 'authorize' && !knows(work.place, work.asker) && !mayRead(node, work.asker)) {
    throw new StanzaError('service-unavailable')
  }
  return subscribe(work, name, request, options === undefined ? undefined : formIn(options))
}

/** Publishes the items of a request (§7.1). Returns the content of the reply. Throws StanzaError. */
async function publishItems (
  work: Work, request: Element, options: Element | undefined,
): Promise<readonly Element[]> {
  const items = children(request, NS.PUBSUB, 'item').map(newItem)
  const node = nodeName(request)
  const ids = await publish(work, { node, items, options })
  return [xml('publish', { node }, ...ids.map(id => xml('item', { id })))]
}

/** Removes the items of a request (§7.2). Throws StanzaError. */
async function retractItems (work: Work, request: Element): Promise<readonly Element[]> {
  const node = nodeName(request)
  const ids = children(request, NS.PUBSUB, 'item').map(item => attributeOf(item, 'id') ?? '')
  if (ids.length === 0 || ids.includes('')) throw pubsubError('bad-request', 'item-required')
  const notify = attributeOf(request, 'notify')
  await retract(work, { node, ids, notify: notify === undefined ? undefined : notify === 'true' || notify === '1' })
  return []
}
