/** Requests of owners: to make, configure and delete nodes, and to manage those who use them (XEP-0060 §8). */
import type { Maybe } from '../base/maybe.js'
import { attributeOf, childElements, children, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'
import { formIn } from '../xmpp/form.js'
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'
import { affiliationOf, mayRead, mustOwn } from './access.js'
import { arrange, checkType, scatter } from './collections.js'
import { keepsItems, type NodeConfig } from './config.js'
import {
  isAffiliation, isCurrent, subscriptionChanges, type Affiliation, type Node, type Subscription,
} from './node.js'
import { bareOf } from './people.js'
import { newSubscription } from './subscribing.js'
import { ownersOf, type Work } from './work.js'

/** Makes a node (§8.1). Without a name it gets one. Returns the reply's content. Throws StanzaError. */
export function create (work: Work, name: string | undefined, form: Element | undefined): readonly Element[] {
  const { place, asker, change, ids } = work
  if (!place.mayCreate(asker)) throw new StanzaError('forbidden')
  if (name !== undefined && change.node(name) !== undefined) throw new StanzaError('conflict')
  const isBlank = form === undefined || attributeOf(form, 'type') === 'cancel'
  const chosen = name ?? ids.next()
  const defaults = place.defaultsOf(chosen)
  const node = work.create(chosen, isBlank ? defaults : place.form.read(defaults, form))
  arrange(work, undefined, node, isBlank ? undefined : place.form.children(form))
  return name === undefined ? [xml('create', { node: node.name })] : []
}

/** Changes the configuration (§8.2.4). Throws StanzaError. */
export async function configure (work: Work, name: string, request: Element): Promise<void> {
  const { place, asker, events } = work
  const node = work.node(name)
  mustOwn(node, asker)
  const form = formIn(request)
  if (form === undefined) throw new StanzaError('bad-request', 'the form is missing')
  if (attributeOf(form, 'type') === 'cancel') return
  const config = place.form.read(node.config, form)
  checkType(node.config, config)
  const next = await withoutLost(work, { ...node, config })
  work.put(next)
  arrange(work, node, next, place.form.children(form))
  await fitItems(work, next, config)
  events.push({ what: 'configuration', node: next })
}

/** Removes the items for which the new configuration has no room. */
async function fitItems (
  { change, place: { limits } }: Work, node: Node, config: NodeConfig,
): Promise<void> {
  if (!keepsItems(config)) {
    change.clear(node)
    return
  }
  const most = config.maxItems === 'max' ? limits.itemsPerNode : config.maxItems
  const over = (await change.size(node)).items - most
  if (over > 0) await change.drop(node, await change.oldest(node, over))
}

/** Deletes a node with its items (§8.4). Throws StanzaError. */
export function remove (work: Work, name: string, redirect: string | undefined): void {
  const node = work.node(name)
  mustOwn(node, work.asker)
  work.change.remove(node)
  work.events.push({ what: 'delete', node, redirect })
  scatter(work, node)
}

// ---- Affiliations (§8.9) -------------------------------------------------------------------------------------

/** Returns the affiliations of a node. */
export function affiliations (node: Node): Element {
  return xml('affiliations', { node: node.name },
    ...[...node.affiliations].map(([jid, affiliation]) => xml('affiliation', { jid, affiliation })))
}

/** Sets affiliations, all or none. Throws StanzaError. */
export async function affiliate (work: Work, name: string, request: Element): Promise<void> {
  const node = work.node(name)
  mustOwn(node, work.asker)
  await returning(request, entry => xml('affiliation', {
    jid: attributeOf(entry, 'jid'),
    affiliation: node.affiliations.get(bareIn(entry)) ?? 'none',
  }), async () => {
    const next = affiliated(work, node, request)
    work.put(await withoutLost(work, next))
  })
}

/** Returns the node with the affiliations that are requested. Throws StanzaError. */
function affiliated (work: Work, node: Node, request: Element): Node {
  const wanted = new Map<string, Affiliation>()
  for (const element of children(request, NS.PUBSUB_OWNER, 'affiliation')) {
    const jid = addressIn(element).bare
    const affiliation = attributeOf(element, 'affiliation')
    if (affiliation === undefined) continue // §8.9.2.1: it is not changed
    if (!isAffiliation(affiliation) || wanted.has(jid.toString())) throw new StanzaError('bad-request')
    if (jid.equals(work.service) && affiliation !== 'owner') throw new StanzaError('not-acceptable')
    wanted.set(jid.toString(), affiliation)
  }
  const all = new Map([...node.affiliations, ...wanted])
  for (const [jid, affiliation] of all) if (affiliation === 'none') all.delete(jid)
  const next = { ...node, affiliations: all }
  if (ownersOf(next).length === 0) throw new StanzaError('not-acceptable', 'a node has an owner')
  if (all.size > work.place.limits.affiliations) throw new StanzaError('resource-constraint', undefined, { type: 'cancel' })
  return approved(work, next, wanted)
}

/**
 * Runs a change of several entries, all or none. An error returns each entry as it is and stays (§8.8.2.4, §8.9.2.4):
 * what is not returned would count as changed.
 */
async function returning (
  request: Element, stayed: (entry: Element) => Element, run: () => Maybe<void>,
): Promise<void> {
  try {
    await run()
  } catch (error) {
    if (!(error instanceof StanzaError) || error.condition === 'resource-constraint') throw error
    const { condition, type, text, plus } = error
    const list = xml(request.name, { node: attributeOf(request, 'node') }, ...childElements(request).map(stayed))
    const returned = xml('pubsub', { xmlns: NS.PUBSUB_OWNER }, list)
    throw new StanzaError(condition, text, { type, returned, ...plus === undefined ? {} : { plus } })
  }
}

/** Returns the bare address of an entry; the text as it is if that is none. */
function bareIn (entry: Element): string {
  try {
    return addressIn(entry).bare.toString()
  } catch (error) {
    if (error instanceof StanzaError) return attributeOf(entry, 'jid') ?? ''
    throw error
  }
}

/** §8.7.4: those who become owners, publishers or members need no approval any more. */
function approved (work: Work, node: Node, wanted: ReadonlyMap<string, Affiliation>): Node {
  const subscriptions = node.subscriptions.map(one => {
    const affiliation = wanted.get(parseJid(one.jid).bare.toString())
    const isApproved = one.state === 'pending' && affiliation !== undefined && APPROVED.has(affiliation)
    if (!isApproved) return one
    const next = { ...one, state: 'subscribed' as const }
    work.tell(node, next)
    return next
  })
  return { ...node, subscriptions }
}

const APPROVED: ReadonlySet<Affiliation> = new Set(['owner', 'publisher', 'member'])

/** Returns the node without the subscriptions of those who may not read it any more; they are told (XEP-0163 §7.1). */
export async function withoutLost (work: Work, node: Node): Promise<Node> {
  const { place, service, asker: { now } } = work
  const kept: Subscription[] = []
  for (const one of node.subscriptions) {
    if (!isCurrent(one, now)) continue
    const jid = parseJid(one.jid)
    const other = { jid, standing: await place.standing(service, jid), now }
    const waits = one.state === 'pending' && node.config.accessModel === 'authorize' &&
      affiliationOf(node, other) === 'none'
    if (waits || mayRead(node, other)) kept.push(one)
    else work.tell(node, { jid: one.jid, subid: one.subid, state: 'none' })
  }
  return kept.length === node.subscriptions.length ? node : { ...node, subscriptions: kept }
}

// ---- Subscriptions (§8.8) ------------------------------------------------------------------------------------

/** Returns the subscriptions of a node, without those that wait for approval. */
export function subscriptions (node: Node, now: number): Element {
  const current = node.subscriptions.filter(one => one.state === 'subscribed' && isCurrent(one, now))
  return xml('subscriptions', { node: node.name },
    ...current.map(({ jid, state, subid }) => xml('subscription', { jid, subscription: state, subid })))
}

/**
 * Sets the states of subscriptions, all or none. Nobody is subscribed who neither asked for it nor has an affiliation:
 * a node must not be used to send messages to strangers. Throws StanzaError.
 */
export async function setSubscriptions (work: Work, name: string, request: Element): Promise<void> {
  const node = work.node(name)
  mustOwn(node, work.asker)
  const before = byAddress(node.subscriptions)
  await returning(request, entry => {
    const [jid, subid] = [attributeOf(entry, 'jid') ?? '', attributeOf(entry, 'subid')]
    const known = before.get(jid)?.find(one => subid === undefined || one.subid === subid)
    return xml('subscription', { jid, subscription: known?.state ?? 'none', subid: known?.subid })
  }, () => {
    // A request may name thousands among thousands.
    const all = new Map(before)
    let count = node.subscriptions.length
    for (const element of children(request, NS.PUBSUB_OWNER, 'subscription')) {
      const state = attributeOf(element, 'subscription')
      if (state === undefined) continue
      if (state !== 'none' && state !== 'subscribed' && state !== 'pending') throw new StanzaError('not-acceptable')
      const wanted: Wanted = { jid: addressIn(element), state, subid: attributeOf(element, 'subid') }
      const jid = wanted.jid.toString()
      const own = all.get(jid) ?? []
      const next = withState(work, node, { own, count }, wanted)
      count += next.length - own.length
      all.set(jid, next)
    }
    putStates(work, node, [...all.values()].flat())
  })
}

/** Stores these subscriptions of a node, and tells those whose states have changed. */
function putStates (work: Work, node: Node, subscriptions: readonly Subscription[]): void {
  const next = { ...node, subscriptions }
  work.put(next)
  const { gone, come } = subscriptionChanges(node.subscriptions, subscriptions)
  const names = new Set(come.map(nameOf))
  for (const one of gone) if (!names.has(nameOf(one))) work.tell(next, { jid: one.jid, subid: one.subid, state: 'none' })
  for (const one of come) {
    work.tell(next, one)
    const getsLast = one.state === 'subscribed' && node.config.sendLast !== 'never'
    if (getsLast) work.events.push({ what: 'last', node: next, to: one.jid })
  }
}

function nameOf ({ jid, subid }: Subscription): string { return `${jid}\n${subid}` }

/** Returns the subscriptions by their addresses. */
function byAddress (subscriptions: readonly Subscription[]): ReadonlyMap<string, readonly Subscription[]> {
  const all = new Map<string, Subscription[]>()
  for (const one of subscriptions) {
    const own = all.get(one.jid)
    if (own === undefined) all.set(one.jid, [one])
    else own.push(one)
  }
  return all
}

/** A state that a subscription of an address is to have: the one with this id, or without an id each. */
interface Wanted { readonly jid: Jid, readonly state: 'none' | 'subscribed' | 'pending', readonly subid: string | undefined }

/** The subscriptions of one address to a node, and the number of all. */
interface Standing { readonly own: readonly Subscription[], readonly count: number }

/** Returns the subscriptions of an address, of which one has another state. Throws not-acceptable if that cannot be. */
function withState (
  work: Work, node: Node, { own, count }: Standing, { jid, state, subid }: Wanted,
): readonly Subscription[] {
  const known = own.filter(one => subid === undefined || one.subid === subid)
  if (state === 'none') {
    if (known.length === 0) throw new StanzaError('not-acceptable', 'there is no such subscription')
    return own.filter(one => !known.includes(one))
  }
  const [old] = known.filter(one => one.state !== state)
  if (old === undefined && known.length > 0) return own
  const affiliation = node.affiliations.get(jid.bare.toString())
  const isKnown = old !== undefined || affiliation !== undefined && APPROVED.has(affiliation)
  if (!isKnown || old === undefined && count >= work.place.limits.subscriptions) throw new StanzaError('not-acceptable')
  const others = own.filter(one => one !== old)
  const next: Subscription = { ...old ?? { ...newSubscription(work, others, jid.toString()), deliver: true }, state }
  return [...others, next]
}

/** Answers a request for a subscription (§8.6). Does nothing if it does not wait any more, or the asker is no owner. */
export function approve (work: Work, name: string, jid: Jid, isAllowed: boolean): void {
  const node = work.change.node(name)
  const known = node?.subscriptions.find(one => one.jid === jid.toString() && one.state === 'pending')
  if (node === undefined || known === undefined || affiliationOf(node, work.asker) !== 'owner') return
  const state = isAllowed ? 'subscribed' : 'none'
  const own = node.subscriptions.filter(one => one.jid === known.jid)
  const next = withState(work, node, { own, count: node.subscriptions.length }, { jid, state, subid: known.subid })
  putStates(work, node, [...node.subscriptions.filter(one => one.jid !== known.jid), ...next])
}

function addressIn (element: Element): Jid {
  try {
    return parseJid(attributeOf(element, 'jid') ?? '')
  } catch (error) {
    if (error instanceof JidError) throw new StanzaError('bad-request', 'an address is missing or malformed')
    throw error
  }
}

/** Removes the subscriptions of an account that may not read the nodes any more (XEP-0163 §7.1). */
export function cancelLost (work: Work, account: Jid): Maybe<void> {
  const bare = account.bare.toString()
  const concerned = [...work.change.nodes()].filter(node =>
    node.subscriptions.some(({ jid }) => jid === bare || jid.startsWith(`${bare}/`)))
  return concerned.length === 0 ? undefined : cancelEach(work, concerned)
}

async function cancelEach (work: Work, nodes: readonly Node[]): Promise<void> {
  for (const node of nodes) {
    const next = await withoutLost(work, node)
    if (next !== node) work.put(next)
  }
}

/**
 * Removes the affiliations and subscriptions of an account that will not exist any more, and its right to put nodes
 * into collections. An outcast stays one: nobody
 * gets rid of that by a new account of the same name.
 */
export function removePerson (work: Work, account: Jid): void {
  const bare = account.bare.toString()
  for (const node of [...work.change.nodes()]) {
    const lost = new Set(node.subscriptions.filter(({ jid }) => bareOf(jid) === bare))
    const affiliations = new Map(node.affiliations)
    if (affiliations.get(bare) !== 'outcast') affiliations.delete(bare)
    const isListed = node.config.associationWhitelist.includes(bare)
    if (lost.size === 0 && affiliations.size === node.affiliations.size && !isListed) continue
    const associationWhitelist = node.config.associationWhitelist.filter(address => address !== bare)
    const config = isListed ? { ...node.config, associationWhitelist } : node.config
    const next = { ...node, config, affiliations, subscriptions: node.subscriptions.filter(one => !lost.has(one)) }
    work.put(next)
    for (const { jid, subid } of lost) work.tell(next, { jid, subid, state: 'none' }, true)
  }
}
