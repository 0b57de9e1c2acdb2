/**
 * A plain model of nodes, written from XEP-0060 and XEP-0163: who may do what, and who is told. It shares no code with
 * the server, and knows three kinds of services: a domain, a domain where a node for members alone counts as missing
 * for others, and the address of an account.
 */

export const KINDS = ['domain', 'hiding domain', 'account'] as const
export type Kind = typeof KINDS[number]
export const MODELS = ['open', 'presence', 'roster', 'authorize', 'whitelist'] as const
export type Model = typeof MODELS[number]
export const AFFILIATIONS = ['owner', 'publisher', 'publish-only', 'member', 'none', 'outcast'] as const
export type Affiliation = typeof AFFILIATIONS[number]
export const SUBSCRIPTIONS = ['none', 'pending', 'subscribed', 'unconfigured'] as const
export type Subscription = typeof SUBSCRIPTIONS[number]
export const PUBLISHERS = ['publishers', 'subscribers', 'open'] as const
export type Publishers = typeof PUBLISHERS[number]
export const STATES = ['none', 'from', 'from in the group'] as const
/** How the account sees a user: without its presence, with it, and with it and in the group of the nodes. */
export type State = typeof STATES[number]

export interface PlainItem { readonly id: string, readonly publisher: string }

export interface PlainNode {
  model: Model
  publishers: Publishers
  /** The most items. */
  most: number
  readonly affiliations: Map<string, Affiliation>
  readonly subscriptions: Map<string, 'subscribed' | 'pending'>
  items: PlainItem[]
}

const MISSING = 'cancel item-not-found'
const FORBIDDEN = 'auth forbidden'
const CLOSED = 'cancel not-allowed closed-node'
const REFUSED = 'modify not-acceptable'
/** §8.7.4: those who need no approval. */
const APPROVED: readonly Affiliation[] = ['owner', 'publisher', 'member']

/** A service with its nodes. `account`: whose address it is; undefined at a domain. */
export class Plain {
  readonly nodes = new Map<string, PlainNode>()
  readonly kind: Kind
  readonly account: string | undefined
  readonly contacts = new Map<string, State>()

  constructor (kind: Kind, account: string) {
    this.kind = kind
    this.account = kind === 'account' ? account : undefined
  }

  /** True if the service may show a user that it is there: an account does so to contacts alone. */
  isKnown (user: string): boolean {
    return this.account === undefined || user === this.account || (this.contacts.get(user) ?? 'none') !== 'none'
  }

  affiliation (node: PlainNode, user: string): Affiliation {
    return user === this.account ? 'owner' : node.affiliations.get(user) ?? 'none'
  }

  /** Returns the error for one who may not read; undefined if that is allowed (§6.5.9). */
  refusal (node: PlainNode, user: string): string | undefined {
    const affiliation = this.affiliation(node, user)
    if (APPROVED.includes(affiliation)) return undefined
    if (affiliation !== 'none') return FORBIDDEN
    const state = this.contacts.get(user) ?? 'none'
    switch (node.model) {
      case 'open': return undefined
      case 'whitelist': return CLOSED
      case 'authorize': return node.subscriptions.get(user) === 'subscribed' ? undefined : 'auth not-authorized not-subscribed'
      case 'presence': return state === 'none' ? 'auth not-authorized presence-subscription-required' : undefined
      case 'roster':
        if (state === 'none') return 'auth not-authorized presence-subscription-required'
        return state === 'from in the group' ? undefined : 'auth not-authorized not-in-roster-group'
    }
  }

  /** Returns the error as the service says it: a stranger to an account learns nothing, nor of a hidden node. */
  said (node: PlainNode | undefined, user: string, error: string): string {
    if (!this.isKnown(user)) return 'cancel service-unavailable'
    if (this.kind !== 'hiding domain' || node?.model !== 'whitelist' || this.refusal(node, user) === undefined) return error
    return !this.mayPublish(node, user) || error === CLOSED ? MISSING : error
  }

  mayRead (name: string, user: string): boolean {
    const node = this.nodes.get(name)
    return node !== undefined && this.refusal(node, user) === undefined
  }

  /** True if a user may know that the node is there. */
  mayKnow (name: string, user: string): boolean {
    const node = this.nodes.get(name)
    if (node === undefined) return this.isKnown(user)
    if (this.kind === 'account' ? this.isKnown(user) : this.kind === 'domain' || node.model !== 'whitelist') return true
    return this.refusal(node, user) === undefined || this.mayPublish(node, user) || node.subscriptions.has(user) ||
      this.affiliation(node, user) !== 'none'
  }

