/** Who may do what with a node (XEP-0060 §4.1, §4.5). Pure decisions. */
import { StanzaError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { pubsubError, unsupported } from './errors.js'
import { isSubscribed, type Affiliation, type Node } from './node.js'

/** The standing of somebody who asks, besides the affiliations with nodes. */
export interface Standing {
  /** True if the asker owns all nodes: the account itself, or an administrator of the service. */
  readonly isOwner: boolean
  /** True if the asker is subscribed to the presence of the account. */
  readonly seesPresence: boolean
  /** The roster groups that the asker is in. */
  readonly groups: readonly string[]
}

/** One who asks, and when, in milliseconds since 1970. */
export interface Asker { readonly jid: Jid, readonly standing: Standing, readonly now: number }

/** Returns the node whose access rules hold for a node: those of its target for one that the service manages. */
export function rulesOf (node: Node): Node { return node.target?.() ?? node }

/** Returns the affiliation of the asker with the node. */
export function affiliationOf (node: Node, { jid, standing }: Asker): Affiliation {
  return standing.isOwner ? 'owner' : rulesOf(node).affiliations.get(jid.bare.toString()) ?? 'none'
}

/** Returns the error for one who may not read items or get notifications of the node; undefined if that is allowed. */
export function refusalToRead (node: Node, asker: Asker): StanzaError | undefined {
  switch (affiliationOf(node, asker)) {
    case 'owner': case 'publisher': case 'member': return undefined
    case 'outcast': case 'publish-only': return new StanzaError('forbidden')
    case 'none': return refusalByModel(rulesOf(node), asker)
  }
}

/** §6.5.9, §6.1.3: what the access model says of one without an affiliation. */
function refusalByModel (node: Node, asker: Asker): StanzaError | undefined {
  const { standing: { seesPresence, groups }, jid, now } = asker
  switch (node.config.accessModel) {
    case 'open': return undefined
    case 'presence': return seesPresence ? undefined : pubsubError('not-authorized', 'presence-subscription-required')
    case 'roster':
      if (!seesPresence) return pubsubError('not-authorized', 'presence-subscription-required')
      return node.config.rosterGroups.some(group => groups.includes(group))
        ? undefined
        : pubsubError('not-authorized', 'not-in-roster-group')
    case 'authorize': return isSubscribed(node, jid, now) ? undefined : pubsubError('not-authorized', 'not-subscribed')
    case 'whitelist': return pubsubError('not-allowed', 'closed-node')
  }
}

/** True if the asker may read items and get notifications. */
export function mayRead (node: Node, asker: Asker): boolean { return refusalToRead(node, asker) === undefined }

/**
 * Returns whether the asker may subscribe: 'pending' if an owner has to approve it. Throws StanzaError if the asker may
 * not.
 */
export function subscribing (node: Node, asker: Asker): 'subscribed' | 'pending' {
  const refusal = refusalToRead(node, asker)
  const isForOwner = refusal !== undefined && isByRequest(node, asker)
  if (refusal !== undefined && !isForOwner) throw refusal
  if (!node.config.subscribe) throw unsupported('subscribe')
  return isForOwner ? 'pending' : 'subscribed'
}

/** True if the asker may subscribe, perhaps after an owner has approved it. */
export function maySubscribe (node: Node, asker: Asker): boolean {
  if (!node.config.subscribe) return false
  return mayRead(node, asker) || isByRequest(node, asker)
}

/** True if the asker may ask an owner for a subscription. */
function isByRequest (node: Node, asker: Asker): boolean {
  return node.config.accessModel === 'authorize' && affiliationOf(node, asker) === 'none'
}

/** True if the asker may publish items. */
export function mayPublish (node: Node, asker: Asker): boolean {
  switch (affiliationOf(node, asker)) {
    case 'owner': case 'publisher': case 'publish-only': return true
    case 'outcast': return false
    case 'member': case 'none': break
  }
  const rules = rulesOf(node)
  switch (rules.config.publishModel) {
    case 'open': return true
    case 'subscribers': return isSubscribed(rules, asker.jid, asker.now)
    case 'publishers': return false
  }
}

/** True if the asker may remove an item that `publisher` has published (§4.1, note). */
export function mayRetract (node: Node, asker: Asker, publisher: string): boolean {
  switch (affiliationOf(node, asker)) {
    case 'owner': return true
    case 'outcast': return false
    default: return publisher === asker.jid.bare.toString() && mayPublish(node, asker)
  }
}

/** True if the node is for members alone, and the asker may neither read items nor publish. */
export function isClosedTo (node: Node, asker: Asker): boolean {
  return rulesOf(node).config.accessModel === 'whitelist' && !mayRead(node, asker) && !mayPublish(node, asker)
}

/** Throws StanzaError unless the asker owns the node. */
export function mustOwn (node: Node, asker: Asker): void {
  if (affiliationOf(node, asker) !== 'owner') throw new StanzaError('forbidden')
}
