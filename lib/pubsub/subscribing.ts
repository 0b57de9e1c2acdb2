/** Subscriptions as their subscribers see them (XEP-0060 §6.1 to §6.4). */
import { attributeOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { formatDateTime, parseDateTime } from '../xmpp/datetime.js'
import { StanzaError } from '../xmpp/errors.js'
import { DataForm, field, formIn } from '../xmpp/form.js'
import { JidError, parseJid } from '../xmpp/jid.js'
import { affiliationOf, subscribing, type Asker } from './access.js'
import { pubsubError } from './errors.js'
import { isCurrent, subscriptionOf, type Node, type Subscription } from './node.js'
import type { SubscriptionState, Work } from './work.js'

const DELIVER = field.flag('pubsub#deliver', { label: 'Send notifications' })
const EXPIRE = field.text('pubsub#expire', { label: 'When the subscription ends' })
const FORM = new DataForm(NS.PUBSUB_SUBSCRIBE_OPTIONS, [DELIVER, EXPIRE])

/** The most addresses of one account that are subscribed to a node: one account must not fill the node's room. */
const MOST_OF_ONE = 20

/** The options that a subscriber can choose. */
type Options = Pick<Subscription, 'deliver' | 'expires'>
/** The options of a subscription that chooses nothing (§6.4). */
export const DEFAULT_OPTIONS: Options = { deliver: true }

/** Returns the form of a subscription's options. */
export function optionsForm (options: Options, type: 'form' | 'result'): Element {
  const filled = [
    DELIVER.is(options.deliver),
    ...options.expires === undefined ? [] : [EXPIRE.is(formatDateTime(options.expires))],
  ]
  return type === 'form' ? FORM.form(filled) : FORM.result(filled)
}

/** Reads options; what the form does not name stays. Throws invalid-options (§6.3.6.2). */
function readOptions (old: Options, form: Element, now: number): Options {
  try {
    const answers = FORM.read(form)
    const expires = answers.get(EXPIRE)
    const deliver = answers.get(DELIVER) ?? old.deliver
    if (expires === undefined) return { ...old, deliver }
    if (expires === '') return { deliver }
    const end = parseDateTime(expires)
    if (end <= now) throw pubsubError('bad-request', 'invalid-options')
    return { deliver, expires: end }
  } catch (error) {
    if (error instanceof StanzaError) throw pubsubError('bad-request', 'invalid-options')
    throw error
  }
}

/** Returns `<subscription/>` as a reply or a notification has it. */
export function subscriptionElement (node: string | undefined, { jid, state, subid }: SubscriptionState): Element {
  return xml('subscription', { node, jid, subscription: state, subid })
}

/** Subscribes an address (§6.1). Returns the reply's content. Throws StanzaError. */
export function subscribe (
  work: Work, name: string, request: Element, options: Element | undefined,
): readonly Element[] {
  const { asker, ids, place: { limits } } = work
  const jid = ownAddress(attributeOf(request, 'jid'), asker, () => pubsubError('bad-request', 'invalid-jid'))
  const node = work.node(name)
  const known = subscriptionOf(node, jid, asker.now)
  if (known?.state === 'pending') throw pubsubError('not-authorized', 'pending-subscription')
  const state = subscribing(node, asker)
  const chosen = options === undefined ? undefined : readOptions(known ?? DEFAULT_OPTIONS, options, asker.now)
  // §6.1.6: without several subscriptions of one address, the state is returned as if it was just approved.
  const subscription: Subscription = { ...known ?? { jid, state, subid: ids.next(), ...DEFAULT_OPTIONS }, ...chosen }
  const others = node.subscriptions.filter(one => one.jid !== jid && isCurrent(one, asker.now))
  if (known === undefined && (others.length >= limits.subscriptions || countOf(others, asker) >= MOST_OF_ONE)) {
    throw pubsubError('policy-violation', 'too-many-subscriptions', { type: 'wait' })
  }
  if (known === undefined || chosen !== undefined) {
    const next = { ...node, subscriptions: [...others, subscription] }
    work.put(next)
    if (known === undefined) announce(work, next, subscription)
  }
  return [
    subscriptionElement(name, subscription),
    ...chosen === undefined ? [] : [xml('options', {}, optionsForm(subscription, 'result'))],
  ]
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
  const { jid, state, subid } = known
  const next = { jid, state, subid, ...readOptions(known, form, asker.now) }
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
  const known = subscriptionOf(node, jid, now)
  if (known === undefined) throw pubsubError('unexpected-request', 'not-subscribed', { type: 'cancel' })
  const subid = attributeOf(request, 'subid')
  if (subid !== undefined && subid !== known.subid) throw pubsubError('not-acceptable', 'invalid-subid')
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