  /** True if disco shows the node: to those who may read it, or may ask to (§5.2). */
  isShown (node: PlainNode, user: string): boolean {
    return this.refusal(node, user) === undefined || this.isKnown(user) && this.mayAsk(node, user)
  }

  /** True if an owner may approve the user (§4.5). */
  mayAsk (node: PlainNode, user: string): boolean {
    return node.model === 'authorize' && this.affiliation(node, user) === 'none'
  }

  mayPublish (node: PlainNode, user: string): boolean {
    const affiliation = this.affiliation(node, user)
    if (['owner', 'publisher', 'publish-only'].includes(affiliation)) return true
    if (affiliation === 'outcast') return false
    return node.publishers === 'open' ||
      node.publishers === 'subscribers' && node.subscriptions.get(user) === 'subscribed'
  }

  /**
   * Returns who is told of an event: those who are subscribed, and for accounts the account and its contacts (XEP-0163
   * §4). `isEnd`: those who wait for an owner as well (§8.4.2).
   */
  told (name: string, users: readonly string[], isEnd = false): readonly string[] {
    const node = this.nodes.get(name)
    if (node === undefined) return []
    return users.filter(user => {
      const state = node.subscriptions.get(user)
      const mayRead = this.refusal(node, user) === undefined
      if (mayRead && this.account !== undefined && this.isKnown(user)) return true
      return state === 'subscribed' ? mayRead : state === 'pending' && isEnd && (mayRead || this.mayAsk(node, user))
    })
  }

  /** Ends the subscriptions of those who may not read any more (XEP-0163 §7.1). */
  settle (): void { for (const node of this.nodes.values()) this.#settle(node) }

  #settle (node: PlainNode): void {
    for (const [user, state] of node.subscriptions) {
      const waits = state === 'pending' && this.mayAsk(node, user)
      if (!waits && this.refusal(node, user) !== undefined) node.subscriptions.delete(user)
    }
  }

  // ---- Requests: each returns what the service says ----------------------------------------------------------------

  create (name: string, user: string, model: Model, publishers: Publishers): string {
    if (this.account !== undefined && user !== this.account) return this.said(undefined, user, FORBIDDEN)
    if (this.nodes.has(name)) return 'cancel conflict'
    if (!this.#has(model)) return `${REFUSED} unsupported-access-model`
    this.#make(name, user, { model, publishers, most: Infinity })
    return 'result'
  }

  configure (name: string, user: string, model: Model, publishers: Publishers): string {
    return this.#owns(name, user, node => {
      if (!this.#has(model)) return `${REFUSED} unsupported-access-model`
      Object.assign(node, { model, publishers, most: Infinity })
      this.#settle(node)
      return 'result'
    })
  }

  #has (model: Model): boolean { return this.account !== undefined || model !== 'presence' && model !== 'roster' }

