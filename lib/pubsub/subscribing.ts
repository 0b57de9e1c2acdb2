/** Subscriptions as their subscribers see them (XEP-0060 §6.1 to §6.4). */
import { attributeOf, has, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { formatDateTime, parseDateTime } from '../xmpp/datetime.js'
import { StanzaError } from '../xmpp/errors.js'
import { DataForm, field, formIn } from '../xmpp/form.js'
import { JidError, parseJid } from '../xmpp/jid.js'
import { affiliationOf, subscribing, type Asker } from './access.js'
import { pubsubError } from './errors.js'
import { isManaged } from './managed-names.js'
import {
  isCurrent, ROOT, SUBSCRIPTION_KINDS, subscriptionsOf, type Node, type Subscription, type SubscriptionKind,
} from './node.js'
import type { SubscriptionState, Work } from './work.js'

const DELIVER = field.flag('pubsub#deliver', { label: 'Send notifications' })
const EXPIRE = field.text('pubsub#expire', { label: 'When the subscription ends' })
const KIND = field.choice('pubsub#subscription_type', SUBSCRIPTION_KINDS, { label: 'Whether to notify of items, of nodes or of both' })
const DEPTH = field.text('pubsub#subscription_depth', { label: 'How many levels of nodes below the collection, or all' })
const FORM = new DataForm(NS.PUBSUB_SUBSCRIBE_OPTIONS, [DELIVER, EXPIRE])
const COLLECTION_FORM = new DataForm(NS.PUBSUB_SUBSCRIBE_OPTIONS, [DELIVER, EXPIRE, KIND, DEPTH])

/** The most addresses of one account that are subscribed to a node: one account must not fill the node's room. */
const MOST_OF_ONE = 20

/** The options that a subscriber can choose. */
type Options = Pick<Subscription, 'deliver' | 'expires' | 'device' | 'kind' | 'depth'>
/** The options of a subscription that chooses nothing (§6.4). */
export const DEFAULT_OPTIONS: Options = { deliver: true }

/** Returns what a subscriber to a collection is told of, and how deep (XEP-0248 §6.1). */
export function scopeOf ({ kind, depth }: Options): { readonly kind: SubscriptionKind, readonly depth: number } {
  return { kind: kind ?? 'nodes', depth: depth === 'all' ? Infinity : depth ?? 1 }
}

/** Returns the form of the options of a subscription to a node; without a node, to a leaf. */
export function optionsForm (options: Options, type: 'form' | 'result', node?: Node): Element {
  const { deliver, expires, depth = 1 } = options
  const end = expires === 'presence' || expires === undefined ? expires : formatDateTime(expires)
  const isCollection = node?.config.nodeType === 'collection'
  const filled = [
    DELIVER.is(deliver),
    ...end === undefined ? [] : [EXPIRE.is(end)],
    ...isCollection ? [KIND.is(scopeOf(options).kind), DEPTH.is(String(depth))] : [],
  ]
  const form = isCollection ? COLLECTION_FORM : FORM
  return type === 'form' ? form.form(filled) : form.result(filled)
}

/** Reads options for a subscription to a node; what the form does not name stays. Throws invalid-options (§6.3.6.2). */
function readOptions (work: Work, { config }: Node, old: Options, form: Element): Options {
  try {
    const isCollection = config.nodeType === 'collection'
    const answers = (isCollection ? COLLECTION_FORM : FORM).read(form)
    const end = answers.get(EXPIRE)
    const [kind, depth] = isCollection ? [answers.get(KIND), depthIn(answers.get(DEPTH))] : []
    const { expires, device, ...others } = old
    return {
      ...end === undefined ? old : { ...others, ...endIn(work, end) },
      deliver: answers.get(DELIVER) ?? old.deliver,
      ...kind === undefined ? {} : { kind },
      ...depth === undefined ? {} : { depth },
    }
  } catch (error) {
    if (error instanceof StanzaError) throw pubsubError('bad-request', 'invalid-options')
    throw error
  }
}

/** Returns when a subscription ends. */
function endIn ({ asker: { jid, now }, place }: Work, text: string): Pick<Subscription, 'expires' | 'device'> {
  if (text === '') return {}
  if (text === 'presence') { // §12.5
    // A device that has not sent its presence would never end the subscription.
    if (jid.resource === '' || place.hearsOf?.(jid) !== true) throw new StanzaError('not-acceptable')
    return { expires: text, device: jid.toString() }
  }
  const end = parseDateTime(text)
  if (end <= now) throw new StanzaError('not-acceptable')
  return { expires: end }
}

function depthIn (text: string | undefined): number | 'all' | undefined {
  if (text === undefined || text === 'all') return text
  if (!/^\d{1,9}$/.test(text)) throw new StanzaError('not-acceptable')
  return Number(text)
}

/** Returns `<subscription/>` as a reply or a notification has it. */
export function subscriptionElement (node: string | undefined, { jid, state, subid }: SubscriptionState): Element {
  return xml('subscription', { node, jid, subscription: state, subid })
}

/** Subscribes an address (§6.1). Returns the reply's content. Throws StanzaError. */
export function subscribe (
  work: Work, name: string, request: Element, options: Element | undefined,
): readonly Element[] {
  const { asker } = work
  const jid = ownAddress(attributeOf(request, 'jid'), asker, () => pubsubError('bad-request', 'invalid-jid'))
  const node = work.node(name)
  const own = subscriptionsOf(node, jid, asker.now)
  if (own.some(({ state }) => state === 'pending')) throw pubsubError('not-authorized', 'pending-subscription')
  const state = subscribing(node, asker)
  const chosen = options === undefined ? DEFAULT_OPTIONS : readOptions(work, node, DEFAULT_OPTIONS, options)
  const known = options === undefined ? own[0] : own.find(one => isAlike(one, chosen))
  if (known === undefined) checkOthers(node, own, chosen)
  const others = node.subscriptions.filter(one => one !== known && isCurrent(one, asker.now))
  const begun = known ?? { ...newSubscription(work, others, jid), state }
  const isPublic = isShown(name, request)
  const whole: Subscription = options === undefined ? { deliver: true, ...begun } : { ...begun, ...chosen }
  const { isPublic: wasPublic = false, ...rest } = whole
  const subscription: Subscription = isPublic ? { ...rest, isPublic } : rest
  if (known === undefined || options !== undefined || isPublic !== wasPublic) {
    if (known === undefined) checkRoom(work, others)
    const next = { ...node, subscriptions: [...others, subscription] }
    work.put(next)
    if (known === undefined) announce(work, next, subscription)
  }
  return [
    subscriptionElement(name, subscription),
    ...options === undefined ? [] : [xml('options', {}, optionsForm(subscription, 'result', node))],
  ]
}

/**
 * True if a subscription is public: only as long as the last request for it said so (XEP-0465 §4.1, §4.3). The root and
 * the nodes that the service manages have no lists of their subscribers.
 */
function isShown (name: string, request: Element): boolean {
  return name !== ROOT && !isManaged(name) && has(request, NS.PUBLIC_SUBSCRIPTIONS, 'public')
}

/** Returns what a new subscription of an address begins with, beside these others (§6.1.6). */
export function newSubscription (
  { ids }: Work, others: readonly Subscription[], jid: string,
): Pick<Subscription, 'jid' | 'subid' | 'beside'> {
  const hasOne = others.some(one => one.jid === jid && one.beside !== true)
  return { jid, subid: ids.next(), ...hasOne ? { beside: true } : {} }
}

/**
 * True if two subscriptions of one address differ in nothing but the time of their ends: asking for the other one
 * renews the first one. A client that subscribes again and again must not have more and more subscriptions.
 */
function isAlike (one: Options, other: Options): boolean {
  const [a, b] = [scopeOf(one), scopeOf(other)]
  return one.deliver === other.deliver && one.device === other.device && typeof one.expires === typeof other.expires &&
    a.kind === b.kind && a.depth === b.depth
}

/** XEP-0248 §6.1.3: two subscriptions of an address to a collection are of different types. */
function checkOthers ({ config }: Node, own: readonly Options[], chosen: Options): void {
  if (config.nodeType === 'leaf') return
  const { kind } = scopeOf(chosen)
  const overlaps = own.some(one => {
    const other = scopeOf(one).kind
    return other === kind || other === 'all' || kind === 'all'
  })
  if (overlaps) throw new StanzaError('conflict')
}

/** Throws StanzaError if there is no room for one more subscription. */
function checkRoom ({ asker, place: { limits } }: Work, others: readonly Subscription[]): void {
  if (others.length >= limits.subscriptions || countOf(others, asker) >= MOST_OF_ONE) {
    throw pubsubError('policy-violation', 'too-many-subscriptions', { type: 'wait' })
  }
}

/** Returns the number of subscriptions of the asker's account. */
function countOf (subscriptions: readonly Subscription[], { jid }: Asker): number {
  const bare = jid.bare.toString()
  return subscriptions.filter(one => one.jid === bare || one.jid.startsWith(`${bare}/`)).length
}

function announce (work: Work, node: Node, subscription: Subscription): void {
  if (subscription.state === 'pending') {
    work.events.push({ what: 'request', node, subscription })
    return
  }
  work.tell(node, subscription, true)
  // §6.1.7
  if (node.config.sendLast !== 'never') work.events.push({ what: 'last', node, to: subscription.jid })
}

/** Ends a subscription (§6.2). Throws StanzaError. */
export function unsubscribe (work: Work, name: string, request: Element): readonly Element[] {
  const { asker } = work
  const jid = ownAddress(attributeOf(request, 'jid'), asker, () => new StanzaError('forbidden'))
  const node = work.node(name)
  const known = found(node, jid, request, asker)
  work.put({ ...node, subscriptions: node.subscriptions.filter(one => one !== known) })
  const state = { jid, subid: known.subid, state: 'none' as const }
  work.tell(node, state, true)
  return [subscriptionElement(name, state)]
}

/** Changes the options of a subscription (§6.3). Throws StanzaError. */
export function setOptions (work: Work, name: string, request: Element): void {
  const { asker } = work
  const node = work.node(name)
  const known = optionsOf(node, request, asker)
  const form = formIn(request)
  if (form === undefined) throw pubsubError('bad-request', 'invalid-options')
  if (attributeOf(form, 'type') === 'cancel') return
  const { jid, state, subid, beside, ...old } = known
  const chosen = readOptions(work, node, old, form)
  checkOthers(node, subscriptionsOf(node, jid, asker.now).filter(one => one !== known), chosen)
  const next = { jid, state, subid, ...beside === undefined ? {} : { beside }, ...chosen }
  work.put({ ...node, subscriptions: node.subscriptions.map(one => one === known ? next : one) })
}

/** Returns the subscription whose options are requested (§6.3.4). Throws StanzaError. */
export function optionsOf (node: Node, request: Element, asker: Asker): Subscription {
  const text = attributeOf(request, 'jid')
  if (text === undefined) throw pubsubError('bad-request', 'jid-required')
  const isOwner = affiliationOf(node, asker) === 'owner'
  const jid = isOwner ? text : ownAddress(text, asker, () => new StanzaError('forbidden'))
  return found(node, jid, request, asker)
}

function found (node: Node, jid: string, request: Element, { now }: Asker): Subscription {
  const own = subscriptionsOf(node, jid, now)
  const subid = attributeOf(request, 'subid')
  const [first, second] = own
  if (first === undefined) throw pubsubError('unexpected-request', 'not-subscribed', { type: 'cancel' })
  if (subid === undefined && second !== undefined) throw pubsubError('bad-request', 'subid-required')
  const known = subid === undefined ? first : own.find(one => one.subid === subid)
  if (known === undefined) throw pubsubError('not-acceptable', 'invalid-subid')
  return known
}

/** Returns an address of the asker as text. Throws `refusal` for that of somebody else, and if it is none. */
function ownAddress (text: string | undefined, { jid }: Asker, refusal: () => StanzaError): string {
  try {
    const named = text === undefined ? undefined : parseJid(text)
    if (named?.bare.equals(jid.bare) === true) return named.toString()
  } catch (error) {
    if (!(error instanceof JidError)) throw error
  }
  throw refusal()
}
