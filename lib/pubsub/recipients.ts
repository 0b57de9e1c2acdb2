/**
 * Who is told of an event at a node, and why: by subscriptions to the node itself, and to collections above it
 * (XEP-0248 §5.3). An address with several reasons gets one message, which names them (XEP-0131).
 */
import type { Maybe } from '../base/maybe.js'
import { xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { mayRead, maySubscribe, type Asker } from './access.js'
import type { Above } from './graph.js'
import { isCurrent, type Node, type Subscription } from './node.js'
import { scopeOf } from './subscribing.js'
import type { NodeEvent } from './work.js'

/** An event of which subscribers are told. */
export type ToldEvent = Exclude<NodeEvent, { readonly what: 'subscription' | 'request' | 'last' }>

/** A subscription for which an address is told of an event. */
export interface Reason {
  /** The node of the subscription. */
  readonly at: Node
  /** True if that is a collection above the node of the event. */
  readonly isAbove: boolean
  /** The collections between that and the node of the event. */
  readonly between: readonly Node[]
  readonly subscription: Subscription
  /** True if the address has more subscriptions to that node. */
  readonly isOneOfSeveral: boolean
}

/** A node with subscribers, and how many levels the event is below it. */
interface Source extends Omit<Reason, 'subscription' | 'isOneOfSeveral'> { readonly distance: number }

/** The parts of the host that are needed. */
interface Home {
  now (): number
  each<T> (items: readonly T[], work: (item: T) => void): Maybe<void>
}

/** Returns the reasons by address, each source once and each subscription once. */
export async function recipientsOf (
  home: Home, event: ToldEvent, above: readonly Above[],
): Promise<ReadonlyMap<string, readonly Reason[]>> {
  const now = home.now()
  const found = new Map<string, Reason[]>()
  for (const source of sourcesOf(event, above)) {
    const several = severalAt(source.at)
    await home.each(source.at.subscriptions, subscription => {
      if (!isCurrent(subscription, now) || !isWanted(event, source, subscription)) return
      const reason = { ...source, subscription, isOneOfSeveral: several.has(subscription.jid) }
      const known = found.get(subscription.jid)
      if (known === undefined) found.set(subscription.jid, [reason])
      else known.push(reason)
    })
  }
  return found
}

/** Returns the nodes whose subscribers an event concerns. What changes in a collection is one level below it. */
function sourcesOf (event: ToldEvent, above: readonly Above[]): readonly Source[] {
  const level = isOfChild(event) ? 1 : 0
  const own = event.what === 'created' ? [] : [{ at: event.node, isAbove: false, distance: level, between: [] }]
  return [
    ...own,
    ...above.map(({ collection, distance, between }) => (
      { at: collection, isAbove: true, distance: distance + level, between })),
  ].filter(({ at }) => at.subscriptions.length > 0)
}

function isOfChild ({ what }: ToldEvent): boolean { return what === 'associated' || what === 'dissociated' }

/** Returns the addresses with more than one subscription to a node. */
function severalAt ({ subscriptions }: Node): ReadonlySet<string> {
  const beside = subscriptions.filter(one => one.beside === true)
  if (beside.length === 0) return NOBODY
  const named = new Set(beside.map(({ jid }) => jid))
  const counts = new Map<string, number>()
  for (const { jid } of subscriptions) if (named.has(jid)) counts.set(jid, (counts.get(jid) ?? 0) + 1)
  return new Set([...named].filter(jid => (counts.get(jid) ?? 0) > 1))
}

const NOBODY: ReadonlySet<string> = new Set()

function isWanted (event: ToldEvent, { isAbove, distance }: Source, subscription: Subscription): boolean {
  // XEP-0060 §8.4.2: those who wait for an owner are told of the end, too.
  if (subscription.state === 'pending') return event.what === 'delete' && !isAbove
  if (!subscription.deliver) return false
  if (!isAbove && !isOfChild(event)) return true
  const { kind, depth } = scopeOf(subscription)
  return distance <= depth && (kind === 'all' || kind === (isOfItems(event) ? 'items' : 'nodes'))
}

function isOfItems ({ what }: ToldEvent): boolean {
  return what === 'item' || what === 'retract' || what === 'purge' || what === 'signal'
}

/**
 * True if one with this reason may be told. Access to a collection gives none to the nodes in it, and the other way
 * round: the message names both. As for items of a collection, what is in a closed one below it is not seen.
 */
export function mayBeTold (event: ToldEvent, { at, between, subscription }: Reason, asker: Asker): boolean {
  if (subscription.state === 'pending') return maySubscribe(at, asker)
  if (!mayRead(at, asker) || !between.every(collection => mayRead(collection, asker))) return false
  const mayKnow = (node: Node): boolean => at === node || mayRead(node, asker) || maySubscribe(node, asker)
  if (isOfItems(event) || event.what === 'configuration') return mayRead(event.node, asker)
  return mayKnow(event.node) && (!('child' in event) || mayKnow(event.child))
}

/** The headers of a message (XEP-0131): the collections, and the ids of subscriptions, for which it is sent. */
export interface Headers { readonly collections: readonly string[], readonly ids: readonly string[] }

/** Returns the headers for these reasons (XEP-0248 §5.3.1, XEP-0060 §7.1.2.4, §12.16); undefined if there are none. */
export function headersOf ({ what }: ToldEvent, reasons: readonly Reason[]): Headers | undefined {
  const collections = reasons.filter(({ isAbove }) => isAbove).map(({ at }) => at.name)
  const differs = what === 'item' || what === 'retract' || what === 'signal'
  const ids = differs ? reasons.filter(one => one.isOneOfSeveral).map(({ subscription }) => subscription.subid) : []
  if (collections.length + ids.length === 0) return undefined
  return { collections: [...new Set(collections)], ids }
}

export function headersElement ({ collections, ids }: Headers): Element {
  const header = (name: string) => (value: string): Element => xml('header', { name }, value)
  return xml('headers', { xmlns: NS.SHIM }, ...collections.map(header('Collection')), ...ids.map(header('SubID')))
}