  #make (name: string, owner: string, how: Pick<PlainNode, 'model' | 'publishers' | 'most'>): PlainNode {
    const node: PlainNode = { ...how, affiliations: new Map([[owner, 'owner']]), subscriptions: new Map(), items: [] }
    this.nodes.set(name, node)
    return node
  }

  /** Runs what owners alone may do. */
  #owns (name: string, user: string, run: (node: PlainNode) => string): string {
    const node = this.nodes.get(name)
    if (node === undefined) return this.said(node, user, MISSING)
    return this.answer(node, user, this.affiliation(node, user) === 'owner' ? run(node) : FORBIDDEN)
  }

  /** As `said`; a result stays. */
  answer (node: PlainNode | undefined, user: string, answer: string): string {
    return answer === 'result' ? answer : this.said(node, user, answer)
  }

  delete (name: string, user: string): string {
    return this.#owns(name, user, () => this.nodes.delete(name) ? 'result' : MISSING)
  }

  purge (name: string, user: string): string {
    return this.#owns(name, user, node => {
      node.items = []
      return 'result'
    })
  }

  /** §8.1.3, §8.8.1, §8.9.1: the form, the subscriptions and the affiliations are for owners. */
  look (name: string, user: string): string { return this.#owns(name, user, () => 'result') }

  read (name: string, user: string): string {
    const node = this.nodes.get(name)
    return this.answer(node, user, node === undefined ? MISSING : this.refusal(node, user) ?? 'result')
  }

  subscribe (name: string, user: string): string {
    const node = this.nodes.get(name)
    return this.answer(node, user, node === undefined ? MISSING : this.#subscribe(node, user))
  }

  #subscribe (node: PlainNode, user: string): string {
    if (node.subscriptions.get(user) === 'pending') return 'auth not-authorized pending-subscription'
    const refusal = this.refusal(node, user)
    if (refusal !== undefined && !(this.mayAsk(node, user) && this.isKnown(user))) return refusal
    node.subscriptions.set(user, refusal === undefined ? 'subscribed' : 'pending')
    return 'result'
  }

  unsubscribe (name: string, user: string): string {
    const node = this.nodes.get(name)
    if (node === undefined) return this.said(node, user, MISSING)
    return this.answer(node, user, node.subscriptions.delete(user) ? 'result' : 'cancel unexpected-request not-subscribed')
  }

  publish (name: string, user: string, id: string): string {
    let node = this.nodes.get(name)
    if (node === undefined && user === this.account) {
      node = this.#make(name, user, { model: 'presence', publishers: 'publishers', most: 1 })
    }
    if (node === undefined) return this.said(node, user, MISSING)
    if (!this.mayPublish(node, user)) return this.said(node, user, FORBIDDEN)
    node.items = [...node.items.filter(item => item.id !== id), { id, publisher: user }].slice(-node.most)
    return 'result'
  }

  retract (name: string, user: string, id: string): string {
    const node = this.nodes.get(name)
    return this.answer(node, user, node === undefined ? MISSING : this.#retract(node, user, id))
  }

  #retract (node: PlainNode, user: string, id: string): string {
    if (!this.mayPublish(node, user)) return FORBIDDEN
    const item = node.items.find(one => one.id === id)
    if (item === undefined) return MISSING
    if (this.affiliation(node, user) !== 'owner' && item.publisher !== user) return FORBIDDEN
    node.items = node.items.filter(one => one !== item)
    return 'result'
  }

  affiliate (name: string, user: string, other: string, affiliation: Affiliation): string {
    return this.#owns(name, user, node => {
      const all = new Map(node.affiliations).set(other, affiliation)
      const isOwned = [...all.values()].includes('owner')
      if (!isOwned || other === this.account && affiliation !== 'owner') return REFUSED
      if (affiliation === 'none') node.affiliations.delete(other)
      else node.affiliations.set(other, affiliation)
      if (APPROVED.includes(affiliation) && node.subscriptions.has(other)) node.subscriptions.set(other, 'subscribed')
      this.#settle(node)
      return 'result'
    })
  }

  /** §8.8.2: nobody is subscribed who neither asked for it nor has an affiliation. */
  setSubscription (name: string, user: string, other: string, state: Subscription): string {
    return this.#owns(name, user, node => {
      const isThere = node.subscriptions.has(other)
      if (state === 'unconfigured') return REFUSED // §4.2: this service requires no configuration
      if (state === 'none') return node.subscriptions.delete(other) ? 'result' : REFUSED
      if (!isThere && !APPROVED.includes(node.affiliations.get(other) ?? 'none')) return REFUSED
      node.subscriptions.set(other, state)
      return 'result'
    })
  }

  /** §8.6: the answer to a request for approval. */
  approve (name: string, user: string, other: string, isAllowed: boolean): void {
    const node = this.nodes.get(name)
    if (node?.subscriptions.get(other) !== 'pending' || this.affiliation(node, user) !== 'owner') return
    if (isAllowed) node.subscriptions.set(other, 'subscribed')
    else node.subscriptions.delete(other)
  }

  // ---- Lists --------------------------------------------------------------------------------------------------------

  /** Returns what disco#info of a node says. */
  info (name: string, user: string): string {
    const node = this.nodes.get(name)
    return node !== undefined && this.isShown(node, user) ? 'result' : this.said(node, user, MISSING)
  }

  /** Returns the ids of the items, as far as a user may read them. */
  itemsFor (name: string, user: string): readonly string[] {
    return this.mayRead(name, user) ? (this.nodes.get(name)?.items ?? []).map(({ id }) => id) : []
  }

  /** Returns the nodes that disco#items of the service lists. */
  listed (user: string): readonly string[] {
    return [...this.nodes].filter(([, node]) => this.isShown(node, user)).map(([name]) => name).sort()
  }

  /** Returns the user's own subscriptions or affiliations: each node with the state. */
  own (what: 'subscriptions' | 'affiliations', user: string): readonly string[] {
    const states = [...this.nodes].map(([name, node]): readonly [string, string] =>
      [name, what === 'affiliations' ? this.affiliation(node, user) : node.subscriptions.get(user) ?? 'none'])
    return states.filter(([, state]) => state !== 'none').map(one => one.join(' ')).sort()
  }

  /** Returns what an owner is told of the others: each address with the state. §8.8.1: without those who wait. */
  others (what: 'subscriptions' | 'affiliations', name: string): readonly string[] {
    const all: readonly (readonly [string, string])[] = [...this.nodes.get(name)?.[what] ?? []]
    return all.filter(([, state]) => state !== 'pending').map(one => one.join(' ')).sort()
  }
}
