/**
 * Random histories of nodes, held against a plain model: at a domain, and on the address of an account. Each reply, the
 * recipients of each notification, and each stanza to anybody are checked: nobody without access gets an item or the id
 * of one, nor, from an account, the name of a node. A failure names its seed, which plays the same history again.
 */
import t from 'tap'
import type { Element } from '../../lib/xml/element.js'
import type { Device } from '../device.js'
import { scenario, type Scenario } from '../scenario.js'
import { AFFILIATIONS, MODELS, Plain, PUBLISHERS, STATES, type State } from './plain-model.js'
import { declares, form, hears, itemIds, MODULES, outcome, pubsub } from './stage.js'

const OWNER = 'juliet@capulet.lit'
const USERS = ['romeo@montague.lit', 'nurse@capulet.lit', 'paris@verona.lit']
const EVERYBODY = [OWNER, ...USERS]
const SERVICE = 'pubsub.capulet.lit'
/** Names that occur in no other text. */
const NODES = ['urn:secret:0', 'urn:secret:1', 'urn:secret:2']
const SEEDS = [1, 2, 3, 4, 5, 6]
const STEPS = 70

/** Random numbers from a seed (mulberry32). */
class Chance {
  #state: number
  constructor (seed: number) { this.#state = seed }

  below (limit: number): number {
    this.#state = this.#state + 0x6D2B79F5 | 0
    let value = Math.imul(this.#state ^ this.#state >>> 15, 1 | this.#state)
    value = value + Math.imul(value ^ value >>> 7, 61 | value) ^ value
    return Math.floor(((value ^ value >>> 14) >>> 0) / 2 ** 32 * limit)
  }

  of<T> (values: readonly T[]): T {
    const value = values[this.below(values.length)]
    if (value === undefined) throw new Error('there is nothing to choose')
    return value
  }
}

/** The nodes that users could read, or know of, at one time. */
type Snapshot = (what: 'read' | 'know', node: string, user: string) => boolean

class History {
  readonly #s: Scenario
  readonly #chance: Chance
  readonly #plain: Plain
  readonly #devices: ReadonlyMap<string, Device>
  readonly #to: string
  /** The node of each item that was ever published. */
  readonly #published = new Map<string, string>()
  #replies: { readonly user: string, readonly text: string }[] = []

  constructor (s: Scenario, seed: number, kind: Plain['kind'], devices: ReadonlyMap<string, Device>) {
    this.#s = s
    this.#chance = new Chance(seed)
    this.#plain = new Plain(kind, OWNER)
    this.#devices = devices
    this.#to = kind === 'domain' ? SERVICE : OWNER
  }

  async step (): Promise<void> {
    const before = this.#snapshot()
    this.#replies = []
    const chance = this.#chance
    const node = chance.of(NODES)
    const user = chance.of(USERS)
    const steps = [
      () => this.#make(node), () => this.#configure(node), () => this.#affiliate(node, user),
      () => this.#affiliate(node, user), () => this.#subscribe(node, user), () => this.#subscribe(node, user),
      () => this.#unsubscribe(node, user), () => this.#publish(node, chance.of(EVERYBODY)),
      () => this.#publish(node, OWNER), () => this.#publish(node, user),
      () => this.#retract(node, chance.of(EVERYBODY)), () => this.#approve(node, user), () => this.#meet(user),
      () => this.#meet(user), () => chance.below(4) === 0 ? this.#remove(node) : this.#make(node),
    ]
    await chance.of(steps)()
    for (const user of USERS) await this.#read(node, user)
    await this.#probe(node)
    this.#search(before)
    this.#devices.forEach(hears)
  }

  // ---- Steps --------------------------------------------------------------------------------------------------------

  async #make (node: string): Promise<void> {
    const { nodes, kind } = this.#plain
    if (nodes.has(node)) return
    const model = this.#chance.of(kind === 'domain' ? ['open', 'authorize', 'whitelist'] as const : MODELS)
    const publishers = this.#chance.of(PUBLISHERS)
    const fields = { access_model: model, publish_model: publishers, max_items: 'max', ...this.#groups(model) }
    this.#agree('result', await this.#outcome(OWNER, 'set', `<create node='${node}'/><configure>${form('node_config', fields)}</configure>`), 'create')
    nodes.set(node, { model, publishers, affiliations: new Map(), subscriptions: new Map(), items: [] })
  }

  #groups (model: string): Record<string, string> { return model === 'roster' ? { roster_groups_allowed: 'friends' } : {} }

  async #configure (name: string): Promise<void> {
    const node = this.#plain.nodes.get(name)
    if (node === undefined) return
    node.model = this.#chance.of(this.#plain.kind === 'domain' ? ['open', 'authorize', 'whitelist'] as const : MODELS)
    node.publishers = this.#chance.of(PUBLISHERS)
    const fields = { access_model: node.model, publish_model: node.publishers, ...this.#groups(node.model) }
    this.#agree('result', await this.#outcome(OWNER, 'set', `<configure node='${name}'>${form('node_config', fields)}</configure>`, true), 'configure')
    this.#plain.settleOne(node)
  }

  async #affiliate (node: string, user: string): Promise<void> {
    const affiliation = this.#chance.of(AFFILIATIONS.filter(one => one !== 'owner'))
    const wanted = this.#plain.nodes.has(node) ? 'result' : 'cancel item-not-found'
    this.#plain.affiliate(node, user, affiliation)
    this.#agree(wanted, await this.#outcome(OWNER, 'set', `<affiliations node='${node}'><affiliation jid='${user}' affiliation='${affiliation}'/></affiliations>`, true), `${user} becomes ${affiliation}`)
  }

  async #subscribe (node: string, user: string): Promise<void> {
    const wanted = this.#plain.subscribe(node, user)
    this.#agree(wanted, await this.#outcome(user, 'set', `<subscribe node='${node}' jid='${user}'/>`), `${user} subscribes`)
  }

