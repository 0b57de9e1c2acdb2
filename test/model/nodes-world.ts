/**
 * The world of the nodes: people with devices, and one service with nodes. Each step is done by the server and by a
 * plain model. The replies, the lists and the recipients of notifications have to agree, and no stanza to anybody may
 * hold what its recipient may not have.
 */
import { childElements, type Element } from '../../lib/xml/element.js'
import { Device, startServer, type Scenario } from '../scenario.js'
import { declares, form, hears, itemIds, MODULES, outcome, pubsub } from '../pubsub/stage.js'
import { AFFILIATIONS, MODELS, Plain, PUBLISHERS, STATES, SUBSCRIPTIONS, type Kind } from './nodes.js'

const ACCOUNT = 'juliet@capulet.lit'
const PEOPLE = [ACCOUNT, 'romeo@montague.lit', 'nurse@capulet.lit', 'paris@verona.lit']
const SERVICE = 'pubsub.capulet.lit'
/** Names that occur in no other text. */
const NODES = ['urn:secret:0', 'urn:secret:1', 'urn:secret:2']
const DISCO = 'http://jabber.org/protocol/disco'

/** The kinds of steps; a kind that is named twice is played twice as often. */
export const STEPS = [
  'create', 'create', 'configure', 'affiliate', 'affiliate', 'subscribe', 'subscribe', 'unsubscribe', 'set subscription',
  'publish', 'publish', 'publish', 'publish again', 'retract', 'purge', 'delete', 'approve', 'approve',
  'meet', 'meet', 'meet', 'leave and come', 'leave and come', 'look', 'own lists', 'disco', 'probe',
] as const

/** One step. `pick` chooses the rest: models, states, items. */
export interface Step {
  readonly kind: typeof STEPS[number]
  readonly node: number
  readonly user: number
  readonly other: number
  readonly pick: number
}

/** A stanza that a device got. `asked`: the request, if it is the reply to one. */
interface Got { readonly user: string, readonly text: string, readonly asked: string }

/** A request. `isOwners`: in the namespace of owners. */
interface Asked { readonly type: 'get' | 'set', readonly content: string, readonly isOwners?: boolean, readonly to?: string }

/** The nodes that people could read, or know of, at one time. */
type Snapshot = (what: 'read' | 'know', node: string, user: string) => boolean

export class NodesWorld {
  readonly #s: Scenario
  readonly #plain: Plain
  readonly #to: string
  readonly #devices = new Map<string, Device>()
  /** The node of each item that was ever published. */
  readonly #published = new Map<string, string>()
  #got: Got[] = []

  private constructor (s: Scenario, kind: Kind) {
    this.#s = s
    this.#plain = new Plain(kind, ACCOUNT)
    this.#to = kind === 'account' ? ACCOUNT : SERVICE
  }

