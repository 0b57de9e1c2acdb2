/**
 * A plain model of nodes (XEP-0060 §4): who may do what, and who is told. It shares no code with the server, and knows
 * two kinds of services: a domain, and the address of an account.
 */

export const MODELS = ['open', 'presence', 'roster', 'authorize', 'whitelist'] as const
export type Model = typeof MODELS[number]
export const AFFILIATIONS = ['owner', 'publisher', 'publish-only', 'member', 'none', 'outcast'] as const
export type Affiliation = typeof AFFILIATIONS[number]
export const PUBLISHERS = ['publishers', 'subscribers', 'open'] as const
export type Publishers = typeof PUBLISHERS[number]
export const STATES = ['none', 'from', 'from in the group'] as const
/** How the account sees a user: without its presence, with it, and with it and in the group of the nodes. */
export type State = typeof STATES[number]

export interface PlainItem { readonly id: string, readonly publisher: string }

export interface PlainNode {
  model: Model
  publishers: Publishers
  readonly affiliations: Map<string, Affiliation>
  readonly subscriptions: Map<string, 'subscribed' | 'pending'>
  items: PlainItem[]
}

/** A service with its nodes. `owner` owns all of them. */
export class Plain {
  readonly nodes = new Map<string, PlainNode>()
  readonly kind: 'domain' | 'account'
  readonly owner: string
  readonly contacts = new Map<string, State>()

  constructor (kind: 'domain' | 'account', owner: string) {
    this.kind = kind
    this.owner = owner
  }

  isContact (user: string): boolean { return user === this.owner || (this.contacts.get(user) ?? 'none') !== 'none' }

  affiliation (node: PlainNode, user: string): Affiliation {
    return user === this.owner ? 'owner' : node.affiliations.get(user) ?? 'none'
  }

  /** Returns the error for one who may not read; undefined if that is allowed. */
  refusal (node: PlainNode, user: string): string | undefined {
    const affiliation = this.affiliation(node, user)
    if (['owner', 'publisher', 'member'].includes(affiliation)) return undefined
    if (affiliation !== 'none') return 'auth forbidden'
    switch (node.model) {
      case 'open': return undefined
      case 'whitelist': return 'cancel not-allowed closed-node'
      case 'authorize': return node.subscriptions.get(user) === 'subscribed' ? undefined : 'auth not-authorized not-subscribed'
      case 'presence': return this.isContact(user) ? undefined : 'auth not-authorized presence-subscription-required'
      case 'roster':
        if (!this.isContact(user)) return 'auth not-authorized presence-subscription-required'
        return this.contacts.get(user) === 'from in the group' ? undefined : 'auth not-authorized not-in-roster-group'
    }
  }

  /** Returns the error as the service says it: a stranger to an account learns nothing. */
  said (user: string, error: string): string {
    return this.kind === 'account' && !this.isContact(user) ? 'cancel service-unavailable' : error
  }

  mayRead (name: string, user: string): boolean {
    const node = this.nodes.get(name)
    return node !== undefined && this.refusal(node, user) === undefined
  }

  /** True if a user may know that the node is there: XEP-0060 tells contacts, and everybody at a domain. */
  mayKnow (name: string, user: string): boolean {
    const node = this.nodes.get(name)
    if (this.kind === 'domain' || this.isContact(user)) return true
    return node !== undefined && (this.refusal(node, user) === undefined || this.mayPublish(node, user) ||
      node.subscriptions.has(user) || this.affiliation(node, user) !== 'none')
  }

  mayPublish (node: PlainNode, user: string): boolean {
    const affiliation = this.affiliation(node, user)
    if (['owner', 'publisher', 'publish-only'].includes(affiliation)) return true
    if (affiliation === 'outcast') return false
    return node.publishers === 'open' ||
      node.publishers === 'subscribers' && node.subscriptions.get(user) === 'subscribed'
  }

  /** Returns who is told of an event: for accounts the owner and its contacts, and those who are subscribed. */
  told (name: string, users: readonly string[]): readonly string[] {
    const node = this.nodes.get(name)
    if (node === undefined) return []
    return users.filter(user => this.refusal(node, user) === undefined &&
      (node.subscriptions.get(user) === 'subscribed' || this.kind === 'account' && this.isContact(user)))
  }

  /** Ends the subscriptions of those who may not read any more. */
  settle (): void { for (const node of this.nodes.values()) this.settleOne(node) }

  // ---- Requests: each returns what the service says ---------------------------------------------------------------

  read (name: string, user: string): string {
    const node = this.nodes.get(name)
    if (node === undefined) return this.said(user, 'cancel item-not-found')
    const refusal = this.refusal(node, user)
    return refusal === undefined ? 'result' : this.said(user, refusal)
  }

  subscribe (name: string, user: string): string {
    const node = this.nodes.get(name)
    if (node === undefined) return this.said(user, 'cancel item-not-found')
    const state = node.subscriptions.get(user)
    if (state === 'pending') return this.said(user, 'auth not-authorized pending-subscription')
    const refusal = this.refusal(node, user)
    if (refusal === undefined) {
      node.subscriptions.set(user, 'subscribed')
      return 'result'
    }
    const isForOwner = node.model === 'authorize' && this.affiliation(node, user) === 'none'
    if (!isForOwner || this.kind === 'account' && !this.isContact(user)) return this.said(user, refusal)
    node.subscriptions.set(user, 'pending')
    return 'result'
  }

  unsubscribe (name: string, user: string): string {
    const node = this.nodes.get(name)
    if (node === undefined) return this.said(user, 'cancel item-not-found')
    return node.subscriptions.delete(user) ? 'result' : this.said(user, 'cancel unexpected-request not-subscribed')
  }

  publish (name: string, user: string, id: string): string {
    const node = this.nodes.get(name)
    if (node === undefined) return this.said(user, 'cancel item-not-found')
    if (!this.mayPublish(node, user)) return this.said(user, 'auth forbidden')
    node.items.push({ id, publisher: user })
    return 'result'
  }

  retract (name: string, user: string, id: string): string {
    const node = this.nodes.get(name)
    if (node === undefined) return this.said(user, 'cancel item-not-found')
    if (!this.mayPublish(node, user)) return this.said(user, 'auth forbidden')
    const item = node.items.find(one => one.id === id)
    if (item === undefined) return this.said(user, 'cancel item-not-found')
    if (this.affiliation(node, user) !== 'owner' && item.publisher !== user) return this.said(user, 'auth forbidden')
    node.items = node.items.filter(one => one !== item)
    return 'result'
  }

  affiliate (name: string, user: string, affiliation: Affiliation): void {
    const node = this.nodes.get(name)
    if (node === undefined) return
    if (affiliation === 'none') node.affiliations.delete(user)
    else node.affiliations.set(user, affiliation)
    const isApproved = ['owner', 'publisher', 'member'].includes(affiliation)
    if (isApproved && node.subscriptions.get(user) === 'pending') node.subscriptions.set(user, 'subscribed')
    this.settleOne(node)
  }

  approve (name: string, user: string, isAllowed: boolean): void {
    const node = this.nodes.get(name)
    if (node?.subscriptions.get(user) !== 'pending') return
    if (isAllowed) node.subscriptions.set(user, 'subscribed')
    else node.subscriptions.delete(user)
  }

  settleOne (node: PlainNode): void {
    for (const [user, state] of node.subscriptions) {
      const waits = state === 'pending' && node.model === 'authorize' && this.affiliation(node, user) === 'none'
      if (!waits && this.refusal(node, user) !== undefined) node.subscriptions.delete(user)
    }
  }
}