  async #unsubscribe (node: string, user: string): Promise<void> {
    const wanted = this.#plain.unsubscribe(node, user)
    this.#agree(wanted, await this.#outcome(user, 'set', `<unsubscribe node='${node}' jid='${user}'/>`), `${user} unsubscribes`)
  }

  async #publish (node: string, user: string): Promise<void> {
    if (user === OWNER && !this.#plain.nodes.has(node)) return // an account would make the node
    const id = `item-${this.#published.size}-`
    this.#published.set(id, node)
    this.#devices.forEach(hears)
    const wanted = this.#plain.publish(node, user, id)
    const told = wanted === 'result' ? this.#plain.told(node, EVERYBODY) : []
    this.#agree(wanted, await this.#outcome(user, 'set', `<publish node='${node}'><item id='${id}'><t xmlns='urn:t'/></item></publish>`), `${user} publishes`)
    this.#agree(told, this.#whoHeard(`items ${node} item ${id} with payload`), `those who are told of ${id}`)
  }

  async #retract (name: string, user: string): Promise<void> {
    const items = this.#plain.nodes.get(name)?.items ?? []
    const id = items.length === 0 ? 'item-none-' : this.#chance.of(items).id
    this.#devices.forEach(hears)
    const told = this.#plain.told(name, EVERYBODY)
    const wanted = this.#plain.retract(name, user, id)
    this.#agree(wanted, await this.#outcome(user, 'set', `<retract node='${name}' notify='1'><item id='${id}'/></retract>`), `${user} retracts`)
    this.#agree(wanted === 'result' ? told : [], this.#whoHeard(`items ${name} retract ${id}`), `those who are told that ${id} is gone`)
  }

  async #approve (node: string, user: string): Promise<void> {
    const isAllowed = this.#chance.below(2) === 0
    this.#plain.approve(node, user, isAllowed)
    const answer = form('subscribe_authorization', { node, subscriber_jid: user, allow: isAllowed ? '1' : '0' })
    await this.#device(OWNER).says(`<message to='${this.#to}' id='x'>${answer}</message>`)
  }

  /** Changes how the account sees a user. */
  async #meet (user: string): Promise<void> {
    if (this.#plain.kind === 'domain') return
    const state: State = this.#chance.of(STATES)
    this.#plain.contacts.set(user, state)
    this.#plain.settle()
    const owner = this.#device(OWNER)
    if (state === 'none') await owner.says(`<presence type='unsubscribed' to='${user}'/>`)
    else {
      await this.#device(user).says(`<presence type='subscribe' to='${OWNER}'/>`)
      await owner.says(`<presence type='subscribed' to='${user}'/>`)
    }
    const group = state === 'from in the group' ? '<group>friends</group>' : ''
    await owner.asks(`<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='${user}'>${group}</item></query></iq>`)
  }

  async #remove (node: string): Promise<void> {
    const wanted = this.#plain.nodes.delete(node) ? 'result' : 'cancel item-not-found'
    this.#agree(wanted, await this.#outcome(OWNER, 'set', `<delete node='${node}'/>`, true), 'delete')
  }

  // ---- Checks -------------------------------------------------------------------------------------------------------

  async #read (node: string, user: string): Promise<void> {
    const wanted = this.#plain.read(node, user)
    const reply = await this.#asks(user, 'get', `<items node='${node}'/>`)
    this.#agree(wanted, outcome(reply), `${user} reads`)
    const items = this.#plain.nodes.get(node)?.items ?? []
    this.#agree(wanted === 'result' ? items.map(({ id }) => id) : [], itemIds(reply), `the items that ${user} reads`)
  }

  /** A stranger gets the same answers about a node, about one that is missing, and from an account that is missing. */
  async #probe (node: string): Promise<void> {
    if (this.#plain.kind === 'domain') return
    for (const user of USERS) {
      if (this.#plain.mayKnow(node, user)) continue
      for (const [type, request] of [
        ['get', `<items node='NODE'/>`], ['get', "<subscriptions node='NODE'/>"], ['set', `<subscribe node='NODE' jid='${user}'/>`],
        ['set', "<retract node='NODE'><item id='x'/></retract>"], ['set', "<delete node='NODE'/>"],
      ] as const) {
        const isOwners = request.startsWith('<delete')
        const asks = async (name: string, to: string): Promise<string> =>
          (await pubsub(this.#device(user), type, request.replace('NODE', name), { to, owner: isOwners })).toString().replaceAll(/ (id|from)="[^"]*"/g, '')
        const said = await asks(node, OWNER)
        this.#agree(said, await asks('urn:missing', OWNER), `${user} asks for a missing node: ${request}`)
        this.#agree(said, await asks(node, 'nobody@capulet.lit'), `${user} asks a missing account: ${request}`)
      }
    }
  }

  /** Searches all stanzas of this step for what their recipients may not have. */
  #search (before: Snapshot): void {
    const after = this.#snapshot()
    const all = [...this.#devices].flatMap(([user, { unread }]) =>
      unread.map(stanza => ({ user, text: stanza.toString() })))
    for (const { user, text } of [...all, ...this.#replies]) {
      if (user === OWNER) continue
      for (const [id] of text.matchAll(/item-\d+-/g)) {
        const node = this.#published.get(id) ?? ''
        const isOwn = text.includes('<publish ') // the result of a publication names the item
        if (!isOwn && !before('read', node, user) && !after('read', node, user)) throw new Error(`${user} got ${id} of ${node}: ${text}`)
      }
      for (const [node] of text.matchAll(/urn:secret:\d/g)) {
        if (!before('know', node, user) && !after('know', node, user)) throw new Error(`${user} got the name ${node}: ${text}`)
      }
    }
  }

  #snapshot (): Snapshot {
    const known = new Set<string>()
    for (const node of NODES) {
      for (const user of USERS) {
        if (this.#plain.mayRead(node, user)) known.add(`read ${node} ${user}`)
        if (this.#plain.mayKnow(node, user)) known.add(`know ${node} ${user}`)
      }
    }
    return (what, node, user) => known.has(`${what} ${node} ${user}`)
  }

  #whoHeard (line: string): readonly string[] {
    const heard: string[] = []
    for (const [user, device] of this.#devices) {
      const unread = device.unread.map(String)
      for (const said of hears(device)) if (said === `${this.#to} headline: ${line}`) heard.push(user)
      this.#replies.push(...unread.map(text => ({ user, text })))
    }
    return heard
  }

  async #outcome (user: string, type: 'get' | 'set', content: string, owner = false): Promise<string> {
    return outcome(await this.#asks(user, type, content, owner))
  }

  async #asks (user: string, type: 'get' | 'set', content: string, owner = false): Promise<Element> {
    const reply = await pubsub(this.#device(user), type, content, { to: this.#to, owner })
    this.#replies.push({ user, text: reply.toString() })
    await this.#s.settled()
    return reply
  }

  #device (user: string): Device {
    const device = this.#devices.get(user)
    if (device === undefined) throw new Error(`${user} has no device`)
    return device
  }

  #agree (wanted: string | readonly string[], found: string | readonly string[], what: string): void {
    if (String(wanted) !== String(found)) throw new Error(`${what}: the model says '${String(wanted)}', the server '${String(found)}'`)
  }
}

for (const kind of ['domain', 'account'] as const) {
  for (const seed of SEEDS) {
    t.test(`seed ${seed}: the nodes of ${kind === 'domain' ? 'a domain' : 'an account'} do what a plain model says, and show nothing to those without access`, async t => {
      const services = { [SERVICE]: ['disco', 'pubsub'] }
      const s = await scenario(t, { modules: MODULES, debug: false, ...kind === 'domain' ? { services } : {} })
      const devices = new Map<string, Device>()
      for (const user of EVERYBODY) devices.set(user, await s.device(`${user}/x`, { presence: false }))
      for (const device of devices.values()) await declares(device, NODES)
      const history = new History(s, seed, kind, devices)
      for (let step = 1; step <= STEPS; step++) {
        await history.step().catch((error: unknown) => { throw new Error(`step ${step}: ${String(error)}`) })
      }
      t.pass('all steps agree')
    })
  }
}
