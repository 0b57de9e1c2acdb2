/** Collections of nodes (XEP-0248): the graph that nodes form, and how it changes. */
import { attributeOf, childElements, localName, type Element } from '../xml/element.js'
import { StanzaError } from '../xmpp/errors.js'
import { affiliationOf } from './access.js'
import { MOST_COLLECTIONS, parentsOf, type NodeConfig } from './config.js'
import { pubsubError } from './errors.js'
import { ROOT, type Node } from './node.js'
import type { Change } from './change.js'
import type { Work } from './work.js'

/** The most collections above each other, the root not counted. */
const MOST_LEVELS = 16

/**
 * Puts a node that is stored in this change into its collections, and other nodes into it: `children` are those that
 * its owner has named, undefined for no change. `before` is undefined for a new node. Throws StanzaError; then nothing
 * of the change may be stored.
 */
export function arrange (work: Work, before: Node | undefined, node: Node, children?: readonly string[]): void {
  if (work.place.collections !== true) return
  const old = before === undefined ? [] : parentsOf(before.config)
  const joined = parentsOf(node.config).filter(name => !old.includes(name))
  for (const name of joined) mustAccept(work, name)
  if (children !== undefined) setChildren(work, node, children)
  if (joined.length > 0 || children !== undefined) checkGraph(work.change, node.name)
  checkRooms(work.change, [...joined, node.name])
  if (before === undefined) work.events.push({ what: 'created', node })
  else noteMoves(work, before, node)
}

/** Puts exactly these nodes into a collection. Only nodes of the asker come into it. */
function setChildren (work: Work, node: Node, wanted: readonly string[]): void {
  const { change } = work
  if (node.config.nodeType === 'leaf') {
    if (wanted.length > 0) throw pubsubError('not-allowed', 'invalid-options') // XEP-0248 §7.2.3.1
    return
  }
  const current = change.childrenOf(node.name)
  const named = new Set(wanted)
  for (const name of wanted.filter(name => !current.has(name))) move(work, owned(work, name), { to: node.name })
  for (const name of [...current].filter(name => !named.has(name))) move(work, work.node(name), { from: node.name })
}

/** Returns another node that the asker owns. Throws StanzaError. */
function owned (work: Work, name: string): Node {
  const node = work.other(name)
  if (name === ROOT || affiliationOf(node, work.asker) !== 'owner') throw forbidden()
  return node
}

/** Puts a node into a collection or takes it out of one, and notes the events. A node in no other is in the root. */
function move (work: Work, node: Node, { from, to }: { readonly from?: string, readonly to?: string }): void {
  const { config } = node
  const collections = [...config.collections.filter(name => name !== from), ...to === undefined ? [] : [to]]
  const next = { ...node, config: { ...config, collections } }
  work.put(next)
  if (collections.length > MOST_COLLECTIONS) throw new StanzaError('not-acceptable', 'a node is in too many collections')
  noteMoves(work, node, next)
}

function noteMoves ({ change, events }: Work, before: Node, node: Node): void {
  const [old, now] = [parentsOf(before.config), parentsOf(node.config)]
  const note = (what: 'associated' | 'dissociated', names: readonly string[]): void => {
    for (const name of names) {
      const collection = change.node(name)
      if (collection !== undefined) events.push({ what, node: collection, child: node })
    }
  }
  note('dissociated', old.filter(name => !now.includes(name)))
  note('associated', now.filter(name => !old.includes(name)))
}

// ---- Who may --------------------------------------------------------------------------------------------------

/** Throws StanzaError unless the node with this name is a collection to which the asker may add nodes. */
function mustAccept (work: Work, name: string): void {
  if (name === ROOT) return
  const collection = work.node(name)
  const isLeaf = collection.config.nodeType === 'leaf'
  if (!isLeaf && mayAdd(work, collection)) return
  if (work.hides(collection)) throw new StanzaError('item-not-found')
  throw isLeaf ? pubsubError('not-allowed', 'invalid-options') : forbidden() // XEP-0248 §7.2.3.1, §7.2.3.2
}

function mayAdd ({ asker }: Work, node: Node): boolean {
  const { associationPolicy, associationWhitelist } = node.config
  const affiliation = affiliationOf(node, asker)
  if (affiliation === 'owner') return true
  if (affiliation === 'outcast') return false
  if (associationPolicy === 'whitelist') return associationWhitelist.includes(asker.jid.bare.toString())
  return associationPolicy === 'all'
}

/** XEP-0248 §7.5.3.1 has this type. */
function forbidden (): StanzaError { return new StanzaError('forbidden', undefined, { type: 'cancel' }) }