  static async begin (kind: Kind): Promise<NodesWorld> {
    const services = kind === 'account' ? {} : { [SERVICE]: ['disco', 'pubsub'] }
    const s = await startServer({ modules: MODULES, services, settings: { pubsub: { hideClosed: kind === 'hiding domain' } } })
    const world = new NodesWorld(s, kind)
    for (const user of PEOPLE) world.#devices.set(user, await s.device(`${user}/x`, { presence: false }))
    for (const device of world.#devices.values()) await declares(device, NODES)
    return world
  }

  async play (step: Step): Promise<void> {
    const before = this.#snapshot()
    this.#got = []
    await this.#play(step)
    await this.#read(NODES[step.node] ?? '', PEOPLE[step.other] ?? '', step.pick)
    this.#search(before)
  }

  /** Lets everybody read everything, then checks that the server met no defect. */
  async end (): Promise<void> {
    for (const node of NODES) for (const user of PEOPLE) await this.#read(node, user, 0)
    await this.#s.end()
    const failed = this.#s.lines.find(({ level }) => level === 'error')
    if (failed !== undefined) throw new Error(`${failed.event}: ${String(failed.fields['error'])}`)
  }

  // ---- Steps --------------------------------------------------------------------------------------------------------

  async #play ({ kind, node: index, user: who, other: whom, pick }: Step): Promise<void> {
    const [node = '', user = '', other = ''] = [NODES[index], PEOPLE[who], PEOPLE[whom]]
    switch (kind) {
      case 'create': case 'configure': await this.#shape(kind, node, user, pick); return
      case 'affiliate': await this.#affiliate(node, user, other, pick); return
      case 'subscribe': await this.#agrees(user, this.#plain.subscribe(node, user), { type: 'set', content: `<subscribe node='${node}' jid='${user}'/>` }); return
      case 'unsubscribe': await this.#agrees(user, this.#plain.unsubscribe(node, user), { type: 'set', content: `<unsubscribe node='${node}' jid='${user}'/>` }); return
      case 'set subscription': await this.#setSubscription(node, user, other, pick); return
      case 'publish': await this.#publish(node, user, `item-${this.#published.size}-`); return
      case 'publish again': if (this.#someItem(node, pick) !== 'none') await this.#publish(node, user, this.#someItem(node, pick)); return
      case 'retract': await this.#retract(node, user, this.#someItem(node, pick)); return
      case 'purge': case 'delete': await this.#clear(kind, node, user); return
      case 'approve': await this.#approve(node, user, other, pick); return
      case 'meet': if (other !== ACCOUNT) await this.#meet(other, of(STATES, pick)); return
      case 'leave and come': await this.#returns(user); return
      case 'look': await this.#look(node, user); return
      case 'own lists': await this.#ownLists(user); return
      case 'disco': await this.#disco(node, user); return
      case 'probe': await this.#probe(node, user, pick)
    }
  }

  async #shape (kind: 'create' | 'configure', node: string, user: string, pick: number): Promise<void> {
    const model = of(MODELS, pick)
    const publishers = of(PUBLISHERS, Math.floor(pick / MODELS.length))
    const groups = model === 'roster' ? { roster_groups_allowed: 'friends' } : {}
    const filled = form('node_config', { access_model: model, publish_model: publishers, max_items: 'max', ...groups })
    const wanted = this.#plain[kind](node, user, model, publishers)
    await this.#agrees(user, wanted, kind === 'create'
      ? { type: 'set', content: `<create node='${node}'/><configure>${filled}</configure>` }
      : { type: 'set', content: `<configure node='${node}'>${filled}</configure>`, isOwners: true })
  }

  async #affiliate (node: string, user: string, other: string, pick: number): Promise<void> {
    const affiliation = of(AFFILIATIONS, pick)
    const wanted = this.#plain.affiliate(node, user, other, affiliation)
    await this.#agrees(user, wanted, { type: 'set', content: `<affiliations node='${node}'><affiliation jid='${other}' affiliation='${affiliation}'/></affiliations>`, isOwners: true })
  }

  async #setSubscription (node: string, user: string, other: string, pick: number): Promise<void> {
    const state = of(SUBSCRIPTIONS, pick)
    const wanted = this.#plain.setSubscription(node, user, other, state)
    await this.#agrees(user, wanted, { type: 'set', content: `<subscriptions node='${node}'><subscription jid='${other}' subscription='${state}'/></subscriptions>`, isOwners: true })
  }

  async #publish (node: string, user: string, id: string): Promise<void> {
    if (!this.#published.has(id)) this.#published.set(id, node)
    const wanted = this.#plain.publish(node, user, id)
    const told = wanted === 'result' ? this.#plain.told(node, PEOPLE) : []
    const content = `<publish node='${node}'><item id='${id}'><t xmlns='urn:t'>words of ${id.toUpperCase()}</t></item></publish>`
    await this.#agrees(user, wanted, { type: 'set', content }, [`items ${node} item ${id} with payload`, told])
  }

  async #retract (node: string, user: string, id: string): Promise<void> {
    const told = this.#plain.told(node, PEOPLE)
    const wanted = this.#plain.retract(node, user, id)
    const content = `<retract node='${node}' notify='1'><item id='${id}'/></retract>`
    await this.#agrees(user, wanted, { type: 'set', content }, [`items ${node} retract ${id}`, wanted === 'result' ? told : []])
  }

  async #clear (kind: 'purge' | 'delete', node: string, user: string): Promise<void> {
    // By default a domain tells nobody that items are removed.
    const isTold = kind === 'delete' || this.#plain.kind === 'account'
    const told = isTold ? this.#plain.told(node, PEOPLE, kind === 'delete') : []
    const wanted = this.#plain[kind](node, user)
    await this.#agrees(user, wanted, { type: 'set', content: `<${kind} node='${node}'/>`, isOwners: true }, [`${kind} ${node}`, wanted === 'result' ? told : []])
  }

  async #approve (node: string, user: string, other: string, pick: number): Promise<void> {
    const isAllowed = pick % 2 === 0
    // To an account, only the account itself can answer: another one's answer is a message to its owner.
    if (this.#plain.account !== undefined && user !== ACCOUNT) return
    this.#plain.approve(node, user, other, isAllowed)
    const answer = form('subscribe_authorization', { node, subscriber_jid: other, allow: isAllowed ? '1' : '0' })
    await this.#device(user).says(`<message to='${this.#to}' id='x'>${answer}</message>`)
  }

  /** Changes how the account sees a user. */
  async #meet (user: string, state: typeof STATES[number]): Promise<void> {
    if (this.#plain.account === undefined) return
    this.#plain.contacts.set(user, state)
    this.#plain.settle()
    const account = this.#device(ACCOUNT)
    if (state === 'none') await account.says(`<presence type='unsubscribed' to='${user}'/>`)
    else {
      await this.#device(user).says(`<presence type='subscribe' to='${ACCOUNT}'/>`)
      await account.says(`<presence type='subscribed' to='${user}'/>`)
    }
    const group = state === 'from in the group' ? '<group>friends</group>' : ''
    await account.asks(`<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='${user}'>${group}</item></query></iq>`)
  }

  /** Goes offline and comes back, and so gets last items. */
  async #returns (user: string): Promise<void> {
    await this.#device(user).says("<presence type='unavailable'/>")
    await declares(this.#device(user), NODES)
  }

  // ---- Checks -------------------------------------------------------------------------------------------------------

  /** Reads all items of a node, or one by its id. */
  async #read (node: string, user: string, pick: number): Promise<void> {
    const wanted = this.#plain.read(node, user)
    const one = this.#someItem(node, pick)
    const all = this.#plain.itemsFor(node, user)
    const isById = pick % 3 === 2
    const reply = await this.#agrees(user, wanted, { type: 'get', content: `<items node='${node}'>${isById ? `<item id='${one}'/>` : ''}</items>` })
    agree(isById ? all.filter(id => id === one) : all, itemIds(reply), `the items of ${node} that ${user} reads`)
  }

  /** An owner looks at the form, the subscriptions and the affiliations of a node. */
  async #look (node: string, user: string): Promise<void> {
    const wanted = this.#plain.look(node, user)
    await this.#agrees(user, wanted, { type: 'get', content: `<configure node='${node}'/>`, isOwners: true })
    for (const what of ['subscriptions', 'affiliations'] as const) {
      const reply = await this.#agrees(user, wanted, { type: 'get', content: `<${what} node='${node}'/>`, isOwners: true })
      const attribute = what === 'subscriptions' ? 'subscription' : 'affiliation'
      agree(wanted === 'result' ? this.#plain.others(what, node) : [], entriesIn(reply, 'jid', attribute), `the ${what} of ${node} that ${user} sees`)
    }
  }

  async #ownLists (user: string): Promise<void> {
    for (const what of ['subscriptions', 'affiliations'] as const) {
      const all = this.#plain.own(what, user)
      const wanted = all.length > 0 || this.#plain.isKnown(user) ? 'result' : 'cancel service-unavailable'
      const reply = await this.#agrees(user, wanted, { type: 'get', content: `<${what}/>` })
      agree(all, entriesIn(reply, 'node', what === 'subscriptions' ? 'subscription' : 'affiliation'), `the own ${what} of ${user}`)
    }
  }

  async #disco (node: string, user: string): Promise<void> {
    const info = this.#plain.info(node, user)
    agree(info, outcome(await this.#queries(user, 'info', node)), `${user} queries ${node}`)
    const items = await this.#queries(user, 'items', node)
    // RFC 6121 §8.5.1 and XEP-0030 §8: a stranger to an account gets an empty list of whatever is asked for.
    agree(this.#plain.isKnown(user) ? info : 'result', outcome(items), `${user} queries the items of ${node}`)
    agree(this.#plain.itemsFor(node, user), discoItems(items, 'name'), `the items of ${node} that ${user} is shown`)
    const all = await this.#queries(user, 'items')
    agree(this.#plain.listed(user), [...discoItems(all, 'node')].sort(), `the nodes that ${user} is shown`)
  }

  async #queries (user: string, what: 'info' | 'items', node?: string, to = this.#to): Promise<Element> {
    const query = `<query xmlns='${DISCO}#${what}'${node === undefined ? '' : ` node='${node}'`}/>`
    const reply = await this.#device(user).asks(`<iq type='get' id='d' to='${to}'>${query}</iq>`)
    this.#got.push({ user, text: reply.toString(), asked: query })
    return reply
  }

  /** One who may not know of a node gets the answers for one that is missing, and for an account that is missing. */
  async #probe (node: string, user: string, pick: number): Promise<void> {
    if (this.#plain.mayKnow(node, user)) return
    const asks = async (name: string, to: string): Promise<string> => {
      const request = PROBES[pick % PROBES.length]
      const reply = request === undefined
        ? await this.#queries(user, pick % 2 === 0 ? 'info' : 'items', name, to)
        : await this.#asks(user, { ...request, content: request.content.replace('NODE', name).replace('USER', user), to })
      return reply.toString().replaceAll(/ (id|from)="[^"]*"/g, '').replace(name, 'NODE')
    }
    const said = await asks(node, this.#to)
    agree(said, await asks('urn:missing', this.#to), `${user} asks for a missing node`)
    if (this.#plain.kind === 'account') agree(said, await asks(node, 'nobody@capulet.lit'), `${user} asks a missing account`)
  }

  /** Searches all stanzas of this step for what their recipients may not have. */
  #search (before: Snapshot): void {
    this.#collect()
    const after = this.#snapshot()
    const may = (what: 'read' | 'know', node: string, user: string): boolean => before(what, node, user) || after(what, node, user)
    for (const { user, text, asked } of this.#got) {
      // The payload of an item has its id in capital letters: who names an id in a request must not get the payload.
      for (const [found] of text.matchAll(/item-\d+-/gi)) {
        const node = this.#published.get(found.toLowerCase()) ?? ''
        if (!asked.includes(found) && !may('read', node, user)) throw new Error(`${user} got ${found} of ${node}: ${text}`)
      }
      for (const [node] of text.matchAll(/urn:secret:\d/g)) {
        if (!asked.includes(node) && !may('know', node, user)) throw new Error(`${user} got the name ${node}: ${text}`)
      }
    }
  }

  #snapshot (): Snapshot {
    const known = new Set<string>()
    for (const node of NODES) {
      for (const user of PEOPLE) {
        if (this.#plain.mayRead(node, user)) known.add(`read ${node} ${user}`)
        if (this.#plain.mayKnow(node, user)) known.add(`know ${node} ${user}`)
      }
    }
    return (what, node, user) => known.has(`${what} ${node} ${user}`)
  }

  /** Takes what all devices got since the last time. Returns who of them were told this of a node. */
  #collect (line?: string): readonly string[] {
    const heard: string[] = []
    for (const [user, device] of this.#devices) {
      this.#got.push(...device.unread.map(stanza => ({ user, text: stanza.toString(), asked: '' })))
      for (const said of hears(device)) if (said === `${this.#to} headline: ${line}`) heard.push(user)
    }
    return heard
  }

  /** Makes a request, whose outcome and notifications have to be these. Returns the reply. */
  async #agrees (
    user: string, wanted: string, asked: Asked, [line, told]: readonly [string?, (readonly string[])?] = [],
  ): Promise<Element> {
    if (line !== undefined) this.#collect()
    const reply = await this.#asks(user, asked)
    agree(wanted, outcome(reply), `${user}: ${asked.content}`)
    if (line !== undefined) agree(told ?? [], this.#collect(line), `those who are told '${line}'`)
    return reply
  }

  async #asks (user: string, { type, content, isOwners = false, to = this.#to }: Asked): Promise<Element> {
    const reply = await pubsub(this.#device(user), type, content, { to, owner: isOwners })
    this.#got.push({ user, text: reply.toString(), asked: content })
    await this.#s.settled()
    return reply
  }

  #someItem (node: string, pick: number): string {
    const items = this.#plain.nodes.get(node)?.items ?? []
    return items.length === 0 ? 'none' : of(items, pick).id
  }

  #device (user: string): Device {
    const device = this.#devices.get(user)
    if (device === undefined) throw new Error(`${user} has no device`)
    return device
  }
}

/** Requests of somebody who may not know of a node; after them come the queries of disco. */
const PROBES: readonly Asked[] = [
  { type: 'get', content: "<items node='NODE'/>" },
  { type: 'get', content: "<items node='NODE'><item id='x'/></items>" },
  { type: 'get', content: "<subscriptions node='NODE'/>" },
  { type: 'get', content: "<affiliations node='NODE'/>" },
  { type: 'get', content: "<options node='NODE' jid='USER'/>" },
  { type: 'get', content: "<default node='NODE'/>" },
  { type: 'set', content: "<subscribe node='NODE' jid='USER'/>" },
  { type: 'set', content: "<unsubscribe node='NODE' jid='USER'/>" },
  { type: 'set', content: `<options node='NODE' jid='USER'>${form('subscribe_options', { deliver: '0' })}</options>` },
  { type: 'set', content: "<publish node='NODE'><item id='x'><t xmlns='urn:t'/></item></publish>" },
  { type: 'set', content: "<retract node='NODE'><item id='x'/></retract>" },
  // Requests that lack something, or ask for somebody else.
  { type: 'get', content: "<options node='NODE'/>" },
  { type: 'set', content: "<options node='NODE' jid='USER'/>" },
  { type: 'set', content: "<subscribe node='NODE' jid='nobody@capulet.lit'/>" },
  { type: 'set', content: "<unsubscribe node='NODE' jid='nobody@capulet.lit'/>" },
  { type: 'set', content: "<publish node='NODE'/>" },
  { type: 'set', content: "<retract node='NODE'/>" },
  ...['configure', 'subscriptions', 'affiliations'].map(name => ({ type: 'get', content: `<${name} node='NODE'/>`, isOwners: true } as const)),
  ...['configure', 'subscriptions', 'affiliations', 'delete', 'purge'].map(name => ({ type: 'set', content: `<${name} node='NODE'/>`, isOwners: true } as const)),
]

/** Returns what the entries of a list in a reply say: two attributes of each. */
function entriesIn (reply: Element, ...names: readonly [string, string]): readonly string[] {
  const found: string[] = []
  const visit = (element: Element): void => {
    if (names.every(name => element.attrs[name] !== undefined)) found.push(names.map(name => String(element.attrs[name])).join(' '))
    childElements(element).forEach(visit)
  }
  visit(reply)
  return found.sort()
}

/** Returns this attribute of each item of a reply of disco that has a node or a name. */
function discoItems (reply: Element, name: 'node' | 'name'): readonly string[] {
  const items = childElements(childElements(reply)[0] ?? reply)
  return items.flatMap(({ attrs }) => attrs[name] === undefined ? [] : String(attrs[name]))
}

function of<T> (values: readonly T[], pick: number): T { return values[pick % values.length] as T }

function agree (wanted: string | readonly string[], found: string | readonly string[], what: string): void {
  if (String(wanted) !== String(found)) throw new Error(`${what}: the model says '${String(wanted)}', the server '${String(found)}'`)
}