// ---- The graph ------------------------------------------------------------------------------------------------

/** Throws StanzaError if one of these collections has more nodes than it may (XEP-0248 §7.2.3.3). */
function checkRooms (change: Change, names: readonly string[]): void {
  for (const name of names) {
    const { nodeType, childrenMax } = change.node(name)?.config ?? {}
    if (nodeType !== 'collection' || childrenMax === undefined || childrenMax === 'max') continue
    if (change.childrenOf(name).size > childrenMax) throw pubsubError('not-allowed', 'max-nodes-exceeded')
  }
}

/** Throws StanzaError if a node is above itself (XEP-0248 §7.2.3.5), or too many collections are above each other. */
function checkGraph (change: Change, name: string): void {
  const levels = levelsAbove(change, name) + longest(name, one => [...change.childrenOf(one)], new Map())
  if (levels > MOST_LEVELS) throw new StanzaError('not-acceptable', 'too many collections are above each other')
}

/** Returns how many collections are above a node, on the longest way. Throws StanzaError if it is above itself. */
function levelsAbove (change: Change, name: string): number {
  const parents = (one: string): readonly string[] =>
    change.node(one)?.config.collections.filter(parent => parent !== ROOT) ?? []
  return longest(name, parents, new Map())
}

/** Returns the length of the longest way from a node. Throws StanzaError if a way comes back to where it was. */
function longest (name: string, next: (name: string) => readonly string[], known: Map<string, number>): number {
  const found = known.get(name)
  if (found === -1) throw pubsubError('not-allowed', 'invalid-options')
  if (found !== undefined) return found
  known.set(name, -1)
  let length = 0
  for (const one of next(name)) length = Math.max(length, 1 + longest(one, next, known))
  known.set(name, length)
  return length
}

/** True if an imported node, in which no others are yet, can be in this collection. */
export function canBeIn (change: Change, name: string): boolean {
  if (name === ROOT) return true
  const collection = change.node(name)
  if (collection?.config.nodeType !== 'collection') return false
  const { childrenMax } = collection.config
  return (childrenMax === 'max' || change.childrenOf(name).size < childrenMax) && levelsAbove(change, name) < MOST_LEVELS
}

// ---- Requests -------------------------------------------------------------------------------------------------

/** Puts a node into a collection, or takes it out of one (XEP-0248 §7.5, §7.6). Throws StanzaError. */
export function associate (work: Work, request: Element): void {
  const [change, second] = childElements(request)
  const child = change === undefined ? undefined : attributeOf(change, 'node')
  if (change === undefined || second !== undefined || child === undefined) throw new StanzaError('bad-request')
  const collection = attributeOf(request, 'node') ?? ROOT
  switch (localName(change)) {
    case 'associate': add(work, collection, child); break
    case 'dissociate': case 'disassociate': take(work, collection, child); break
    default: throw new StanzaError('bad-request')
  }
}

function add (work: Work, collection: string, name: string): void {
  mustAccept(work, collection)
  const node = owned(work, name)
  if (parentsOf(node.config).includes(collection)) return
  // A node that is put into the root is listed there and stays where it is.
  move(work, node, { to: collection })
  checkGraph(work.change, name)
  checkRooms(work.change, [collection])
}

/** XEP-0248 §7.6: the owner of the collection may take a node out of it, and so may the owner of the node. */
function take (work: Work, collection: string, name: string): void {
  const { change, asker } = work
  const parent = work.other(collection)
  const node = change.node(name)
  const ownsParent = collection !== ROOT && affiliationOf(parent, asker) === 'owner'
  const ownsNode = node !== undefined && name !== ROOT && affiliationOf(node, asker) === 'owner'
  if (!ownsParent && !ownsNode) throw forbidden()
  if (node === undefined || !parentsOf(node.config).includes(collection)) throw new StanzaError('bad-request')
  // A node that is in no other collection stays in the root.
  if (collection === ROOT && parentsOf(node.config).length === 1) throw new StanzaError('not-allowed')
  move(work, node, { from: collection })
}

/** Makes the nodes of a collection that is removed nodes of the root, unless they are in others (XEP-0248 §8.2). */
export function scatter (work: Work, { name }: Node): void {
  const { change } = work
  for (const child of [...change.childrenOf(name)]) {
    const node = change.node(child)
    if (node !== undefined) move(work, node, { from: name })
  }
}

/** Throws StanzaError if a node cannot get this type (XEP-0248 §7.2.3.4). */
export function checkType (before: NodeConfig, { nodeType }: NodeConfig): void {
  if (before.nodeType === 'collection' && nodeType === 'leaf') throw pubsubError('not-allowed', 'invalid-options')
}
